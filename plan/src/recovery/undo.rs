//! A run that somebody cancels: it ends, and what it did is taken back. What it stopped runs again, on the volumes of before. Where volumes were exchanged
//! that is one more exchange with the roles turned, which `swap` carries out like the first one: the old volume takes the claim's name again, the restored one
//! is kept under a quarantine claim of its own, and nothing is destroyed.
//!
//! Order: an exchange that is under way is finished, so that there is something whole to turn; the steps that are open end; the records are turned, which is the
//! write-ahead mark; every volume is seen as Retain; what was started is stopped; the claims are exchanged; what the run stopped runs again (`settle`).

use crds::condition::{Status, get, is_true};
use crds::names;
use crds::run::{DesiredState, Direction, Scenario, StepPhase, Swap};

use super::effect::Effect;
use super::seen::{ClaimSeen, Component, PodSeen};
use super::steps::{self, Kind, Step};
use super::{Draft, Progress, settle, stop, swap, texts, walk};
use crate::effect::Event;
use crate::workload;

/// Reason of a run, and of a step, that should have been undone and could not be.
pub(crate) const NOT_UNDONE: &str = "NotUndone";

/// The Swap steps and their policies.
fn swaps(draft: &Draft<'_>) -> Vec<(usize, String, StepPhase)> {
    let steps = draft.status.steps.iter().enumerate();
    let of = |(index, stored)| match Step::of(stored) {
        Some(Step { kind: Kind::Swap, policy: Some(policy) }) => Some((index, policy, stored.phase)),
        Some(_) | None => None,
    };
    steps.filter_map(of).collect()
}

/// Ends a run that is cancelled, unless what it exchanged can't be taken back. Returns whether it does.
pub(crate) fn cancel(draft: &mut Draft<'_>) -> bool {
    if draft.seen.run.spec.desired_state != DesiredState::Cancelled {
        return false;
    }
    let said = get(&draft.status.conditions, "Cancelled");
    if said.is_some_and(|said| said.reason == "TooLate") {
        return false;
    }
    if draft.status.steps.is_empty() {
        let step = Step { kind: Kind::Assess, policy: None };
        draft.status.steps = vec![steps::waiting(&step, "")];
    }
    // What a rehearsal did lies in its sandbox and goes with it.
    let rehearsal = draft.seen.run.spec.sandbox().is_some();
    if let Some(why) = too_late(draft).filter(|_| !rehearsal) {
        let message = format!(
            "it was cancelled when volumes had been exchanged, which can't be taken back: {why}. It goes on to its end, and what was replaced is kept in quarantine"
        );
        draft.condition("Cancelled", Status::False, "TooLate", texts::bounded(&message));
        return false;
    }
    if !rehearsal && finish_exchanges(draft) {
        return true;
    }
    let at = walk::frontier(&draft.status);
    if at.is_empty() {
        return false;
    }
    let exchanged = !rehearsal && swaps(draft).iter().any(|(_, _, phase)| *phase == StepPhase::Done);
    for index in at {
        let message = texts::bounded(&format!("cancelled at {}", draft.status.steps[index].name));
        match exchanged {
            true => draft.condition("Cancelled", Status::False, "Undoing", message.clone()),
            false => draft.condition("Cancelled", Status::True, "Cancelled", message.clone()),
        }
        steps::fail(draft, index, "Cancelled", &message);
    }
    true
}

/// Why what was exchanged has to stay. Nothing where nothing was, or where it can be taken back.
fn too_late(draft: &Draft<'_>) -> Option<String> {
    let (seen, status) = (draft.seen, &draft.status);
    for (_, policy, phase) in swaps(draft) {
        let begun = match phase {
            StepPhase::Waiting | StepPhase::Skipped | StepPhase::Failed | StepPhase::Undone => continue,
            StepPhase::Running => swap::recorded(status, &policy).any(|swap| !swap::untouched(seen, swap)),
            StepPhase::Done => true,
        };
        // Nobody brings back with a word what an intruder may have changed. Credentials are replaced in this scenario only, so none is here.
        if begun && seen.run.spec.scenario == Scenario::SecurityBreach {
            return Some(format!(
                "the old volumes of policy {policy} are of before the recovery from a breach, with whatever an intruder left there"
            ));
        }
        for swap in swap::recorded(status, &policy).filter(|_| begun) {
            let claim = &swap.claim;
            let Some(old) = &swap.old_volume else {
                return Some(format!("the volume that claim {claim} had before was lost"));
            };
            if !seen.volumes.contains_key(old) {
                return Some(format!(
                    "volume {old}, which claim {claim} had before, does not exist any more"
                ));
            }
            if phase == StepPhase::Done && !exchanged(draft, swap) {
                return Some(format!(
                    "claims {claim} and {} do not hold volumes {} and {old} any more",
                    swap.quarantine_claim, swap.new_volume
                ));
            }
        }
    }
    None
}

