//! Holds on points, told to the bucket: what users hold here has to be held when this cluster is gone, and against whoever prunes
//! from elsewhere. What the bucket says is remembered, so that a hold that is taken away here is released there. A point whose object
//! is deleted is not released: the bucket is the truth, and the catalogue finds the point again with its hold.

use crds::condition;
use crds::job::{HeldPoint, Report, Request};
use crds::repository::{HoldsRound, RepositoryMode};
use crds::{RecoveryRepository, Span};

use super::{Observed, Plan, access, conditions, keys, work};
use crate::effect::{JobState, MoverJob};

const DEADLINE: Span = Span::from_mins(15);
/// As many as the status has room for. What is held beyond is held by this cluster alone, and said.
const MOST: usize = 128;

/// The name of the Job of the round that is under way.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, round: &HoldsRound) -> String {
    work::name(repository, "Hold", round.number)
}

/// The points of this repository that users hold, in the order of their ids.
fn held(seen: &Observed<'_>) -> Vec<HeldPoint> {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let of_this = seen.points.iter().filter(|point| point.spec.repository_ref.name == name);
    let mut held: Vec<HeldPoint> = of_this
        .filter_map(|point| {
            let hold = point.spec.hold.as_ref()?;
            Some(HeldPoint { point: point.spec.id.clone(), reason: hold.reason.clone() })
        })
        .collect();
    held.sort_by(|a, b| a.point.cmp(&b.point));
    held
}

fn is_under_way(plan: &Plan) -> bool {
    plan.status.holds.as_ref().is_some_and(|round| round.finished.is_none())
}

/// What became of the round under way, and whether one begins.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    if let Some(round) = plan.status.holds.clone() {
        match (round.finished, &seen.holds) {
            (None, JobState::Absent) => plan.hold = Some(job(seen, &round)),
            (None, JobState::Ended(Report::Held)) => {
                let told = round.telling;
                plan.status.holds = Some(HoldsRound {
                    finished: Some(seen.now),
                    failures: 0,
                    told,
                    telling: Vec::new(),
                    ..round
                });
            }
            (None, JobState::Ended(Report::Failed(failure))) => failed(seen, plan, round, &failure.message),
            (None, JobState::Ended(_)) => failed(seen, plan, round, crate::effect::OTHER_ANSWER),
            (None, JobState::Silent { why }) => {
                failed(seen, plan, round, &format!("its Job ended without a report: {why}"));
            }
            (None, JobState::Running { .. }) | (Some(_), _) => {}
        }
    }
    begin(seen, plan);
}

fn begin(seen: &Observed<'_>, plan: &mut Plan) {
    if is_under_way(plan) {
        return;
    }
    let mut held = held(seen);
    let beyond = held.len().saturating_sub(MOST);
    held.truncate(MOST);
    let last = plan.status.holds.clone().unwrap_or_default();
    if held == last.told {
        if !held.is_empty() || plan.status.holds.is_some() {
            conditions::holds(seen, &mut plan.status, recorded(held.len(), beyond));
        }
        return;
    }
    if seen.repository.spec.mode != RepositoryMode::ReadWrite {
        let why = "spec.mode forbids to write; what is held here is held by this cluster alone".to_owned();
        return conditions::holds(seen, &mut plan.status, Err(("ReadOnly", why)));
    }
    if !condition::is_true(&plan.status.conditions, "Ready") {
        let why = "they are written down when the repository is Ready".to_owned();
        return conditions::holds(seen, &mut plan.status, Err(("NotReady", why)));
    }
    let name = job_name(seen.repository, &last);
    if let Some(due) = work::tried_again(last.failures, last.finished, &name, seen.now) {
        plan.next = plan.next.or_at(due);
        return;
    }
    let round = HoldsRound {
        number: last.number.saturating_add(1),
        started: seen.now,
        finished: None,
        telling: held,
        ..last
    };
    plan.hold = Some(job(seen, &round));
    plan.status.holds = Some(round);
}

fn recorded(held: usize, beyond: usize) -> Result<usize, (&'static str, String)> {
    match beyond {
        0 => Ok(held),
        beyond => Err((
            "TooMany",
            format!(
                "{held} points on hold are written down in the bucket, which is all there is room for; {beyond} more are held by this cluster alone"
            ),
        )),
    }
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, round: HoldsRound, why: &str) {
    let failures = round.failures.saturating_add(1);
    conditions::holds(seen, &mut plan.status, Err(("NotWritten", format!("it is tried again: {why}"))));
    plan.status.holds = Some(HoldsRound { finished: Some(seen.now), failures, telling: Vec::new(), ..round });
}

fn job(seen: &Observed<'_>, round: &HoldsRound) -> MoverJob {
    let repository = seen.repository;
    let still = |told: &HeldPoint| round.telling.iter().any(|held| held.point == told.point);
    let is_known = |told: &HeldPoint| seen.points.iter().any(|point| point.spec.id == told.point);
    let gone = round.told.iter().filter(|told| !still(told) && is_known(told));
    let request = Request::Hold {
        repository: access(repository),
        hold: round.telling.clone(),
        release: gone.map(|told| told.point.clone()).collect(),
    };
    work::job(repository, job_name(repository, round), request, keys(repository), DEADLINE)
}

#[cfg(test)]
mod tests;
