//! The step Sandbox: a namespace of its own for a rehearsal, in which nothing of production can be reached, and that is proved before anything runs there.
//!
//! A probe in it connects to production while nothing is denied; then all is denied but what the rehearsal needs, and the same probe must not connect any
//! more. Without that proof no workload is started, and nobody can say otherwise. What is restored lies on volumes of the run's own, which go with the
//! sandbox, whatever becomes of the run (`sandbox/clean.rs`). Nothing in it has a key of the repository: movers work in the run's namespace, and volumes
//! are handed over.

mod checks;
mod clean;

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::job::{MAX_ENDPOINTS, PROBE_PORT, Request};
use crds::names;
use crds::policy::Endpoint;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, MOVER_LABEL, SANDBOX_LABEL};
use crds::run::{Isolation, RecoveryRunStatus, SandboxState, SandboxStatus, Verdict};
use serde_json::json;

use super::effect::{Effect, NewNetworkPolicy};
use super::isolation::{self, Control, Judged};
use super::mover::{self, Wanted};
use super::steps::Kind;
use super::{Draft, Progress, validate};
use crate::effect::Event;

pub(crate) use checks::left_out;
pub(crate) use clean::cleaned;

/// What is seen of the sandbox of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxSeen {
    /// Its namespace, where that exists.
    pub namespace: Option<NamespaceSeen>,
    /// It has its quota and its rights.
    pub furnished: bool,
    /// Names of the NetworkPolicies in it.
    pub denies: Vec<String>,
    /// Services of production and their ports, which the probe connects to.
    pub production: BTreeMap<String, Vec<u16>>,
    /// Sandboxes of this namespace whose runs do not exist any more: name and uid.
    pub leftovers: Vec<(String, String)>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSeen {
    /// Uid.
    pub uid: String,
    /// It carries the label of this run's sandbox.
    pub ours: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// Whether the run must stay until its sandbox is gone.
pub(crate) fn holds(status: &RecoveryRunStatus) -> bool {
    status.sandbox.as_ref().is_some_and(|known| known.state != SandboxState::Cleaned)
}

/// What a report tells of a sandbox: not what becomes of it after the end.
pub(crate) fn as_rehearsed(known: SandboxStatus) -> SandboxStatus {
    SandboxStatus { state: SandboxState::Isolated, keep_until: None, cleaned: None, ..known }
}

/// Why no workload may be started: it would run in a sandbox whose isolation is not proved.
pub(crate) fn unproved(draft: &Draft<'_>) -> Option<String> {
    draft.seen.run.spec.sandbox()?;
    let proved = draft.status.sandbox.as_ref().is_some_and(|known| {
        known.state == SandboxState::Isolated && known.isolation == Some(Isolation::ProbeBlocked)
    });
    (!proved).then(|| "the isolation of the sandbox is not proved, so nothing is started in it".to_owned())
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize) -> Progress {
    let Some(known) = draft.status.sandbox.clone() else {
        draft.status.sandbox = Some(SandboxStatus {
            namespace: draft.seen.home(),
            uid: None,
            state: SandboxState::Creating,
            control: false,
            since: None,
            isolation: None,
            keep_until: None,
            cleaned: None,
        });
        return Progress::acting(Vec::new(), format!("making namespace {}", draft.seen.home()));
    };
    match known.state {
        SandboxState::Creating => create(draft, &known),
        SandboxState::Probing => probe(draft, index, &known),
        SandboxState::Isolated => judge(draft, index, &known),
        SandboxState::Kept | SandboxState::Removing | SandboxState::Cleaned => {
            Progress::failed("StepFailed", "the sandbox was removed while it was being made")
        }
    }
}

fn create(draft: &mut Draft<'_>, known: &SandboxStatus) -> Progress {
    let (seen, name) = (draft.seen, known.namespace.clone());
    if !seen.run.finalizer {
        return Progress::acting(vec![Effect::AddFinalizer], "holding the run until its sandbox is removed");
    }
    let sweep = seen.sandbox.leftovers.iter();
    let swept: Vec<Effect> =
        sweep.map(|(name, uid)| Effect::DeleteSandbox { name: name.clone(), uid: uid.clone() }).collect();
    if !swept.is_empty() {
        let names: Vec<&str> = seen.sandbox.leftovers.iter().map(|(name, _)| name.as_str()).collect();
        let note =
            format!("removing {}, which runs left behind that do not exist any more", names.join(", "));
        return Progress::acting(swept, note);
    }
    match &seen.sandbox.namespace {
        None => Progress::acting(
            vec![Effect::CreateSandbox { name: name.clone() }],
            format!("making namespace {name}"),
        ),
        Some(there) if !there.ours || there.deleting => Progress::failed(
            "StepFailed",
            format!(
                "namespace {name} exists and was not made by this run; delete or rename it, then create a new run"
            ),
        ),
        Some(_) if !seen.sandbox.furnished => Progress::acting(
            vec![Effect::FurnishSandbox { name }],
            "giving the sandbox its quota and its rights",
        ),
        Some(there) => {
            draft.status.sandbox = Some(SandboxStatus {
                uid: Some(there.uid.clone()),
                state: SandboxState::Probing,
                ..known.clone()
            });
            Progress::acting(
                Vec::new(),
                "probing what of production can be reached before anything is denied",
            )
        }
    }
}

/// The step's Job: it connects from a pod of the sandbox to production.
fn wanted(draft: &Draft<'_>, control: bool) -> Wanted {
    let namespace = &draft.seen.run.namespace;
    let services = draft.seen.sandbox.production.iter();
    let of = |(name, ports): (&String, &Vec<u16>)| {
        ports.first().map(|port| Endpoint { host: format!("{name}.{namespace}.svc"), port: *port })
    };
    let request = Request::ProbeIsolation {
        endpoints: services.filter_map(of).take(MAX_ENDPOINTS - 1).collect(),
        ready_on: control.then_some(PROBE_PORT),
        patience: isolation::PATIENCE,
    };
    Wanted {
        namespace: Some(draft.seen.home()),
        ..Wanted::bare(Kind::Sandbox, mover::WHOLE.to_owned(), request)
    }
}

fn probe(draft: &mut Draft<'_>, index: usize, known: &SandboxStatus) -> Progress {
    let (attempt, name) = job(draft, index);
    let since = draft.status.steps[index].start.unwrap_or(draft.now);
    match isolation::control(draft.seen.jobs.get(&name), since, draft.now) {
        Control::Make => mover::make(draft, attempt, name, wanted(draft, true)),
        Control::Waits { note, until } => Progress::Polling { effects: Vec::new(), note, at: until },
        Control::Known(control) => {
            draft.status.sandbox =
                Some(SandboxStatus { state: SandboxState::Isolated, control, ..known.clone() });
            Progress::acting(Vec::new(), "denying all but what the rehearsal needs")
        }
    }
}

fn job(draft: &Draft<'_>, index: usize) -> (u32, String) {
    let attempt = draft.status.steps[index].attempts.max(1);
    (attempt, mover::job_name(draft, Kind::Sandbox, mover::WHOLE, attempt))
}

/// What denies, and the exceptions: those in it talk to each other and ask for names, and movers of the run's namespace look whether they serve.
fn policies(draft: &Draft<'_>) -> [NewNetworkPolicy; 2] {
    let run = &draft.seen.run;
    let both = json!(["Ingress", "Egress"]);
    let everybody_here = json!({"podSelector": {}});
    let movers = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": run.namespace}},
        "podSelector": {"matchLabels": {MOVER_LABEL: "true"}},
    });
    let dns = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    let policy = |purpose: &str, spec| NewNetworkPolicy {
        name: names::isolation_policy(purpose, &run.uid),
        labels: BTreeMap::from([
            (SANDBOX_LABEL.to_owned(), run.uid.clone()),
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ]),
        annotations: BTreeMap::new(),
        owners: Vec::new(),
        spec,
    };
    [
        policy("deny", json!({"podSelector": {}, "policyTypes": both})),
        policy(
            "inside",
            json!({
                "podSelector": {}, "policyTypes": both, "ingress": [{"from": [everybody_here, movers]}],
                "egress": [{"to": [everybody_here]}, {"ports": dns}],
            }),
        ),
    ]
}

