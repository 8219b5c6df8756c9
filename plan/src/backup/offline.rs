//! Captures with the workloads stopped. What is stopped is written down before anything is scaled, and is owed from then on: whatever
//! becomes of the capture, the replicas are given back, also by a controller that was started since. A finalizer holds the policy until
//! they are.

use crds::Span;
use crds::condition;
use crds::policy::{ActiveCapture, Offline, Stopped, User};
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
pub(super) fn stop(
    seen: &Observed<'_>,
    plan: &mut Plan,
    source: &Source,
    offline: Offline,
    active: &ActiveCapture,
) -> bool {
    if plan.status.stopped.is_none() {
        let stopped = write_down(seen, source);
        let named = workload::stopped(&stopped.workloads);
        let told = format!("{named} for capture {}, {} at most", active.slot, offline.max_downtime);
        plan.events.push(Event::normal("WorkloadsStopped", told));
        plan.status.stopped = Some(stopped);
    } else if seen.finalizer {
        plan.scale = workload::down(seen.workloads);
        let pods = writing(seen);
        if plan.scale.is_empty() && pods.is_empty() {
            condition::clear(&mut plan.status.conditions, "Reconciling");
            return true;
        }
        let why = workload::unknown(pods.iter().copied()).unwrap_or_else(|| workload::waiting(pods));
        conditions::waiting(seen, plan, Some(&why));
        return false;
    }
    // Without the finalizer the policy could go, and with it what is owed: nothing is scaled before it is seen.
    plan.next = plan.next.or_at(seen.now);
    false
}

/// Who has the volumes and may still write. What a CronJob ran and has ended lies about for as long as its history is kept.
fn writing<'a>(seen: &'a Observed<'_>) -> Vec<&'a PodSeen> {
    seen.pods.iter().filter(|pod| pod.may_write()).collect()
}

fn write_down(seen: &Observed<'_>, source: &Source) -> Stopped {
    let Identity { uid, gid, groups, selinux: _ } = source.identity.clone();
    Stopped {
        since: seen.now,
        workloads: seen.workloads.iter().map(WorkloadSeen::owed).collect(),
        image: source.image().to_owned(),
        user: User { uid, gid, groups },
    }
}

/// Gives back what is owed.
pub(super) fn start(seen: &Observed<'_>, plan: &mut Plan) {
    if let Some(stopped) = &plan.status.stopped {
        plan.scale = workload::up(&stopped.workloads, seen.workloads);
        if !plan.scale.is_empty() {
            plan.next = plan.next.or_at(seen.now);
            return;
        }
        let names: Vec<&str> = stopped.workloads.iter().map(|owed| owed.workload.name.as_str()).collect();
        let time = crate::size::pause(seen.now.duration_since(stopped.since));
        let told = format!("{} have their replicas again after {time}", names.join(", "));
        plan.events.push(Event::normal("WorkloadsStarted", told));
        plan.status.stopped = None;
    }
}

/// Why the capture is given up, when its workloads were stopped for as long as they may be; until then it is looked at again when
/// they will have been.
pub(super) fn overdue(seen: &Observed<'_>, plan: &mut Plan, offline: Offline) -> Option<String> {
    let until = until(offline, plan.status.stopped.as_ref()?);
    if seen.now < until {
        plan.next = plan.next.or_at(until);
        return None;
    }
    let pods = writing(seen);
    let what = workload::unknown(pods.iter().copied()).unwrap_or_else(|| match pods.is_empty() {
        true => "the capture did not end in time".to_owned(),
        false => workload::waiting(pods),
    });
    Some(format!(
        "the workloads were stopped for {}, which is all that capture.offline.maxDowntime allows, and are started again: {what}",
        offline.max_downtime
    ))
}

/// How long the mover may take.
pub(super) fn deadline(seen: &Observed<'_>, plan: &Plan, offline: Offline) -> Span {
    let left = plan.status.stopped.as_ref().map(|stopped| until(offline, stopped).duration_since(seen.now));
    left.map_or(offline.max_downtime, |left| Span::floor(left).max(SHORTEST))
}

/// Image of the server: of the one that was stopped, where one was.
pub(super) fn image(seen: &Observed<'_>, plan: &Plan) -> String {
    let stopped = plan.status.stopped.as_ref().map(|stopped| stopped.image.as_str());
    stopped.or(seen.source.as_ref().ok().map(Source::image)).unwrap_or_default().to_owned()
}

/// As whom the server runs: the one that was stopped, where one was.
pub(super) fn identity(plan: &Plan, source: &Source) -> Identity {
    let now = source.identity.clone();
    match &plan.status.stopped {
        Some(Stopped { user: User { uid, gid, groups }, .. }) => {
            Identity { uid: *uid, gid: *gid, groups: groups.clone(), ..now }
        }
        None => now,
    }
}
