//! What is in the namespace of a breach, and who may do what there, as an audit sees it. What can't be read is told as that: nothing here holds up a
//! recovery. Decides nothing.

use kube::Api;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use plan::audit::{Listed, Seen};
use plan::recovery::seen::RunSeen;
use serde_json::Value;

use crate::context::Context;

/// Most objects of a kind that are looked at; where there are more that is told.
const MOST: u32 = 5000;

const RBAC: &str = "rbac.authorization.k8s.io";

/// What makes pods.
const WORKLOADS: [(&str, &str); 6] = [
    ("apps", "StatefulSet"),
    ("apps", "Deployment"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];

/// Looks.
pub(super) async fn look(ctx: &Context, run: &RunSeen) -> Seen {
    let since = run.spec.incident.as_ref().and_then(|incident| incident.suspected_since);
    let namespace = Some(run.namespace.as_str());
    let mut workloads = Ok(Vec::new());
    for (group, kind) in WORKLOADS {
        match (&mut workloads, list(ctx, group, kind, namespace).await) {
            (Ok(all), Ok(more)) => all.extend(more),
            (Ok(_), Err(why)) => workloads = Err(why),
            (Err(_), _) => {}
        }
    }
    Seen {
        namespace: run.namespace.clone(),
        since: since.unwrap_or(run.created),
        run: run.uid.clone(),
        cluster_roles: list(ctx, RBAC, "ClusterRole", None).await,
        cluster_role_bindings: list(ctx, RBAC, "ClusterRoleBinding", None).await,
        roles: list(ctx, RBAC, "Role", namespace).await,
        role_bindings: list(ctx, RBAC, "RoleBinding", namespace).await,
        service_accounts: list(ctx, "", "ServiceAccount", namespace).await,
        workloads,
        pods: list(ctx, "", "Pod", namespace).await,
    }
}

/// Objects of a kind, each saying what it is.
async fn list(ctx: &Context, group: &str, kind: &str, namespace: Option<&str>) -> Listed {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &resource),
        None => Api::all_with(ctx.client.clone(), &resource),
    };
    let listed = api.list(&ListParams::default().limit(MOST)).await;
    let listed = listed.map_err(|error| format!("{} can't be listed: {error}", resource.plural))?;
    if listed.metadata.continue_.as_deref().is_some_and(|more| !more.is_empty()) {
        return Err(format!("there are more than {MOST} {}", resource.plural));
    }
    let told = |object: DynamicObject| {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        value["kind"] = Value::from(kind);
        value
    };
    Ok(listed.items.into_iter().map(told).collect())
}
