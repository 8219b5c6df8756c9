use super::*;
use crds::condition;
use crds::job::{Captured, CollectionSummary, Failure, FailureReason, Finding, Report};
use crds::point::PointPhase;
use crds::policy::LastPoint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

const CREATED: &str = "2026-11-23T09:02:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy() -> BackupPolicy {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": "chromadb", "namespace": "arxiv", "uid": "u-1", "generation": 1, "creationTimestamp": CREATED},
        "spec": {
            "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
            "objectives": {"rto": "2h", "rpo": "30m"}, "repositoryRef": {"name": "primary"}
        }
    }))
    .unwrap()
}

fn primary() -> RecoveryRepository {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository",
        "metadata": {"name": "primary", "namespace": "arxiv", "uid": "u-2", "generation": 1},
        "spec": {
            "s3": {"bucket": "yourorg-dr", "prefix": "arxiv/", "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
            "encryption": {"keySecretRef": {"name": "repository-key"}}
        },
        "status": {"uniqueID": "repo-1", "conditions": [
            {"type": "Ready", "status": "True", "reason": "Armed", "message": "", "lastTransitionTime": CREATED}]}
    }))
    .unwrap()
}

fn found() -> Result<Source, Problem> {
    Ok(Source {
        located: source::Located {
            workload: crds::reference::WorkloadRef {
                kind: crds::reference::WorkloadKind::StatefulSet,
                name: "chromadb".into(),
            },
            claim: "data-chromadb-0".into(),
            container: "chroma".into(),
            data_path: String::new(),
        },
        pod: "chromadb-0".into(),
        node: "node-1".into(),
        image: "chromadb/chroma@sha256:5b7e".into(),
        identity: Identity { uid: Some(1000), gid: Some(1000), groups: vec![], selinux: None },
        tolerations: vec![],
        service: Ok(Some(source::Address { service: "chromadb".into(), port: 8000 })),
    })
}

fn captured(id: &str, time: &str) -> Captured {
    Captured {
        point: id.into(),
        digest: "d".into(),
        consistency_time: at(time),
        released_at: at(time),
        longest_hold: SignedDuration::from_millis(180),
        attempts: 1,
        bytes: 734_003_200,
        new_bytes: 7_214_080,
        files: 16,
        migrations: "2/6/10".into(),
        collections: vec![CollectionSummary {
            tenant: "default_tenant".into(),
            database: "default_database".into(),
            name: "papers-cs".into(),
            count: 40_000,
            dimension: Some(384),
            digest: "aa90".into(),
        }],
        collection_count: 1,
        records: 40_000,
        findings: vec![],
    }
}

fn failure(reason: FailureReason) -> Report {
    Report::Failed(Failure { reason, message: format!("it is {reason:?}") })
}

fn suspect(id: &str, time: &str) -> Captured {
    let finding = Finding { subject: "papers-cs".into(), message: "a link leads nowhere".into() };
    Captured { findings: vec![finding], ..captured(id, time) }
}

/// A small cluster: carries out plans, so that a test tells what happens and sees what is decided.
struct World {
    policy: BackupPolicy,
    repository: Option<RecoveryRepository>,
    source: Result<Source, Problem>,
    shared_with: Option<String>,
    held_by: Option<String>,
    jobs: BTreeMap<String, JobState>,
    requests: BTreeMap<String, Request>,
    points: Vec<RecoveryPoint>,
    now: Timestamp,
}

impl World {
    fn new(now: &str) -> Self {
        Self {
            policy: policy(),
            repository: Some(primary()),
            source: found(),
            shared_with: None,
            held_by: None,
            jobs: BTreeMap::new(),
            requests: BTreeMap::new(),
            points: vec![],
            now: at(now),
        }
    }

