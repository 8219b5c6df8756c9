use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::repository::maintenance::tests::World;

/// Five points whose objects take their points along, outside of any slot of the schedule.
fn deleting() -> World {
    let mut world = World::new(5);
    world.points.iter_mut().for_each(|point| point.spec.deletion_policy = DeletionPolicy::Delete);
    world.settle();
    world
}

fn left(world: &World) -> Vec<&str> {
    world.bucket.iter().map(String::as_str).collect()
}

fn objects(world: &World) -> Vec<String> {
    world.points.iter().filter_map(|point| point.metadata.name.clone()).collect()
}

#[test]
fn a_point_goes_with_its_object_where_that_was_asked_for_and_without_anybodys_judgement() {
    let mut world = deleting();
    assert!(world.points.iter().all(has_finalizer));
    assert!(world.jobs.started.is_empty(), "a finalizer alone removes nothing");
    world.delete("chromadb-2");
    assert_eq!(objects(&world).len(), 5, "it is held");
    world.settle();
    assert_eq!(left(&world), ["id-1", "id-3", "id-4", "id-5"]);
    assert_eq!(objects(&world), ["chromadb-1", "chromadb-3", "chromadb-4", "chromadb-5"]);
    assert_eq!(world.jobs.started.len(), 1, "one prune: {:?}", world.jobs.started);
    assert!(world.jobs.is_empty());
}

#[test]
fn without_it_an_object_goes_alone_and_its_finalizer_with_the_policy() {
    let mut world = deleting();
    world.point("chromadb-1").unwrap().spec.deletion_policy = DeletionPolicy::Retain;
    world.settle();
    assert!(!has_finalizer(world.point("chromadb-1").unwrap()));
    world.delete("chromadb-1");
    world.settle();
    assert_eq!((left(&world).len(), objects(&world).len()), (5, 4));

    // Changed when it was being deleted already.
    world.delete("chromadb-2");
    world.point("chromadb-2").unwrap().spec.deletion_policy = DeletionPolicy::Retain;
    world.settle();
    assert_eq!((left(&world).len(), objects(&world).len()), (5, 3));
}

#[test]
fn i3_what_may_not_go_stays_and_its_object_does_not_hang() {
    type Change = fn(&mut World);
    let newest_good: Change = |world| {
        let newest = world.point("chromadb-5").unwrap().status.as_mut().unwrap();
        newest.phase = Some(crds::point::PointPhase::Quarantined);
        world.delete("chromadb-4");
    };
    let newest_verified: Change = |world| {
        let status = world.point("chromadb-3").unwrap().status.as_mut().unwrap();
        let time = "2026-11-22T14:00:00Z".parse().unwrap();
        status.verification = Some(crds::point::Verification {
            verdict: Verdict::Passed,
            time,
            by: "run/drill".into(),
            recorded: true,
        });
        world.delete("chromadb-3");
    };
    let on_hold: Change = |world| {
        let hold = crds::point::Hold { reason: "INC-2041".into() };
        world.point("chromadb-2").unwrap().spec.hold = Some(hold);
        world.delete("chromadb-2");
    };
    let locked: Change = |world| {
        let until = "2026-12-01T00:00:00Z".parse().unwrap();
        world.point("chromadb-2").unwrap().status.as_mut().unwrap().locked_until = Some(until);
        world.delete("chromadb-2");
    };
    let locked_in_the_bucket_alone: Change = |world| {
        world.locked.insert("id-2".into());
        world.delete("chromadb-2");
    };
    let anomaly: Change = |world| {
        let newest = world.point("chromadb-5").unwrap().status.as_mut().unwrap();
        newest.chroma_db.as_mut().unwrap().records = 0;
        world.delete("chromadb-2");
    };
    let quarantined: Change = |world| {
        world.point("chromadb-2").unwrap().spec.trust = crds::point::Trust::Quarantined;
        world.delete("chromadb-2");
    };
    let read_only: Change = |world| {
        world.repository.spec.mode = RepositoryMode::ReadOnly;
        world.delete("chromadb-2");
    };
    let cases: [(Change, &str); 9] = [
        (|world| world.delete("chromadb-5"), "it is the newest point of chromadb"),
        (newest_good, "it is the newest good point of chromadb"),
        (newest_verified, "it is the newest verified point of chromadb"),
        (on_hold, "it is on hold (INC-2041)"),
        (quarantined, "it is quarantined, so it may be evidence"),
        (locked, "the bucket's lock keeps it until 2026-12-01T00:00:00Z"),
        (locked_in_the_bucket_alone, "the bucket's lock, or a hold or a quarantine in it, keeps it"),
        (anomaly, "AnomalyDetected"),
        (read_only, "the repository is ReadOnly"),
    ];
    for (change, why) in cases {
        let mut world = deleting();
        change(&mut world);
        world.settle();
        assert_eq!((left(&world).len(), objects(&world).len()), (5, 4), "{why}");
        assert!(world.told.iter().any(|told| told.contains(why)), "{why}: {:?}", world.told);
        assert!(world.jobs.started.len() <= 1, "{why}: it is tried once: {:?}", world.jobs.started);
    }
}

