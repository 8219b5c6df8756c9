//! The plan in words: what each step would do, to what, and how it is undone. A DryRun ends with it.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::names::short_hash;
use crds::run::{PlanSummary, Scenario, StepStatus, Verdict};

use super::assess::{current, declared};
use super::choice::{Choice, describe};
use super::seen::{ClaimSeen, Component, Observed, PointSeen, Role, VolumeSeen};
use super::steps::{Kind, Step};
use super::{
    Draft, audit, evidence, isolation, network, preserve, quantity, rotate, stop, texts, verification,
};

/// What `step` would do.
pub(crate) fn foretell(seen: &Observed, step: &Step, choices: &BTreeMap<String, Choice>) -> String {
    let Some(policy) = &step.policy else { return whole(seen, step.kind) };
    let Some(component) = seen.component(policy) else { return String::new() };
    match step.kind {
        Kind::VerifyPoints => return verification::foretell(seen, component),
        Kind::Start => return start(component),
        Kind::Validate => return validate(component).to_owned(),
        kind if component.role == Role::Offline => return network::foretell(component, kind),
        _ => {}
    }
    let preserving = seen.run.spec.scenario == Scenario::StorageFailure;
    if step.kind == Kind::CheckIntegrity && preserving {
        return "check what was preserved, in a copy of it; undo: none needed, nothing is changed".to_owned();
    }
    let Some(choice) = choices.get(policy) else {
        return match step.kind {
            Kind::SelectPoint => {
                "restore what was preserved, if it is whole: no point is Available".to_owned()
            }
            kind => unknown(kind, "it follows from what was preserved"),
        };
    };
    let point = &choice.point;
    if step.kind == Kind::SelectPoint {
        let lost = texts::between(choice.consistency_time, declared(&seen.run));
        let at = choice.consistency_time.strftime("%Y-%m-%dT%H:%M:%SZ");
        let first = if preserving { "restore what was preserved, if it is whole; else " } else { "" };
        return format!(
            "{first}restore {}; what was written since {at} is lost (RPO {lost} so far), and writers still run",
            describe(choice)
        );
    }
    if step.kind == Kind::MarkPoints {
        return evidence::foretell(seen, policy);
    }
    if step.kind == Kind::Objects {
        return create(component, point);
    }
    if step.kind == Kind::Emergency {
        let repository = &component.emergency.repository;
        return format!(
            "capture whatever of it can still be read into repository {repository}; undo: delete the point, kubectl get hfpoint"
        );
    }
    let volumes = match current(seen, component) {
        Ok(volumes) if volumes.is_empty() => return stop::NO_VOLUME.to_owned(),
        Ok(volumes) => volumes,
        Err(why) => return unknown(step.kind, &why),
    };
    let each = |say: &dyn Fn(&ClaimSeen, &VolumeSeen) -> String| {
        volumes.iter().map(|(claim, volume)| say(claim, volume)).collect::<Vec<_>>().join(", ")
    };
    let claims = each(&|claim, _| claim.name.clone());
    let targets = each(&|claim, _| crds::names::restore_claim(&claim.name, &seen.run.uid));
    match step.kind {
        Kind::Quarantine => format!(
            "keep {} as it is (Retain); undo: none needed, nothing is changed",
            each(&|claim, volume| format!("volume {} of claim {}", volume.name, claim.name))
        ),
        Kind::Preserve => format!(
            "keep every byte of {claims} that can be read in repository {}, with what can't be read by file and offset; undo: none needed",
            preserve::repository(component).0
        ),
        Kind::CheckIntegrity => {
            format!(
                "say what is broken in {claims}, mounted read-only; undo: none needed, nothing is changed"
            )
        }
        Kind::Provision => format!(
            "make {}; undo: delete it",
            each(&|claim, _| {
                let bytes = if volumes.len() == 1 { point.bytes } else { 0 };
                let size = quantity::at_least(&claim.size, bytes);
                let class = class(seen, claim.class.as_deref()).unwrap_or("the default StorageClass");
                let target = crds::names::restore_claim(&claim.name, &seen.run.uid);
                format!("claim {target}, {size}, {class}")
            })
        ),
        Kind::Restore => format!(
            "restore {} ({}) from repository {} into {targets}; undo: delete it",
            point.name,
            crate::size::bytes(point.bytes),
            point.repository
        ),
        Kind::VerifyOffline => {
            let what = if component.application { "file" } else { "file and collection" };
            format!("hold every {what} of {targets} against {}; undo: none needed", point.name)
        }
        Kind::Swap => format!(
            "{}; undo: swap back",
            each(&|claim, volume| format!(
                "{} becomes the new volume, {} is kept as {}",
                claim.name,
                volume.name,
                crds::names::quarantine_claim(&claim.name, &seen.run.uid)
            ))
        ),
        Kind::Assess
        | Kind::Sandbox
        | Kind::Isolate
        | Kind::Seal
        | Kind::Stop
        | Kind::Audit
        | Kind::MarkPoints
        | Kind::SelectPoint
        | Kind::Objects
        | Kind::Emergency
        | Kind::RotateCredentials
        | Kind::Start
        | Kind::Validate
        | Kind::Diagnose
        | Kind::EnterOffline
        | Kind::Watch
        | Kind::LeaveOffline
        | Kind::LiftIsolation
        | Kind::Unseal
        | Kind::Protect
        | Kind::VerifyPoints
        | Kind::Report => String::new(),
    }
}

