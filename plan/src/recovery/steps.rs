//! The steps of the scenario as a table, and what every step has in common: its clock, its message, how it ends.

use crds::run::{StepPhase, StepStatus};

use super::{Draft, Progress, mover, provision, start, stop, swap, texts, validate};
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
    Stop,
    Quarantine,
    CheckIntegrity,
    SelectPoint,
    Provision,
    Restore,
    VerifyOffline,
    Swap,
    Start,
    Validate,
    Report,
}

/// Every kind, the scenario's steps in their order.
const TABLE: [(Kind, &str, bool); 12] = [
    (Kind::Assess, "Assess", false),
    (Kind::Stop, "Stop", false),
    (Kind::Quarantine, "Quarantine", true),
    (Kind::CheckIntegrity, "CheckIntegrity", true),
    (Kind::SelectPoint, "SelectPoint", true),
    (Kind::Provision, "Provision", true),
    (Kind::Restore, "Restore", true),
    (Kind::VerifyOffline, "VerifyOffline", true),
    (Kind::Swap, "Swap", true),
    (Kind::Start, "Start", false),
    (Kind::Validate, "Validate", false),
    (Kind::Report, "Report", false),
];

impl Kind {
    /// The word as users read it.
    pub(crate) fn as_str(self) -> &'static str {
        TABLE.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, word, _)| word)
    }

    /// The part of the recovery time that it is.
    pub(crate) fn part(self) -> &'static str {
        match self {
            Self::Assess => "assess",
            Self::Stop => "stop",
            Self::Quarantine => "quarantine",
            Self::CheckIntegrity => "integrity",
            Self::SelectPoint => "select",
            Self::Provision => "provision",
            Self::Restore => "restore",
            Self::VerifyOffline => "verify",
            Self::Swap => "swap",
            Self::Start => "start",
            Self::Validate => "validate",
            Self::Report => "report",
        }
    }
}

impl Step {
    /// The step that a stored one is.
    pub(crate) fn of(stored: &StepStatus) -> Option<Self> {
        let word = stored.name.split('/').next()?;
        let (kind, _, per_policy) = TABLE.iter().find(|(_, w, _)| *w == word)?;
        (*per_policy == stored.policy.is_some()).then(|| Self { kind: *kind, policy: stored.policy.clone() })
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        match &self.policy {
            Some(policy) => format!("{}/{policy}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }
}

/// The steps for `policies`: one component after the other between stop and start.
pub(crate) fn table(policies: &[String]) -> Vec<Step> {
    let whole = |range: std::ops::Range<usize>| {
        TABLE[range].iter().map(|(kind, ..)| Step { kind: *kind, policy: None }).collect::<Vec<_>>()
    };
    let mut steps = whole(0..2);
    for policy in policies {
        steps.extend(TABLE[2..9].iter().map(|(kind, ..)| Step { kind: *kind, policy: Some(policy.clone()) }));
    }
    steps.extend(whole(9..12));
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
    }
}

/// Looks at the running step `index`.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, step: &Step) -> Progress {
    match (step.kind, &step.policy) {
        (Kind::Assess, _) => super::assess::advance(draft),
        (Kind::Stop, _) => stop::advance(draft),
        (Kind::Start, _) => start::advance(draft),
        (Kind::Validate, _) => validate::advance(draft, index),
        (Kind::Report, _) => super::measure::report(draft),
        (Kind::Quarantine, Some(policy)) => stop::quarantine(draft, policy),
        (Kind::CheckIntegrity, Some(policy)) => mover::check_integrity(draft, index, policy),
        (Kind::SelectPoint, Some(policy)) => super::choice::select(draft, policy),
        (Kind::Provision, Some(policy)) => provision::advance(draft, policy),
        (Kind::Restore, Some(policy)) => mover::restore(draft, index, policy),
        (Kind::VerifyOffline, Some(policy)) => mover::verify(draft, index, policy),
        (Kind::Swap, Some(policy)) => swap::advance(draft, index, policy),
        (
            Kind::Quarantine
            | Kind::CheckIntegrity
            | Kind::SelectPoint
            | Kind::Provision
            | Kind::Restore
            | Kind::VerifyOffline
            | Kind::Swap,
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

/// Ends step `index` with a failure. The run's own end follows when its claims are whole.
pub(crate) fn fail(draft: &mut Draft<'_>, index: usize, reason: &str, message: &str) {
    let now = draft.now;
    let step = &mut draft.status.steps[index];
    step.phase = StepPhase::Failed;
    step.end = Some(now);
    step.message = texts::bounded(message);
    let event = Event::warning(format!("{}Failed", word(&step.name)), format!("{}: {message}", step.name));
    draft.events.push(event);
    draft.condition("Ready", false, reason, message);
}

fn word(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}
