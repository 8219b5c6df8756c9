//! How a run ends, and what is tidied up around it. A run that fails ends only when its claims are whole, so that the
//! state of the world it reports is one that a human can go on from.

use crds::condition::{Status, get, is_true};
use crds::names;
use crds::reference::WorkloadKind;
use crds::run::{LeftAs, NextAction, RecoveryRunStatus, StepPhase, StoppedWorkload, Verdict};

use super::effect::Effect;
use super::seen::{ClaimSeen, Observed, PointState};
use super::steps::{self, Kind, Step};
use super::swap::{self, between, bound, recorded, swapped};
use super::{Draft, Progress, binding, mover, start, stop, texts};

/// Whether the run has ended; nothing changes its status any more.
pub(crate) fn settled(status: &RecoveryRunStatus) -> bool {
    is_true(&status.conditions, "Complete") || is_true(&status.conditions, "Failed")
}

/// Deletes Jobs whose result is recorded: their pods would keep the claims from being deleted. And lets the run go when
/// its claims are whole.
pub(crate) fn delete_spent_jobs(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    let mut needed = Vec::new();
    for stored in draft.status.steps.iter().filter(|step| step.phase == StepPhase::Running) {
        let Some(step) = Step::of(stored) else { continue };
        let attempt = stored.attempts.max(1);
        for component in &seen.components {
            if step.policy.as_ref().is_none_or(|policy| *policy == component.policy) {
                needed.push(mover::job_name(draft, step.kind, &component.policy, attempt));
            }
        }
    }
    delete_jobs(draft, &needed);
    if seen.run.finalizer && !holding(draft) {
        draft.effects.push(Effect::RemoveFinalizer);
    }
}

/// Whether the run must stay until its claims are whole.
fn holding(draft: &Draft<'_>) -> bool {
    let deletes =
        draft.seen.components.iter().flat_map(|c| &c.workloads).any(|workload| workload.deletes_claims);
    let stopping = draft
        .status
        .steps
        .iter()
        .any(|step| step.name == "Stop" && matches!(step.phase, StepPhase::Running | StepPhase::Done));
    draft.status.steps.iter().filter(|step| Step::of(step).is_some_and(|step| step.kind == Kind::Swap)).any(
        |step| match step.phase {
            StepPhase::Running | StepPhase::Failed => true,
            StepPhase::Waiting => deletes && stopping,
            StepPhase::Done | StepPhase::Skipped => false,
        },
    )
}

fn delete_jobs(draft: &mut Draft<'_>, needed: &[String]) {
    for (name, job) in &draft.seen.jobs {
        if !job.deleting && !needed.contains(name) {
            draft.effects.push(Effect::DeleteJob { name: name.clone(), uid: job.uid.clone() });
        }
    }
}

/// After the end: Jobs, fence and finalizer go. The fence stays while a claim is between two volumes.
pub(crate) fn tidy(draft: &mut Draft<'_>) {
    delete_jobs(draft, &[]);
    let seen = draft.seen;
    if !between(seen, &draft.status) {
        lift(draft);
    }
    if seen.run.finalizer {
        draft.effects.push(Effect::RemoveFinalizer);
    }
}

/// Nothing is fenced and nothing remembered any more.
fn lift(draft: &mut Draft<'_>) {
    draft.status.fenced.clear();
    let run = &draft.seen.run;
    draft.effects.extend(draft.seen.memory.as_ref().map(|memory| Effect::ForgetClaims {
        name: names::memory(&run.name, &run.uid),
        uid: memory.uid.clone(),
    }));
}

/// The run is being deleted: a swap that was begun is finished, a claim that a StatefulSet deleted is put back, nothing
/// is started, and the run goes.
pub(crate) fn leave(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    if !seen.run.finalizer {
        return;
    }
    delete_jobs(draft, &[]);
    if !seen.namespace_terminating && !make_whole(draft) {
        return;
    }
    lift(draft);
    draft.effects.push(Effect::RemoveFinalizer);
}

