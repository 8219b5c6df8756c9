//! Maintenance of a repository: what no retention rule keeps goes. A mover judges, which points are to go is written down, and
//! another mover removes those; so whatever is killed in between, the same ones are removed, and only their objects go.
//!
//! I3: the mover's rules never give up the newest point, the newest good and the newest verified one; here nothing of a policy
//! with an anomaly (I4) is judged at all, and what is on hold is left out once more before it is removed.

use std::collections::BTreeMap;

use crds::condition;
use crds::cron::Schedule;
use crds::job::{ComponentRules, Failure, FailureReason, Judged, Pruned, Report, Request};
use crds::reference::{MAINTENANCE_REQUESTED_AT, REPOSITORY_LABEL};
use crds::repository::{Counted, MaintenanceRound, RepositoryMode, Usage};
use crds::{BackupPolicy, RecoveryRepository, Span, names};
use jiff::Timestamp;

use super::{Observed, Plan, access, catalogue, conditions, keys};
use crate::backup::anomaly;
use crate::effect::{Identity, JobState, MoverJob, Place, RepositoryKeys, label_value};
use crate::schedule::Slots;
use crate::{backoff, request, size};

/// Reading what all points need takes time, copying packs too.
const DEADLINE: Span = Span::from_hours(6);

/// The name of the Job of the round that is under way.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, round: &MaintenanceRound) -> String {
    let step = if round.removing.is_some() { "Prune" } else { "Judge" };
    let meta = &repository.metadata;
    names::job(
        meta.name.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
        step,
        round.number,
    )
}

/// What became of the round under way, and whether the next one begins.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    if let Some(round) = plan.status.maintenance.clone() {
        let name = job_name(seen.repository, &round);
        match (round.finished, &seen.maintenance) {
            (None, JobState::Absent) => plan.maintain.start = Some(job(seen, &round)),
            (None, JobState::Running { .. }) => {}
            (None, JobState::Ended(report)) => {
                plan.maintain.delete = Some(name);
                ended(seen, plan, round, report);
            }
            (None, JobState::Silent { why }) => {
                plan.maintain.delete = Some(name);
                failed(seen, plan, round, &format!("its Job ended without a report: {why}"));
            }
            // Recorded, but we were stopped before the Job was deleted.
            (Some(_), JobState::Running { .. } | JobState::Ended(_) | JobState::Silent { .. }) => {
                plan.maintain.delete = Some(name);
            }
            (Some(_), JobState::Absent) => {}
        }
    }
    begin(seen, plan);
}

/// Starts a round that is due: by the schedule, by a request, because there is more to do, or once more after a failure.
fn begin(seen: &Observed<'_>, plan: &mut Plan) {
    let repository = seen.repository;
    let last = plan.status.maintenance.clone();
    if last.as_ref().is_some_and(|round| round.finished.is_none()) {
        return;
    }
    // A run may need any point; its end wakes us.
    let able = seen.run.is_none()
        && !catalogue::is_under_way(plan)
        && condition::is_true(&plan.status.conditions, "Ready")
        && repository.spec.mode == RepositoryMode::ReadWrite;
    if !able {
        return;
    }
    let slots = match Slots::parse(&repository.spec.maintenance.schedule) {
        Ok(slots) => slots,
        Err(error) => {
            conditions::maintenance(
                seen,
                &mut plan.status,
                Err(("InvalidSpec", format!("spec.maintenance: {error}"))),
            );
            return;
        }
    };
    conditions::maintenance_is_scheduled(&mut plan.status);
    let created = repository.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    let since = last.as_ref().and_then(|round| round.last_slot).unwrap_or(created);
    let slot = slots.newest_due(since, seen.now);
    if let Some(next) = slots.after(seen.now) {
        plan.next = plan.next.or_at(next);
    }
    let asked = asked(repository, last.as_ref()).ok().flatten();
    // A request from a clock that runs ahead waits for its time.
    if let Some(time) = asked.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let asked = asked.filter(|time| *time <= seen.now);
    let again = last.as_ref().and_then(|round| again(repository, round));
    if let Some(time) = again.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let due = slot.is_some() || asked.is_some() || again.is_some_and(|time| time <= seen.now);
    if !due {
        return;
    }
    let round = MaintenanceRound {
        number: last.as_ref().map_or(1, |round| round.number.saturating_add(1)),
        started: seen.now,
        removing: last.as_ref().and_then(|round| round.removing.clone()),
        locked: last.as_ref().map_or(0, |round| round.locked),
        more: false,
        finished: None,
        failures: last.as_ref().map_or(0, |round| round.failures),
        last_slot: slot.or(last.as_ref().and_then(|round| round.last_slot)),
        asked: asked.or(last.as_ref().and_then(|round| round.asked)),
    };
    plan.maintain.start = Some(job(seen, &round));
    plan.status.maintenance = Some(round);
}

/// What is asked for by the annotation.
///
/// # Errors
/// The sentence for the user when its value is no time.
pub(super) fn asked(
    repository: &RecoveryRepository,
    last: Option<&MaintenanceRound>,
) -> Result<Option<Timestamp>, String> {
    request::newest(&repository.metadata, MAINTENANCE_REQUESTED_AT, last.and_then(|round| round.asked))
}

