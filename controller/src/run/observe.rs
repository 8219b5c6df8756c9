//! One look at everything that concerns a run, always from the API server and never from a cache: a claim that a cache
//! still shows may be gone. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::{EmergencyCapture, Objectives};
use crds::reference::{RUN_LABEL, WorkloadKind};
use crds::run::{OfflineStatus, RecoveryRunStatus, Scenario, StepPhase, StepStatus};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun, names};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::backup::source::{Around, Readable, at_rest, readable};
use plan::effect::label_value;
use plan::recovery::seen::{
    CaptureSeen, ClaimSeen, Component, EmergencySeen, JobSeen, Memory, NetworkSeen, Observed, OfflineSeen,
    PointSeen, PolicySeen, Role, RunSeen, VolumeSeen,
};
use plan::recovery::{Member, forgotten, scope};

use super::{captures, isolation, looked_at, probe, read, rotations, sandbox, surroundings};
use crate::context::Context;
use crate::error::Error;
use crate::observe::{self, Kept};
use crate::{observe_job, workloads};

/// Looks.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn observe(ctx: &Context, object: &RecoveryRun) -> Result<Observed, Error> {
    let run = read::run(object)?;
    let rehearsal = run.spec.sandbox().is_some();
    let home = if rehearsal { names::sandbox(&run.namespace, &run.uid) } else { run.namespace.clone() };
    let look = Look { ctx, namespace: run.namespace.clone(), home: home.clone() };
    // Before the points: a catalogue is called whole once they are recorded, so those of one that is whole are among them.
    let repositories: Vec<RecoveryRepository> = look.list(&ListParams::default()).await?;
    let policies: Vec<BackupPolicy> = look.list(&ListParams::default()).await?;
    let known: Vec<PolicySeen> = policies.iter().map(read::policy).collect();
    let points: Vec<RecoveryPoint> = look.list(&ListParams::default()).await?;
    let points: Vec<PointSeen> = points.iter().map(read::point).collect();
    let forgotten = forgotten(&points, &known);
    let runs: Vec<RecoveryRun> = look.list(&ListParams::default()).await?;
    let mut pods: Vec<Pod> = look.list(&ListParams::default()).await?;
    let mut all_claims: Vec<PersistentVolumeClaim> = look.list(&ListParams::default()).await?;
    let mut services: Vec<Service> = look.list(&ListParams::default()).await?;
    let sandbox = sandbox::look(ctx, &run, &services, &runs).await?;
    if rehearsal {
        // Of production nothing is concerned; movers, and what they restore into, are where their keys are.
        let of_run = label_value(&run.name);
        let ours = |labels: &BTreeMap<String, String>| labels.get(RUN_LABEL) == Some(&of_run);
        pods.retain(|pod| ours(pod.labels()));
        all_claims.retain(|claim| ours(claim.labels()));
        let all = ListParams::default();
        pods.extend(observe::list::<Pod>(ctx, &home, &all).await?);
        all_claims.extend(observe::list::<PersistentVolumeClaim>(ctx, &home, &all).await?);
        services = observe::list(ctx, &home, &all).await?;
    }
    let workers: Vec<Pod> = pods.iter().filter(|pod| !read::is_mover(pod)).cloned().collect();
    let around = Around { workloads: &[], claims: &all_claims, pods: &workers, services: &services };
    let mut mine = Vec::new();
    let mut components = Vec::new();
    for Member { policy, role } in scope((&run.spec, &run.status.steps), &known, &forgotten) {
        if let Some(policy) = policies.iter().find(|known| known.name_any() == policy) {
            components.push(look.component(policy, role, around).await?);
            mine.push(policy);
        } else if let Some(lost) = forgotten.iter().find(|lost| lost.name == policy) {
            components.push(look.forgotten(lost, role, &points).await?);
        }
    }
    // Only before anything is done: it costs a dozen requests.
    let surroundings = match run.status.steps.is_empty() && !rehearsal {
        false => None,
        true => Some(
            surroundings::look(
                ctx,
                surroundings::Listed {
                    namespace: &run.namespace,
                    pods: &workers,
                    services: &services,
                    repositories: &repositories,
                    policies: &mine,
                },
            )
            .await,
        ),
    };
    let executed: Option<ConfigMap> = look.get(&names::executed(&run.name)).await?;
    let memory = look.memory(&names::memory(&run.name, &run.uid), &run.status.fenced).await?;
    let mut claims = wanted(&all_claims, &run.uid, &components, memory.as_ref(), &run.status.swaps);
    if rehearsal {
        let ours = all_claims.iter().filter(|claim| claim.namespace().as_deref() == Some(&run.namespace));
        claims.extend(ours.map(|claim| (claim.name_any(), read::claim(claim))));
    }
    let volumes = look.volumes(&claims, memory.as_ref(), &run.status.swaps).await?;
    let jobs = look.jobs(object, &run, &pods).await?;
    let offline = match run.spec.scenario {
        Scenario::NetworkFailure => look.offline(&components, &run.status.offline).await?,
        Scenario::CompleteFailure
        | Scenario::DatabaseCorruption
        | Scenario::StorageFailure
        | Scenario::SecurityBreach
        | Scenario::BackupVerification => OfflineSeen::default(),
    };
    let network = match run.spec.is_breach() {
        true => isolation::look(ctx, &run, &workers, &components).await?,
        false => NetworkSeen::default(),
    };
    let (mut usage, mut cron_jobs, mut objects) = (None, Vec::new(), BTreeMap::new());
    if surroundings.is_some() || (validating(&run.status) && !rehearsal) {
        usage = Some(super::usage::look(ctx).await);
    }
    let (mut readers, replaced) = (BTreeMap::new(), &run.spec.credential_rotations);
    if rotating(&run.status) {
        readers = rotations::readers(&workers, &components, replaced);
        let jobs = replaced.iter().filter_map(|rotation| rotation.job.as_ref());
        cron_jobs.extend(look.cron_jobs(jobs.map(|job| job.cron_job_ref.name.as_str()).collect()).await?);
    }
    if validating(&run.status) {
        objects = looked_at::objects(ctx, &home, &components).await?;
    }
    if validating(&run.status) && !rehearsal {
        cron_jobs.extend(look.cron_jobs(check_jobs(&components)).await?);
        looked_at::pods(ctx, &run.namespace, &mut components).await?;
    }
    let names_class = run.spec.storage_class().is_some();
    let storage_classes = match names_class && run.status.steps.is_empty() {
        true => surroundings::storage_classes(ctx).await,
        false => None,
    };
    let audit = match plan::recovery::audits(&run) {
        true => Some(super::audit::look(ctx, &run).await),
        false => None,
    };
    Ok(Observed {
        now: (ctx.now)(),
        storage_classes,
        hooks_allowed: ctx.mover.hooks,
        objects,
        epoch: ctx.epoch,
        namespace_terminating: observe::is_terminating(ctx, &run.namespace).await?,
        executed: executed.as_ref().map(read::executed),
        others: runs
            .iter()
            .filter(|other| other.uid().as_ref() != Some(&run.uid))
            .filter_map(|other| read::other(other, &known, &forgotten))
            .collect(),
        policies: known,
        components,
        repositories: repositories.iter().map(|found| read::repository(found, &points)).collect(),
        points,
        jobs,
        pods: workloads::mounting(ctx, &pods, |claim| claims.contains_key(claim)).await?,
        nodes: workloads::nodes(ctx, &run.status.lost_pods).await?,
        services: services.iter().map(read::ports).collect(),
        claims,
        volumes,
        memory,
        surroundings,
        offline,
        usage,
        cron_jobs,
        readers,
        network,
        sandbox,
        audit,
        run,
    })
}