/// Denies, and hears what the probe found.
fn judge(draft: &mut Draft<'_>, index: usize, known: &SandboxStatus) -> Progress {
    let wanted_policies = policies(draft).into_iter();
    let missing: Vec<Effect> = wanted_policies
        .filter(|policy| !draft.seen.sandbox.denies.contains(&policy.name))
        .map(Effect::CreatePolicy)
        .collect();
    if !missing.is_empty() {
        return Progress::acting(missing, "denying all but what the rehearsal needs");
    }
    if known.since.is_none() {
        draft.status.sandbox = Some(SandboxStatus { since: Some(draft.now), ..known.clone() });
        return Progress::acting(Vec::new(), "probing whether anything of production can still be reached");
    }
    let (attempt, name) = job(draft, index);
    let (result, text) =
        match isolation::judged(draft.seen.jobs.get(&name), known.control, known.since, attempt) {
            Judged::Make => return mover::make(draft, attempt, name, wanted(draft, false)),
            Judged::Waits(note) => return Progress::acting(Vec::new(), note),
            Judged::Again(why) => return Progress::Again { why },
            Judged::Said { result, text, .. } => (result, text),
        };
    draft.status.sandbox = Some(SandboxStatus { isolation: Some(result), ..known.clone() });
    let namespace = &known.namespace;
    let reason = isolation::reason(result);
    match result {
        Isolation::ProbeBlocked => {
            let message = format!("from a pod in {namespace}: {text}");
            draft.condition("Isolated", Status::True, reason, message.clone());
            Progress::Done(message)
        }
        Isolation::NotEnforced | Isolation::ControlFailed => {
            let message = format!(
                "from a pod in {namespace}: {text}. A rehearsal starts no workload where production could be reached, and nobody can override that"
            );
            draft.condition("Isolated", Status::False, reason, message.clone());
            draft.events.push(Event::warning(reason, message.clone()));
            validate::worse(draft, Verdict::Inconclusive);
            Progress::failed("IsolationNotEnforced", message)
        }
    }
}
