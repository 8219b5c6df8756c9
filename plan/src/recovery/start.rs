//! The step Start: what the run stopped runs again, with the replicas it had and never more.

use super::effect::Effect;
use super::seen::WorkloadSeen;
use super::{Draft, Progress, stop};
use crate::workload;

/// Effects that give back the remembered replicas to what has fewer.
pub(crate) fn scale_up(draft: &Draft<'_>) -> Vec<Effect> {
    let workloads = stop::workloads(draft.seen);
    let up = workload::up(&draft.status.stopped, workloads.iter().copied());
    up.into_iter().map(Effect::Scale).collect()
}

/// Scales back to the remembered replicas and waits until they are ready.
pub(crate) fn advance(draft: &mut Draft<'_>) -> Progress {
    let workloads = stop::workloads(draft.seen);
    let effects = scale_up(draft);
    let mut waiting = Vec::new();
    let mut started = Vec::new();
    for stopped in &draft.status.stopped {
        let found: Option<&&WorkloadSeen> = workloads.iter().find(|seen| seen.workload == stopped.workload);
        let Some(seen) = found else {
            return Progress::failed(
                "StepFailed",
                format!(
                    "{:?} {} does not exist any more, so it can't be started; create it again, its claim holds the restored data",
                    stopped.workload.kind, stopped.workload.name
                ),
            );
        };
        if stopped.replicas == 0 {
            continue;
        }
        if seen.ready < stopped.replicas {
            waiting.push(format!("{} {} of {} ready", seen.workload.name, seen.ready, stopped.replicas));
        }
        started.push(format!("{} {}", seen.workload.name, stopped.replicas));
    }
    if started.is_empty() {
        return Progress::Skipped("nothing ran before the run, so nothing is started".to_owned());
    }
    if !effects.is_empty() || !waiting.is_empty() {
        return Progress::acting(effects, waiting.join(", "));
    }
    Progress::Done(started.join(", "))
}
