//! What the nodes use, as metrics.k8s.io tells it where somebody has installed that.

use std::sync::PoisonError;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};
use plan::recovery::seen::NodeUsage;

use crate::context::{Context, Usage};
use crate::error::is_code;

/// For how long what was read is believed: metrics are no younger themselves, and a run looks several times a second.
const BELIEVED: SignedDuration = SignedDuration::from_secs(30);

/// Looks; a sentence where it is not known.
pub(super) async fn look(ctx: &Context) -> Usage {
    let now = (ctx.now)();
    let known = ctx.usage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((_, known)) = known.filter(|(at, _)| now.duration_since(*at).abs() < BELIEVED) {
        return known;
    }
    let found = read(ctx).await;
    *ctx.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, found.clone()));
    found
}

async fn read(ctx: &Context) -> Usage {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "NodeMetrics"),
        "nodes",
    );
    let metrics =
        Api::<DynamicObject>::all_with(ctx.client.clone(), &resource).list(&ListParams::default()).await;
    let metrics = match metrics {
        Ok(metrics) => metrics.items,
        Err(error) if is_code(&error, 404) => {
            return Err("metrics.k8s.io is not installed, so kubectl top knows nothing either".to_owned());
        }
        Err(error) => return Err(format!("metrics.k8s.io does not answer: {error}")),
    };
    let nodes = Api::<Node>::all(ctx.client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| format!("the nodes can't be listed: {error}"))?.items;
    Ok(told(&nodes, &metrics))
}

/// What is told of each node; empty where something is not.
fn told(nodes: &[Node], metrics: &[DynamicObject]) -> Vec<NodeUsage> {
    let of = |node: &Node| {
        let used = metrics.iter().find(|found| found.name_any() == node.name_any());
        let used = |what: &str| Some(used?.data.get("usage")?.get(what)?.as_str()?.to_owned());
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let has = |what: &str| allocatable.and_then(|all| all.get(what)).map(|quantity| quantity.0.clone());
        NodeUsage {
            name: node.name_any(),
            cpu: used("cpu").unwrap_or_default(),
            memory: used("memory").unwrap_or_default(),
            allocatable_cpu: has("cpu").unwrap_or_default(),
            allocatable_memory: has("memory").unwrap_or_default(),
        }
    };
    nodes.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_nodes_usage_stands_beside_what_pods_can_have_there() {
        let node = |name: &str| -> Node {
            let allocatable = json!({"cpu": "1930m", "memory": "7902Mi", "pods": "110"});
            serde_json::from_value(
                json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}}),
            )
            .unwrap()
        };
        let metrics: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics", "metadata": {"name": "node1"},
            "timestamp": "2026-11-27T05:00:00Z", "window": "20s", "usage": {"cpu": "482137461n", "memory": "3174548Ki"},
        }))
        .unwrap();
        let told = told(&[node("node1"), node("node2")], &[metrics]);
        let of = |usage: &NodeUsage| {
            [&usage.name, &usage.cpu, &usage.memory, &usage.allocatable_cpu, &usage.allocatable_memory]
                .map(Clone::clone)
        };
        assert_eq!(of(&told[0]), ["node1", "482137461n", "3174548Ki", "1930m", "7902Mi"]);
        assert_eq!(of(&told[1]), ["node2", "", "", "1930m", "7902Mi"], "one without metrics is not left out");
    }
}
