//! Commands in the component's pods around a capture. That the last one is owed stands in the status before the first one may run, with
//! the command itself: whatever becomes of the capture, of the policy or of the controller, it runs, each attempt of a capture having its
//! own. A finalizer holds the policy meanwhile, for a time that is bounded.

use std::collections::BTreeMap;

use crds::job::{Failure, FailureReason, Report, Request};
use crds::policy::{ActiveCapture, HookStage, Hooked};
use crds::reference::{HOOK_ROLE, POLICY_LABEL};
use crds::{BackupPolicy, Span, condition, names};
use jiff::Timestamp;

use super::source::{Content, Problem, Source};
use super::{Observed, Plan, conditions, name_of, outcome, snapshot};
use crate::effect::{Account, Bound, Event, JobState, MoverJob, label_value};

/// Jobs that a stage may take.
const TRIES: u32 = 3;
/// What a Job may take besides its commands: its pod has to be started.
const STARTING: Span = Span::from_mins(5);

/// The name of the Job that runs the command of this stage.
#[must_use]
pub fn job_name(policy: &BackupPolicy, hooked: &Hooked) -> String {
    let step = format!("{}-{}-{}", hooked.stage.as_str(), hooked.slot, hooked.attempt);
    name_of(policy, &step, hooked.tries)
}

/// Refuses hooks where nobody may run them.
pub(super) fn allowed(seen: &Observed<'_>) -> Result<(), Problem> {
    if seen.policy.spec.capture.hooks.is_none() || seen.hooks_allowed {
        return Ok(());
    }
    let message = "spec.capture.hooks runs commands in pods, which this installation doesn't allow: install the chart with hooks.enabled=true, or remove the hooks";
    Err(Problem { reason: "HooksNotAllowed", message: message.to_owned() })
}

/// Whether the Job of `active` is one that the hooks are there for: it reads the volumes, or has them cut.
fn surrounded(active: &ActiveCapture) -> bool {
    !active.confirming && (active.snapshot.is_none() || snapshot::is_cutting(active))
}

/// Whether the Job of `active` may start: its hooks are where they have to be. Where they are not begun yet, they are written down.
pub(super) fn begun(seen: &Observed<'_>, plan: &mut Plan, source: &Source, active: &ActiveCapture) -> bool {
    let Some(hooks) = seen.policy.spec.capture.hooks.clone().filter(|_| surrounded(active)) else {
        return true;
    };
    if let Some(hooked) = &plan.status.hooked {
        let is_its_own = hooked.slot == active.slot && hooked.attempt == active.attempt;
        return is_its_own && hooked.stage == HookStage::Between;
    }
    let pods = pods(seen, source);
    // What nobody runs is at rest.
    let stage = match &hooks.before {
        Some(_) if !pods.is_empty() => HookStage::Before,
        _ => HookStage::Between,
    };
    plan.status.hooked = Some(Hooked {
        slot: active.slot.clone(),
        attempt: active.attempt,
        stage,
        since: seen.now,
        tries: 1,
        pods,
        hooks,
    });
    plan.next = plan.next.or_at(seen.now);
    false
}

/// Of a ChromaDB its server's pod, of an application every pod that runs and mounts one of the volumes.
fn pods(seen: &Observed<'_>, source: &Source) -> Vec<String> {
    match source.content {
        Content::ChromaDb { .. } => source.pod.iter().cloned().collect(),
        Content::Application => {
            let runs = seen.pods.iter().filter(|pod| pod.ready && !pod.ended && pod.lost_on.is_none());
            runs.map(|pod| pod.name.clone()).collect()
        }
    }
}

/// Goes on with hooks that were begun.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    let before = seen.policy.status.as_ref().and_then(|status| status.hooked.as_ref());
    let Some(hooked) = plan.status.hooked.clone().filter(|hooked| Some(hooked) == before) else { return };
    let active = plan.status.active.clone();
    let active = active.filter(|active| active.slot == hooked.slot && active.attempt == hooked.attempt);
    match (hooked.stage, active.filter(surrounded)) {
        (HookStage::Before, active) => before_capture(seen, plan, hooked, active),
        (HookStage::Between, Some(_)) => {}
        (HookStage::Between, None) => turn(seen, plan, hooked, HookStage::After),
        (HookStage::After, _) => after_capture(seen, plan, hooked),
    }
}

