//! A small cluster: carries out plans, so that a test tells what happens and sees what is decided.

use std::collections::BTreeMap;

use crds::condition;
use crds::job::{
    Captured, CapturedChroma, CollectionSummary, Content, Emergency, Failure, FailureReason, Finding, Report,
    Request, Torn, UnreadableRange,
};
use crds::point::PointPhase;
use crds::policy::BackupPolicyStatus;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, names};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use crate::backup::snapshot::{self, Made};
use crate::backup::source::Readable;
use crate::backup::source::{self, Problem, Source};
use crate::backup::{Observed, Plan, job_name, plan};
use crate::backup::{emergency, hooks, objects};
use crate::effect::{Identity, JobState, Next};
use crate::workload::{PodSeen, WorkloadSeen};

pub(super) const CREATED: &str = "2026-11-23T09:02:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn policy() -> BackupPolicy {
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

pub(super) fn primary() -> RecoveryRepository {
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

pub(super) fn found() -> Result<Source, Problem> {
    Ok(Source {
        claims: vec!["data-chromadb-0".into()],
        content: source::Content::ChromaDb {
            data_path: String::new(),
            image: "chromadb/chroma@sha256:5b7e".into(),
            service: Ok(Some(source::Address { service: "chromadb".into(), port: 8000 })),
        },
        pod: Some("chromadb-0".into()),
        place: crate::effect::Place { node: Some("node-1".into()), ..Default::default() },
        anywhere: crate::effect::Place::default(),
        identity: Identity { uid: Some(1000), gid: Some(1000), groups: vec![], selinux: None },
        objects: objects::Wanted::default(),
    })
}

/// What can be read of it.
pub(super) fn readable() -> Readable {
    Readable {
        claims: vec!["data-chromadb-0".into()],
        chroma_db: Some((String::new(), "chromadb/chroma@sha256:5b7e".into())),
        written: true,
        ..Readable::default()
    }
}

pub(super) fn captured(id: &str, time: &str) -> Captured {
    Captured {
        point: id.into(),
        digest: "d".into(),
        consistency_time: at(time),
        longest_hold: SignedDuration::from_millis(180),
        stored_at: None,
        locked_until: None,
        bytes: 734_003_200,
        new_bytes: 7_214_080,
        files: 16,
        objects: 5,
        content: Content::ChromaDb(CapturedChroma {
            released_at: at(time),
            attempts: 1,
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
        }),
        findings: vec![],
        emergency: None,
    }
}

/// What could be read of a volume that gave errors.
pub(super) fn emergency(id: &str, time: &str) -> Captured {
    let range = UnreadableRange { file: "data/chroma.sqlite3".into(), offset: 8192, length: 4096 };
    let emergency = Emergency {
        torn: Torn::Unknown,
        unreadable_bytes: 12_288,
        unreadable_count: 2,
        unreadable: vec![range],
        missed_count: 1,
        missed: vec!["data/x: can't be opened".into()],
        evidence: 3,
    };
    Captured { emergency: Some(emergency), ..captured(id, time) }
}

pub(super) fn failure(reason: FailureReason) -> Report {
    Report::Failed(Failure { reason, message: format!("it is {reason:?}") })
}

pub(super) fn suspect(id: &str, time: &str) -> Captured {
    let finding = Finding { subject: "papers-cs".into(), message: "a link leads nowhere".into() };
    Captured { findings: vec![finding], ..captured(id, time) }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) policy: BackupPolicy,
    pub(super) repository: Option<RecoveryRepository>,
    pub(super) source: Result<Source, Problem>,
    pub(super) finalizer: bool,
    pub(super) hooks_allowed: bool,
    pub(super) readable: Readable,
    /// The repository for emergencies, where it is another one.
    pub(super) vault: Option<RecoveryRepository>,
    pub(super) workloads: Vec<WorkloadSeen>,
    pub(super) pods: Vec<PodSeen>,
    pub(super) shared_with: Option<String>,
    pub(super) circle: Option<String>,
    pub(super) snapshots: snapshot::Seen,
    pub(super) held_by: Option<String>,
    pub(super) fresh: Option<crate::backup::fresh::Asked>,
    pub(super) jobs: BTreeMap<String, JobState>,
    pub(super) requests: BTreeMap<String, Request>,
    /// What the captures of the running series have reported.
    pub(super) turns: Vec<Option<Report>>,
    /// The same of the emergency capture that runs.
    pub(super) emergency_turns: Vec<Option<Report>>,
    pub(super) points: Vec<RecoveryPoint>,
    pub(super) now: Timestamp,
}

