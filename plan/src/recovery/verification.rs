//! The step VerifyPoints: a mover restores points of a component into scratch space and holds each against its record. Nothing of the cluster is touched; what
//! came out is stamped on the points before the step ends.

use crds::Span;
use crds::condition::Status;
use crds::job::{MAX_VERIFIED, PointVerified, PointsVerified, Report, RepositoryAccess, Request};
use crds::point::Verification;
use crds::run::{ChosenPoint, Verdict};
use jiff::SignedDuration;

use super::assess::{self, policy_gone};
use super::effect::Effect;
use super::mover::{self, Outcome, Wanted};
use super::seen::{Component, Observed, PointSeen, PointState};
use super::steps::{Kind, Step};
use super::{Draft, Progress, texts};
use crate::effect::Event;
use crate::verification::Stamp;

/// The points that are verified: the newest in any case, then those that never were, the newest first, then those whose verification is oldest.
pub(super) fn chosen<'a>(seen: &'a Observed, component: &Component) -> Vec<&'a PointSeen> {
    let of = seen.points.iter().filter(|point| {
        point.policy == component.policy
            && point.repository == component.repository
            && point.state == PointState::Available
            && point.consistency_time.is_some()
    });
    let mut points: Vec<&PointSeen> = of.collect();
    points.sort_by(|a, b| (b.consistency_time, &b.name).cmp(&(a.consistency_time, &a.name)));
    // Stable: of those that never were verified the newest stay first.
    if let Some((_, others)) = points.split_first_mut() {
        others.sort_by_key(|point| point.verification.as_ref().map(|known| known.time));
    }
    points.truncate(MAX_VERIFIED);
    points
}

/// What the step would do.
pub(crate) fn foretell(seen: &Observed, component: &Component) -> String {
    let points = chosen(seen, component);
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    match names.as_slice() {
        [] => "no point is Available".to_owned(),
        names => format!(
            "restore {} into scratch space and hold them against their records; undo: none needed, nothing is changed",
            texts::cut(&names.join(", "), 600)
        ),
    }
}

fn by(draft: &Draft<'_>) -> String {
    format!("run/{}", draft.seen.run.name)
}

/// The step VerifyPoints.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else { return policy_gone(draft, policy) };
    let access = match &component.access {
        Ok(access) => access,
        // Unreachable for now is not a failure of the step.
        Err(why) => return Progress::acting(Vec::new(), why.clone()),
    };
    let points = chosen(seen, component);
    let attempted = seen
        .jobs
        .keys()
        .any(|name| *name == mover::job_name(draft, Kind::VerifyPoints, policy, attempt(draft, index)));
    if points.is_empty() && !attempted {
        return Progress::failed(
            "NoHealthyPoint",
            format!(
                "policy {policy} has no Available point in repository {}, so there is nothing to verify; look at its condition LastCaptureSucceeded",
                component.repository
            ),
        );
    }
    let left = assess::deadline(&seen.run).duration_since(draft.now);
    let request = Request::VerifyPoints {
        repository: RepositoryAccess { read_only: true, ..access.access.clone() },
        points: points.iter().map(|point| point.id.clone()).collect(),
        // What is under way then ends before the Job has to.
        within: (left / 4 * 3).max(SignedDuration::ZERO),
    };
    let wanted = Wanted {
        keys: Some(access.keys.clone()),
        ..Wanted::bare(Kind::VerifyPoints, policy.to_owned(), request)
    };
    match mover::drive(draft, index, wanted) {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::PointsVerified(verified)) => conclude(draft, component, &verified),
        Outcome::Said(other) => mover::unexpected(&other),
        Outcome::GaveUp(failure) => {
            let (reason, message) = mover::reason_of(&failure);
            Progress::failed(reason, message)
        }
    }
}

fn attempt(draft: &Draft<'_>, index: usize) -> u32 {
    draft.status.steps[index].attempts.max(1)
}

