//! What becomes of a capture, however its Jobs end and whenever the controller is killed.

use crds::condition;
use crds::job::{FailureReason, Report, Request};

use super::world::*;
use crate::effect::JobState;

#[test]
fn a_lost_report_is_looked_for_in_the_repository_and_never_called_failed_by_guess() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.end(JobState::Silent { why: "evicted".into() });
    world.settle();
    let name = world.running()[0].clone();
    assert!(
        matches!(&world.requests[&name], Request::Confirm { attempt, .. } if attempt == "u-1/20261123-091500/1")
    );
    assert!(condition::get(&world.status().conditions, "LastCaptureSucceeded").is_none());
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z"))));
    world.settle();
    assert_eq!(world.points.len(), 1);
    assert!(world.jobs.is_empty(), "{:?}", world.jobs);
}

#[test]
fn what_was_not_committed_is_captured_again_three_times_at_most() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    for attempt in 1..=3 {
        assert_eq!(world.status().active.as_ref().unwrap().attempt, attempt);
        world.end(JobState::Silent { why: "evicted".into() });
        world.settle();
        world.report(Report::NotCommitted);
        let plan = world.settle();
        if attempt < 3 {
            assert!(world.running().is_empty(), "it waits before the next attempt");
            world.wait(&plan);
            world.settle();
        }
    }
    world.is("LastCaptureSucceeded", "False", "MoverFailed");
    assert_eq!(world.status().consecutive_failures, 1);
    let captures = world.status().captures.as_ref().unwrap();
    assert_eq!((captures.succeeded, captures.failed), (0, 1), "three attempts are one capture");
    assert_eq!(world.status().last_attempt.as_ref().unwrap().attempts, 3);
    assert_eq!(world.status().active, None);
    assert!(world.jobs.is_empty(), "{:?}", world.jobs);
}

#[test]
fn a_permanent_failure_is_not_repeated_before_the_next_slot() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.report(failure(FailureReason::ChromaDBNotFound));
    let plan = world.settle();
    world.is("LastCaptureSucceeded", "False", "ChromaDBNotFound");
    world.is("SourceReady", "False", "ChromaDBNotFound");
    world.is("Ready", "False", "SourceNotReady");
    world.wait(&plan);
    world.settle();
    assert_eq!(world.running().len(), 1, "the next slot finds out whether it was mended");
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:30:03Z"))));
    world.settle();
    world.is("SourceReady", "True", "Found");
    world.is("Ready", "True", "Armed");
}

#[test]
fn a_torn_capture_is_tried_again_and_never_becomes_a_point() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.report(failure(FailureReason::Torn));
    let plan = world.settle();
    assert!(world.points.is_empty());
    world.wait(&plan);
    world.settle();
    assert_eq!(world.running().len(), 1);
    assert_eq!(world.status().active.as_ref().unwrap().attempt, 2);
}

/// How a Job may end, by what it was asked.
fn endings(confirming: bool) -> Vec<JobState> {
    let mut all = vec![
        JobState::Running { waiting: None },
        JobState::Running { waiting: Some("Unschedulable".into()) },
        JobState::Silent { why: "out of memory".into() },
        JobState::Ended(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z")))),
        JobState::Ended(Report::Captured(Box::new(suspect("p1", "2026-11-23T09:15:03Z")))),
        JobState::Ended(failure(FailureReason::Torn)),
        JobState::Ended(failure(FailureReason::BucketUnreachable)),
        JobState::Ended(failure(FailureReason::KeyMissing)),
        JobState::Ended(failure(FailureReason::ChromaDBNotFound)),
    ];
    if confirming {
        all.push(JobState::Ended(Report::NotCommitted));
    }
    all
}

/// Every way that up to three Jobs of one capture may end, with the controller killed after every single write.
#[test]
fn killed_after_any_write_a_capture_goes_on_and_ends_as_it_would_have() {
    fn walk(world: &World, depth: usize, seen: &mut usize) {
        let confirming = world.status().active.as_ref().is_some_and(|active| active.confirming);
        for ending in endings(confirming) {
            let still = matches!(ending, JobState::Running { .. });
            let mut straight = world.clone();
            straight.end(ending.clone());
            straight.settle();
            for writes in 0..8 {
                let mut killed = world.clone();
                killed.end(ending.clone());
                let plan = killed.plan();
                killed.carry_out(&plan, writes);
                killed.settle();
                assert_eq!(
                    killed.policy.status, straight.policy.status,
                    "killed after {writes} writes of {ending:?}"
                );
                assert_eq!(killed.points, straight.points);
                assert_eq!(
                    killed.jobs.keys().collect::<Vec<_>>(),
                    straight.jobs.keys().collect::<Vec<_>>(),
                    "killed after {writes} writes of {ending:?}"
                );
                *seen += 1;
            }
            if !still && depth > 0 && straight.status().active.is_some() {
                let mut next = straight;
                if next.running().is_empty() {
                    let not_before = next.status().active.as_ref().unwrap().not_before.unwrap();
                    next.now = not_before;
                    next.settle();
                }
                walk(&next, depth - 1, seen);
            }
        }
    }
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    let mut seen = 0;
    walk(&world, 2, &mut seen);
    assert!(seen > 300, "{seen}");
}
