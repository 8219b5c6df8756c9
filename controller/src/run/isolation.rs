//! What isolates a namespace and what allows in it, as a breach sees it. Decides nothing.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::recovery::seen::{Component, NetworkSeen, RunSeen};

use super::read;
use crate::context::Context;
use crate::error::Error;
use crate::observe::{self, Kept};

/// Most pods that are named.
const NAMED: usize = 32;

/// Looks.
///
/// # Errors
/// When the API server can't be read.
pub(super) async fn look(
    ctx: &Context,
    run: &RunSeen,
    pods: &[Pod],
    components: &[Component],
) -> Result<NetworkSeen, Error> {
    let policies: Vec<NetworkPolicy> = list(ctx, &run.namespace, &ListParams::default()).await?;
    let mut seen = NetworkSeen {
        policies: policies.iter().map(read::network_policy).collect(),
        host_network: named(pods, |pod| {
            pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
        }),
        strangers: named(pods, |pod| !components.iter().any(|component| belongs(pod, component))),
        api_ports: api_ports(ctx).await?,
        ..NetworkSeen::default()
    };
    let bindings: Api<RoleBinding> = Api::namespaced(ctx.client.clone(), &run.namespace);
    let name = crds::names::isolator(&run.uid);
    let granted = bindings.get_opt(&name).await.map_err(Error::api("get", format!("RoleBinding/{name}")))?;
    seen.granted = granted.and_then(|binding| binding.uid());
    let written = run.status.isolation.as_ref().map_or(0, |known| known.records);
    for number in 1..=written + 1 {
        let name = crds::names::isolation_record(&run.name, &run.uid, number);
        if let Some(map) = observe::get::<ConfigMap>(ctx, &run.namespace, &name).await? {
            seen.records.insert(number, read::network_record(&map)?);
        }
    }
    Ok(seen)
}

async fn list<K: Kept>(ctx: &Context, namespace: &str, params: &ListParams) -> Result<Vec<K>, Error> {
    observe::list(ctx, namespace, params).await
}

fn named(pods: &[Pod], wanted: impl Fn(&Pod) -> bool) -> Vec<String> {
    pods.iter().filter(|pod| runs(pod) && wanted(pod)).map(ResourceExt::name_any).take(NAMED).collect()
}

/// Whether a pod has not ended.
pub(super) fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod was made for a workload of the component: its owner is that, or was made by it and is called after it.
pub(super) fn belongs(pod: &Pod, component: &Component) -> bool {
    let owners = pod.owner_references();
    component.workloads.iter().any(|seen| {
        let name = &seen.workload.name;
        owners.iter().any(|owner| {
            let made = owner.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'));
            owner.uid == seen.uid || (matches!(owner.kind.as_str(), "ReplicaSet" | "Job") && made)
        })
    })
}

/// Ports on which the API server is reached behind its Service: what NetworkPolicies see.
async fn api_ports(ctx: &Context) -> Result<Vec<u16>, Error> {
    let of_it = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let slices: Vec<EndpointSlice> = list(ctx, "default", &of_it).await?;
    let ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten());
    Ok(ports.filter_map(|port| u16::try_from(port.port?).ok()).collect())
}
