//! The step Isolate: nothing of the namespace talks to anybody but what the run needs, and a probe says whether that is so.
//!
//! NetworkPolicies are additive, so whatever allows is removed; it stands in a record before, and is put back as it was by LiftIsolation, by a
//! cancelled run and by a deleted one, never without the record. What a cluster enforces is found out by a probe that connected before and is never
//! assumed. A connection that was open before may go on, and a pod on its node's network is bound by no policy: both end with their pods.

mod probe;

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::job::{MAX_ENDPOINTS, PROBE_PORT, RepositoryPlace, Request};
use crds::names;
use crds::policy::Endpoint;
use crds::reference::{ISOLATION_LABEL, MANAGED_BY, MANAGED_BY_LABEL, MOVER_LABEL};
use crds::run::{Isolation, IsolationState, IsolationStatus, MAX_NETWORK_POLICIES, RecoveryRunStatus};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::effect::{Effect, NewNetworkPolicy};
use super::mover::{self, Wanted};
use super::seen::{NetworkPolicySeen, Observed};
use super::steps::Kind;
use super::{Draft, Progress, lift, texts};
use crate::effect::Event;

pub(crate) use probe::{Control, Judged, control, judged, reason};

/// How long a probe waits until nothing connects any more.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_secs(20);
/// Most records that are written: whoever goes on adding policies while they are removed is waited out.
const MAX_RECORDS: u32 = 16;
/// Most bytes of a record, so that it fits an object.
const MAX_RECORD: usize = 512 * 1024;

/// Whether the run must stay until the isolation is lifted.
pub(crate) fn holds(status: &RecoveryRunStatus) -> bool {
    status.isolation.as_ref().is_some_and(|known| known.state != IsolationState::Lifted)
}

/// Whether workloads would be started in a namespace that was to be isolated and is not known to be.
pub(crate) fn is_unproved(status: &RecoveryRunStatus) -> bool {
    status.isolation.as_ref().is_some_and(|known| known.result != Some(Isolation::ProbeBlocked))
}

/// What isolates, by its purpose.
fn policy(draft: &Draft<'_>, purpose: &str) -> NewNetworkPolicy {
    let run = &draft.seen.run;
    let both = json!(["Ingress", "Egress"]);
    let everybody_here = json!([{"podSelector": {}}]);
    let dns = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    let spec = match purpose {
        // A NetworkPolicy knows no names, and where a name leads may change: repositories and the API server are excepted by their ports.
        "movers" => json!({
            "podSelector": {"matchLabels": {MOVER_LABEL: "true"}}, "policyTypes": both,
            "egress": [{"to": everybody_here}, {"ports": dns}, {"ports": ports(draft.seen)}],
        }),
        "inside" => json!({
            "podSelector": {}, "policyTypes": both, "ingress": [{"from": everybody_here}],
            "egress": [{"to": everybody_here}, {"ports": dns}],
        }),
        _ => json!({"podSelector": {}, "policyTypes": both}),
    };
    NewNetworkPolicy {
        name: names::isolation_policy(purpose, &run.uid),
        labels: BTreeMap::from([
            (ISOLATION_LABEL.to_owned(), run.uid.clone()),
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ]),
        annotations: BTreeMap::from([(crds::reference::RUN_LABEL.to_owned(), run.name.clone())]),
        // Without an owner: a run that is deleted by force leaves the namespace isolated and its record in place.
        owners: Vec::new(),
        spec,
    }
}

/// Where movers connect to outside of the namespace.
fn ports(seen: &Observed) -> Value {
    let own = seen.components.iter().flat_map(|component| &component.access);
    let repositories = own.chain(seen.components.iter().flat_map(|component| &component.emergency.access));
    let mut ports: Vec<u16> = repositories.filter_map(|access| port_of(&access.access.place)).collect();
    ports.extend(&seen.network.api_ports);
    ports.push(443);
    ports.sort_unstable();
    ports.dedup();
    ports.into_iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect()
}

