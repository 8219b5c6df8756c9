//! Captures that follow each other in one pod, for an RPO that is shorter than a schedule can keep. Each is a container of its own: its
//! Report is a termination message like any other's, and what one does wrong hinders the next in nothing; what they share is the mirror in
//! their scratch space. A series ends by itself, so that a policy that changed is taken up, or sooner, when something stands in its way: its pod must not
//! keep a volume on a node that the server has left.

use crds::Span;
use crds::job::{Failure, MAX_TURNS, Report, Turn};
use crds::policy::{ActiveCapture, PolicyMode, Series};
use crds::reference::REQUESTED_AT;
use jiff::Timestamp;

use super::{Observed, Plan, capture_job, conditions, outcome, slot_name};
use crate::effect::{Event, JobState};
use crate::request;

/// The series whose first slot is this one.
pub(super) fn from(first: Timestamp, every: Span) -> Series {
    Series { first, every, captures: MAX_TURNS, ended: 0 }
}

/// When the capture of this number is due.
fn slot(series: &Series, number: u32) -> Timestamp {
    let later = series.every.to_duration().saturating_mul(i32::try_from(number).unwrap_or(i32::MAX));
    series.first.checked_add(later).unwrap_or(Timestamp::MAX)
}

/// Every slot of a series, and what its capture is told. One in the middle checks all there is to check, when the mirror is warm.
pub(super) fn turns(series: &Series) -> Vec<(Timestamp, Turn)> {
    let turn = |number| {
        let at = slot(series, number);
        let until = slot(series, number.saturating_add(1));
        (at, Turn { at, until, full_check: number == series.captures / 2 })
    };
    (0..series.captures).map(turn).collect()
}

/// How long the pod may take, whose last capture may take as long as one that stands alone.
pub(super) fn deadline(series: &Series, one: Span) -> Span {
    Span::from_secs(
        series.every.as_secs().saturating_mul(u64::from(series.captures)).saturating_add(one.as_secs()),
    )
}

/// Goes on with a series: records what has ended, one point a look, and ends it when it is over or something stands in its way.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan, active: ActiveCapture, continuous: Option<Span>) {
    let Some(series) = active.series.clone() else { return };
    let job = capture_job(seen.policy, &active.slot, active.attempt);
    let number = usize::try_from(series.ended).unwrap_or(usize::MAX);
    // Looked at in every look: that the server has left its node is seen in one only.
    let why = in_the_way(seen, &series, continuous);
    if let Some(report) = seen.turns.get(number).cloned().flatten() {
        ended(seen, plan, &active, &series, &report);
        let series = Series { ended: series.ended + 1, ..series };
        // The next one may have ended, too.
        plan.next = plan.next.or_at(seen.now);
        plan.status.active = Some(ActiveCapture { series: Some(series), ..active });
        if is_final(&report) || why.is_some() {
            end(plan, job);
        }
        return;
    }
    if series.ended >= series.captures {
        end(plan, job);
        return;
    }
    if let Some(why) = why {
        plan.events.push(Event::normal("CaptureWithdrawn", format!("captures in a row end: {why}")));
        end(plan, job);
        return;
    }
    match &seen.job {
        // It was not made yet. One that somebody deleted is not made again: the next slot begins another.
        JobState::Absent if series.ended == 0 => {
            outcome::begin(seen, plan, &active);
        }
        JobState::Absent => end(plan, job),
        JobState::Running { waiting } => conditions::waiting(seen, plan, waiting.as_deref()),
        JobState::Ended(_) | JobState::Silent { .. } => {
            let why = match &seen.job {
                JobState::Silent { why } => why.clone(),
                _ => "its pod ended before its turn".to_owned(),
            };
            plan.events.push(Event::warning(
                "MoverRestarted",
                format!("Job {job} ended without a report: {why}; looking for its commit record"),
            ));
            // From here on it is a capture that stands alone.
            let due = slot(&series, series.ended);
            plan.status.last_slot = Some(due);
            plan.status.active = Some(ActiveCapture {
                slot: slot_name(due),
                series: None,
                confirming: true,
                confirms: 1,
                not_before: None,
                ..active
            });
            plan.next = plan.next.or_at(seen.now);
            plan.delete.push(job);
        }
    }
}

/// What one capture of a series came to.
fn ended(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveCapture, series: &Series, report: &Report) {
    let due = slot(series, series.ended);
    plan.status.last_slot = Some(due);
    let one = ActiveCapture { slot: slot_name(due), series: None, ..active.clone() };
    match report {
        Report::Captured(captured) => {
            outcome::succeeded(seen, plan, &one, captured);
            let asked =
                request::newest(&seen.policy.metadata, REQUESTED_AT, plan.status.observed_requested_at);
            let asked = asked.ok().flatten().filter(|asked| *asked <= captured.consistency_time);
            plan.status.observed_requested_at = asked.or(plan.status.observed_requested_at);
        }
        Report::LeftOut => {}
        Report::Failed(failure) => outcome::final_failure(seen, plan, &one, failure),
        _ => outcome::final_failure(seen, plan, &one, &outcome::other_answer()),
    }
}

/// Whether the pod ended with this report, because no other capture would fare better.
fn is_final(report: &Report) -> bool {
    match report {
        Report::Captured(_) | Report::LeftOut => false,
        Report::Failed(Failure { reason, .. }) => !reason.is_transient(),
        _ => true,
    }
}

/// Why a series may not go on.
fn in_the_way(seen: &Observed<'_>, series: &Series, continuous: Option<Span>) -> Option<String> {
    if let Some(run) = &seen.held_by {
        return Some(format!("RecoveryRun {run} works on this component"));
    }
    if let Some(other) = &seen.shared_with {
        return Some(format!("BackupPolicy {other} captures the same claim"));
    }
    if seen.policy.spec.mode == PolicyMode::Suspended {
        return Some("spec.mode is Suspended".to_owned());
    }
    if continuous != Some(series.every) {
        return Some("the policy asks for another schedule".to_owned());
    }
    let source = match &seen.source {
        Ok(source) => source,
        Err(problem) => return Some(problem.message.clone()),
    };
    let before = seen.policy.status.as_ref().and_then(|status| status.resolved.as_ref());
    let node = before.and_then(|resolved| resolved.node.as_ref());
    (node.is_some() && node != source.place.node.as_ref())
        .then(|| "the server runs on another node".to_owned())
}

fn end(plan: &mut Plan, job: String) {
    plan.status.active = None;
    plan.delete.push(job);
}
