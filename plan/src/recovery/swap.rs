//! The step Swap: the new volume takes the claim's name, the old one is kept under the quarantine claim. Nothing is
//! copied and nothing overwritten.
//!
//! Order: record both claims and volumes; hold the run by a finalizer; fence the claim's name and prove that the fence
//! holds; see no pod on either claim; see Retain on both volumes; delete both claims by uid; reserve both volumes for
//! their new claims and see them Available (the PV controller then knows of it when it hears of the claims); create both
//! claims; see both Bound, `binding` makes haste; put the new volume's reclaim policy back; lift the fence. Every state in
//! between is told by what exists, so that whoever comes next goes on. A volume is touched only while it belongs to a
//! recorded claim.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names;
use crds::reference::{BINDING, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, QUARANTINE_LABEL};
use crds::run::{QuarantinedVolume, RecoveryRunStatus, Swap};
use jiff::SignedDuration;

use super::assess::{owned, soon};
use super::effect::{Effect, NewClaim};
use super::seen::{ClaimSeen, Observed, PodSeen, Proof, VolumeSeen};
use super::{Draft, Progress, binding, stop};
use crate::effect::label_value;
use crate::workload;

/// How long the API server may take until a fence holds.
const FENCE_BOUND: SignedDuration = SignedDuration::from_secs(60);

/// Annotations that tell of a claim's binding, not of what its owner wrote.
const OF_BINDING: [&str; 4] =
    ["pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/", BINDING];

/// The recorded swap of `policy`.
pub(crate) fn recorded<'a>(status: &'a RecoveryRunStatus, policy: &str) -> Option<&'a Swap> {
    status.swaps.iter().find(|swap| swap.policy == policy)
}

/// Whether claim `claim` is bound to `volume` and the volume to this very claim.
pub(crate) fn bound(seen: &Observed, claim: &str, volume: &str) -> bool {
    let Some(claim) = seen.claims.get(claim) else { return false };
    claim.bound
        && !claim.deleting
        && claim.volume.as_deref() == Some(volume)
        && owned(seen, claim, volume).is_ok()
}

/// Whether the claim of `swap` is the untouched old one.
fn untouched(seen: &Observed, swap: &Swap) -> bool {
    seen.claims.get(&swap.claim).is_some_and(|claim| claim.uid == swap.claim_uid && !claim.deleting)
}

/// Whether some claim has been taken apart and is not whole yet: the run must not end here.
pub(crate) fn between(seen: &Observed, status: &RecoveryRunStatus) -> bool {
    status.swaps.iter().any(|swap| !untouched(seen, swap) && !bound(seen, &swap.claim, &swap.new_volume))
}

/// Whether the claim of `policy` holds its new volume.
pub(crate) fn swapped(seen: &Observed, status: &RecoveryRunStatus, policy: &str) -> bool {
    recorded(status, policy).is_some_and(|swap| bound(seen, &swap.claim, &swap.new_volume))
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(swap) = recorded(&draft.status, policy).cloned() else { return record(draft, policy) };
    let (Some(old), Some(new)) = (seen.volumes.get(&swap.old_volume), seen.volumes.get(&swap.new_volume))
    else {
        return Progress::failed(
            "StepFailed",
            format!(
                "volume {} or {} does not exist any more; nothing else is touched",
                swap.old_volume, swap.new_volume
            ),
        );
    };
    if bound(seen, &swap.claim, &swap.new_volume) && bound(seen, &swap.quarantine_claim, &swap.old_volume) {
        return whole(draft, &swap, new);
    }
    if !seen.run.finalizer {
        return Progress::acting(
            vec![Effect::AddFinalizer],
            "holding the run until its claims are whole again",
        );
    }
    let Some(memory) = &seen.memory else {
        return Progress::failed(
            "StepFailed",
            format!(
                "ConfigMap {} is gone, and with it what claim {} looked like; somebody deleted it",
                names::memory(&seen.run.name, &seen.run.uid),
                swap.claim
            ),
        );
    };
    if let Some(progress) = foreign(seen, &swap) {
        return progress;
    }
    if !draft.status.fenced.contains(&swap.claim) {
        draft.status.fenced.push(swap.claim.clone());
        return Progress::acting(Vec::new(), format!("fencing claim {}", swap.claim));
    }
    let retain: Vec<Effect> = [old, new].into_iter().filter_map(|volume| reclaim(volume, "Retain")).collect();
    if !retain.is_empty() {
        return Progress::acting(retain, "setting both volumes to Retain before a claim is deleted");
    }
    take_apart(draft, index, &swap, &memory.proof).unwrap_or_else(|| put_together(draft, &swap, old, new))
}

