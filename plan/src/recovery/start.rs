//! The step Start: what the run stopped runs again, with the replicas it had and never more, as soon as what it depends on is validated.

use crds::run::{StepPhase, StepStatus};

use super::effect::Effect;
use super::seen::Component;
use super::steps::{Kind, Step};
use super::walk::{Stretch, lane};
use super::{Draft, Progress, assess, isolation, sandbox, stop};
use crate::workload;

/// Effects that give back the remembered replicas to what has fewer.
pub(crate) fn scale_up(draft: &Draft<'_>) -> Vec<Effect> {
    let workloads = stop::workloads(draft.seen);
    let up = workload::up(&draft.status.stopped, workloads.iter().copied());
    up.into_iter().map(Effect::Scale).collect()
}

/// Waits for what the component depends on, scales back to the remembered replicas and waits until they are ready.
pub(crate) fn advance(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let Some(component) = draft.seen.component(policy) else { return assess::policy_gone(draft, policy) };
    if let Some(why) = sandbox::unproved(draft) {
        return Progress::failed("IsolationNotEnforced", why);
    }
    if let Some(progress) = needed(draft, component) {
        return progress;
    }
    let (mut waiting, mut started) = (Vec::new(), Vec::new());
    for stopped in &draft.status.stopped {
        if component.missing.contains(&stopped.workload) {
            return Progress::failed(
                "StepFailed",
                format!(
                    "{} {} does not exist any more, so it can't be started; create it again, its claims hold the restored data",
                    stopped.workload.kind.as_str(),
                    stopped.workload.name
                ),
            );
        }
        let found = component.workloads.iter().find(|seen| seen.workload == stopped.workload);
        let Some(seen) = found.filter(|_| stopped.replicas > 0) else { continue };
        if seen.ready < stopped.replicas {
            waiting.push(format!("{} {} of {} ready", seen.workload.name, seen.ready, stopped.replicas));
        }
        started.push(format!("{} {}", seen.workload.name, stopped.replicas));
    }
    if started.is_empty() {
        return Progress::Skipped("nothing ran before the run, so nothing is started".to_owned());
    }
    if let Some(progress) = isolation::inside(draft) {
        return progress;
    }
    let effects: Vec<Effect> =
        workload::up(&draft.status.stopped, &component.workloads).into_iter().map(Effect::Scale).collect();
    if !effects.is_empty() || !waiting.is_empty() {
        return Progress::acting(effects, waiting.join(", "));
    }
    Progress::Done(started.join(", "))
}

/// What is done while a component that this one works with is not validated; nothing when all are. One that is no part of the run is taken as
/// it is.
fn needed(draft: &Draft<'_>, component: &Component) -> Option<Progress> {
    let of = |wanted: Stretch| {
        let on = component.depends_on.iter().map(String::as_str);
        on.filter(|policy| lane(&draft.status, policy) == Some(wanted)).collect::<Vec<_>>()
    };
    let (failed, open) = (of(Stretch::Failed), of(Stretch::Open));
    if !failed.is_empty() {
        let failed = failed.join(", ");
        return Some(Progress::failed(
            "StepFailed",
            format!(
                "it depends on {failed}, which could not be recovered, so it is not started; recover {failed} first"
            ),
        ));
    }
    // A workload of several components starts when the volumes of all of them are in place.
    let shared: Vec<&str> = draft
        .seen
        .restored()
        .filter(|other| other.policy != component.policy && shares(component, other))
        .map(|other| other.policy.as_str())
        .filter(|policy| !swapped(draft, policy))
        .collect();
    if !shared.is_empty() {
        let note = format!(
            "waiting until the volumes of {} are in place, which share a workload with it",
            shared.join(", ")
        );
        return Some(Progress::acting(Vec::new(), note));
    }
    (!open.is_empty()).then(|| {
        Progress::acting(
            Vec::new(),
            format!("waiting until {} is validated, which it depends on", open.join(", ")),
        )
    })
}

fn shares(one: &Component, other: &Component) -> bool {
    one.workloads.iter().any(|seen| other.workloads.iter().any(|known| known.workload == seen.workload))
}

/// Whether nothing of the component's volumes is exchanged any more, or will be.
fn swapped(draft: &Draft<'_>, policy: &str) -> bool {
    let name = Step { kind: Kind::Swap, policy: Some(policy.to_owned()) }.name();
    let through = |step: &StepStatus| matches!(step.phase, StepPhase::Done | StepPhase::Skipped);
    let step = draft.status.steps.iter().find(|step| step.name == name);
    step.is_none_or(through) || lane(&draft.status, policy) == Some(Stretch::Failed)
}
