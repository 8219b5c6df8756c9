//! The catalogue of a repository: the bucket is the truth, RecoveryPoints are a cache of it. Where a probe counts more points
//! than are recorded here, as in an empty cluster, a mover says what they are and they are recorded, the newest first.
//!
//! It never runs beside maintenance: what that removes must not be found.

use crds::condition;
use crds::job::{Catalogued, Report, Request};
use crds::policy::Origin;
use crds::repository::CatalogueRound;
use crds::{RecoveryPoint, RecoveryRepository, Span};

use super::{Observed, Plan, access, conditions, keys, maintenance, work};
use crate::backup::points::{self, About};
use crate::effect::{Event, JobState, MoverJob};

const DEADLINE: Span = Span::from_mins(15);
/// More ids than this don't fit into the environment of a Job.
const MOST: usize = 3_000;

/// The name of the Job of the round that is under way.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, round: &CatalogueRound) -> String {
    work::name(repository, "Catalogue", round.number)
}

/// The points of this repository that are recorded.
fn recorded<'a>(seen: &Observed<'a>) -> impl Iterator<Item = &'a RecoveryPoint> + use<'a> {
    let name = seen.repository.metadata.name.clone().unwrap_or_default();
    seen.points.iter().filter(move |point| point.spec.repository_ref.name == name)
}

/// Whether one is under way.
pub(super) fn is_under_way(plan: &Plan) -> bool {
    plan.status.catalogue.as_ref().is_some_and(|round| round.finished.is_none())
}

/// What became of the round under way, and whether one begins.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    if let Some(round) = plan.status.catalogue.clone() {
        match (round.finished, &seen.catalogue) {
            (None, JobState::Absent) => plan.catalogue.start = Some(job(seen, &round)),
            (None, JobState::Ended(report)) => ended(seen, plan, round, report),
            (None, JobState::Silent { why }) => {
                failed(seen, plan, round, &format!("its Job ended without a report: {why}"));
            }
            (None, JobState::Running { .. }) | (Some(_), _) => {}
        }
    }
    // What was found now is among the points only at the next look.
    if matches!(seen.catalogue, JobState::Absent | JobState::Running { .. }) {
        begin(seen, plan);
    }
}

fn begin(seen: &Observed<'_>, plan: &mut Plan) {
    let able = !maintenance::is_under_way(plan)
        && !is_under_way(plan)
        && condition::is_true(&plan.status.conditions, "Ready");
    if !able {
        return;
    }
    let Some(counted) = plan.status.usage.as_ref().map(|usage| usage.counted.points) else { return };
    let known = recorded(seen).count() as u64;
    // A capture is about to be recorded by its policy; that wakes us.
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let capturing = seen.policies.iter().any(|policy| {
        let Some(status) = &policy.status else { return false };
        let emergency = status.emergency.as_ref().and_then(|emergency| emergency.active.as_ref());
        (policy.spec.repository_ref.name == name && status.active.is_some())
            || emergency.is_some_and(|active| active.repository == name)
    });
    if counted <= known || capturing {
        return;
    }
    let last = plan.status.catalogue.clone().unwrap_or_default();
    // These were looked at: what is not recorded then is no point of a ChromaDB.
    if last.failures == 0 && (last.counted, last.recorded) == (counted, known) {
        return;
    }
    let name = job_name(seen.repository, &last);
    if let Some(due) = work::tried_again(last.failures, last.finished, &name, seen.now) {
        plan.next = plan.next.or_at(due);
        return;
    }
    let round = CatalogueRound {
        number: last.number.saturating_add(1),
        started: seen.now,
        finished: None,
        found: 0,
        counted,
        recorded: known,
        failures: last.failures,
    };
    conditions::catalogue(
        seen,
        &mut plan.status,
        Err(("Rebuilding", format!("the bucket holds {counted} points, {known} are recorded here"))),
    );
    plan.catalogue.start = Some(job(seen, &round));
    plan.status.catalogue = Some(round);
}

fn ended(seen: &Observed<'_>, plan: &mut Plan, round: CatalogueRound, report: &Report) {
    match report {
        Report::Catalogued(Catalogued { points, more }) => {
            for point in
                points.iter().filter(|p| recorded(seen).all(|known| known.spec.id != p.captured.point))
            {
                let about = About {
                    policy: &point.policy,
                    repository: seen.repository.metadata.name.as_deref().unwrap_or_default(),
                    origin: Origin::Discovered,
                    image: point.image.clone(),
                    hold: point.hold.clone(),
                    trust: point.trust.clone(),
                    verification: point.verification.clone(),
                };
                let beside = plan.catalogue.record.iter().map(|new| (new.name.as_str(), &new.spec));
                let taken = points::taken(seen.points).chain(beside);
                let new = points::new(about, &point.captured, taken, seen.now);
                plan.catalogue.record.push(new);
            }
            let found = round.found.saturating_add(plan.catalogue.record.len() as u32);
            // Of those that a Job was not told of it may find the same again and again.
            let all_told = recorded(seen).count() <= MOST;
            if *more && (all_told || !plan.catalogue.record.is_empty()) {
                // The next look starts it: by then these are among those that are known.
                let number = round.number.saturating_add(1);
                plan.status.catalogue = Some(CatalogueRound { number, started: seen.now, found, ..round });
                plan.next = plan.next.or_at(seen.now);
                return;
            }
            let recorded = recorded(seen).count() as u64 + plan.catalogue.record.len() as u64;
            conditions::catalogue(seen, &mut plan.status, Ok(found));
            if found > 0 {
                let message =
                    format!("{found} points that lie in the bucket were recorded; kubectl get hfpoint");
                plan.events.push(Event::normal("PointsDiscovered", message));
            }
            plan.status.catalogue =
                Some(CatalogueRound { finished: Some(seen.now), failures: 0, found, recorded, ..round });
        }
        Report::Failed(failure) => failed(seen, plan, round, &failure.message),
        _ => failed(seen, plan, round, crate::effect::OTHER_ANSWER),
    }
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, round: CatalogueRound, why: &str) {
    let failures = round.failures.saturating_add(1);
    conditions::catalogue(
        seen,
        &mut plan.status,
        Err(("CatalogueFailed", format!("it is tried again: {why}"))),
    );
    plan.status.catalogue = Some(CatalogueRound { finished: Some(seen.now), failures, ..round });
}

fn job(seen: &Observed<'_>, round: &CatalogueRound) -> MoverJob {
    let repository = seen.repository;
    let known = recorded(seen).map(|point| point.spec.id.clone()).take(MOST).collect();
    let request = Request::Catalogue { repository: access(repository), known };
    work::job(repository, job_name(repository, round), request, keys(repository), DEADLINE)
}

#[cfg(test)]
mod tests;
