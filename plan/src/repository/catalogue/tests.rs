use std::collections::BTreeSet;

use crds::BackupPolicy;
use crds::job::{Captured, CataloguedPoint};
use crds::point::{TrustMark, TrustReason, TrustWord};
use crds::repository::MaintenanceRound;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::repository::simulated::{Jobs, Writes, ready};
use crate::repository::tests::alone;
use crate::repository::{plan, usage};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A repository whose probe counted so many points.
fn repository(counted: u64) -> RecoveryRepository {
    let mut repository = ready();
    let time = at("2026-11-23T09:40:00Z");
    repository.status.as_mut().unwrap().usage = Some(usage::counted(counted, 1000, time));
    repository
}

fn lying(number: u32, healthy: bool) -> CataloguedPoint {
    let captured: Captured = serde_json::from_value(json!({
        "point": format!("id-{number}"), "digest": "sha256:aa", "consistencyTime": format!("2026-11-22T09:{number:02}:00Z"),
        "longestHold": "PT0.2S", "bytes": 7000, "newBytes": 70, "files": 16,
        "content": {"chromaDb": {"releasedAt": format!("2026-11-22T09:{number:02}:01Z"), "attempts": 1, "migrations": "2/6/10",
            "collections": [], "collectionCount": 3, "records": 500}},
        "findings": if healthy { json!([]) } else { json!([{"subject": "chroma.sqlite3", "message": "is malformed"}]) }
    }))
    .unwrap();
    let hold = (number == 3).then(|| "INC-2041".to_owned());
    let trust = (number == 4).then(|| TrustMark {
        word: TrustWord::Quarantined,
        reason: TrustReason::SuspectedBreach,
        by: "run/breach".into(),
        since: at("2026-11-23T09:00:00Z"),
    });
    CataloguedPoint {
        policy: "chromadb".into(),
        image: "chroma@sha256:5b7e".into(),
        hold,
        trust,
        verification: None,
        captured,
    }
}

struct World {
    repository: RecoveryRepository,
    policies: Vec<BackupPolicy>,
    points: Vec<RecoveryPoint>,
    /// What lies in the bucket, the newest first.
    bucket: Vec<CataloguedPoint>,
    jobs: Jobs,
    now: Timestamp,
}

impl World {
    fn new(points: u32) -> Self {
        Self {
            repository: repository(points.into()),
            policies: vec![],
            points: vec![],
            bucket: (1..=points).rev().map(|number| lying(number, number != 2)).collect(),
            jobs: Jobs::default(),
            now: at("2026-11-23T09:40:01Z"),
        }
    }

    /// One look; the controller dies after so many of its writes.
    fn look(&mut self, writes: usize) {
        let round = self.repository.status.as_ref().and_then(|status| status.catalogue.as_ref());
        let plan = plan(&Observed {
            catalogue: self.jobs.state(round.map(|round| job_name(&self.repository, round))),
            ended_jobs: self.jobs.ended(),
            policies: &self.policies,
            points: &self.points,
            ..alone(&self.repository, self.now)
        });
        let mut writes = Writes(writes);
        for new in plan.catalogue.record {
            let known = self.points.iter().any(|point| point.metadata.name.as_ref() == Some(&new.name));
            if !known && writes.come_through() {
                let mut point = RecoveryPoint::new(&new.name, new.spec);
                point.status = Some(new.status);
                point.metadata.creation_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                self.points.push(point);
            }
        }
        if self.repository.status.as_ref() != Some(&plan.status) && writes.come_through() {
            self.repository.status = Some(plan.status);
        }
        self.jobs.carry_out(&plan.over, plan.catalogue.start, &mut writes);
    }

    fn movers(&mut self) {
        let Self { jobs, bucket, .. } = self;
        jobs.work(|job| {
            let Request::Catalogue { known, .. } = &job.request else { panic!("{:?}", job.request) };
            let unknown = bucket.iter().filter(|point| !known.contains(&point.captured.point));
            let mut points: Vec<CataloguedPoint> = unknown.cloned().collect();
            let more = points.len() > 3;
            points.truncate(3);
            Report::Catalogued(Catalogued { points, more })
        });
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            self.look(usize::MAX);
            self.movers();
        }
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.points.iter().map(|point| point.spec.id.as_str()).collect()
    }

    fn reason(&self) -> &str {
        let conditions = &self.repository.status.as_ref().unwrap().conditions;
        condition::get(conditions, "CatalogueCurrent").map_or("", |c| &c.reason)
    }
}

