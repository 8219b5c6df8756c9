//! The steps of the scenario as a table, and what every step has in common: its clock, its message, how it ends.

use crds::run::{RecoveryRunSpec, Scenario, StepPhase, StepStatus};

use super::seen::{Component, Role};
use super::{
    Draft, Progress, audit, emergency, evidence, isolation, lift, mover, network, objects, offline, preserve,
    protect, provision, rotate, sandbox, start, stop, swap, texts, validate, verification,
};
use crate::effect::Event;

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    /// Policy concerned; absent for a step of the whole run.
    pub(crate) policy: Option<String>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Assess,
    Sandbox,
    Isolate,
    Seal,
    Stop,
    Audit,
    MarkPoints,
    Objects,
    Emergency,
    Quarantine,
    Preserve,
    CheckIntegrity,
    SelectPoint,
    Provision,
    Restore,
    VerifyOffline,
    Swap,
    RotateCredentials,
    Start,
    Validate,
    Diagnose,
    EnterOffline,
    Watch,
    LeaveOffline,
    LiftIsolation,
    Unseal,
    Protect,
    VerifyPoints,
    Report,
}

/// Every kind and its word.
const WORDS: [(Kind, &str); 29] = [
    (Kind::Assess, "Assess"),
    (Kind::Sandbox, "Sandbox"),
    (Kind::Isolate, "Isolate"),
    (Kind::Seal, "Seal"),
    (Kind::Stop, "Stop"),
    (Kind::Audit, "Audit"),
    (Kind::MarkPoints, "MarkPoints"),
    (Kind::Objects, "Objects"),
    (Kind::Emergency, "Emergency"),
    (Kind::Quarantine, "Quarantine"),
    (Kind::Preserve, "Preserve"),
    (Kind::CheckIntegrity, "CheckIntegrity"),
    (Kind::SelectPoint, "SelectPoint"),
    (Kind::Provision, "Provision"),
    (Kind::Restore, "Restore"),
    (Kind::VerifyOffline, "VerifyOffline"),
    (Kind::Swap, "Swap"),
    (Kind::RotateCredentials, "RotateCredentials"),
    (Kind::Start, "Start"),
    (Kind::Validate, "Validate"),
    (Kind::Diagnose, "Diagnose"),
    (Kind::EnterOffline, "EnterOffline"),
    (Kind::Watch, "Watch"),
    (Kind::LeaveOffline, "LeaveOffline"),
    (Kind::LiftIsolation, "LiftIsolation"),
    (Kind::Unseal, "Unseal"),
    (Kind::Protect, "Protect"),
    (Kind::VerifyPoints, "VerifyPoints"),
    (Kind::Report, "Report"),
];

/// What is done with each component before anything is stopped, one after the other: what is missing has to be there to be known.
fn before(scenario: Scenario, role: Role) -> &'static [Kind] {
    match (role, scenario) {
        (Role::Restored, Scenario::CompleteFailure) => &[Kind::SelectPoint, Kind::Objects],
        // Evidence: what runs is stopped only then, and its logs go with it.
        (Role::Restored, Scenario::SecurityBreach) => &[Kind::Emergency],
        (
            Role::Restored,
            Scenario::DatabaseCorruption
            | Scenario::StorageFailure
            | Scenario::NetworkFailure
            | Scenario::BackupVerification,
        )
        | (Role::Dependent | Role::Offline | Role::Verified, _) => &[],
    }
}