/// The port of a bucket; without an endpoint, of AWS itself. A volume has none.
fn port_of(place: &RepositoryPlace) -> Option<u16> {
    let RepositoryPlace::S3 { endpoint, .. } = place else { return None };
    let Some((scheme, rest)) = endpoint.as_deref().and_then(|url| url.split_once("://")) else {
        return Some(443);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some(port.unwrap_or(if scheme == "http" { 80 } else { 443 }))
}

/// Those that are not ours.
pub(super) fn foreign(seen: &Observed) -> impl Iterator<Item = &NetworkPolicySeen> {
    seen.network.policies.iter().filter(|policy| !policy.labels.contains_key(ISOLATION_LABEL))
}

/// Those by which this run isolates.
pub(super) fn ours(seen: &Observed) -> impl Iterator<Item = &NetworkPolicySeen> {
    let uid = &seen.run.uid;
    seen.network.policies.iter().filter(move |policy| policy.labels.get(ISOLATION_LABEL) == Some(uid))
}

/// Why a run has to wait that would isolate a namespace which another run has left isolated.
pub(crate) fn of_another(seen: &Observed) -> Option<String> {
    let mut others = seen
        .network
        .policies
        .iter()
        .filter(|policy| policy.labels.get(ISOLATION_LABEL).is_some_and(|uid| *uid != seen.run.uid));
    let name = others.next()?.annotations.get(crds::reference::RUN_LABEL).cloned().unwrap_or_default();
    let namespace = &seen.run.namespace;
    Some(format!(
        "namespace {namespace} is still isolated by RecoveryRun {name}, which holds the record of what it removed: lift that first, by gate LiftIsolation of {name} or by deleting it (kubectl delete hfrun {name} -n {namespace})"
    ))
}

/// What the step would do.
pub(crate) fn foretell(seen: &Observed) -> String {
    let names: Vec<&str> = foreign(seen).map(|policy| policy.name.as_str()).collect();
    let removed = match names.as_slice() {
        [] => "no NetworkPolicy is there to remove".to_owned(),
        names => format!("record and remove NetworkPolicy {}", texts::cut(&names.join(", "), 300)),
    };
    format!(
        "probe what connects; {removed}; deny all but Holdfast's movers; probe again; undo: put back what was removed"
    )
}

/// The step Isolate.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize) -> Progress {
    let Some(known) = draft.status.isolation.clone() else {
        draft.status.isolation = Some(IsolationStatus {
            state: IsolationState::Probing,
            records: 0,
            policies: Vec::new(),
            control: false,
            since: None,
            result: None,
            held: None,
        });
        return Progress::acting(Vec::new(), "probing what connects before anything is changed");
    };
    match known.state {
        IsolationState::Probing => probe(draft, index, &known),
        IsolationState::Taking => take(draft, &known),
        IsolationState::Isolated => judge(draft, index, &known),
        IsolationState::Lifting | IsolationState::Lifted => {
            Progress::failed("StepFailed", "the isolation was lifted while the namespace was being isolated")
        }
    }
}

/// The step's Job in this attempt: it connects from a pod that the isolation does not except.
fn wanted(draft: &Draft<'_>, control: bool) -> Wanted {
    let namespace = &draft.seen.run.namespace;
    let services = draft.seen.services.iter();
    let of = |(name, ports): (&String, &Vec<u16>)| {
        ports.first().map(|port| Endpoint { host: format!("{name}.{namespace}.svc"), port: *port })
    };
    Wanted::bare(
        Kind::Isolate,
        mover::WHOLE.to_owned(),
        Request::ProbeIsolation {
            endpoints: services.filter_map(of).take(MAX_ENDPOINTS - 1).collect(),
            ready_on: control.then_some(PROBE_PORT),
            patience: PATIENCE,
        },
    )
}

