//! What is around the components of a run, for its assessment. What can't be read is told as unknown: it keeps no recovery from beginning.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::Component;
use crds::{BackupPolicy, RecoveryRepository, condition};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::backup::objects::Wanted;
use plan::recovery::surroundings::{NodeSeen, PodLook, Surroundings, Warning};

use crate::context::Context;
use crate::observe;
use crate::observe_job::{self, sentence};

/// How far back warnings are told.
const WARNINGS: SignedDuration = SignedDuration::from_hours(1);
/// Most ConfigMaps that are looked for, one by one.
const MOST: usize = 32;

/// What was listed already.
pub(super) struct Listed<'a> {
    pub(super) namespace: &'a str,
    pub(super) pods: &'a [Pod],
    pub(super) services: &'a [Service],
    pub(super) repositories: &'a [RecoveryRepository],
    pub(super) policies: &'a [&'a BackupPolicy],
}

/// Looks around.
pub(super) async fn look(ctx: &Context, listed: Listed<'_>) -> Surroundings {
    let nodes = Api::<Node>::all(ctx.client.clone()).list(&ListParams::default()).await;
    let mut around = Surroundings {
        nodes: nodes.ok().map(|nodes| nodes.items.iter().map(node).collect()),
        pods: listed.pods.iter().map(pod).collect(),
        endpoints: endpoints(ctx, &listed).await,
        warnings: warnings(ctx, listed.namespace).await,
        repositories: listed.repositories.iter().map(repository).collect(),
        ..Surroundings::default()
    };
    let mut secrets = BTreeSet::new();
    for policy in listed.policies {
        let refers = refers(ctx, listed.namespace, &policy.spec.component).await;
        secrets.extend(refers.secrets);
        for name in refers.config_maps.into_iter().take(MOST) {
            let found = observe::get::<ConfigMap>(ctx, listed.namespace, &name).await;
            if let Ok(found) = found {
                around.config_maps.insert(name, found.is_some());
            }
        }
    }
    around.secrets = secrets.into_iter().collect();
    around
}

/// Names of the StorageClasses; absent: they can't be read.
pub(super) async fn storage_classes(ctx: &Context) -> Option<Vec<String>> {
    let classes = Api::<StorageClass>::all(ctx.client.clone()).list(&ListParams::default()).await.ok()?;
    Some(classes.items.iter().map(ResourceExt::name_any).collect())
}

async fn refers(ctx: &Context, namespace: &str, component: &Component) -> Wanted {
    let found = observe::workloads(ctx, namespace, &component.workloads).await.unwrap_or_default();
    Wanted::of(component, &found, &[])
}

fn node(node: &Node) -> NodeSeen {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let of = |kind: &str| conditions.clone().find(|condition| condition.type_ == kind);
    let pressures = conditions.clone().filter(|c| c.type_.ends_with("Pressure") && c.status == "True");
    NodeSeen {
        name: node.name_any(),
        ready: of("Ready").filter(|ready| ready.status != "Unknown").map(|ready| ready.status == "True"),
        cordoned: node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)),
        pressures: pressures.map(|pressure| pressure.type_.clone()).collect(),
    }
}

fn pod(pod: &Pod) -> PodLook {
    let status = pod.status.as_ref();
    let containers = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    let waiting = status.and_then(observe_job::held_up).map(|(reason, message)| sentence(reason, message));
    let unscheduled = status
        .and_then(observe_job::unscheduled)
        .map(|c| format!("no node for it: {}", c.message.as_deref().unwrap_or_default()));
    let conditions = status.into_iter().flat_map(|s| s.conditions.iter().flatten());
    PodLook {
        name: pod.name_any(),
        phase: status.and_then(|s| s.phase.clone()).unwrap_or_else(|| "Unknown".to_owned()),
        ready: conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        restarts: containers.map(|container| container.restart_count).sum(),
        waiting: waiting.or(unscheduled),
        of_job: pod.owner_references().iter().any(|owner| owner.kind == "Job"),
    }
}

async fn endpoints(ctx: &Context, listed: &Listed<'_>) -> BTreeMap<String, usize> {
    let selecting = listed.services.iter().filter(|service| {
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|s| !s.is_empty())
    });
    let mut ready: BTreeMap<String, usize> = selecting.map(|service| (service.name_any(), 0)).collect();
    let slices = observe::list::<EndpointSlice>(ctx, listed.namespace, &ListParams::default()).await;
    for slice in slices.iter().flatten() {
        let Some(count) =
            slice.labels().get("kubernetes.io/service-name").and_then(|service| ready.get_mut(service))
        else {
            continue;
        };
        let up = slice.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        *count += up.map(|endpoint| endpoint.addresses.len()).sum::<usize>();
    }
    // Where slices can't be read nothing is known of any Service.
    if slices.is_err() { BTreeMap::new() } else { ready }
}

async fn warnings(ctx: &Context, namespace: &str) -> Vec<Warning> {
    let params = ListParams::default().fields("type=Warning");
    let events = observe::list::<Event>(ctx, namespace, &params).await.unwrap_or_default();
    let since = (ctx.now)().checked_sub(WARNINGS).unwrap_or(Timestamp::MIN);
    let mut warnings: Vec<Warning> =
        events.iter().filter_map(warning).filter(|warning| warning.last >= since).collect();
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.last));
    warnings
}

fn warning(event: &Event) -> Option<Warning> {
    let object = &event.involved_object;
    // What Holdfast said itself stands in the objects that it is about.
    if object.api_version.as_deref().is_some_and(|version| version.starts_with("holdfast.dev/")) {
        return None;
    }
    let last =
        event.last_timestamp.as_ref().map(|time| time.0).or(event.event_time.as_ref().map(|time| time.0));
    let kind = object.kind.clone().unwrap_or_default().to_lowercase();
    Some(Warning {
        object: format!("{kind}/{}", object.name.clone().unwrap_or_default()),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
        last: last.or(event.creation_timestamp().map(|time| time.0))?,
    })
}

fn repository(repository: &RecoveryRepository) -> (String, Result<(), String>) {
    let conditions =
        repository.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = match condition::get(conditions, "Ready") {
        Some(ready) if ready.status == "True" => Ok(()),
        Some(ready) => Err(format!("{}: {}", ready.reason, ready.message)),
        None => Err("it was not probed yet".to_owned()),
    };
    (repository.name_any(), ready)
}