/// What is done with each component when all are stopped, one after the other.
fn lane(scenario: Scenario, role: Role) -> &'static [Kind] {
    match (role, scenario) {
        (Role::Dependent, _) => &[Kind::Start, Kind::Validate],
        (Role::Offline, _) => &[Kind::Diagnose, Kind::EnterOffline, Kind::Watch, Kind::LeaveOffline],
        (Role::Verified, _) => &[Kind::VerifyPoints],
        (Role::Restored, Scenario::NetworkFailure | Scenario::BackupVerification) => &[],
        (Role::Restored, Scenario::CompleteFailure) => &[
            Kind::Emergency,
            Kind::Quarantine,
            Kind::Provision,
            Kind::Restore,
            Kind::VerifyOffline,
            Kind::Swap,
            Kind::Start,
            Kind::Validate,
        ],
        // What is broken is looked for first: the levels of the damaged database say which points its server can open.
        (Role::Restored, Scenario::DatabaseCorruption) => &[
            Kind::Quarantine,
            Kind::CheckIntegrity,
            Kind::SelectPoint,
            Kind::Provision,
            Kind::Restore,
            Kind::VerifyOffline,
            Kind::Swap,
            Kind::Start,
            Kind::Validate,
        ],
        // Only what was preserved is looked at: the disk gets no better by being read again.
        (Role::Restored, Scenario::StorageFailure) => &[
            Kind::Quarantine,
            Kind::Preserve,
            Kind::CheckIntegrity,
            Kind::SelectPoint,
            Kind::Provision,
            Kind::Restore,
            Kind::VerifyOffline,
            Kind::Swap,
            Kind::Start,
            Kind::Validate,
        ],
        (Role::Restored, Scenario::SecurityBreach) => &[
            Kind::Quarantine,
            Kind::MarkPoints,
            Kind::CheckIntegrity,
            Kind::SelectPoint,
            Kind::Provision,
            Kind::Restore,
            Kind::VerifyOffline,
            Kind::Swap,
            Kind::Start,
            Kind::Validate,
        ],
    }
}

impl Kind {
    /// The word as users read it.
    pub(crate) fn as_str(self) -> &'static str {
        WORDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// Whether it is about the whole run and not about a component.
    fn is_whole(self) -> bool {
        match self {
            Self::Assess
            | Self::Sandbox
            | Self::Isolate
            | Self::Seal
            | Self::Stop
            | Self::Audit
            | Self::RotateCredentials
            | Self::LiftIsolation
            | Self::Unseal
            | Self::Protect
            | Self::Report => true,
            Self::MarkPoints
            | Self::Objects
            | Self::Emergency
            | Self::Preserve
            | Self::Quarantine
            | Self::CheckIntegrity
            | Self::SelectPoint
            | Self::Provision
            | Self::Restore
            | Self::VerifyOffline
            | Self::Swap
            | Self::Start
            | Self::Validate
            | Self::Diagnose
            | Self::EnterOffline
            | Self::Watch
            | Self::LeaveOffline
            | Self::VerifyPoints => false,
        }
    }

    /// The part of the recovery time that it is.
    pub(crate) fn part(self) -> &'static str {
        match self {
            Self::Assess => "assess",
            Self::Sandbox => "sandbox",
            Self::Isolate => "isolate",
            Self::Seal => "seal",
            Self::Stop => "stop",
            Self::Audit => "audit",
            Self::MarkPoints => "mark",
            Self::Objects => "objects",
            Self::Emergency => "emergency",
            Self::Quarantine => "quarantine",
            Self::Preserve => "preserve",
            Self::CheckIntegrity => "integrity",
            Self::SelectPoint => "select",
            Self::Provision => "provision",
            Self::Restore => "restore",
            Self::VerifyOffline => "verify",
            Self::Swap => "swap",
            Self::RotateCredentials => "rotate",
            Self::Start => "start",
            Self::Validate => "validate",
            Self::Diagnose => "diagnose",
            Self::EnterOffline => "offline",
            Self::Watch => "watch",
            Self::LeaveOffline => "leave",
            Self::LiftIsolation => "lift",
            Self::Unseal => "unseal",
            Self::Protect => "protect",
            Self::VerifyPoints => "verify",
            Self::Report => "report",
        }
    }
}

impl Step {
    /// The step that a stored one is.
    pub(crate) fn of(stored: &StepStatus) -> Option<Self> {
        let word = stored.name.split('/').next()?;
        let (kind, _) = WORDS.iter().find(|(_, w)| *w == word)?;
        (kind.is_whole() == stored.policy.is_none())
            .then(|| Self { kind: *kind, policy: stored.policy.clone() })
    }

