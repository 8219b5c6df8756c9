//! How a run ends, and what is tidied up around it. A run that fails ends only when its claims are whole, so that the
//! state of the world it reports is one that a human can go on from.

use crds::condition::{Status, is_true};
use crds::names;
use crds::run::{RecoveryRunStatus, Scenario, StepPhase, StepStatus, Verdict};

use super::effect::Effect;
use super::seen::{ClaimSeen, Observed};
use super::steps::{self, Kind, Step};
use super::swap::{self, between, bound, swapped};
use super::{
    Draft, Progress, binding, check_jobs, evidence, exec_checks, isolation, left, lift, losses, measure,
    mover, offline, reporting, rotate, sandbox, start, stop, undo,
};

/// Whether the run has ended; nothing changes its status any more.
pub(crate) fn settled(status: &RecoveryRunStatus) -> bool {
    is_true(&status.conditions, "Complete") || is_true(&status.conditions, "Failed")
}

/// Deletes Jobs whose result is recorded: their pods would keep the claims from being deleted. And lets the run go when
/// its claims are whole.
pub(crate) fn delete_spent_jobs(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    let mut needed = Vec::new();
    for stored in draft.status.steps.iter().filter(|step| step.phase == StepPhase::Running) {
        let Some(step) = Step::of(stored) else { continue };
        let attempt = stored.attempts.max(1);
        for component in &seen.components {
            if step.policy.as_ref().is_none_or(|policy| *policy == component.policy) {
                needed.push(mover::job_name(draft, step.kind, &component.policy, attempt));
                if step.kind == Kind::Validate {
                    needed.extend(check_jobs::names_of(draft, component));
                    needed.extend(exec_checks::names_of(draft, component));
                }
            }
        }
        if step.policy.is_none() {
            needed.push(mover::job_name(draft, step.kind, mover::WHOLE, attempt));
            let of = evidence::names(seen).into_iter();
            needed.extend(of.map(|name| mover::job_name(draft, step.kind, name, attempt)));
            if step.kind == Kind::RotateCredentials {
                needed.extend(rotate::names_of(draft));
            }
        }
    }
    delete_jobs(draft, &needed);
    lift::forget(draft);
    if seen.run.finalizer && !holding(draft) {
        draft.effects.push(Effect::RemoveFinalizer);
    }
}

/// Whether the run must stay until its claims are whole.
fn holding(draft: &Draft<'_>) -> bool {
    let deletes =
        draft.seen.components.iter().flat_map(|c| &c.workloads).any(|workload| workload.deletes_claims);
    if offline::owes(&draft.status) || isolation::holds(&draft.status) || sandbox::holds(&draft.status) {
        return true;
    }
    let stopping = draft
        .status
        .steps
        .iter()
        .any(|step| step.name == "Stop" && matches!(step.phase, StepPhase::Running | StepPhase::Done));
    draft.status.steps.iter().filter(|step| Step::of(step).is_some_and(|step| step.kind == Kind::Swap)).any(
        |step| match step.phase {
            StepPhase::Running | StepPhase::Failed => true,
            StepPhase::Waiting => deletes && stopping,
            StepPhase::Done | StepPhase::Skipped | StepPhase::Undone => false,
        },
    )
}

fn delete_jobs(draft: &mut Draft<'_>, needed: &[String]) {
    for (name, job) in &draft.seen.jobs {
        if !job.deleting && !needed.contains(name) {
            draft.effects.push(Effect::DeleteJob { name: name.clone(), uid: job.uid.clone() });
        }
    }
}

/// After the end: Jobs, fence and finalizer go. The fence stays while a claim is between two volumes, the finalizer while the namespace is
/// isolated: a run that failed leaves it so until somebody lifts that.
pub(crate) fn tidy(draft: &mut Draft<'_>) {
    let needed: Vec<String> = reporting::job(draft).into_iter().chain(losses::jobs(draft)).collect();
    delete_jobs(draft, &needed);
    let seen = draft.seen;
    if !between(seen, &draft.status, None) {
        lift(draft);
    }
    if isolation::holds(&draft.status) && !seen.namespace_terminating && !lift::after_the_end(draft) {
        return;
    }
    lift::forget(draft);
    if !sandbox::cleaned(draft) {
        return;
    }
    if seen.run.finalizer {
        draft.effects.push(Effect::RemoveFinalizer);
    }
}

/// Nothing is fenced and nothing remembered any more.
fn lift(draft: &mut Draft<'_>) {
    draft.status.fenced.clear();
    let run = &draft.seen.run;
    draft.effects.extend(draft.seen.memory.as_ref().map(|memory| Effect::ForgetClaims {
        name: names::memory(&run.name, &run.uid),
        uid: memory.uid.clone(),
    }));
}

