//! The step Swap: the new volumes take the claims' names, the old ones are kept under quarantine claims. Nothing is
//! copied and nothing overwritten. All claims of a component are exchanged together.
//!
//! Order: record both claims and volumes of each; hold the run by a finalizer; fence the claims' names and prove that the fence
//! holds; see no pod on any claim; see Retain on both volumes; delete both claims by uid; reserve both volumes for
//! their new claims and see them Available (the PV controller then knows of it when it hears of the claims); create both
//! claims; see both Bound, `binding` makes haste; put the new volume's reclaim policy back; lift the fence. Every state in
//! between is told by what exists, so that whoever comes next goes on. A volume is touched only while it belongs to a
//! recorded claim. A record that is turned (`undo`) is carried out alike, and puts the old volume back.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names;
use crds::reference::{BINDING, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, QUARANTINE_LABEL};
use crds::run::{Direction, QuarantinedVolume, RecoveryRunStatus, Swap};
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

/// The recorded swaps of `policy`.
pub(crate) fn recorded<'a>(status: &'a RecoveryRunStatus, policy: &'a str) -> impl Iterator<Item = &'a Swap> {
    status.swaps.iter().filter(move |swap| swap.policy == policy)
}

/// Whether claim `claim` is bound to `volume` and the volume to this very claim.
pub(crate) fn bound(seen: &Observed, claim: &str, volume: &str) -> bool {
    let Some(claim) = seen.claims.get(claim) else { return false };
    claim.bound
        && !claim.deleting
        && claim.volume.as_deref() == Some(volume)
        && owned(seen, claim, volume).is_ok()
}

/// Whether nothing was taken apart yet: the claim is the old one, or, where that is lost, the one that was restored into is still there.
pub(crate) fn untouched(seen: &Observed, swap: &Swap) -> bool {
    let (name, uid) = match &swap.claim_uid {
        Some(uid) => (&swap.claim, uid),
        None => (&swap.restore_claim, &swap.restore_claim_uid),
    };
    seen.claims.get(name).is_some_and(|claim| claim.uid == *uid && !claim.deleting)
}

/// Whether some claim, of `policy` or of any, has been taken apart and is not whole yet: the run must not end here.
pub(crate) fn between(seen: &Observed, status: &RecoveryRunStatus, policy: Option<&str>) -> bool {
    let concerned = status.swaps.iter().filter(|swap| policy.is_none_or(|policy| swap.policy == policy));
    concerned.into_iter().any(|swap| !untouched(seen, swap) && !bound(seen, &swap.claim, &swap.new_volume))
}

/// Whether claim `claim` holds the volume that was restored.
pub(crate) fn swapped(seen: &Observed, status: &RecoveryRunStatus, claim: &str) -> bool {
    let swap = status.swaps.iter().find(|swap| swap.claim == claim);
    swap.is_some_and(|swap| swap.restored_volume().is_some_and(|volume| bound(seen, claim, volume)))
}

/// A swap and its volumes as they are now.
#[derive(Clone, Copy)]
struct Pair<'a> {
    swap: &'a Swap,
    /// Absent: it was lost.
    old: Option<&'a VolumeSeen>,
    new: &'a VolumeSeen,
}

impl Pair<'_> {
    /// Whether both volumes are bound to the claims that they are meant for.
    fn is_whole(&self, seen: &Observed) -> bool {
        let swap = self.swap;
        bound(seen, &swap.claim, &swap.new_volume)
            && swap.old_volume.as_ref().is_none_or(|old| bound(seen, &swap.quarantine_claim, old))
    }
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(claims) = seen.remembered(policy) else {
        return Progress::failed(
            "StepFailed",
            format!(
                "ConfigMap {} is gone, and with it what the claims of policy {policy} looked like; somebody deleted it",
                names::memory(&seen.run.name, &seen.run.uid)
            ),
        );
    };
    if claims.is_empty() {
        return Progress::Skipped(stop::NO_VOLUME.to_owned());
    }
    let swaps: Vec<Swap> = recorded(&draft.status, policy).cloned().collect();
    if swaps.len() < claims.len() {
        return record(draft, policy, claims);
    }
    let mut pairs = Vec::with_capacity(swaps.len());
    for swap in &swaps {
        let gone = |volume: &str| {
            let message = format!("volume {volume} does not exist any more; nothing else is touched");
            Progress::failed("StepFailed", message)
        };
        let Some(new) = seen.volumes.get(&swap.new_volume) else { return gone(&swap.new_volume) };
        let old = match &swap.old_volume {
            None => None,
            Some(name) => match seen.volumes.get(name) {
                Some(old) => Some(old),
                None => return gone(name),
            },
        };
        pairs.push(Pair { swap, old, new });
    }
    if pairs.iter().all(|pair| pair.is_whole(seen)) {
        return whole(draft, &pairs);
    }
    if !seen.run.finalizer {
        return Progress::acting(
            vec![Effect::AddFinalizer],
            "holding the run until its claims are whole again",
        );
    }
    if let Some(progress) = swaps.iter().find_map(|swap| foreign(seen, swap)) {
        return progress;
    }
    let open: Vec<&Swap> = swaps.iter().filter(|swap| !draft.status.fenced.contains(&swap.claim)).collect();
    // Production's claims of these names are nobody's business, and in a sandbox nobody else makes any.
    if !open.is_empty() && seen.run.spec.sandbox().is_none() {
        let names: Vec<String> = open.iter().map(|swap| swap.claim.clone()).collect();
        let note = format!("fencing claim {}", names.join(", "));
        draft.status.fenced.extend(names);
        return Progress::acting(Vec::new(), note);
    }
    let volumes = pairs.iter().flat_map(|pair| pair.old.into_iter().chain([pair.new]));
    let retain: Vec<Effect> = volumes.filter_map(|volume| reclaim(volume, "Retain")).collect();
    if !retain.is_empty() {
        return Progress::acting(retain, "setting all volumes to Retain before a claim is deleted");
    }
    take_apart(draft, index, &swaps).unwrap_or_else(|| put_together(draft, &pairs, claims))
}

