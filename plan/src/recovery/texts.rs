//! What people read: texts in their bounds, columns, the phase and the Ready condition of a run that goes on.

use crds::Span;
use crds::condition::{clear, get, is_true};
use crds::run::{Display, RunPhase, Scenario, StepPhase, StepStatus, Verdict};
use jiff::Timestamp;

use super::{Draft, settle::settled, walk};

/// Longest message of a step, in bytes.
const MAX_MESSAGE: usize = 1024;

/// `text`, cut to what the message of a step may hold.
pub(crate) fn bounded(text: &str) -> String {
    cut(text, MAX_MESSAGE)
}

/// `text`, cut at a character to `limit` bytes.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit.saturating_sub(3)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// A duration for people.
pub(crate) fn span(span: Span) -> String {
    span.to_string()
}

/// From `start` to `end` for people; nothing when the order is the other one.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> String {
    Span::floor(end.duration_since(start)).to_string()
}

/// `n thing` or `n things`.
pub(crate) fn count(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Derives phase, Ready, Reconciling and the columns from steps and conditions.
pub(crate) fn summarize(draft: &mut Draft<'_>) {
    if draft.status.steps.is_empty() && !settled(&draft.status) {
        draft.status.phase = Some(RunPhase::Pending);
    } else if !settled(&draft.status) {
        running(draft);
    } else {
        clear(&mut draft.status.conditions, "Reconciling");
        draft.status.phase = Some(if is_true(&draft.status.conditions, "Failed") {
            match get(&draft.status.conditions, "Failed").map(|failed| failed.reason.as_str()) {
                Some("Cancelled" | "Rejected") => RunPhase::Cancelled,
                _ => RunPhase::Failed,
            }
        } else if get(&draft.status.conditions, "Complete").is_some_and(|c| c.reason == "Planned") {
            RunPhase::Planned
        } else {
            RunPhase::Succeeded
        });
    }
    columns(draft);
}

fn running(draft: &mut Draft<'_>) {
    draft.status.phase = Some(RunPhase::Running);
    let running: Vec<&StepStatus> =
        draft.status.steps.iter().filter(|step| step.phase == StepPhase::Running).collect();
    if walk::has_failed(&draft.status) {
        let undoing = get(&draft.status.conditions, "Cancelled").is_some_and(|said| said.reason == "Undoing");
        let message = match undoing {
            true => "the run was cancelled; what it exchanged is taken back before it ends",
            false => "the run failed; its claims are made whole before it ends",
        };
        draft.condition("Reconciling", true, "Progressing", message);
        return;
    }
    if draft.status.gates.iter().any(|gate| gate.answer.is_none()) {
        draft.status.phase = Some(RunPhase::AwaitingDecision);
        return;
    }
    if running.is_empty() {
        return;
    }
    // What failed first: it is what somebody has to look at.
    let failed = draft.status.steps.iter().filter(|step| step.phase == StepPhase::Failed);
    let said: Vec<String> = failed.chain(running).map(said).collect();
    let message = bounded(&said.join("; "));
    draft.condition("Ready", false, "Running", message.clone());
    draft.condition("Reconciling", true, "Progressing", message);
}

fn said(step: &StepStatus) -> String {
    let failed = if step.phase == StepPhase::Failed { " failed" } else { "" };
    if step.message.is_empty() {
        format!("{}{failed}", step.name)
    } else {
        format!("{}{failed}: {}", step.name, step.message)
    }
}

fn columns(draft: &mut Draft<'_>) {
    let status = &draft.status;
    let mut display = status.display.clone().unwrap_or_default();
    let of = |phase: StepPhase| {
        let names = status.steps.iter().filter(move |step| step.phase == phase);
        names.map(|step| step.name.as_str()).collect::<Vec<_>>()
    };
    let (running, failed) = (of(StepPhase::Running), of(StepPhase::Failed));
    display.step = match (running.as_slice(), failed.as_slice()) {
        ([], []) => None,
        ([], [first, ..]) | ([first], _) => Some((*first).to_owned()),
        ([first, more @ ..], _) => Some(format!("{first} (+{})", more.len())),
    };
    let verifies = draft.seen.run.spec.scenario == Scenario::BackupVerification;
    display.point = match status.points.as_slice() {
        // How many were verified: of each component one is named.
        _ if verifies => display.point,
        [] => display.point,
        [one] => Some(one.name.clone()),
        more => Some(format!("{} points", more.len())),
    };
    let counted = status.checks.iter().filter(|check| check.verdict != Verdict::Skipped).count();
    if counted > 0 {
        let passed = status.checks.iter().filter(|check| check.verdict == Verdict::Passed).count();
        display.checks = Some(format!("{passed}/{counted}"));
    }
    draft.status.display = (display != Display::default()).then_some(display);
}
