//! Drills through simulated time: a small API server in memory, of which every write can be the controller's last.

mod history;
mod schedule;
mod stamps;
mod verdict;

use crds::condition;
use crds::drill::{DrDrillSpec, DrillTest};
use crds::reference::{DRILL_LABEL, REQUESTED_AT};
use crds::run::{ChosenPoint, RecoveryRunStatus, Verdict};
use crds::{BackupPolicy, DrDrill, RecoveryPoint, RecoveryRun};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::{Value, json};

use super::*;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What there is of the namespace.
#[derive(Clone)]
pub(super) struct World {
    pub(super) drill: DrDrill,
    pub(super) policies: Vec<BackupPolicy>,
    pub(super) runs: Vec<RecoveryRun>,
    pub(super) points: Vec<RecoveryPoint>,
    pub(super) now: Timestamp,
    /// Every run that was ever created, with the time.
    pub(super) created: Vec<(Timestamp, String)>,
    pub(super) events: Vec<Event>,
    uids: u32,
}

impl World {
    pub(super) fn new(spec: Value, now: &str) -> Self {
        let now = at(now);
        let spec: DrDrillSpec = serde_json::from_value(spec).unwrap();
        let mut drill = DrDrill::new("db", spec);
        drill.metadata = ObjectMeta {
            namespace: Some("arxiv".into()),
            uid: Some("u-drill".into()),
            generation: Some(1),
            creation_timestamp: Some(Time(now)),
            ..drill.metadata
        };
        let policy = serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb"},
            "spec": {"component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
                "objectives": {"rto": "2h", "rpo": "30m"}, "repositoryRef": {"name": "primary"}},
        }));
        Self {
            drill,
            policies: vec![policy.unwrap()],
            runs: vec![],
            points: vec![],
            now,
            created: vec![],
            events: vec![],
            uids: 0,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&Observed {
            drill: &self.drill,
            terminating: false,
            policies: &self.policies,
            runs: &self.runs,
            points: &self.points,
            now: self.now,
        })
    }

    /// One reconciliation that ends after so many writes. Returns how many there were.
    pub(super) fn reconcile(&mut self, most: usize) -> usize {
        let plan = self.plan();
        let mut writes = 0;
        if self.drill.status.as_ref() != Some(&plan.status) {
            if most == 0 {
                return 0;
            }
            self.drill.status = Some(plan.status);
            self.events.extend(plan.events);
            writes += 1;
        }
        if let Some(child) = plan.create.filter(|_| writes < most)
            && !self.runs.iter().any(|run| run.metadata.name.as_ref() == Some(&child.name))
        {
            self.uids += 1;
            self.created.push((self.now, child.name.clone()));
            let run = run_of(&child.name, &format!("u-{}", self.uids), self.now, child.spec);
            self.runs.push(run);
            writes += 1;
        }
        for stamp in plan.stamps {
            let point =
                self.points.iter_mut().find(|point| point.metadata.name.as_ref() == Some(&stamp.name));
            if let Some(point) = point.filter(|_| writes < most)
                && let Some(status) = crate::verification::stamped(point, &stamp, self.now)
            {
                point.status = Some(status);
                writes += 1;
            }
        }
        for (_, uid) in plan.remove {
            if writes < most {
                self.runs.retain(|run| run.metadata.uid.as_ref() != Some(&uid));
                writes += 1;
            }
        }
        writes
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..10 {
            if self.reconcile(usize::MAX) == 0 {
                return;
            }
        }
        panic!("it never comes to rest: {:#?}", self.drill.status);
    }

    pub(super) fn status(&self) -> DrDrillStatus {
        self.drill.status.clone().unwrap_or_default()
    }

    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let found = condition::get(&status.conditions, kind);
        found.map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
    }

    pub(super) fn ask(&mut self) {
        let annotations = self.drill.metadata.annotations.get_or_insert_default();
        let _ = annotations.insert(REQUESTED_AT.to_owned(), self.now.to_string());
    }

    /// The run under way ends with this status.
    pub(super) fn end(&mut self, status: RecoveryRunStatus) {
        let name = self.status().running.expect("a drill is under way").run;
        let run = self.runs.iter_mut().find(|run| run.metadata.name.as_ref() == Some(&name)).unwrap();
        run.status = Some(status);
    }

    /// Every look that is due until `end`, each of them at its time; a run takes 10 minutes and ends as `outcome` says.
    pub(super) fn simulate(&mut self, end: Timestamp, outcome: fn(Timestamp) -> RecoveryRunStatus) {
        while self.now <= end {
            self.settle();
            let plan = self.plan();
            let look = match plan.next {
                Next::At(time) => time,
                Next::OnChange => end + SignedDuration::from_secs(1),
            };
            if let Some(running) = self.status().running {
                let over = running.started + SignedDuration::from_mins(10);
                if over <= look {
                    self.now = over.max(self.now);
                    self.end(outcome(running.started));
                    continue;
                }
            }
            assert!(look > self.now, "a hot loop at {}", self.now);
            self.now = look;
        }
        self.now = end;
        self.settle();
    }
}