    fn plan(&self) -> Plan {
        let active = self.policy.status.as_ref().and_then(|status| status.active.as_ref());
        let job = active.and_then(|active| self.jobs.get(&job_name(&self.policy, active)));
        plan(&Observed {
            policy: &self.policy,
            terminating: false,
            repository: self.repository.as_ref(),
            source: self.source.clone(),
            shared_with: self.shared_with.clone(),
            held_by: self.held_by.clone(),
            job: job.cloned().unwrap_or(JobState::Absent),
            ended_jobs: self
                .jobs
                .iter()
                .filter(|(_, state)| !matches!(state, JobState::Running { .. }))
                .map(|(name, _)| name.clone())
                .collect(),
            points: &self.points,
            now: self.now,
        })
    }

    /// Carries out the first `writes` writes of a plan, as a controller that is killed afterwards would.
    fn carry_out(&mut self, plan: &Plan, writes: usize) {
        let mut left = writes;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        if let Some(new) = &plan.record {
            if !self.points.iter().any(|point| point.metadata.name.as_ref() == Some(&new.name)) && may() {
                self.points.push(RecoveryPoint::new(&new.name, new.spec.clone()));
            }
            let stored = self.points.iter_mut().find(|point| point.metadata.name.as_ref() == Some(&new.name));
            if let Some(stored) = stored {
                assert_eq!(stored.spec.id, new.spec.id, "a point is never overwritten");
                if stored.status.is_none() && may() {
                    stored.status = Some(new.status.clone());
                }
            }
        }
        if self.policy.status.as_ref() != Some(&plan.status) {
            if !may() {
                return;
            }
            self.policy.status = Some(plan.status.clone());
        }
        for job in &plan.delete {
            if self.jobs.contains_key(job) {
                if !may() {
                    return;
                }
                self.jobs.remove(job);
            }
        }
        let Some(job) = &plan.start else { return };
        if !self.jobs.contains_key(&job.name) && may() {
            assert!(!self.requests.contains_key(&job.name), "no Job runs twice: {}", job.name);
            self.requests.insert(job.name.clone(), job.request.clone());
            self.jobs.insert(job.name.clone(), JobState::Running { waiting: None });
        }
    }

    /// Reconciles until nothing changes.
    fn settle(&mut self) -> Plan {
        for _ in 0..6 {
            let plan = self.plan();
            let same = self.policy.status.as_ref() == Some(&plan.status)
                && plan.start.is_none()
                && plan.delete.is_empty();
            self.carry_out(&plan, usize::MAX);
            if same {
                return plan;
            }
        }
        panic!("it never settles: {:?}", self.plan());
    }

    fn status(&self) -> &BackupPolicyStatus {
        self.policy.status.as_ref().unwrap()
    }

    fn condition(&self, kind: &str) -> &Condition {
        condition::get(&self.status().conditions, kind).unwrap_or_else(|| panic!("no condition {kind}"))
    }

    fn is(&self, kind: &str, status: &str, reason: &str) {
        let found = self.condition(kind);
        assert_eq!(
            (found.status.as_str(), found.reason.as_str()),
            (status, reason),
            "{kind}: {}",
            found.message
        );
    }

    fn running(&self) -> Vec<&String> {
        self.jobs
            .iter()
            .filter(|(_, s)| matches!(s, JobState::Running { .. }))
            .map(|(name, _)| name)
            .collect()
    }

    fn end(&mut self, state: JobState) {
        let names: Vec<String> = self.running().into_iter().cloned().collect();
        assert_eq!(names.len(), 1, "one Job runs: {names:?}");
        self.jobs.insert(names[0].clone(), state);
    }

    fn report(&mut self, report: Report) {
        self.end(JobState::Ended(report));
    }

    fn wait(&mut self, plan: &Plan) {
        let Next::At(time) = plan.next else { panic!("a time was expected") };
        self.now = time;
    }
}

