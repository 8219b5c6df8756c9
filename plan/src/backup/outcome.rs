//! What became of the capture under way, from its Job.

use crds::job::{Captured, Failure, FailureReason, Report};
use crds::policy::{ActiveCapture, LastAttempt, PolicyMode, SnapshotStage};

use super::job::job;
use super::{
    ATTEMPTS, CONFIRMS, Observed, Plan, capture_job, conditions, counts, fresh, hooks, job_name, offline,
    points, snapshot,
};
use crate::backoff;
use crate::effect::{Event, JobState, OTHER_ANSWER};
use crate::size;

/// Goes on with `active`. Returns whether it needs the workloads to be stopped.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan, active: ActiveCapture) -> bool {
    let name = job_name(seen.policy, &active);
    let going = matches!(seen.job, JobState::Absent | JobState::Running { .. }) && !active.confirming;
    let offline = seen.policy.spec.capture.offline.filter(|_| going);
    if let Some(why) = offline.and_then(|offline| offline::overdue(seen, plan, offline)) {
        failed(seen, plan, &active, "DeadlineExceeded", &why);
        // What came due meanwhile would stop them again at once.
        plan.status.last_slot = Some(seen.now);
        plan.delete.push(name);
        return false;
    }
    match &seen.job {
        JobState::Absent => return begin(seen, plan, &active),
        JobState::Running { waiting } => {
            conditions::waiting(seen, plan, waiting.as_deref());
            return !active.confirming;
        }
        JobState::Ended(Report::Captured(captured)) => {
            succeeded(seen, plan, &active, captured);
            plan.delete.push(name);
        }
        JobState::Ended(Report::Cut(cut)) if snapshot::is_cutting(&active) => {
            snapshot::cut(seen, plan, active, cut);
            plan.delete.push(name);
        }
        JobState::Ended(Report::NotCommitted) if active.confirming => {
            let failure = Failure {
                reason: FailureReason::MoverFailed,
                message: format!("attempt {} ended without a report and committed nothing", active.attempt),
            };
            retry(seen, plan, active, &failure);
            plan.delete.push(name);
        }
        JobState::Ended(Report::Failed(failure)) if active.confirming => {
            confirm_again(seen, plan, active, &failure.message);
            plan.delete.push(name);
        }
        JobState::Ended(Report::Failed(failure)) => {
            if failure.reason.is_transient() {
                retry(seen, plan, active, failure);
            } else {
                final_failure(seen, plan, &active, failure);
            }
            plan.delete.push(name);
        }
        JobState::Ended(_) => {
            final_failure(seen, plan, &active, &other_answer());
            plan.delete.push(name);
        }
        JobState::Silent { why } if active.confirming => {
            confirm_again(seen, plan, active, why);
            plan.delete.push(name);
        }
        JobState::Silent { why } if snapshot::is_cutting(&active) => {
            // It commits nothing that could be looked for.
            let message = format!("attempt {} ended without a report: {why}", active.attempt);
            retry(seen, plan, active, &Failure { reason: FailureReason::MoverFailed, message });
            plan.delete.push(name);
        }
        JobState::Silent { why } => {
            plan.events.push(Event::warning(
                "MoverRestarted",
                format!("Job {name} ended without a report: {why}; looking for its commit record"),
            ));
            // Its Job stays until the commit record was looked for, for people who want to see its logs.
            let next = ActiveCapture { confirming: true, confirms: 1, not_before: None, ..active };
            begin(seen, plan, &next);
            plan.status.active = Some(next);
        }
    }
    false
}

/// Starts the Job of `active` when its time has come and the repository can be used. A capture also needs its source, nobody
/// who forbids it and perhaps stopped workloads; a search for a commit record doesn't. Returns whether it needs them stopped.
pub(super) fn begin(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture) -> bool {
    let held = seen.held_by.is_some() && !fresh::serves(seen, active);
    let forbidden = held || seen.shared_with.is_some() || seen.policy.spec.mode == PolicyMode::Suspended;
    if forbidden && !active.confirming {
        // A run that stops the workload must not find a capture starting behind its back.
        plan.events.push(Event::normal(
            "CaptureWithdrawn",
            format!("capture {} is not started any more: see Ready", active.slot),
        ));
        plan.status.active = None;
        return false;
    }
    if let Some(time) = active.not_before.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
        return false;
    }
    if conditions::repository(&seen.policy.spec.repository_ref.name, seen.repository).is_err() {
        return false;
    }
    let offline = seen.policy.spec.capture.offline.filter(|_| !active.confirming);
    if let Some(offline) = offline {
        let Ok(source) = offline::source(seen) else { return false };
        if !offline::stop(seen, plan, source, offline, active) {
            return true;
        }
    }
    if !active.confirming && active.snapshot.is_some() && !snapshot::is_ready(seen, plan, active) {
        return false;
    }
    if let Ok(source) = &seen.source
        && !hooks::begun(seen, plan, source, active)
    {
        return false;
    }
    if let Some((job, clones)) = job(seen, plan, active) {
        plan.start = Some(Box::new(job));
        plan.clones = clones;
    }
    offline.is_some()
}

