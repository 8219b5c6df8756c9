//! The step Protect: what was recovered is protected again. Of every restored component a capture is asked for, and its point has to become Available.
//! It comes when everything is validated, and after a breach when the repositories are unsealed, so it is no part of the recovery time: the data serves
//! already. One that fails makes the run Failed all the same, and the replaced volumes are kept: nothing newer protects what serves now.
//!
//! What is asked for stands in the run's status before any policy starts a capture (`backup/fresh.rs`); the answer is the policy's.

use crds::job::CheckResult;
use crds::run::{FreshCapture, StepPhase, Verdict};
use jiff::{SignedDuration, Timestamp};

use super::seen::{CaptureSeen, Component};
use super::steps::{Kind, Step};
use super::{Draft, Progress, checklist, evidence, validate};

/// The line of the checklist.
const CHECK: &str = "backup-functional";
/// How long the policy may take to begin: its server has just started, and a repository that was sealed is probed first.
const TO_BEGIN: SignedDuration = SignedDuration::from_mins(6);
/// The capture itself may take as long as its RPO, which a longer one misses anyway, within these.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

/// What is known of the capture of a component.
enum Look {
    Ended(Verdict, String),
    Waits(String, Timestamp),
}

/// Asks for the captures, and waits until each has ended.
pub(crate) fn advance(draft: &mut Draft<'_>) -> Progress {
    let seen = draft.seen;
    let (mut lines, mut waits, mut at) = (Vec::new(), Vec::new(), None::<Timestamp>);
    for component in seen.restored() {
        match look(draft, component) {
            Look::Ended(verdict, observed) => lines.push((component, verdict, observed)),
            Look::Waits(why, until) => {
                waits.push(why);
                at = Some(at.map_or(until, |at| at.min(until)));
            }
        }
    }
    if let Some(at) = at {
        return Progress::Polling { effects: Vec::new(), note: waits.join("; "), at };
    }
    let several = seen.components.len() > 1;
    for (component, verdict, observed) in &lines {
        let expected = "a new Available point".to_owned();
        let check =
            CheckResult { name: CHECK.to_owned(), verdict: *verdict, expected, observed: observed.clone() };
        let line = checklist::line(several, component, check);
        draft.status.checks.retain(|known| known.name != line.name);
        draft.status.checks.push(line);
    }
    let of = |wanted: Verdict| {
        let of = lines.iter().filter(move |(_, verdict, _)| *verdict == wanted);
        of.map(|(component, _, observed)| format!("{}: {observed}", component.policy)).collect::<Vec<_>>()
    };
    let (failed, passed, skipped) = (of(Verdict::Failed), of(Verdict::Passed), of(Verdict::Skipped));
    if !failed.is_empty() {
        let message = format!(
            "what was recovered serves, but is not protected: no capture succeeds ({}). Look at the policy: kubectl describe hfpolicy -n {}",
            failed.join("; "),
            seen.run.namespace
        );
        validate::worse(draft, Verdict::Failed);
        draft.condition("Validated", false, "ValidationFailed", message.clone());
        return Progress::failed("ValidationFailed", message);
    }
    let text = passed.iter().chain(&skipped).cloned().collect::<Vec<_>>().join("; ");
    let text = if text.is_empty() { "no policy is left that captures anything".to_owned() } else { text };
    if passed.is_empty() { Progress::Skipped(text) } else { Progress::Done(text) }
}

fn look(draft: &mut Draft<'_>, component: &Component) -> Look {
    let (policy, capture) = (&component.policy, &component.capture);
    let known = draft.status.fresh_captures.iter().find(|known| known.policy == *policy);
    let Some(asked) = known.map(|known| known.requested_at) else {
        if let Some(why) = refused(draft, component) {
            return Look::Ended(Verdict::Skipped, why);
        }
        let asked = FreshCapture { policy: policy.clone(), requested_at: draft.now };
        draft.status.fresh_captures.push(asked);
        return Look::Waits(format!("{policy}: a capture is asked for"), draft.now + TO_BEGIN);
    };
    let run = &draft.seen.run.uid;
    let answer = capture.answer.as_ref();
    if let Some(answer) = answer.filter(|answer| answer.run == *run && answer.requested_at == asked) {
        return match &answer.point {
            Some(point) => Look::Ended(Verdict::Passed, point.clone()),
            None => Look::Ended(Verdict::Failed, failure(capture, &answer.reason)),
        };
    }
    let rpo = component.objectives.rpo.to_duration().clamp(SHORTEST, LONGEST);
    let (limit, doing, otherwise) = if capture.begun {
        (asked + TO_BEGIN + rpo, "is captured", "the capture has not ended")
    } else {
        (asked + TO_BEGIN, "waits to be captured", "no capture began")
    };
    if draft.now < limit {
        let why = capture.waits.as_ref().filter(|_| !capture.begun);
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        return Look::Waits(format!("{policy} {doing}{why}"), limit);
    }
    let minutes = draft.now.duration_since(asked).as_mins();
    let why = capture.waits.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Look::Ended(Verdict::Failed, format!("{otherwise} within {minutes} minutes{why}"))
}

fn failure(capture: &CaptureSeen, reason: &str) -> String {
    match capture.failed.as_ref().filter(|(known, _)| known == reason) {
        Some((_, message)) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

/// Why nothing is asked for.
fn refused(draft: &Draft<'_>, component: &Component) -> Option<String> {
    let validate = Step { kind: Kind::Validate, policy: Some(component.policy.clone()) }.name();
    if draft.status.steps.iter().any(|step| step.name == validate && step.phase == StepPhase::Skipped) {
        return Some("it did not run before, so nothing of it runs that could be captured".to_owned());
    }
    if evidence::is_sealed(&draft.status) {
        let name = &component.repository;
        return Some(format!(
            "repository {name} stays sealed; holdfast repo unseal, with its key, lets captures go on"
        ));
    }
    // What the run has unsealed is so, whatever the probe before that saw.
    let unsealed =
        draft.status.steps.iter().any(|step| step.name == "Unseal" && step.phase == StepPhase::Done);
    let sealed = component.capture.sealed.clone().filter(|_| !unsealed);
    component.capture.refused.clone().or(sealed)
}