/// The write-ahead mark: which claims and volumes are exchanged.
fn record(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(claim) = seen.remembered(policy) else {
        return Progress::failed(
            "StepFailed",
            format!("what the claim of policy {policy} looked like is no longer known"),
        );
    };
    let restore = names::restore_claim(&claim.name, &seen.run.uid);
    let Some(restored) = seen.claims.get(&restore) else {
        return Progress::failed(
            "StepFailed",
            format!("claim {restore}, which holds the restored point, is gone"),
        );
    };
    let Some(new) = restored.volume.as_deref().filter(|_| restored.bound) else {
        return Progress::acting(Vec::new(), format!("waiting until claim {restore} is bound"));
    };
    let pair = owned(seen, claim, claim.volume.as_deref().unwrap_or_default())
        .and_then(|old| owned(seen, restored, new).map(|new| (old, new)));
    let (old, new) = match pair {
        Ok(pair) => pair,
        Err(why) => return Progress::failed("StepFailed", why),
    };
    draft.status.swaps.push(Swap {
        policy: policy.to_owned(),
        claim: claim.name.clone(),
        claim_uid: claim.uid.clone(),
        quarantine_claim: names::quarantine_claim(&claim.name, &seen.run.uid),
        restore_claim: restore,
        restore_claim_uid: restored.uid.clone(),
        old_volume: old.name.clone(),
        new_volume: new.name.clone(),
        new_reclaim_policy: new.reclaim.clone(),
    });
    Progress::acting(Vec::new(), format!("{} and {} will be exchanged", old.name, new.name))
}

/// A claim of a name that we need and that is neither the recorded one nor ours leads nowhere.
fn foreign(seen: &Observed, swap: &Swap) -> Option<Progress> {
    let wrong = |name: &str, recorded: Option<&str>, volume: &str| {
        let claim = seen.claims.get(name)?;
        let ours = recorded == Some(claim.uid.as_str()) || claim.volume.as_deref() == Some(volume);
        (!ours).then(|| {
            Progress::failed(
                "StepFailed",
                format!(
                    "claim {name} was made by somebody else (volume {}); delete it when it holds nothing, both volumes {} and {} are retained",
                    claim.volume.as_deref().unwrap_or("none"),
                    swap.old_volume,
                    swap.new_volume
                ),
            )
        })
    };
    wrong(&swap.claim, Some(&swap.claim_uid), &swap.new_volume)
        .or_else(|| wrong(&swap.quarantine_claim, None, &swap.old_volume))
}

fn reclaim(volume: &VolumeSeen, policy: &str) -> Option<Effect> {
    (volume.reclaim != policy).then(|| Effect::SetReclaimPolicy {
        volume: volume.name.clone(),
        resource_version: volume.resource_version.clone(),
        policy: policy.to_owned(),
    })
}