/// The run is being deleted: a swap that was begun is finished, a claim that a StatefulSet deleted is put back, nothing
/// is started, and the run goes.
pub(crate) fn leave(draft: &mut Draft<'_>) {
    let seen = draft.seen;
    if !seen.run.finalizer {
        return;
    }
    delete_jobs(draft, &[]);
    let rehearsal = seen.run.spec.sandbox().is_some();
    if !seen.namespace_terminating
        && !rehearsal
        && !(make_whole(draft) & offline::give_back_all(draft, false) & lift::given_back(draft))
    {
        return;
    }
    // What claims looked like is needed until the sandbox is gone.
    if sandbox::cleaned(draft) {
        lift(draft);
        lift::forget(draft);
        draft.effects.push(Effect::RemoveFinalizer);
    }
}

/// Goes on with what has been taken apart. Returns whether all is whole, or as whole as it gets.
fn make_whole(draft: &mut Draft<'_>) -> bool {
    let mut whole = true;
    for index in 0..draft.status.steps.len() {
        let Some(Step { kind: Kind::Swap, policy: Some(policy) }) = Step::of(&draft.status.steps[index])
        else {
            continue;
        };
        let running = draft.status.steps[index].phase == StepPhase::Running;
        if running && between(draft.seen, &draft.status, Some(&policy)) {
            whole &= !exchange(draft, index, &policy);
            continue;
        }
        match put_back(draft, &policy) {
            Back::Whole | Back::Impossible => {}
            Back::Acting(effects) => {
                draft.effects.extend(effects);
                whole = false;
            }
        }
    }
    whole
}

/// Goes on with an exchange that is under way. Returns whether it waits for something.
pub(crate) fn exchange(draft: &mut Draft<'_>, index: usize, policy: &str) -> bool {
    match swap::advance(draft, index, policy) {
        Progress::Done(message) | Progress::Skipped(message) => {
            steps::end(draft, index, StepPhase::Done, &message);
            false
        }
        Progress::Failed { reason, message } => {
            steps::fail(draft, index, &reason, &message);
            false
        }
        Progress::Again { .. } | Progress::Another { .. } => false,
        Progress::Acting { effects, .. } => {
            draft.effects.extend(effects);
            true
        }
        Progress::Polling { effects, at, .. } => {
            draft.effects.extend(effects);
            draft.next = draft.next.or_at(at);
            true
        }
    }
}

enum Back {
    Whole,
    Acting(Vec<Effect>),
    /// The claim's name or the old volume is somebody else's now.
    Impossible,
}

/// Gives the old volumes their claims again where these are gone: deleted by `whenScaled: Delete`, or by a swap that failed.
fn put_back(draft: &mut Draft<'_>, policy: &str) -> Back {
    let (mut acting, mut waits, mut impossible) = (Vec::new(), false, false);
    for claim in draft.seen.remembered(policy).unwrap_or_default() {
        match put_one_back(draft, claim) {
            Back::Whole => {}
            Back::Impossible => impossible = true,
            Back::Acting(effects) => {
                waits = true;
                acting.extend(effects);
            }
        }
    }
    match (waits, impossible) {
        (true, _) => Back::Acting(acting),
        (false, true) => Back::Impossible,
        (false, false) => Back::Whole,
    }
}

fn put_one_back(draft: &mut Draft<'_>, claim: &ClaimSeen) -> Back {
    let seen = draft.seen;
    let Some(old) = claim.volume.as_deref() else { return Back::Impossible };
    if let Some(present) = seen.claims.get(&claim.name) {
        return match present {
            present if present.deleting || doomed(seen, present) => Back::Acting(Vec::new()),
            _ if bound(seen, &claim.name, old) || swapped(seen, &draft.status, &claim.name) => {
                match binding::hasten(draft, &[present]) {
                    tidying if tidying.is_empty() => Back::Whole,
                    tidying => Back::Acting(tidying),
                }
            }
            present if !present.bound && present.volume.as_deref() == Some(old) => {
                Back::Acting(binding::hasten(draft, &[present]))
            }
            _ => Back::Impossible,
        };
    }
    let Some(volume) = seen.volumes.get(old) else { return Back::Impossible };
    if let Some(retain) = swap::reclaim(volume, "Retain") {
        return Back::Acting(vec![retain]);
    }
    match swap::reserve(seen, volume, &claim.name, undo::last_owner(draft, claim)) {
        Ok(Some(effect)) => Back::Acting(vec![effect]),
        Ok(None) if volume.phase == "Available" => {
            Back::Acting(vec![Effect::CreateClaim(swap::like(seen, claim, old))])
        }
        Ok(None) => Back::Acting(Vec::new()),
        Err(_) => Back::Impossible,
    }
}