/// Whether both claims hold the volumes that the exchange forth gave them.
fn exchanged(draft: &Draft<'_>, swap: &Swap) -> bool {
    let kept =
        swap.old_volume.as_ref().is_some_and(|old| swap::bound(draft.seen, &swap.quarantine_claim, old));
    swap.direction == Direction::Forth && kept && swap::bound(draft.seen, &swap.claim, &swap.new_volume)
}

/// Goes on with the exchanges that are under way; nothing else goes on meanwhile. Returns whether there is one.
fn finish_exchanges(draft: &mut Draft<'_>) -> bool {
    let mut any = false;
    for (index, policy, phase) in swaps(draft) {
        let begun = |swap: &Swap| !swap::untouched(draft.seen, swap);
        if phase != StepPhase::Running || !swap::recorded(&draft.status, &policy).any(begun) {
            continue;
        }
        // Their pods would keep the claims from being deleted.
        if !any {
            settle::delete_spent_jobs(draft);
        }
        any = true;
        let message = format!("the exchange of policy {policy}, which is under way, is finished first");
        draft.condition("Cancelled", Status::False, "Undoing", message);
        settle::exchange(draft, index, &policy);
    }
    any
}

/// Takes back what a cancelled run has exchanged. Returns whether nothing is left to do.
pub(crate) fn advance(draft: &mut Draft<'_>) -> bool {
    if !draft.status.steps.iter().any(|step| step.reason.as_deref() == Some("Cancelled")) {
        return true;
    }
    if turn(draft) {
        return false;
    }
    let open = swaps(draft).into_iter().filter(|(_, policy, phase)| {
        *phase == StepPhase::Running && swap::recorded(&draft.status, policy).any(is_turned)
    });
    let open: Vec<(usize, String, StepPhase)> = open.collect();
    if open.is_empty() {
        return true;
    }
    let (effects, note) = stopping(draft, &open);
    if let Some(note) = note {
        draft.effects.extend(effects);
        for (index, ..) in open {
            draft.status.steps[index].message = texts::bounded(&note);
        }
        return false;
    }
    let mut through = true;
    for (index, policy, _) in open {
        match swap::advance(draft, index, &policy) {
            Progress::Done(message) | Progress::Skipped(message) => undone(draft, index, &message),
            Progress::Failed { message, .. } => {
                steps::fail(draft, index, NOT_UNDONE, &format!("could not be undone: {message}"));
            }
            Progress::Acting { effects, note } => {
                draft.effects.extend(effects);
                draft.status.steps[index].message = texts::bounded(&note);
                through = false;
            }
            Progress::Polling { effects, note, at } => {
                draft.effects.extend(effects);
                draft.status.steps[index].message = texts::bounded(&note);
                draft.next = draft.next.or_at(at);
                through = false;
            }
            Progress::Again { .. } | Progress::Another { .. } => through = false,
        }
    }
    through
}

fn is_turned(swap: &Swap) -> bool {
    swap.direction == Direction::Back
}

/// Turns the records of what is exchanged: the write-ahead mark of the way back. Returns whether there was something.
fn turn(draft: &mut Draft<'_>) -> bool {
    let mut any = false;
    for (index, policy, phase) in swaps(draft) {
        let forth: Vec<Swap> = swap::recorded(&draft.status, &policy).cloned().collect();
        let whole = !forth.is_empty() && forth.iter().all(|swap| exchanged(draft, swap));
        match phase {
            // One that failed when both claims were bound, at the deadline for instance.
            StepPhase::Done | StepPhase::Failed if whole => {}
            // It restored nothing, or somebody has changed the claims since it was cancelled.
            StepPhase::Done => {
                let message = "could not be undone: its claims do not hold the volumes that were exchanged";
                steps::fail(draft, index, NOT_UNDONE, message);
                any = true;
                continue;
            }
            StepPhase::Failed
            | StepPhase::Waiting
            | StepPhase::Running
            | StepPhase::Skipped
            | StepPhase::Undone => continue,
        }
        let turned: Vec<Swap> = forth.iter().filter_map(|swap| turned(draft, swap)).collect();
        draft.status.swaps.retain(|swap| swap.policy != policy);
        draft.status.swaps.extend(turned);
        let step = &mut draft.status.steps[index];
        (step.phase, step.end, step.reason) = (StepPhase::Running, None, None);
        step.message = "being undone".to_owned();
        any = true;
    }
    any
}