#[test]
fn in_an_empty_cluster_every_point_of_the_bucket_is_recorded_the_newest_first() {
    let mut world = World::new(8);
    world.look(usize::MAX);
    assert_eq!(world.reason(), "Rebuilding");
    world.movers();
    world.look(usize::MAX);
    assert_eq!(world.ids(), ["id-6", "id-7", "id-8"].into());
    world.settle();
    assert_eq!((world.points.len(), world.reason(), world.jobs.started.len()), (8, "Current", 3));
    let point = world.points.iter().find(|point| point.spec.id == "id-7").unwrap();
    let status = point.status.as_ref().unwrap();
    assert_eq!(point.spec.policy, "chromadb");
    assert_eq!(status.origin, Some(Origin::Discovered));
    assert_eq!(status.phase, Some(crds::point::PointPhase::Available));
    assert_eq!(status.consistency_time, Some(at("2026-11-22T09:07:00Z")));
    assert_eq!(status.chroma_db.as_ref().unwrap().image, "chroma@sha256:5b7e");
    let broken = world.points.iter().find(|point| point.spec.id == "id-2").unwrap();
    assert_eq!(broken.status.as_ref().unwrap().phase, Some(crds::point::PointPhase::Quarantined));
    // They were counted in the bucket, and are not counted again.
    assert_eq!(world.repository.status.as_ref().unwrap().usage.as_ref().unwrap().points, 8);
}

#[test]
fn what_is_known_is_not_asked_for_and_a_point_deleted_by_hand_comes_back() {
    let mut world = World::new(4);
    world.settle();
    let before = world.jobs.started.len();
    world.now += SignedDuration::from_mins(30);
    world.settle();
    assert_eq!(world.jobs.started.len(), before);
    world.points.retain(|point| point.spec.id != "id-3");
    world.settle();
    assert_eq!((world.points.len(), world.jobs.started.len()), (4, before + 1));
}

#[test]
fn points_that_are_none_of_a_chromadb_are_looked_for_once() {
    let mut world = World::new(3);
    world.bucket.remove(0);
    world.settle();
    assert_eq!((world.points.len(), world.jobs.started.len(), world.reason()), (2, 1, "Current"));
    world.now += SignedDuration::from_mins(30);
    world.settle();
    assert_eq!(world.jobs.started.len(), 1);
}

#[test]
fn it_waits_for_a_capture_and_for_maintenance() {
    let mut world = World::new(3);
    let policy = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb", "namespace": "arxiv"},
        "spec": {"component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]}, "repositoryRef": {"name": "primary"}},
        "status": {"active": {"slot": "s", "attempt": 1, "origin": "Scheduled", "started": "2026-11-23T09:40:00Z"}}
    });
    world.policies = vec![serde_json::from_value(policy).unwrap()];
    world.settle();
    assert!(world.jobs.started.is_empty());
    world.policies[0].status.as_mut().unwrap().active = None;
    world.repository.status.as_mut().unwrap().maintenance = Some(MaintenanceRound {
        number: 1,
        started: world.now,
        removing: Some(vec!["id-1".into()]),
        locked: 0,
        more: false,
        finished: None,
        failures: 0,
        last_slot: None,
        asked: None,
    });
    world.settle();
    assert!(world.jobs.started.is_empty());
    world.repository.status.as_mut().unwrap().maintenance.as_mut().unwrap().finished = Some(world.now);
    world.settle();
    assert_eq!(world.points.len(), 3);
}

#[test]
fn a_failure_is_told_and_tried_again_ever_more_slowly() {
    for state in [JobState::Silent { why: "evicted".into() }, JobState::Ended(Report::NotCommitted)] {
        let mut world = World::new(5);
        world.look(usize::MAX);
        world.jobs.fails = Some(state);
        world.movers();
        world.look(usize::MAX);
        assert_eq!(world.reason(), "CatalogueFailed");
        world.look(usize::MAX);
        assert_eq!(world.jobs.started.len(), 1, "not at once");
        world.now += SignedDuration::from_mins(10);
        world.settle();
        assert_eq!((world.points.len(), world.reason()), (5, "Current"));
    }
}

#[test]
fn i5_killed_after_any_write_every_point_is_recorded_once() {
    for dies_at in 0..20 {
        for writes in 0..5 {
            let mut world = World::new(7);
            for step in 0..40 {
                world.look(if step == dies_at { writes } else { usize::MAX });
                world.movers();
            }
            assert_eq!((world.points.len(), world.ids().len()), (7, 7), "look {dies_at}, {writes} writes");
            let held: Vec<&str> =
                world.points.iter().filter(|p| p.spec.hold.is_some()).map(|p| p.spec.id.as_str()).collect();
            assert_eq!(held, ["id-3"], "found again with its hold");
            let quarantined = world.points.iter().find(|point| point.spec.id == "id-4").unwrap();
            let status = quarantined.status.as_ref().unwrap();
            assert_eq!(status.phase, Some(crds::point::PointPhase::Quarantined), "found again with its mark");
            assert_eq!(condition::get(&status.conditions, "Quarantined").unwrap().reason, "SuspectedBreach");
            assert_eq!(world.reason(), "Current");
            assert!(world.jobs.is_empty(), "look {dies_at}, {writes} writes: a Job is left");
        }
    }
}
