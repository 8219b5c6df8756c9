//! Captures that read snapshots: how they were cut is written down, and nothing of them stays.

use crds::job::{FailureReason, Report, Request};
use crds::policy::{CaptureMethod, Cut, Snapshot};
use jiff::{SignedDuration, Timestamp};

use super::world::*;
use crate::backup::snapshot::{Class, Made, Seen, SnapshotSeen, VolumeSeen};
use crate::backup::source::Content;
use crate::effect::{JobState, MoverJob, Next};

const DRIVER: &str = "csi.example.com";

pub(super) fn by_snapshot() -> World {
    let mut world = World::new("2026-11-23T09:15:00Z");
    let snapshot = Some(Snapshot::default());
    world.policy.spec.capture = CaptureMethod { live: None, snapshot, ..CaptureMethod::default() };
    let class =
        |name: &str, default| Class { name: name.into(), driver: DRIVER.into(), default, deletes: true };
    world.snapshots.classes = Some(vec![class("slow", false), class("quick", true)]);
    for claim in ["cache", "data", "data-chromadb-0"] {
        let volume = VolumeSeen {
            driver: Some(DRIVER.into()),
            storage_class: Some("standard".into()),
            size: Some("1Gi".into()),
        };
        world.snapshots.volumes.insert(claim.into(), volume);
    }
    world
}

fn of_application() -> World {
    let mut world = by_snapshot();
    world.policy.spec.component.chroma_db = None;
    world.policy.spec.component.application = Some(crds::policy::Application::default());
    let mut found = found().unwrap();
    found.claims = vec!["cache".into(), "data".into()];
    found.content = Content::Application;
    world.source = Ok(found);
    world
}

fn how(now: Timestamp) -> Cut {
    Cut {
        at: now + SignedDuration::from_secs(2),
        until: now + SignedDuration::from_secs(3),
        held_ms: 700,
        attempts: 1,
        filesystem: "ext4".into(),
    }
}

fn seen(name: &str, ready: bool) -> SnapshotSeen {
    let made = Made { name: name.into(), uid: format!("{name}-uid"), deleting: false };
    SnapshotSeen { made, ready, error: None, size: Some("1Gi".into()) }
}

/// What the running mover does: the storage cuts what it was asked for, or the point is committed.
fn work(world: &mut World, ready: bool) {
    let running = world.running()[0].clone();
    match world.requests[&running].clone() {
        Request::Cut { snapshots, .. } => {
            world.snapshots.made.extend(snapshots.names.values().map(|name| seen(name, ready)));
            world.report(Report::Cut(how(world.now)));
        }
        Request::Capture { cut, .. } => {
            let stage = world.status().active.clone().and_then(|active| active.snapshot);
            assert!(cut.is_some() && cut == stage.and_then(|stage| stage.cut), "it says how it was cut");
            world.report(whole());
        }
        other => panic!("{other:?}"),
    }
}

fn whole() -> Report {
    Report::Captured(Box::new(captured("p-1", "2026-11-23T09:15:02Z")))
}

fn become_ready(world: &mut World) {
    world.snapshots.made.iter_mut().for_each(|snapshot| snapshot.ready = true);
}

/// Reconciles until a Job runs, and returns how it was asked for.
fn started(world: &mut World) -> MoverJob {
    for _ in 0..6 {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
        if let Some(job) = plan.start {
            return *job;
        }
    }
    panic!("no Job: {:?}", world.status());
}

fn nothing_is_left(world: &World) {
    let Seen { made, clones, .. } = &world.snapshots;
    assert!(made.is_empty() && clones.is_empty(), "{made:?}, {clones:?}");
}

#[test]
fn the_storage_cuts_while_writers_are_held_and_a_clone_is_read_afterwards() {
    let mut world = by_snapshot();
    let cut = started(&mut world);
    let Request::Cut { snapshots, chroma_db: Some(held), .. } = &cut.request else { panic!("{cut:?}") };
    assert_eq!((snapshots.class.as_str(), held.claim.as_str()), ("quick", "data-chromadb-0"));
    assert_eq!(snapshots.owner.uid, "u-1");
    assert!(cut.keys.is_none() && cut.objects.is_none(), "who has a token has no key");
    assert!(cut.service_account.is_some() && !cut.sources["data-chromadb-0"].read_only);
    assert_eq!(cut.place.node.as_deref(), Some("node-1"));
    world.is("SourceReady", "True", "Found");
    let message = &world.condition("SourceReady").message;
    assert_eq!(message, "claim data-chromadb-0 of pod chromadb-0, by snapshots of class quick");

    work(&mut world, false);
    let plan = world.settle();
    assert!(world.running().is_empty(), "it can't be read yet");
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:25:03Z")), "10m after the cut");
    assert!(world.condition("Reconciling").message.contains("can't be read yet"));

    become_ready(&mut world);
    let read = started(&mut world);
    assert!(read.service_account.is_none() && read.keys.is_some(), "who has a key has no token");
    let clone = &read.sources["data-chromadb-0"];
    assert!(clone.read_only && clone.claim == world.snapshots.clones[0].name);
    assert_eq!(read.place.node, None, "a clone can be mounted anywhere");
    work(&mut world, true);
    world.settle();
    world.is("LastCaptureSucceeded", "True", "Captured");
    assert_eq!((world.points.len(), &world.status().active), (1, &None));
    nothing_is_left(&world);
}

