//! The Service in front of a ChromaDB, found while no pod of it runs. Pure; refuses to guess between several.

use crds::policy::ChromaDb;
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use plan::backup::source::Workload;

/// Base URL of the server behind the Service, or a sentence why there is none.
pub(super) fn url(
    namespace: &str,
    chroma: &ChromaDb,
    workload: &Workload,
    services: &[Service],
) -> Result<String, String> {
    let template = workload.pods();
    let service = find(namespace, chroma, template, services)?;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let port = ports
        .iter()
        .find(|port| leads(port, chroma.port, template))
        .or_else(|| ports.first())
        .map_or(i32::from(chroma.port), |port| port.port);
    Ok(format!("http://{}.{namespace}.svc:{port}", service.name_any()))
}

fn find<'a>(
    namespace: &str,
    chroma: &ChromaDb,
    template: Option<&PodTemplateSpec>,
    services: &'a [Service],
) -> Result<&'a Service, String> {
    if let Some(wanted) = &chroma.service_ref {
        return services.iter().find(|service| service.name_any() == wanted.name).ok_or_else(|| {
            format!("Service {} does not exist in namespace {namespace}; correct spec.component.chromaDB.serviceRef", wanted.name)
        });
    }
    let labels =
        template.and_then(|t| t.metadata.as_ref()).and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let selects = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let matching: Vec<&Service> = services.iter().filter(selects).collect();
    // The headless Service of a StatefulSet stands beside the one that clients use.
    let headless = |s: &&Service| s.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None");
    let clients: Vec<&Service> = matching.iter().copied().filter(|service| !headless(service)).collect();
    let candidates = if clients.is_empty() { matching } else { clients };
    match candidates.as_slice() {
        [one] => Ok(one),
        [] => Err(format!(
            "no Service in namespace {namespace} selects the pods, so the running server can't be validated; create one or set spec.component.chromaDB.serviceRef"
        )),
        several => Err(format!(
            "Services {} all select the pods; say which one clients use: spec.component.chromaDB.serviceRef",
            several.iter().map(|service| service.name_any()).collect::<Vec<_>>().join(", ")
        )),
    }
}

fn leads(port: &ServicePort, wanted: u16, template: Option<&PodTemplateSpec>) -> bool {
    match &port.target_port {
        None => port.port == i32::from(wanted),
        Some(IntOrString::Int(number)) => *number == i32::from(wanted),
        Some(IntOrString::String(name)) => template
            .and_then(|template| template.spec.as_ref())
            .into_iter()
            .flat_map(|spec| &spec.containers)
            .flat_map(|container| container.ports.iter().flatten())
            .any(|port| port.container_port == i32::from(wanted) && port.name.as_ref() == Some(name)),
    }
}
