//! Maintenance of a repository: what no retention rule keeps goes. A mover judges, which points are to go is written down, and
//! another mover removes those; so whatever is killed in between, the same ones are removed, and only their objects go.
//!
//! I3: the mover's rules never give up the newest point, the newest good and the newest verified one; here nothing of a policy
//! with an anomaly (I4) is judged at all, and what is on hold or in quarantine is left out once more before it is removed.

use crds::condition;
use crds::cron::Schedule;
use crds::job::{ComponentRules, Judged, Report, Request};
use crds::reference::MAINTENANCE_REQUESTED_AT;
use crds::repository::{MaintenanceRound, RepositoryMode};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, Span};
use jiff::Timestamp;

use super::{Observed, Plan, access, catalogue, conditions, deletion, keys, mode, usage, work};
use crate::backup::anomaly;
use crate::effect::{JobState, MoverJob};
use crate::schedule::Slots;
use crate::{backoff, request, trust};

/// Reading what all points need takes time, copying packs too.
const DEADLINE: Span = Span::from_hours(6);

/// The name of the Job of the round that is under way.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, round: &MaintenanceRound) -> String {
    let step = if round.removing.is_some() { "Prune" } else { "Judge" };
    work::name(repository, step, round.number)
}

/// Whether one is under way.
pub(super) fn is_under_way(plan: &Plan) -> bool {
    plan.status.maintenance.as_ref().is_some_and(|round| round.finished.is_none())
}

/// What became of the round under way, and whether the next one begins.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    if let Some(round) = plan.status.maintenance.clone() {
        match (round.finished, &seen.maintenance) {
            (None, JobState::Absent) => plan.maintain.start = Some(job(seen, &round)),
            (None, JobState::Ended(report)) => ended(seen, plan, round, report),
            (None, JobState::Silent { why }) => {
                failed(seen, plan, round, &format!("its Job ended without a report: {why}"));
            }
            (None, JobState::Running { .. }) | (Some(_), _) => {}
        }
    }
    begin(seen, plan);
}

/// Starts a round that is due: by the schedule, by a request, because there is more to do, or once more after a failure.
fn begin(seen: &Observed<'_>, plan: &mut Plan) {
    let repository = seen.repository;
    // A run may need any point; its end wakes us.
    let able = seen.run.is_none()
        && !is_under_way(plan)
        && !catalogue::is_under_way(plan)
        && condition::is_true(&plan.status.conditions, "Ready")
        && mode(repository, &plan.status) == RepositoryMode::ReadWrite;
    if !able {
        return;
    }
    let uid = repository.metadata.uid.as_deref().unwrap_or_default();
    let slots = match Slots::parse(&repository.spec.maintenance.schedule, uid) {
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
    let last = plan.status.maintenance.clone().unwrap_or_default();
    let created = repository.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    let since = last.last_slot.unwrap_or(created);
    let slot = slots.newest_due(since, seen.now);
    if let Some(next) = slots.after(seen.now) {
        plan.next = plan.next.or_at(next);
    }
    let asked = asked(repository, last.asked).ok().flatten();
    // A request from a clock that runs ahead waits for its time.
    if let Some(time) = asked.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let asked = asked.filter(|time| *time <= seen.now);
    let again = again(repository, &last);
    if let Some(time) = again.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let due = slot.is_some() || asked.is_some() || again.is_some_and(|time| time <= seen.now);
    let deleted = deletion::wanted(seen, plan);
    if !due && deleted.is_empty() {
        return;
    }
    // A round that failed goes on with what it was removing; one that is for deleted objects alone needs nobody's judgement.
    let removing = last.removing.clone().or((!due).then_some(deleted));
    let round = MaintenanceRound {
        removing,
        number: last.number.saturating_add(1),
        started: seen.now,
        more: false,
        finished: None,
        last_slot: slot.or(last.last_slot),
        asked: asked.or(last.asked),
        ..last
    };
    plan.maintain.start = Some(job(seen, &round));
    plan.status.maintenance = Some(round);
}

/// What is asked for by the annotation, later than what was `acted` upon.
///
/// # Errors
/// The sentence for the user when its value is no time.
pub(super) fn asked(
    repository: &RecoveryRepository,
    acted: Option<Timestamp>,
) -> Result<Option<Timestamp>, String> {
    request::newest(&repository.metadata, MAINTENANCE_REQUESTED_AT, acted)
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
                removing: Some(with_deleted(seen, plan, without_held(seen, remove))),
                more: *more,
                ..round
            };
            plan.maintain.start = Some(job(seen, &removing));
            plan.status.maintenance = Some(removing);
        }
        (Report::Pruned(pruned), Some(removing)) => {
            let gone = |id: &String| removing.contains(id) && !pruned.left.contains(id);
            let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
            let forgotten =
                seen.points.iter().filter(|p| p.spec.repository_ref.name == name && gone(&p.spec.id));
            for point in forgotten {
                plan.maintain.forget.extend(point.metadata.name.clone());
                plan.finalizers.extend(deletion::let_go(point));
            }
            plan.status.usage = Some(usage::counted(pruned.points, pruned.bytes, seen.now));
            conditions::maintenance(seen, &mut plan.status, Ok((removing.len(), pruned)));
            deletion::left(seen, plan, &pruned.left);
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
        _ => failed(seen, plan, round, crate::effect::OTHER_ANSWER),
    }
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, round: MaintenanceRound, why: &str) {
    let failures = round.failures.saturating_add(1);
    let round = MaintenanceRound { finished: Some(seen.now), failures, ..round };
    conditions::maintenance(seen, &mut plan.status, Err(("SweepFailed", why.to_owned())));
    plan.status.maintenance = Some(round);
}

fn held(seen: &Observed<'_>) -> Vec<String> {
    let stays = |point: &&RecoveryPoint| point.spec.hold.is_some() || trust::is_evidence(point);
    seen.points.iter().filter(stays).map(|point| point.spec.id.clone()).collect()
}

fn without_held(seen: &Observed<'_>, remove: &[String]) -> Vec<String> {
    let held = held(seen);
    remove.iter().filter(|id| !held.contains(id)).cloned().collect()
}

/// What is to go because its object was deleted goes along.
fn with_deleted(seen: &Observed<'_>, plan: &Plan, mut remove: Vec<String>) -> Vec<String> {
    remove.extend(deletion::wanted(seen, plan));
    remove.sort_unstable();
    remove.dedup();
    remove
}

/// The Job of a round.
fn job(seen: &Observed<'_>, round: &MaintenanceRound) -> MoverJob {
    let repository = seen.repository;
    let mut keys = keys(repository);
    let request = match &round.removing {
        None => Request::Judge { repository: access(repository), rules: rules(seen), held: held(seen) },
        Some(remove) => {
            let s3 = repository.spec.s3.as_ref();
            if let Some(own) = s3.and_then(|s3| s3.credentials.maintenance.as_ref()) {
                keys.credentials = Some(own.secret_ref.clone());
            }
            Request::Prune { repository: access(repository), remove: without_held(seen, remove) }
        }
    };
    work::job(repository, job_name(repository, round), request, keys, DEADLINE)
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
pub(super) mod tests;
