//! Which runs of a drill go. Never one that has not ended, whose sandbox is not removed, or that is the newest that passed.

use crds::RecoveryRun;
use crds::drill::DrDrillStatus;
use crds::run::{SandboxState, Verdict};

use super::{Observed, child};
use crate::recovery;

/// The runs that are more than `spec.history` keeps, the oldest first, by name and uid.
pub(super) fn beyond(seen: &Observed<'_>, status: &DrDrillStatus) -> Vec<(String, String)> {
    let running = status.running.as_ref().map(|running| &running.run);
    let mut ended: Vec<&RecoveryRun> = seen
        .runs
        .iter()
        .filter(|run| child::is_of(run, seen.drill) && run.metadata.deletion_timestamp.is_none())
        .filter(|run| {
            run.status.as_ref().is_some_and(recovery::ended) && run.metadata.name.as_ref() != running
        })
        .collect();
    ended.sort_by_key(|run| (run.metadata.creation_timestamp.clone(), run.metadata.name.clone()));
    let (passed, others): (Vec<&RecoveryRun>, Vec<&RecoveryRun>) =
        ended.into_iter().partition(|run| has_passed(run, status));
    let history = seen.drill.spec.history;
    let mut gone: Vec<&RecoveryRun> = Vec::new();
    for (runs, kept) in [(passed, history.passed), (others, history.failed)] {
        let surplus = runs.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
        gone.extend(runs.into_iter().take(surplus));
    }
    gone.retain(|run| !is_needed(run, status));
    let this = |run: &RecoveryRun| Some((run.metadata.name.clone()?, run.metadata.uid.clone()?));
    gone.into_iter().filter_map(this).collect()
}

/// As the drill judged it; of one that its results tell nothing of any more, as the run itself did.
fn has_passed(run: &RecoveryRun, status: &DrDrillStatus) -> bool {
    let known = status.results.iter().find(|result| run.metadata.name.as_ref() == Some(&result.run));
    let own = || run.status.as_ref().and_then(|status| status.verdict);
    known.map(|result| result.verdict).or_else(own) == Some(Verdict::Passed)
}

fn is_needed(run: &RecoveryRun, status: &DrDrillStatus) -> bool {
    let sandbox = run.status.as_ref().and_then(|status| status.sandbox.as_ref());
    sandbox.is_some_and(|sandbox| sandbox.state != SandboxState::Cleaned)
        || (run.metadata.name.is_some() && run.metadata.name == status.last_passed_run)
}
