//! The plan in words: what each step would do, to what, and how it is undone. A DryRun ends with it.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names::short_hash;
use crds::run::{PlanSummary, StepStatus, Verdict};

use super::assess::{current, declared};
use super::choice::{Choice, describe};
use super::seen::Observed;
use super::steps::{Kind, Step};
use super::{Draft, quantity, stop, texts};

/// What `step` would do.
pub(crate) fn foretell(seen: &Observed, step: &Step, choices: &BTreeMap<String, Choice>) -> String {
    let Some(policy) = &step.policy else { return whole(seen, step.kind) };
    let Some(component) = seen.component(policy) else { return String::new() };
    let Ok((_, claim, volume)) = current(seen, component) else { return String::new() };
    let (name, volume) = (&claim.name, &volume.name);
    let Some(choice) = choices.get(policy) else { return String::new() };
    let target = crds::names::restore_claim(name, &seen.run.uid);
    let point = &choice.point;
    match step.kind {
        Kind::Quarantine => format!(
            "keep volume {volume} of claim {name} as it is (Retain); undo: none needed, nothing is changed"
        ),
        Kind::CheckIntegrity => {
            format!("say what is broken in {name}, mounted read-only; undo: none needed, nothing is changed")
        }
        Kind::SelectPoint => {
            let lost = texts::between(choice.consistency_time, declared(&seen.run));
            let at = choice.consistency_time.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!(
                "restore {}; what was written since {at} is lost (RPO {lost} so far), and writers still run",
                describe(choice)
            )
        }
        Kind::Provision => {
            let size = quantity::at_least(&claim.size, point.bytes);
            let class = class(seen, claim.class.as_deref()).unwrap_or("the default StorageClass");
            format!("make claim {target}, {size}, {class}; undo: delete it")
        }
        Kind::Restore => format!(
            "restore {} ({}) from repository {} into {target}; undo: delete it",
            point.name,
            crate::size::bytes(point.bytes),
            point.repository
        ),
        Kind::VerifyOffline => {
            format!("hold every file and collection of {target} against {}; undo: none needed", point.name)
        }
        Kind::Swap => format!(
            "{name} becomes the new volume, {volume} is kept as {}; undo: swap back",
            crds::names::quarantine_claim(name, &seen.run.uid)
        ),
        Kind::Assess | Kind::Stop | Kind::Start | Kind::Validate | Kind::Report => String::new(),
    }
}

fn whole(seen: &Observed, kind: Kind) -> String {
    let replicas = || {
        let all: Vec<String> = stop::workloads(seen)
            .iter()
            .map(|workload| format!("{} {}", workload.workload.name, workload.replicas))
            .collect();
        all.join(", ")
    };
    match kind {
        Kind::Assess => {
            "look at workloads, claims, volumes, points and the repository; undo: none needed".to_owned()
        }
        Kind::Stop => format!("stop {}; undo: start them", replicas()),
        Kind::Start => format!("start {}; undo: stop them", replicas()),
        Kind::Validate => {
            "hold the running ChromaDB against the point through its API; undo: none needed".to_owned()
        }
        Kind::Report => {
            "measure recovery time and data loss against the objectives; undo: none needed".to_owned()
        }
        Kind::Quarantine
        | Kind::CheckIntegrity
        | Kind::SelectPoint
        | Kind::Provision
        | Kind::Restore
        | Kind::VerifyOffline
        | Kind::Swap => String::new(),
    }
}

/// StorageClass of a new volume.
pub(crate) fn class<'a>(seen: &'a Observed, old: Option<&'a str>) -> Option<&'a str> {
    seen.run.spec.target.in_place.as_ref().and_then(|target| target.storage_class_name.as_deref()).or(old)
}

/// The plan in short.
pub(crate) fn summary(steps: &[StepStatus], policies: usize) -> PlanSummary {
    let words: Vec<&str> =
        steps.iter().flat_map(|step| [step.name.as_str(), step.message.as_str()]).collect();
    PlanSummary {
        digest: format!("sha256:{}", short_hash(&words)),
        steps: u32::try_from(steps.len()).unwrap_or(u32::MAX),
        policies: u32::try_from(policies).unwrap_or(u32::MAX),
    }
}

/// Ends a DryRun: the steps stay Waiting, nothing was and nothing is done.
pub(crate) fn complete(draft: &mut Draft<'_>) {
    let steps = draft.status.steps.len() as u64;
    let message = format!(
        "{} planned, nothing was changed; to carry it out, create a run with another name and mode: Run",
        texts::count(steps, "step")
    );
    draft.status.verdict = Some(Verdict::Skipped);
    draft.condition("Ready", Status::True, "Planned", message.clone());
    draft.condition("Complete", Status::True, "Planned", message.clone());
    draft.events.push(crate::effect::Event::normal("Planned", message));
}