fn before_capture(seen: &Observed<'_>, plan: &mut Plan, hooked: Hooked, active: Option<ActiveCapture>) {
    let failed = |message: String| Some(Failure { reason: FailureReason::HookFailed, message });
    let failed = match &seen.hook_job {
        // Of a capture that is not wanted any more. One that runs is waited for, so that the last command comes last.
        JobState::Absent if active.is_none() => None,
        JobState::Absent if seen.now < given_up(&hooked) => {
            plan.next = plan.next.or_at(given_up(&hooked));
            return start(seen, plan, &hooked);
        }
        JobState::Absent => failed(
            "the hook before it could not be started in its time: the policy's events say why".to_owned(),
        ),
        JobState::Running { waiting } => return conditions::waiting(seen, plan, waiting.as_deref()),
        JobState::Ended(Report::Ran) => None,
        JobState::Ended(Report::Failed(failure)) => Some(failure.clone()),
        JobState::Ended(_) => Some(outcome::other_answer()),
        JobState::Silent { why } => failed(format!("the hook before it ended without a report: {why}")),
    };
    plan.delete.push(job_name(seen.policy, &hooked));
    match (failed, active) {
        (None, Some(_)) => turn(seen, plan, hooked, HookStage::Between),
        (failed, active) => {
            turn(seen, plan, hooked, HookStage::After);
            if let (Some(failure), Some(active)) = (failed, active) {
                outcome::retry(seen, plan, active, &failure);
            }
        }
    }
}

fn after_capture(seen: &Observed<'_>, plan: &mut Plan, hooked: Hooked) {
    let why = match &seen.hook_job {
        // Of a Job that is removed as often as it is made nothing would ever be heard.
        JobState::Absent | JobState::Running { .. } if seen.now >= given_up(&hooked) => {
            "its Job did not end in its time".to_owned()
        }
        JobState::Absent => {
            plan.next = plan.next.or_at(given_up(&hooked));
            return start(seen, plan, &hooked);
        }
        JobState::Running { .. } => {
            plan.next = plan.next.or_at(given_up(&hooked));
            return;
        }
        JobState::Ended(Report::Ran) => {
            plan.delete.push(job_name(seen.policy, &hooked));
            plan.status.hooked = None;
            return;
        }
        JobState::Ended(Report::Failed(failure)) => failure.message.clone(),
        JobState::Ended(_) => outcome::other_answer().message,
        JobState::Silent { why } => format!("its Job ended without a report: {why}"),
    };
    plan.delete.push(job_name(seen.policy, &hooked));
    if hooked.tries < TRIES && seen.now < given_up(&hooked) {
        let told = format!("the hook after capture {}, try {} of {TRIES}: {why}", hooked.slot, hooked.tries);
        plan.events.push(Event::warning("HookFailed", told));
        plan.status.hooked = Some(Hooked { tries: hooked.tries + 1, ..hooked });
        plan.next = plan.next.or_at(seen.now);
        return;
    }
    let told = format!(
        "the hook after capture {} failed, and what the one before it did may still hold: run it by hand in {}. {why}",
        hooked.slot,
        hooked.pods.join(", ")
    );
    plan.events.push(Event::warning("HookFailed", told.clone()));
    conditions::captured(seen, plan, false, "HookFailed", &told);
    plan.status.hooked = None;
}

/// Until when a command is tried.
fn given_up(hooked: &Hooked) -> Timestamp {
    // A capture that waits for its first command would rather begin another attempt.
    let tries = if hooked.stage == HookStage::After { TRIES } else { 1 };
    let all = Span::from_secs(deadline(hooked).as_secs().saturating_mul(u64::from(tries)));
    hooked.since.checked_add(all.to_duration()).unwrap_or(Timestamp::MAX)
}

fn deadline(hooked: &Hooked) -> Span {
    let one = hooked.command().map_or(0, |hook| hook.timeout.as_secs());
    let pods = u64::try_from(hooked.pods.len()).unwrap_or(u64::MAX);
    Span::from_secs(one.saturating_mul(pods).saturating_add(STARTING.as_secs()))
}

/// The next stage; without a command for it, or anybody to run it, there is none.
fn turn(seen: &Observed<'_>, plan: &mut Plan, hooked: Hooked, stage: HookStage) {
    let next = Hooked { stage, since: seen.now, tries: 1, ..hooked };
    let over = stage == HookStage::After && (next.pods.is_empty() || next.command().is_none());
    plan.status.hooked = (!over).then_some(next);
    plan.next = plan.next.or_at(seen.now);
    condition::clear(&mut plan.status.conditions, "Reconciling");
}

fn start(seen: &Observed<'_>, plan: &mut Plan, hooked: &Hooked) {
    // Without the finalizer the policy could go, and with it what is owed.
    if !seen.finalizer {
        plan.next = plan.next.or_at(seen.now);
        return;
    }
    let Some(hook) = hooked.command() else { return };
    let meta = &seen.policy.metadata;
    let request = Request::Hook {
        namespace: meta.namespace.clone().unwrap_or_default(),
        pods: hooked.pods.clone(),
        hook: hook.clone(),
        all_or_none: hooked.stage == HookStage::Before,
        needed: false,
    };
    let name = label_value(meta.name.as_deref().unwrap_or_default());
    let account = names::hooker(meta.uid.as_deref().unwrap_or_default());
    plan.hook = Some(Box::new(MoverJob {
        labels: BTreeMap::from([(POLICY_LABEL.to_owned(), name)]),
        service_account: Some(Account { name: account, role: HOOK_ROLE, bound: Bound::WithItsOwner }),
        ..MoverJob::bare(job_name(seen.policy, hooked), request, deadline(hooked))
    }));
}