#[test]
fn a_new_policy_captures_nothing_until_its_first_slot() {
    let mut world = World::new(CREATED);
    let plan = world.settle();
    assert!(world.jobs.is_empty());
    world.is("Ready", "True", "Armed");
    world.is("RPOMet", "Unknown", "NoPoint");
    assert_eq!(world.status().resolved.as_ref().unwrap().schedule.cron, "*/15 * * * *");
    assert_eq!(world.status().next_capture.as_deref(), Some("2026-11-23T09:15:00Z"));
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:15:00Z")));
}

#[test]
fn a_slot_becomes_a_point() {
    let mut world = World::new(CREATED);
    let plan = world.settle();
    world.wait(&plan);
    world.settle();
    let request = world.requests.values().next().unwrap();
    let Request::Capture { source, attempt, .. } = request else { panic!("{request:?}") };
    assert_eq!(attempt, "u-1/20261123-091500/1");
    assert_eq!(source.claim, "data-chromadb-0");
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T09:15:00Z")));
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z"))));
    world.now = at("2026-11-23T09:15:20Z");
    world.settle();
    assert_eq!(world.points.len(), 1);
    let point = &world.points[0];
    assert_eq!(point.metadata.name.as_deref(), Some("chromadb-20261123-091503"));
    assert!(point.metadata.owner_references.is_none());
    let status = point.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(PointPhase::Available));
    assert_eq!(status.sizes.as_ref().unwrap().size, "700Mi");
    assert_eq!(status.chroma_db.as_ref().unwrap().writer_pause, "0.18s");
    world.is("LastCaptureSucceeded", "True", "Captured");
    world.is("RPOMet", "True", "WithinObjective");
    assert_eq!(world.status().points, 1);
    assert_eq!(world.status().active, None);
    assert!(world.jobs.is_empty(), "the Job goes once its result is written down");
}

#[test]
fn the_rpo_is_missed_at_exactly_one_instant_and_healed_by_the_next_point() {
    let mut world = World::new(CREATED);
    world.points.push(stored("p1", "2026-11-23T09:00:03Z", PointPhase::Available));
    world.source = Err(Problem { reason: "PodNotRunning", message: "it is down".into() });
    world.now = at("2026-11-23T09:30:03Z");
    let plan = world.settle();
    world.is("RPOMet", "True", "WithinObjective");
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:30:03.001Z")));
    world.wait(&plan);
    let plan = world.settle();
    world.is("RPOMet", "False", "PointTooOld");
    assert_eq!(
        world.condition("RPOMet").message,
        "since 2026-11-23T09:30:03Z the newest good point chromadb-20261123-090003 is older than 30m; what was written since 2026-11-23T09:00:03Z would be lost. See LastCaptureSucceeded"
    );
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:45:00Z")), "the next slot, nothing sooner");
    world.is("Ready", "False", "SourceNotReady");
    world.source = found();
    world.settle();
    world.report(Report::Captured(Box::new(captured("p2", "2026-11-23T09:31:00Z"))));
    world.settle();
    world.is("RPOMet", "True", "WithinObjective");
}

#[test]
fn a_policy_that_never_had_a_point_has_its_rpo_to_make_one() {
    let mut world = World::new(CREATED);
    world.repository = None;
    world.settle();
    world.is("RPOMet", "Unknown", "NoPoint");
    world.now = at("2026-11-23T09:32:00.001Z");
    world.settle();
    world.is("RPOMet", "False", "NoPoint");
}

fn stored(id: &str, time: &str, phase: PointPhase) -> RecoveryPoint {
    let mut point = RecoveryPoint::new(
        &names::point("chromadb", at(time)),
        crds::point::RecoveryPointSpec {
            policy: "chromadb".into(),
            repository_ref: crds::reference::NameRef::new("primary"),
            id: id.into(),
        },
    );
    point.status = Some(crds::point::RecoveryPointStatus {
        phase: Some(phase),
        consistency_time: Some(at(time)),
        ..Default::default()
    });
    point
}

