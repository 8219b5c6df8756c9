//! A small cluster in memory: enough of StatefulSet, PersistentVolume and Job controllers to carry a recovery to its end
//! or to refuse what a real one would refuse. Every effect is applied alone, so that a controller can be killed after it.

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{Report, Request};
use crds::names;
use crds::reference::{BINDING, RUN_LABEL, STANDS_FOR, WorkloadKind};
use crds::run::{RecoveryRunStatus, Verdict};
use jiff::SignedDuration;

use super::stage::*;
use crate::effect::JobState;
use crate::recovery::seen::*;
use crate::recovery::{Effect, Plan, plan};
use crate::workload::{Recreated, Scale};

/// What happened to the cluster that a test asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) jobs: Vec<String>,
    /// Jobs that write reports, which come after the end.
    pub(super) reports: Vec<String>,
    /// Jobs that count lost records, likewise.
    pub(super) counts: Vec<String>,
    pub(super) claims_deleted: Vec<String>,
    pub(super) scaled: Vec<(String, i32)>,
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
    /// Whether a point holds objects, so that what is missing is created.
    pub(super) creates: bool,
    /// What each pod read of the switch at its start.
    pub(super) read: BTreeMap<String, String>,
    /// Whether the network enforces NetworkPolicies.
    pub(super) enforces: bool,
    /// What a capture that the run asks for leaves.
    pub(super) captures: super::protect::Captures,
    /// Names of the rotations that a mover has carried out.
    pub(super) rotated: BTreeSet<String>,
    /// What the points hold, as a namespace in order.
    pub(super) recorded: Observed,
    serial: u32,
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self::of(corrupted())
    }

    pub(super) fn of(seen: Observed) -> Self {
        Self {
            recorded: seen.clone(),
            seen,
            log: Log::default(),
            answers: BTreeMap::new(),
            fence_works: true,
            binder: Binder::Prompt,
            creates: true,
            read: BTreeMap::new(),
            enforces: true,
            captures: super::protect::Captures::Good,
            rotated: BTreeSet::new(),
            serial: 0,
        }
    }

    pub(super) fn bound_by(binder: Binder) -> Self {
        Self { binder, ..Self::new() }
    }

    pub(super) fn next(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }

    pub(super) fn status(&self) -> &RecoveryRunStatus {
        &self.seen.run.status
    }

    pub(super) fn plan(&self) -> Plan {
        let mut seen = self.seen.clone();
        if !crate::recovery::audits(&seen.run) {
            seen.audit = None;
        }
        if let Some(memory) = &mut seen.memory {
            memory.proof = match (seen.run.status.fenced.is_empty(), self.fence_works) {
                (true, _) => Proof::NotTried,
                (false, true) => Proof::Holds,
                (false, false) => Proof::Open("a pod is let through".into()),
            };
        }
        // What can be mounted is what there is.
        for component in &mut seen.components {
            let there = |claim: &String| {
                self.seen.claims.get(claim).is_some_and(|claim| claim.bound && !claim.deleting)
            };
            component.emergency.readable.claims.retain(there);
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
            Effect::AddFinalizer => {
                let breach = self.seen.run.spec.scenario == crds::run::Scenario::SecurityBreach;
                (self.seen.run.finalizer, self.seen.run.isolating) = (true, breach);
            }
            Effect::RemoveFinalizer => (self.seen.run.finalizer, self.seen.run.isolating) = (false, false),
            Effect::QuarantinePoint { name, mark } => {
                assert_eq!(mark.reason, crds::point::TrustReason::SuspectedBreach);
                let point = self.seen.points.iter_mut().find(|point| point.name == *name).unwrap();
                point.state = PointState::Quarantined(mark.reason.as_str().to_owned());
            }
            Effect::StampPoint(stamp) => {
                let point = self.seen.points.iter_mut().find(|point| point.name == stamp.name).unwrap();
                if stamp.verification.verdict == Verdict::Failed {
                    point.state = PointState::Quarantined("VerificationFailed".to_owned());
                }
                point.verification = Some(stamp.verification.clone());
            }
            Effect::CreatePolicy(_) if self.seen.run.spec.sandbox().is_some() => {
                super::sandbox::apply(self, effect);
            }
            Effect::CreateSandbox { .. } | Effect::FurnishSandbox { .. } | Effect::DeleteSandbox { .. } => {
                super::sandbox::apply(self, effect);
            }
            Effect::GrantIsolation { .. }
            | Effect::RevokeIsolation { .. }
            | Effect::RecordPolicies { .. }
            | Effect::ForgetPolicies { .. }
            | Effect::CreatePolicy(_)
            | Effect::DeletePolicy { .. } => super::isolation::apply(self, effect),
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
            Effect::SetSwitch { config_map, resource_version, key, value } => {
                let version = self.next("v");
                let map = self.seen.offline.switches.get_mut(config_map).unwrap();
                assert!(
                    map.labelled && *resource_version == map.resource_version,
                    "a switch without consent"
                );
                assert!(self.seen.run.finalizer, "the run could go and leave it so");
                map.values.insert(key.clone(), value.clone()).unwrap();
                map.resource_version = version;
                self.log.marks.push(format!("{key}={value}"));
            }
            Effect::Scale(Scale { workload, replicas, .. }) => {
                let loose = self.seen.offline.workloads.iter_mut();
                // Until its controller has looked at it nothing is known of its pods.
                loose
                    .filter(|seen| seen.workload == *workload)
                    .for_each(|seen| (seen.replicas, seen.ready, seen.pods) = (*replicas, 0, None));
                self.log.scaled.push((workload.name.clone(), *replicas));
                let all = self.seen.components.iter_mut().flat_map(|component| &mut component.workloads);
                all.filter(|seen| seen.workload == *workload)
                    .for_each(|seen| (seen.replicas, seen.ready, seen.pods) = (*replicas, 0, None));
            }
            Effect::CreateClaim(new) => {
                super::sandbox::placed(self, new);
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
            Effect::CreateJob { job, step } => {
                if !self.seen.jobs.contains_key(&job.name) {
                    match job.request {
                        Request::CountLoss(_) => self.log.counts.push(job.name.clone()),
                        Request::WriteReport { .. } => self.log.reports.push(job.name.clone()),
                        _ => self.log.jobs.push(job.name.clone()),
                    }
                    let uid = self.next("job");
                    let claims = job.sources.values().chain(job.targets.values()).map(|v| v.claim.clone());
                    self.seen.pods.push(PodSeen {
                        name: format!("{}-pod", job.name),
                        claims: claims.collect(),
                        ended: false,
                        lost_on: None,
                        ready: true,
                        restarts: 0,
                    });
                    // What a test says of a step, or of one component's: `Restore/chromadb`.
                    let whole = String::new();
                    let policy = job.labels.get(crds::reference::POLICY_LABEL).unwrap_or(&whole);
                    super::rotate::apply(&self.seen, &mut self.rotated, &job.request);
                    let step = match &job.request {
                        // Two steps ask for the same.
                        Request::Preserve { .. } => step,
                        other => kind(other),
                    };
                    let whole = format!("{step}/{policy}");
                    super::sandbox::no_key_inside(self.seen.home(), job);
                    let key = if self.answers.contains_key(whole.as_str()) { &whole } else { step };
                    let state = match self.answers.get_mut(key).filter(|list| !list.is_empty()) {
                        Some(list) => list.remove(0),
                        None if matches!(job.request, crds::job::Request::ProbeIsolation { .. }) => {
                            JobState::Running { waiting: None }
                        }
                        None => JobState::Ended(good(&job.request)),
                    };
                    let ended = (!matches!(state, JobState::Running { .. })).then_some(self.seen.now);
                    if self.creates && matches!(state, JobState::Ended(Report::Recreated(_))) {
                        let policy = policy.clone();
                        self.recreate(&policy);
                    }
                    let completed = false;
                    let seen = JobSeen { uid, deleting: false, ready: false, ended, completed, state };
                    self.seen.jobs.insert(job.name.clone(), seen);
                }
            }
            Effect::CreateCheckJob { name, cron_job, .. } => {
                if !self.seen.jobs.contains_key(name) {
                    let (completed, state) = match self.answers.get_mut("Check").filter(|l| !l.is_empty()) {
                        Some(list) => (false, list.remove(0)),
                        None => (true, JobState::Silent { why: "it left no report".into() }),
                    };
                    assert!(self.seen.cron_jobs.contains(cron_job), "{cron_job}");
                    let (uid, ended) = (self.next("check"), Some(self.seen.now));
                    let job = JobSeen { uid, deleting: false, ready: false, ended, completed, state };
                    self.seen.jobs.insert(name.clone(), job);
                }
            }
            Effect::RecordPoint(new) => {
                let mut known = self.status().preserved.iter();
                let known = known.any(|known| known.id == new.spec.id && known.name == new.name);
                let chosen_from = self.seen.run.spec.scenario == crds::run::Scenario::StorageFailure;
                assert!(known || !chosen_from, "a point is recorded that the status does not know");
                if self.seen.points.iter().all(|point| point.id != new.spec.id) {
                    assert!(self.seen.points.iter().all(|point| point.name != new.name), "a name is taken");
                    self.seen.points.push(PointSeen {
                        policy: new.spec.policy.clone(),
                        id: new.spec.id.clone(),
                        repository: new.spec.repository_ref.name.clone(),
                        state: PointState::Emergency,
                        consistency_time: new.status.consistency_time,
                        chroma: new.status.chroma_db.is_some(),
                        ..point(&new.name, "2026-11-23T09:31:20Z", PointState::Emergency)
                    });
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
            Effect::ReleaseClaim { name, uid } => {
                let claim = self.seen.claims.get_mut(name).unwrap();
                assert!(claim.uid == *uid && super::sandbox::may_go(claim), "{name}");
                claim.deleting = true;
            }
            Effect::PatchVolume { volume, resource_version, claim } => {
                let home = self.seen.home();
                let version = self.next("v");
                let volume = self.seen.volumes.get_mut(volume).unwrap();
                assert_eq!(*resource_version, volume.resource_version);
                volume.claim = Some(ClaimOf { namespace: home, name: claim.clone(), uid: None });
                volume.resource_version = version;
            }
        }
    }

    /// What a mover creates of the component of `policy`: the policy, workloads, and a stand-in for each claim that is lost.
    fn recreate(&mut self, policy: &str) {
        let of = self.recorded.components.iter().find(|component| component.policy == policy);
        let of = of.unwrap().clone();
        if let Some(known) = self.recorded.policies.iter().find(|known| known.name == policy)
            && self.seen.policies.iter().all(|seen| seen.name != policy)
        {
            self.seen.policies.push(known.clone());
        }
        let run = self.seen.run.uid.clone();
        let component = self.seen.components.iter_mut().find(|seen| seen.policy == policy).unwrap();
        let there = std::mem::take(&mut component.workloads);
        *component = Component { missing: Vec::new(), workloads: Vec::new(), ..of.clone() };
        for workload in of.workloads {
            let created = || WorkloadSeen {
                replicas: 0,
                ready: 0,
                recreated: Some(Recreated { by: run.clone(), replicas: workload.replicas }),
                ..workload.clone()
            };
            let known = there.iter().find(|seen| seen.workload == workload.workload).cloned();
            component.workloads.push(known.unwrap_or_else(created));
        }
        for name in of.source.unwrap().claims {
            let lost = self.recorded.claims[&name].clone();
            let stand_in = names::restore_claim(&name, &run);
            if self.seen.claims.contains_key(&name) || self.seen.claims.contains_key(&stand_in) {
                continue;
            }
            let told =
                serde_json::json!({"labels": lost.labels, "annotations": lost.annotations}).to_string();
            let claim = ClaimSeen {
                name: stand_in.clone(),
                uid: self.next("claim"),
                labels: BTreeMap::from([(RUN_LABEL.to_owned(), self.seen.run.name.clone())]),
                annotations: BTreeMap::from([(STANDS_FOR.to_owned(), told)]),
                class: lost.class,
                size: lost.size,
                access_modes: lost.access_modes,
                ..ClaimSeen::default()
            };
            self.seen.claims.insert(stand_in, claim);
        }
    }

    /// No claim is deleted without its mark in the stored status, the fence, Retain on both volumes, and no pod on it.
    fn check_delete(&self, name: &str, uid: &str) {
        let claim = &self.seen.claims[name];
        assert_eq!(claim.uid, uid, "the claim of another uid");
        let mut swaps = self.status().swaps.iter();
        let swap = swaps.find(|s| s.claim_uid.as_deref() == Some(uid) || s.restore_claim_uid == uid);
        let swap = swap.expect("a claim is deleted without a recorded swap");
        for volume in swap.old_volume.iter().chain([&swap.new_volume]) {
            assert_eq!(
                self.seen.volumes[volume].reclaim, "Retain",
                "{volume} would be deleted with its claim"
            );
        }
        let rehearsal = self.seen.run.spec.sandbox().is_some();
        assert!(
            rehearsal || self.fence_works && self.status().fenced.contains(&swap.claim),
            "the fence does not hold"
        );
        assert!(self.seen.pods_of(name).next().is_none(), "a pod uses the claim");
    }

    /// What the cluster's own controllers do, one round. Returns whether anything changed.
    pub(super) fn settle(&mut self) -> bool {
        let before = self.seen.clone();
        super::isolation::settle(self);
        super::sandbox::settle(self);
        super::protect::settle(self);
        // The controllers of workloads: one pod each, on all claims of its component.
        for component in 0..self.seen.components.len() {
            for workload in 0..self.seen.components[component].workloads.len() {
                self.run_pods(component, workload);
            }
        }
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
                if super::sandbox::may_go(&claim) && volume.reclaim == "Delete" {
                    let name = volume.name.clone();
                    self.seen.volumes.remove(&name);
                    continue;
                }
                assert_eq!(volume.reclaim, "Retain", "volume {} is lost", volume.name);
                volume.phase = "Released".into();
            }
        }
        self.bind();
        // The same workloads, as offline mode sees them; those that no component has are ready at once.
        for loose in &mut self.seen.offline.workloads {
            let mut all = self.seen.components.iter().flat_map(|component| &component.workloads);
            let known = all.find(|seen| seen.workload == loose.workload).cloned();
            *loose = known.unwrap_or_else(|| WorkloadSeen {
                ready: loose.replicas,
                pods: Some(loose.replicas),
                ..loose.clone()
            });
        }
        self.seen != before
    }

    fn run_pods(&mut self, component: usize, workload: usize) {
        let of = &self.seen.components[component];
        let claims = of.source.as_ref().map(|source| source.claims.clone()).unwrap_or_default();
        let seen = of.workloads[workload].clone();
        if seen.workload.kind == WorkloadKind::CronJob {
            let job = &mut self.seen.components[component].workloads[workload];
            (job.ready, job.pods) = (seen.replicas, Some(0));
            return;
        }
        let name = format!("{}-0", seen.workload.name);
        let fenced = self.fence_works && claims.iter().any(|claim| self.status().fenced.contains(claim));
        let running = self.seen.pods.iter().any(|pod| pod.name == name);
        if seen.replicas == 0 && running {
            self.seen.pods.retain(|pod| pod.name != name || pod.lost_on.is_some());
            for claim in claims.iter().filter(|_| seen.deletes_claims) {
                if let Some(claim) = self.seen.claims.get_mut(claim) {
                    claim.deleting = true;
                }
            }
        }
        if seen.replicas > 0 && !running && !fenced {
            for claim in &claims {
                if !self.seen.claims.contains_key(claim) {
                    let uid = self.next("empty");
                    let empty = ClaimSeen { name: claim.clone(), uid, ..ClaimSeen::default() };
                    self.seen.claims.insert(claim.clone(), empty);
                }
            }
            let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
            self.seen.pods.push(pod(&name, &claims));
            let switch = self.seen.offline.switches.values().find_map(|map| map.values.get("OFFLINE_MODE"));
            self.read.insert(name.clone(), switch.cloned().unwrap_or_default());
        }
        let up = self.seen.pods.iter().any(|pod| pod.name == name);
        let set = &mut self.seen.components[component].workloads[workload];
        (set.ready, set.pods) = (i32::from(up), Some(i32::from(up)));
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
            let made = VolumeSeen { class: claim.class.clone(), ..volume(&name, owner) };
            self.seen.volumes.insert(name.clone(), made);
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

/// Names of the claims that this run makes.
pub(super) fn restore_claim() -> String {
    names::restore_claim(CLAIM, RUN_UID)
}

pub(super) fn quarantine_claim() -> String {
    names::quarantine_claim(CLAIM, RUN_UID)
}