/// Deletes the recorded claims once the fence is proved and no pod uses them. Nothing when both are gone.
fn take_apart(draft: &mut Draft<'_>, index: usize, swap: &Swap, proof: &Proof) -> Option<Progress> {
    let seen = draft.seen;
    let present: Vec<&ClaimSeen> =
        [(&swap.claim, &swap.claim_uid), (&swap.restore_claim, &swap.restore_claim_uid)]
            .into_iter()
            .filter_map(|(name, uid)| seen.claims.get(name).filter(|claim| claim.uid == *uid))
            .collect();
    if present.is_empty() {
        return None;
    }
    match proof {
        Proof::Holds => {
            let message = format!("no pod may mount claim {} and nobody else may create it", swap.claim);
            draft.condition("Fenced", Status::True, "FenceHeld", message);
        }
        Proof::NotTried => return Some(polling(draft, "trying whether the fence holds".to_owned())),
        Proof::Open(why) => {
            let since = draft.status.steps[index].start.unwrap_or(draft.now);
            if draft.now.duration_since(since) < FENCE_BOUND {
                return Some(polling(draft, format!("waiting until claim {} is fenced", swap.claim)));
            }
            return Some(Progress::failed(
                "IsolationNotEnforced",
                format!(
                    "claim {} can't be fenced, so a controller could re-create it empty in mid-swap: {why}. Install the ValidatingAdmissionPolicies of the chart, then create a new run; no claim was touched",
                    swap.claim
                ),
            ));
        }
    }
    let pods: Vec<&PodSeen> = present.iter().flat_map(|claim| seen.pods_of(&claim.name)).collect();
    if let Some(progress) = stop::unknown(draft, &pods) {
        return Some(progress);
    }
    if !pods.is_empty() {
        // A rival scaled up before the fence stood. Behind it no pod comes back, so this ends.
        return Some(Progress::acting(stop::scale_down(seen), workload::waiting(pods)));
    }
    for claim in &present {
        if let Err(why) = owned(seen, claim, claim.volume.as_deref().unwrap_or_default()) {
            return Some(Progress::failed("StepFailed", why));
        }
    }
    let deletes: Vec<Effect> = present
        .iter()
        .filter(|claim| !claim.deleting)
        .map(|claim| Effect::DeleteClaim { name: claim.name.clone(), uid: claim.uid.clone() })
        .collect();
    Some(Progress::acting(deletes, "taking both claims off their volumes"))
}

fn polling(draft: &Draft<'_>, note: String) -> Progress {
    Progress::Polling { effects: Vec::new(), note, at: soon(draft, 300) }
}

/// Reserves the volumes and creates the claims.
fn put_together(draft: &mut Draft<'_>, swap: &Swap, old: &VolumeSeen, new: &VolumeSeen) -> Progress {
    let seen = draft.seen;
    let pairs = [(new, &swap.claim, &swap.restore_claim_uid), (old, &swap.quarantine_claim, &swap.claim_uid)];
    let mut reserving = Vec::new();
    let mut free = true;
    for (volume, claim, before) in pairs {
        if seen.claims.contains_key(claim) {
            continue;
        }
        match reserve(seen, volume, claim, before) {
            Ok(Some(effect)) => reserving.push(effect),
            Ok(None) => free &= volume.phase == "Available",
            Err(why) => return Progress::failed("StepFailed", why),
        }
    }
    if !reserving.is_empty() {
        return Progress::acting(reserving, "reserving both volumes for their new claims");
    }
    if !free {
        return Progress::acting(Vec::new(), "waiting until both volumes are Available");
    }
    let Some(model) = seen.memory.as_ref().and_then(|memory| memory.remembered.get(&swap.policy)) else {
        return Progress::failed(
            "StepFailed",
            format!("what claim {} looked like is no longer known", swap.claim),
        );
    };
    let mut creating = Vec::new();
    if !seen.claims.contains_key(&swap.claim) {
        creating.push(Effect::CreateClaim(successor(seen, model, new)));
    }
    if !seen.claims.contains_key(&swap.quarantine_claim) {
        creating.push(Effect::CreateClaim(keeper(seen, swap, model)));
    }
    let note = format!("binding claim {} to volume {}", swap.claim, swap.new_volume);
    if !creating.is_empty() {
        return Progress::acting(creating, note);
    }
    binding::wait(draft, &made(seen, swap), note)
}