#[test]
fn available_points_come_newest_first_and_others_not_at_all() {
    let mut foreign = stored("x", "2026-11-23T09:50:00Z", PointPhase::Available);
    foreign.spec.policy = "email".into();
    let points = [
        stored("old", "2026-11-23T08:00:00Z", PointPhase::Available),
        stored("bad", "2026-11-23T09:30:00Z", PointPhase::Quarantined),
        foreign,
        stored("new", "2026-11-23T09:00:00Z", PointPhase::Available),
    ];
    let ids: Vec<_> = points::available(&points, "chromadb").iter().map(|(p, _)| p.spec.id.clone()).collect();
    assert_eq!(ids, ["new", "old"]);
}

#[test]
fn missed_slots_are_made_up_for_by_one_capture() {
    let mut world = World::new("2026-11-23T12:07:00Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T12:00:00Z")));
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T12:07:03Z"))));
    world.settle();
    assert!(world.running().is_empty());
}

#[test]
fn a_slot_that_is_too_late_is_left_out_and_told() {
    let mut world = World::new("2026-11-23T12:07:00Z");
    world.policy.spec.schedule =
        Some(serde_json::from_value(json!({"cron": "*/15 * * * *", "startingDeadline": "5m"})).unwrap());
    let plan = world.plan();
    assert!(plan.events.iter().any(|event| event.reason == "SlotSkipped"));
    world.settle();
    assert!(world.jobs.is_empty());
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T12:00:00Z")));
}

#[test]
fn a_request_acts_once_and_only_a_later_one_acts_again() {
    let mut world = World::new("2026-11-23T09:03:00Z");
    let ask = |world: &mut World, text: &str| {
        world.policy.metadata.annotations = Some([(REQUESTED_AT.to_owned(), text.to_owned())].into());
    };
    ask(&mut world, "2026-11-23T09:02:30Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:03:03Z"))));
    world.settle();
    assert_eq!(world.points[0].status.as_ref().unwrap().origin, Some(Origin::Requested));
    for earlier in ["2026-11-23T09:02:30Z", "2026-11-20T00:00:00Z"] {
        ask(&mut world, earlier);
        world.settle();
        assert!(world.running().is_empty(), "{earlier} is not later");
    }
    ask(&mut world, "tomorrow");
    world.settle();
    world.is("RequestAccepted", "False", "InvalidTime");
    assert!(world.condition("RequestAccepted").message.contains("\"tomorrow\" is no time; write RFC3339"));
    world.is("Ready", "True", "Armed");
    ask(&mut world, "2026-11-23T09:03:10Z");
    let plan = world.settle();
    assert!(condition::get(&world.status().conditions, "RequestAccepted").is_none());
    assert!(world.running().is_empty(), "a clock that runs ahead is waited for");
    world.wait(&plan);
    world.settle();
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_slot_during_a_capture_waits_for_its_end() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.now = at("2026-11-23T09:45:10Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z"))));
    world.settle();
    assert_eq!(world.running().len(), 1, "the slot of 09:45, once");
    assert_eq!(world.status().active.as_ref().unwrap().slot, "20261123-094500");
}

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

#[test]
fn a_capture_with_findings_is_quarantined_and_never_the_newest_good_point() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.points.push(stored("p0", "2026-11-23T09:00:03Z", PointPhase::Available));
    world.settle();
    world.report(Report::Captured(Box::new(suspect("p1", "2026-11-23T09:15:03Z"))));
    world.settle();
    let point = world.points.last().unwrap().status.as_ref().unwrap();
    assert_eq!(point.phase, Some(PointPhase::Quarantined));
    assert_eq!(condition::get(&point.conditions, "Ready").unwrap().reason, "OfflineCheckFailed");
    world.is("LastCaptureSucceeded", "False", "OfflineCheckFailed");
    let last: &LastPoint = world.status().last_point.as_ref().unwrap();
    assert_eq!(last.name, "chromadb-20261123-090003");
    assert_eq!(world.status().points, 2);
    assert_eq!(world.status().consecutive_failures, 1);
}

