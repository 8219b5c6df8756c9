//! Effects on child objects: create and delete, each safe to repeat.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crds::job::Request;
use crds::reference::{SANDBOX_LABEL, WorkloadKind};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt};
use plan::effect::MoverJob;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::accounts;
use crate::context::Context;
use crate::error::{Error, is_code};
use crate::fail_point::fail_point;
use crate::job::{self, Handed};
use crate::objects;
use crate::observe::Kept;

/// The owner reference that makes `object` the controller of its children.
///
/// # Errors
/// When the object was not read from the API server.
pub fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Result<OwnerReference, Error> {
    object.controller_owner_ref(&()).ok_or_else(|| Error::Incomplete {
        object: format!("{}/{}", K::kind(&()), object.name_any()),
        field: "uid",
    })
}

/// Creates the mover Job and the account that it runs as unless they exist. Its name is a function of the owner and the step, so that a
/// repetition finds the one that is there, and gives it what a controller that was stopped in between has not.
///
/// # Errors
/// When the API server refuses, or a Job of that name belongs to somebody else.
pub async fn ensure_job<K>(ctx: &Context, object: &K, job: &MoverJob) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let owner = owner(object)?;
    let uid = owner.uid.clone();
    // No owner reaches into another namespace: what runs in a sandbox goes with that.
    let (namespace, owner) = match &job.namespace {
        Some(sandbox) => (sandbox.clone(), None),
        None => (object.namespace().unwrap_or_default(), Some(owner)),
    };
    let api: Api<Job> = Api::namespaced(ctx.client.clone(), &namespace);
    if let Some(account) = &job.service_account {
        accounts::ensure_account(ctx, object, account).await?;
    }
    let handed = Handed {
        objects: match (&job.objects, &job.request) {
            (Some(wanted), _) => objects::read(ctx, &namespace, wanted).await?,
            (None, Request::WriteReport { .. }) => objects::in_pieces(object),
            (None, _) => Vec::new(),
        },
        beyond: match job.requests().any(|request| matches!(request, Request::Collect { .. })) {
            true => objects::beyond(ctx, &namespace).await,
            false => Vec::new(),
        },
    };
    let built = job::build(&namespace, owner, &ctx.mover, job, &handed);
    let mark = format!("CreateJob/{}", mark(&job.request));
    fail_point("before", Some(&mark));
    let created = api.create(&PostParams::default(), &built).await;
    if created.is_ok() {
        fail_point("after", Some(&mark));
    }
    let made = match created {
        Ok(made) => made,
        Err(error) if is_code(&error, 409) => {
            let found = api.get(&job.name).await.map_err(Error::api("get", format!("Job/{}", job.name)))?;
            let labelled = job.namespace.is_some() && found.labels().get(SANDBOX_LABEL) == Some(&uid);
            if !labelled && !found.owner_references().iter().any(|o| o.uid == uid) {
                return Err(Error::NameTaken {
                    object: format!("Job/{}", job.name),
                    owner: format!("{}/{}", K::kind(&()), object.name_any()),
                });
            }
            found
        }
        Err(error) => return Err(Error::api("create", format!("Job/{}", job.name))(error)),
    };
    match &job.service_account {
        Some(account) => accounts::bind_for(ctx, &made, account).await,
        None => Ok(()),
    }
}

/// The request in the fail point of its Job.
fn mark(request: &Request) -> &'static str {
    match request {
        Request::Probe { .. } => "Probe",
        Request::Catalogue { .. } => "Catalogue",
        Request::Mark { .. } => "Mark",
        Request::Revoke { .. } => "Revoke",
        Request::Seal { .. } => "Seal",
        Request::Judge { .. } => "Judge",
        Request::Prune { .. } => "Prune",
        Request::Capture { .. } => "Capture",
        Request::Preserve { .. } => "Preserve",
        Request::Cut { .. } => "Cut",
        Request::Hook { needed: true, .. } => "Exec",
        Request::Hook { all_or_none: true, .. } => "HookBefore",
        Request::Hook { .. } => "HookAfter",
        Request::WriteReport { .. } => "Report",
        Request::Confirm { .. } => "Confirm",
        Request::Diagnose { .. } => "Diagnose",
        Request::ProbeIsolation { .. } => "Isolate",
        Request::CheckIntegrity { .. } | Request::CheckPreserved { .. } => "CheckIntegrity",
        Request::Extract { .. } => "Extract",
        Request::Recreate { .. } => "Objects",
        Request::Rotate { .. } => "RotateCredentials",
        Request::Collect { .. } => "Collect",
        Request::Inventory { .. } => "Inventory",
        Request::Audit(_) => "Audit",
        Request::CountLoss(_) => "CountLoss",
        Request::Restore { .. } => "Restore",
        Request::VerifyPoints { .. } => "VerifyPoints",
        Request::VerifyOffline { .. } => "VerifyOffline",
        Request::Validate { .. } | Request::Check { .. } => "Validate",
    }
}

