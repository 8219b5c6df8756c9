//! A small cluster in memory: enough of StatefulSet, PersistentVolume and Job controllers to carry a recovery to its end
//! or to refuse what a real one would refuse. Every effect is applied alone, so that a controller can be killed after it.

use std::collections::BTreeMap;

use crds::job::{CheckResult, Checked, Finding, Report, RepositoryAccess, Request, Restored, Verified};
use crds::policy::Objectives;
use crds::reference::{BINDING, NameRef, WorkloadKind, WorkloadRef};
use crds::run::{RecoveryRunSpec, RecoveryRunStatus, Verdict};
use crds::{Span, names};
use jiff::{SignedDuration, Timestamp};

use crate::effect::{JobState, RepositoryKeys};
use crate::recovery::seen::*;
use crate::recovery::{Effect, Plan, plan};
use crate::workload::Scale;

pub(super) const CLAIM: &str = "data-chromadb-0";
pub(super) const RUN_UID: &str = "run-uid-1";

/// What happened to the cluster that a test asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) jobs: Vec<String>,
    pub(super) claims_deleted: Vec<String>,
    pub(super) scaled: Vec<i32>,
    pub(super) marks: Vec<String>,
}

/// How the PersistentVolume controller binds a claim that names its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binder {
    /// At once.
    Prompt,
    /// It writes the volume, its write of the claim is refused, and it does nothing until the claim changes.
    Refused,
    /// The same when its write of the volume is refused, so that the volume shows nothing.
    RefusedEarly,
    /// It does not bind at all.
    Never,
}

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) seen: Observed,
    pub(super) log: Log,
    /// What the next Job of a step says; absent: the good answer. Each answer is used once.
    pub(super) answers: BTreeMap<&'static str, Vec<JobState>>,
    pub(super) fence_works: bool,
    pub(super) binder: Binder,
    serial: u32,
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn spec(extra: serde_json::Value) -> RecoveryRunSpec {
    let mut value = serde_json::json!({
        "scenario": "DatabaseCorruption", "policies": [{"name": "chromadb"}],
        "target": {"inPlace": {"confirm": "arxiv"}}, "incident": {"detectedAt": "2026-11-23T09:28:00Z"},
    });
    for (key, more) in extra.as_object().unwrap() {
        value[key] = more.clone();
    }
    serde_json::from_value(value).unwrap()
}

pub(super) fn point(name: &str, time: &str, state: PointState) -> PointSeen {
    PointSeen {
        name: name.into(),
        id: format!("id-{name}"),
        policy: "chromadb".into(),
        repository: "primary".into(),
        state,
        consistency_time: Some(at(time)),
        bytes: 733_000_000,
        migrations: Some("2/6/10".into()),
    }
}

fn volume(name: &str, owner: (&str, &str, &str), reclaim: &str) -> VolumeSeen {
    VolumeSeen {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        claim: Some(ClaimOf { namespace: owner.0.into(), name: owner.1.into(), uid: Some(owner.2.into()) }),
        reclaim: reclaim.into(),
        phase: "Bound".into(),
        class: Some("standard".into()),
        size: "20Gi".into(),
    }
}

