//! Carries out the effects of a recovery: one exhaustive match, each effect safe to repeat. What protects against acting
//! on an outdated look is in the request itself: uid and resourceVersion.

use std::collections::BTreeMap;

use crds::reference::{
    BINDING, EXECUTED_LABEL, ISOLATING_LABEL, MANAGED_BY, MANAGED_BY_LABEL, MEMORY_LABEL, RUN_LABEL,
    SWAP_FINALIZER,
};
use crds::{RecoveryPoint, RecoveryRun};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use plan::effect::label_value;
use plan::recovery::Effect;
use plan::recovery::effect::{NewClaim, NewNetworkPolicy};
use serde_json::{Value, json};

use super::read::{RECORDED, REMEMBERED};
use crate::context::Context;
use crate::error::{Error, is_code};
use crate::execute::{child, delete_of_uid, ensure};
use crate::fail_point::fail_point;

/// Carries out `effect` on behalf of `run`.
///
/// # Errors
/// When the API server refuses; a conflict means that the look was outdated.
pub(super) async fn execute(ctx: &Context, run: &RecoveryRun, effect: &Effect) -> Result<(), Error> {
    fail_point("before", Some(&effect.mark()));
    carry_out(ctx, run, effect).await?;
    fail_point("after", Some(&effect.mark()));
    Ok(())
}

async fn carry_out(ctx: &Context, run: &RecoveryRun, effect: &Effect) -> Result<(), Error> {
    let namespace = run.namespace().unwrap_or_default();
    // Where the components are.
    let home = match run.spec.sandbox() {
        Some(_) => crds::names::sandbox(&namespace, &run.uid().unwrap_or_default()),
        None => namespace.clone(),
    };
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
    match effect {
        Effect::CreateExecuted { name, data } => {
            let mut map = map(run, name, EXECUTED_LABEL, data.clone());
            map.immutable = Some(true);
            // One that exists is fine: the next look says whose it is.
            ensure(&maps, &map, "ConfigMap").await.map(drop)
        }
        Effect::AddFinalizer => hold(ctx, run, true).await,
        Effect::RemoveFinalizer => hold(ctx, run, false).await,
        Effect::RememberClaims { name, remembered } => {
            let remembered =
                serde_json::to_string(remembered).expect("what is remembered holds only strings and numbers");
            let data = BTreeMap::from([(REMEMBERED.to_owned(), remembered)]);
            let mut map = map(run, name, MEMORY_LABEL, data);
            // Not blocking: a foreground deletion of the run must not take it away while claims are swapped.
            map.metadata.owner_references = child(run, name, BTreeMap::new())?.owner_references;
            ensure(&maps, &map, "ConfigMap").await.map(drop)
        }
        Effect::ForgetClaims { name, uid } => {
            delete_of_uid(&maps, (name, Some(uid.clone())), "ConfigMap", None).await.map(drop)
        }
        Effect::GrantIsolation { name } => crate::accounts::grant_isolation(ctx, run, name).await,
        Effect::RevokeIsolation { name, uid } => {
            let bindings: Api<RoleBinding> = Api::namespaced(ctx.client.clone(), &namespace);
            delete_of_uid(&bindings, (name, Some(uid.clone())), "RoleBinding", None).await.map(drop)
        }
        Effect::QuarantinePoint { name, mark } => {
            let Some(point) = crate::observe::get::<RecoveryPoint>(ctx, &namespace, name).await? else {
                return Ok(());
            };
            match plan::trust::status(&point, Some(mark.clone()), (ctx.now)()) {
                Some(status) => crate::points::judge(ctx, &namespace, &point, &status).await,
                None => Ok(()),
            }
        }
        Effect::StampPoint(stamp) => crate::points::stamp(ctx, &namespace, stamp).await,
        Effect::RecordPolicies { name, policies } => {
            let recorded = serde_json::to_string(policies)
                .expect("what is recorded holds only strings, numbers and lists");
            let mut map = map(run, name, MEMORY_LABEL, BTreeMap::from([(RECORDED.to_owned(), recorded)]));
            map.immutable = Some(true);
            ensure(&maps, &map, "ConfigMap").await.map(drop)
        }
        Effect::ForgetPolicies { name, uid } => {
            delete_of_uid(&maps, (name, Some(uid.clone())), "ConfigMap", None).await.map(drop)
        }
        Effect::CreatePolicy(policy) => {
            let policies: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), &home);
            ensure(&policies, &new_policy(&home, policy)?, "NetworkPolicy").await.map(drop)
        }
        Effect::DeletePolicy { name, uid, resource_version } => {
            let policies: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), &namespace);
            let this =
                Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
            let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
            match policies.delete(name, &params).await {
                Ok(_) => Ok(()),
                // Gone, or another one by now: the next look says which.
                Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(()),
                Err(error) => Err(Error::api("delete", format!("NetworkPolicy/{name}"))(error)),
            }
        }
        Effect::SetReclaimPolicy { volume, resource_version, policy } => {
            let patch = json!({
                "metadata": {"resourceVersion": resource_version},
                "spec": {"persistentVolumeReclaimPolicy": policy},
            });
            patched(&Api::<PersistentVolume>::all(ctx.client.clone()), volume, "PersistentVolume", &patch)
                .await
        }
        Effect::Scale(scale) => crate::execute::scale(ctx, &home, scale).await,
        Effect::CreateSandbox { name } => super::sandbox::create(ctx, run, name).await,
        Effect::FurnishSandbox { name } => super::sandbox::furnish(ctx, run, name).await,
        Effect::DeleteSandbox { name, uid } => super::sandbox::delete(ctx, name, uid).await,
        Effect::SetSwitch { config_map, resource_version, key, value } => {
            let patch = json!({"metadata": {"resourceVersion": resource_version}, "data": {key: value}});
            let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &home);
            patched(&maps, config_map, "ConfigMap", &patch).await
        }
        Effect::CreateClaim(claim) => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &claim.namespace);
            ensure(&claims, &new_claim(claim), "PersistentVolumeClaim").await.map(drop)
        }
        Effect::AnnotateClaim { name, resource_version, value } => {
            // In a merge patch null removes.
            let patch = json!({
                "metadata": {"resourceVersion": resource_version, "annotations": {BINDING: value}},
            });
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &home);
            patched(&claims, name, "PersistentVolumeClaim", &patch).await
        }
        Effect::CreateJob { step: _, job } => crate::execute::ensure_job(ctx, run, job).await,
        Effect::CreateCheckJob { name, policy, cron_job, timeout } => {
            super::check_job::make(ctx, run, (name, policy.as_deref()), (cron_job, *timeout)).await
        }
        Effect::RecordPoint(point) => crate::points::record(ctx, &namespace, point).await.map(drop),
        Effect::DeleteJob { name, uid } => {
            if home != namespace {
                let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), &home);
                let with_pods = Some(PropagationPolicy::Background);
                delete_of_uid(&jobs, (name, Some(uid.clone())), "Job", with_pods).await?;
            }
            crate::execute::delete_job(ctx, run, name).await
        }
        Effect::DeleteClaim { name, uid } | Effect::ReleaseClaim { name, uid } => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &namespace);
            delete_of_uid(&claims, (name, Some(uid.clone())), "PersistentVolumeClaim", None).await.map(drop)
        }
        Effect::PatchVolume { volume, resource_version, claim } => {
            // In a merge patch null removes: without uid the volume waits for the claim that is made next.
            let patch = json!({
                "metadata": {"resourceVersion": resource_version},
                "spec": {"claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": home, "name": claim,
                    "uid": null, "resourceVersion": null, "fieldPath": null,
                }},
            });
            patched(&Api::<PersistentVolume>::all(ctx.client.clone()), volume, "PersistentVolume", &patch)
                .await
        }
    }
}

