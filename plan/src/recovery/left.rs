//! How a run that ends without success leaves the world, in words and in commands that a human can go on with. Each component that was not
//! recovered is told of by itself: one may be untouched while another holds its point already.

use crds::names;
use crds::reference::WorkloadKind;
use crds::run::{LeftAs, NextAction, Scenario, StoppedWorkload};

use super::seen::{Component, Observed, PointState};
use super::swap::{between, bound, swapped};
use super::walk::{Stretch, lane};
use super::{Draft, choice, evidence, lift, network, rotate, stop, texts, undo};

/// The components that were not recovered.
fn lost<'a>(draft: &Draft<'a>) -> Vec<&'a Component> {
    let recovered = |component: &&Component| lane(&draft.status, &component.policy) == Some(Stretch::Done);
    draft.seen.components.iter().filter(|component| !recovered(component)).collect()
}

/// How the world was left, as far as it was not recovered: where components differ, Mixed.
pub(crate) fn left_as(draft: &Draft<'_>) -> LeftAs {
    let one = |values: Vec<String>| match values.as_slice() {
        [] => String::new(),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => first.clone(),
        _ => "Mixed".to_owned(),
    };
    let each: Vec<LeftAs> = lost(draft).into_iter().map(|component| of(draft, component)).collect();
    LeftAs {
        workloads: one(each.iter().map(|left| left.workloads.clone()).collect()),
        data: one(each.iter().map(|left| left.data.clone()).collect()),
        claims: one(each.iter().map(|left| left.claims.clone()).collect()),
        isolation: lift::left_as(&draft.status).map(str::to_owned),
    }
}

fn of(draft: &Draft<'_>, component: &Component) -> LeftAs {
    let (seen, status) = (draft.seen, &draft.status);
    let running = component.workloads.iter().filter(|workload| workload.replicas > 0).count();
    let workloads = match running {
        0 => "Stopped",
        n if n == component.workloads.len() => "Running",
        _ => "Mixed",
    };
    let swaps = || status.swaps.iter().filter(|swap| swap.policy == component.policy);
    let exchanged = swaps().any(|swap| swapped(seen, status, &swap.claim));
    let whole = swaps().all(|swap| {
        let old = swap.old_volume.as_ref();
        bound(seen, &swap.claim, &swap.new_volume) || old.is_some_and(|old| bound(seen, &swap.claim, old))
    });
    let claims = if between(seen, status, Some(&component.policy)) && !whole {
        "Between"
    } else if exchanged {
        "Swapped"
    } else {
        "Original"
    };
    let data = if exchanged { "Restored" } else { "Untouched" };
    let (workloads, data, claims) = (workloads.to_owned(), data.to_owned(), claims.to_owned());
    LeftAs { workloads, data, claims, isolation: None }
}

/// How what was not recovered was left, and what was.
pub(crate) fn world(draft: &Draft<'_>) -> String {
    if draft.seen.run.spec.scenario == Scenario::NetworkFailure {
        return network::world(draft);
    }
    let lost = lost(draft);
    let say = |component: &&Component| {
        let text = told(draft, component);
        if lost.len() == 1 { text } else { format!("{}: {text}", component.policy) }
    };
    let mut parts: Vec<String> = lost.iter().map(say).collect();
    let lost: Vec<&str> = lost.iter().map(|component| component.policy.as_str()).collect();
    let all = draft.seen.components.iter().map(|component| component.policy.as_str());
    let recovered: Vec<&str> = all.filter(|policy| !lost.contains(policy)).collect();
    if !recovered.is_empty() {
        parts.push(format!("Recovered: {}", recovered.join(", ")));
    }
    parts.extend(lift::stays(draft));
    parts.extend(evidence::stays(draft));
    parts.join(". ")
}

fn told(draft: &Draft<'_>, component: &Component) -> String {
    let left = of(draft, component);
    let claims = stop::claims_of(draft.seen, component).join(", ");
    let workloads = match left.workloads.as_str() {
        "Stopped" => "the workloads are stopped",
        "Running" => "the workloads run",
        _ => "some workloads run",
    };
    match left.claims.as_str() {
        "Original" if claims.is_empty() => format!("Nothing was replaced: {workloads}"),
        "Original" => match undo::told(draft, component) {
            Some(kept) => format!("{claims} is the old volume again, {kept}; {workloads}"),
            None => format!("Nothing was replaced: {claims} is the old volume, {workloads}"),
        },
        "Swapped" => {
            format!("{claims} is the restored volume, the old one is kept in quarantine, {workloads}")
        }
        _ => format!(
            "The claims are between two volumes ({}), both set to Retain; {workloads}",
            draft
                .status
                .swaps
                .iter()
                .filter(|swap| swap.policy == component.policy)
                .map(|swap| {
                    let named = |volume: Option<&str>| volume.unwrap_or("none").to_owned();
                    let (old, new) = (named(swap.original_volume()), named(swap.restored_volume()));
                    format!("{}: old {old}, new {new}", swap.claim)
                })
                .collect::<Vec<_>>()
                .join("; ")
        ),
    }
}