/// Reserves `volume` for `claim`, which does not exist. `before` is the uid of the claim that it was recorded with.
pub(crate) fn reserve(
    seen: &Observed,
    volume: &VolumeSeen,
    claim: &str,
    before: &str,
) -> Result<Option<Effect>, String> {
    let patch = || Effect::PatchVolume {
        volume: volume.name.clone(),
        resource_version: volume.resource_version.clone(),
        claim: claim.to_owned(),
    };
    let Some(owner) = &volume.claim else { return Ok(Some(patch())) };
    let for_us = owner.namespace == seen.run.namespace && owner.name == claim;
    match &owner.uid {
        None if for_us => Ok(None),
        // The recorded claim, or one of ours that somebody deleted again; or reserved by us for its other name.
        Some(uid) if uid == before || for_us => Ok(Some(patch())),
        None if owner.namespace == seen.run.namespace && !seen.claims.contains_key(&owner.name) => {
            Ok(Some(patch()))
        }
        Some(_) | None => Err(format!(
            "volume {} now belongs to claim {}/{}, not to the recorded one; it is not touched",
            volume.name, owner.namespace, owner.name
        )),
    }
}

/// The claim as it was, on another volume, whose class and size it takes: a claim binds to no volume of another class,
/// nor to a smaller one.
fn successor(seen: &Observed, model: &ClaimSeen, volume: &VolumeSeen) -> NewClaim {
    let mut claim = like(seen, model, &volume.name);
    claim.class.clone_from(&volume.class);
    claim.size.clone_from(&volume.size);
    claim
}

/// The claim as it was, on `volume`.
pub(crate) fn like(seen: &Observed, model: &ClaimSeen, volume: &str) -> NewClaim {
    // Owners that are gone would have the new claim collected at once; a pod is such an owner under whenScaled: Delete.
    let alive = |uid: &str| {
        seen.components.iter().flat_map(|component| &component.workloads).any(|workload| workload.uid == uid)
    };
    NewClaim {
        name: model.name.clone(),
        labels: model.labels.clone(),
        annotations: model
            .annotations
            .iter()
            .filter(|(key, _)| !OF_BINDING.iter().any(|prefix| key.starts_with(prefix)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .chain([binding::begun(seen.now)])
            .collect(),
        owners: model.owners.iter().filter(|owner| alive(&owner.uid)).cloned().collect(),
        volume: Some(volume.to_owned()),
        class: model.class.clone(),
        size: model.size.clone(),
        access_modes: model.access_modes.clone(),
        volume_mode: model.volume_mode.clone(),
    }
}

/// The claim that keeps the old volume.
fn keeper(seen: &Observed, swap: &Swap, model: &ClaimSeen) -> NewClaim {
    NewClaim {
        name: swap.quarantine_claim.clone(),
        labels: BTreeMap::from([
            (QUARANTINE_LABEL.to_owned(), label_value(&seen.run.name)),
            (POLICY_LABEL.to_owned(), label_value(&swap.policy)),
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ]),
        annotations: BTreeMap::from([binding::begun(seen.now)]),
        owners: Vec::new(),
        volume: Some(swap.old_volume.clone()),
        class: model.class.clone(),
        size: model.size.clone(),
        access_modes: model.access_modes.clone(),
        volume_mode: model.volume_mode.clone(),
    }
}

/// The two claims that the swap makes, as far as they exist.
fn made<'a>(seen: &'a Observed, swap: &Swap) -> Vec<&'a ClaimSeen> {
    [&swap.claim, &swap.quarantine_claim].into_iter().filter_map(|name| seen.claims.get(name)).collect()
}

/// Both claims are bound: put back what was set for the time between.
fn whole(draft: &mut Draft<'_>, swap: &Swap, new: &VolumeSeen) -> Progress {
    let mut back = binding::hasten(draft, &made(draft.seen, swap));
    back.extend(reclaim(new, &swap.new_reclaim_policy));
    if !back.is_empty() {
        return Progress::acting(back, "putting the new volume's reclaim policy back");
    }
    draft.status.fenced.retain(|claim| *claim != swap.claim);
    draft.condition("Fenced", Status::False, "FenceLifted", format!("claim {} is whole", swap.claim));
    draft.status.quarantine.retain(|kept| kept.claim != swap.quarantine_claim);
    draft.status.quarantine.push(QuarantinedVolume {
        claim: swap.quarantine_claim.clone(),
        policy: swap.policy.clone(),
        volume: swap.old_volume.clone(),
    });
    Progress::Done(format!(
        "{} is now {}; the old volume {} is kept as {}",
        swap.claim, swap.new_volume, swap.old_volume, swap.quarantine_claim
    ))
}