/// What is created of a component, as far as that is known from here: ConfigMaps and Secrets are not.
fn create(component: &Component, point: &PointSeen) -> String {
    let mut missing: Vec<String> = component
        .missing
        .iter()
        .map(|workload| format!("{} {}", workload.kind.as_str(), workload.name))
        .collect();
    if component.forgotten {
        missing.insert(0, format!("BackupPolicy {}", component.policy));
    }
    let known = match missing.as_slice() {
        [] => String::new(),
        missing => format!(" ({} among it)", missing.join(", ")),
    };
    format!(
        "create from {} what is missing of the component{known} and change nothing that exists, its workloads stopped; undo: delete it",
        point.name
    )
}

/// What a step is about whose claims are not there yet.
fn unknown(kind: Kind, why: &str) -> String {
    match kind {
        Kind::Quarantine => format!("keep what is left as it is (Retain); undo: none needed. Now: {why}"),
        Kind::Provision => "make claims as the point describes them; undo: delete them".to_owned(),
        Kind::Restore => "restore into the claims that the step before makes; undo: delete them".to_owned(),
        Kind::VerifyOffline => "hold every restored file against the point; undo: none needed".to_owned(),
        Kind::Swap => {
            "give the restored volumes the names of the claims; undo: none needed, nothing had them"
                .to_owned()
        }
        _ => why.to_owned(),
    }
}

fn start(component: &Component) -> String {
    if component.workloads.is_empty() {
        return "start what was created, with the replicas that it had; undo: stop it".to_owned();
    }

    let each = component.workloads.iter().map(|seen| format!("{} {}", seen.workload.name, seen.replicas));
    let each: Vec<String> = each.collect();
    let after = match component.depends_on.as_slice() {
        [] => String::new(),
        needed => format!(" as soon as {} is validated", needed.join(", ")),
    };
    format!("start {}{after}; undo: stop them", each.join(", "))
}

fn validate(component: &Component) -> &'static str {
    match (component.role, component.application) {
        (Role::Restored, false) => {
            "hold the running ChromaDB against the point through its API; undo: none needed"
        }
        (Role::Restored, true) | (Role::Dependent | Role::Offline | Role::Verified, _) => {
            "see that its workloads are ready and its CronJobs scheduled; undo: none needed"
        }
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
        Kind::Assess if seen.run.spec.scenario == Scenario::NetworkFailure => network::concerned(seen),
        Kind::Assess if seen.run.spec.scenario == Scenario::BackupVerification => {
            "look at points and the repository; undo: none needed".to_owned()
        }
        Kind::Report if seen.run.spec.scenario == Scenario::BackupVerification => {
            "count what was verified; undo: none needed".to_owned()
        }
        Kind::Assess => {
            "look at workloads, claims, volumes, points and the repository; undo: none needed".to_owned()
        }
        Kind::Isolate => isolation::foretell(seen),
        Kind::Sandbox => format!(
            "make namespace {}, deny all in it but what the rehearsal needs, and prove it with a probe that connected before; undo: remove it, as the run does in the end",
            seen.home()
        ),
        Kind::Stop if seen.run.spec.sandbox().is_some() => {
            "remember what is to be started in the sandbox; nothing of production is stopped".to_owned()
        }
        Kind::Stop => format!("stop {}; undo: start them", replicas()),
        Kind::RotateCredentials => rotate::foretell(seen),
        Kind::Audit => audit::foretell(seen),
        Kind::LiftIsolation => {
            "wait at gate LiftIsolation, then put back what was removed, as it was; undo: none needed"
                .to_owned()
        }
        Kind::Report if seen.run.spec.scenario == Scenario::NetworkFailure => {
            "measure the recovery time against the objectives; undo: none needed".to_owned()
        }
        Kind::Report => {
            "measure recovery time and data loss against the objectives; undo: none needed".to_owned()
        }
        Kind::Seal => format!(
            "seal {}, so that nothing is removed from it; undo: Unseal",
            evidence::names(seen).into_iter().collect::<Vec<_>>().join(", ")
        ),
        Kind::Unseal => {
            "wait at gate Unseal, then let captures and maintenance go on; undo: none needed".to_owned()
        }
        Kind::Protect => {
            "capture what was recovered, whose point has to become Available; undo: none needed".to_owned()
        }
        Kind::MarkPoints
        | Kind::Objects
        | Kind::Emergency
        | Kind::Quarantine
        | Kind::Preserve
        | Kind::CheckIntegrity
        | Kind::SelectPoint
        | Kind::Provision
        | Kind::Restore
        | Kind::VerifyOffline
        | Kind::Swap
        | Kind::Start
        | Kind::Validate
        | Kind::Diagnose
        | Kind::EnterOffline
        | Kind::Watch
        | Kind::LeaveOffline
        | Kind::VerifyPoints => String::new(),
    }
}

/// StorageClass of a new volume.
pub(crate) fn class<'a>(seen: &'a Observed, old: Option<&'a str>) -> Option<&'a str> {
    seen.run.spec.storage_class().map(String::as_str).or(old)
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
