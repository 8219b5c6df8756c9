//! The order of the steps. What concerns the whole run comes first and last; between them every component has a lane of its own, and the lanes
//! go on side by side. A lane waits for another only where its component depends on that one (`start`), and one that fails ends none but those.

use crds::run::{RecoveryRunStatus, StepPhase};
use jiff::Timestamp;

use super::steps::{self, Step};
use super::{Draft, Progress, assess, gate, settle, swap, texts};
use crate::effect::Event;

/// The steps by their indices.
struct Lanes {
    before: Vec<usize>,
    lanes: Vec<(String, Vec<usize>)>,
    after: Vec<usize>,
}

impl Lanes {
    fn of(status: &RecoveryRunStatus) -> Self {
        let mut all = Self { before: Vec::new(), lanes: Vec::new(), after: Vec::new() };
        for (index, step) in status.steps.iter().enumerate() {
            match &step.policy {
                None if all.lanes.is_empty() => all.before.push(index),
                None => all.after.push(index),
                Some(policy) => match all.lanes.iter_mut().find(|(name, _)| name == policy) {
                    Some((_, lane)) => lane.push(index),
                    None => all.lanes.push((policy.clone(), vec![index])),
                },
            }
        }
        all
    }
}

/// How far some steps are that come one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// One of them is not through.
    Open,
    /// All are.
    Done,
    /// One has failed.
    Failed,
}

fn stretch(status: &RecoveryRunStatus, indices: &[usize]) -> Stretch {
    let phase = |index: &usize| status.steps[*index].phase;
    if indices.iter().any(|index| phase(index) == StepPhase::Failed) {
        Stretch::Failed
    } else if indices.iter().all(|index| matches!(phase(index), StepPhase::Done | StepPhase::Skipped)) {
        Stretch::Done
    } else {
        Stretch::Open
    }
}

/// How far the component of `policy` is; absent when the run is not about it.
pub(crate) fn lane(status: &RecoveryRunStatus, policy: &str) -> Option<Stretch> {
    let lanes = Lanes::of(status).lanes;
    lanes.iter().find(|(name, _)| name == policy).map(|(_, lane)| stretch(status, lane))
}

/// Whether something has failed and nothing else can go on.
pub(crate) fn has_failed(status: &RecoveryRunStatus) -> bool {
    let Lanes { before, lanes, after } = Lanes::of(status);
    let of_lanes: Vec<Stretch> = lanes.iter().map(|(_, lane)| stretch(status, lane)).collect();
    let whole = [&before, &after].into_iter().any(|steps| stretch(status, steps) == Stretch::Failed);
    whole || (of_lanes.contains(&Stretch::Failed) && !of_lanes.contains(&Stretch::Open))
}

/// The steps that are not through and would be the next ones.
pub(crate) fn frontier(status: &RecoveryRunStatus) -> Vec<usize> {
    let Lanes { before, lanes, after } = Lanes::of(status);
    let next = |steps: &[usize]| {
        let ended = |phase| matches!(phase, StepPhase::Done | StepPhase::Skipped);
        steps.iter().copied().find(|index| !ended(status.steps[*index].phase))
    };
    if let Some(index) = next(&before) {
        return vec![index];
    }
    let open: Vec<usize> = lanes
        .iter()
        .filter(|(_, lane)| stretch(status, lane) == Stretch::Open)
        .filter_map(|(_, lane)| next(lane))
        .collect();
    if open.is_empty() { next(&after).into_iter().collect() } else { open }
}

/// Carries all steps forward as far as they go now.
pub(crate) fn walk(draft: &mut Draft<'_>, deadline: Timestamp) {
    settle::delete_spent_jobs(draft);
    let Lanes { before, lanes, after } = Lanes::of(&draft.status);
    if carry(draft, &before, deadline) != Stretch::Done {
        return;
    }
    let mut all = Stretch::Done;
    for (_, lane) in &lanes {
        let this = carry(draft, lane, deadline);
        all = if this == Stretch::Done { all } else { Stretch::Open };
    }
    if all == Stretch::Done {
        carry(draft, &after, deadline);
    }
}

/// Carries steps forward, each after the one before it, until one has to wait.
fn carry(draft: &mut Draft<'_>, indices: &[usize], deadline: Timestamp) -> Stretch {
    for &index in indices {
        match draft.status.steps[index].phase {
            StepPhase::Done | StepPhase::Skipped => continue,
            StepPhase::Failed => return Stretch::Failed,
            StepPhase::Running => {}
            StepPhase::Waiting => {
                if let Some(step) = Step::of(&draft.status.steps[index]) {
                    match gate::ahead(draft, &step, deadline) {
                        gate::Ahead::Open => {}
                        gate::Ahead::Waits => return Stretch::Open,
                        gate::Ahead::Failed(reason, message) => {
                            steps::fail(draft, index, reason, &message);
                            return Stretch::Failed;
                        }
                    }
                }
                let now = draft.now;
                let step = &mut draft.status.steps[index];
                step.phase = StepPhase::Running;
                step.start = Some(now);
                step.attempts = 1;
                step.message.clear();
            }
        }
        let progress = look(draft, index, deadline);
        match progress {
            Progress::Acting { effects, note } => {
                draft.effects.extend(effects);
                draft.status.steps[index].message = texts::bounded(&note);
                return Stretch::Open;
            }
            Progress::Polling { effects, note, at } => {
                draft.effects.extend(effects);
                draft.status.steps[index].message = texts::bounded(&note);
                draft.next = draft.next.or_at(at);
                return Stretch::Open;
            }
            Progress::Again { why } => {
                let step = &mut draft.status.steps[index];
                step.attempts += 1;
                let message = format!("{why}; attempt {} follows", step.attempts);
                step.message = texts::bounded(&message);
                let event = Event::warning("MoverRestarted", format!("{}: {message}", step.name));
                draft.events.push(event);
                return Stretch::Open;
            }
            Progress::Done(message) => steps::end(draft, index, StepPhase::Done, &message),
            Progress::Skipped(message) => steps::end(draft, index, StepPhase::Skipped, &message),
            Progress::Failed { reason, message } => {
                steps::fail(draft, index, &reason, &message);
                return Stretch::Failed;
            }
        }
    }
    Stretch::Done
}

/// Looks at a running step.
fn look(draft: &mut Draft<'_>, index: usize, deadline: Timestamp) -> Progress {
    let Some(step) = Step::of(&draft.status.steps[index]) else {
        return Progress::failed(
            "StepFailed",
            "this controller does not know the step; it was planned by another version",
        );
    };
    if draft.now < deadline || swap::between(draft.seen, &draft.status, step.policy.as_deref()) {
        return steps::advance(draft, index, &step);
    }
    let run = &draft.seen.run;
    let limit = texts::span(run.spec.deadline.unwrap_or_else(|| assess::default_deadline(run)));
    let doing = &draft.status.steps[index].message;
    let doing = if doing.is_empty() { String::new() } else { format!(" ({doing})") };
    Progress::failed(
        "DeadlineExceeded",
        format!("the run was not through after {limit}; it was at {}{doing}", draft.status.steps[index].name),
    )
}