/// Holds the run, or lets it go. One that isolates its namespace says so by a label for as long as it is held: admission policies look for it.
async fn hold(ctx: &Context, run: &RecoveryRun, held: bool) -> Result<(), Error> {
    if !run.spec.is_breach() {
        return crate::execute::finalizer(ctx, run, SWAP_FINALIZER, held).await;
    }
    let mut finalizers: Vec<&String> =
        run.finalizers().iter().filter(|known| *known != SWAP_FINALIZER).collect();
    let ours = SWAP_FINALIZER.to_owned();
    if held {
        finalizers.push(&ours);
    }
    let patch = json!({"metadata": {
        "resourceVersion": run.resource_version(), "finalizers": finalizers,
        "labels": {ISOLATING_LABEL: held.then_some("true")},
    }});
    let runs: Api<RecoveryRun> = Api::namespaced(ctx.client.clone(), &run.namespace().unwrap_or_default());
    patched(&runs, &run.name_any(), "RecoveryRun", &patch).await
}

/// A NetworkPolicy as it was, or one that isolates.
fn new_policy(namespace: &str, policy: &NewNetworkPolicy) -> Result<NetworkPolicy, Error> {
    let NewNetworkPolicy { name, labels, annotations, owners, spec } = policy;
    let spec = serde_json::from_value(spec.clone())
        .map_err(|_| Error::Incomplete { object: format!("NetworkPolicy/{name}"), field: "spec" })?;
    Ok(NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: (!labels.is_empty()).then(|| labels.clone()),
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            owner_references: (!owners.is_empty()).then(|| owners.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    })
}

fn map(run: &RecoveryRun, name: &str, label: &str, data: BTreeMap<String, String>) -> ConfigMap {
    let run_name = run.name_any();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: run.namespace(),
            labels: Some(BTreeMap::from([
                (label.to_owned(), label_value(&run_name)),
                (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
            ])),
            // For people: which run it belongs to. A label would not hold every name.
            annotations: Some(BTreeMap::from([(RUN_LABEL.to_owned(), run_name)])),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn new_claim(claim: &NewClaim) -> PersistentVolumeClaim {
    let NewClaim {
        namespace,
        name,
        labels,
        annotations,
        owners,
        volume,
        class,
        size,
        access_modes,
        volume_mode,
    } = claim;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            owner_references: (!owners.is_empty()).then(|| owners.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes.clone()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.clone()))])),
                limits: None,
            }),
            storage_class_name: class.clone(),
            volume_mode: volume_mode.clone(),
            volume_name: volume.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

async fn patched<K>(api: &Api<K>, name: &str, kind: &str, patch: &Value) -> Result<(), Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(|_| ())
        .map_err(Error::api("patch", format!("{kind}/{name}")))
}
