//! What the checks of policies look at: objects whose status an expression judges, and pods in which a command may run.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::{StatusKind, StatusRef};
use crds::reference::WorkloadRef;
use crds::{BackupPolicy, RecoveryRepository};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt;
use plan::recovery::seen::Component;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::Error;
use crate::observe::{self, Kept};

/// The objects that checks of `components` name, as far as they exist.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn objects(
    ctx: &Context,
    namespace: &str,
    components: &[Component],
) -> Result<BTreeMap<StatusRef, Value>, Error> {
    let checks = components.iter().flat_map(|component| &component.checks);
    let wanted: BTreeSet<&StatusRef> =
        checks.filter_map(|check| Some(&check.status.as_ref()?.object_ref)).collect();
    let mut found = BTreeMap::new();
    for reference in wanted {
        let name = &reference.name;
        let object = match reference.kind {
            StatusKind::Deployment => one::<Deployment>(ctx, namespace, name).await,
            StatusKind::StatefulSet => one::<StatefulSet>(ctx, namespace, name).await,
            StatusKind::CronJob => one::<CronJob>(ctx, namespace, name).await,
            StatusKind::Job => one::<Job>(ctx, namespace, name).await,
            StatusKind::Pod => one::<Pod>(ctx, namespace, name).await,
            StatusKind::Service => one::<Service>(ctx, namespace, name).await,
            StatusKind::PersistentVolumeClaim => one::<PersistentVolumeClaim>(ctx, namespace, name).await,
            StatusKind::BackupPolicy => one::<BackupPolicy>(ctx, namespace, name).await,
            StatusKind::RecoveryRepository => one::<RecoveryRepository>(ctx, namespace, name).await,
        };
        found.extend(object?.map(|object| (reference.clone(), object)));
    }
    Ok(found)
}

async fn one<K>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Value>, Error>
where
    K: Kept + Serialize,
{
    let found: Option<K> = observe::get(ctx, namespace, name).await?;
    Ok(found.map(|found| told(&serde_json::to_value(found).unwrap_or_default())))
}

/// What an expression sees of an object: who may write policies need not be allowed to read the rest, as the environment of a pod.
fn told(object: &Value) -> Value {
    let of = |part: &str, fields: &[&str]| {
        let fields =
            fields.iter().filter_map(|field| Some(((*field).to_owned(), object[part].get(*field)?.clone())));
        fields.collect::<Map<String, Value>>()
    };
    let metadata = of("metadata", &["name", "labels", "generation"]);
    json!({"metadata": metadata, "spec": of("spec", &["replicas"]), "status": object.get("status").cloned().unwrap_or(json!({}))})
}

/// The ready pods of each of `components` in whose pods a check runs a command, by their names.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn pods(ctx: &Context, namespace: &str, components: &mut [Component]) -> Result<(), Error> {
    for component in components.iter_mut().filter(|seen| seen.checks.iter().any(|check| check.exec.is_some()))
    {
        let references: Vec<WorkloadRef> =
            component.workloads.iter().map(|seen| seen.workload.clone()).collect();
        let workloads = observe::workloads(ctx, namespace, &references).await?;
        let mut ready = BTreeSet::new();
        for selector in workloads.iter().filter_map(|(_, found)| found.as_ref()?.selector()) {
            let pods: Vec<Pod> = observe::list(ctx, namespace, &observe::pods_of(Some(selector))).await?;
            ready.extend(pods.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any));
        }
        component.ready_pods = ready.into_iter().collect();
    }
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_sees_the_status_and_no_more_of_a_pod_than_its_name() {
        let pod = json!({
            "metadata": {"name": "p", "generation": 2, "labels": {"a": "b"}, "annotations": {"secret": "x"}},
            "spec": {"replicas": 3, "containers": [{"name": "c", "env": [{"name": "TOKEN", "value": "x"}]}]},
            "status": {"phase": "Running"},
        });
        let seen = json!({
            "metadata": {"name": "p", "generation": 2, "labels": {"a": "b"}}, "spec": {"replicas": 3},
            "status": {"phase": "Running"},
        });
        assert_eq!(told(&pod), seen);
        assert_eq!(told(&json!({"metadata": {"name": "p"}}))["status"], json!({}));
    }

    #[test]
    fn a_pod_that_ends_is_not_ready_any_more() {
        let pod = |deleted: Value, ready: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "deletionTimestamp": deleted},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        assert!(is_ready(&pod(Value::Null, "True")));
        assert!(
            !is_ready(&pod(Value::Null, "False")) && !is_ready(&pod(json!("2026-11-23T09:00:00Z"), "True"))
        );
    }
}
