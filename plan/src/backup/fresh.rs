//! The capture that a run waits for when it has recovered a component. While a run holds a policy no capture starts but this one. What is asked for stands in
//! the run's status (`freshCaptures`), what came of it in the policy's (`runCapture`): each has one writer.

use crds::policy::{ActiveCapture, BackupPolicyStatus, Origin, RunCapture};
use jiff::Timestamp;

use super::{Observed, Plan};

/// What the run asks that holds the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Uid of the run.
    pub run: String,
    /// When it asked.
    pub at: Timestamp,
}

/// What is asked for and not answered.
pub(super) fn due<'a>(seen: &'a Observed<'_>, status: &BackupPolicyStatus) -> Option<&'a Asked> {
    let answered = |asked: &&Asked| {
        let answer = status.run_capture.as_ref();
        answer.is_some_and(|answer| answer.run == asked.run && answer.requested_at == asked.at)
    };
    seen.fresh.as_ref().filter(|asked| !answered(asked))
}

/// What the capture is called.
pub(super) fn slot(asked: &Asked) -> String {
    format!("f{}", asked.at.strftime("%Y%m%d-%H%M%S%3f"))
}

/// Whether `active` is the capture that the run waits for: one that began before it asked tells nothing of what it has restored.
pub(super) fn serves(seen: &Observed<'_>, active: &ActiveCapture) -> bool {
    active.origin == Origin::Run && seen.fresh.as_ref().is_some_and(|asked| active.slot == slot(asked))
}

/// Answers the run, if `active` was for it. `point` is the point that it left, where that may be restored.
pub(super) fn answer(
    seen: &Observed<'_>,
    plan: &mut Plan,
    active: &ActiveCapture,
    reason: &str,
    point: Option<&str>,
) {
    let Some(asked) = seen.fresh.as_ref().filter(|_| serves(seen, active)) else { return };
    plan.status.run_capture = Some(RunCapture {
        run: asked.run.clone(),
        requested_at: asked.at,
        point: point.map(str::to_owned),
        reason: reason.to_owned(),
    });
}