pub(super) fn run_of(name: &str, uid: &str, now: Timestamp, spec: crds::run::RecoveryRunSpec) -> RecoveryRun {
    let mut run = RecoveryRun::new(name, spec);
    run.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        creation_timestamp: Some(Time(now)),
        labels: Some([(DRILL_LABEL.to_owned(), "db".to_owned())].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: "holdfast.dev/v1alpha1".into(),
            kind: "DrDrill".into(),
            name: "db".into(),
            uid: "u-drill".into(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..run.metadata
    };
    run
}

pub(super) fn monthly() -> Value {
    json!({"test": "DatabaseRecovery", "schedule": {"cron": "0 5 1 * *", "timeZone": "America/New_York"},
        "policies": [{"name": "chromadb"}]})
}

/// The status of a run whose conditions are these, as type, status and reason.
pub(super) fn ended(conditions: &[(&str, &str, &str)]) -> RecoveryRunStatus {
    let mut status = RecoveryRunStatus::default();
    for (kind, truth, reason) in conditions {
        let truth = match *truth {
            "True" => condition::Status::True,
            "False" => condition::Status::False,
            _ => condition::Status::Unknown,
        };
        let message = format!("{kind} is {reason}");
        condition::set(&mut status.conditions, kind, truth, reason, message, 1, at("2026-11-01T10:00:00Z"));
    }
    status
}

pub(super) fn point(policy: &str, name: &str, time: Timestamp) -> ChosenPoint {
    ChosenPoint {
        policy: policy.into(),
        name: name.into(),
        id: name.into(),
        repository: "primary".into(),
        consistency_time: time,
    }
}

/// A run that succeeded with a point of ten minutes before its start.
pub(super) fn passed(started: Timestamp) -> RecoveryRunStatus {
    let mut status = ended(&[("Complete", "True", "Recovered"), ("Ready", "True", "Recovered")]);
    status.verdict = Some(Verdict::Passed);
    status.points = vec![point("chromadb", "chromadb-1", started - SignedDuration::from_mins(10))];
    status.measured = vec![measured("chromadb", "6m41s")];
    status
}

pub(super) fn measured(policy: &str, rto: &str) -> crds::run::Measured {
    crds::run::Measured {
        policy: policy.into(),
        rpo: None,
        rewind: None,
        rto: rto.into(),
        breakdown: vec![],
        not_measured: vec![],
        data_loss: None,
    }
}

#[test]
fn nothing_runs_when_a_drill_is_made_and_its_run_is_named_before_it_is_created() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.settle();
    assert!(world.created.is_empty() && world.status().running.is_none());
    assert_eq!(world.condition("Ready"), ("True".into(), "Armed".into()));
    assert_eq!(world.condition("LastDrillPassed"), ("Unknown".into(), "NeverRun".into()));
    assert_eq!(world.condition("EvidenceFresh"), ("Unknown".into(), "NeverPassed".into()));
    assert_eq!(world.status().next_run.as_deref(), Some("2026-12-01T10:00:00Z"));
    world.ask();
    assert_eq!(world.reconcile(1), 1, "the status alone");
    let running = world.status().running.unwrap();
    assert_eq!(running.run, "db-20261123-094000");
    assert!(world.created.is_empty());
    world.settle();
    assert_eq!(world.created.len(), 1);
    let run = &world.runs[0].spec;
    assert_eq!(run.incident.as_ref().unwrap().detected_at, Some(running.started));
    assert!(run.sandbox().is_some() && run.in_place().is_none());
    world.now += SignedDuration::from_mins(7);
    world.end(passed(running.started));
    world.settle();
    let status = world.status();
    assert_eq!((status.last_passed, status.running), (Some(running.started), None));
    assert_eq!(status.results[0].verdict, Verdict::Passed);
    assert_eq!(status.results[0].rpo.as_deref(), Some("10m"));
    let display = status.display.unwrap();
    assert_eq!((display.rpo.as_deref(), display.rto.as_deref()), (Some("10m/30m"), Some("6m41s/2h")));
    assert_eq!((display.result.as_deref(), display.objectives.as_deref()), (Some("Passed"), Some("Met")));
    for (kind, reason) in
        [("LastDrillPassed", "Passed"), ("ObjectivesMet", "Met"), ("EvidenceFresh", "Fresh")]
    {
        assert_eq!(world.condition(kind), ("True".into(), reason.into()));
    }
}

