//! The step Assess: whether the run can be carried out at all, before anything is touched. What can't come true is
//! refused for good, with a sentence; what may come true is waited for.

use std::collections::BTreeMap;

use crds::Span;
use crds::condition::{Status, clear};
use crds::names;
use crds::run::{RunMode, Scenario, StepPhase};
use jiff::{SignedDuration, Timestamp};

use super::choice::{self, Choice};
use super::effect::Effect;
use super::scope::circle;
use super::seen::{ClaimSeen, Component, Observed, Role, RunSeen, VolumeSeen};
use super::steps::{self, Step};
use super::{Draft, Progress, assessment, dry_run, isolation, limits, network, preserve, settle, texts};

/// When both clocks start: what was declared, else the creation of the run.
pub(crate) fn declared(run: &RunSeen) -> Timestamp {
    run.spec.incident.as_ref().and_then(|incident| incident.detected_at).unwrap_or(run.created)
}

/// When the run gives up.
pub(crate) fn deadline(run: &RunSeen) -> Timestamp {
    let limit = run.spec.deadline.unwrap_or_else(|| default_deadline(run));
    run.created.checked_add(limit.to_duration()).unwrap_or(Timestamp::MAX)
}

/// As long as its scenario may take.
pub(crate) fn default_deadline(run: &RunSeen) -> Span {
    run.spec.scenario.deadline()
}