/// Whether a StatefulSet with `whenScaled: Delete` is about to delete `claim`: its pod is still there, or owns the claim.
fn doomed(seen: &Observed, claim: &ClaimSeen) -> bool {
    stop::workloads(seen).iter().any(|workload| workload.deletes_claims && workload.replicas == 0)
        && (seen.pods_of(&claim.name).next().is_some()
            || claim.owners.iter().any(|owner| owner.kind == "Pod"))
}

/// Something failed and nothing else goes on: makes the claims whole, then ends the run.
pub(crate) fn finish_failed(draft: &mut Draft<'_>) {
    delete_jobs(draft, &[]);
    let seen = draft.seen;
    if seen.run.spec.sandbox().is_some() {
        return finish_rehearsal(draft);
    }
    if !seen.namespace_terminating {
        if !undo::advance(draft) {
            return;
        }
        let (mut open, mut effects) = (false, Vec::new());
        for policy in seen.restored().map(|component| component.policy.clone()).collect::<Vec<_>>() {
            if let Back::Acting(more) = put_back(draft, &policy) {
                open = true;
                effects.extend(more);
            }
        }
        if open {
            draft.effects.extend(effects);
            return;
        }
    }
    let failed: Vec<StepStatus> =
        draft.status.steps.iter().filter(|step| step.phase == StepPhase::Failed).cloned().collect();
    let (reason, mut message) = why(&failed);
    let in_vain = in_vain(seen.run.spec.scenario, &reason);
    let back = match in_vain {
        true => offline::give_back_all(draft, true) & lift::given_back(draft),
        false => offline::restarted(draft),
    };
    if !back && !seen.namespace_terminating {
        return;
    }
    // On a claim that is between two volumes nothing is started.
    if in_vain && !between(seen, &draft.status, None) {
        let effects = start::scale_up(draft);
        if !effects.is_empty() {
            draft.effects.extend(effects);
            return;
        }
    }
    if begun(&draft.status) {
        message = format!("{message}. {}", left::world(draft));
        draft.status.next_actions = left::next_actions(draft);
    }
    undo::conclude(draft);
    draft.status.left_as = Some(left::left_as(draft));
    end_failed(draft, reason, message);
}

/// Something failed in a rehearsal. Nothing is to be given back: all that it did lies in its sandbox.
fn finish_rehearsal(draft: &mut Draft<'_>) {
    let failed: Vec<StepStatus> =
        draft.status.steps.iter().filter(|step| step.phase == StepPhase::Failed).cloned().collect();
    let (reason, message) = why(&failed);
    end_failed(draft, reason, format!("{message}. Production is not touched"));
}

fn end_failed(draft: &mut Draft<'_>, reason: String, message: String) {
    measure::measure(draft);
    draft.status.verdict.get_or_insert(Verdict::Failed);
    draft.condition("Ready", false, &reason, message.clone());
    draft.condition("Stalled", Status::True, &reason, message.clone());
    draft.condition("Failed", Status::True, &reason, message.clone());
    draft.events.push(crate::effect::Event::warning(reason, message));
}

/// Whether what was stopped is started again. A run that was carried out before, as the repository knows, had no reason to stop anything, what
/// can't be restored at all is left as it was found, and who cancelled it wants what ran to run. Where somebody broke in nothing runs again
/// unless a human says so.
fn in_vain(scenario: Scenario, reason: &str) -> bool {
    match scenario {
        Scenario::SecurityBreach => reason == "Cancelled",
        // It stopped nothing.
        Scenario::BackupVerification => false,
        Scenario::CompleteFailure
        | Scenario::DatabaseCorruption
        | Scenario::StorageFailure
        | Scenario::NetworkFailure => {
            matches!(reason, "AlreadyExecuted" | "DowngradeRefused" | "Cancelled" | "Rejected")
        }
    }
}

/// Reason and message of a run whose steps failed so. A cancelled one is Cancelled, whatever else went wrong, unless what it did could not be undone.
fn why(failed: &[StepStatus]) -> (String, String) {
    let of = |step: &StepStatus| step.reason.clone().unwrap_or_else(|| "StepFailed".to_owned());
    let by = |reason: &str| failed.iter().find(|step| step.reason.as_deref() == Some(reason));
    let first = by(undo::NOT_UNDONE).or_else(|| by("Cancelled")).or(failed.first());
    let reason = first.map_or_else(|| "StepFailed".to_owned(), of);
    let several = failed.len() > 1;
    let say =
        |step: &StepStatus| match (several || of(step) == "StepFailed", step.message.starts_with(&step.name))
        {
            (true, false) => format!("{}: {}", step.name, step.message),
            (true, true) | (false, _) => step.message.clone(),
        };
    let said: Vec<String> = failed.iter().map(say).collect();
    (reason, if said.is_empty() { "a step failed".to_owned() } else { said.join("; ") })
}

/// Whether something was touched.
pub(crate) fn begun(status: &RecoveryRunStatus) -> bool {
    !status.stopped.is_empty() || !status.offline.is_empty() || status.isolation.is_some()
}