impl Cluster {
    pub(super) fn new() -> Self {
        let claim = ClaimSeen {
            name: CLAIM.into(),
            uid: "claim-old".into(),
            labels: BTreeMap::from([("app".into(), "chromadb".into())]),
            annotations: BTreeMap::from([
                ("team".into(), "search".into()),
                ("pv.kubernetes.io/bind-completed".into(), "yes".into()),
            ]),
            volume: Some("pv-old".into()),
            bound: true,
            class: Some("standard".into()),
            size: "20Gi".into(),
            access_modes: vec!["ReadWriteOnce".into()],
            ..ClaimSeen::default()
        };
        let seen = Observed {
            now: at("2026-11-23T09:31:13.25Z"),
            epoch: 1,
            namespace_terminating: false,
            run: RunSeen {
                namespace: "arxiv".into(),
                name: "db-1".into(),
                uid: RUN_UID.into(),
                created: at("2026-11-23T09:31:12Z"),
                generation: 1,
                deleting: false,
                finalizer: false,
                spec: spec(serde_json::json!({})),
                status: RecoveryRunStatus::default(),
            },
            executed: None,
            others: Vec::new(),
            policies: vec!["chromadb".into()],
            components: vec![Component {
                policy: "chromadb".into(),
                objectives: Objectives { rto: Span::from_hours(2), rpo: Span::from_mins(30) },
                repository: "primary".into(),
                application: false,
                approval: false,
                access: Ok(access()),
                workloads: vec![WorkloadSeen {
                    workload: WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() },
                    uid: "sts".into(),
                    resource_version: "1".into(),
                    replicas: 1,
                    ready: 1,
                    deletes_claims: false,
                }],
                stopped: false,
                source: Ok(Source {
                    claim: CLAIM.into(),
                    data_path: String::new(),
                    url: Ok("http://chromadb.arxiv.svc:8000".into()),
                    auth: None,
                    place: crate::effect::Place::default(),
                    identity: crate::effect::Identity { uid: Some(1000), ..Default::default() },
                }),
            }],
            points: vec![
                point("p3", "2026-11-23T09:15:02Z", PointState::Quarantined("OfflineCheckFailed".into())),
                point("p2", "2026-11-23T09:00:03Z", PointState::Available),
                point("p1", "2026-11-23T08:45:03Z", PointState::Available),
            ],
            jobs: BTreeMap::new(),
            volumes: BTreeMap::from([(
                "pv-old".into(),
                volume("pv-old", ("arxiv", CLAIM, "claim-old"), "Delete"),
            )]),
            claims: BTreeMap::from([(CLAIM.into(), claim)]),
            pods: vec![server()],
            memory: None,
        };
        Self {
            seen,
            log: Log::default(),
            answers: BTreeMap::new(),
            fence_works: true,
            binder: Binder::Prompt,
            serial: 0,
        }
    }

    pub(super) fn bound_by(binder: Binder) -> Self {
        Self { binder, ..Self::new() }
    }

    fn next(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }

    pub(super) fn status(&self) -> &RecoveryRunStatus {
        &self.seen.run.status
    }

    pub(super) fn plan(&self) -> Plan {
        let mut seen = self.seen.clone();
        if let Some(memory) = &mut seen.memory {
            memory.proof = match (seen.run.status.fenced.is_empty(), self.fence_works) {
                (true, _) => Proof::NotTried,
                (false, true) => Proof::Holds,
                (false, false) => Proof::Open("a pod is let through".into()),
            };
        }
        plan(&seen)
    }

    pub(super) fn set_mut(&mut self) -> &mut WorkloadSeen {
        &mut self.seen.components[0].workloads[0]
    }

    /// One effect, as the API server would take it. Outdated ones do nothing.
    pub(super) fn apply(&mut self, effect: &Effect) {
        self.log.marks.push(effect.mark());
        match effect {
            Effect::CreateExecuted { data, .. } => {
                if self.seen.executed.is_none() {
                    self.seen.executed =
                        Some(Executed { uid: data["uid"].clone(), time: data["time"].clone() });
                }
            }
            Effect::AddFinalizer => self.seen.run.finalizer = true,
            Effect::RemoveFinalizer => self.seen.run.finalizer = false,
            Effect::RememberClaims { remembered, .. } => {
                if self.seen.memory.is_none() {
                    // Through its stored form, as the real one.
                    let text = serde_json::to_string(remembered).unwrap();
                    self.seen.memory = Some(Memory {
                        uid: "memory".into(),
                        remembered: serde_json::from_str(&text).unwrap(),
                        proof: Proof::NotTried,
                    });
                }
            }
            Effect::ForgetClaims { .. } => self.seen.memory = None,
            Effect::SetReclaimPolicy { volume, resource_version, policy } => {
                let version = self.next("v");
                let volume = self.seen.volumes.get_mut(volume).unwrap();
                assert_eq!(*resource_version, volume.resource_version);
                volume.reclaim.clone_from(policy);
                volume.resource_version = version;
            }
            Effect::Scale(Scale { replicas, .. }) => {
                self.log.scaled.push(*replicas);
                self.set_mut().replicas = *replicas;
            }
            Effect::CreateClaim(new) => {
                let uid = self.next("claim");
                self.seen.claims.entry(new.name.clone()).or_insert(ClaimSeen {
                    name: new.name.clone(),
                    uid,
                    labels: new.labels.clone(),
                    annotations: new.annotations.clone(),
                    owners: new.owners.clone(),
                    volume: new.volume.clone(),
                    class: new.class.clone(),
                    size: new.size.clone(),
                    access_modes: new.access_modes.clone(),
                    ..ClaimSeen::default()
                });
            }
            Effect::AnnotateClaim { name, resource_version, value } => {
                let version = self.next("v");
                let claim = self.seen.claims.get_mut(name).unwrap();
                assert_eq!(*resource_version, claim.resource_version);
                match value {
                    Some(value) => claim.annotations.insert(BINDING.into(), value.clone()),
                    None => claim.annotations.remove(BINDING),
                };
                claim.resource_version = version;
            }
            Effect::CreateJob { job, .. } => {
                if !self.seen.jobs.contains_key(&job.name) {
                    self.log.jobs.push(job.name.clone());
                    let uid = self.next("job");
                    let claims = job.sources.values().chain(&job.target).map(|v| v.claim.clone());
                    self.seen.pods.push(PodSeen {
                        name: format!("{}-pod", job.name),
                        claims: claims.collect(),
                        ended: false,
                        lost_on: None,
                        ready: true,
                        restarts: 0,
                    });
                    let step = kind(&job.request);
                    let state = match self.answers.get_mut(step).filter(|list| !list.is_empty()) {
                        Some(list) => list.remove(0),
                        None => JobState::Ended(good(&job.request)),
                    };
                    let ended = (!matches!(state, JobState::Running { .. })).then_some(self.seen.now);
                    self.seen.jobs.insert(job.name.clone(), JobSeen { uid, deleting: false, ended, state });
                }
            }
            Effect::DeleteJob { name, uid } => {
                if self.seen.jobs.get(name).is_some_and(|job| job.uid == *uid) {
                    self.seen.jobs.remove(name);
                    self.seen.pods.retain(|pod| pod.name != format!("{name}-pod"));
                }
            }
            Effect::DeleteClaim { name, uid } => {
                self.check_delete(name, uid);
                self.log.claims_deleted.push(name.clone());
                self.seen.claims.get_mut(name).unwrap().deleting = true;
            }
            Effect::PatchVolume { volume, resource_version, claim } => {
                let version = self.next("v");
                let volume = self.seen.volumes.get_mut(volume).unwrap();
                assert_eq!(*resource_version, volume.resource_version);
                volume.claim = Some(ClaimOf { namespace: "arxiv".into(), name: claim.clone(), uid: None });
                volume.resource_version = version;
            }
        }
    }

    /// No claim is deleted without its mark in the stored status, the fence, Retain on both volumes, and no pod on it.
    fn check_delete(&self, name: &str, uid: &str) {
        let claim = &self.seen.claims[name];
        assert_eq!(claim.uid, uid, "the claim of another uid");
        let swap = self.status().swaps.iter().find(|s| s.claim_uid == uid || s.restore_claim_uid == uid);
        let swap = swap.expect("a claim is deleted without a recorded swap");
        for volume in [&swap.old_volume, &swap.new_volume] {
            assert_eq!(
                self.seen.volumes[volume].reclaim, "Retain",
                "{volume} would be deleted with its claim"
            );
        }
        assert!(self.fence_works && self.status().fenced.contains(&swap.claim), "the fence does not hold");
        assert!(self.seen.pods_of(name).next().is_none(), "a pod uses the claim");
    }

    /// What the cluster's own controllers do, one round. Returns whether anything changed.
    pub(super) fn settle(&mut self) -> bool {
        let before = self.seen.clone();
        // The StatefulSet controller.
        let (replicas, deletes) = (self.set_mut().replicas, self.set_mut().deletes_claims);
        let fenced = self.status().fenced.iter().any(|claim| claim == CLAIM);
        let running = self.seen.pods.iter().any(|pod| pod.name == "chromadb-0");
        if replicas == 0 && running {
            self.seen.pods.retain(|pod| pod.name != "chromadb-0" || pod.lost_on.is_some());
            if deletes && let Some(claim) = self.seen.claims.get_mut(CLAIM) {
                claim.deleting = true;
            }
        }
        if replicas > 0 && !running && !(fenced && self.fence_works) {
            if !self.seen.claims.contains_key(CLAIM) {
                let uid = self.next("empty");
                let claim = ClaimSeen { name: CLAIM.into(), uid, ..ClaimSeen::default() };
                self.seen.claims.insert(CLAIM.into(), claim);
            }
            self.seen.pods.push(server());
        }
        let up = self.seen.pods.iter().any(|pod| pod.name == "chromadb-0");
        self.set_mut().ready = i32::from(up);
        // Claims without pods go; their volumes are released, or deleted with what they hold.
        let gone: Vec<ClaimSeen> = self
            .seen
            .claims
            .values()
            .filter(|claim| claim.deleting && self.seen.pods_of(&claim.name).next().is_none())
            .cloned()
            .collect();
        for claim in gone {
            self.seen.claims.remove(&claim.name);
            if let Some(volume) = claim.volume.as_ref().and_then(|name| self.seen.volumes.get_mut(name))
                && volume.claim.as_ref().and_then(|owner| owner.uid.clone()) == Some(claim.uid.clone())
            {
                assert_eq!(volume.reclaim, "Retain", "volume {} is lost", volume.name);
                volume.phase = "Released".into();
            }
        }
        self.bind();
        self.seen != before
    }

    /// The PersistentVolume controller.
    fn bind(&mut self) {
        let binder = self.binder;
        // A claim that changed since it was made is looked at again.
        let heard = |claim: &ClaimSeen| match binder {
            Binder::Prompt => true,
            Binder::Refused | Binder::RefusedEarly => !claim.resource_version.is_empty(),
            Binder::Never => false,
        };
        for volume in self.seen.volumes.values_mut() {
            let reserved = volume.claim.as_ref().is_none_or(|claim| claim.uid.is_none());
            if reserved && volume.phase != "Available" {
                volume.phase = "Available".into();
            } else if reserved
                && let Some(owner) = volume.claim.as_mut()
                && let Some(claim) = self.seen.claims.get_mut(&owner.name)
                && claim.volume.as_deref() == Some(&volume.name)
                && (binder == Binder::Refused || heard(claim))
            {
                owner.uid = Some(claim.uid.clone());
                volume.phase = "Bound".into();
                volume.resource_version.push('+');
            }
            if let Some(owner) = &volume.claim
                && let Some(claim) = self.seen.claims.get_mut(&owner.name)
                && owner.uid.as_ref() == Some(&claim.uid)
                && !claim.bound
                && heard(claim)
            {
                claim.bound = true;
                claim.resource_version.push('+');
            }
        }
        let new: Vec<ClaimSeen> =
            self.seen.claims.values().filter(|claim| claim.volume.is_none()).cloned().collect();
        for claim in new {
            let name = self.next("pv");
            let owner = ("arxiv", claim.name.as_str(), claim.uid.as_str());
            self.seen.volumes.insert(name.clone(), volume(&name, owner, "Delete"));
            let claim = self.seen.claims.get_mut(&claim.name).unwrap();
            claim.volume = Some(name);
            claim.bound = true;
        }
    }

    /// One reconciliation that is killed after `writes` writes. Returns how many it made; fewer mean that it waits.
    pub(super) fn reconcile(&mut self, writes: usize) -> usize {
        let mut done = 0;
        while done < writes {
            let Plan { effects, status, .. } = self.plan();
            if status != self.seen.run.status {
                assert!(effects.is_empty(), "effects before their mark");
                self.seen.run.status = status;
                done += 1;
                continue;
            }
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                if done == writes {
                    return done;
                }
                self.apply(&effect);
                done += 1;
            }
        }
        done
    }

    /// Runs to the end, the controller killed after every `writes` writes.
    pub(super) fn run(&mut self, writes: usize) {
        for _ in 0..600 {
            let wrote = self.reconcile(writes);
            let moved = self.settle();
            self.seen.now += SignedDuration::from_millis(250);
            if wrote == 0 && !moved && crate::recovery::ended(self.status()) {
                return;
            }
        }
        panic!("no end: {:#?}", self.status().steps);
    }
}