/// When a round is begun anew without being asked for.
fn again(repository: &RecoveryRepository, round: &MaintenanceRound) -> Option<Timestamp> {
    let finished = round.finished?;
    match round.failures {
        0 => round.more.then_some(finished),
        failures => Some(finished + backoff::after(failures, &job_name(repository, round))),
    }
}

fn ended(seen: &Observed<'_>, plan: &mut Plan, round: MaintenanceRound, report: &Report) {
    match (report, &round.removing) {
        (Report::Judged(_), None) if seen.run.is_some() => {
            // It began meanwhile. What was judged is judged anew when it has ended.
            let finished = Some(seen.now);
            plan.status.maintenance = Some(MaintenanceRound { more: true, finished, failures: 0, ..round });
        }
        (Report::Judged(Judged { remove, more }), None) => {
            let removing = MaintenanceRound {
                number: round.number.saturating_add(1),
                started: seen.now,
                removing: Some(without_held(seen, remove)),
                more: *more,
                ..round
            };
            plan.maintain.start = Some(job(seen, &removing));
            plan.status.maintenance = Some(removing);
        }
        (Report::Pruned(pruned), Some(removing)) => {
            let gone = |id: &String| removing.contains(id) && !pruned.left.contains(id);
            let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
            plan.maintain.forget = seen
                .points
                .iter()
                .filter(|point| point.spec.repository_ref.name == name && gone(&point.spec.id))
                .filter_map(|point| point.metadata.name.clone())
                .collect();
            plan.status.usage = Some(counted(pruned, seen.now));
            conditions::maintenance(seen, &mut plan.status, Ok((removing.len(), pruned)));
            // What is locked would be judged the same again at once.
            let more = round.more && pruned.left.is_empty();
            plan.status.maintenance = Some(MaintenanceRound {
                removing: None,
                locked: u32::try_from(pruned.left.len()).unwrap_or(u32::MAX),
                more,
                finished: Some(seen.now),
                failures: 0,
                ..round
            });
        }
        (Report::Failed(failure), _) => failed(seen, plan, round, &failure.message),
        _ => {
            let failure = Failure {
                reason: FailureReason::InvalidRequest,
                message: "the mover answered another question than it was asked: controller and mover image are of different versions; install them from one chart".to_owned(),
            };
            failed(seen, plan, round, &failure.message);
        }
    }
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, round: MaintenanceRound, why: &str) {
    let failures = round.failures.saturating_add(1);
    let round = MaintenanceRound { finished: Some(seen.now), failures, ..round };
    conditions::maintenance(seen, &mut plan.status, Err(("SweepFailed", why.to_owned())));
    plan.status.maintenance = Some(round);
}

fn counted(pruned: &Pruned, now: Timestamp) -> Usage {
    let counted = Counted { time: now, points: pruned.points, bytes: pruned.bytes };
    Usage { points: counted.points, bytes: counted.bytes, size: size::bytes(counted.bytes), counted }
}

fn held(seen: &Observed<'_>) -> Vec<String> {
    seen.points.iter().filter(|point| point.spec.hold.is_some()).map(|point| point.spec.id.clone()).collect()
}

fn without_held(seen: &Observed<'_>, remove: &[String]) -> Vec<String> {
    let held = held(seen);
    remove.iter().filter(|id| !held.contains(id)).cloned().collect()
}

/// The Job of a round.
fn job(seen: &Observed<'_>, round: &MaintenanceRound) -> MoverJob {
    let repository = seen.repository;
    let name = repository.metadata.name.as_deref().unwrap_or_default();
    let maintenance = repository.spec.s3.credentials.maintenance.as_ref();
    let writer = keys(repository);
    let (request, credentials) = match &round.removing {
        None => (
            Request::Judge { repository: access(repository), rules: rules(seen), held: held(seen) },
            writer.credentials.clone(),
        ),
        Some(remove) => (
            Request::Prune { repository: access(repository), remove: without_held(seen, remove) },
            maintenance.map_or_else(|| writer.credentials.clone(), |own| own.secret_ref.clone()),
        ),
    };
    MoverJob {
        name: job_name(repository, round),
        labels: BTreeMap::from([(REPOSITORY_LABEL.to_owned(), label_value(name))]),
        request,
        keys: Some(RepositoryKeys { credentials, ..writer }),
        source: None,
        target: None,
        place: Place::default(),
        identity: Identity::default(),
        deadline: DEADLINE,
    }
}

/// What each policy of this repository keeps. One that is not named keeps everything: a policy with an anomaly, one that is gone.
fn rules(seen: &Observed<'_>) -> Vec<ComponentRules> {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let zone = |schedule: &Option<Schedule>| {
        schedule.as_ref().map_or_else(|| "UTC".to_owned(), |schedule| schedule.time_zone.clone())
    };
    let judged = |policy: &&BackupPolicy| {
        policy.spec.repository_ref.name == name && anomaly::of(policy, seen.points).is_none()
    };
    seen.policies
        .iter()
        .filter(judged)
        .map(|policy| ComponentRules {
            policy: policy.metadata.name.clone().unwrap_or_default(),
            retention: policy.spec.retention.clone(),
            time_zone: zone(&policy.spec.schedule),
        })
        .collect()
}

#[cfg(test)]
mod tests;
