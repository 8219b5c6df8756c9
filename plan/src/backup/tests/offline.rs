//! Captures with the workloads stopped: what is stopped is given back, whatever happens.

use crds::job::{FailureReason, Report, Request, SourceContent};
use crds::policy::{CaptureMethod, Offline};
use crds::reference::{WorkloadKind, WorkloadRef};
use jiff::SignedDuration;

use super::world::*;
use crate::backup::Plan;
use crate::effect::{EventKind, JobState, Next};
use crate::workload::{PodSeen, WorkloadSeen};

fn reference() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() }
}

fn pod() -> PodSeen {
    PodSeen {
        name: "chromadb-0".into(),
        claims: vec!["data-chromadb-0".into()],
        ended: false,
        lost_on: None,
        ready: true,
        restarts: 0,
    }
}

fn offline() -> World {
    let mut world = World::new("2026-11-23T09:15:00Z");
    let offline = Some(Offline::default());
    world.policy.spec.capture = CaptureMethod { live: None, offline, ..CaptureMethod::default() };
    world.workloads = vec![WorkloadSeen {
        workload: reference(),
        uid: "w".into(),
        resource_version: "1".into(),
        replicas: 1,
        ready: 1,
        pods: Some(1),
        deletes_claims: false,
        recreated: None,
    }];
    world.pods = vec![pod()];
    world
}

/// What the rest of the cluster does: pods follow the replicas.
fn turn(world: &mut World) {
    world.pods = if world.workloads[0].replicas == 0 { vec![] } else { vec![pod()] };
}

/// Reconciles, with the cluster doing its part, until a Job runs.
fn until_captured(world: &mut World) {
    for _ in 0..8 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
        turn(world);
        if !world.running().is_empty() {
            return;
        }
    }
    panic!("no Job: {:?}", world.status());
}

/// Nothing is stopped, and nothing holds the policy.
fn is_given_back(world: &World) {
    assert_eq!(world.workloads[0].replicas, 1);
    assert_eq!((&world.status().stopped, world.finalizer), (&None, false));
}

/// What a mover says that captured everything.
fn whole() -> Report {
    Report::Captured(Box::new(captured("p-1", "2026-11-23T09:15:10Z")))
}

fn told(plan: &Plan, reason: &str) -> String {
    let found = plan.events.iter().find(|event| event.reason == reason);
    found.unwrap_or_else(|| panic!("no {reason}: {:?}", plan.events)).message.clone()
}

#[test]
fn what_is_stopped_is_written_down_first_and_started_when_the_capture_ended() {
    let mut world = offline();
    let first = world.plan();
    assert!(first.scale.is_empty() && first.start.is_none(), "nothing is touched before it is written down");
    assert_eq!(told(&first, "WorkloadsStopped"), "chromadb 1->0 for capture 20261123-091500, 15m at most");
    until_captured(&mut world);
    let stopped = world.status().stopped.clone().unwrap();
    assert_eq!((stopped.workloads[0].replicas, stopped.user.uid), (1, Some(1000)));
    let Some(Request::Capture { source, .. }) = world.requests.values().next() else { panic!() };
    let SourceContent::ChromaDb { image, .. } = &source.content else { panic!("{source:?}") };
    assert_eq!(image, "chromadb/chroma@sha256:5b7e", "as its pod named it while there was one");
    world.now = at("2026-11-23T09:15:12Z");
    world.report(whole());
    world.settle();
    is_given_back(&world);
    assert_eq!(world.points.len(), 1);
    world.is("LastCaptureSucceeded", "True", "Captured");
    let message = &world.condition("LastCaptureSucceeded").message;
    assert!(message.ends_with("holds 40000 records; its workloads were stopped for 12s"), "{message}");
    world.is("Ready", "True", "Armed");
}

#[test]
fn i5_killed_after_any_write_everything_is_given_back_and_captured_once() {
    for killed in 0..16 {
        let mut world = offline();
        let mut left = killed;
        for _ in 0..20 {
            let plan = world.plan();
            left = world.carry_out(&plan, left);
            if left == 0 {
                // The next controller.
                left = usize::MAX;
            }
            turn(&mut world);
            if !world.running().is_empty() {
                world.report(whole());
            }
        }
        is_given_back(&world);
        assert_eq!((world.points.len(), world.requests.len()), (1, 1), "killed after {killed} writes");
    }
}

#[test]
fn i2_a_set_that_deletes_its_claims_when_scaled_is_never_scaled() {
    let mut world = offline();
    world.workloads[0].deletes_claims = true;
    let plan = world.settle();
    assert!(plan.scale.is_empty() && world.status().stopped.is_none());
    world.is("SourceReady", "False", "ClaimDeletedWhenScaled");
    world.is("Ready", "False", "SourceNotReady");
    let message = &world.condition("Ready").message;
    assert!(message.contains("whenScaled: Retain"), "{message}");
}

