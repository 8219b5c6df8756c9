//! That the one capture that a run waits for is taken although the run holds the policy, and no other.

use crds::job::{FailureReason, Report};
use crds::policy::{Origin, PolicyMode, RunCapture};

use super::world::*;
use crate::backup::fresh::Asked;
use crate::effect::JobState;

const RUN: &str = "db-2026-11-23";

fn held() -> World {
    let mut world = World::new("2026-11-23T09:46:00Z");
    world.held_by = Some(RUN.into());
    world
}

fn asked() -> World {
    let mut world = held();
    world.fresh = Some(Asked { run: "run-uid".into(), at: at("2026-11-23T09:45:59.250Z") });
    world
}

fn answer(world: &World) -> Option<RunCapture> {
    world.status().run_capture.clone()
}

/// To the end, killed after every so many writes.
fn carried(writes: usize, report: &dyn Fn() -> JobState) -> World {
    let mut world = asked();
    for _ in 0..200 {
        let plan = world.plan();
        world.carry_out(&plan, writes);
        if !world.running().is_empty() {
            world.end(report());
        }
        if let crate::effect::Next::At(time) = plan.next {
            world.now = world.now.max(time.min(at("2026-11-23T09:55:00Z")));
        }
    }
    world
}

#[test]
fn it_is_taken_while_the_run_holds_the_policy_once_and_nothing_else_is() {
    let mut world = held();
    world.settle();
    assert!(world.jobs.is_empty());
    for writes in [1, 2, 3, usize::MAX] {
        let taken = || JobState::Ended(Report::Captured(Box::new(captured("f1", "2026-11-23T09:46:05Z"))));
        let world = carried(writes, &taken);
        assert_eq!(world.requests.len(), 1, "one Job for it and none for the slots that are due");
        assert_eq!(world.points.len(), 1);
        assert_eq!(world.points[0].status.as_ref().unwrap().origin, Some(Origin::Run));
        let answer = answer(&world).unwrap();
        assert_eq!(answer.point, world.points[0].metadata.name);
        assert_eq!((answer.run.as_str(), answer.reason.as_str()), ("run-uid", "Captured"));
        assert_eq!(answer.requested_at, at("2026-11-23T09:45:59.250Z"));
        world.is("Ready", "False", "HeldByRun");
    }
}

#[test]
fn what_fails_for_good_or_is_found_broken_is_answered_with_its_reason_and_without_a_point() {
    let failed = || JobState::Ended(failure(FailureReason::InvalidRequest));
    let world = carried(1, &failed);
    assert_eq!(answer(&world).map(|a| (a.point, a.reason)), Some((None, "InvalidRequest".to_owned())));
    let broken = || JobState::Ended(Report::Captured(Box::new(suspect("f1", "2026-11-23T09:46:05Z"))));
    let world = carried(1, &broken);
    assert_eq!(answer(&world).map(|a| (a.point, a.reason)), Some((None, "OfflineCheckFailed".to_owned())));
}

#[test]
fn neither_a_suspended_policy_nor_a_closed_repository_is_opened_by_it() {
    for close in [
        (|w: &mut World| w.policy.spec.mode = PolicyMode::Suspended) as fn(&mut World),
        |w| w.repository.as_mut().unwrap().spec.mode = crds::repository::RepositoryMode::Sealed,
        |w| w.shared_with = Some("older".into()),
    ] {
        let mut world = asked();
        close(&mut world);
        world.settle();
        assert!(world.jobs.is_empty() && answer(&world).is_none());
    }
}

#[test]
fn one_that_another_run_asked_for_is_withdrawn_and_answers_nobody() {
    let mut world = asked();
    let plan = world.plan();
    world.carry_out(&plan, 1);
    assert!(world.status().active.is_some() && world.jobs.is_empty());
    world.fresh = Some(Asked { run: "younger".into(), at: at("2026-11-23T09:50:00Z") });
    world.now = at("2026-11-23T09:50:01Z");
    world.settle();
    let active = world.status().active.clone().unwrap();
    assert_eq!(active.slot, "f20261123-095000000");
    // The run is over before it ends: the capture counts as any other.
    (world.held_by, world.fresh) = (None, None);
    world.report(Report::Captured(Box::new(captured("f2", "2026-11-23T09:50:05Z"))));
    world.settle();
    assert!(answer(&world).is_none() && world.points.len() == 1);
}