/// Whether components are started or looked at by now.
fn validating(status: &RecoveryRunStatus) -> bool {
    let of = |step: &&StepStatus, word: &str| step.name.starts_with(word);
    let begun = |step: &&StepStatus| of(step, "Start/") && step.start.is_some();
    let open = |step: &&StepStatus| of(step, "Validate/") && step.end.is_none();
    status.steps.iter().any(|step| begun(&step)) && status.steps.iter().any(|step| open(&step))
}

/// Whether credentials are being replaced.
fn rotating(status: &RecoveryRunStatus) -> bool {
    let mut steps = status.steps.iter();
    steps.any(|step| step.name == "RotateCredentials" && step.phase == StepPhase::Running)
}

/// The CronJobs of which the policies' checks make Jobs.
fn check_jobs(components: &[Component]) -> BTreeSet<&str> {
    let checks = components.iter().flat_map(|component| &component.checks);
    checks.filter_map(|check| Some(check.job.as_ref()?.cron_job_ref.name.as_str())).collect()
}

struct Look<'a> {
    ctx: &'a Context,
    /// The run's, where policies, points, repositories and movers are.
    namespace: String,
    /// Where the components are.
    home: String,
}

impl Look<'_> {
    async fn list<K>(&self, params: &ListParams) -> Result<Vec<K>, Error>
    where
        K: Kept,
    {
        observe::list(self.ctx, &self.namespace, params).await
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, Error>
    where
        K: Kept,
    {
        observe::get(self.ctx, &self.namespace, name).await
    }

    async fn component(
        &self,
        policy: &BackupPolicy,
        role: Role,
        around: Around<'_>,
    ) -> Result<Component, Error> {
        let spec = &policy.spec;
        let repository_name = spec.repository_ref.name.clone();
        let repository: Option<RecoveryRepository> = self.get(&repository_name).await?;
        let mut workloads = spec.component.workloads.clone();
        if self.home != self.namespace {
            // Nothing runs by itself in a sandbox.
            workloads.retain(|of| of.kind != WorkloadKind::CronJob);
        }
        let found = observe::workloads(self.ctx, &self.home, &workloads).await?;
        let emergency = self.emergency(policy, Around { workloads: &found, ..around }).await?;
        let source = at_rest(spec, Around { workloads: &found, ..around }).map_err(|problem| problem.message);
        let (mut existing, mut missing) = (Vec::new(), Vec::new());
        for (reference, workload) in found {
            match workload {
                Some(workload) => existing.push(workloads::seen(&reference, &workload)),
                None => missing.push(reference),
            }
        }
        Ok(Component {
            policy: policy.name_any(),
            role,
            forgotten: false,
            depends_on: spec.depends_on.iter().map(|needed| needed.name.clone()).collect(),
            objectives: spec.objectives,
            approval: spec.recovery.approval == crds::policy::Approval::Required,
            quarantine_for: spec.recovery.quarantine_for,
            offline: spec.offline.clone(),
            emergency,
            access: read::access(&self.namespace, &repository_name, repository.as_ref()),
            repository: repository_name,
            policy_spec: serde_json::to_value(spec).unwrap_or_default(),
            application: spec.component.application.is_some(),
            checks: spec.checks.clone(),
            auth: spec.component.chroma_db.as_ref().and_then(|chroma| chroma.auth.clone()),
            capture: captures::of(policy, repository.as_ref()),
            stopped: policy.status.as_ref().is_some_and(|status| status.stopped.is_some()),
            source,
            workloads: existing,
            ready_pods: Vec::new(),
            missing,
        })
    }

    /// What an emergency capture of the component of `policy` needs to know.
    async fn emergency(&self, policy: &BackupPolicy, around: Around<'_>) -> Result<EmergencySeen, Error> {
        let spec = &policy.spec;
        let name = spec.emergency_repository();
        let repository: Option<RecoveryRepository> = self.get(name).await?;
        let resolved = policy.status.as_ref().and_then(|status| status.resolved.as_ref());
        let known = resolved.map(|resolved| resolved.claims.as_slice()).unwrap_or_default();
        Ok(EmergencySeen {
            repository: name.to_owned(),
            access: read::access(&self.namespace, name, repository.as_ref()),
            logs_since: spec.emergency.clone().unwrap_or_default().logs_since,
            policy_spec: serde_json::to_value(spec).unwrap_or_default(),
            readable: readable(spec, known, around),
        })
    }

    /// A component that only the repository knows: where its newest point is.
    async fn forgotten(
        &self,
        lost: &PolicySeen,
        role: Role,
        points: &[PointSeen],
    ) -> Result<Component, Error> {
        let own = points.iter().filter(|point| point.policy == lost.name);
        let newest = own.max_by_key(|point| point.consistency_time);
        let repository_name = newest.map(|point| point.repository.clone()).unwrap_or_default();
        let repository: Option<RecoveryRepository> = self.get(&repository_name).await?;
        Ok(Component {
            policy: lost.name.clone(),
            role,
            forgotten: true,
            depends_on: Vec::new(),
            objectives: Objectives::default(),
            approval: false,
            quarantine_for: crds::policy::Recovery::default().quarantine_for,
            offline: None,
            emergency: EmergencySeen {
                repository: repository_name.clone(),
                access: Err(format!("BackupPolicy {} does not exist", lost.name)),
                logs_since: EmergencyCapture::default().logs_since,
                policy_spec: serde_json::Value::Null,
                readable: Readable::default(),
            },
            access: read::access(&self.namespace, &repository_name, repository.as_ref()),
            repository: repository_name,
            policy_spec: serde_json::Value::Null,
            application: lost.application,
            auth: None,
            checks: Vec::new(),
            capture: CaptureSeen::default(),
            stopped: false,
            source: Err(format!("BackupPolicy {} does not exist in namespace {}", lost.name, self.namespace)),
            workloads: Vec::new(),
            ready_pods: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// What offline mode changes: what the policies name, and what the run has taken and gives back whatever they name now.
    async fn offline(&self, components: &[Component], taken: &[OfflineStatus]) -> Result<OfflineSeen, Error> {
        let (mut keys, mut references) = (BTreeMap::<&str, BTreeSet<&str>>::new(), BTreeSet::new());
        for component in components {
            let Some(mode) = &component.offline else { continue };
            if let Some(switch) = &mode.switch {
                keys.entry(&switch.config_map_ref.name).or_default().insert(&switch.key);
            }
            references.extend(&mode.suspend);
            references.extend(component.workloads.iter().map(|seen| &seen.workload));
        }
        for known in taken {
            if let Some(switch) = &known.switch {
                keys.entry(&switch.config_map).or_default().insert(&switch.key);
            }
            references.extend(known.suspended.iter().chain(&known.readers).map(|owed| &owed.workload));
        }
        let mut seen = OfflineSeen::default();
        for (name, keys) in keys {
            if let Some(map) = observe::get::<ConfigMap>(self.ctx, &self.home, name).await? {
                seen.switches.insert(name.to_owned(), read::switch(&map, &keys));
            }
        }
        let found = observe::workloads(self.ctx, &self.home, references).await?;
        let existing = found.iter().filter_map(|(reference, found)| Some((reference, found.as_ref()?)));
        seen.workloads = existing.map(|(reference, found)| workloads::seen(reference, found)).collect();
        Ok(seen)
    }

    /// Those of these CronJobs that exist.
    async fn cron_jobs(&self, wanted: BTreeSet<&str>) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for name in wanted {
            found.extend(self.get::<CronJob>(name).await?.map(|_| name.to_owned()));
        }
        Ok(found)
    }

    async fn memory(&self, name: &str, fenced: &[String]) -> Result<Option<Memory>, Error> {
        let Some(map) = self.get::<ConfigMap>(name).await? else { return Ok(None) };
        let proof = probe::prove(self.ctx, &self.namespace, fenced).await?;
        read::memory(&map, proof).map(Some)
    }

    async fn volumes(
        &self,
        claims: &BTreeMap<String, ClaimSeen>,
        memory: Option<&Memory>,
        swaps: &[crds::run::Swap],
    ) -> Result<BTreeMap<String, VolumeSeen>, Error> {
        let mut wanted: BTreeSet<String> = claims.values().filter_map(|claim| claim.volume.clone()).collect();
        wanted.extend(remembered(memory).filter_map(|claim| claim.volume.clone()));
        wanted.extend(swaps.iter().filter_map(|swap| swap.old_volume.clone()));
        wanted.extend(swaps.iter().map(|swap| swap.new_volume.clone()));
        let api: Api<PersistentVolume> = Api::all(self.ctx.client.clone());
        let mut volumes = BTreeMap::new();
        for name in wanted {
            let found =
                api.get_opt(&name).await.map_err(Error::api("get", format!("PersistentVolume/{name}")))?;
            if let Some(found) = found {
                volumes.insert(name, read::volume(&found));
            }
        }
        Ok(volumes)
    }

    async fn jobs(
        &self,
        run: &RecoveryRun,
        of: &RunSeen,
        pods: &[Pod],
    ) -> Result<BTreeMap<String, JobSeen>, Error> {
        let selector = ListParams::default()
            .labels(&format!("{RUN_LABEL}={}", plan::effect::label_value(&run.name_any())));
        let mut jobs: Vec<Job> = self.list(&selector).await?;
        jobs.retain(|job| {
            job.owner_references().iter().any(|owner| Some(&owner.uid) == run.metadata.uid.as_ref())
        });
        if of.spec.sandbox().is_some() {
            jobs.extend(sandbox::jobs(self.ctx, of).await?);
        }
        let mut seen = BTreeMap::new();
        for job in &jobs {
            let uid = job.uid().unwrap_or_default();
            let own: Vec<Pod> = pods
                .iter()
                .filter(|pod| pod.labels().get("batch.kubernetes.io/controller-uid") == Some(&uid))
                .cloned()
                .collect();
            let deleting = job.metadata.deletion_timestamp.is_some();
            let state = observe_job::made(self.ctx, job, observe_job::state(job, &own)).await?;
            let (ended, completed) = (observe_job::ended_at(job), observe_job::completed(job));
            let ready = own.iter().any(observe_job::is_ready);
            seen.insert(job.name_any(), JobSeen { uid, deleting, ready, ended, completed, state });
        }
        Ok(seen)
    }
}

/// The claims that the run replaces, restores into and keeps.
fn wanted(
    all: &[PersistentVolumeClaim],
    run_uid: &str,
    components: &[Component],
    memory: Option<&Memory>,
    swaps: &[crds::run::Swap],
) -> BTreeMap<String, ClaimSeen> {
    let named = components.iter().flat_map(|component| &component.source).flat_map(|source| &source.claims);
    let mut replaced: BTreeSet<String> = named.cloned().collect();
    replaced.extend(remembered(memory).map(|claim| claim.name.clone()));
    replaced.extend(swaps.iter().map(|swap| swap.claim.clone()));
    let wanted: BTreeSet<String> = replaced
        .iter()
        .flat_map(|claim| {
            let made = [names::restore_claim, names::quarantine_claim, names::restored_claim];
            made.map(|name| name(claim, run_uid)).into_iter().chain([claim.clone()])
        })
        .collect();
    all.iter()
        .filter(|claim| wanted.contains(&claim.name_any()))
        .map(|claim| (claim.name_any(), read::claim(claim)))
        .collect()
}

fn remembered(memory: Option<&Memory>) -> impl Iterator<Item = &ClaimSeen> {
    memory.into_iter().flat_map(|memory| memory.remembered.values().flatten())
}

#[cfg(test)]
mod tests;
