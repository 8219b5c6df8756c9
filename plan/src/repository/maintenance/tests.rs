use std::collections::BTreeSet;

use crds::job::{Failure, FailureReason, Pruned};
use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::repository::plan;
use crate::repository::simulated::{Jobs, Writes};
use crate::repository::tests::alone;
use crds::RecoveryPoint;
use crds::reference::NameRef;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn repository() -> RecoveryRepository {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository",
        "metadata": {"name": "primary", "namespace": "arxiv", "uid": "u-1", "generation": 1, "creationTimestamp": "2026-11-22T12:00:00Z"},
        "spec": {
            "s3": {"bucket": "yourorg-dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}, "maintenance": {"secretRef": {"name": "s3-maintenance"}}}},
            "encryption": {"keySecretRef": {"name": "key"}, "escrow": {"acknowledged": {"fingerprint": "7c1f-09aa-52d3"}}},
            "maintenance": {"schedule": {"cron": "17 3 * * *"}}
        },
        "status": {
            "uniqueID": "repo-1", "keyFingerprint": "7c1f-09aa-52d3", "keySlots": 1,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Armed", "message": "", "lastTransitionTime": "2026-11-22T12:00:00Z"}]
        }
    }))
    .unwrap()
}

fn policy(name: &str, repository: &str) -> BackupPolicy {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": name, "namespace": "arxiv"},
        "spec": {"component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": name}]}, "repositoryRef": {"name": repository},
                 "retention": {"last": 2}, "schedule": {"cron": "0 * * * *", "timeZone": "Europe/Berlin"}}
    }))
    .unwrap()
}

fn point(number: u64, records: u64) -> RecoveryPoint {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": format!("chromadb-{number}"), "namespace": "arxiv"},
        "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": format!("id-{number}")},
        "status": {
            "phase": "Available", "consistencyTime": format!("2026-11-22T13:{number:02}:00Z"),
            "sizes": {"bytes": 9000, "newBytes": 1, "files": 1, "size": "1", "newSize": "1"},
            "chromaDB": {"migrations": "2/6/10", "image": "i", "writerPause": "0s", "releasedAt": "2026-11-23T09:00:00Z",
                         "collectionCount": 1, "records": records, "collections": []}
        }
    }))
    .unwrap()
}

/// A cluster and a bucket, as far as maintenance has to do with them.
pub(in crate::repository) struct World {
    pub(in crate::repository) repository: RecoveryRepository,
    policies: Vec<BackupPolicy>,
    pub(in crate::repository) points: Vec<RecoveryPoint>,
    pub(in crate::repository) bucket: BTreeSet<String>,
    pub(in crate::repository) locked: BTreeSet<String>,
    pub(in crate::repository) jobs: Jobs,
    pub(in crate::repository) run: Option<String>,
    /// Messages of events.
    pub(in crate::repository) told: Vec<String>,
    pub(in crate::repository) now: Timestamp,
}

impl World {
    pub(in crate::repository) fn new(points: u64) -> Self {
        let points: Vec<RecoveryPoint> = (1..=points).map(|number| point(number, 100)).collect();
        Self {
            repository: repository(),
            policies: vec![policy("chromadb", "primary"), policy("other", "elsewhere")],
            bucket: points.iter().map(|point| point.spec.id.clone()).collect(),
            points,
            locked: BTreeSet::new(),
            jobs: Jobs::default(),
            run: None,
            told: Vec::new(),
            // A probe was just made.
            now: at("2026-11-23T02:00:00Z"),
        }
    }

    /// One look; the controller dies after so many of its writes.
    pub(in crate::repository) fn look(&mut self, writes: usize) {
        let round = self.repository.status.as_ref().and_then(|status| status.maintenance.as_ref());
        let plan = plan(&Observed {
            maintenance: self.jobs.state(round.map(|round| job_name(&self.repository, round))),
            ended_jobs: self.jobs.ended(),
            run: self.run.clone(),
            policies: &self.policies,
            points: &self.points,
            ..alone(&self.repository, self.now)
        });
        let mut writes = Writes(writes);
        for name in &plan.maintain.forget {
            if writes.come_through() {
                self.delete(name);
            }
        }
        if self.repository.status.as_ref() != Some(&plan.status) && writes.come_through() {
            self.repository.status = Some(plan.status);
        }
        for finalizer in &plan.finalizers {
            if writes.come_through() {
                self.set_finalizer(&finalizer.point, finalizer.held);
            }
        }
        self.told.extend(plan.events.into_iter().map(|event| event.message));
        self.jobs.carry_out(&plan.over, plan.maintain.start, &mut writes);
    }

