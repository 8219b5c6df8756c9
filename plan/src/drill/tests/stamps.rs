//! Points that a drill has restored and validated.

use crds::point::PointPhase;
use crds::run::{StepPhase, StepStatus};

use super::*;

fn step(word: &str, policy: &str, phase: StepPhase) -> StepStatus {
    StepStatus {
        name: format!("{word}/{policy}"),
        policy: Some(policy.into()),
        phase,
        start: None,
        end: (phase != StepPhase::Waiting).then(|| at("2026-11-23T09:47:00Z")),
        attempts: 1,
        message: String::new(),
        reason: None,
    }
}

fn recorded(name: &str) -> RecoveryPoint {
    let mut point: RecoveryPoint = serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": name},
        "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": name},
    }))
    .unwrap();
    point.status.get_or_insert_default().phase = Some(PointPhase::Available);
    point
}

/// A run with a point of two components, of which one came back.
fn half(verify: StepPhase, validate: StepPhase) -> RecoveryRunStatus {
    let mut status = ended(&[("Failed", "True", "StepFailed")]);
    let time = at("2026-11-23T09:30:00Z");
    status.points = vec![point("chromadb", "c-1", time), point("ai-scholar", "a-1", time)];
    status.steps = vec![
        step("VerifyOffline", "chromadb", verify),
        step("Validate", "chromadb", validate),
        step("VerifyOffline", "ai-scholar", StepPhase::Done),
        step("Start", "ai-scholar", StepPhase::Failed),
        step("Validate", "ai-scholar", StepPhase::Waiting),
    ];
    status
}

#[test]
fn a_point_of_a_component_that_came_back_is_verified_and_no_other() {
    for (verify, validate, stamped) in [
        (StepPhase::Done, StepPhase::Done, true),
        (StepPhase::Skipped, StepPhase::Done, false),
        (StepPhase::Done, StepPhase::Skipped, false),
        (StepPhase::Done, StepPhase::Failed, false),
    ] {
        let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
        world.points = vec![recorded("c-1"), recorded("a-1")];
        world.ask();
        world.settle();
        world.end(half(verify, validate));
        world.settle();
        let known = |index: usize| world.points[index].status.as_ref().unwrap().verification.clone();
        assert_eq!(known(0).is_some(), stamped, "{verify:?} {validate:?}");
        assert_eq!(known(1), None);
        if let Some(known) = known(0) {
            assert_eq!((known.verdict, known.by.as_str()), (Verdict::Passed, "run/db-20261123-094000"));
            assert_eq!(known.time, at("2026-11-23T09:47:00Z"), "when it was validated");
        }
    }
}

#[test]
fn a_run_is_kept_until_its_points_are_stamped_and_a_point_that_is_gone_holds_nothing_up() {
    let mut spec = monthly();
    spec["history"] = json!({"passed": 1, "failed": 1});
    let mut world = World::new(spec, "2026-11-23T09:40:00Z");
    world.points = vec![recorded("c-1")];
    for _ in 0..3 {
        world.ask();
        world.settle();
        world.end(half(StepPhase::Done, StepPhase::Done));
        let plan = world.plan();
        assert!(plan.stamps.is_empty() || plan.remove.is_empty());
        world.settle();
        world.now += SignedDuration::from_hours(1);
    }
    assert_eq!(world.runs.len(), 1);
    world.points.clear();
    assert!(world.plan().stamps.is_empty());
}