/// Goes on with what has been taken apart. Returns whether all is whole, or as whole as it gets.
fn make_whole(draft: &mut Draft<'_>) -> bool {
    let mut whole = true;
    for index in 0..draft.status.steps.len() {
        let Some(Step { kind: Kind::Swap, policy: Some(policy) }) = Step::of(&draft.status.steps[index])
        else {
            continue;
        };
        let running = draft.status.steps[index].phase == StepPhase::Running;
        if running && recorded(&draft.status, &policy).is_some() && between(draft.seen, &draft.status) {
            match swap::advance(draft, index, &policy) {
                Progress::Done(message) | Progress::Skipped(message) => {
                    steps::end(draft, index, StepPhase::Done, &message);
                }
                Progress::Failed { reason, message } => steps::fail(draft, index, &reason, &message),
                Progress::Again { .. } => {}
                Progress::Acting { effects, .. } => {
                    draft.effects.extend(effects);
                    whole = false;
                }
                Progress::Polling { effects, at, .. } => {
                    draft.effects.extend(effects);
                    draft.next = draft.next.or_at(at);
                    whole = false;
                }
            }
            continue;
        }
        match put_back(draft, &policy) {
            Back::Whole | Back::Impossible => {}
            Back::Acting(effects) => {
                draft.effects.extend(effects);
                whole = false;
            }
        }
    }
    whole
}

enum Back {
    Whole,
    Acting(Vec<Effect>),
    /// The claim's name or the old volume is somebody else's now.
    Impossible,
}

/// Gives the old volume its claim again when the claim is gone: deleted by `whenScaled: Delete`, or by a swap that failed.
fn put_back(draft: &mut Draft<'_>, policy: &str) -> Back {
    let seen = draft.seen;
    let Some(claim) = seen.remembered(policy) else { return Back::Whole };
    let Some(old) = claim.volume.as_deref() else { return Back::Impossible };
    if let Some(present) = seen.claims.get(&claim.name) {
        return match present {
            present if present.deleting || doomed(seen, present) => Back::Acting(Vec::new()),
            _ if bound(seen, &claim.name, old) || swapped(seen, &draft.status, policy) => {
                match binding::hasten(draft, &[present]) {
                    tidying if tidying.is_empty() => Back::Whole,
                    tidying => Back::Acting(tidying),
                }
            }
            present if !present.bound && present.volume.as_deref() == Some(old) => {
                Back::Acting(binding::hasten(draft, &[present]))
            }
            _ => Back::Impossible,
        };
    }
    let Some(volume) = seen.volumes.get(old) else { return Back::Impossible };
    if volume.reclaim != "Retain" {
        return Back::Acting(vec![Effect::SetReclaimPolicy {
            volume: volume.name.clone(),
            resource_version: volume.resource_version.clone(),
            policy: "Retain".to_owned(),
        }]);
    }
    match swap::reserve(seen, volume, &claim.name, &claim.uid) {
        Ok(Some(effect)) => Back::Acting(vec![effect]),
        Ok(None) if volume.phase == "Available" => {
            Back::Acting(vec![Effect::CreateClaim(swap::like(seen, claim, old))])
        }
        Ok(None) => Back::Acting(Vec::new()),
        Err(_) => Back::Impossible,
    }
}

/// Whether a StatefulSet with `whenScaled: Delete` is about to delete `claim`: its pod is still there, or owns the claim.
fn doomed(seen: &Observed, claim: &ClaimSeen) -> bool {
    stop::workloads(seen).iter().any(|workload| workload.deletes_claims && workload.replicas == 0)
        && (seen.pods_of(&claim.name).next().is_some()
            || claim.owners.iter().any(|owner| owner.kind == "Pod"))
}