impl World {
    pub(super) fn new(now: &str) -> Self {
        Self {
            policy: policy(),
            repository: Some(primary()),
            source: found(),
            finalizer: false,
            hooks_allowed: true,
            readable: readable(),
            vault: None,
            workloads: vec![],
            pods: vec![],
            shared_with: None,
            circle: None,
            snapshots: snapshot::Seen::default(),
            held_by: None,
            fresh: None,
            jobs: BTreeMap::new(),
            requests: BTreeMap::new(),
            turns: vec![],
            emergency_turns: vec![],
            points: vec![],
            now: at(now),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan_of(false)
    }

    /// The same of a policy that is being deleted.
    pub(super) fn plan_of(&self, terminating: bool) -> Plan {
        let status = self.policy.status.as_ref();
        let active = status.and_then(|status| status.active.as_ref());
        let job = active.and_then(|active| self.jobs.get(&job_name(&self.policy, active)));
        let hooked = status.and_then(|status| status.hooked.as_ref());
        let hook_job = hooked.and_then(|hooked| self.jobs.get(&hooks::job_name(&self.policy, hooked)));
        plan(&Observed {
            policy: &self.policy,
            terminating,
            namespace_terminating: false,
            finalizer: self.finalizer,
            repository: self.repository.as_ref(),
            source: self.source.clone(),
            workloads: &self.workloads,
            pods: &self.pods,
            shared_with: self.shared_with.clone(),
            circle: self.circle.clone(),
            snapshots: self.snapshots.clone(),
            hooks_allowed: self.hooks_allowed,
            hook_job: hook_job.cloned().unwrap_or(JobState::Absent),
            held_by: self.held_by.clone(),
            fresh: self.fresh.clone(),
            job: job.cloned().unwrap_or(JobState::Absent),
            turns: self.turns.clone(),
            emergency: self.emergency(),
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

    fn emergency(&self) -> emergency::Seen<'_> {
        let wanted = emergency::repository_of(&self.policy);
        let all = [self.repository.as_ref(), self.vault.as_ref()];
        let mut named =
            all.into_iter().flatten().filter(|known| known.metadata.name.as_deref() == Some(wanted));
        let active =
            self.policy.status.as_ref().and_then(|status| status.emergency.as_ref()?.active.as_ref());
        let job = active.and_then(|active| self.jobs.get(&emergency::job_name(&self.policy, active)));
        emergency::Seen {
            repository: named.next(),
            readable: emergency::is_wanted(&self.policy).then(|| self.readable.clone()),
            job: job.cloned().unwrap_or(JobState::Absent),
            turns: self.emergency_turns.clone(),
        }
    }

    /// Carries out the first `writes` writes of a plan, as a controller that is killed afterwards would. Returns how many are left.
    pub(super) fn carry_out(&mut self, plan: &Plan, writes: usize) -> usize {
        let mut left = Some(writes);
        let mut may = || {
            left = left.and_then(|left| left.checked_sub(1));
            left.is_some()
        };
        self.write(plan, &mut may);
        left.unwrap_or(0)
    }

    fn write(&mut self, plan: &Plan, may: &mut dyn FnMut() -> bool) {
        for new in plan.record.iter().chain(&plan.preserved) {
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
        for clone in &plan.sweep.clones {
            if !may() {
                return;
            }
            self.snapshots.clones.retain(|made| made != clone);
        }
        for snapshot in &plan.sweep.snapshots {
            if !may() {
                return;
            }
            self.snapshots.made.retain(|seen| seen.made != *snapshot);
        }
        if self.policy.status.as_ref() != Some(&plan.status) {
            if !may() {
                return;
            }
            self.policy.status = Some(plan.status.clone());
        }
        if let Some(held) = plan.finalizer.filter(|held| *held != self.finalizer) {
            if !may() {
                return;
            }
            self.finalizer = held;
        }
        for scale in &plan.scale {
            if !may() {
                return;
            }
            let owed = self.status().stopped.is_some() && self.finalizer;
            assert!(
                scale.replicas > 0 || owed,
                "it is written down and the policy held before anything is stopped"
            );
            let found = self.workloads.iter_mut().find(|w| w.workload == scale.workload).unwrap();
            assert_eq!(found.resource_version, scale.resource_version);
            found.replicas = scale.replicas;
            found.resource_version.push('+');
        }
        for job in &plan.delete {
            if self.jobs.contains_key(job) {
                if !may() {
                    return;
                }
                self.jobs.remove(job);
            }
        }
        for clone in &plan.clones {
            if self.snapshots.clones.iter().any(|made| made.name == clone.name) {
                continue;
            }
            if !may() {
                return;
            }
            let cut = self.snapshots.made.iter().find(|seen| seen.made.name == clone.name);
            assert!(cut.is_some_and(|seen| seen.ready), "a clone is made of a snapshot that can be read");
            let uid = format!("{}-uid", clone.name);
            self.snapshots.clones.push(Made { name: clone.name.clone(), uid, deleting: false });
        }
        if let Some(job) = &plan.hook
            && !self.jobs.contains_key(&job.name)
        {
            if !may() {
                return;
            }
            assert!(
                self.finalizer && self.status().hooked.is_some(),
                "what ends it is owed before it begins"
            );
            assert!(!self.requests.contains_key(&job.name), "no Job runs twice: {}", job.name);
            self.requests.insert(job.name.clone(), job.request.clone());
            self.jobs.insert(job.name.clone(), JobState::Running { waiting: None });
        }
        if let Some(job) = &plan.emergency
            && !self.jobs.contains_key(&job.name)
        {
            if !may() {
                return;
            }
            let written = self.status().emergency.as_ref().is_some_and(|status| status.active.is_some());
            assert!(written, "it is written down before it begins");
            assert!(!self.requests.contains_key(&job.name), "no Job runs twice: {}", job.name);
            self.requests.insert(job.name.clone(), job.request.clone());
            self.jobs.insert(job.name.clone(), JobState::Running { waiting: None });
        }
        let Some(job) = &plan.start else { return };
        if !self.jobs.contains_key(&job.name) && may() {
            assert!(!self.requests.contains_key(&job.name), "no Job runs twice: {}", job.name);
            let capture = matches!(job.request, Request::Capture { .. });
            let offline = self.policy.spec.capture.offline.is_some() && capture;
            assert!(!offline || self.pods.is_empty(), "nothing has the volume");
            self.requests.insert(job.name.clone(), job.request.clone());
            self.jobs.insert(job.name.clone(), JobState::Running { waiting: None });
        }
    }

    /// Reconciles until nothing changes.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..6 {
            let plan = self.plan();
            let same = self.policy.status.as_ref() == Some(&plan.status)
                && plan.start.is_none()
                && plan.hook.is_none()
                && plan.emergency.is_none()
                && plan.delete.is_empty()
                && plan.scale.is_empty()
                && plan.finalizer.is_none()
                && plan.sweep == snapshot::Leftovers::default();
            self.carry_out(&plan, usize::MAX);
            if same {
                return plan;
            }
        }
        panic!("it never settles: {:?}", self.plan());
    }

    pub(super) fn status(&self) -> &BackupPolicyStatus {
        self.policy.status.as_ref().unwrap()
    }

    pub(super) fn condition(&self, kind: &str) -> &Condition {
        condition::get(&self.status().conditions, kind).unwrap_or_else(|| panic!("no condition {kind}"))
    }

    pub(super) fn is(&self, kind: &str, status: &str, reason: &str) {
        let found = self.condition(kind);
        assert_eq!(
            (found.status.as_str(), found.reason.as_str()),
            (status, reason),
            "{kind}: {}",
            found.message
        );
    }

    pub(super) fn running(&self) -> Vec<&String> {
        self.jobs
            .iter()
            .filter(|(_, s)| matches!(s, JobState::Running { .. }))
            .map(|(name, _)| name)
            .collect()
    }

    pub(super) fn end(&mut self, state: JobState) {
        let names: Vec<String> = self.running().into_iter().cloned().collect();
        assert_eq!(names.len(), 1, "one Job runs: {names:?}");
        self.jobs.insert(names[0].clone(), state);
    }

    pub(super) fn report(&mut self, report: Report) {
        self.end(JobState::Ended(report));
    }

    pub(super) fn wait(&mut self, plan: &Plan) {
        let Next::At(time) = plan.next else { panic!("a time was expected") };
        self.now = time;
    }
}

pub(super) fn stored(id: &str, time: &str, phase: PointPhase) -> RecoveryPoint {
    let mut point = RecoveryPoint::new(
        &names::point("chromadb", at(time)),
        crds::point::RecoveryPointSpec {
            policy: "chromadb".into(),
            repository_ref: crds::reference::NameRef::new("primary"),
            id: id.into(),
            deletion_policy: Default::default(),
            hold: None,
            trust: Default::default(),
        },
    );
    point.status = Some(crds::point::RecoveryPointStatus {
        phase: Some(phase),
        consistency_time: Some(at(time)),
        ..Default::default()
    });
    point
}
