//! Emergency captures, beside whatever else the policy does.

use crds::job::{FailureReason, Report, Request, SourceContent};
use crds::point::PointPhase;
use crds::policy::{EmergencyCapture, Origin, PolicyMode};
use crds::reference::{EMERGENCY_REQUESTED_AT, NameRef};
use jiff::SignedDuration;

use super::world::*;
use crate::backup::source::Problem;
use crate::effect::JobState;

const ASKED: &str = "2026-11-23T09:20:00Z";

/// Somebody asks for one, of a policy whose last capture was taken.
fn asked() -> World {
    let mut world = World::new(ASKED);
    world.points.push(stored("p1", "2026-11-23T09:15:00Z", PointPhase::Available));
    world.policy.status = Some(crds::policy::BackupPolicyStatus {
        last_slot: Some(at("2026-11-23T09:15:00Z")),
        ..Default::default()
    });
    ask(&mut world, ASKED);
    world
}

fn ask(world: &mut World, time: &str) {
    let annotations = world.policy.metadata.annotations.get_or_insert_default();
    annotations.insert(EMERGENCY_REQUESTED_AT.into(), time.into());
}

/// The Job of the emergency capture that runs.
fn running(world: &World) -> Option<String> {
    world.running().into_iter().find(|name| name.contains("-emergency")).cloned()
}

fn end(world: &mut World, state: JobState) {
    let name = running(world).expect("it runs");
    world.jobs.insert(name, state);
}

fn preserved(id: &str) -> Report {
    Report::Preserved(Box::new(emergency(id, "2026-11-23T09:20:05Z")))
}