/// The same exchange with the roles turned.
fn turned(draft: &Draft<'_>, swap: &Swap) -> Option<Swap> {
    let seen = draft.seen;
    let (serving, kept) = (seen.claims.get(&swap.claim)?, seen.claims.get(&swap.quarantine_claim)?);
    let old = seen.volumes.get(swap.old_volume.as_ref()?)?;
    Some(Swap {
        policy: swap.policy.clone(),
        claim: swap.claim.clone(),
        claim_uid: Some(serving.uid.clone()),
        restore_claim: kept.name.clone(),
        restore_claim_uid: kept.uid.clone(),
        quarantine_claim: names::restored_claim(&swap.claim, &seen.run.uid),
        old_volume: Some(swap.new_volume.clone()),
        new_volume: old.name.clone(),
        new_reclaim_policy: old.reclaim.clone(),
        direction: Direction::Back,
    })
}

/// What stops everything again, and what is waited for; no text when all stands still. Retain first: a StatefulSet may delete its claims when it is scaled.
fn stopping(draft: &Draft<'_>, open: &[(usize, String, StepPhase)]) -> (Vec<Effect>, Option<String>) {
    let seen = draft.seen;
    let swaps: Vec<&Swap> =
        open.iter().flat_map(|(_, policy, _)| swap::recorded(&draft.status, policy)).collect();
    let volumes = swaps.iter().flat_map(|swap| swap.old_volume.iter().chain([&swap.new_volume]));
    let retain: Vec<Effect> = volumes
        .filter_map(|name| seen.volumes.get(name))
        .filter_map(|volume| swap::reclaim(volume, "Retain"))
        .collect();
    if !retain.is_empty() {
        return (retain, Some("setting the volumes to Retain before anything is scaled".to_owned()));
    }
    let down = stop::scale_down(seen);
    let pods: Vec<&PodSeen> = swaps.iter().flat_map(|swap| seen.pods_of(&swap.claim)).collect();
    match (down.is_empty() && pods.is_empty(), workload::unknown(pods.iter().copied())) {
        (true, _) => (Vec::new(), None),
        (false, Some(unknown)) => (down, Some(unknown)),
        (false, None) => (down, Some(workload::waiting(pods))),
    }
}

fn undone(draft: &mut Draft<'_>, index: usize, message: &str) {
    let now = draft.now;
    let step = &mut draft.status.steps[index];
    (step.phase, step.end) = (StepPhase::Undone, Some(now));
    step.message = texts::bounded(message);
    draft.events.push(Event::normal("SwapUndone", format!("{}: {message}", step.name)));
}

/// What the conditions say of a run whose exchange was taken back, or should have been.
pub(crate) fn conclude(draft: &mut Draft<'_>) {
    let of = |reason: &str| {
        let failed = |step: &&crds::run::StepStatus| step.reason.as_deref() == Some(reason);
        draft.status.steps.iter().find(failed).map(|step| step.message.clone())
    };
    let taken_back: Vec<String> = swaps(draft)
        .into_iter()
        .filter(|(_, _, phase)| *phase == StepPhase::Undone)
        .map(|(index, ..)| draft.status.steps[index].message.clone())
        .collect();
    if let Some(why) = of(NOT_UNDONE) {
        draft.condition("Cancelled", Status::False, NOT_UNDONE, why);
    } else if !taken_back.is_empty() {
        let message = texts::bounded(&taken_back.join("; "));
        draft.condition("Cancelled", Status::True, "Undone", message);
    }
    if taken_back.is_empty() {
        return;
    }
    for kind in ["DataRestored", "ApplicationReady", "Validated"] {
        if is_true(&draft.status.conditions, kind) {
            let message = "it was so until the run was cancelled; the volumes of before serve again";
            draft.condition(kind, Status::False, "Undone", message);
        }
    }
}

/// What is kept of a component whose exchange was taken back, in words.
pub(crate) fn told(draft: &Draft<'_>, component: &Component) -> Option<String> {
    let kept: Vec<&str> = swap::recorded(&draft.status, &component.policy)
        .filter(|swap| is_turned(swap) && draft.seen.claims.contains_key(&swap.quarantine_claim))
        .map(|swap| swap.quarantine_claim.as_str())
        .collect();
    (!kept.is_empty()).then(|| format!("the restored one is kept as {}", kept.join(", ")))
}

/// Uid of the claim that the old volume of `claim` belonged to last, as far as that claim is gone.
pub(crate) fn last_owner<'a>(draft: &'a Draft<'_>, claim: &'a ClaimSeen) -> &'a str {
    let turned = draft.status.swaps.iter().find(|swap| is_turned(swap) && swap.claim == claim.name);
    let gone = turned.filter(|swap| !draft.seen.claims.contains_key(&swap.restore_claim));
    gone.map_or(claim.uid.as_str(), |swap| swap.restore_claim_uid.as_str())
}