    pub(in crate::repository) fn point(&mut self, name: &str) -> Option<&mut RecoveryPoint> {
        self.points.iter_mut().find(|point| point.metadata.name.as_deref() == Some(name))
    }

    /// As the API server does it.
    pub(in crate::repository) fn delete(&mut self, name: &str) {
        let deleted = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now);
        let Some(point) = self.point(name) else { return };
        point.metadata.deletion_timestamp.get_or_insert(deleted);
        self.let_go();
    }

    fn set_finalizer(&mut self, name: &str, held: bool) {
        let Some(point) = self.point(name) else { return };
        assert!(!held || point.metadata.deletion_timestamp.is_none(), "the API server refuses this");
        point.metadata.finalizers = held.then(|| vec![crds::reference::POINT_FINALIZER.to_owned()]);
        self.let_go();
    }

    /// What is being deleted goes when nothing holds it.
    fn let_go(&mut self) {
        let held = |point: &RecoveryPoint| point.metadata.finalizers.iter().flatten().next().is_some();
        self.points.retain(|point| point.metadata.deletion_timestamp.is_none() || held(point));
    }

    /// The movers do their work.
    pub(in crate::repository) fn movers(&mut self) {
        let Self { jobs, bucket, locked, .. } = self;
        jobs.work(|job| match &job.request {
            Request::Judge { rules, held, .. } => {
                let ruled = rules.iter().any(|of| of.policy == "chromadb" && of.retention.last == 2);
                assert!(rules.iter().all(|of| of.policy != "other"), "a policy of another repository");
                let mut ids: Vec<&String> = bucket.iter().collect();
                ids.sort_by_key(|id| id[3..].parse::<u64>().unwrap());
                ids.truncate(ids.len().saturating_sub(2));
                let going = ids.into_iter().filter(|id| ruled && !held.contains(id));
                let mut remove: Vec<String> = going.cloned().collect();
                let more = remove.len() > 3;
                remove.truncate(3);
                Report::Judged(Judged { remove, more })
            }
            Request::Prune { remove, .. } => {
                assert_eq!(job.keys.as_ref().unwrap().credentials, Some(NameRef::new("s3-maintenance")));
                bucket.retain(|id| !remove.contains(id) || locked.contains(id));
                let left: Vec<String> = remove.iter().filter(|id| bucket.contains(*id)).cloned().collect();
                Report::Pruned(Pruned {
                    locked_until: (!left.is_empty()).then(|| at("2026-12-01T00:00:00Z")),
                    left,
                    bytes_swept: 10,
                    bytes_condemned: 20,
                    points: bucket.len() as u64,
                    bytes: 1000,
                })
            }
            other => panic!("{other:?} is no maintenance"),
        });
    }

    pub(in crate::repository) fn settle(&mut self) {
        for _ in 0..40 {
            self.look(usize::MAX);
            self.movers();
        }
    }

    /// Whether the objects are those of the points in the bucket.
    fn is_true(&self) -> bool {
        self.points.iter().map(|point| point.spec.id.clone()).collect::<BTreeSet<_>>() == self.bucket
    }

    fn healthy(&self) -> (String, String, String) {
        let status = self.repository.status.as_ref().unwrap();
        let condition = condition::get(&status.conditions, "MaintenanceHealthy").unwrap();
        (condition.status.clone(), condition.reason.clone(), condition.message.clone())
    }
}

#[test]
fn nothing_happens_before_the_schedule_or_a_request_says_so() {
    let mut world = World::new(5);
    world.settle();
    assert!(world.jobs.started.is_empty());
    world.now = at("2026-11-23T03:17:00Z");
    world.settle();
    // Judged, pruned: three points go, two are kept.
    assert_eq!(world.jobs.started.len(), 2);
    assert_eq!(world.bucket.iter().map(String::as_str).collect::<Vec<_>>(), ["id-4", "id-5"]);
    assert!(world.is_true());
    let (status, reason, message) = world.healthy();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Swept"));
    assert!(message.contains("3 points removed") && message.contains("2 left"), "{message}");
    assert_eq!(world.repository.status.as_ref().unwrap().usage.as_ref().unwrap().points, 2);

    let asked = |text: &str| Some([(MAINTENANCE_REQUESTED_AT.to_owned(), text.to_owned())].into());
    world.repository.metadata.annotations = asked("2026-11-23T03:20:00Z");
    world.now = at("2026-11-23T03:19:00Z");
    world.settle();
    assert_eq!(world.jobs.started.len(), 2, "a request from a clock that runs ahead waits for its time");
    world.now = at("2026-11-23T03:21:00Z");
    world.settle();
    assert_eq!(world.jobs.started.len(), 4);
    world.repository.metadata.annotations = asked("2026-11-23T03:10:00Z");
    world.settle();
    assert_eq!(world.jobs.started.len(), 4, "an older time asks for nothing");
}