#[test]
fn what_can_not_be_removed_now_is_waited_for_and_not_for_ever() {
    let unusable: fn(&mut World, bool) = |world, is| {
        let status = if is { "False" } else { "True" };
        world.repository.status.as_mut().unwrap().conditions[0].status = status.into();
    };
    let under_way: fn(&mut World, bool) = |world, is| world.run = is.then(|| "db-2026-11-23".to_owned());
    for set in [unusable, under_way] {
        for heals in [true, false] {
            let mut world = deleting();
            set(&mut world, true);
            world.delete("chromadb-1");
            world.settle();
            assert_eq!((left(&world).len(), objects(&world).len()), (5, 5), "it waits");
            if heals {
                set(&mut world, false);
                world.settle();
                assert_eq!((left(&world).len(), objects(&world).len()), (4, 4));
            } else {
                world.now += PATIENCE;
                world.settle();
                assert_eq!((left(&world).len(), objects(&world).len()), (5, 4), "{:?}", world.told);
                assert!(world.told.iter().any(|told| told.contains("10 minutes")), "{:?}", world.told);
            }
        }
    }
}

#[test]
fn a_prune_by_the_rules_takes_along_what_was_deleted_and_lets_go_of_its_objects() {
    let mut world = deleting();
    world.now = "2026-11-23T03:17:00Z".parse().unwrap();
    world.look(usize::MAX);
    world.delete("chromadb-4");
    world.settle();
    assert_eq!((left(&world), objects(&world)), (vec!["id-5"], vec!["chromadb-5".to_owned()]));
}

#[test]
fn i5_killed_after_any_write_the_point_and_its_object_go_together() {
    for dies_at in 0..12 {
        for writes in 0..3 {
            let mut world = deleting();
            world.delete("chromadb-2");
            for step in 0..30 {
                world.look(if step == dies_at { writes } else { usize::MAX });
                world.movers();
            }
            let when = format!("killed at look {dies_at} after {writes} writes");
            assert_eq!(left(&world), ["id-1", "id-3", "id-4", "id-5"], "{when}");
            assert_eq!(objects(&world).len(), 4, "{when}");
            assert!(world.jobs.is_empty(), "{when}");
        }
    }
}

#[test]
fn where_no_repository_is_left_nothing_holds_an_object() {
    let mut world = deleting();
    let mut point = world.point("chromadb-1").unwrap().clone();
    assert!(!is_orphaned(&point, false, true), "it is not being deleted");
    point.metadata.deletion_timestamp = Some(Time(world.now));
    assert!(is_orphaned(&point, false, false) && is_orphaned(&point, true, true));
    assert!(!is_orphaned(&point, true, false));
}

#[test]
fn an_emergency_capture_goes_when_it_is_deleted_and_is_nobodys_newest() {
    let mut world = deleting();
    let status = world.point("chromadb-5").unwrap().status.as_mut().unwrap();
    status.phase = Some(crds::point::PointPhase::Quarantined);
    status.emergency = Some(crds::job::Emergency {
        torn: crds::job::Torn::Unknown,
        unreadable_bytes: 0,
        unreadable_count: 0,
        unreadable: Vec::new(),
        missed_count: 0,
        missed: Vec::new(),
        evidence: 0,
    });
    world.delete("chromadb-4");
    world.delete("chromadb-5");
    world.settle();
    assert_eq!(left(&world), ["id-1", "id-2", "id-3", "id-4"], "the newest of the others stays");
}