#[test]
fn of_several_tries_only_the_last_is_read_and_none_is_swept_while_the_mover_cuts() {
    let mut world = by_snapshot();
    let cut = started(&mut world);
    let Request::Cut { snapshots, .. } = &cut.request else { panic!("{cut:?}") };
    let base = &snapshots.names["data-chromadb-0"];
    let (second, third) = (format!("{base}-2"), format!("{base}-3"));
    world.snapshots.made = [base, &second, &third].map(|name| seen(name, true)).to_vec();
    world.settle();
    assert_eq!(world.snapshots.made.len(), 3, "its mover may be at any of them");
    world.report(Report::Cut(Cut { attempts: 3, ..how(world.now) }));
    let read = started(&mut world);
    assert_eq!(read.sources["data-chromadb-0"].claim, third);
    let left: Vec<_> = world.snapshots.made.iter().map(|snapshot| &snapshot.made.name).collect();
    assert_eq!(left, [&third]);
}

#[test]
fn a_clone_is_as_its_volume_is() {
    let mut world = by_snapshot();
    started(&mut world);
    work(&mut world, true);
    let plan = (0..4).map(|_| {
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
        plan
    });
    let clone = plan.flat_map(|plan| plan.clones).next().expect("a clone");
    assert_eq!((clone.class.as_deref(), clone.size.as_str()), (Some("standard"), "1Gi"));
    assert_eq!(clone.labels["holdfast.dev/policy"], "chromadb");
}

#[test]
fn volumes_of_an_application_are_cut_without_mounting_them() {
    let mut world = of_application();
    let cut = started(&mut world);
    let Request::Cut { snapshots, chroma_db: None, .. } = &cut.request else { panic!("{cut:?}") };
    assert_eq!(snapshots.names.keys().collect::<Vec<_>>(), ["cache", "data"]);
    assert_eq!((cut.sources.len(), &cut.place.node, cut.identity.uid), (0, &None, None));
    work(&mut world, true);
    let read = started(&mut world);
    assert_eq!(read.sources.keys().collect::<Vec<_>>(), ["cache", "data"]);
    world.report(whole());
    world.settle();
    nothing_is_left(&world);
}

#[test]
fn what_has_no_volume_needs_no_snapshot() {
    let mut world = of_application();
    world.source.as_mut().unwrap().claims.clear();
    world.snapshots.classes = None;
    let job = started(&mut world);
    assert!(matches!(job.request, Request::Capture { cut: None, .. }));
}

#[test]
fn i5_killed_after_any_write_one_point_is_recorded_and_nothing_of_the_snapshots_stays() {
    for fails in [false, true] {
        for killed in 0..24 {
            let mut world = by_snapshot();
            let (mut left, mut failed) = (killed, !fails);
            for _ in 0..30 {
                let plan = world.plan();
                left = world.carry_out(&plan, left);
                if left == 0 {
                    // The next controller.
                    left = usize::MAX;
                }
                become_ready(&mut world);
                if !world.running().is_empty() {
                    let reads = !world.snapshots.clones.is_empty();
                    if reads && !failed {
                        failed = true;
                        world.report(failure(FailureReason::BucketUnreachable));
                    } else {
                        work(&mut world, false);
                    }
                } else {
                    let active = world.policy.status.as_ref().and_then(|status| status.active.as_ref());
                    world.now =
                        active.and_then(|active| active.not_before).unwrap_or(world.now).max(world.now);
                }
            }
            let told = format!("killed after {killed} writes, fails: {fails}");
            assert_eq!(world.points.len(), 1, "{told}");
            assert_eq!(world.requests.len(), if fails { 4 } else { 2 }, "{told}: another attempt cuts anew");
            nothing_is_left(&world);
        }
    }
}

