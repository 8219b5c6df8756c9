//! The Service in front of a server, and its port.

use crds::policy::ChromaDb;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Problem;
use super::kube_name::name;

/// A Service and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name of the Service.
    pub service: String,
    /// Port of the Service, not of the container.
    pub port: u16,
}

/// The one that is named, or the only one whose selector matches the pod.
pub(super) fn service(
    chroma: &ChromaDb,
    pod: &Pod,
    services: &[Service],
) -> Result<Option<Address>, Problem> {
    if let Some(wanted) = &chroma.service_ref {
        return match services.iter().find(|service| name(&service.metadata) == wanted.name) {
            Some(service) => Ok(Some(address(chroma, pod, service))),
            None => Err(Problem::new(
                "ServiceNotFound",
                format!("Service {} does not exist; correct spec.component.chromaDB.serviceRef", wanted.name),
            )),
        };
    }
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let matching: Vec<&Service> = services
        .iter()
        .filter(|service| {
            let selector = service.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
            !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
        .collect();
    // The headless Service of a StatefulSet stands beside the one that clients use.
    let headless = |s: &Service| s.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None");
    let candidates: Vec<&Service> =
        match matching.iter().copied().filter(|s| !headless(s)).collect::<Vec<_>>() {
            some if !some.is_empty() => some,
            _ => matching,
        };
    match candidates.as_slice() {
        [] => Ok(None),
        [service] => Ok(Some(address(chroma, pod, service))),
        several => Err(Problem::new(
            "ServiceAmbiguous",
            format!(
                "Services {} all lead to pod {}; say which one clients use: spec.component.chromaDB.serviceRef",
                several.iter().map(|s| name(&s.metadata)).collect::<Vec<_>>().join(", "),
                name(&pod.metadata)
            ),
        )),
    }
}

/// The port of the Service that leads to the server's port; the only one, when none says so.
fn address(chroma: &ChromaDb, pod: &Pod, service: &Service) -> Address {
    let wanted = i32::from(chroma.port);
    let named: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.container_port == wanted)
        .filter_map(|port| port.name.as_deref())
        .collect();
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let leads = |port: &&k8s_openapi::api::core::v1::ServicePort| match &port.target_port {
        Some(IntOrString::Int(number)) => *number == wanted,
        Some(IntOrString::String(text)) => named.contains(&text.as_str()),
        None => port.port == wanted,
    };
    let port = ports.iter().find(leads).or_else(|| ports.first()).map_or(wanted, |port| port.port);
    Address { service: name(&service.metadata).to_owned(), port: u16::try_from(port).unwrap_or(chroma.port) }
}
