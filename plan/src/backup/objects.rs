//! Which objects of the cluster belong to a component, and what of them is worth keeping. Pure: the objects come in as they were
//! fetched, with every field that they have, also those that nobody here knows. ConfigMaps and Secrets are only named: a mover mounts
//! them, so that nobody else reads them.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::{Component, NamedObject, ObjectKind, Secrets};
use crds::reference::{WorkloadKind, WorkloadRef};
use crds::run::StoppedWorkload;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use serde_json::{Map, Value, json};

use super::source::Workload;

/// Kinds that are read from the cluster to be captured.
pub const READ: [ObjectKind; 6] = [
    ObjectKind::PersistentVolumeClaim,
    ObjectKind::Service,
    ObjectKind::StatefulSet,
    ObjectKind::Deployment,
    ObjectKind::CronJob,
    ObjectKind::NetworkPolicy,
];

/// Annotations that say what happened to an object, not what it is.
const PASSING: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
];
/// What of an object's metadata is kept.
const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// Every namespace has it.
const ROOT_CA: &str = "kube-root-ca.crt";

/// Which objects belong to a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    workloads: Vec<WorkloadRef>,
    claims: Vec<String>,
    /// Labels of the workloads' pods.
    pods: Vec<BTreeMap<String, String>>,
    selector: Option<BTreeMap<String, String>>,
    named: Vec<NamedObject>,
    /// ConfigMaps to mount.
    pub config_maps: BTreeSet<String>,
    /// Secrets to mount.
    pub secrets: BTreeSet<String>,
    /// What is stopped for the capture, as it is when it is not.
    pub stopped: Vec<StoppedWorkload>,
}

impl Wanted {
    /// Those of a component with these workloads and claims.
    #[must_use]
    pub fn of(
        component: &Component,
        workloads: &[(WorkloadRef, Option<Workload>)],
        claims: &[String],
    ) -> Self {
        let mut wanted = Self {
            workloads: component.workloads.clone(),
            claims: claims.to_vec(),
            selector: component.objects.selector.as_ref().map(|selector| selector.match_labels.clone()),
            named: component.objects.named.clone(),
            ..Self::default()
        };
        for workload in workloads.iter().filter_map(|(_, workload)| workload.as_ref()) {
            let labels = workload.pods().and_then(|pods| pods.metadata.as_ref()?.labels.clone());
            wanted.pods.extend(labels);
            if let Some(pod) = workload.template() {
                wanted.refers(pod);
            }
        }
        let name = |kind| {
            let named = component.objects.named.iter().filter(move |named| named.kind == kind);
            named.map(|named| named.name.clone()).collect::<Vec<_>>()
        };
        wanted.config_maps.extend(name(ObjectKind::ConfigMap));
        wanted.secrets.extend(name(ObjectKind::Secret));
        wanted.config_maps.remove(ROOT_CA);
        if component.objects.secrets == Secrets::None {
            wanted.secrets.clear();
        }
        wanted
    }