fn server() -> PodSeen {
    PodSeen {
        name: "chromadb-0".into(),
        claims: vec![CLAIM.into()],
        ended: false,
        lost_on: None,
        ready: true,
        restarts: 0,
    }
}

pub(super) fn access() -> Access {
    Access {
        access: RepositoryAccess {
            endpoint: None,
            region: "us-east-1".into(),
            bucket: "dr".into(),
            prefix: String::new(),
            addressing: crds::repository::Addressing::Path,
            expected_id: Some("repo".into()),
            read_only: false,
            lock: None,
        },
        keys: RepositoryKeys {
            credentials: NameRef::new("s3"),
            key: NameRef::new("key"),
            escrow: None,
            ca: None,
        },
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::CheckIntegrity { .. } => "CheckIntegrity",
        Request::Restore { .. } => "Restore",
        Request::VerifyOffline { .. } => "VerifyOffline",
        Request::Validate { .. } => "Validate",
        _ => panic!("no request of a recovery"),
    }
}

fn good(request: &Request) -> Report {
    match request {
        Request::CheckIntegrity { .. } => Report::Checked(Checked {
            findings: vec![Finding { subject: "papers-cs".into(), message: "pickle cut short".into() }],
            finding_count: 1,
            migrations: None,
        }),
        Request::Restore { .. } => {
            Report::Restored(Restored { bytes: 733_000_000, files: 16, reused_bytes: 0 })
        }
        Request::VerifyOffline { .. } => Report::Verified(Verified {
            files_equal: 16,
            files: 16,
            collections_equal: 3,
            collections: 3,
            findings: Vec::new(),
        }),
        Request::Validate { .. } => Report::Validated {
            checks: ["chromadb-responds", "collections-accessible", "counts", "corruption"]
                .map(|name| CheckResult {
                    name: name.into(),
                    verdict: Verdict::Passed,
                    expected: "all".into(),
                    observed: "all".into(),
                })
                .into(),
        },
        _ => panic!("no request of a recovery"),
    }
}

/// Names of the claims that this run makes.
pub(super) fn restore_claim() -> String {
    names::restore_claim(CLAIM, RUN_UID)
}

pub(super) fn quarantine_claim() -> String {
    names::quarantine_claim(CLAIM, RUN_UID)
}
