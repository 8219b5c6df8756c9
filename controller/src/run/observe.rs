//! One look at everything that concerns a run, always from the API server and never from a cache: a claim that a cache
//! still shows may be gone. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crds::reference::{RUN_LABEL, WorkloadRef};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun, names};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::backup::source::{Workload, locate};
use plan::recovery::seen::{ClaimSeen, Component, JobSeen, Memory, Observed, Source, VolumeSeen};

use super::{probe, read, service};
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
    let look = Look { ctx, namespace: run.namespace.clone() };
    let policies: Vec<BackupPolicy> = look.list(&ListParams::default()).await?;
    let names: Vec<String> = policies.iter().map(ResourceExt::name_any).collect();
    let recovered: Vec<String> =
        policies.iter().filter(|policy| read::is_recovered(policy)).map(ResourceExt::name_any).collect();
    let mine = read::policies_of(object, &policies);
    let runs: Vec<RecoveryRun> = look.list(&ListParams::default()).await?;
    let pods: Vec<Pod> = look.list(&ListParams::default()).await?;
    let mut components = Vec::with_capacity(mine.len());
    for policy in mine {
        components.push(look.component(policy, &pods).await?);
    }
    let points: Vec<RecoveryPoint> = look.list(&ListParams::default()).await?;
    let executed: Option<ConfigMap> = look.get(&names::executed(&run.name)).await?;
    let memory = look.memory(&names::memory(&run.name, &run.uid), &run.status.fenced).await?;
    let claims = look.claims(&run.uid, &components, memory.as_ref(), &run.status.swaps).await?;
    let volumes = look.volumes(&claims, memory.as_ref(), &run.status.swaps).await?;
    let jobs = look.jobs(object, &pods).await?;
    Ok(Observed {
        now: (ctx.now)(),
        epoch: ctx.epoch,
        namespace_terminating: observe::is_terminating(ctx, &run.namespace).await?,
        executed: executed.as_ref().map(read::executed),
        others: runs
            .iter()
            .filter(|other| other.uid().as_ref() != Some(&run.uid))
            .filter_map(|other| read::other(other, &recovered))
            .collect(),
        policies: names,
        components,
        points: points.iter().map(read::point).collect(),
        jobs,
        pods: workloads::mounting(ctx, &pods, |claim| claims.contains_key(claim)).await?,
        claims,
        volumes,
        memory,
        run,
    })
}

