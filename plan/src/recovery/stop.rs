//! The steps Stop and Quarantine: nothing writes any more, and what is there stays as it is. Unknown is not stopped: a
//! pod on a node that does not answer is never taken for gone.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names;

use super::assess::{self, owned};
use super::effect::Effect;
use super::seen::{ClaimSeen, Component, Observed, PodSeen, UsedBy, WorkloadSeen};
use super::walk::{Stretch, lane};
use super::{Draft, Progress, force_stop, objects, swap};
use crate::effect::Identity;
use crate::workload;

/// Every workload of the run once.
pub(crate) fn workloads(seen: &Observed) -> Vec<&WorkloadSeen> {
    let mut all: Vec<&WorkloadSeen> = Vec::new();
    for workload in seen.components.iter().flat_map(|component| &component.workloads) {
        if !all.iter().any(|known| known.workload == workload.workload) {
            all.push(workload);
        }
    }
    all
}

/// What is said where there is nothing to do with a component's volumes.
pub(crate) const NO_VOLUME: &str = "it has no volume";

/// How a step ends that needs to know what a claim looked like, and nobody does any more.
pub(crate) fn forgotten(policy: &str) -> Progress {
    let message = format!("what the claims of policy {policy} looked like is no longer known");
    Progress::failed("StepFailed", message)
}

/// Names of the claims of `component`, which a run replaces that restores it.
pub(crate) fn claims_of<'a>(seen: &'a Observed, component: &'a Component) -> Vec<&'a str> {
    match (seen.remembered(&component.policy), &component.source) {
        (Some(claims), _) => claims.iter().map(|claim| claim.name.as_str()).collect(),
        (None, Ok(source)) => source.claims.iter().map(String::as_str).collect(),
        (None, Err(_)) => Vec::new(),
    }
}

/// The step Stop: remember, retain, read back, and only then scale to zero.
pub(crate) fn advance(draft: &mut Draft<'_>) -> Progress {
    let seen = draft.seen;
    if draft.status.stopped.is_empty() {
        let run = &seen.run.uid;
        draft.status.stopped = workloads(seen).into_iter().map(|workload| workload.owed_by(run)).collect();
    }
    if seen.memory.is_none() {
        return match remember(draft) {
            Ok(remembered) => Progress::acting(
                vec![Effect::RememberClaims {
                    name: names::memory(&seen.run.name, &seen.run.uid),
                    remembered,
                }],
                "remembering claims and replicas",
            ),
            Err(why) => Progress::failed("StepFailed", why),
        };
    }
    match retain(draft) {
        Ok(effects) if effects.is_empty() => {}
        Ok(effects) => {
            return Progress::acting(effects, "setting the volumes to Retain before anything is scaled");
        }
        Err(why) => return Progress::failed("StepFailed", why),
    }
    // From here on the claims of such a StatefulSet are not whole until the swap: the run must not go before.
    if workloads(seen).iter().any(|workload| workload.deletes_claims) && !seen.run.finalizer {
        return Progress::acting(
            vec![Effect::AddFinalizer],
            "holding the run until its claims are whole again",
        );
    }
    force_stop::note(draft, &mounting(seen));
    let running: Vec<Effect> = scale_down(seen);
    let pods: Vec<&PodSeen> = mounting(seen).into_iter().filter(|pod| pod.lost_on.is_none()).collect();
    if !running.is_empty() || !pods.is_empty() {
        return Progress::acting(running, workload::waiting(pods));
    }
    if seen.run.spec.sandbox().is_some() {
        let each = draft.status.stopped.iter().filter(|owed| owed.replicas > 0);
        let each: Vec<String> =
            each.map(|owed| format!("{} {}", owed.workload.name, owed.replicas)).collect();
        return Progress::Done(format!(
            "nothing runs in the sandbox yet; to be started in it: {}",
            each.join(", ")
        ));
    }
    let text = workload::stopped(&draft.status.stopped);
    // One of which nothing is known holds up its own component: see `quarantine`.
    match workload::unknown(mounting(seen)) {
        Some(why) => {
            draft.condition("Stopped", Status::False, "PodUnknown", why.clone());
            Progress::Done(format!("{text}; {why}"))
        }
        None => {
            draft.condition("Stopped", Status::True, "AllGone", text.clone());
            Progress::Done(text)
        }
    }
}