/// The write-ahead mark: which claims and volumes are exchanged.
fn record(draft: &mut Draft<'_>, policy: &str, claims: &[ClaimSeen]) -> Progress {
    let seen = draft.seen;
    let mut swaps = Vec::with_capacity(claims.len());
    for claim in claims {
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
        let old = claim.volume.as_deref().map(|old| owned(seen, claim, old)).transpose();
        let pair = old.and_then(|old| owned(seen, restored, new).map(|new| (old, new)));
        let (old, new) = match pair {
            Ok(pair) => pair,
            Err(why) => return Progress::failed("StepFailed", why),
        };
        swaps.push(Swap {
            policy: policy.to_owned(),
            claim: claim.name.clone(),
            claim_uid: old.map(|_| claim.uid.clone()),
            quarantine_claim: names::quarantine_claim(&claim.name, &seen.run.uid),
            restore_claim: restore,
            restore_claim_uid: restored.uid.clone(),
            old_volume: old.map(|old| old.name.clone()),
            new_volume: new.name.clone(),
            // What is restored into a sandbox goes with it, whoever removes that.
            new_reclaim_policy: match seen.run.spec.sandbox() {
                Some(_) => "Delete".to_owned(),
                None => new.reclaim.clone(),
            },
            direction: Direction::Forth,
        });
    }
    let say = |swap: &Swap| match &swap.old_volume {
        Some(old) => format!("claim {} from volume {old} to {}", swap.claim, swap.new_volume),
        None => format!("claim {}, which is lost, to volume {}", swap.claim, swap.new_volume),
    };
    let note = format!("to be bound: {}", swaps.iter().map(say).collect::<Vec<_>>().join(", "));
    draft.status.swaps.retain(|swap| swap.policy != policy);
    draft.status.swaps.extend(swaps);
    Progress::acting(Vec::new(), note)
}

/// A claim of a name that we need and that is neither the recorded one nor ours leads nowhere.
fn foreign(seen: &Observed, swap: &Swap) -> Option<Progress> {
    let wrong = |name: &str, recorded: Option<&str>, volume: Option<&str>| {
        let claim = seen.claims.get(name)?;
        let of_ours = volume.is_some() && claim.volume.as_deref() == volume;
        (recorded != Some(claim.uid.as_str()) && !of_ours).then(|| {
            Progress::failed(
                "StepFailed",
                format!(
                    "claim {name} was made by somebody else (volume {}); delete it when it holds nothing, {} retained",
                    claim.volume.as_deref().unwrap_or("none"),
                    match &swap.old_volume {
                        Some(old) => format!("volumes {old} and {} are", swap.new_volume),
                        None => format!("volume {} is", swap.new_volume),
                    }
                ),
            )
        })
    };
    wrong(&swap.claim, swap.claim_uid.as_deref(), Some(&swap.new_volume))
        .or_else(|| wrong(&swap.quarantine_claim, None, swap.old_volume.as_deref()))
}

/// Sets the reclaim policy of a volume. None when it is seen with it.
pub(super) fn reclaim(volume: &VolumeSeen, policy: &str) -> Option<Effect> {
    (volume.reclaim != policy).then(|| Effect::SetReclaimPolicy {
        volume: volume.name.clone(),
        resource_version: volume.resource_version.clone(),
        policy: policy.to_owned(),
    })
}