/// Before anything is changed: the positive control, and the run is held and marked.
fn probe(draft: &mut Draft<'_>, index: usize, known: &IsolationStatus) -> Progress {
    let seen = draft.seen;
    if !seen.run.finalizer || !seen.run.isolating {
        return Progress::acting(
            vec![Effect::AddFinalizer],
            "holding the run until it has given back what it takes",
        );
    }
    if let Some(effect) = grant(seen) {
        return Progress::acting(vec![effect], "taking the right to isolate the namespace");
    }
    let attempt = draft.status.steps[index].attempts.max(1);
    let name = mover::job_name(draft, Kind::Isolate, mover::WHOLE, attempt);
    let since = draft.status.steps[index].start.unwrap_or(draft.now);
    let control = match control(seen.jobs.get(&name), since, draft.now) {
        Control::Make => return mover::make(draft, attempt, name, wanted(draft, true)),
        Control::Waits { note, until } => return Progress::Polling { effects: Vec::new(), note, at: until },
        Control::Known(control) => control,
    };
    if !seen.network.records.contains_key(&1) {
        return match record(foreign(seen).cloned().collect()) {
            Ok(policies) => Progress::acting(
                vec![Effect::RecordPolicies { name: record_name(draft, 1), policies }],
                "recording what will be removed",
            ),
            Err(why) => Progress::failed("StepFailed", why),
        };
    }
    let names = recorded_names(seen, 1);
    draft.status.isolation = Some(IsolationStatus {
        state: IsolationState::Taking,
        records: 1,
        policies: names,
        control,
        ..known.clone()
    });
    Progress::acting(Vec::new(), "what will be put back is recorded")
}

/// The right on the namespace's NetworkPolicies, where the controller does not have it.
pub(super) fn grant(seen: &Observed) -> Option<Effect> {
    let name = names::isolator(&seen.run.uid);
    seen.network.granted.is_none().then_some(Effect::GrantIsolation { name })
}

pub(super) fn record_name(draft: &Draft<'_>, number: u32) -> String {
    names::isolation_record(&draft.seen.run.name, &draft.seen.run.uid, number)
}

fn recorded_names(seen: &Observed, number: u32) -> Vec<String> {
    let record = seen.network.records.get(&number);
    record.into_iter().flat_map(|record| &record.policies).map(|policy| policy.name.clone()).collect()
}

/// What can be recorded, or a sentence why not.
fn record(policies: Vec<NetworkPolicySeen>) -> Result<Vec<NetworkPolicySeen>, String> {
    let bytes = serde_json::to_string(&policies).map_or(usize::MAX, |text| text.len());
    if policies.len() > MAX_NETWORK_POLICIES || bytes > MAX_RECORD {
        return Err(format!(
            "the namespace has {} NetworkPolicies of {bytes} bytes together, and a run can record {MAX_NETWORK_POLICIES} of {MAX_RECORD} bytes to put them back; keep a copy of some (kubectl get networkpolicy -o yaml), delete those, then create a new run",
            policies.len()
        ));
    }
    Ok(policies)
}

/// Denies all, and removes whatever stands in the record.
fn take(draft: &mut Draft<'_>, known: &IsolationStatus) -> Progress {
    let seen = draft.seen;
    let Some(recorded) = seen.network.records.get(&known.records) else {
        return Progress::failed("StepFailed", lift::lost(draft, known));
    };
    let present: Vec<&NetworkPolicySeen> = foreign(seen).filter(|policy| !policy.deleting).collect();
    let same = |policy: &NetworkPolicySeen| {
        recorded.policies.iter().any(|known| {
            (&known.name, &known.uid, &known.resource_version)
                == (&policy.name, &policy.uid, &policy.resource_version)
        })
    };
    // Made or changed since: recorded anew before anything of it is removed.
    if let Some(other) = present.iter().find(|policy| !same(policy)) {
        let next = known.records + 1;
        if seen.network.records.contains_key(&next) {
            let policies = recorded_names(seen, next);
            draft.status.isolation = Some(IsolationStatus { records: next, policies, ..known.clone() });
            return Progress::acting(Vec::new(), "what will be put back is recorded");
        }
        let gone = recorded.policies.iter().filter(|old| present.iter().all(|now| now.name != old.name));
        let all = gone.cloned().chain(present.iter().map(|policy| (*policy).clone())).collect();
        return match record(all) {
            Ok(policies) if next <= MAX_RECORDS => Progress::acting(
                vec![Effect::RecordPolicies { name: record_name(draft, next), policies }],
                format!("recording NetworkPolicy {}, which was made or changed meanwhile", other.name),
            ),
            Ok(_) | Err(_) => Progress::acting(
                Vec::new(),
                format!(
                    "somebody goes on adding NetworkPolicies ({}): delete what allows, and the run goes on",
                    other.name
                ),
            ),
        };
    }
    let mut effects = missing(draft, &["deny", "movers"]);
    effects.extend(present.iter().map(|policy| delete(policy)));
    if !effects.is_empty() {
        return Progress::acting(effects, "denying all, and removing what allows");
    }
    if let Some(leaving) = foreign(seen).next() {
        return Progress::acting(Vec::new(), format!("waiting until NetworkPolicy {} is gone", leaving.name));
    }
    draft.status.isolation =
        Some(IsolationStatus { state: IsolationState::Isolated, since: Some(draft.now), ..known.clone() });
    Progress::acting(Vec::new(), "probing whether what connected still does")
}

