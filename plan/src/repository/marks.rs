//! What people say of points, told to the bucket. What users hold here has to be held when this cluster is gone, and against whoever prunes
//! from elsewhere; what they quarantine has to be restored by nobody. What the bucket says is remembered, so that a hold that is taken away
//! here is released there. A point whose object is deleted is not released: the bucket is the truth, and the catalogue finds the point again
//! with its hold. What is said of trust is told once: said again after a run has quarantined the point, it would lift that unasked.

use crds::condition;
use crds::job::{HeldPoint, PointTrust, Report, Request, VerifiedPoint};
use crds::point::{TrustMark, TrustReason, TrustWord, Verification};
use crds::repository::{MarksRound, RepositoryMode, SaidOfPoint};
use crds::run::Verdict;
use crds::{RecoveryPoint, RecoveryRepository, Span};

use super::{Observed, Plan, access, conditions, keys, work};
use crate::effect::{JobState, MoverJob};
use crate::trust;
use crate::verification;

const DEADLINE: Span = Span::from_mins(15);
/// As many as the status has room for, of holds and of words on trust. What is said beyond counts in this cluster alone, and that is told.
const MOST: usize = 128;
/// What is verified and not told yet waits for the next round.
const MOST_VERIFIED: usize = 64;

/// The name of the Job of the round that is under way.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, round: &MarksRound) -> String {
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

/// What is said here of the trust of this repository's points, in the order of their ids.
fn said(seen: &Observed<'_>) -> Vec<SaidOfPoint> {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let of_this = seen.points.iter().filter(|point| point.spec.repository_ref.name == name);
    let mut said: Vec<SaidOfPoint> = of_this
        .filter_map(|point| {
            Some(SaidOfPoint { point: point.spec.id.clone(), trust: point.spec.trust.word()? })
        })
        .collect();
    said.sort_by(|a, b| a.point.cmp(&b.point));
    said
}

/// What every point's status has to be: by what is said of it here, and by what the bucket was told in `round` just now.
fn statuses(seen: &Observed<'_>, plan: &mut Plan, round: Option<&MarksRound>) {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let of_this = seen.points.iter().filter(|point| point.spec.repository_ref.name == name);
    for point in of_this.filter(|point| point.metadata.deletion_timestamp.is_none()) {
        let marked = round.and_then(|round| {
            let new = round.trust_telling.iter().filter(|said| !round.trust_told.contains(said));
            let said = new.into_iter().find(|said| said.point == point.spec.id)?;
            Some(TrustMark {
                word: said.trust,
                reason: TrustReason::ByUser,
                by: trust::by(seen.repository),
                since: round.started,
            })
        });
        let name = point.metadata.name.clone().unwrap_or_default();
        let mut status = trust::status(point, marked, seen.now);
        // What was found after the Job had its request was not told by it.
        let told = |known: &Verification, round: &MarksRound| {
            round.verified_telling.contains(&point.spec.id) && known.time <= round.started && !known.recorded
        };
        let known = point.status.as_ref().and_then(|status| status.verification.as_ref());
        if round.zip(known).is_some_and(|(round, known)| told(known, round)) {
            let mut recorded = status.or(point.status.clone()).unwrap_or_default();
            if let Some(known) = &mut recorded.verification {
                known.recorded = true;
            }
            status = Some(recorded);
        }
        plan.judged.extend(status.map(|status| (name, status)));
    }
}

/// The points of this repository that were verified, of which it was not told yet, in the order of their ids.
fn verified<'a>(seen: &Observed<'a>) -> Vec<&'a RecoveryPoint> {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let of_this = seen.points.iter().filter(|point| point.spec.repository_ref.name == name);
    let mut found: Vec<&RecoveryPoint> = of_this
        .filter(|point| point.metadata.deletion_timestamp.is_none() && verification::is_to_be_told(point))
        .collect();
    found.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
    found.truncate(MOST_VERIFIED);
    found
}

fn is_under_way(plan: &Plan) -> bool {
    plan.status.marks.as_ref().is_some_and(|round| round.finished.is_none())
}

