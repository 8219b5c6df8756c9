//! The step Provision: the claim that the point is restored into. It may stay Pending until the first pod uses it.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, RUN_LABEL};

use super::effect::{Effect, NewClaim};
use super::{Draft, Progress, dry_run, quantity};
use crate::effect::label_value;

/// Makes the claim, of the old one's size and kind.
pub(crate) fn advance(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(old) = seen.remembered(policy) else {
        return Progress::failed(
            "StepFailed",
            format!("what the claim of policy {policy} looked like is no longer known"),
        );
    };
    let name = names::restore_claim(&old.name, &seen.run.uid);
    if let Some(claim) = seen.claims.get(&name) {
        if claim.labels.get(RUN_LABEL) != Some(&label_value(&seen.run.name)) {
            return Progress::failed(
                "TargetNotEmpty",
                format!(
                    "claim {name} exists and was not made by this run; delete or rename it, then create a new run"
                ),
            );
        }
        let class = claim.class.clone().unwrap_or_else(|| "the default StorageClass".to_owned());
        let message = format!("claim {name}, {}, {class}", claim.size);
        draft.condition("TargetReady", Status::True, "Provisioned", message.clone());
        return Progress::Done(message);
    }
    let chosen = draft.status.points.iter().find(|point| point.policy == policy);
    let bytes = chosen
        .and_then(|chosen| seen.points.iter().find(|point| point.name == chosen.name))
        .map_or(0, |point| point.bytes);
    let claim = NewClaim {
        name: name.clone(),
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
    };
    Progress::acting(vec![Effect::CreateClaim(claim)], format!("making claim {name}"))
}