/// Creates what isolates and is not there.
fn missing(draft: &Draft<'_>, purposes: &[&str]) -> Vec<Effect> {
    let wanted = purposes.iter().map(|purpose| policy(draft, purpose));
    let absent = wanted.filter(|wanted| ours(draft.seen).all(|known| known.name != wanted.name));
    absent.map(Effect::CreatePolicy).collect()
}

pub(super) fn delete(policy: &NetworkPolicySeen) -> Effect {
    Effect::DeletePolicy {
        name: policy.name.clone(),
        uid: policy.uid.clone(),
        resource_version: policy.resource_version.clone(),
    }
}

/// What the probe found.
fn judge(draft: &mut Draft<'_>, index: usize, known: &IsolationStatus) -> Progress {
    let seen = draft.seen;
    let attempt = draft.status.steps[index].attempts.max(1);
    let name = mover::job_name(draft, Kind::Isolate, mover::WHOLE, attempt);
    let (result, held, text) = match judged(seen.jobs.get(&name), known.control, known.since, attempt) {
        Judged::Make => return mover::make(draft, attempt, name, wanted(draft, false)),
        Judged::Waits(note) => return Progress::acting(Vec::new(), note),
        Judged::Again(why) => return Progress::Again { why },
        Judged::Said { result, held, text } => (result, held, text),
    };
    let status = match result {
        Isolation::ProbeBlocked => Status::True,
        Isolation::NotEnforced | Isolation::ControlFailed => Status::False,
    };
    let reason = reason(result);
    let removed = match known.policies.len() as u64 {
        0 => "no NetworkPolicy was there to remove".to_owned(),
        1 => "1 NetworkPolicy recorded and removed".to_owned(),
        n => format!("{n} NetworkPolicies recorded and removed"),
    };
    let message = [text, removed].into_iter().chain(unbound(seen)).collect::<Vec<_>>().join("; ");
    if status == Status::False {
        draft.events.push(Event::warning(reason, message.clone()));
    }
    draft.condition("Isolated", status, reason, message.clone());
    draft.status.isolation =
        Some(IsolationStatus { result: Some(result), held: Some(held), ..known.clone() });
    Progress::Done(message)
}

/// What no isolation by NetworkPolicies reaches, or what somebody should look at.
fn unbound(seen: &Observed) -> Vec<String> {
    let named = |pods: &[String]| {
        let first: Vec<&str> = pods.iter().take(4).map(String::as_str).collect();
        let more = pods.len().saturating_sub(first.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", first.join(", "))
    };
    let mut said = Vec::new();
    if !seen.network.host_network.is_empty() {
        said.push(format!(
            "pod {} shares its node's network, which no NetworkPolicy binds",
            named(&seen.network.host_network)
        ));
    }
    if !seen.network.strangers.is_empty() {
        said.push(format!(
            "pod {} belongs to no component and is not stopped: look at it before the isolation is lifted",
            named(&seen.network.strangers)
        ));
    }
    said
}

/// Lets the pods of the namespace talk to each other, and to nobody else, before the first of them is started; nothing when they may.
pub(crate) fn inside(draft: &Draft<'_>) -> Option<Progress> {
    holds(&draft.status).then_some(())?;
    let effects = missing(draft, &["inside"]);
    let note = "letting the pods of the namespace talk to each other, and to nobody else";
    (!effects.is_empty()).then(|| Progress::acting(effects, note))
}
