//! The end of a sandbox: kept for inspection where the run says so and the rehearsal did not pass, then removed with all that was restored into it, and
//! that recorded. Only what carries the run's own label goes, each by the uid that was seen.

use crds::condition::Status;
use crds::reference::RUN_LABEL;
use crds::run::{SandboxState, SandboxStatus, Swap, Verdict};
use jiff::{SignedDuration, Timestamp};

use super::super::effect::Effect;
use super::super::seen::{ClaimSeen, VolumeSeen};
use super::super::{Draft, swap};
use crate::effect::{Event, label_value};

/// How long a removal may take before people hear of it.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// Sees to it that nothing is left of the sandbox of a run that has ended, or is being deleted. Returns whether nothing is.
pub(crate) fn cleaned(draft: &mut Draft<'_>) -> bool {
    let Some(known) = draft.status.sandbox.clone() else { return true };
    match known.state {
        SandboxState::Cleaned => true,
        SandboxState::Kept => {
            // Somebody who has seen enough may remove the namespace by hand.
            let by_hand = draft.seen.sandbox.namespace.as_ref().is_none_or(|there| there.deleting);
            let over = by_hand || known.keep_until.is_none_or(|until| until <= draft.now);
            match over || draft.seen.run.deleting {
                true => remove(draft, known),
                false => draft.next = draft.next.or_at(known.keep_until.unwrap_or(draft.now)),
            }
            false
        }
        SandboxState::Creating | SandboxState::Probing | SandboxState::Isolated => {
            match kept_until(draft, &known) {
                Some(until) => keep(draft, known, until),
                None => remove(draft, known),
            }
            false
        }
        SandboxState::Removing => gone(draft, known),
    }
}

/// Until when it is kept, where it is: there is something to look at, and it did not go well.
fn kept_until(draft: &Draft<'_>, known: &SandboxStatus) -> Option<Timestamp> {
    let wanted = draft.seen.run.spec.sandbox()?.keep_on_failure?;
    let is_there = known.uid.is_some() && draft.seen.sandbox.namespace.is_some();
    let passed = draft.status.verdict == Some(Verdict::Passed);
    (is_there && !passed && !draft.seen.run.deleting)
        .then(|| draft.now.checked_add(wanted.to_duration()).unwrap_or(Timestamp::MAX))
}

fn keep(draft: &mut Draft<'_>, known: SandboxStatus, until: Timestamp) {
    let run = &draft.seen.run;
    let message = format!(
        "namespace {} stays until {until:.0} (sandbox.keepOnFailure); remove it now: kubectl delete hfrun {} -n {}",
        known.namespace, run.name, run.namespace
    );
    draft.status.sandbox =
        Some(SandboxStatus { state: SandboxState::Kept, keep_until: Some(until), ..known });
    draft.condition("SandboxCleaned", Status::False, "KeptForInspection", message);
}

fn remove(draft: &mut Draft<'_>, known: SandboxStatus) {
    let message = format!("removing namespace {} and what was restored into it", known.namespace);
    draft.status.sandbox = Some(SandboxStatus { state: SandboxState::Removing, ..known });
    draft.condition("SandboxCleaned", Status::False, "Removing", message);
}

/// What was restored into and never handed over.
fn unclaimed<'a>(draft: &'a Draft<'_>) -> impl Iterator<Item = &'a ClaimSeen> {
    let run = label_value(&draft.seen.run.name);
    draft.seen.claims.values().filter(move |claim| claim.labels.get(RUN_LABEL) == Some(&run))
}

/// The volumes that were handed over, or were about to be.
fn volumes<'a>(draft: &'a Draft<'_>) -> impl Iterator<Item = (&'a Swap, &'a VolumeSeen)> {
    let swaps = draft.status.swaps.iter();
    swaps.filter_map(|swap| Some((swap, draft.seen.volumes.get(&swap.new_volume)?)))
}

fn gone(draft: &mut Draft<'_>, known: SandboxStatus) -> bool {
    let seen = draft.seen;
    let there = seen.sandbox.namespace.as_ref().filter(|there| there.ours);
    let of_unclaimed = unclaimed(draft).filter_map(|claim| seen.volumes.get(claim.volume.as_deref()?));
    let doomed: Vec<&VolumeSeen> = volumes(draft).map(|(_, volume)| volume).chain(of_unclaimed).collect();
    let mut effects: Vec<Effect> =
        doomed.iter().filter_map(|volume| swap::reclaim(volume, "Delete")).collect();
    if effects.is_empty() {
        effects = match there.filter(|there| !there.deleting) {
            Some(there) => handed_over(draft).unwrap_or_else(|| {
                vec![Effect::DeleteSandbox { name: known.namespace.clone(), uid: there.uid.clone() }]
            }),
            None => Vec::new(),
        };
        let going = unclaimed(draft).filter(|claim| !claim.deleting);
        effects.extend(
            going.map(|claim| Effect::ReleaseClaim { name: claim.name.clone(), uid: claim.uid.clone() }),
        );
    }
    let left: Vec<String> = there
        .map(|_| format!("namespace {}", known.namespace))
        .into_iter()
        .chain(unclaimed(draft).map(|claim| format!("claim {}", claim.name)))
        .chain(volumes(draft).map(|(_, volume)| format!("volume {}", volume.name)))
        .collect();
    draft.effects.extend(effects);
    if left.is_empty() {
        let message = format!("nothing is left of namespace {}", known.namespace);
        let cleaned = Some(draft.now);
        draft.status.sandbox = Some(SandboxStatus { state: SandboxState::Cleaned, cleaned, ..known });
        draft.condition("SandboxCleaned", Status::True, "Cleaned", message);
        return false;
    }
    let since = crds::condition::get(&draft.status.conditions, "SandboxCleaned");
    let since = since.map_or(draft.now, |found| found.last_transition_time.0);
    // A condition that stays False keeps the time of its transition, whatever its reason.
    if draft.now.duration_since(since) >= PATIENCE {
        let message = format!(
            "{} is still there after {} minutes: look at what holds it (kubectl describe); the run goes on trying",
            left.join(", "),
            PATIENCE.as_mins()
        );
        let told = crds::condition::get(&draft.status.conditions, "SandboxCleaned");
        if told.is_none_or(|told| told.reason != "CleanupFailed") {
            draft.events.push(Event::warning("CleanupFailed", message.clone()));
        }
        draft.condition("SandboxCleaned", Status::False, "CleanupFailed", message);
    } else {
        draft.next = draft.next.or_at(since.checked_add(PATIENCE).unwrap_or(Timestamp::MAX));
    }
    false
}

/// A volume that is reserved for a claim which was never made is bound by nobody and would stay for ever: the claim is made, and goes with the sandbox.
/// Nothing when all that was reserved is bound.
fn handed_over(draft: &Draft<'_>) -> Option<Vec<Effect>> {
    let seen = draft.seen;
    let home = seen.home();
    let reserved = |volume: &VolumeSeen| {
        volume.claim.as_ref().is_some_and(|owner| owner.namespace == home && owner.uid.is_none())
    };
    let mut waits = false;
    let mut effects = Vec::new();
    for (swap, volume) in volumes(draft).filter(|(_, volume)| reserved(volume)) {
        let model =
            seen.remembered(&swap.policy).and_then(|all| all.iter().find(|claim| claim.name == swap.claim));
        let Some(model) = model else { continue };
        waits = true;
        if !seen.claims.contains_key(&swap.claim) {
            effects.push(Effect::CreateClaim(swap::successor(seen, model, volume)));
        }
    }
    waits.then_some(effects)
}
