//! The step Objects: whatever of a component is missing is created from the chosen point, the policy included, and nothing that exists is
//! changed. Workloads come back stopped; a claim that is lost has a stand-in, which its volume is restored into.

use std::collections::BTreeMap;

use crds::job::{Recreated, Report, Request};
use crds::names;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL, RECREATE_ROLE, RUN_LABEL, STANDS_FOR};
use serde::Deserialize;

use super::assess::{mounted, policy_gone};
use super::mover::{self, Outcome, Wanted};
use super::seen::{ClaimSeen, Component, Observed};
use super::steps::Kind;
use super::{Draft, Progress, texts};
use crate::effect::{Account, Bound, label_value};

/// What a stand-in has written on it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StandsFor {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// The claims of a component as a recovery finds them, or a sentence why it can't go on: those that are there, and for those that are lost
/// what they were, without a volume.
pub(crate) fn claims(seen: &Observed, component: &Component) -> Result<Vec<ClaimSeen>, String> {
    let source = component.source.as_ref().map_err(Clone::clone)?;
    if let Some(missing) = component.missing.first() {
        return Err(format!(
            "{} {} of policy {} does not exist in namespace {}",
            missing.kind.as_str(),
            missing.name,
            component.policy,
            seen.home()
        ));
    }
    let of = |name: &String| match seen.claims.contains_key(name) {
        true => mounted(seen, component, name).map(|(claim, _)| claim.clone()),
        false => lost(seen, component, name),
    };
    source.claims.iter().map(of).collect()
}

/// A claim that is lost, as its stand-in tells of it.
fn lost(seen: &Observed, component: &Component, name: &str) -> Result<ClaimSeen, String> {
    let stand_in = seen.claims.get(&names::restore_claim(name, &seen.run.uid));
    let told = stand_in.and_then(|claim| Some((claim, claim.annotations.get(STANDS_FOR)?)));
    let Some((claim, told)) = told else {
        return Err(format!(
            "claim {name} of policy {} does not exist in namespace {}, and the point does not tell what it was; create it, then create a new run",
            component.policy,
            seen.home()
        ));
    };
    let told: StandsFor = serde_json::from_str(told).unwrap_or_default();
    Ok(ClaimSeen {
        name: name.to_owned(),
        labels: told.labels,
        annotations: told.annotations,
        class: claim.class.clone(),
        size: claim.size.clone(),
        access_modes: claim.access_modes.clone(),
        volume_mode: claim.volume_mode.clone(),
        ..ClaimSeen::default()
    })
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else { return policy_gone(draft, policy) };
    let access = match &component.access {
        Ok(access) => access,
        Err(why) => return Progress::acting(Vec::new(), why.clone()),
    };
    let Some(point) = mover::chosen(draft, policy) else { return mover::no_point(policy) };
    let run = &seen.run;
    let wanted = Wanted {
        before: vec![Request::Extract {
            repository: mover::opened(draft, access),
            point,
            run: mover::mark(draft),
        }],
        account: Some(Account {
            name: names::recreator(&run.uid),
            role: RECREATE_ROLE,
            bound: Bound::WithItsOwner,
        }),
        keys: Some(access.keys.clone()),
        ..Wanted::bare(
            Kind::Objects,
            policy.to_owned(),
            Request::Recreate {
                namespace: run.namespace.clone(),
                run: run.uid.clone(),
                labels: BTreeMap::from([
                    (RUN_LABEL.to_owned(), label_value(&run.name)),
                    (POLICY_LABEL.to_owned(), label_value(policy)),
                    (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
                ]),
                storage_class: run.spec.storage_class().cloned(),
                sandbox: run.spec.sandbox().map(|_| seen.home()),
            },
        )
    };
    let said = match mover::drive(draft, index, wanted) {
        Outcome::Pending(progress) => return progress,
        Outcome::Said(Report::Recreated(recreated)) => told(&recreated),
        Outcome::Said(other) => return mover::unexpected(&other),
        Outcome::GaveUp(failure) => {
            let (reason, message) = mover::reason_of(&failure);
            return Progress::failed(reason, message);
        }
    };
    // What was created is among what is seen only at the look after the one that heard of it.
    if draft.status.steps[index].message != texts::bounded(&said) {
        return Progress::acting(Vec::new(), said);
    }
    match claims(seen, component) {
        Ok(_) => Progress::Done(said),
        Err(why) => Progress::failed("StepFailed", format!("{why} ({said})")),
    }
}

fn told(recreated: &Recreated) -> String {
    let existed = format!("{} were there", recreated.existing);
    if recreated.created_count == 0 && recreated.existing == 0 {
        return "the point holds no objects".to_owned();
    }
    if recreated.created_count == 0 {
        return format!("nothing was missing, {existed}");
    }
    let more = recreated.created_count.saturating_sub(recreated.created.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("created {}{more}; {existed}", recreated.created.join(", "))
}
