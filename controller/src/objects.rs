//! Reading the objects of a component, for a capture. As they are and not as this program knows them: a field of a newer cluster
//! is kept. Which of them, and what of each, `plan` decides.

use std::fmt::Debug;

use crds::policy::ObjectKind;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume};
use kube::api::{ListParams, ObjectMeta};
use kube::core::{ApiResource, ClusterResourceScope, DynamicObject, GroupVersionKind};
use kube::{Api, Resource};
use plan::backup::objects::{READ, Wanted};
use plan::beyond::handed;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Error;

/// The objects that belong to a component.
///
/// # Errors
/// When the API server can't be read.
pub async fn read(ctx: &Context, namespace: &str, wanted: &Wanted) -> Result<Vec<Value>, Error> {
    let mut chosen = Vec::new();
    for kind in READ {
        let resource = resource(kind);
        let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
        let listed = api.list(&ListParams::default()).await;
        let what = || format!("{} in namespace {namespace}", resource.plural);
        let listed = listed.map_err(|e| Error::api("list", what())(e))?.items;
        // Items of a list don't say what they are.
        let objects = listed.into_iter().map(|object| {
            let mut value = serde_json::to_value(object).unwrap_or_default();
            value["apiVersion"] = resource.api_version.clone().into();
            value["kind"] = resource.kind.clone().into();
            value
        });
        chosen.extend(wanted.chosen(kind, &objects.collect::<Vec<_>>()));
    }
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    for name in &wanted.config_maps {
        let found =
            maps.get_metadata_opt(name).await.map_err(Error::api("get", format!("ConfigMap/{name}")))?;
        chosen.extend(found.and_then(|found| marks(&found.metadata)));
    }
    Ok(chosen)
}

/// Labels and annotations of a ConfigMap, whose data the mover reads where it is mounted; nothing where it has none.
fn marks(metadata: &ObjectMeta) -> Option<Value> {
    let mut kept = metadata.annotations.clone().unwrap_or_default();
    // It repeats all that the object held when it was last applied.
    kept.remove("kubectl.kubernetes.io/last-applied-configuration");
    let labels = metadata.labels.clone().unwrap_or_default();
    if labels.is_empty() && kept.is_empty() {
        return None;
    }
    let mut marks = json!({"name": metadata.name});
    for (field, values) in [("labels", labels), ("annotations", kept)] {
        if !values.is_empty() {
            marks[field] = json!(values);
        }
    }
    Some(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": marks}))
}

/// What a mover that collects is told of the cluster beyond its namespace. What can't be read is told as that.
pub async fn beyond(ctx: &Context, namespace: &str) -> Vec<Value> {
    let nodes = whole::<Node>(ctx).await;
    let volumes = whole::<PersistentVolume>(ctx).await;
    handed(nodes.as_deref().map_err(Clone::clone), volumes.as_deref().map_err(Clone::clone), namespace)
}

/// Every object of a kind without namespaces.
async fn whole<K>(ctx: &Context) -> Result<Vec<Value>, String>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let listed = Api::<K>::all(ctx.client.clone()).list(&ListParams::default()).await;
    let objects = listed.map_err(|error| error.to_string())?.items;
    Ok(objects.iter().map(|object| serde_json::to_value(object).unwrap_or_default()).collect())
}

/// Most bytes of a piece. The kernel takes no variable of more than 128 KiB, and what is written down as JSON in JSON is longer.
const PIECE: usize = 48 << 10;

/// An object as JSON in pieces, each a string. Who wrote which of its fields is left out.
pub fn in_pieces(object: &impl Serialize) -> Vec<Value> {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let text = value.to_string();
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
        pieces.push(piece.into());
        rest = more;
    }
    pieces
}

fn resource(kind: ObjectKind) -> ApiResource {
    let (group, kind) = match kind {
        ObjectKind::ConfigMap => ("", "ConfigMap"),
        ObjectKind::Secret => ("", "Secret"),
        ObjectKind::PersistentVolumeClaim => ("", "PersistentVolumeClaim"),
        ObjectKind::Service => ("", "Service"),
        ObjectKind::StatefulSet => ("apps", "StatefulSet"),
        ObjectKind::Deployment => ("apps", "Deployment"),
        ObjectKind::CronJob => ("batch", "CronJob"),
        ObjectKind::NetworkPolicy => ("networking.k8s.io", "NetworkPolicy"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_config_map_its_labels_are_handed_over_and_nothing_that_it_holds() {
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        let metadata = |value: Value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let marked = metadata(
            json!({"name": "config", "namespace": "arxiv", "uid": "u", "labels": {"holdfast.dev/offline-switch": "true"},
            "annotations": {applied: "{\"data\":{}}", "team": "search"}}),
        );
        let wanted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config",
            "labels": {"holdfast.dev/offline-switch": "true"}, "annotations": {"team": "search"}}});
        assert_eq!(marks(&marked), Some(wanted));
        assert_eq!(marks(&metadata(json!({"name": "config", "annotations": {applied: "{}"}}))), None);
    }

    #[test]
    fn every_kind_that_is_read_is_found_under_its_plural() {
        let paths: Vec<String> = READ
            .into_iter()
            .map(|kind| {
                let resource = resource(kind);
                format!("{}/{}", resource.api_version, resource.plural)
            })
            .collect();
        assert_eq!(
            paths,
            [
                "v1/persistentvolumeclaims",
                "v1/services",
                "apps/v1/statefulsets",
                "apps/v1/deployments",
                "batch/v1/cronjobs",
                "networking.k8s.io/v1/networkpolicies",
            ]
        );
    }
}
