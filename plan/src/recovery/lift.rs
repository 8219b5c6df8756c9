//! The step LiftIsolation, and whatever else gives back what an isolation took: what was removed is put back first, then what denies goes, then the record.
//! A run that has failed leaves its namespace isolated, and says how that is lifted.

use crds::condition::Status;
use crds::names;
use crds::run::{GateName, IsolationState, IsolationStatus, NextAction, RecoveryRunStatus, Scenario};

use super::effect::{Effect, NewNetworkPolicy};
use super::isolation::{delete, foreign, grant, holds, ours, record_name};
use super::seen::NetworkPolicySeen;
use super::{Draft, Progress, gate, texts};

/// The step LiftIsolation, and whatever else gives back: what was removed comes first, then what denies goes.
pub(crate) fn give_back(draft: &mut Draft<'_>) -> Progress {
    let seen = draft.seen;
    let Some(known) = draft.status.isolation.clone() else {
        return Progress::Skipped("nothing was isolated".to_owned());
    };
    let to = |state| Some(IsolationStatus { state, ..known.clone() });
    match known.state {
        IsolationState::Lifted => return Progress::Done("the isolation was lifted".to_owned()),
        IsolationState::Probing => {
            draft.status.isolation = to(IsolationState::Lifted);
            draft.condition("Isolated", false, "NotNeeded", "nothing was changed");
            return Progress::acting(Vec::new(), "nothing was changed");
        }
        IsolationState::Taking | IsolationState::Isolated => {
            draft.status.isolation = to(IsolationState::Lifting);
            return Progress::acting(Vec::new(), "putting back what was removed");
        }
        IsolationState::Lifting => {}
    }
    if !seen.run.isolating {
        return Progress::acting(vec![Effect::AddFinalizer], "marking the run, so that it may put back");
    }
    if let Some(effect) = grant(seen) {
        return Progress::acting(vec![effect], "taking the right to put back what was removed");
    }
    // The name of one that goes is free only when it is gone.
    if let Some(leaving) = foreign(seen).find(|there| there.deleting && known.policies.contains(&there.name))
    {
        return Progress::acting(Vec::new(), format!("waiting until NetworkPolicy {} is gone", leaving.name));
    }
    let absent: Vec<&String> =
        known.policies.iter().filter(|name| foreign(seen).all(|there| there.name != **name)).collect();
    if !absent.is_empty() {
        let Some(recorded) = seen.network.records.get(&known.records) else {
            let message = lost(draft, &known);
            draft.condition("Isolated", Status::True, "RecordLost", message.clone());
            return Progress::acting(Vec::new(), message);
        };
        let back = recorded.policies.iter().filter(|policy| absent.contains(&&policy.name));
        let effects =
            back.cloned().map(|NetworkPolicySeen { name, labels, annotations, owners, spec, .. }| {
                Effect::CreatePolicy(NewNetworkPolicy { name, labels, annotations, owners, spec })
            });
        return Progress::acting(effects.collect(), "putting back what was removed");
    }
    let effects: Vec<Effect> = ours(seen).filter(|policy| !policy.deleting).map(delete).collect();
    if !effects.is_empty() {
        return Progress::acting(effects, "removing what denies");
    }
    if ours(seen).next().is_some() {
        return Progress::acting(Vec::new(), "waiting until what denies is gone");
    }
    draft.status.isolation = to(IsolationState::Lifted);
    let message = match known.policies.as_slice() {
        [] => "nothing denies any more; no NetworkPolicy was there before".to_owned(),
        names => format!(
            "nothing denies any more, NetworkPolicy {} is as it was",
            texts::cut(&names.join(", "), 400)
        ),
    };
    draft.condition("Isolated", false, "Lifted", message.clone());
    Progress::Done(message)
}

/// What is said when the record is gone: nothing is opened without it.
pub(super) fn lost(draft: &Draft<'_>, known: &IsolationStatus) -> String {
    let namespace = &draft.seen.run.namespace;
    format!(
        "ConfigMap {} is gone, which recorded the NetworkPolicies that were removed ({}): the namespace stays isolated. Apply them again from where you keep them, and the run goes on (kubectl get networkpolicy -n {namespace})",
        record_name(draft, known.records),
        texts::cut(&known.policies.join(", "), 300)
    )
}

/// Gives back while the run ends. Returns whether all is.
pub(crate) fn given_back(draft: &mut Draft<'_>) -> bool {
    if !holds(&draft.status) {
        return true;
    }
    match give_back(draft) {
        Progress::Done(_) | Progress::Skipped(_) | Progress::Failed { .. } => true,
        Progress::Acting { effects, .. } | Progress::Polling { effects, .. } => {
            draft.effects.extend(effects);
            false
        }
        Progress::Again { .. } | Progress::Another { .. } => false,
    }
}

/// A run that has failed keeps its namespace isolated until it is deleted or somebody approves. Returns whether all is given back.
pub(crate) fn after_the_end(draft: &mut Draft<'_>) -> bool {
    let approved = gate::approved_late(draft, GateName::LiftIsolation).is_some();
    (draft.seen.run.deleting || approved) && given_back(draft)
}

/// Forgets the records when all that stood in them is back, and with them the right to touch anything.
pub(crate) fn forget(draft: &mut Draft<'_>) {
    if draft.status.isolation.is_none() || holds(&draft.status) {
        return;
    }
    let records = draft.seen.network.records.values();
    let forgotten =
        records.map(|record| Effect::ForgetPolicies { name: record.name.clone(), uid: record.uid.clone() });
    draft.effects.extend(forgotten);
    let granted = draft.seen.network.granted.clone();
    let name = names::isolator(&draft.seen.run.uid);
    draft.effects.extend(granted.map(|uid| Effect::RevokeIsolation { name, uid }));
}

/// How the namespace was left, where it was isolated.
pub(crate) fn left_as(status: &RecoveryRunStatus) -> Option<&'static str> {
    status.isolation.as_ref()?;
    Some(if holds(status) { "Isolated" } else { "Lifted" })
}

/// What is said of a run that ends and leaves its namespace isolated.
pub(crate) fn stays(draft: &Draft<'_>) -> Option<String> {
    holds(&draft.status).then(|| format!("Namespace {} stays isolated", draft.seen.run.namespace))
}

/// What to do about it.
pub(crate) fn how_to_lift(draft: &Draft<'_>) -> Option<NextAction> {
    let breach = draft.seen.run.spec.scenario == Scenario::SecurityBreach;
    let digest = draft.status.plan.as_ref().map(|plan| plan.digest.as_str()).unwrap_or_default();
    (breach && holds(&draft.status)).then(|| NextAction {
        name: "lift-isolation".to_owned(),
        message: "puts back the NetworkPolicies as they were, when nobody is inside any more; so does deleting the run".to_owned(),
        command: texts::cut(&gate::how_to_approve(draft, GateName::LiftIsolation, digest), 1024),
    })
}