fn conclude(draft: &mut Draft<'_>, component: &Component, verified: &PointsVerified) -> Progress {
    let (by, seen) = (by(draft), draft.seen);
    let known: Vec<(&PointVerified, &PointSeen)> = verified
        .points
        .iter()
        .filter_map(|told| {
            let of = seen.points.iter().find(|point| {
                point.id == told.point
                    && point.policy == component.policy
                    && point.repository == component.repository
            });
            Some((told, of?))
        })
        .collect();
    let stamped = |point: &PointSeen| point.verification.as_ref().is_some_and(|known| known.by == by);
    let open = known.iter().filter(|(_, point)| !stamped(point));
    let effects: Vec<Effect> = open
        .map(|(told, point)| {
            Effect::StampPoint(Box::new(Stamp {
                name: point.name.clone(),
                verification: Verification {
                    verdict: if told.passed { Verdict::Passed } else { Verdict::Failed },
                    time: draft.now,
                    by: by.clone(),
                    recorded: false,
                },
                found: match told.passed {
                    true => "it was restored, and every hash, and all that a database holds, is as captured"
                        .to_owned(),
                    false => texts::cut(&told.found, 512),
                },
            }))
        })
        .collect();
    if !effects.is_empty() {
        return Progress::acting(effects, "writing down what was verified");
    }
    let passed = known.iter().filter(|(told, _)| told.passed);
    let newest = passed.max_by_key(|(_, point)| point.consistency_time);
    if let Some((_, point)) = newest
        && let Some(consistency_time) = point.consistency_time
    {
        draft.status.points.retain(|known| known.policy != component.policy);
        draft.status.points.push(ChosenPoint {
            policy: component.policy.clone(),
            name: point.name.clone(),
            id: point.id.clone(),
            repository: point.repository.clone(),
            consistency_time,
        });
    }
    let failed: Vec<String> = known
        .iter()
        .filter(|(told, _)| !told.passed)
        .map(|(told, point)| format!("{}: {}", point.name, told.found))
        .collect();
    let count = texts::count(known.len() as u64, "point");
    if !failed.is_empty() {
        let message = format!(
            "{} of {count} verified are not what was captured, and are Quarantined: {}. Recoveries pass them over; look at the bucket, and at the copies that there are of it",
            failed.len(),
            failed.join("; ")
        );
        return Progress::failed("VerificationFailed", message);
    }
    match (&verified.stopped, known.is_empty()) {
        (Some(why), _) => {
            Progress::failed("StepFailed", format!("{count} verified, then it could not go on: {why}"))
        }
        (None, true) => Progress::failed(
            "StepFailed",
            "the mover verified no point: each is quarantined in the repository by now",
        ),
        (None, false) => Progress::Done(format!("{count} verified")),
    }
}

/// How many points the steps have verified.
fn counted(draft: &Draft<'_>) -> u64 {
    let steps = draft
        .status
        .steps
        .iter()
        .filter(|step| Step::of(step).is_some_and(|step| step.kind == Kind::VerifyPoints));
    let of = |message: &str| message.split(' ').next().and_then(|count| count.parse::<u64>().ok());
    steps.filter_map(|step| of(&step.message)).sum()
}

/// The step Report of a run that verifies.
pub(crate) fn report(draft: &mut Draft<'_>) -> Progress {
    let count = texts::count(counted(draft), "point");
    draft.status.verdict.get_or_insert(Verdict::Passed);
    let policies: Vec<&str> =
        draft.seen.components.iter().map(|component| component.policy.as_str()).collect();
    let took = Span::floor(draft.now.duration_since(assess::declared(&draft.seen.run)));
    let message = format!("{count} of {} restored and found as captured, in {took}", policies.join(", "));
    draft.status.display.get_or_insert_default().point = Some(count);
    draft.condition("Ready", Status::True, "Verified", message.clone());
    draft.condition("Complete", Status::True, "Verified", message.clone());
    draft.events.push(Event::normal("Verified", message.clone()));
    Progress::Done(message)
}