#[test]
fn every_test_becomes_the_run_of_its_scenario() {
    use crds::run::Scenario;
    for (test, scenario) in [
        ("DatabaseRecovery", Scenario::DatabaseCorruption),
        ("FullSystemRecovery", Scenario::CompleteFailure),
        ("SecurityBreach", Scenario::SecurityBreach),
        ("NetworkFailure", Scenario::NetworkFailure),
        ("BackupVerification", Scenario::BackupVerification),
    ] {
        let verifies = scenario == Scenario::BackupVerification;
        let mut spec = json!({"test": test, "schedule": {"cron": "0 5 1 * *"}, "deadline": "3h"});
        if !verifies {
            spec["sandbox"] = json!({"storageClassName": "fast", "keepOnFailure": "24h"});
        }
        let mut world = World::new(spec, "2026-11-23T09:40:00Z");
        world.policies[0].spec.offline =
            serde_json::from_value(json!({"endpoints": [{"host": "a", "port": 1}]})).unwrap();
        world.ask();
        world.settle();
        let run = &world.runs[0].spec;
        assert_eq!(run.scenario, scenario);
        assert_eq!(run.target.is_none(), verifies, "what verifies needs no sandbox and has no other target");
        assert_eq!(run.storage_class().map(String::as_str), (!verifies).then_some("fast"));
        assert_eq!(run.deadline.map(|d| d.to_string()).as_deref(), Some("3h"));
        let incident = run.incident.clone().unwrap();
        let breach = scenario == Scenario::SecurityBreach;
        assert_eq!(incident.suspected_since.is_some(), breach);
        assert_eq!(run.point.as_ref().is_some_and(|point| point.last_known_good.is_some()), breach);
        assert_eq!(world.drill.spec.test.scenario(), scenario);
        assert_eq!(world.drill.spec.test.has_points(), test != "NetworkFailure");
        assert_eq!(world.drill.spec.test.as_str(), test);
    }
}

/// A drill that was asked for, through its whole life, by controllers that die after every so many writes.
#[test]
fn a_controller_that_dies_after_any_write_starts_one_run_and_records_one_result() {
    let life = |writes: usize| {
        let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
        world.settle();
        world.ask();
        let mut ended = false;
        for _ in 0..40 {
            let _ = world.reconcile(writes);
            world.now += SignedDuration::from_millis(10);
            if !ended && world.runs.len() == 1 && world.status().running.is_some() {
                let started = world.status().running.unwrap().started;
                world.end(passed(started));
                ended = true;
            }
        }
        world
    };
    for writes in 1..4 {
        let world = life(writes);
        assert_eq!(world.created.len(), 1, "{writes}");
        let status = world.status();
        assert_eq!(status.results.len(), 1);
        assert_eq!(status.results[0].verdict, Verdict::Passed);
        assert_eq!(status.running, None);
    }
}

