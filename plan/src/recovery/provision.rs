//! The step Provision: the claims that the point is restored into. They may stay Pending until the first pod uses them.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, RUN_LABEL};

use super::effect::{Effect, NewClaim};
use super::seen::{ClaimSeen, Observed};
use super::{Draft, Progress, dry_run, quantity};
use crate::effect::label_value;

/// Why nothing can be restored onto the StorageClass that the run names: there is none of that name. Else claims would be Pending until its deadline.
pub(crate) fn no_such_class(seen: &Observed) -> Option<(&'static str, String)> {
    let named = seen.run.spec.storage_class()?;
    let have = seen.storage_classes.as_ref().filter(|have| !have.contains(named))?;
    let have =
        if have.is_empty() { "there is none".to_owned() } else { format!("there are: {}", have.join(", ")) };
    let target = if seen.run.spec.sandbox().is_some() { "sandbox" } else { "inPlace" };
    let message = format!(
        "spec.target.{target}.storageClassName is {named}, which does not exist in this cluster ({have}). Create a new run"
    );
    Some(("InvalidSpec", message))
}

/// Makes the claims, each of the old one's size and kind.
pub(crate) fn advance(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(all) = seen.remembered(policy) else { return super::stop::forgotten(policy) };
    if all.is_empty() {
        return Progress::Skipped(super::stop::NO_VOLUME.to_owned());
    }
    let (mut making, mut made) = (Vec::new(), Vec::new());
    for old in all {
        let name = names::restore_claim(&old.name, &seen.run.uid);
        match seen.claims.get(&name) {
            None => making.push(new(draft, policy, old, name)),
            Some(claim) if claim.labels.get(RUN_LABEL) != Some(&label_value(&seen.run.name)) => {
                return Progress::failed(
                    "TargetNotEmpty",
                    format!(
                        "claim {name} exists and was not made by this run; delete or rename it, then create a new run"
                    ),
                );
            }
            Some(claim) => {
                let class = claim.class.clone().unwrap_or_else(|| "the default StorageClass".to_owned());
                made.push(format!("claim {name}, {}, {class}", claim.size));
            }
        }
    }
    if !making.is_empty() {
        let names: Vec<&str> = making.iter().map(|claim| claim.name.as_str()).collect();
        let note = format!("making claim {}", names.join(", "));
        return Progress::acting(making.into_iter().map(Effect::CreateClaim).collect(), note);
    }
    let message = made.join("; ");
    draft.condition("TargetReady", Status::True, "Provisioned", message.clone());
    Progress::Done(message)
}

fn new(draft: &Draft<'_>, policy: &str, old: &ClaimSeen, name: String) -> NewClaim {
    let seen = draft.seen;
    let chosen = draft.status.points.iter().find(|point| point.policy == policy);
    // What each of several volumes holds is not told; what they hold together may be more than any of them.
    let only = seen.remembered(policy).is_some_and(|all| all.len() == 1);
    let bytes = chosen
        .and_then(|chosen| seen.points.iter().find(|point| point.name == chosen.name))
        .filter(|_| only)
        .map_or(0, |point| point.bytes);
    NewClaim {
        namespace: seen.run.namespace.clone(),
        name,
        labels: BTreeMap::from([
            (RUN_LABEL.to_owned(), label_value(&seen.run.name)),
            (POLICY_LABEL.to_owned(), label_value(policy)),
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ]),
        annotations: BTreeMap::new(),
        owners: Vec::new(),
        volume: None,
        class: dry_run::class(seen, old.class.as_deref()).map(str::to_owned),
        size: quantity::at_least(&old.size, bytes),
        access_modes: old.access_modes.clone(),
        volume_mode: old.volume_mode.clone(),
    }
}