/// What came out of a first look.
enum First {
    Clear(BTreeMap<String, Choice>),
    Wait(&'static str, String),
    Refuse(&'static str, String),
}

/// Lays down the steps when the run can begin. Returns whether it can.
pub(crate) fn begin(draft: &mut Draft<'_>) -> bool {
    let seen = draft.seen;
    match look(seen, draft.now) {
        First::Clear(choices) => {
            let table = steps::table(&seen.run.spec, &seen.components);
            draft.status.steps = table
                .iter()
                .map(|step| steps::waiting(step, &dry_run::foretell(seen, step, &choices)))
                .collect();
            draft.status.assessment = assessment::assess(seen, draft.now);
            draft.status.plan = Some(dry_run::summary(&draft.status.steps, seen.components.len()));
            draft.condition(
                "PlanReady",
                Status::True,
                "Planned",
                format!(
                    "{}, {}",
                    texts::count(table.len() as u64, "step"),
                    policies_text(seen.components.len())
                ),
            );
            clear(&mut draft.status.conditions, "Reconciling");
            true
        }
        First::Wait(reason, message) => {
            if draft.now >= deadline(&seen.run) {
                refuse(draft, "DeadlineExceeded", format!("the run never began: {message}"));
                return false;
            }
            draft.condition("Ready", false, "Running", message.clone());
            draft.condition("Reconciling", true, reason, message);
            draft.next = draft.next.or_at(deadline(&seen.run));
            false
        }
        First::Refuse(reason, message) => {
            refuse(draft, reason, message);
            false
        }
    }
}

fn policies_text(n: usize) -> String {
    if n == 1 { "1 policy".to_owned() } else { format!("{n} policies") }
}

fn refuse(draft: &mut Draft<'_>, reason: &'static str, message: String) {
    let step = Step { kind: steps::Kind::Assess, policy: None };
    let now = draft.now;
    let mut stored = steps::waiting(&step, &message);
    (stored.phase, stored.start, stored.end, stored.attempts) = (StepPhase::Failed, Some(now), Some(now), 1);
    stored.reason = Some(reason.to_owned());
    draft.status.steps = vec![stored];
    settle::finish_failed(draft);
}

fn look(seen: &Observed, now: Timestamp) -> First {
    let namespace = &seen.run.namespace;
    let spec = &seen.run.spec;
    if let Some(refused) = refusal(seen, now) {
        return First::Refuse(refused.0, refused.1);
    }
    let verifies = spec.scenario == Scenario::BackupVerification;
    let rehearsal = spec.sandbox().is_some();
    if spec.mode == RunMode::Run
        && !rehearsal
        && !verifies
        && let Some(rival) = seen.others.iter().find(|other| {
            let shared = other.policies.iter().any(|policy| seen.component(policy).is_some());
            // An outage may last for days, and keeps nobody from restoring a volume.
            let beside = other.network && spec.scenario != Scenario::NetworkFailure;
            shared
                && !beside
                && (other.begun || (other.created, &other.name) < (seen.run.created, &seen.run.name))
        })
    {
        let shared: Vec<&str> = rival
            .policies
            .iter()
            .filter(|policy| seen.component(policy).is_some())
            .map(String::as_str)
            .collect();
        return First::Wait(
            "WaitingForRun",
            format!(
                "{} waits: {} holds {}; let that one end, or delete it: kubectl delete hfrun {} -n {namespace}",
                seen.run.name,
                rival.name,
                shared.join(", "),
                rival.name
            ),
        );
    }
    if let Some(why) = isolation::of_another(seen).filter(|_| !verifies) {
        return First::Wait("WaitingForRun", why);
    }
    // What is remembered of them now would be that they don't run.
    if let Some(component) = seen.components.iter().find(|component| component.stopped && !verifies) {
        return First::Wait(
            "WaitingForCapture",
            format!(
                "an offline capture has stopped the workloads of policy {0}; the run begins when they have their replicas again (kubectl get hfpolicy {0} -n {namespace} -o jsonpath='{{.status.stopped}}')",
                component.policy
            ),
        );
    }
    if let Some(why) = catalogue(seen) {
        return First::Wait("WaitingForRepository", why);
    }
    let verified = seen.components.iter().filter(|component| component.role == Role::Verified);
    for component in seen.restored().chain(verified) {
        if let Err(why) = &component.access {
            return First::Wait("WaitingForRepository", why.clone());
        }
    }
    let mut choices = BTreeMap::new();
    for component in seen.restored() {
        match choice::choose(seen, component) {
            Ok(choice) => choices.insert(component.policy.clone(), choice),
            // What will be preserved may be all that there is, and may be whole.
            Err(("NoHealthyPoint", _)) if preserve::is_wanted(&seen.run.spec) => None,
            Err((reason, message)) => return First::Refuse(reason, message),
        };
    }
    // What a complete failure finds missing it creates first, and a rehearsal begins with nothing.
    let as_it_is = spec.scenario != Scenario::CompleteFailure && !rehearsal;
    for component in seen.restored().filter(|_| as_it_is) {
        if let Err(why) = current(seen, component) {
            return First::Refuse("StepFailed", why);
        }
    }
    First::Clear(choices)
}

/// What no waiting changes.
fn refusal(seen: &Observed, now: Timestamp) -> Option<(&'static str, String)> {
    let run = &seen.run;
    let namespace = &run.namespace;
    if seen.namespace_terminating {
        return Some((
            "TargetTerminating",
            format!(
                "namespace {namespace} is being deleted: nothing can be restored into it; recover from the repository in another namespace"
            ),
        ));
    }
    let network = run.spec.scenario == Scenario::NetworkFailure;
    let confirm = run.spec.in_place().map(|target| target.confirm.as_str());
    let verifies = run.spec.scenario == Scenario::BackupVerification;
    let in_place = !network && !verifies && run.spec.sandbox().is_none();
    if in_place && confirm != Some(namespace.as_str()) {
        return Some((
            "ConfirmMismatch",
            format!(
                "spec.target.inPlace.confirm is {:?} and must be the namespace {namespace:?}; this run replaces the volumes of its workloads. Create a new run",
                confirm.unwrap_or_default()
            ),
        ));
    }
    if let Some(refused) = executed_by_another(seen) {
        return Some(refused);
    }
    let detected = declared(run);
    if detected > now && detected > run.created {
        return Some((
            "InvalidSpec",
            format!(
                "spec.incident.detectedAt {} is in the future (it is {} now): both clocks start there. Create a new run with the time at which the failure was noticed, or leave it out",
                detected.strftime("%Y-%m-%dT%H:%M:%SZ"),
                now.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
        ));
    }
    let suspected = run.spec.incident.as_ref().and_then(|incident| incident.suspected_since);
    if let Some(since) = suspected.filter(|since| *since > now) {
        return Some((
            "InvalidSpec",
            format!(
                "spec.incident.suspectedSince {since:.0} is in the future (it is {now:.0} now): every point would be trusted. Create a new run with the time of the first sign"
            ),
        ));
    }
    for asked in run.spec.policies.iter().flatten() {
        if seen.component(&asked.name).is_none() {
            if catalogue(seen).is_some() || (network && seen.policies.iter().any(|p| p.name == asked.name)) {
                continue;
            }
            let have = if seen.policies.is_empty() {
                "there is none".to_owned()
            } else {
                let names: Vec<&str> = seen.policies.iter().map(|policy| policy.name.as_str()).collect();
                format!("there are: {}", names.join(", "))
            };
            return Some((
                "InvalidSpec",
                format!(
                    "spec.policies names {}, which does not exist in namespace {namespace} ({have}). Create a new run",
                    asked.name
                ),
            ));
        }
    }
    if run.spec.scenario == Scenario::DatabaseCorruption
        && let Some(component) = seen.restored().find(|component| component.application)
    {
        return Some((
            "InvalidSpec",
            format!(
                "policy {} protects an application, and {} recovers ChromaDBs: leave it out of spec.policies (what depends on a ChromaDB is stopped and started with it), or create a run with scenario: CompleteFailure",
                component.policy,
                run.spec.scenario.as_str()
            ),
        ));
    }
    if seen.components.is_empty() && catalogue(seen).is_none() {
        let of = match run.spec.scenario {
            Scenario::DatabaseCorruption => " of a ChromaDB",
            Scenario::NetworkFailure => " with spec.offline",
            Scenario::CompleteFailure
            | Scenario::StorageFailure
            | Scenario::SecurityBreach
            | Scenario::BackupVerification => "",
        };
        let points = match run.spec.scenario {
            Scenario::CompleteFailure => ", and no RecoveryRepository of it holds a point",
            Scenario::DatabaseCorruption
            | Scenario::StorageFailure
            | Scenario::NetworkFailure
            | Scenario::SecurityBreach
            | Scenario::BackupVerification => "",
        };
        if network && !seen.policies.is_empty() {
            return Some((
                "InvalidSpec",
                format!(
                    "{}. Say in spec.offline of a policy what its component needs from outside, then create a new run",
                    network::concerned(seen)
                ),
            ));
        }
        return Some((
            "InvalidSpec",
            format!(
                "namespace {namespace} has no BackupPolicy{of}{points}, so nothing says what to recover; apply the policies first, then create a new run"
            ),
        ));
    }
    let depends_on = seen.components.iter().map(|c| (c.policy.as_str(), c.depends_on.as_slice()));
    if let (Some(circle), false) = (circle(depends_on), network || verifies) {
        return Some((
            "InvalidSpec",
            format!(
                "{circle}: each waits for the next to be recovered. Remove one of these dependsOn, then create a new run"
            ),
        ));
    }
    let named = run.spec.point.as_ref().and_then(|point| point.named.as_ref());
    if let (Some(named), true) = (named, seen.restored().count() > 1) {
        return Some((
            "InvalidSpec",
            format!(
                "spec.point.named is {}, a point of one policy, but the run has {}; write policies: [{{name: ...}}] with that one",
                named.name,
                seen.restored().count()
            ),
        ));
    }
    limits::exceeded(seen)
}

/// What is waited for where only the repositories tell what there was: until all that they hold is recorded here.
fn catalogue(seen: &Observed) -> Option<String> {
    let all = seen.run.spec.scenario == Scenario::CompleteFailure;
    let told = seen.restored().all(|component| !component.forgotten) && !seen.policies.is_empty();
    let open = seen.repositories.iter().find_map(|repository| repository.catalogued.as_ref().err());
    open.filter(|_| all && !told).cloned()
}

fn executed_by_another(seen: &Observed) -> Option<(&'static str, String)> {
    let executed = seen.executed.as_ref().filter(|executed| executed.uid != seen.run.uid)?;
    // What changes nothing may be done again.
    if seen.run.spec.mode == RunMode::DryRun || seen.run.spec.sandbox().is_some() {
        return None;
    }
    Some((
        "AlreadyExecuted",
        format!(
            "run {} was carried out on {}; a new recovery needs a new name",
            seen.run.name, executed.time
        ),
    ))
}

/// The claims of `component` and their volumes as they are now, or a sentence why they can't be touched.
///
/// Guarantee: each volume's claimRef names this very claim by its uid, so that a claim that names somebody else's volume
/// leads nowhere.
pub(crate) fn current<'a>(
    seen: &'a Observed,
    component: &'a Component,
) -> Result<Vec<(&'a ClaimSeen, &'a VolumeSeen)>, String> {
    let source = component.source.as_ref().map_err(Clone::clone)?;
    if component.workloads.is_empty() {
        return Err(format!(
            "policy {}: none of its workloads exists in namespace {}",
            component.policy, seen.run.namespace
        ));
    }
    source.claims.iter().map(|name| mounted(seen, component, name)).collect()
}

pub(crate) fn mounted<'a>(
    seen: &'a Observed,
    component: &Component,
    name: &str,
) -> Result<(&'a ClaimSeen, &'a VolumeSeen), String> {
    let namespace = &seen.run.namespace;
    let Some(claim) = seen.claims.get(name) else {
        return Err(format!(
            "claim {name} of policy {} does not exist in namespace {namespace}; a recovery replaces a volume that is there. Start the workload once, so that the claim is made, then create a new run",
            component.policy
        ));
    };
    if claim.deleting {
        return Err(format!(
            "claim {} is being deleted; wait until it is gone or whole again, then create a new run",
            claim.name
        ));
    }
    if claim.volume_mode.as_deref() == Some("Block") {
        return Err(format!("claim {} is a raw block device, which holds no files", claim.name));
    }
    let Some(volume) = claim.volume.as_deref().filter(|_| claim.bound) else {
        return Err(format!(
            "claim {} of policy {} is not bound to a volume; look at kubectl describe pvc {} -n {namespace}",
            claim.name, component.policy, claim.name
        ));
    };
    let volume = owned(seen, claim, volume)?;
    Ok((claim, volume))
}

/// Volume `name`, when it belongs to `claim` by uid.
pub(crate) fn owned<'a>(seen: &'a Observed, claim: &ClaimSeen, name: &str) -> Result<&'a VolumeSeen, String> {
    let Some(volume) = seen.volumes.get(name) else {
        return Err(format!(
            "claim {} names volume {name}, which does not exist; nothing is touched",
            claim.name
        ));
    };
    match &volume.claim {
        Some(owner) if owner.uid.as_deref() == Some(claim.uid.as_str()) => Ok(volume),
        Some(owner) => Err(format!(
            "claim {} names volume {name}, which belongs to claim {}/{}; nothing is touched",
            claim.name, owner.namespace, owner.name
        )),
        None => Err(format!(
            "claim {} names volume {name}, which belongs to no claim; nothing is touched",
            claim.name
        )),
    }
}