    /// Whether it is done only of a run that went well so far.
    pub(crate) fn concludes(&self) -> bool {
        matches!(self.kind, Kind::LiftIsolation | Kind::Unseal | Kind::Protect | Kind::Report)
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        match &self.policy {
            Some(policy) => format!("{}/{policy}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }
}

/// The steps of a run about these components.
pub(crate) fn table(spec: &RecoveryRunSpec, components: &[Component]) -> Vec<Step> {
    let scenario = spec.scenario;
    let whole = |kind| Step { kind, policy: None };
    if spec.sandbox().is_some() {
        return rehearsal(scenario, components);
    }
    let of_all = |kinds: fn(Scenario, Role) -> &'static [Kind]| {
        let of = move |component: &Component| {
            let policy = component.policy.clone();
            let kinds = kinds(scenario, component.role).iter();
            kinds.map(move |kind| Step { kind: *kind, policy: Some(policy.clone()) })
        };
        components.iter().flat_map(of).collect::<Vec<_>>()
    };
    let mut steps = vec![whole(Kind::Assess)];
    let breach = scenario == Scenario::SecurityBreach;
    if breach {
        steps.extend([whole(Kind::Isolate), whole(Kind::Seal)]);
    }
    steps.extend(of_all(before));
    // A network failure stops nothing as a whole, and a verification nothing.
    if !matches!(scenario, Scenario::NetworkFailure | Scenario::BackupVerification) {
        steps.push(whole(Kind::Stop));
    }
    // What they left is looked for before anything is changed back, and when nothing of it runs any more.
    steps.extend(breach.then(|| whole(Kind::Audit)));
    // What an intruder may have read is replaced when everything is restored, and before anything runs that would read it.
    let runs = |step: &Step| matches!(step.kind, Kind::Start | Kind::Validate);
    let (running, ahead): (Vec<Step>, Vec<Step>) =
        of_all(lane).into_iter().partition(|step| breach && runs(step));
    steps.extend(ahead);
    steps.extend(breach.then(|| whole(Kind::RotateCredentials)));
    steps.extend(running);
    if breach {
        steps.extend([whole(Kind::LiftIsolation), whole(Kind::Unseal)]);
    }
    if components.iter().any(|component| component.role == Role::Restored) {
        steps.push(whole(Kind::Protect));
    }
    steps.push(whole(Kind::Report));
    steps
}

/// The steps of a rehearsal: a recovery from nothing but the points, into a namespace of its own.
fn rehearsal(scenario: Scenario, components: &[Component]) -> Vec<Step> {
    let whole = |kind| Step { kind, policy: None };
    let of = |component: &Component, kinds: &[Kind]| {
        let step = |kind: &Kind| Step { kind: *kind, policy: Some(component.policy.clone()) };
        kinds.iter().map(step).collect::<Vec<_>>()
    };
    let mut steps = vec![whole(Kind::Assess), whole(Kind::Sandbox)];
    for component in components {
        steps.extend(of(component, &[Kind::SelectPoint, Kind::Objects]));
    }
    steps.push(whole(Kind::Stop));
    for component in components {
        steps.extend(of(
            component,
            &[Kind::Provision, Kind::Restore, Kind::VerifyOffline, Kind::Swap, Kind::Start],
        ));
        // Nothing outside answers in a sandbox: an outage as it will be. What works in offline mode is validated in it, and the way back after that.
        let offline = scenario == Scenario::NetworkFailure && component.offline.is_some();
        steps.extend(match offline {
            true => of(component, &[Kind::Diagnose, Kind::EnterOffline, Kind::Validate, Kind::LeaveOffline]),
            false => of(component, &[Kind::Validate]),
        });
    }
    steps.push(whole(Kind::Report));
    steps
}

/// A step that was not begun.
pub(crate) fn waiting(step: &Step, message: &str) -> StepStatus {
    StepStatus {
        name: step.name(),
        policy: step.policy.clone(),
        phase: StepPhase::Waiting,
        start: None,
        end: None,
        attempts: 0,
        message: texts::bounded(message),
        reason: None,
    }
}

/// Looks at the running step `index`.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, step: &Step) -> Progress {
    match (step.kind, &step.policy) {
        (Kind::Assess, _) => super::assess::advance(draft),
        (Kind::Sandbox, _) => sandbox::advance(draft, index),
        (Kind::Isolate, _) => isolation::advance(draft, index),
        (Kind::Seal | Kind::Unseal, _) => evidence::seal(draft, index, step.kind),
        (Kind::Stop, _) => stop::advance(draft),
        (Kind::Audit, _) => audit::advance(draft, index),
        (Kind::RotateCredentials, _) => rotate::advance(draft, index),
        (Kind::LiftIsolation, _) => lift::give_back(draft),
        (Kind::Protect, _) => protect::advance(draft),
        (Kind::Report, _) => super::measure::report(draft),
        (Kind::Objects, Some(policy)) => objects::advance(draft, index, policy),
        (Kind::Emergency, Some(policy)) => emergency::advance(draft, index, policy),
        (Kind::MarkPoints, Some(policy)) => evidence::mark(draft, index, policy),
        (Kind::Quarantine, Some(policy)) => stop::quarantine(draft, policy),
        (Kind::Preserve, Some(policy)) => preserve::advance(draft, index, policy),
        (Kind::CheckIntegrity, Some(policy)) => mover::check_integrity(draft, index, policy),
        (Kind::SelectPoint, Some(policy)) => super::choice::select(draft, policy),
        (Kind::Provision, Some(policy)) => provision::advance(draft, policy),
        (Kind::Restore, Some(policy)) => mover::restore(draft, index, policy),
        (Kind::VerifyOffline, Some(policy)) => mover::verify(draft, index, policy),
        (Kind::Swap, Some(policy)) => swap::advance(draft, index, policy),
        (Kind::Start, Some(policy)) => start::advance(draft, policy),
        (Kind::Validate, Some(policy)) => validate::advance(draft, index, policy),
        (Kind::Diagnose, Some(policy)) => network::diagnose(draft, index, policy),
        (Kind::EnterOffline, Some(policy)) => offline::enter(draft, policy),
        (Kind::Watch, Some(policy)) => network::watch(draft, index, policy),
        (Kind::LeaveOffline, Some(policy)) => offline::leave(draft, policy),
        (Kind::VerifyPoints, Some(policy)) => verification::advance(draft, index, policy),
        (
            Kind::MarkPoints
            | Kind::Objects
            | Kind::Emergency
            | Kind::Quarantine
            | Kind::Preserve
            | Kind::CheckIntegrity
            | Kind::SelectPoint
            | Kind::Provision
            | Kind::Restore
            | Kind::VerifyOffline
            | Kind::Swap
            | Kind::Start
            | Kind::Validate
            | Kind::Diagnose
            | Kind::EnterOffline
            | Kind::Watch
            | Kind::LeaveOffline
            | Kind::VerifyPoints,
            None,
        ) => Progress::failed("StepFailed", "the step names no policy; it was planned by another version"),
    }
}

/// Ends step `index` without failure.
pub(crate) fn end(draft: &mut Draft<'_>, index: usize, phase: StepPhase, message: &str) {
    let now = draft.now;
    let step = &mut draft.status.steps[index];
    step.phase = phase;
    step.end = Some(now);
    step.message = texts::bounded(message);
    let event = Event::normal(format!("{}Done", word(&step.name)), format!("{}: {message}", step.name));
    draft.events.push(event);
}

/// Ends step `index` with a failure. The run's own end follows when nothing else goes on and its claims are whole.
pub(crate) fn fail(draft: &mut Draft<'_>, index: usize, reason: &str, message: &str) {
    let now = draft.now;
    let step = &mut draft.status.steps[index];
    step.phase = StepPhase::Failed;
    step.end = Some(now);
    step.message = texts::bounded(message);
    step.reason = Some(reason.to_owned());
    let event = Event::warning(format!("{}Failed", word(&step.name)), format!("{}: {message}", step.name));
    draft.events.push(event);
}

fn word(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}