    /// Nothing but these Secrets, to mount.
    #[must_use]
    pub fn of_secrets(secrets: BTreeSet<String>) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// Takes in what a pod refers to.
    fn refers(&mut self, pod: &PodSpec) {
        let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
        containers.for_each(|container| self.refers_by_environment(container));
        pod.volumes.iter().flatten().for_each(|volume| self.refers_by_volume(volume));
        self.secrets.extend(pod.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
    }

    fn refers_by_environment(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            self.config_maps.extend(from.config_map_ref.iter().map(|map| map.name.clone()));
            self.secrets.extend(from.secret_ref.iter().map(|secret| secret.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(from.config_map_key_ref.iter().map(|key| key.name.clone()));
            self.secrets.extend(from.secret_key_ref.iter().map(|key| key.name.clone()));
        }
    }

    fn refers_by_volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.iter().map(|map| map.name.clone()));
        self.secrets.extend(volume.secret.iter().filter_map(|secret| secret.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for source in projected {
            self.config_maps.extend(source.config_map.iter().map(|map| map.name.clone()));
            self.secrets.extend(source.secret.iter().map(|secret| secret.name.clone()));
        }
    }

    /// Those of `listed`, all objects of a kind, that belong to the component, each as it is to be applied again.
    #[must_use]
    pub fn chosen(&self, kind: ObjectKind, listed: &[Value]) -> Vec<Value> {
        let chosen = listed.iter().filter(|object| self.belongs(kind, object));
        chosen.map(|object| self.kept(kind, object)).collect()
    }

    /// Whether an object of this kind does.
    #[must_use]
    pub fn belongs(&self, kind: ObjectKind, object: &Value) -> bool {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let by_name = self.named.iter().any(|named| named.kind == kind && named.name == name)
            || self.workloads.iter().any(|w| kind_of(w.kind) == kind && w.name == name)
            || (kind == ObjectKind::PersistentVolumeClaim && self.claims.iter().any(|claim| claim == name));
        let labels = labels(&object["metadata"]["labels"]);
        let by_label = self
            .selector
            .as_ref()
            .is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
        by_name || by_label || self.pods.iter().any(|pod| selects(kind, &object["spec"], pod))
    }

    fn kept(&self, kind: ObjectKind, object: &Value) -> Value {
        let mut kept = cleaned(kind, object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let stopped =
            self.stopped.iter().find(|w| kind_of(w.workload.kind) == kind && w.workload.name == name);
        match stopped {
            Some(stopped) if kind == ObjectKind::CronJob => {
                kept["spec"]["suspend"] = (stopped.replicas == 0).into();
            }
            Some(stopped) => kept["spec"]["replicas"] = stopped.replicas.into(),
            None => {}
        }
        kept
    }
}

/// The Secrets that a pod reads, or has its images pulled with.
#[must_use]
pub fn secrets_of(pod: &PodSpec) -> BTreeSet<String> {
    let mut wanted = Wanted::default();
    wanted.refers(pod);
    wanted.secrets
}

fn kind_of(kind: WorkloadKind) -> ObjectKind {
    match kind {
        WorkloadKind::StatefulSet => ObjectKind::StatefulSet,
        WorkloadKind::Deployment => ObjectKind::Deployment,
        WorkloadKind::CronJob => ObjectKind::CronJob,
    }
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    value.as_object().into_iter().flatten().filter_map(text).collect()
}

/// Whether a Service or a NetworkPolicy is about pods with these labels.
fn selects(kind: ObjectKind, spec: &Value, pod: &BTreeMap<String, String>) -> bool {
    let all = |wanted: &Value| labels(wanted).iter().all(|(key, value)| pod.get(key) == Some(value));
    match kind {
        // A Service without selector is about no pod, a NetworkPolicy without about every.
        ObjectKind::Service => {
            spec["selector"].as_object().is_some_and(|s| !s.is_empty()) && all(&spec["selector"])
        }
        ObjectKind::NetworkPolicy => {
            let selector = &spec["podSelector"];
            let expressions = selector["matchExpressions"].as_array();
            all(&selector["matchLabels"]) && expressions.into_iter().flatten().all(|e| holds(e, pod))
        }
        _ => false,
    }
}

/// Whether a requirement of a label selector holds.
fn holds(expression: &Value, pod: &BTreeMap<String, String>) -> bool {
    let value = pod.get(expression["key"].as_str().unwrap_or_default());
    let listed = || {
        let values = expression["values"].as_array().into_iter().flatten();
        values.filter_map(Value::as_str).any(|wanted| value.is_some_and(|value| value == wanted))
    };
    match expression["operator"].as_str() {
        Some("In") => listed(),
        Some("NotIn") => !listed(),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        _ => false,
    }
}

/// What of an object somebody wrote, without what the cluster made of it.
fn cleaned(kind: ObjectKind, object: &Value) -> Value {
    let mut metadata: Map<String, Value> = METADATA
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), object["metadata"].get(field)?.clone())))
        .collect();
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.retain(|key, _| !PASSING.iter().any(|passing| key.starts_with(passing)));
    }
    metadata.retain(|_, value| value.as_object().is_none_or(|fields| !fields.is_empty()));
    let mut spec = object["spec"].clone();
    if let Value::Object(fields) = &mut spec {
        match kind {
            ObjectKind::PersistentVolumeClaim => {
                fields.remove("volumeName");
            }
            ObjectKind::Service => {
                // A headless one is headless by its address, any other gets a new one.
                if fields.get("clusterIP").and_then(Value::as_str) != Some("None") {
                    fields.remove("clusterIP");
                    fields.remove("clusterIPs");
                }
                fields.remove("healthCheckNodePort");
            }
            _ => {}
        }
    }
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests;