/// Deletes the recorded claims once the fence is proved and no pod uses them. Nothing when all are gone.
fn take_apart(draft: &mut Draft<'_>, index: usize, swaps: &[Swap]) -> Option<Progress> {
    let seen = draft.seen;
    let recorded = swaps.iter().flat_map(|swap| {
        let old = swap.claim_uid.as_ref().map(|uid| (&swap.claim, uid));
        old.into_iter().chain([(&swap.restore_claim, &swap.restore_claim_uid)])
    });
    let present: Vec<&ClaimSeen> =
        recorded.filter_map(|(name, uid)| seen.claims.get(name).filter(|claim| claim.uid == *uid)).collect();
    if present.is_empty() {
        return None;
    }
    let names: Vec<&str> = swaps.iter().map(|swap| swap.claim.as_str()).collect();
    let names = names.join(", ");
    match seen.memory.as_ref().map_or(&Proof::NotTried, |memory| &memory.proof) {
        Proof::Holds => {
            let message = format!("no pod may mount claim {names} and nobody else may create it");
            draft.condition("Fenced", Status::True, "FenceHeld", message);
        }
        Proof::NotTried | Proof::Open(_) if seen.run.spec.sandbox().is_some() => {}
        Proof::NotTried => return Some(polling(draft, "trying whether the fence holds".to_owned())),
        Proof::Open(why) => {
            let since = draft.status.steps[index].start.unwrap_or(draft.now);
            if draft.now.duration_since(since) < FENCE_BOUND {
                return Some(polling(draft, format!("waiting until claim {names} is fenced")));
            }
            return Some(Progress::failed(
                "IsolationNotEnforced",
                format!(
                    "claim {names} can't be fenced, so a controller could re-create it empty in mid-swap: {why}. Install the ValidatingAdmissionPolicies of the chart, then create a new run; no claim was touched"
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
        let policy = swaps.iter().map(|swap| swap.policy.as_str()).next().unwrap_or_default();
        let down = seen.component(policy).map(|component| workload::down(&component.workloads));
        let down = down.into_iter().flatten().map(Effect::Scale).collect();
        return Some(Progress::acting(down, workload::waiting(pods)));
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
    Some(Progress::acting(deletes, "taking the claims off their volumes"))
}

fn polling(draft: &Draft<'_>, note: String) -> Progress {
    Progress::Polling { effects: Vec::new(), note, at: soon(draft, 300) }
}

/// Reserves the volumes and creates the claims.
fn put_together(draft: &mut Draft<'_>, pairs: &[Pair<'_>], models: &[ClaimSeen]) -> Progress {
    let seen = draft.seen;
    let (mut reserving, mut free) = (Vec::new(), true);
    for Pair { swap, old, new } in pairs.iter().copied() {
        let kept = old.zip(swap.claim_uid.as_ref()).map(|(old, uid)| (old, &swap.quarantine_claim, uid));
        let reserved = kept.into_iter().chain([(new, &swap.claim, &swap.restore_claim_uid)]);
        for (volume, claim, before) in reserved {
            if seen.claims.contains_key(claim) {
                continue;
            }
            match reserve(seen, volume, claim, before) {
                Ok(Some(effect)) => reserving.push(effect),
                Ok(None) => free &= volume.phase == "Available",
                Err(why) => return Progress::failed("StepFailed", why),
            }
        }
    }
    if !reserving.is_empty() {
        return Progress::acting(reserving, "reserving the volumes for their new claims");
    }
    if !free {
        return Progress::acting(Vec::new(), "waiting until the volumes are Available");
    }
    let mut creating = Vec::new();
    for Pair { swap, old, new } in pairs.iter().copied() {
        let Some(model) = models.iter().find(|model| model.name == swap.claim) else {
            return stop::forgotten(&swap.policy);
        };
        if !seen.claims.contains_key(&swap.claim) {
            creating.push(Effect::CreateClaim(successor(seen, model, new)));
        }
        if let Some(old) = old.filter(|_| !seen.claims.contains_key(&swap.quarantine_claim)) {
            creating.push(Effect::CreateClaim(keeper(seen, swap, model, old)));
        }
    }
    let each: Vec<String> = pairs
        .iter()
        .map(|pair| format!("claim {} to volume {}", pair.swap.claim, pair.swap.new_volume))
        .collect();
    let note = format!("binding {}", each.join(", "));
    if !creating.is_empty() {
        return Progress::acting(creating, note);
    }
    binding::wait(draft, &made(seen, pairs), note)
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
    let for_us = owner.namespace == seen.home() && owner.name == claim;
    match &owner.uid {
        None if for_us => Ok(None),
        // The recorded claim, or one of ours that somebody deleted again; or reserved by us for its other name.
        Some(uid) if uid == before || for_us => Ok(Some(patch())),
        None if owner.namespace == seen.home() && !seen.claims.contains_key(&owner.name) => Ok(Some(patch())),
        Some(_) | None => Err(format!(
            "volume {} now belongs to claim {}/{}, not to the recorded one; it is not touched",
            volume.name, owner.namespace, owner.name
        )),
    }
}

/// The claim as it was, on that volume or another one.
pub(crate) fn successor(seen: &Observed, model: &ClaimSeen, volume: &VolumeSeen) -> NewClaim {
    let (class, size) = fitted(model, volume);
    NewClaim { class, size, ..like(seen, model, &volume.name) }
}

/// Class and size of a claim to `volume`. On another volume than its own it takes those of the volume: a claim binds to no volume of another class, nor to a
/// smaller one.
fn fitted(model: &ClaimSeen, volume: &VolumeSeen) -> (Option<String>, String) {
    match model.volume.as_deref() == Some(&volume.name) {
        true => (model.class.clone(), model.size.clone()),
        false => (volume.class.clone(), volume.size.clone()),
    }
}

/// The claim as it was, on `volume`.
pub(crate) fn like(seen: &Observed, model: &ClaimSeen, volume: &str) -> NewClaim {
    // Owners that are gone would have the new claim collected at once; a pod is such an owner under whenScaled: Delete.
    let alive = |uid: &str| {
        seen.components.iter().flat_map(|component| &component.workloads).any(|workload| workload.uid == uid)
    };
    NewClaim {
        namespace: seen.home(),
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

/// The claim that keeps what is replaced.
fn keeper(seen: &Observed, swap: &Swap, model: &ClaimSeen, old: &VolumeSeen) -> NewClaim {
    let (class, size) = fitted(model, old);
    NewClaim {
        namespace: seen.run.namespace.clone(),
        name: swap.quarantine_claim.clone(),
        labels: BTreeMap::from([
            (QUARANTINE_LABEL.to_owned(), label_value(&seen.run.name)),
            (POLICY_LABEL.to_owned(), label_value(&swap.policy)),
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ]),
        annotations: BTreeMap::from([binding::begun(seen.now)]),
        owners: Vec::new(),
        volume: Some(old.name.clone()),
        class,
        size,
        access_modes: model.access_modes.clone(),
        volume_mode: model.volume_mode.clone(),
    }
}

/// The claims that the swaps make, as far as they exist.
fn made<'a>(seen: &'a Observed, pairs: &[Pair<'_>]) -> Vec<&'a ClaimSeen> {
    let names = pairs.iter().flat_map(|pair| [&pair.swap.claim, &pair.swap.quarantine_claim]);
    names.filter_map(|name| seen.claims.get(name)).collect()
}

/// All claims are bound: put back what was set for the time between.
fn whole(draft: &mut Draft<'_>, pairs: &[Pair<'_>]) -> Progress {
    let mut back = binding::hasten(draft, &made(draft.seen, pairs));
    back.extend(pairs.iter().filter_map(|pair| reclaim(pair.new, &pair.swap.new_reclaim_policy)));
    if !back.is_empty() {
        return Progress::acting(back, "putting the new volumes' reclaim policies back");
    }
    let ours = |claim: &String| pairs.iter().any(|pair| pair.swap.claim == *claim);
    draft.status.fenced.retain(|claim| !ours(claim));
    let claims: Vec<&str> = pairs.iter().map(|pair| pair.swap.claim.as_str()).collect();
    let message = format!("claim {} is whole", claims.join(", "));
    draft.condition("Fenced", Status::False, "FenceLifted", message);
    let mut exchanged = Vec::with_capacity(pairs.len());
    for Pair { swap, old, .. } in pairs {
        let Some(old) = old else {
            exchanged.push(format!(
                "{} is now {}; no volume was left of the old one",
                swap.claim, swap.new_volume
            ));
            continue;
        };
        // Turned, what was restored into is the quarantine claim of the way forth, which is gone.
        let stale = [&swap.quarantine_claim, &swap.restore_claim];
        draft.status.quarantine.retain(|kept| !stale.contains(&&kept.claim));
        draft.status.quarantine.push(QuarantinedVolume {
            claim: swap.quarantine_claim.clone(),
            policy: swap.policy.clone(),
            volume: old.name.clone(),
            size: old.size.clone(),
            keep_until: None,
            kept_because: None,
            released: None,
        });
        let (is, other) = match swap.direction {
            Direction::Forth => ("now", "old"),
            Direction::Back => ("again", "restored"),
        };
        exchanged.push(format!(
            "{} is {is} {}; the {other} volume {} is kept as {}",
            swap.claim, swap.new_volume, old.name, swap.quarantine_claim
        ));
    }
    Progress::Done(exchanged.join("; "))
}