/// The step itself: after the steps are stored, the mark that this run is carried out is made, the first effect of all.
pub(crate) fn advance(draft: &mut Draft<'_>) -> Progress {
    let seen = draft.seen;
    let run = &seen.run;
    if let Some((reason, message)) = executed_by_another(seen) {
        return Progress::failed(reason, message);
    }
    if seen.namespace_terminating {
        return Progress::failed(
            "TargetTerminating",
            format!("namespace {} is being deleted", run.namespace),
        );
    }
    if run.spec.sandbox().is_some() {
        return Progress::Done(format!("rehearsed in namespace {}; production is not touched", seen.home()));
    }
    if seen.executed.is_some() {
        let found = match draft.status.assessment.as_slice() {
            [] => String::new(),
            lines => format!("{}. ", assessment::summary(lines)),
        };
        return Progress::Done(format!("{found}{}", assessed(seen)));
    }
    let data = BTreeMap::from([
        ("run".to_owned(), run.name.clone()),
        ("uid".to_owned(), run.uid.clone()),
        ("specHash".to_owned(), run.spec.identity_hash()),
        ("time".to_owned(), draft.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    ]);
    Progress::acting(
        vec![Effect::CreateExecuted { name: names::executed(&run.name), data }],
        "the run can be carried out; its name is taken for ever",
    )
}

fn assessed(seen: &Observed) -> String {
    if seen.run.spec.scenario == Scenario::BackupVerification {
        let policies: Vec<&str> = seen.components.iter().map(|component| component.policy.as_str()).collect();
        return format!(
            "points of {} are verified, and nothing of the cluster is touched",
            policies.join(", ")
        );
    }
    if seen.run.spec.scenario == Scenario::NetworkFailure {
        return network::concerned(seen);
    }
    let of = |volumes: Vec<(&ClaimSeen, &VolumeSeen)>| {
        let each =
            volumes.iter().map(|(claim, volume)| format!("claim {} on volume {}", claim.name, volume.name));
        let each: Vec<String> = each.collect();
        if each.is_empty() { "no volume".to_owned() } else { each.join(", ") }
    };
    let parts: Vec<String> = seen
        .restored()
        .map(|component| match current(seen, component) {
            Ok(volumes) => format!("{}: {}", component.policy, of(volumes)),
            Err(why) => why,
        })
        .collect();
    parts.join("; ")
}

/// How a step ends whose policy was deleted meanwhile.
pub(crate) fn policy_gone(draft: &Draft<'_>, policy: &str) -> Progress {
    Progress::failed(
        "StepFailed",
        format!(
            "policy {policy} was deleted from namespace {} while the run was under way; apply it again and create a new run",
            draft.seen.run.namespace
        ),
    )
}

/// A time to look again although nothing changes.
pub(crate) fn soon(draft: &Draft<'_>, millis: i64) -> Timestamp {
    draft.now.checked_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX)
}