/// What became of the round under way, and whether one begins.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    let mut told = None;
    if let Some(round) = plan.status.marks.clone() {
        match (round.finished, &seen.marks) {
            (None, JobState::Absent) => plan.mark = Some(job(seen, &round)),
            (None, JobState::Ended(Report::Marked)) => {
                told = Some(round.clone());
                plan.status.marks = Some(MarksRound {
                    finished: Some(seen.now),
                    failures: 0,
                    told: round.telling,
                    telling: Vec::new(),
                    trust_told: round.trust_telling,
                    trust_telling: Vec::new(),
                    verified_telling: Vec::new(),
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
    statuses(seen, plan, told.as_ref());
    // What was told now stands in the points only at the next look.
    if told.as_ref().is_none_or(|round| round.verified_telling.is_empty()) {
        begin(seen, plan);
    } else {
        plan.next = plan.next.or_at(seen.now);
    }
}

fn begin(seen: &Observed<'_>, plan: &mut Plan) {
    if is_under_way(plan) {
        return;
    }
    let (mut held, mut said) = (held(seen), said(seen));
    let beyond = held.len().saturating_sub(MOST) + said.len().saturating_sub(MOST);
    held.truncate(MOST);
    said.truncate(MOST);
    let last = plan.status.marks.clone().unwrap_or_default();
    let verified = verified(seen);
    if held == last.told && said == last.trust_told && verified.is_empty() {
        if !held.is_empty() || plan.status.marks.is_some() {
            conditions::marks(seen, &mut plan.status, recorded(held.len(), said.len(), beyond));
        }
        return;
    }
    // A sealed repository takes marks: they add to what is known of evidence.
    if seen.repository.spec.mode == RepositoryMode::ReadOnly {
        let why =
            "spec.mode forbids to write; what is held or said here counts in this cluster alone".to_owned();
        return conditions::marks(seen, &mut plan.status, Err(("ReadOnly", why)));
    }
    if !condition::is_true(&plan.status.conditions, "Ready") {
        let why = "they are written down when the repository is Ready".to_owned();
        return conditions::marks(seen, &mut plan.status, Err(("NotReady", why)));
    }
    let name = job_name(seen.repository, &last);
    if let Some(due) = work::tried_again(last.failures, last.finished, &name, seen.now) {
        plan.next = plan.next.or_at(due);
        return;
    }
    let round = MarksRound {
        number: last.number.saturating_add(1),
        started: seen.now,
        finished: None,
        telling: held,
        trust_telling: said,
        verified_telling: verified.iter().map(|point| point.spec.id.clone()).collect(),
        ..last
    };
    plan.mark = Some(job(seen, &round));
    plan.status.marks = Some(round);
}

fn recorded(held: usize, said: usize, beyond: usize) -> Result<(usize, usize), (&'static str, String)> {
    match beyond {
        0 => Ok((held, said)),
        beyond => Err((
            "TooMany",
            format!(
                "{held} points on hold and what is said of {said} are written down in the bucket, which is all there is room for; {beyond} more count in this cluster alone"
            ),
        )),
    }
}

fn failed(seen: &Observed<'_>, plan: &mut Plan, round: MarksRound, why: &str) {
    let failures = round.failures.saturating_add(1);
    conditions::marks(seen, &mut plan.status, Err(("NotWritten", format!("it is tried again: {why}"))));
    plan.status.marks = Some(MarksRound {
        finished: Some(seen.now),
        failures,
        telling: Vec::new(),
        trust_telling: Vec::new(),
        verified_telling: Vec::new(),
        ..round
    });
}

fn job(seen: &Observed<'_>, round: &MarksRound) -> MoverJob {
    let repository = seen.repository;
    let still = |told: &HeldPoint| round.telling.iter().any(|held| held.point == told.point);
    let is_known = |told: &HeldPoint| seen.points.iter().any(|point| point.spec.id == told.point);
    let gone = round.told.iter().filter(|told| !still(told) && is_known(told));
    // What was told before is not told again.
    let new = round.trust_telling.iter().filter(|said| !round.trust_told.contains(said));
    let telling = seen.points.iter().filter(|point| round.verified_telling.contains(&point.spec.id));
    let found = |verdict: Verdict| {
        let of =
            telling.clone().filter_map(|point| Some((point, point.status.as_ref()?.verification.as_ref()?)));
        of.filter(move |(_, known)| known.verdict == verdict && known.time <= round.started)
    };
    let failed = found(Verdict::Failed).map(|(point, known)| PointTrust {
        point: point.spec.id.clone(),
        word: TrustWord::Quarantined,
        reason: TrustReason::VerificationFailed,
        by: known.by.clone(),
    });
    let passed = found(Verdict::Passed).map(|(point, known)| VerifiedPoint {
        point: point.spec.id.clone(),
        by: known.by.clone(),
        at: known.time,
    });
    let request = Request::Mark {
        repository: access(repository),
        hold: round.telling.clone(),
        release: gone.map(|told| told.point.clone()).collect(),
        trust: new
            .map(|said| PointTrust {
                point: said.point.clone(),
                word: said.trust,
                reason: TrustReason::ByUser,
                by: trust::by(repository),
            })
            .chain(failed)
            .collect(),
        verified: passed.collect(),
    };
    work::job(repository, job_name(repository, round), request, keys(repository), DEADLINE)
}

#[cfg(test)]
mod tests;