/// A step failed: makes the claims whole, then ends the run.
pub(crate) fn finish_failed(draft: &mut Draft<'_>) {
    delete_jobs(draft, &[]);
    let seen = draft.seen;
    if !seen.namespace_terminating {
        for policy in seen.components.iter().map(|component| component.policy.clone()).collect::<Vec<_>>() {
            if let Back::Acting(effects) = put_back(draft, &policy) {
                draft.effects.extend(effects);
                return;
            }
        }
    }
    // A run that was carried out before, as the repository knows, had no reason to stop anything, and what can't be restored at all
    // is left as it was found.
    // And who cancelled it wants what ran to run.
    let in_vain =
        |reason: &str| matches!(reason, "AlreadyExecuted" | "DowngradeRefused" | "Cancelled" | "Rejected");
    if get(&draft.status.conditions, "Ready").is_some_and(|ready| in_vain(&ready.reason)) {
        let effects = start::scale_up(draft);
        if !effects.is_empty() {
            draft.effects.extend(effects);
            return;
        }
    }
    let (reason, mut message) = get(&draft.status.conditions, "Ready")
        .map(|ready| (ready.reason.clone(), ready.message.clone()))
        .unwrap_or_else(|| ("StepFailed".to_owned(), "a step failed".to_owned()));
    if let Some(step) = draft.status.steps.iter().find(|step| step.phase == StepPhase::Failed)
        && reason == "StepFailed"
        && !message.starts_with(&step.name)
    {
        message = format!("{}: {message}", step.name);
    }
    let left = left_as(draft);
    if begun(&draft.status) {
        message = format!("{message}. {}", world(draft, &left));
    }
    draft.status.next_actions = next_actions(draft, &left);
    draft.status.left_as = Some(left);
    draft.status.verdict.get_or_insert(Verdict::Failed);
    draft.condition("Ready", false, &reason, message.clone());
    draft.condition("Stalled", Status::True, &reason, message.clone());
    draft.condition("Failed", Status::True, &reason, message.clone());
    draft.events.push(crate::effect::Event::warning(reason, message));
}

fn begun(status: &RecoveryRunStatus) -> bool {
    !status.stopped.is_empty()
}

fn left_as(draft: &Draft<'_>) -> LeftAs {
    let seen = draft.seen;
    let workloads = stop::workloads(seen);
    let running = workloads.iter().filter(|workload| workload.replicas > 0).count();
    let workloads = match running {
        0 => "Stopped",
        n if n == workloads.len() => "Running",
        _ => "Mixed",
    };
    let swaps = draft.status.swaps.iter().filter(|swap| swapped(seen, &draft.status, &swap.policy)).count();
    let claims = if between(seen, &draft.status) && !all_whole(draft) {
        "Between"
    } else if swaps > 0 {
        "Swapped"
    } else {
        "Original"
    };
    let data = if swaps > 0 { "Restored" } else { "Untouched" };
    LeftAs { workloads: workloads.to_owned(), data: data.to_owned(), claims: claims.to_owned() }
}

fn all_whole(draft: &Draft<'_>) -> bool {
    draft.status.swaps.iter().all(|swap| {
        bound(draft.seen, &swap.claim, &swap.new_volume) || bound(draft.seen, &swap.claim, &swap.old_volume)
    })
}

fn world(draft: &Draft<'_>, left: &LeftAs) -> String {
    let claims: Vec<&str> =
        draft.seen.components.iter().filter_map(|component| stop::claim_of(draft.seen, component)).collect();
    let claims = claims.join(", ");
    let workloads = match left.workloads.as_str() {
        "Stopped" => "the workloads are stopped",
        "Running" => "the workloads run",
        _ => "some workloads run",
    };
    match left.claims.as_str() {
        "Original" => format!("Nothing was replaced: {claims} is the old volume, {workloads}"),
        "Swapped" => {
            format!("{claims} is the restored volume, the old one is kept in quarantine, {workloads}")
        }
        _ => format!(
            "The claims are between two volumes ({}), both set to Retain; {workloads}",
            draft
                .status
                .swaps
                .iter()
                .map(|swap| format!("{}: old {}, new {}", swap.claim, swap.old_volume, swap.new_volume))
                .collect::<Vec<_>>()
                .join("; ")
        ),
    }
}

