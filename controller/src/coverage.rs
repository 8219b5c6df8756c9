//! Reads what a namespace has, for whether its policies cover it. Lists, so it is done now and then and not at every capture: a
//! namespace that changes is seen to within the hour, one whose policies change at once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::PoisonError;

use crds::{BackupPolicy, RecoveryRepository};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::backup::source::Workload;
use plan::coverage::{self, Look, Seen};

use crate::context::Context;
use crate::error::Error;
use crate::observe;

/// For how long what was seen is believed, with the same policies.
const BELIEVED: SignedDuration = SignedDuration::from_mins(10);

/// Looks, unless it did so lately.
pub async fn look(ctx: &Context, repository: &RecoveryRepository, policies: &[BackupPolicy]) -> Look {
    let namespace = repository.namespace().unwrap_or_default();
    let (key, now, told) = (format!("{namespace}/{}", repository.name_any()), (ctx.now)(), digest(policies));
    let seen = ctx.covered.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    if seen.is_some_and(|(at, of)| of == told && now.duration_since(at).abs() < BELIEVED) {
        return Look::NotNow;
    }
    let found = match read(ctx, &namespace, policies).await {
        Ok(seen) => coverage::of(&seen).map_or(Look::Unprotected, Look::Seen),
        Err(error) => Look::Failed(error.chain()),
    };
    ctx.covered.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (now, told));
    found
}

/// Forgets a repository that is gone.
pub fn forget(ctx: &Context, namespace: &str, name: &str) {
    ctx.covered.lock().unwrap_or_else(PoisonError::into_inner).remove(&format!("{namespace}/{name}"));
}

async fn read(ctx: &Context, namespace: &str, policies: &[BackupPolicy]) -> Result<Seen, Error> {
    let all = ListParams::default();
    if policies.is_empty() {
        return Ok(Seen::default());
    }
    let sets: Vec<StatefulSet> = observe::list(ctx, namespace, &all).await?;
    let deployments: Vec<Deployment> = observe::list(ctx, namespace, &all).await?;
    let jobs: Vec<CronJob> = observe::list(ctx, namespace, &all).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let what = format!("persistentvolumeclaims in namespace {namespace}");
    let claims = claims.list_metadata(&all).await.map_err(Error::api("list", what))?;
    let workloads = sets.into_iter().map(|set| Workload::StatefulSet(Box::new(set)));
    let workloads =
        workloads.chain(deployments.into_iter().map(|deployment| Workload::Deployment(Box::new(deployment))));
    Ok(Seen {
        policies: policies.to_vec(),
        repositories: observe::list(ctx, namespace, &all).await?,
        workloads: workloads.chain(jobs.into_iter().map(|job| Workload::CronJob(Box::new(job)))).collect(),
        claims: claims.items.into_iter().map(|claim| claim.metadata).collect(),
    })
}

/// What of the policies says what they cover.
fn digest(policies: &[BackupPolicy]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for policy in policies {
        let resolved = policy.status.as_ref().and_then(|status| status.resolved.as_ref());
        let claims = resolved.map(|resolved| resolved.claims.as_slice());
        (policy.uid(), policy.metadata.generation, claims).hash(&mut hasher);
    }
    hasher.finish()
}
