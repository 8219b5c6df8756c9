//! Reading what several reconcilers need. Always from the API server and not from a cache: what is decided here may be
//! destructive.

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, WorkloadKind, WorkloadRef};
use crds::run::{RunMode, RunPhase, Scenario};
use crds::{BackupPolicy, RecoveryRepository, RecoveryRun};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::core::{NamespaceResourceScope, Selector};
use kube::{Api, Resource, ResourceExt};
use plan::backup::emergency;
use plan::backup::fresh::Asked;
use plan::backup::source::{self, Around, Problem, Source, Workload};
use plan::effect::{JobState, label_value};
use plan::recovery;
use plan::workload::PodSeen;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Error;
use crate::workloads;

/// Whether nothing can be created in the namespace any more.
///
/// # Errors
/// When the API server can't be read.
pub async fn is_terminating(ctx: &Context, namespace: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let found = api.get_opt(namespace).await.map_err(Error::api("get", format!("Namespace/{namespace}")))?;
    Ok(found.is_none_or(|ns| ns.metadata.deletion_timestamp.is_some()))
}

/// A kind of which objects are kept in namespaces.
pub trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned
{
}

impl<K> Kept for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
{
}

/// Every object of a kind in the namespace.
///
/// # Errors
/// When the API server can't be read.
pub async fn list<K>(ctx: &Context, namespace: &str, params: &ListParams) -> Result<Vec<K>, Error>
where
    K: Kept,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let what = format!("{} in namespace {namespace}", K::plural(&()));
    Ok(api.list(params).await.map_err(Error::api("list", what))?.items)
}

/// An object, or nothing when there is none of that name.
///
/// # Errors
/// When the API server can't be read.
pub async fn get<K>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Kept,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    api.get_opt(name).await.map_err(Error::api("get", format!("{}/{name}", K::kind(&()))))
}

/// Workloads as they are.
///
/// # Errors
/// When the API server can't be read.
pub async fn workloads(
    ctx: &Context,
    namespace: &str,
    references: impl IntoIterator<Item = &WorkloadRef>,
) -> Result<Vec<(WorkloadRef, Option<Workload>)>, Error> {
    let mut found = Vec::new();
    for reference in references {
        let workload = match reference.kind {
            WorkloadKind::StatefulSet => get::<StatefulSet>(ctx, namespace, &reference.name)
                .await?
                .map(|set| Workload::StatefulSet(Box::new(set))),
            WorkloadKind::Deployment => get::<Deployment>(ctx, namespace, &reference.name)
                .await?
                .map(|deployment| Workload::Deployment(Box::new(deployment))),
            WorkloadKind::CronJob => get::<CronJob>(ctx, namespace, &reference.name)
                .await?
                .map(|job| Workload::CronJob(Box::new(job))),
        };
        found.push((reference.clone(), workload));
    }
    Ok(found)
}

/// The running server of a policy and everything that a capture beside it needs.
///
/// # Errors
/// When the API server can't be read. That something is missing is an answer and no error.
pub async fn source(
    ctx: &Context,
    policy: &BackupPolicy,
    workloads: &[(WorkloadRef, Option<Workload>)],
) -> Result<Result<Source, Problem>, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    if policy.spec.component.application.is_some() {
        let claims: Vec<PersistentVolumeClaim> = list(ctx, &namespace, &ListParams::default()).await?;
        let pods: Vec<Pod> = list(ctx, &namespace, &others()).await?;
        let around = Around { workloads, claims: &claims, pods: &pods, services: &[] };
        return Ok(source::application(&policy.spec, around));
    }
    let located = match source::locate(&policy.spec, workloads) {
        Ok(located) => located,
        Err(problem) => return Ok(Err(problem)),
    };
    let claims: Vec<PersistentVolumeClaim> =
        get(ctx, &namespace, &located.claim).await?.into_iter().collect();
    let workload = workloads.iter().find(|(reference, _)| *reference == located.workload);
    let selector = workload.and_then(|(_, found)| found.as_ref()?.selector());
    let pods: Vec<Pod> = list(ctx, &namespace, &pods_of(selector)).await?;
    let services: Vec<Service> = list(ctx, &namespace, &ListParams::default()).await?;
    let around = Around { workloads, claims: &claims, pods: &pods, services: &services };
    Ok(source::resolve(&policy.spec, located, around))
}

/// What concerns the emergency captures of a policy. What can be read is looked for only while one is wanted.
///
/// # Errors
/// When the API server can't be read.
pub async fn emergency<'a>(
    ctx: &Context,
    policy: &BackupPolicy,
    workloads: &[(WorkloadRef, Option<Workload>)],
    repository: Option<&'a RecoveryRepository>,
) -> Result<emergency::Seen<'a>, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    let status = policy.status.as_ref();
    let active = status.and_then(|status| status.emergency.as_ref()?.active.as_ref());
    let (job, turns) = match active {
        Some(active) => {
            crate::observe_job::observe_turns(ctx, policy, &emergency::job_name(policy, active)).await?
        }
        None => (JobState::Absent, Vec::new()),
    };
    let readable = match emergency::is_wanted(policy) {
        false => None,
        true => {
            let claims: Vec<PersistentVolumeClaim> = list(ctx, &namespace, &ListParams::default()).await?;
            let pods: Vec<Pod> = list(ctx, &namespace, &others()).await?;
            let known = status.and_then(|status| status.resolved.as_ref());
            let known = known.map(|resolved| resolved.claims.as_slice()).unwrap_or_default();
            let around = Around { workloads, claims: &claims, pods: &pods, services: &[] };
            Some(source::readable(&policy.spec, known, around))
        }
    };
    Ok(emergency::Seen { repository, readable, job, turns })
}