/// What a human can do next, the recommended first.
pub(crate) fn next_actions(draft: &Draft<'_>) -> Vec<NextAction> {
    let namespace = &draft.seen.run.namespace;
    if draft.seen.run.spec.scenario == Scenario::NetworkFailure {
        return network::next_actions(draft);
    }
    let lost = lost(draft);
    if lost.iter().any(|component| of(draft, component).claims == "Between") {
        return vec![NextAction {
            name: "look".into(),
            message: "see which claim holds which volume before anything else is done".into(),
            command: format!("kubectl get pvc,pv -n {namespace}"),
        }];
    }
    // What was restored is good where only credentials hold the start up.
    let by_hand = rotate::by_hand(draft);
    let mut actions: Vec<NextAction> = match by_hand.is_empty() {
        true => lost.iter().filter_map(|component| older_point(draft, component)).collect(),
        false => by_hand,
    };
    for component in lost {
        let left = of(draft, component);
        let owned = draft.status.stopped.iter().filter(|stopped| {
            let of = component.workloads.iter().map(|seen| &seen.workload).chain(&component.missing);
            of.into_iter().any(|workload| *workload == stopped.workload)
        });
        for stopped in owned.take(3) {
            actions.extend(on(namespace, &left, stopped));
        }
        actions.extend(unfinished(draft, component).filter(|_| left.claims == "Original"));
    }
    actions.truncate(7);
    actions.extend(lift::how_to_lift(draft));
    actions
}

/// A run with an older point.
fn older_point(draft: &Draft<'_>, component: &Component) -> Option<NextAction> {
    let chosen = draft.status.points.iter().find(|chosen| chosen.policy == component.policy)?;
    let (name, time) = older(draft.seen, &chosen.policy, chosen.consistency_time)?;
    Some(NextAction {
        name: format!("older-point-{}", texts::cut(&chosen.policy, 40)),
        message: format!(
            "{name} is Available; loses {} more than {}",
            texts::between(time, chosen.consistency_time),
            chosen.name
        ),
        command: create(draft, &chosen.policy, &name),
    })
}

/// What to do with a workload that was stopped.
fn on(namespace: &str, left: &LeftAs, stopped: &StoppedWorkload) -> Option<NextAction> {
    let name = texts::cut(&stopped.workload.name, 50);
    match (left.claims.as_str(), left.workloads.as_str()) {
        ("Original", _) if stopped.replicas > 0 => Some(NextAction {
            name: format!("start-{name}"),
            message: "starts it on the old volume as it was, with whatever damage it has".into(),
            command: scale(namespace, stopped),
        }),
        ("Original", _) => None,
        (_, "Running") => Some(NextAction {
            name: format!("logs-{name}"),
            message: "what it says on the restored volume".into(),
            command: format!("kubectl logs -n {namespace} {}", kind(stopped)),
        }),
        _ if stopped.replicas > 0 => Some(NextAction {
            name: format!("start-{name}"),
            message: "starts it on the restored volume".into(),
            command: scale(namespace, stopped),
        }),
        _ => None,
    }
}

/// Removing what was restored in vain.
fn unfinished(draft: &Draft<'_>, component: &Component) -> Option<NextAction> {
    let claims = stop::claims_of(draft.seen, component).into_iter();
    let names = [names::restore_claim, names::restored_claim];
    let made: Vec<String> = claims
        .flat_map(|claim| names.map(|name| name(claim, &draft.seen.run.uid)))
        .filter(|claim| draft.seen.claims.contains_key(claim))
        .collect();
    (!made.is_empty()).then(|| NextAction {
        name: format!("remove-{}", texts::cut(&component.policy, 50)),
        message: "removes the copy that was restored; the old volume stays".into(),
        command: texts::cut(
            &format!("kubectl delete pvc -n {} {}", draft.seen.run.namespace, made.join(" ")),
            1024,
        ),
    })
}

fn older(seen: &Observed, policy: &str, than: jiff::Timestamp) -> Option<(String, jiff::Timestamp)> {
    seen.points
        .iter()
        .filter(|point| point.policy == policy && point.state == PointState::Available)
        .filter(|point| choice::is_trusted(seen, point))
        .filter_map(|point| point.consistency_time.map(|time| (point.name.clone(), time)))
        .filter(|(_, time)| *time < than)
        .max_by_key(|(_, time)| *time)
}

fn kind(stopped: &StoppedWorkload) -> String {
    match stopped.workload.kind {
        WorkloadKind::StatefulSet => format!("statefulset/{}", stopped.workload.name),
        WorkloadKind::Deployment => format!("deployment/{}", stopped.workload.name),
        WorkloadKind::CronJob => format!("cronjob/{}", stopped.workload.name),
    }
}

/// A command that starts again what the run stopped.
fn scale(namespace: &str, stopped: &StoppedWorkload) -> String {
    match stopped.workload.kind {
        WorkloadKind::CronJob => {
            format!("kubectl patch -n {namespace} {} -p '{{\"spec\":{{\"suspend\":false}}}}'", kind(stopped))
        }
        WorkloadKind::StatefulSet | WorkloadKind::Deployment => {
            format!("kubectl scale -n {namespace} {} --replicas={}", kind(stopped), stopped.replicas)
        }
    }
}

/// A command that creates the run which restores `point`.
fn create(draft: &Draft<'_>, policy: &str, point: &str) -> String {
    let run = &draft.seen.run;
    format!(
        "echo '{{\"apiVersion\":\"holdfast.dev/v1alpha1\",\"kind\":\"RecoveryRun\",\"metadata\":{{\"generateName\":\"recover-\",\"namespace\":\"{ns}\"}},\"spec\":{{\"scenario\":\"{scenario}\",\"policies\":[{{\"name\":\"{policy}\"}}],\"point\":{{\"named\":{{\"name\":\"{point}\"}}}},\"target\":{{\"inPlace\":{{\"confirm\":\"{ns}\"}}}}}}}}' | kubectl create -f -",
        ns = run.namespace,
        scenario = run.spec.scenario.as_str(),
    )
}
