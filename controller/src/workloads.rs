//! Workloads and the pods on their volumes, in the words of the plan.

use std::collections::BTreeMap;

use crds::reference::{RECREATED_BY, REPLICAS, WorkloadRef};
use crds::run::LostPod;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt};
use plan::backup::source::Workload;
use plan::recovery::seen::NodeState;
use plan::workload::{PodSeen, Recreated, WorkloadSeen};

use crate::context::Context;
use crate::error::Error;

/// The taint by which somebody says that a node's machine is off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A workload in the words of the plan.
pub(crate) fn seen(reference: &WorkloadRef, found: &Workload) -> WorkloadSeen {
    let (meta, replicas, ready, pods, deletes_claims) = match found {
        Workload::StatefulSet(set) => {
            let spec = set.spec.as_ref();
            let retention = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
            (
                &set.metadata,
                spec.and_then(|spec| spec.replicas),
                set.status.as_ref().and_then(|status| {
                    // What an older generation of the pods says does not count.
                    (status.observed_generation >= set.metadata.generation)
                        .then_some(status.ready_replicas)
                        .flatten()
                }),
                set.status
                    .as_ref()
                    .filter(|status| status.observed_generation >= set.metadata.generation)
                    .map(|status| status.replicas),
                retention.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete"),
            )
        }
        Workload::Deployment(deployment) => (
            &deployment.metadata,
            deployment.spec.as_ref().and_then(|spec| spec.replicas),
            deployment.status.as_ref().and_then(|status| {
                (status.observed_generation >= deployment.metadata.generation)
                    .then_some(status.ready_replicas)
                    .flatten()
            }),
            deployment
                .status
                .as_ref()
                .filter(|status| status.observed_generation >= deployment.metadata.generation)
                .map(|status| status.replicas.unwrap_or(0)),
            false,
        ),
        Workload::CronJob(job) => {
            // Suspended it has no replica, and none is waited for.
            let runs = job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true));
            (&job.metadata, Some(i32::from(runs)), Some(i32::from(runs)), Some(0), false)
        }
    };
    WorkloadSeen {
        workload: reference.clone(),
        uid: meta.uid.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        replicas: replicas.unwrap_or(1),
        ready: ready.unwrap_or(0),
        pods,
        deletes_claims,
        recreated: recreated(meta),
    }
}

/// What a run wrote on a workload that it created stopped.
fn recreated(meta: &ObjectMeta) -> Option<Recreated> {
    let annotations = meta.annotations.as_ref()?;
    let by = annotations.get(RECREATED_BY)?.clone();
    Some(Recreated { by, replicas: annotations.get(REPLICAS)?.parse().ok()? })
}

/// Names of the claims that `pod` mounts.
pub(crate) fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let claim = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone());
            // A generic ephemeral volume has a claim named after the pod.
            claim.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name_any(), volume.name)))
        })
        .collect()
}

/// `pod`; `node` is what is known of its node, absent when the node does not exist.
fn pod(pod: &Pod, node: Option<&Node>) -> PodSeen {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let placed = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let answers = node.is_some_and(answers);
    let conditions = status.and_then(|status| status.conditions.as_ref());
    PodSeen {
        name: pod.name_any(),
        claims: claims_of(pod),
        ended: matches!(phase, "Succeeded" | "Failed"),
        lost_on: placed.filter(|_| !answers || phase == "Unknown"),
        ready: conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"),
        restarts: status
            .into_iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .map(|container| container.restart_count)
            .sum(),
    }
}

/// What is known of the nodes on which pods were lost.
///
/// # Errors
/// When the API server can't be read.
pub(crate) async fn nodes(ctx: &Context, lost: &[LostPod]) -> Result<BTreeMap<String, NodeState>, Error> {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let mut known = BTreeMap::new();
    for LostPod { node: name, .. } in lost {
        if !known.contains_key(name) {
            let found = api.get_opt(name).await.map_err(Error::api("get", format!("Node/{name}")))?;
            known.insert(name.clone(), state(found.as_ref()));
        }
    }
    Ok(known)
}

fn state(node: Option<&Node>) -> NodeState {
    let Some(node) = node else { return NodeState::Gone };
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    match (answers(node), taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)) {
        (true, _) => NodeState::Answers,
        (false, true) => NodeState::OutOfService,
        (false, false) => NodeState::Silent,
    }
}

fn answers(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").all(|condition| condition.status != "Unknown")
}

/// Those of `pods` that mount a claim which passes, and whether their nodes answer.
///
/// # Errors
/// When the API server can't be read.
pub(crate) async fn mounting(
    ctx: &Context,
    pods: &[Pod],
    passes: impl Fn(&str) -> bool,
) -> Result<Vec<PodSeen>, Error> {
    let nodes: Api<Node> = Api::all(ctx.client.clone());
    let mut known: BTreeMap<String, Option<Node>> = BTreeMap::new();
    let mut seen = Vec::new();
    for found in pods {
        if !claims_of(found).iter().any(|claim| passes(claim)) {
            continue;
        }
        let node = found.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if let Some(name) = node.as_ref().filter(|name| !known.contains_key(*name)) {
            let found = nodes.get_opt(name).await.map_err(Error::api("get", format!("Node/{name}")))?;
            known.insert(name.clone(), found);
        }
        let node = node.as_ref().and_then(|name| known.get(name)).and_then(Option::as_ref);
        seen.push(pod(found, node));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_is_told_by_whether_it_answers_and_by_what_somebody_wrote_on_it() {
        let node = |ready: &str, taints: Value| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": "node-2"}, "spec": {"taints": taints},
                "status": {"conditions": [{"type": "MemoryPressure", "status": "Unknown"}, {"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let unreachable = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        let off = json!({"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"});
        assert_eq!(state(None), NodeState::Gone);
        assert_eq!(state(Some(&node("Unknown", json!([unreachable])))), NodeState::Silent);
        assert_eq!(state(Some(&node("Unknown", json!([unreachable, off])))), NodeState::OutOfService);
        for answers in ["True", "False"] {
            assert_eq!(state(Some(&node(answers, json!([off])))), NodeState::Answers, "{answers}");
        }
    }
}