fn request(world: &World) -> (Vec<String>, bool, SourceContent) {
    match &world.requests[&running(world).unwrap()] {
        Request::Preserve { source, stopped, .. } => {
            (source.claims.clone(), *stopped, source.content.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_can_be_read_is_captured_once_and_recorded_as_what_it_is() {
    let mut world = asked();
    let plan = world.plan();
    let job = plan.emergency.clone().unwrap();
    assert!(job.sources.values().all(|volume| volume.read_only), "nothing is written");
    assert!(
        matches!(&job.before[..], [Request::Collect { logs_since, .. }] if *logs_since == SignedDuration::from_hours(24))
    );
    assert_eq!(job.service_account.as_ref().unwrap().name, "hf-collect-u-1");
    world.settle();
    let chroma =
        SourceContent::ChromaDb { data_path: String::new(), image: "chromadb/chroma@sha256:5b7e".into() };
    assert_eq!(request(&world), (vec!["data-chromadb-0".into()], false, chroma));
    end(&mut world, JobState::Ended(preserved("e1")));
    world.settle();
    world.is("EmergencyCaptured", "True", "CapturedInPart");
    let told = &world.condition("EmergencyCaptured").message;
    assert!(told.starts_with("chromadb-20261123-092005 holds 8 files, 5 objects and 3 files of evidence; it is an emergency capture"), "{told}");
    let point = world.points.iter().find(|point| point.spec.id == "e1").unwrap();
    let status = point.status.as_ref().unwrap();
    assert_eq!((status.phase, status.origin), (Some(PointPhase::Quarantined), Some(Origin::Emergency)));
    let last = world.status().emergency.clone().unwrap().last.unwrap();
    assert_eq!((last.point.as_deref(), last.missing), (Some("chromadb-20261123-092005"), 3));
    assert_eq!(
        world.status().last_point.as_ref().unwrap().consistency_time,
        at("2026-11-23T09:15:00Z"),
        "it is not the newest"
    );
    assert_eq!(world.status().points, 2);
    assert!(world.jobs.is_empty());
    // A tool writes the old value back.
    world.settle();
    assert!(world.plan().emergency.is_none());
    ask(&mut world, "2026-11-23T09:19:00Z");
    assert!(world.plan().emergency.is_none());
}

#[test]
fn killed_after_every_write_it_is_captured_once() {
    for writes in 1..12 {
        let mut world = asked();
        let mut ended = false;
        for _ in 0..40 {
            let plan = world.plan();
            world.carry_out(&plan, writes);
            if !ended && running(&world).is_some() {
                end(&mut world, JobState::Ended(preserved("e1")));
                ended = true;
            }
        }
        assert_eq!(world.points.iter().filter(|point| point.spec.id == "e1").count(), 1, "{writes}");
        assert!(world.points.iter().all(|point| point.status.is_some()), "{writes}");
        assert!(
            world.jobs.is_empty() && world.status().emergency.as_ref().unwrap().active.is_none(),
            "{writes}"
        );
        assert_eq!(world.requests.len(), 1, "{writes}");
    }
}

#[test]
fn killed_at_any_single_write_a_lost_report_is_looked_for_and_found() {
    for killed in 0..10 {
        let mut world = asked();
        let (mut step, mut confirmed) = (0, false);
        for _ in 0..40 {
            let plan = world.plan();
            let writes = if step == killed { 1 } else { usize::MAX };
            step += 1;
            world.carry_out(&plan, writes);
            world.now += SignedDuration::from_mins(5);
            world.policy.spec.mode = PolicyMode::Suspended;
            let Some(name) = running(&world) else { continue };
            let state = match (&world.requests[&name], confirmed) {
                (Request::Preserve { .. }, _) => JobState::Silent { why: "evicted".into() },
                (_, false) => {
                    confirmed = true;
                    JobState::Silent { why: "evicted".into() }
                }
                (_, true) => JobState::Ended(preserved("e1")),
            };
            world.jobs.insert(name, state);
        }
        assert_eq!(world.points.iter().filter(|point| point.spec.id == "e1").count(), 1, "{killed}");
        assert!(world.jobs.is_empty(), "{killed}: {:?}", world.jobs);
    }
}

#[test]
fn nothing_that_parks_a_capture_holds_it_up_and_it_holds_up_none() {
    let mut worlds = [asked(), asked(), asked(), asked()];
    worlds[0].policy.spec.mode = PolicyMode::Suspended;
    worlds[1].held_by = Some("total".into());
    worlds[2].source = Err(Problem { reason: "PodNotRunning", message: "no pod mounts it".into() });
    worlds[3].shared_with = Some("older".into());
    for mut world in worlds {
        world.settle();
        assert!(running(&world).is_some(), "{:?}", world.status().conditions);
        end(&mut world, JobState::Ended(preserved("e1")));
        world.settle();
        world.is("EmergencyCaptured", "True", "CapturedInPart");
    }
    let mut world = asked();
    world.settle();
    world.now = at("2026-11-23T09:32:00Z");
    world.settle();
    assert_eq!(world.running().len(), 2, "the next slot is captured beside it");
    let capture = world.running().into_iter().find(|name| name.contains("-capture-")).unwrap().clone();
    world
        .jobs
        .insert(capture, JobState::Ended(Report::Captured(Box::new(captured("p2", "2026-11-23T09:32:02Z")))));
    end(&mut world, JobState::Ended(preserved("e1")));
    world.settle();
    assert_eq!(world.points.len(), 3);
    assert_eq!(world.status().last_point.as_ref().unwrap().name, "chromadb-20261123-093202");
}

#[test]
fn volumes_that_can_not_be_mounted_are_left_out_at_the_next_attempt() {
    let mut world = asked();
    let plan = world.settle();
    world.wait(&plan);
    assert_eq!(world.now, at("2026-11-23T09:25:00Z"));
    world.settle();
    assert_eq!(world.running().len(), 1, "the first one is removed");
    let (claims, _, content) = request(&world);
    assert_eq!((claims.as_slice(), content), ([].as_slice(), SourceContent::Application));
    let Request::Collect { missing, .. } = &world.plan().emergency.map_or_else(
        || Request::Collect {
            namespace: String::new(),
            workloads: vec![],
            claims: vec![],
            logs_since: SignedDuration::ZERO,
            within: SignedDuration::ZERO,
            missing: vec![],
        },
        |job| job.before[0].clone(),
    ) else {
        panic!()
    };
    assert!(missing.is_empty(), "nothing more is started");
    end(&mut world, JobState::Ended(preserved("e1")));
    world.settle();
    world.is("EmergencyCaptured", "True", "CapturedInPart");

    // One whose pod runs has the time that it needs.
    let mut world = asked();
    let plan = world.settle();
    world.emergency_turns = vec![Some(Report::Collected(Default::default())), None];
    world.wait(&plan);
    world.now += SignedDuration::from_mins(10);
    world.policy.spec.mode = PolicyMode::Suspended;
    world.settle();
    assert!(!request(&world).0.is_empty());
}

#[test]
fn what_may_pass_is_tried_again_with_the_volumes_and_what_may_not_without_them() {
    let mut world = asked();
    world.policy.spec.mode = PolicyMode::Suspended;
    world.settle();
    end(&mut world, JobState::Ended(failure(FailureReason::BucketUnreachable)));
    let plan = world.settle();
    assert!(world.jobs.is_empty());
    world.wait(&plan);
    world.settle();
    assert!(!request(&world).0.is_empty());
    end(&mut world, JobState::Ended(failure(FailureReason::ScratchFull)));
    world.settle();
    assert!(request(&world).0.is_empty(), "{:?}", world.condition("EmergencyCaptured"));
    end(&mut world, JobState::Ended(failure(FailureReason::KeyMismatch)));
    world.settle();
    world.is("EmergencyCaptured", "False", "KeyMismatch");
    let told = &world.condition("EmergencyCaptured").message;
    assert!(
        told.contains("after 3 attempts nothing was captured") && told.contains(EMERGENCY_REQUESTED_AT),
        "{told}"
    );
    assert!(world.status().emergency.as_ref().unwrap().active.is_none() && world.points.len() == 1);
}

#[test]
fn it_goes_to_the_repository_that_was_named_when_it_began() {
    let mut world = asked();
    let vault = |ready: &str| {
        let mut vault = primary();
        vault.metadata.name = Some("vault".into());
        vault.spec.s3.as_mut().unwrap().bucket = "elsewhere".into();
        vault.status.as_mut().unwrap().conditions[0].status = ready.into();
        vault
    };
    let named =
        EmergencyCapture { repository_ref: Some(NameRef::new("vault")), ..EmergencyCapture::default() };
    world.policy.spec.emergency = Some(named);
    world.policy.spec.mode = PolicyMode::Suspended;
    world.settle();
    world.is("EmergencyCaptured", "Unknown", "WaitingForRepository");
    world.vault = Some(vault("False"));
    world.settle();
    assert!(running(&world).is_none());
    world.vault = Some(vault("True"));
    world.settle();
    let Request::Preserve { repository, .. } = &world.requests[&running(&world).unwrap()] else { panic!() };
    let crds::job::RepositoryPlace::S3 { bucket, .. } = &repository.place else { panic!("{repository:?}") };
    assert_eq!(bucket, "elsewhere");
    world.policy.spec.emergency = None;
    end(&mut world, JobState::Ended(preserved("e1")));
    world.settle();
    let point = world.points.iter().find(|point| point.spec.id == "e1").unwrap();
    assert_eq!(point.spec.repository_ref.name, "vault");
}

#[test]
fn a_request_that_is_no_time_is_said_and_one_that_lies_ahead_waits() {
    let mut world = asked();
    ask(&mut world, "now");
    world.settle();
    world.is("EmergencyRequestAccepted", "False", "InvalidTime");
    ask(&mut world, "2026-11-23T09:21:00Z");
    let plan = world.settle();
    assert!(running(&world).is_none() && world.status().emergency.is_none());
    assert!(!world.status().conditions.iter().any(|known| known.type_ == "EmergencyRequestAccepted"));
    world.wait(&plan);
    world.settle();
    assert!(running(&world).is_some());
}

#[test]
fn of_a_policy_that_goes_nothing_is_started_any_more() {
    let mut world = asked();
    world.settle();
    let plan = world.plan_of(true);
    assert!(plan.emergency.is_none() && plan.status.emergency.unwrap().active.is_none());
}