pub(super) fn succeeded(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, captured: &Captured) {
    let about = points::About {
        policy: seen.policy.metadata.name.as_deref().unwrap_or_default(),
        repository: &seen.policy.spec.repository_ref.name,
        origin: active.origin,
        image: offline::image(seen, plan),
        hold: None,
        trust: None,
        verification: None,
    };
    let point = points::new(about, captured, points::taken(seen.points), seen.now);
    let whole = captured.findings.is_empty();
    let stopped = plan.status.stopped.as_ref().map(|stopped| seen.now.duration_since(stopped.since));
    let pause = size::pause(stopped.unwrap_or(captured.longest_hold));
    let waited = if stopped.is_some() { "its workloads were stopped" } else { "writers were held" };
    let (reason, message) = if whole {
        ("Captured", format!("{} holds {}; {waited} for {pause}", point.name, points::held(captured)))
    } else {
        ("OfflineCheckFailed", format!("{} is quarantined: {}", point.name, points::findings(captured)))
    };
    conditions::captured(seen, plan, whole, reason, &message);
    plan.status.consecutive_failures =
        if whole { 0 } else { plan.status.consecutive_failures.saturating_add(1) };
    counts::count(plan.status.captures.get_or_insert_default(), whole, seen.now);
    ended(seen, plan, active, reason, Some(pause));
    fresh::answer(seen, plan, active, reason, whole.then_some(point.name.as_str()));
    plan.record = Some(Box::new(point));
}

/// What is told of a mover that reports something else than it was asked.
pub(super) fn other_answer() -> Failure {
    Failure { reason: FailureReason::InvalidRequest, message: OTHER_ANSWER.to_owned() }
}

pub(super) fn retry(seen: &Observed<'_>, plan: &mut Plan, active: ActiveCapture, failure: &Failure) {
    if active.attempt >= ATTEMPTS {
        final_failure(seen, plan, &active, failure);
        return;
    }
    if active.confirming {
        plan.delete.push(capture_job(seen.policy, &active.slot, active.attempt));
    }
    let wait = backoff::after(active.attempt, &capture_job(seen.policy, &active.slot, active.attempt));
    let next = ActiveCapture {
        attempt: active.attempt + 1,
        confirming: false,
        confirms: 0,
        not_before: Some(seen.now + wait),
        snapshot: active.snapshot.map(|_| SnapshotStage { cut: None }),
        ..active
    };
    plan.next = plan.next.or_at(seen.now + wait);
    plan.events.push(Event::warning(
        format!("{:?}", failure.reason),
        format!("attempt {} of {ATTEMPTS} of capture {}: {}", active.attempt, next.slot, failure.message),
    ));
    plan.status.active = Some(next);
}

fn confirm_again(seen: &Observed<'_>, plan: &mut Plan, active: ActiveCapture, why: &str) {
    if active.confirms >= CONFIRMS {
        let failure = Failure {
            reason: FailureReason::MoverFailed,
            message: format!(
                "attempt {} ended without a report, and whether it committed a point could not be found out: {why}. If it did, the point is in the repository and not in this list",
                active.attempt
            ),
        };
        final_failure(seen, plan, &active, &failure);
        return;
    }
    let wait = backoff::after(active.confirms, &job_name(seen.policy, &active));
    plan.next = plan.next.or_at(seen.now + wait);
    plan.status.active =
        Some(ActiveCapture { confirms: active.confirms + 1, not_before: Some(seen.now + wait), ..active });
}

pub(super) fn final_failure(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, failure: &Failure) {
    failed(seen, plan, active, &format!("{:?}", failure.reason), &failure.message);
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, reason: &str, why: &str) {
    let message = match active.attempt {
        1 => why.to_owned(),
        attempts => format!("after {attempts} attempts: {why}"),
    };
    conditions::captured(seen, plan, false, reason, &message);
    plan.status.consecutive_failures = plan.status.consecutive_failures.saturating_add(1);
    counts::count(plan.status.captures.get_or_insert_default(), false, seen.now);
    ended(seen, plan, active, reason, None);
    fresh::answer(seen, plan, active, reason, None);
}

fn ended(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, reason: &str, pause: Option<String>) {
    if active.confirming {
        plan.delete.push(capture_job(seen.policy, &active.slot, active.attempt));
    }
    plan.status.last_attempt = Some(LastAttempt {
        time: seen.now,
        reason: reason.to_owned(),
        attempts: active.attempt,
        longest_pause: pause,
    });
    plan.status.active = None;
}