#[test]
fn a_run_that_is_lost_is_inconclusive_and_one_that_is_somebody_elses_is_left_alone() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.ask();
    world.settle();
    world.settle();
    world.runs.clear();
    world.settle();
    let result = &world.status().results[0];
    assert_eq!((result.verdict, result.reason.as_str()), (Verdict::Inconclusive, "RunDeleted"));
    assert_eq!(world.created.len(), 1, "it is not made again");
    assert_eq!(world.condition("LastDrillPassed"), ("False".into(), "Inconclusive".into()));
    assert_eq!(world.condition("EvidenceFresh"), ("False".into(), "NeverPassed".into()));

    // The API server refuses the run for ten minutes.
    world.now += SignedDuration::from_mins(1);
    world.ask();
    let _ = world.reconcile(1);
    assert!(world.status().running.is_some());
    world.now += SignedDuration::from_mins(11);
    assert!(world.plan().create.is_none());
    let _ = world.reconcile(1);
    assert_eq!(world.status().results[0].reason, "NotCreated");

    world.now += SignedDuration::from_mins(1);
    world.ask();
    let _ = world.reconcile(1);
    let name = world.status().running.unwrap().run;
    let mut other = run_of(&name, "u-other", world.now, world.created_spec());
    other.metadata.owner_references = None;
    world.runs.push(other);
    world.settle();
    assert_eq!(world.status().results[0].reason, "NameTaken");
    assert_eq!(world.runs.len(), 1, "it stays");
    assert_eq!(world.status().consecutive_failures, 3);
}

impl World {
    fn created_spec(&self) -> crds::run::RecoveryRunSpec {
        let text = json!({"scenario": "DatabaseCorruption", "target": {"sandbox": {}}});
        serde_json::from_value(text).unwrap()
    }
}

#[test]
fn a_recovery_comes_first_and_the_drill_follows_it() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.settle();
    let mut real = run_of("db-2026-11-23", "u-real", world.now, world.created_spec());
    real.metadata.owner_references = None;
    real.metadata.labels = None;
    real.spec.target = serde_json::from_value(json!({"inPlace": {"confirm": "arxiv"}})).unwrap();
    world.runs.push(real.clone());
    world.ask();
    world.settle();
    assert!(world.created.is_empty());
    assert_eq!(world.condition("Reconciling"), ("True".into(), "WaitingForRun".into()));
    // A look and an outage of the network are in nobody's way.
    let mut assess = world.clone();
    assess.runs[0].spec.mode = crds::run::RunMode::Assess;
    assess.settle();
    assert_eq!(assess.created.len(), 1);
    world.runs[0].status = Some(passed(world.now));
    world.settle();
    assert_eq!(world.created.len(), 1);
    assert_eq!(world.condition("Reconciling"), ("True".into(), "Progressing".into()));
}

#[test]
fn what_can_not_be_rehearsed_is_skipped_aloud() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.policies.clear();
    world.settle();
    assert_eq!(world.condition("Ready"), ("False".into(), "PolicyNotFound".into()));
    world.ask();
    world.settle();
    assert!(world.created.is_empty());
    let status = world.status();
    assert_eq!(
        (status.results[0].verdict, status.results[0].reason.as_str()),
        (Verdict::Skipped, "PolicyNotFound")
    );
    assert_eq!(
        world.condition("LastDrillPassed"),
        ("Unknown".into(), "NeverRun".into()),
        "a skip is no result"
    );
    assert_eq!(status.consecutive_failures, 0);

    world.drill.spec.policies = None;
    world.drill.spec.test = DrillTest::NetworkFailure;
    assert!(
        conditions::impossible(&Observed {
            drill: &world.drill,
            terminating: false,
            policies: &World::new(monthly(), "2026-11-23T09:40:00Z").policies,
            runs: &[],
            points: &[],
            now: world.now,
        })
        .is_some_and(|(_, why)| why.contains("spec.offline"))
    );
}

#[test]
fn a_schedule_that_can_not_be_read_starts_nothing_and_says_why() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.drill.spec.schedule.cron = "0 0 30 2 *".into();
    world.ask();
    world.settle();
    assert!(world.created.is_empty());
    assert_eq!(world.condition("Ready"), ("False".into(), "InvalidSpec".into()));
    assert_eq!(world.condition("Stalled").0, "True");
}