fn remember(draft: &Draft<'_>) -> Result<BTreeMap<String, Vec<ClaimSeen>>, String> {
    let seen = draft.seen;
    let of = |component: &Component| {
        let claims = objects::claims(seen, component)?;
        let Identity { uid, gid, groups, selinux: _ } = seen.identity(component);
        let used_by = Some(UsedBy { uid, gid, groups });
        let remembered = claims.into_iter().map(|claim| ClaimSeen { used_by: used_by.clone(), ..claim });
        Ok((component.policy.clone(), remembered.collect()))
    };
    going(draft).map(of).collect()
}

/// The components that are restored, but for those that could not even be prepared.
fn going<'a>(draft: &Draft<'a>) -> impl Iterator<Item = &'a Component> {
    let failed: Vec<&str> = draft
        .seen
        .restored()
        .map(|component| component.policy.as_str())
        .filter(|policy| lane(&draft.status, policy) == Some(Stretch::Failed))
        .collect();
    draft.seen.restored().filter(move |component| !failed.contains(&component.policy.as_str()))
}

/// What is left to do until every remembered volume is seen as Retain.
fn retain(draft: &Draft<'_>) -> Result<Vec<Effect>, String> {
    let seen = draft.seen;
    let mut effects = Vec::new();
    for component in going(draft) {
        let Some(claims) = seen.remembered(&component.policy) else {
            return Err(format!(
                "what policy {} looked like was not remembered before the stop",
                component.policy
            ));
        };
        effects.extend(retained(seen, claims)?);
    }
    Ok(effects)
}

/// What is left to do until the volumes of `claims` are seen as Retain.
fn retained(seen: &Observed, claims: &[ClaimSeen]) -> Result<Vec<Effect>, String> {
    let mut effects = Vec::new();
    for (claim, volume) in claims.iter().filter_map(|claim| Some((claim, claim.volume.as_deref()?))) {
        let volume = owned(seen, claim, volume)?;
        effects.extend(swap::reclaim(volume, "Retain"));
    }
    Ok(effects)
}

/// Effects that scale to zero what is not.
pub(crate) fn scale_down(seen: &Observed) -> Vec<Effect> {
    workload::down(workloads(seen)).into_iter().map(Effect::Scale).collect()
}

fn mounting(seen: &Observed) -> Vec<&PodSeen> {
    let claims: Vec<&str> = seen.restored().flat_map(|component| claims_of(seen, component)).collect();
    seen.pods.iter().filter(|pod| pod.claims.iter().any(|claim| claims.contains(&claim.as_str()))).collect()
}

/// A pod of which nobody can say whether it still writes.
pub(crate) fn unknown(draft: &mut Draft<'_>, pods: &[&PodSeen]) -> Option<Progress> {
    let message = workload::unknown(pods.iter().copied())?;
    draft.condition("Stopped", Status::False, "PodUnknown", message.clone());
    Some(Progress::acting(Vec::new(), message))
}

/// The step Quarantine: nothing may write to the old volumes any more, they are left alone, and stay when their claims go.
pub(crate) fn quarantine(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let seen = draft.seen;
    if seen.component(policy).is_none() {
        return assess::policy_gone(draft, policy);
    }
    let Some(claims) = seen.remembered(policy) else { return forgotten(policy) };
    let pods: Vec<&PodSeen> = claims.iter().flat_map(|claim| seen.pods_of(&claim.name)).collect();
    force_stop::note(draft, &pods);
    let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
    if let Some(progress) = force_stop::wait(draft, &names) {
        return progress;
    }
    if workload::unknown(mounting(seen)).is_none() {
        let text = workload::stopped(&draft.status.stopped);
        draft.condition("Stopped", Status::True, "AllGone", text);
    }
    let volumes: Vec<&str> = claims.iter().filter_map(|claim| claim.volume.as_deref()).collect();
    let volumes = volumes.join(", ");
    match retained(seen, claims) {
        Ok(_) if claims.is_empty() => Progress::Skipped(NO_VOLUME.to_owned()),
        Ok(_) if volumes.is_empty() => Progress::Skipped("no volume is left".to_owned()),
        Ok(effects) if effects.is_empty() => {
            Progress::Done(format!("volume {volumes} is left as it is and set to Retain"))
        }
        Ok(effects) => Progress::acting(effects, format!("setting volume {volumes} to Retain")),
        Err(why) => Progress::failed("StepFailed", why),
    }
}
