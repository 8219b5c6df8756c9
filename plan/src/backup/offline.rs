//! Captures with the workloads stopped. What is stopped is written down before anything is scaled, and is owed from then on: whatever
//! becomes of the capture, the replicas are given back, also by a controller that was started since. A finalizer holds the policy until
//! they are.

use crds::Span;
use crds::condition;
use crds::policy::{ActiveCapture, Offline, Stopped, User};
use crds::run::StoppedWorkload;
use jiff::Timestamp;

use super::source::{Problem, Source};
use super::{Observed, Plan, conditions};
use crate::effect::{Event, Identity};
use crate::workload::{self, PodSeen, WorkloadSeen};

/// The shortest time that a mover is given, however late its workloads were gone.
const SHORTEST: Span = Span::from_secs(30);

/// What is captured, or why nothing may be.
pub(super) fn source<'a>(seen: &'a Observed<'_>) -> Result<&'a Source, Problem> {
    let source = seen.source.as_ref().map_err(Clone::clone)?;
    let deleting = seen.workloads.iter().find(|workload| workload.deletes_claims);
    match deleting.filter(|_| seen.policy.spec.capture.offline.is_some()) {
        Some(set) => Err(Problem {
            reason: "ClaimDeletedWhenScaled",
            message: format!(
                "StatefulSet {} deletes its claims when it is scaled down, and an offline capture scales it to zero: the data would be gone. Set its spec.persistentVolumeClaimRetentionPolicy.whenScaled: Retain, or capture.live",
                set.workload.name
            ),
        }),
        None => Ok(source),
    }
}

/// Until when what is stopped may be.
fn until(offline: Offline, stopped: &Stopped) -> Timestamp {
    stopped.since.checked_add(offline.max_downtime.to_duration()).unwrap_or(Timestamp::MAX)
}

/// Stops the workloads for `active`, a step a look. Returns whether they are: nothing but movers of this policy has the claim.
pub(super) fn stop(seen: &Observed<'_>, plan: &mut Plan, offline: Offline, active: &ActiveCapture) -> bool {
    let Some(stopped) = &plan.status.stopped else {
        let stopped = write_down(seen);
        let named: Vec<String> =
            stopped.workloads.iter().map(|w| format!("{} {}->0", w.workload.name, w.replicas)).collect();
        plan.events.push(Event::normal(
            "WorkloadsStopped",
            format!("{} for capture {}, {} at most", named.join(", "), active.slot, offline.max_downtime),
        ));
        plan.finalizer = (!seen.finalizer).then_some(true);
        plan.status.stopped = Some(stopped);
        plan.next = plan.next.or_at(seen.now);
        return false;
    };
    plan.next = plan.next.or_at(until(offline, stopped));
    // Without it the policy could go, and with it what is owed.
    if !seen.finalizer {
        plan.finalizer = Some(true);
        plan.next = plan.next.or_at(seen.now);
        return false;
    }
    let running = |workload: &&WorkloadSeen| workload.replicas != 0;
    plan.scale = seen.workloads.iter().filter(running).map(|workload| workload.scaled(0)).collect();
    let pods: Vec<&PodSeen> = seen.pods.iter().collect();
    if plan.scale.is_empty() && pods.is_empty() {
        condition::clear(&mut plan.status.conditions, "Reconciling");
        return true;
    }
    let why = workload::unknown(seen.pods).unwrap_or_else(|| workload::waiting(&pods));
    conditions::waiting(seen, plan, Some(&why));
    false
}

fn write_down(seen: &Observed<'_>) -> Stopped {
    let (image, identity) = match &seen.source {
        Ok(source) => (source.image.clone(), source.identity.clone()),
        Err(_) => (String::new(), Identity::default()),
    };
    let Identity { uid, gid, groups, selinux: _ } = identity;
    let owed =
        |seen: &WorkloadSeen| StoppedWorkload { workload: seen.workload.clone(), replicas: seen.replicas };
    Stopped {
        since: seen.now,
        workloads: seen.workloads.iter().map(owed).collect(),
        image,
        user: User { uid, gid, groups },
    }
}

/// Gives back what is owed, and never takes anything from what somebody scaled up meanwhile. What was deleted is owed no more.
pub(super) fn start(seen: &Observed<'_>, plan: &mut Plan) {
    let Some(stopped) = &plan.status.stopped else {
        plan.finalizer = seen.finalizer.then_some(false);
        return;
    };
    let fewer = stopped.workloads.iter().filter_map(|owed| {
        let there = seen.workloads.iter().find(|there| there.workload == owed.workload)?;
        (there.replicas < owed.replicas).then(|| there.scaled(owed.replicas))
    });
    plan.scale = fewer.collect();
    if plan.scale.is_empty() {
        let names: Vec<&str> = stopped.workloads.iter().map(|owed| owed.workload.name.as_str()).collect();
        let time = crate::size::pause(seen.now.duration_since(stopped.since));
        let told = format!("{} have their replicas again after {time}", names.join(", "));
        plan.events.push(Event::normal("WorkloadsStarted", told));
        plan.status.stopped = None;
        plan.finalizer = seen.finalizer.then_some(false);
    } else {
        plan.next = plan.next.or_at(seen.now);
    }
}

/// A policy that is being deleted gives back what it owes, one whose namespace goes with it can't.
pub(super) fn leave(seen: &Observed<'_>, plan: &mut Plan) {
    if seen.namespace_terminating {
        plan.finalizer = seen.finalizer.then_some(false);
    } else {
        start(seen, plan);
    }
}

/// Why the capture is given up, when its workloads were stopped for as long as they may be.
pub(super) fn overdue(seen: &Observed<'_>, offline: Offline) -> Option<String> {
    let stopped = seen.policy.status.as_ref()?.stopped.as_ref()?;
    let limit = offline.max_downtime;
    if seen.now < until(offline, stopped) {
        return None;
    }
    let pods: Vec<&PodSeen> = seen.pods.iter().collect();
    let what = workload::unknown(seen.pods).unwrap_or_else(|| match pods.as_slice() {
        [] => "the capture did not end in time".to_owned(),
        pods => workload::waiting(pods),
    });
    Some(format!(
        "the workloads were stopped for {limit}, which is all that capture.offline.maxDowntime allows, and are started again: {what}"
    ))
}

/// Looks again when what is stopped has been for as long as it may be.
pub(super) fn watch(seen: &Observed<'_>, plan: &mut Plan, offline: Offline) {
    let stopped = seen.policy.status.as_ref().and_then(|status| status.stopped.as_ref());
    if let Some(stopped) = stopped {
        plan.next = plan.next.or_at(until(offline, stopped));
    }
}

/// How long the mover may take.
pub(super) fn deadline(seen: &Observed<'_>, plan: &Plan, offline: Offline) -> Span {
    let left = plan.status.stopped.as_ref().map(|stopped| until(offline, stopped).duration_since(seen.now));
    left.map_or(offline.max_downtime, |left| Span::floor(left).max(SHORTEST))
}

/// Image and identity of the server that was stopped, where one was.
pub(super) fn remembered(stopped: Option<&Stopped>, source: &Source) -> (String, Identity) {
    match stopped {
        Some(Stopped { image, user: User { uid, gid, groups }, .. }) => {
            let identity =
                Identity { uid: *uid, gid: *gid, groups: groups.clone(), ..source.identity.clone() };
            (image.clone(), identity)
        }
        None => (source.image.clone(), source.identity.clone()),
    }
}