#[test]
fn two_points_of_one_second_have_two_names() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.points.push(stored("other", "2026-11-23T09:15:03Z", PointPhase::Available));
    world.settle();
    world.report(Report::Captured(Box::new(captured("AB12cd34ef", "2026-11-23T09:15:03.5Z"))));
    world.settle();
    let names: Vec<_> = world.points.iter().filter_map(|p| p.metadata.name.clone()).collect();
    assert_eq!(names, ["chromadb-20261123-091503", "chromadb-20261123-091503-ab12cd34"]);
    assert_eq!(world.status().last_point.as_ref().unwrap().name, "chromadb-20261123-091503-ab12cd34");
}

type Change = fn(&mut World);

#[test]
fn whatever_parks_a_policy_is_said_and_heals_by_itself() {
    let cases: [(Change, &str, &str); 8] = [
        (|w| w.repository = None, "RepositoryNotReady", "does not exist"),
        (|w| w.repository.as_mut().unwrap().status = None, "RepositoryNotReady", "was not probed yet"),
        (
            |w| w.repository.as_mut().unwrap().spec.mode = crds::repository::RepositoryMode::ReadOnly,
            "RepositoryNotReady",
            "ReadWrite",
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
fn what_is_no_schedule_is_said_with_field_and_remedy_and_requests_still_work() {
    for (schedule, field) in [
        (json!({"cron": "61 * * * *"}), "spec.schedule.cron"),
        (json!({"cron": "* * * * *", "timeZone": "Mars/Olympus"}), "spec.schedule.timeZone"),
    ] {
        let mut world = World::new("2026-11-23T12:00:00Z");
        world.policy.spec.schedule = Some(serde_json::from_value(schedule).unwrap());
        world.settle();
        world.is("Ready", "False", "InvalidSpec");
        world.is("Stalled", "True", "InvalidSpec");
        assert!(world.condition("Ready").message.starts_with(field));
        assert!(world.jobs.is_empty());
        world.policy.metadata.annotations =
            Some([(REQUESTED_AT.to_owned(), "2026-11-23T11:59:00Z".to_owned())].into());
        world.settle();
        assert_eq!(world.running().len(), 1);
    }
}

#[test]
fn a_schedule_slower_than_the_rpo_is_said_and_followed() {
    let mut world = World::new("2026-11-23T10:00:00Z");
    world.policy.spec.schedule = Some(serde_json::from_value(json!({"cron": "0 * * * *"})).unwrap());
    world.settle();
    world.is("Ready", "False", "ScheduleMissesRPO");
    assert_eq!(
        world.condition("Ready").message,
        "schedule captures every 1h, the RPO is 30m; capture at \"*/15 * * * *\" (leave schedule out) or set objectives.rpo: 2h"
    );
    assert_eq!(world.running().len(), 1);
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
            let mut straight = copy(world);
            straight.end(ending.clone());
            straight.settle();
            for writes in 0..8 {
                let mut killed = copy(world);
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

fn copy(world: &World) -> World {
    World {
        policy: world.policy.clone(),
        repository: world.repository.clone(),
        source: world.source.clone(),
        shared_with: world.shared_with.clone(),
        held_by: world.held_by.clone(),
        jobs: world.jobs.clone(),
        requests: world.requests.clone(),
        points: world.points.clone(),
        now: world.now,
    }
}

#[test]
fn nothing_starts_in_a_terminating_namespace() {
    let policy = policy();
    let repository = primary();
    let plan = plan(&Observed {
        policy: &policy,
        terminating: true,
        repository: Some(&repository),
        source: found(),
        shared_with: None,
        held_by: None,
        job: JobState::Absent,
        ended_jobs: vec![],
        points: &[],
        now: at("2026-11-23T10:00:00Z"),
    });
    assert_eq!((plan.start, plan.record, plan.next), (None, None, Next::OnChange));
}