#[test]
fn pods_that_do_not_go_end_the_capture_and_not_the_service() {
    let mut world = offline();
    for _ in 0..4 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
    }
    assert!(world.jobs.is_empty(), "a pod has the volume still");
    assert!(world.condition("Reconciling").message.contains("chromadb-0"));
    let plan = world.plan();
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:30:00Z")));
    world.wait(&plan);
    let plan = world.plan();
    assert_eq!(told(&plan, "DeadlineExceeded").matches("chromadb-0").count(), 1);
    world.settle();
    is_given_back(&world);
    assert!(world.jobs.is_empty() && world.points.is_empty());
    assert_eq!(world.status().consecutive_failures, 1);
}

#[test]
fn unknown_is_not_stopped() {
    let mut world = offline();
    world.pods[0].lost_on = Some("node-1".into());
    for _ in 0..4 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
    }
    assert!(world.jobs.is_empty());
    assert!(world.condition("Reconciling").message.contains("whether it still writes is unknown"));
}

#[test]
fn a_mover_that_takes_too_long_is_ended_and_the_workloads_start() {
    let mut world = offline();
    until_captured(&mut world);
    let plan = world.plan();
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:30:00Z")));
    world.now = at("2026-11-23T09:30:00Z");
    world.settle();
    is_given_back(&world);
    assert!(world.jobs.is_empty());
    world.is("LastCaptureSucceeded", "False", "DeadlineExceeded");
}

#[test]
fn between_two_attempts_the_workloads_run() {
    let mut world = offline();
    until_captured(&mut world);
    world.report(failure(FailureReason::BucketUnreachable));
    let plan = world.settle();
    is_given_back(&world);
    turn(&mut world);
    world.wait(&plan);
    until_captured(&mut world);
    assert_eq!(world.status().active.as_ref().unwrap().attempt, 2);
    world.report(whole());
    world.settle();
    is_given_back(&world);
}

#[test]
fn the_search_for_a_lost_report_needs_nothing_to_be_stopped() {
    let mut world = offline();
    until_captured(&mut world);
    world.end(JobState::Silent { why: "evicted".into() });
    world.settle();
    is_given_back(&world);
    assert!(world.status().active.as_ref().unwrap().confirming);
}

#[test]
fn a_run_that_takes_the_component_gets_it_running() {
    let mut world = offline();
    for _ in 0..3 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
    }
    assert_eq!(world.workloads[0].replicas, 0);
    world.held_by = Some("db-2026-11-23".into());
    world.settle();
    is_given_back(&world);
    assert!(world.jobs.is_empty() && world.status().active.is_none());
}

#[test]
fn a_policy_that_goes_gives_back_what_it_owes_before_it_is_gone() {
    let mut world = offline();
    until_captured(&mut world);
    let first = world.plan_of(true);
    assert_eq!((first.scale[0].replicas, first.finalizer), (1, None));
    world.carry_out(&first, usize::MAX);
    let second = world.plan_of(true);
    assert_eq!((second.scale.len(), second.finalizer, second.start), (0, Some(false), None));
}

#[test]
fn what_its_owner_stopped_or_scaled_stays_so() {
    let mut world = offline();
    world.workloads[0].replicas = 0;
    world.pods.clear();
    until_captured(&mut world);
    world.report(whole());
    world.settle();
    assert_eq!((world.workloads[0].replicas, &world.status().stopped), (0, &None));

    let mut world = offline();
    until_captured(&mut world);
    world.workloads[0].replicas = 3;
    world.report(whole());
    let plan = world.settle();
    assert_eq!(world.workloads[0].replicas, 3, "never fewer than somebody gave it");
    assert!(plan.events.iter().all(|event| event.kind == EventKind::Normal));
    assert!(world.now.duration_since(at("2026-11-23T09:15:00Z")) < SignedDuration::from_mins(15));
}

#[test]
fn a_policy_that_becomes_live_meanwhile_starts_what_it_stopped() {
    let mut world = offline();
    for _ in 0..3 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
    }
    assert_eq!(world.workloads[0].replicas, 0);
    world.policy.spec.capture = CaptureMethod::default();
    world.source =
        Err(crate::backup::source::Problem { reason: "PodNotRunning", message: "it is stopped".into() });
    world.settle();
    is_given_back(&world);
}

#[test]
fn a_pod_that_has_ended_is_waited_for_only_when_its_node_can_not_be_asked() {
    let captured = |pod: PodSeen| {
        let mut world = offline();
        world.pods = vec![pod];
        for _ in 0..4 {
            let plan = world.plan();
            world.workloads[0].replicas = 0;
            if plan.start.is_some() {
                return true;
            }
            world.policy.status = Some(plan.status);
            world.finalizer = true;
        }
        false
    };
    let ended = PodSeen { ended: true, ready: false, ..pod() };
    assert!(captured(ended.clone()), "the history of a CronJob holds up nothing");
    assert!(!captured(PodSeen { lost_on: Some("node-1".into()), ..ended }));
    assert!(!captured(pod()));
}
