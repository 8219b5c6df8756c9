//! A point that a drill has restored and validated is verified: it was read to the last byte, held against its record, and served.

use crds::RecoveryRun;
use crds::point::Verification;
use crds::run::{StepPhase, StepStatus, Verdict};
use jiff::Timestamp;

use super::{Observed, child};
use crate::recovery;
use crate::verification::{Stamp, stamped};

/// What is to be said of points and is not said yet.
pub(super) fn due(seen: &Observed<'_>) -> Vec<Stamp> {
    let ours = seen.runs.iter().filter(|run| child::is_of(run, seen.drill));
    let ended = ours.filter(|run| run.status.as_ref().is_some_and(recovery::ended));
    let all: Vec<Stamp> = ended.flat_map(of).collect();
    all.into_iter()
        .filter(|stamp| {
            let point = seen.points.iter().find(|point| point.metadata.name.as_ref() == Some(&stamp.name));
            point.is_some_and(|point| stamped(point, stamp, seen.now).is_some())
        })
        .collect()
}

/// The points of those components of a run that came back and were validated, whatever became of the others.
fn of(run: &RecoveryRun) -> Vec<Stamp> {
    let Some(status) = &run.status else { return Vec::new() };
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let stamp = |point: &crds::run::ChosenPoint| {
        let time = validated(&status.steps, &point.policy)?;
        Some(Stamp {
            name: point.name.clone(),
            verification: Verification {
                verdict: Verdict::Passed,
                time,
                by: format!("run/{name}"),
                recorded: false,
            },
            found: "it was restored in a sandbox, found as captured, and served as it should".to_owned(),
        })
    };
    status.points.iter().filter_map(stamp).collect()
}

/// When the component of `policy` was validated, if all of its steps went well and its data was held against the point.
fn validated(steps: &[StepStatus], policy: &str) -> Option<Timestamp> {
    let own = || steps.iter().filter(|step| step.policy.as_deref() == Some(policy));
    let done = |word: &str| {
        let step = own().find(|step| step.name.strip_suffix(policy) == Some(word));
        step.filter(|step| step.phase == StepPhase::Done).and_then(|step| step.end)
    };
    let whole = own().all(|step| matches!(step.phase, StepPhase::Done | StepPhase::Skipped));
    done("VerifyOffline/").filter(|_| whole)?;
    done("Validate/")
}