#[test]
fn a_snapshot_that_never_can_be_read_is_tried_again_and_told_with_the_words_of_the_storage() {
    let mut world = by_snapshot();
    for attempt in 1..=3 {
        started(&mut world);
        work(&mut world, false);
        world.settle();
        let name = world.snapshots.made[0].made.name.clone();
        world.snapshots.made[0].error = Some("the pool is full".into());
        world.settle();
        world.is("Reconciling", "True", "Progressing");
        assert!(world.condition("Reconciling").message.contains("the pool is full"));
        let stage = world.status().active.clone().and_then(|active| active.snapshot);
        world.now = stage.and_then(|stage| stage.cut).unwrap().until + SignedDuration::from_mins(10);
        world.snapshots.made[0].error = Some("the pool is still full".into());
        world.settle();
        nothing_is_left(&world);
        assert!(!world.requests.values().any(|request| matches!(request, Request::Capture { .. })));
        if attempt == 3 {
            world.is("LastCaptureSucceeded", "False", "SnapshotFailed");
            let message = &world.condition("LastCaptureSucceeded").message;
            assert!(message.contains(&name) && message.contains("the pool is still full"), "{message}");
            assert!(message.contains("readyTimeout (10m)"), "{message}");
        } else {
            world.now = world.status().active.as_ref().and_then(|active| active.not_before).expect("a wait");
        }
    }
}

#[test]
fn a_snapshot_that_somebody_deletes_and_a_mover_without_a_word_make_another_attempt() {
    for silent in [false, true] {
        let mut world = by_snapshot();
        started(&mut world);
        if silent {
            let cut = world.running()[0].clone();
            let Request::Cut { snapshots, .. } = &world.requests[&cut] else { panic!() };
            let made: Vec<_> = snapshots.names.values().map(|name| seen(name, true)).collect();
            world.snapshots.made = made;
            world.end(JobState::Silent { why: "its pod was evicted".into() });
        } else {
            work(&mut world, false);
            world.settle();
            world.snapshots.made.clear();
        }
        world.settle();
        let active = world.status().active.clone().expect("another attempt");
        assert_eq!((active.attempt, active.confirming), (2, false), "nothing is looked for in the bucket");
        nothing_is_left(&world);
        world.now = active.not_before.expect("a wait");
        let again = started(&mut world);
        let Request::Cut { snapshots, .. } = again.request else { panic!() };
        assert!(snapshots.names["data-chromadb-0"].contains("-2-"));
    }
}

#[test]
fn what_stands_in_the_way_meanwhile_leaves_nothing_behind() {
    let mut world = by_snapshot();
    started(&mut world);
    work(&mut world, false);
    world.settle();
    world.held_by = Some("db-2026-11-23".into());
    become_ready(&mut world);
    world.settle();
    assert_eq!((&world.status().active, world.points.len()), (&None, 0));
    nothing_is_left(&world);
}

#[test]
fn a_policy_that_becomes_live_meanwhile_reads_what_was_cut() {
    let mut world = by_snapshot();
    started(&mut world);
    work(&mut world, false);
    world.settle();
    world.policy.spec.capture = CaptureMethod::default();
    become_ready(&mut world);
    let read = started(&mut world);
    assert!(matches!(read.request, Request::Capture { cut: Some(_), .. }));
    work(&mut world, true);
    world.settle();
    assert_eq!(world.points.len(), 1);
    nothing_is_left(&world);
}

#[test]
fn a_source_that_is_unknown_for_a_moment_costs_no_snapshot() {
    let mut world = by_snapshot();
    started(&mut world);
    work(&mut world, false);
    world.settle();
    let source = std::mem::replace(
        &mut world.source,
        Err(crate::backup::source::Problem { reason: "PodNotRunning", message: "it restarts".into() }),
    );
    world.settle();
    assert_eq!(world.snapshots.made.len(), 1);
    let mut gone = world.clone();
    world.source = source;
    become_ready(&mut world);
    started(&mut world);

    // For more than a moment, and the storage gets its space back.
    gone.now += SignedDuration::from_mins(11);
    gone.settle();
    nothing_is_left(&gone);
    assert_eq!(gone.status().active.as_ref().map(|active| active.attempt), Some(2));
}

#[test]
fn without_snapshots_in_the_cluster_nothing_starts_and_the_policy_says_what_is_missing() {
    let mut world = by_snapshot();
    world.snapshots.classes = None;
    world.settle();
    world.is("SourceReady", "False", "SnapshotsNotInstalled");
    world.is("Ready", "False", "SourceNotReady");
    assert!(world.requests.is_empty());
    world.snapshots.classes = Some(vec![]);
    world.settle();
    world.is("SourceReady", "False", "SnapshotClassNotFound");
}