#[test]
fn what_does_not_fit_one_round_goes_in_the_next_and_each_round_has_its_jobs() {
    let mut world = World::new(12);
    world.now = at("2026-11-23T03:17:00Z");
    world.settle();
    assert_eq!(world.bucket.len(), 2);
    assert!(world.is_true());
    let names: BTreeSet<&String> = world.jobs.started.iter().collect();
    assert_eq!(
        (names.len(), world.jobs.started.len()),
        (8, 8),
        "four rounds of three: {:?}",
        world.jobs.started
    );
}

#[test]
fn i3_what_is_quarantined_is_evidence_and_stays() {
    let mut world = World::new(6);
    world.points[0].spec.trust = crds::point::Trust::Quarantined;
    world.now = at("2026-11-23T03:17:00Z");
    world.look(usize::MAX);
    world.movers();
    // Judged by now: the next look starts the removal.
    let status = world.points[1].status.get_or_insert_default();
    status.trust = Some(crds::point::TrustMark {
        word: crds::point::TrustWord::Quarantined,
        reason: crds::point::TrustReason::SuspectedBreach,
        by: "run/breach".into(),
        since: world.now,
    });
    world.settle();
    let left: Vec<&str> = world.bucket.iter().map(String::as_str).collect();
    assert_eq!(left, ["id-1", "id-2", "id-5", "id-6"]);
}

#[test]
fn i3_what_is_on_hold_stays_even_when_the_hold_comes_late() {
    let mut world = World::new(6);
    let hold = Some(crds::point::Hold { reason: "INC-2041".into() });
    world.points[0].spec.hold = hold.clone();
    world.now = at("2026-11-23T03:17:00Z");
    world.look(usize::MAX);
    world.movers();
    // Judged by now: the next look starts the removal.
    world.points[1].spec.hold = hold;
    world.settle();
    let left: Vec<&str> = world.bucket.iter().map(String::as_str).collect();
    assert_eq!(left, ["id-1", "id-2", "id-5", "id-6"]);
    assert!(world.is_true());
}

#[test]
fn i4_nothing_of_a_policy_with_an_anomaly_is_removed() {
    let mut world = World::new(4);
    world.points.push(point(5, 10));
    world.bucket.insert("id-5".into());
    world.now = at("2026-11-23T03:17:00Z");
    world.settle();
    assert_eq!(world.bucket.len(), 5);
    world.policies[0].spec.capture.shrink_acknowledged = Some(crds::reference::NameRef::new("chromadb-5"));
    world.now = at("2026-11-24T03:17:00Z");
    world.settle();
    assert_eq!(world.bucket.len(), 2);
}

#[test]
fn what_the_bucket_locks_stays_with_its_object_and_is_not_tried_again_at_once() {
    let mut world = World::new(6);
    world.locked.insert("id-1".into());
    world.now = at("2026-11-23T03:17:00Z");
    world.settle();
    assert!(world.bucket.contains("id-1") && world.is_true());
    let status = world.repository.status.as_ref().unwrap().maintenance.as_ref().unwrap();
    assert_eq!((status.locked, status.more), (1, false));
    assert!(world.healthy().2.contains("the first lock ends 2026-12-01T00:00:00Z"), "{}", world.healthy().2);
}