/// The pods that mount one of the claims; what the controller started itself is none of them.
///
/// # Errors
/// When the API server can't be read.
pub async fn using(ctx: &Context, namespace: &str, claims: &[String]) -> Result<Vec<PodSeen>, Error> {
    let pods: Vec<Pod> = list(ctx, namespace, &others()).await?;
    workloads::mounting(ctx, &pods, |mounted| claims.iter().any(|claim| claim == mounted)).await
}

/// What lists the pods that `selector` selects.
pub(crate) fn pods_of(selector: Option<&LabelSelector>) -> ListParams {
    match selector.cloned().map(Selector::try_from) {
        Some(Ok(selector)) => ListParams::default().labels_from(&selector),
        // A selector that can't be read selects nothing that we know; the claim is then looked for in every pod.
        _ => others(),
    }
}

/// Everything but what the controller started itself.
fn others() -> ListParams {
    ListParams::default().labels(&format!("{MANAGED_BY_LABEL}!={MANAGED_BY}"))
}

/// Names of the ended Jobs that an object owns and that name it by `label`.
///
/// # Errors
/// When the API server can't be read.
pub async fn ended_jobs<K: Resource>(ctx: &Context, owner: &K, label: &str) -> Result<Vec<String>, Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let label = format!("{label}={}", label_value(&owner.name_any()));
    let jobs: Vec<Job> = list(ctx, &namespace, &ListParams::default().labels(&label)).await?;
    Ok(jobs
        .iter()
        .filter(|job| {
            job.owner_references().iter().any(|known| Some(&known.uid) == owner.meta().uid.as_ref())
        })
        .filter(|job| job.metadata.deletion_timestamp.is_none() && crate::observe_job::has_ended(job))
        .map(ResourceExt::name_any)
        .collect())
}

/// The run that works on `policy` and has not ended, if any.
#[must_use]
pub fn held_by(runs: &[RecoveryRun], policy: &BackupPolicy) -> Option<String> {
    holder(runs, policy).map(ResourceExt::name_any)
}

fn holder<'a>(runs: &'a [RecoveryRun], policy: &BackupPolicy) -> Option<&'a RecoveryRun> {
    let restarts = |run: &&RecoveryRun| recovery::restarts(run, &policy.name_any());
    // A rehearsal touches nothing of production, and what reads points holds up no capture.
    let verifies = |run: &&RecoveryRun| run.spec.scenario == Scenario::BackupVerification;
    let touches = |run: &&RecoveryRun| is_active(run) && !verifies(run) && run.spec.sandbox().is_none();
    let holds = |run: &&RecoveryRun| touches(run) && names(run, policy) || restarts(run);
    runs.iter().find(holds)
}

/// The capture of `policy` that this run asks for, if it does.
#[must_use]
pub fn fresh(runs: &[RecoveryRun], policy: &BackupPolicy) -> Option<Asked> {
    let run = holder(runs, policy)?;
    let asked = run.status.iter().flat_map(|status| &status.fresh_captures);
    let asked = asked.into_iter().find(|asked| asked.policy == policy.name_any())?;
    Some(Asked { run: run.uid()?, at: asked.requested_at })
}

/// Whether a run that may need any point has yet to end. One that only looks works on nothing, and a network failure on no point and no volume.
#[must_use]
pub fn is_active(run: &RecoveryRun) -> bool {
    if run.spec.mode != RunMode::Run || run.spec.scenario == Scenario::NetworkFailure {
        return false;
    }
    match run.status.as_ref().and_then(|status| status.phase) {
        None | Some(RunPhase::Pending | RunPhase::AwaitingDecision | RunPhase::Running) => true,
        Some(RunPhase::Planned | RunPhase::Succeeded | RunPhase::Failed | RunPhase::Cancelled) => false,
    }
}

/// Whether a run concerns `policy`: by its steps, or, while it has none, because it names it or names none.
#[must_use]
pub fn names(run: &RecoveryRun, policy: &BackupPolicy) -> bool {
    let steps = run.status.iter().flat_map(|status| &status.steps);
    let mut planned = steps.filter_map(|step| step.policy.as_deref()).peekable();
    match (planned.peek().is_some(), &run.spec.policies) {
        (true, _) => planned.any(|known| known == policy.name_any()),
        (false, Some(named)) => named.iter().any(|named| named.name == policy.name_any()),
        (false, None) => true,
    }
}

/// Components that wait for each other, that of `policy` among them.
#[must_use]
pub fn circle_of(policies: &[BackupPolicy], policy: &BackupPolicy) -> Option<String> {
    let of = |policy: &BackupPolicy| {
        let needed = policy.spec.depends_on.iter().map(|needed| needed.name.clone());
        (policy.name_any(), needed.collect::<Vec<_>>())
    };
    let all: Vec<(String, Vec<String>)> = policies.iter().map(of).collect();
    let all = all.iter().map(|(name, needed)| (name.as_str(), needed.as_slice()));
    plan::recovery::circle_of(&policy.name_any(), all)
}

/// An older policy that captures one of the claims of `policy`.
#[must_use]
pub fn shared_with(policies: &[BackupPolicy], policy: &BackupPolicy, claims: &[String]) -> Option<String> {
    let age = |p: &BackupPolicy| (p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.uid());
    policies
        .iter()
        .filter(|other| other.uid() != policy.uid() && age(other) < age(policy))
        .find(|other| {
            let resolved = other.status.as_ref().and_then(|status| status.resolved.as_ref());
            resolved.is_some_and(|resolved| resolved.claims.iter().any(|claim| claims.contains(claim)))
        })
        .map(ResourceExt::name_any)
}