struct Look<'a> {
    ctx: &'a Context,
    namespace: String,
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

    async fn component(&self, policy: &BackupPolicy, pods: &[Pod]) -> Result<Component, Error> {
        let repository_name = policy.spec.repository_ref.name.clone();
        let repository: Option<RecoveryRepository> = self.get(&repository_name).await?;
        let workloads =
            observe::workloads(self.ctx, &self.namespace, &policy.spec.component.workloads).await?;
        let services: Vec<Service> = self.list(&ListParams::default()).await?;
        Ok(Component {
            policy: policy.name_any(),
            objectives: policy.spec.objectives,
            approval: policy.spec.recovery.approval == crds::policy::Approval::Required,
            access: read::access(&self.namespace, &repository_name, repository.as_ref()),
            repository: repository_name,
            application: policy.spec.component.application.is_some(),
            stopped: policy.status.as_ref().is_some_and(|status| status.stopped.is_some()),
            source: self.source(policy, &workloads, pods, &services),
            workloads: workloads
                .iter()
                .filter_map(|(reference, found)| {
                    found.as_ref().map(|found| workloads::seen(reference, found))
                })
                .collect(),
        })
    }

    fn source(
        &self,
        policy: &BackupPolicy,
        workloads: &[(WorkloadRef, Option<Workload>)],
        pods: &[Pod],
        services: &[Service],
    ) -> Result<Source, String> {
        let located = locate(&policy.spec, workloads).map_err(|problem| problem.message)?;
        let workload = workloads
            .iter()
            .find(|(reference, _)| *reference == located.workload)
            .and_then(|(_, found)| found.as_ref())
            .ok_or_else(|| format!("workload {} does not exist", located.workload.name))?;
        let chroma = policy.spec.component.chroma_db.clone().unwrap_or_default();
        let server = pods.iter().find(|pod| {
            let labels = pod.labels().get(crds::reference::MANAGED_BY_LABEL);
            labels.is_none_or(|by| by != crds::reference::MANAGED_BY)
                && workloads::claims_of(pod).contains(&located.claim)
        });
        Ok(Source {
            url: service::url(&self.namespace, &chroma, workload, services),
            auth: chroma.auth,
            place: workload.place(),
            identity: read::identity(workload, &located.container, server),
            claim: located.claim,
            data_path: located.data_path,
        })
    }

    async fn memory(&self, name: &str, fenced: &[String]) -> Result<Option<Memory>, Error> {
        let Some(map) = self.get::<ConfigMap>(name).await? else { return Ok(None) };
        let proof = probe::prove(self.ctx, &self.namespace, fenced).await?;
        read::memory(&map, proof).map(Some)
    }

    /// The claims that the run replaces, restores into and keeps.
    async fn claims(
        &self,
        run_uid: &str,
        components: &[Component],
        memory: Option<&Memory>,
        swaps: &[crds::run::Swap],
    ) -> Result<BTreeMap<String, ClaimSeen>, Error> {
        let mut replaced: BTreeSet<String> = components
            .iter()
            .filter_map(|component| component.source.as_ref().ok().map(|source| source.claim.clone()))
            .collect();
        replaced
            .extend(memory.into_iter().flat_map(|memory| memory.remembered.values()).map(|c| c.name.clone()));
        replaced.extend(swaps.iter().map(|swap| swap.claim.clone()));
        let wanted: BTreeSet<String> = replaced
            .iter()
            .flat_map(|claim| {
                [claim.clone(), names::restore_claim(claim, run_uid), names::quarantine_claim(claim, run_uid)]
            })
            .collect();
        let all: Vec<PersistentVolumeClaim> = self.list(&ListParams::default()).await?;
        Ok(all
            .iter()
            .filter(|claim| wanted.contains(&claim.name_any()))
            .map(|claim| (claim.name_any(), read::claim(claim)))
            .collect())
    }

    async fn volumes(
        &self,
        claims: &BTreeMap<String, ClaimSeen>,
        memory: Option<&Memory>,
        swaps: &[crds::run::Swap],
    ) -> Result<BTreeMap<String, VolumeSeen>, Error> {
        let mut wanted: BTreeSet<String> = claims.values().filter_map(|claim| claim.volume.clone()).collect();
        wanted.extend(
            memory.into_iter().flat_map(|memory| memory.remembered.values()).filter_map(|c| c.volume.clone()),
        );
        wanted.extend(swaps.iter().flat_map(|swap| [swap.old_volume.clone(), swap.new_volume.clone()]));
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

    async fn jobs(&self, run: &RecoveryRun, pods: &[Pod]) -> Result<BTreeMap<String, JobSeen>, Error> {
        let selector = ListParams::default()
            .labels(&format!("{RUN_LABEL}={}", plan::effect::label_value(&run.name_any())));
        let jobs: Vec<Job> = self.list(&selector).await?;
        Ok(jobs
            .iter()
            .filter(|job| {
                job.owner_references().iter().any(|owner| Some(&owner.uid) == run.metadata.uid.as_ref())
            })
            .map(|job| {
                let uid = job.uid().unwrap_or_default();
                let own: Vec<Pod> = pods
                    .iter()
                    .filter(|pod| pod.labels().get("batch.kubernetes.io/controller-uid") == Some(&uid))
                    .cloned()
                    .collect();
                let deleting = job.metadata.deletion_timestamp.is_some();
                let state = observe_job::state(job, &own);
                (job.name_any(), JobSeen { uid, deleting, ended: observe_job::ended_at(job), state })
            })
            .collect())
    }
}
