//! The order of the steps. Some concern the whole run; between them every component has a lane of its own, and the lanes go on side by side. A lane waits for another only where its component depends on that one (`start`), and one that fails ends none but those.

use std::collections::BTreeSet;

use crds::run::{Direction, RecoveryRunStatus, Scenario, StepPhase, StepStatus};
use jiff::Timestamp;

use super::steps::{self, Kind, Step};
use super::{Draft, Progress, assess, gate, settle, swap, texts};
use crate::effect::Event;

/// Steps that follow each other: one of the whole run, or some of every component, side by side.
enum Stage {
    Whole(usize),
    Lanes(Vec<(String, Vec<usize>)>),
}

fn stages(status: &RecoveryRunStatus) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (index, step) in status.steps.iter().enumerate() {
        match (&step.policy, stages.last_mut()) {
            (None, _) => stages.push(Stage::Whole(index)),
            (Some(policy), Some(Stage::Lanes(lanes))) => {
                match lanes.iter_mut().find(|(name, _)| name == policy) {
                    Some((_, lane)) => lane.push(index),
                    None => lanes.push((policy.clone(), vec![index])),
                }
            }
            (Some(policy), _) => stages.push(Stage::Lanes(vec![(policy.clone(), vec![index])])),
        }
    }
    stages
}

/// How far some steps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// One of them is not through.
    Open,
    /// All are.
    Done,
    /// One has failed, or was undone.
    Failed,
}

fn stretch<'a>(steps: impl Iterator<Item = &'a StepStatus> + Clone) -> Stretch {
    // What was taken back is no more there than what failed.
    if steps.clone().any(|step| matches!(step.phase, StepPhase::Failed | StepPhase::Undone)) {
        Stretch::Failed
    } else if steps.clone().all(through) {
        Stretch::Done
    } else {
        Stretch::Open
    }
}

fn through(step: &StepStatus) -> bool {
    matches!(step.phase, StepPhase::Done | StepPhase::Skipped)
}

/// How far the component of `policy` is; absent when the run is not about it.
pub(crate) fn lane(status: &RecoveryRunStatus, policy: &str) -> Option<Stretch> {
    let own = status.steps.iter().filter(|step| step.policy.as_deref() == Some(policy));
    own.clone().next()?;
    Some(stretch(own))
}

/// Whether something has failed and nothing else can go on, or the way back has begun.
pub(crate) fn has_failed(status: &RecoveryRunStatus) -> bool {
    if status.swaps.iter().any(|swap| swap.direction == Direction::Back) {
        return true;
    }
    let whole = status.steps.iter().filter(|step| step.policy.is_none());
    if stretch(whole) == Stretch::Failed {
        return true;
    }
    let policies: BTreeSet<&str> = status.steps.iter().filter_map(|step| step.policy.as_deref()).collect();
    let lanes: Vec<Stretch> = policies.into_iter().filter_map(|policy| lane(status, policy)).collect();
    lanes.contains(&Stretch::Failed) && !lanes.contains(&Stretch::Open)
}

/// The steps that are not through and would be the next ones.
pub(crate) fn frontier(status: &RecoveryRunStatus) -> Vec<usize> {
    let next = |steps: &[usize]| steps.iter().copied().find(|index| !through(&status.steps[*index]));
    for stage in stages(status) {
        let open: Vec<usize> = match &stage {
            Stage::Whole(index) => next(&[*index]).into_iter().collect(),
            Stage::Lanes(lanes) => lanes
                .iter()
                .filter(|(policy, _)| lane(status, policy) != Some(Stretch::Failed))
                .filter_map(|(_, steps)| next(steps))
                .collect(),
        };
        if !open.is_empty() {
            return open;
        }
    }
    Vec::new()
}

/// Carries all steps forward as far as they go now.
pub(crate) fn walk(draft: &mut Draft<'_>, deadline: Timestamp) {
    settle::delete_spent_jobs(draft);
    let mut failed = false;
    for stage in stages(&draft.status) {
        let open = match stage {
            // The end of a run that has failed in part is another one.
            Stage::Whole(index)
                if failed && Step::of(&draft.status.steps[index]).is_some_and(|s| s.concludes()) =>
            {
                true
            }
            Stage::Whole(index) => carry(draft, &[index], deadline) != Stretch::Done,
            Stage::Lanes(lanes) => {
                let mut open = false;
                for (policy, steps) in lanes {
                    let reached = match lane(&draft.status, &policy) {
                        Some(Stretch::Failed) => Stretch::Failed,
                        _ => carry(draft, &steps, deadline),
                    };
                    failed |= reached == Stretch::Failed;
                    open |= reached == Stretch::Open;
                }
                open
            }
        };
        if open {
            return;
        }
    }
}

/// Carries steps forward, each after the one before it, until one has to wait.
fn carry(draft: &mut Draft<'_>, indices: &[usize], deadline: Timestamp) -> Stretch {
    for &index in indices {
        match draft.status.steps[index].phase {
            StepPhase::Done | StepPhase::Skipped => continue,
            StepPhase::Failed | StepPhase::Undone => return Stretch::Failed,
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
            Progress::Another { note } => {
                let step = &mut draft.status.steps[index];
                step.attempts += 1;
                step.message = texts::bounded(&note);
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
    // What is given back is, however late it is; and neither what a human took to say so after a breach nor a capture of what is recovered by then makes a
    // recovery late.
    let network = draft.seen.run.spec.scenario == Scenario::NetworkFailure;
    let leaving =
        matches!(step.kind, Kind::LeaveOffline | Kind::LiftIsolation | Kind::Unseal | Kind::Protect)
            || (!network && step.kind == Kind::Report);
    if draft.now < deadline || leaving || swap::between(draft.seen, &draft.status, step.policy.as_deref()) {
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