/// Deletes the Job and its pods if it exists and is `object`'s own.
///
/// # Errors
/// When the API server refuses.
pub async fn delete_job<K>(ctx: &Context, object: &K, name: &str) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<Job> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = api.get_opt(name).await.map_err(Error::api("get", format!("Job/{name}")))?;
    let Some(found) = found else { return Ok(()) };
    let ours = found.owner_references().iter().any(|o| Some(&o.uid) == object.meta().uid.as_ref());
    if !ours || found.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    delete_this(&api, &found, Some(PropagationPolicy::Background)).await
}

/// Deletes this very object if it is still there, and no other of its name.
///
/// # Errors
/// When the API server refuses.
pub async fn delete_this<K>(
    api: &Api<K>,
    object: &K,
    propagation_policy: Option<PropagationPolicy>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let this = (object.name_any(), object.uid());
    delete_of_uid(api, (&this.0, this.1), &K::kind(&()), propagation_policy).await.map(drop)
}

/// Deletes the object of this name and uid. Returns false when it was gone already, or another one has its name.
///
/// # Errors
/// When the API server refuses.
pub async fn delete_of_uid<K>(
    api: &Api<K>,
    (name, uid): (&str, Option<String>),
    kind: &str,
    propagation_policy: Option<PropagationPolicy>,
) -> Result<bool, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        propagation_policy,
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(false),
        Err(error) => Err(Error::api("delete", format!("{kind}/{name}"))(error)),
    }
}

/// What is made for `object` and goes with it, without holding up its deletion.
///
/// # Errors
/// When the object was not read from the API server.
pub fn child<K: Resource<DynamicType = ()>>(
    object: &K,
    name: &str,
    labels: BTreeMap<String, String>,
) -> Result<ObjectMeta, Error> {
    Ok(ObjectMeta {
        name: Some(name.to_owned()),
        namespace: object.namespace(),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            block_owner_deletion: None,
            controller: None,
            ..owner(object)?
        }]),
        ..ObjectMeta::default()
    })
}

/// Makes an object unless one of its name exists. Returns whether it was made now.
///
/// # Errors
/// When the API server refuses.
pub async fn ensure<K>(api: &Api<K>, object: &K, kind: &str) -> Result<bool, Error>
where
    K: Resource + Clone + Serialize + DeserializeOwned + Debug,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(true),
        Err(error) if is_code(&error, 409) => Ok(false),
        Err(error) => Err(Error::api("create", format!("{kind}/{}", object.name_any()))(error)),
    }
}

/// Scales a workload as it was seen; a look that is outdated is refused with a conflict.
///
/// # Errors
/// When the API server refuses.
pub async fn scale(ctx: &Context, namespace: &str, scale: &plan::workload::Scale) -> Result<(), Error> {
    let plan::workload::Scale { workload, resource_version, replicas } = scale;
    let asked = Scale {
        metadata: ObjectMeta {
            name: Some(workload.name.clone()),
            namespace: Some(namespace.to_owned()),
            resource_version: Some(resource_version.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: Some(*replicas) }),
        status: None,
    };
    let (client, name, params) = (ctx.client.clone(), &workload.name, PostParams::default());
    let done = match workload.kind {
        WorkloadKind::StatefulSet => {
            Api::<StatefulSet>::namespaced(client, namespace).replace_scale(name, &params, &asked).await
        }
        WorkloadKind::Deployment => {
            Api::<Deployment>::namespaced(client, namespace).replace_scale(name, &params, &asked).await
        }
        WorkloadKind::CronJob => return suspend(ctx, namespace, scale).await,
    };
    done.map(drop).map_err(Error::api("scale", format!("{:?}/{name}", workload.kind)))
}

/// Suspends a CronJob as it was seen, or lets it go on.
async fn suspend(ctx: &Context, namespace: &str, scale: &plan::workload::Scale) -> Result<(), Error> {
    let patch = json!({
        "metadata": {"resourceVersion": scale.resource_version}, "spec": {"suspend": scale.replicas == 0},
    });
    let (api, name) = (Api::<CronJob>::namespaced(ctx.client.clone(), namespace), &scale.workload.name);
    let done = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    done.map(drop).map_err(Error::api("patch", format!("CronJob/{name}")))
}

/// Puts a finalizer on an object as it was seen, or takes it away; a look that is outdated is refused with a conflict.
///
/// # Errors
/// When the API server refuses.
pub async fn finalizer<K>(ctx: &Context, object: &K, finalizer: &str, held: bool) -> Result<(), Error>
where
    K: Kept,
{
    let mut list: Vec<String> =
        object.finalizers().iter().filter(|known| *known != finalizer).cloned().collect();
    if held {
        list.push(finalizer.to_owned());
    }
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": list}});
    let done = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    done.map(drop).map_err(Error::api("patch", format!("{}/{name}", K::kind(&()))))
}
