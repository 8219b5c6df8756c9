//! Why no capture starts, and that it heals by itself.

use std::collections::BTreeMap;

use crds::policy::PolicyMode;

use super::world::*;
use crate::backup::source::Problem;
use crate::backup::{Observed, plan};
use crate::effect::{JobState, Next};

type Change = fn(&mut World);

#[test]
fn whatever_parks_a_policy_is_said_and_heals_by_itself() {
    let cases: [(Change, &str, &str); 10] = [
        (|w| w.repository = None, "RepositoryNotReady", "does not exist"),
        (|w| w.repository.as_mut().unwrap().status = None, "RepositoryNotReady", "was not probed yet"),
        (
            |w| w.repository.as_mut().unwrap().spec.mode = crds::repository::RepositoryMode::ReadOnly,
            "RepositoryNotReady",
            "ReadWrite",
        ),
        (
            |w| w.repository.as_mut().unwrap().spec.mode = crds::repository::RepositoryMode::Sealed,
            "RepositoryNotReady",
            "is Sealed",
        ),
        (
            |w| {
                let status = w.repository.as_mut().unwrap().status.as_mut().unwrap();
                let since = "2026-11-23T08:00:00Z".parse().unwrap();
                let (by, reason) = ("run/breach".into(), "INC-2041".into());
                status.seal = Some(crds::repository::SealMark { by, reason, since });
            },
            "RepositoryNotReady",
            "is Sealed",
        ),
        (
            |w| {
                let ready = &mut w.repository.as_mut().unwrap().status.as_mut().unwrap().conditions[0];
                (ready.status, ready.reason) = ("False".into(), "BucketUnreachable".into());
            },
            "RepositoryNotReady",
            "BucketUnreachable",
        ),
        (
            |w| w.source = Err(Problem { reason: "ClaimPending", message: "claim x is Pending".into() }),
            "SourceNotReady",
            "Pending",
        ),
        (|w| w.shared_with = Some("older".into()), "VolumeShared", "older"),
        (|w| w.held_by = Some("db-2026-11-23".into()), "HeldByRun", "db-2026-11-23"),
        (|w| w.policy.spec.mode = PolicyMode::Suspended, "Suspended", "Suspended"),
    ];
    for (park, reason, message) in cases {
        let mut world = World::new("2026-11-23T09:46:00Z");
        park(&mut world);
        world.settle();
        assert!(world.jobs.is_empty(), "{reason}");
        world.is("Ready", "False", reason);
        assert!(world.condition("Ready").message.contains(message), "{}", world.condition("Ready").message);
        assert_eq!(world.status().last_slot, None, "what is due stays due");
        // Healed.
        let status = world.policy.status.clone();
        world = World { jobs: BTreeMap::new(), ..World::new("2026-11-23T09:47:00Z") };
        world.policy.status = status;
        world.settle();
        world.is("Ready", "True", "Armed");
        assert_eq!(world.running().len(), 1, "{reason}: the missed slots are made up for");
    }
}

#[test]
fn a_circle_of_dependencies_is_said_and_keeps_nobody_from_capturing() {
    let mut world = World::new("2026-11-23T09:46:00Z");
    world.circle = Some("ai-scholar -> chromadb -> ai-scholar".into());
    world.settle();
    world.is("Ready", "False", "DependencyCycle");
    let said = world.condition("Ready").message.clone();
    assert!(
        said.starts_with("ai-scholar -> chromadb -> ai-scholar: ") && said.ends_with("dependsOn"),
        "{said}"
    );
    assert_eq!(world.running().len(), 1);
    world.circle = None;
    world.settle();
    world.is("Ready", "True", "Armed");
}

#[test]
fn a_check_that_no_recovery_could_make_is_said_long_before_and_keeps_nobody_from_capturing() {
    let look = |expression: &str| {
        let object = serde_json::json!({"kind": "Deployment", "name": "scholar"});
        serde_json::json!([{"name": "both", "status": {"objectRef": object, "expression": expression}}])
    };
    let command = serde_json::json!([{"name": "both", "exec": {"command": ["true"]}}]);
    for (checks, hooks, said) in [
        (look("object.status."), true, Some(("InvalidSpec", "spec.checks both: status.expression"))),
        (command.clone(), false, Some(("HooksNotAllowed", "hooks.enabled=true"))),
        (look("object.status.readyReplicas == 2"), false, None),
        (command, true, None),
    ] {
        let mut world = World::new("2026-11-23T09:46:00Z");
        world.policy.spec.checks = serde_json::from_value(checks).unwrap();
        world.hooks_allowed = hooks;
        world.settle();
        match said {
            Some((reason, message)) => {
                world.is("Ready", "False", reason);
                assert!(world.condition("Ready").message.contains(message));
            }
            None => world.is("Ready", "True", "Armed"),
        }
        assert_eq!(world.running().len(), 1);
    }
}

#[test]
fn a_capture_announced_but_not_started_is_withdrawn_when_a_run_takes_the_component() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    let plan = world.plan();
    world.carry_out(&plan, 1);
    assert!(world.jobs.is_empty() && world.status().active.is_some());
    world.held_by = Some("db-2026-11-23".into());
    world.settle();
    assert!(world.jobs.is_empty());
    assert_eq!(world.status().active, None);
}

#[test]
fn an_image_that_cannot_be_pulled_is_said() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.end(JobState::Running { waiting: Some("pod x waits: ImagePullBackOff".into()) });
    world.settle();
    world.is("Reconciling", "True", "Progressing");
    assert!(world.condition("Reconciling").message.contains("ImagePullBackOff"));
}

#[test]
fn nothing_starts_in_a_terminating_namespace() {
    let policy = policy();
    let repository = primary();
    let plan = plan(&Observed {
        policy: &policy,
        terminating: true,
        namespace_terminating: true,
        finalizer: true,
        repository: Some(&repository),
        source: found(),
        workloads: &[],
        pods: &[],
        shared_with: None,
        circle: None,
        snapshots: Default::default(),
        hooks_allowed: true,
        hook_job: JobState::Absent,
        held_by: None,
        fresh: None,
        job: JobState::Absent,
        turns: vec![],
        emergency: crate::backup::emergency::Seen {
            repository: None,
            readable: None,
            job: JobState::Absent,
            turns: vec![],
        },
        ended_jobs: vec![],
        points: &[],
        now: at("2026-11-23T10:00:00Z"),
    });
    assert_eq!((plan.start, plan.record, plan.next), (None, None, Next::OnChange));
    assert_eq!(plan.finalizer, Some(false), "nothing holds it back");
}