#[test]
fn a_failure_is_told_and_tried_again_ever_more_slowly_with_the_same_points() {
    for (when, state) in [
        (0, JobState::Silent { why: "evicted".into() }),
        (1, JobState::Silent { why: "evicted".into() }),
        (1, JobState::Ended(Report::NotCommitted)),
        (
            1,
            JobState::Ended(Report::Failed(Failure {
                reason: FailureReason::AccessDenied,
                message: "may not delete".into(),
            })),
        ),
    ] {
        let mut world = World::new(4);
        world.now = at("2026-11-23T03:17:00Z");
        for _ in 0..when {
            world.look(usize::MAX);
            world.movers();
        }
        world.look(usize::MAX);
        world.jobs.fails = Some(state.clone());
        world.movers();
        // The mover that failed had removed all the same.
        if when == 1 {
            world.bucket.retain(|id| id != "id-1" && id != "id-2");
        }
        world.look(usize::MAX);
        assert_eq!(world.healthy().1, "SweepFailed", "{state:?}");
        let before = world.jobs.started.len();
        world.look(usize::MAX);
        assert_eq!(world.jobs.started.len(), before, "not at once");
        world.now += SignedDuration::from_mins(10);
        world.settle();
        assert_eq!(world.healthy().1, "Swept", "{state:?}");
        assert_eq!(world.bucket.iter().map(String::as_str).collect::<Vec<_>>(), ["id-3", "id-4"]);
        assert!(world.is_true(), "{state:?}");
    }
}

#[test]
fn i5_killed_after_any_write_it_removes_the_same_points_and_only_their_objects() {
    for dies_at in 0..40 {
        for writes in 0..3 {
            let mut world = World::new(7);
            world.now = at("2026-11-23T03:17:00Z");
            for step in 0..40 {
                world.look(if step == dies_at { writes } else { usize::MAX });
                world.movers();
            }
            let left: Vec<&str> = world.bucket.iter().map(String::as_str).collect();
            assert_eq!(left, ["id-6", "id-7"], "killed at look {dies_at} after {writes} writes");
            assert!(world.is_true(), "killed at look {dies_at} after {writes} writes");
            let names: BTreeSet<&String> = world.jobs.started.iter().collect();
            assert_eq!(names.len(), world.jobs.started.len(), "no Job runs twice");
            assert!(
                world.jobs.is_empty(),
                "killed at look {dies_at} after {writes} writes: {:?}",
                world.jobs.ended()
            );
        }
    }
}

#[test]
fn a_schedule_that_is_none_is_told_until_it_is_mended() {
    let mut world = World::new(3);
    world.repository.spec.maintenance.schedule.time_zone = "Atlantis".into();
    world.settle();
    assert_eq!(world.healthy().1, "InvalidSpec");
    world.repository.spec.maintenance.schedule.time_zone = "UTC".into();
    world.look(usize::MAX);
    let status = world.repository.status.as_ref().unwrap();
    assert!(condition::get(&status.conditions, "MaintenanceHealthy").is_none());
}

#[test]
fn nothing_is_removed_from_a_repository_that_is_read_only_sealed_or_not_ready() {
    for change in [
        (|r: &mut RecoveryRepository| r.spec.mode = RepositoryMode::ReadOnly) as fn(&mut RecoveryRepository),
        |r| r.spec.mode = RepositoryMode::Sealed,
        |r| {
            let (by, reason) = ("run/breach".into(), "INC-2041".into());
            let since = at("2026-11-23T02:00:00Z");
            r.status.as_mut().unwrap().seal = Some(crds::repository::SealMark { by, reason, since });
        },
        |r| r.status.as_mut().unwrap().conditions[0].status = "False".into(),
    ] {
        let mut world = World::new(5);
        change(&mut world.repository);
        world.repository.status.as_mut().unwrap().key_fingerprint = None;
        world.now = at("2026-11-23T03:17:00Z");
        world.settle();
        assert!(world.jobs.started.is_empty());
    }
}

#[test]
fn nothing_is_removed_while_a_run_may_need_it_and_its_end_lets_it_go() {
    for begins_after_judging in [false, true] {
        let mut world = World::new(5);
        world.now = at("2026-11-23T03:17:00Z");
        if begins_after_judging {
            world.look(usize::MAX);
            world.movers();
        }
        world.run = Some("db-2026-11-23".into());
        world.settle();
        assert_eq!(world.bucket.len(), 5);
        world.run = None;
        world.settle();
        assert_eq!(world.bucket.len(), 2, "{begins_after_judging}");
        assert!(world.is_true());
    }
}

#[test]
fn points_of_a_policy_that_is_gone_stay() {
    let mut world = World::new(5);
    world.policies.clear();
    world.now = at("2026-11-23T03:17:00Z");
    world.settle();
    assert_eq!((world.bucket.len(), world.healthy().1.as_str()), (5, "Swept"));
}