fn next_actions(draft: &Draft<'_>, left: &LeftAs) -> Vec<NextAction> {
    let mut actions = Vec::new();
    if !begun(&draft.status) {
        return actions;
    }
    let namespace = &draft.seen.run.namespace;
    if left.claims == "Between" {
        actions.push(NextAction {
            name: "look".into(),
            message: "see which claim holds which volume before anything else is done".into(),
            command: format!("kubectl get pvc,pv -n {namespace}"),
        });
        return actions;
    }
    for chosen in &draft.status.points {
        if let Some((name, time)) = older(draft.seen, &chosen.policy, chosen.consistency_time) {
            actions.push(NextAction {
                name: format!("older-point-{}", texts::cut(&chosen.policy, 40)),
                message: format!(
                    "{name} is Available; loses {} more than {}",
                    texts::between(time, chosen.consistency_time),
                    chosen.name
                ),
                command: create(draft, &chosen.policy, &name),
            });
        }
    }
    if left.claims == "Original" {
        for stopped in draft.status.stopped.iter().filter(|stopped| stopped.replicas > 0).take(3) {
            actions.push(NextAction {
                name: format!("start-{}", texts::cut(&stopped.workload.name, 50)),
                message: "starts it on the old volume as it was, with whatever damage it has".into(),
                command: scale(namespace, stopped),
            });
        }
        for component in &draft.seen.components {
            let Some(claim) = stop::claim_of(draft.seen, component) else { continue };
            let restore = names::restore_claim(claim, &draft.seen.run.uid);
            if draft.seen.claims.contains_key(&restore) {
                actions.push(NextAction {
                    name: format!("remove-{}", texts::cut(&component.policy, 50)),
                    message: "removes the unfinished copy; the old volume stays".into(),
                    command: format!("kubectl delete pvc -n {namespace} {restore}"),
                });
            }
        }
    } else {
        for stopped in draft.status.stopped.iter().take(3) {
            let name = texts::cut(&stopped.workload.name, 50);
            if left.workloads == "Running" {
                actions.push(NextAction {
                    name: format!("logs-{name}"),
                    message: "what the database says on the restored volume".into(),
                    command: format!("kubectl logs -n {namespace} {}", kind(stopped)),
                });
            } else if stopped.replicas > 0 {
                actions.push(NextAction {
                    name: format!("start-{name}"),
                    message: "starts it on the restored volume".into(),
                    command: scale(namespace, stopped),
                });
            }
        }
    }
    actions.truncate(8);
    actions
}

fn older(seen: &Observed, policy: &str, than: jiff::Timestamp) -> Option<(String, jiff::Timestamp)> {
    seen.points
        .iter()
        .filter(|point| point.policy == policy && point.state == PointState::Available)
        .filter_map(|point| point.consistency_time.map(|time| (point.name.clone(), time)))
        .filter(|(_, time)| *time < than)
        .max_by_key(|(_, time)| *time)
}

fn kind(stopped: &StoppedWorkload) -> String {
    match stopped.workload.kind {
        WorkloadKind::StatefulSet => format!("statefulset/{}", stopped.workload.name),
        WorkloadKind::Deployment => format!("deployment/{}", stopped.workload.name),
        WorkloadKind::CronJob => format!("cronjob/{}", stopped.workload.name),
    }
}

/// A command that starts again what the run stopped.
fn scale(namespace: &str, stopped: &StoppedWorkload) -> String {
    match stopped.workload.kind {
        WorkloadKind::CronJob => {
            format!("kubectl patch -n {namespace} {} -p '{{\"spec\":{{\"suspend\":false}}}}'", kind(stopped))
        }
        WorkloadKind::StatefulSet | WorkloadKind::Deployment => {
            format!("kubectl scale -n {namespace} {} --replicas={}", kind(stopped), stopped.replicas)
        }
    }
}

/// A command that creates the run which restores `point`.
fn create(draft: &Draft<'_>, policy: &str, point: &str) -> String {
    let run = &draft.seen.run;
    format!(
        "echo '{{\"apiVersion\":\"holdfast.dev/v1alpha1\",\"kind\":\"RecoveryRun\",\"metadata\":{{\"generateName\":\"recover-\",\"namespace\":\"{ns}\"}},\"spec\":{{\"scenario\":\"{scenario}\",\"policies\":[{{\"name\":\"{policy}\"}}],\"point\":{{\"named\":{{\"name\":\"{point}\"}}}},\"target\":{{\"inPlace\":{{\"confirm\":\"{ns}\"}}}}}}}}' | kubectl create -f -",
        ns = run.namespace,
        scenario = run.spec.scenario.as_str(),
    )
}
