//! What is told of what was seen: objects in, one document out. Pure, so that what is kept is said in one place. No values of an
//! environment: people write passwords there.

use std::collections::BTreeMap;

use crds::reference::{WorkloadKind, WorkloadRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Asked;

/// Something that is not there, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::job) struct NotCollected {
    pub(in crate::job) what: String,
    pub(in crate::job) why: String,
}

impl NotCollected {
    pub(super) fn told(&self) -> String {
        format!("{}: {}", self.what, self.why)
    }
}

/// Kinds that are read in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pod,
    StatefulSet,
    Deployment,
    CronJob,
    Job,
    Service,
    EndpointSlice,
    Claim,
    Event,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Pod,
        Self::StatefulSet,
        Self::Deployment,
        Self::CronJob,
        Self::Job,
        Self::Service,
        Self::EndpointSlice,
        Self::Claim,
        Self::Event,
    ];

    /// Group, version and kind.
    pub(super) fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pod => ("", "v1", "Pod"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::CronJob => ("batch", "v1", "CronJob"),
            Self::Job => ("batch", "v1", "Job"),
            Self::Service => ("", "v1", "Service"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice"),
            Self::Claim => ("", "v1", "PersistentVolumeClaim"),
            Self::Event => ("", "v1", "Event"),
        }
    }

    /// As people say it, and as the document does.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::StatefulSet => "statefulSets",
            Self::Deployment => "deployments",
            Self::CronJob => "cronJobs",
            Self::Job => "jobs",
            Self::Service => "services",
            Self::EndpointSlice => "endpoints",
            Self::Claim => "claims",
            Self::Event => "warnings",
        }
    }
}

/// All that was seen.
#[derive(Default)]
pub(super) struct Read {
    pub(super) listed: BTreeMap<Kind, Vec<Value>>,
    /// From the controller, each with its kind.
    pub(super) nodes_and_volumes: Vec<Value>,
    pub(super) server: Value,
    pub(super) interfaces: Vec<String>,
    pub(super) routes: Vec<String>,
    pub(super) disks: Vec<Value>,
}

/// The document. What could not be read is absent in it, and nothing else is.
pub(super) fn cluster(read: &Read, asked: &Asked<'_>, now: Timestamp) -> Value {
    let of = |kind: &str| {
        let found = read.nodes_and_volumes.iter().filter(|object| object["kind"] == kind);
        found.cloned().collect::<Vec<_>>()
    };
    let mut told = json!({
        "time": now.to_string(), "namespace": asked.namespace, "server": read.server,
        "holdfast": env!("CARGO_PKG_VERSION"), "disks": read.disks,
        "network": {"interfaces": read.interfaces, "routes": read.routes},
    });
    for (name, kind) in [("nodes", "Node"), ("volumes", "PersistentVolume")] {
        let found = of(kind);
        if !found.is_empty() {
            told[name] = found.into();
        }
    }
    for (kind, listed) in &read.listed {
        let mut objects: Vec<Value> = match kind {
            Kind::Pod => listed.iter().map(|pod| self::pod(pod, asked)).collect(),
            Kind::Event => warnings(listed, asked, now),
            Kind::EndpointSlice => {
                listed.iter().map(|slice| lean(slice, &["addressType", "endpoints", "ports"])).collect()
            }
            Kind::StatefulSet | Kind::Deployment | Kind::CronJob | Kind::Job => {
                listed.iter().map(workload).collect()
            }
            Kind::Service | Kind::Claim => {
                listed.iter().map(|object| lean(object, &["spec", "status"])).collect()
            }
        };
        if *kind != Kind::Event {
            objects.sort_by_key(|object| text(&object["metadata"]["name"]).to_owned());
        }
        told[kind.words()] = objects.into();
    }
    told
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The object's name and age, and these of its fields.
fn lean(object: &Value, fields: &[&str]) -> Value {
    let pick = |from: &Value, keys: &[&str]| {
        let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(*key)?.clone())));
        found.collect::<Map<_, _>>()
    };
    let metadata = &object["metadata"];
    let kept = ["name", "uid", "labels", "creationTimestamp", "deletionTimestamp", "generation"];
    let mut metadata = pick(metadata, &kept);
    let owners: Vec<Value> = list(&object["metadata"]["ownerReferences"])
        .map(|owner| json!({"kind": owner["kind"], "name": owner["name"]}))
        .collect();
    if !owners.is_empty() {
        metadata.insert("owners".to_owned(), owners.into());
    }
    let mut told = pick(object, fields);
    told.insert("metadata".to_owned(), metadata.into());
    Value::Object(told)
}

fn images(spec: &Value) -> Vec<Value> {
    let of = |field: &str| list(&spec[field]).map(|c| json!({"name": c["name"], "image": c["image"]}));
    of("initContainers").chain(of("containers")).collect()
}

fn pod(pod: &Value, asked: &Asked<'_>) -> Value {
    let mut told = lean(pod, &["status"]);
    let spec = &pod["spec"];
    told["ofComponent"] = belongs(pod, asked.workloads, asked.claims).into();
    told["spec"] = json!({
        "nodeName": spec["nodeName"], "serviceAccountName": spec["serviceAccountName"], "containers": images(spec),
    });
    told
}

fn workload(object: &Value) -> Value {
    let mut told = lean(object, &["status"]);
    let spec = &object["spec"];
    let template = match spec.get("jobTemplate") {
        Some(template) => &template["spec"]["template"]["spec"],
        None => &spec["template"]["spec"],
    };
    told["spec"] = json!({"containers": images(template)});
    for field in ["replicas", "suspend", "schedule", "serviceName"] {
        if let Some(value) = spec.get(field) {
            told["spec"][field] = value.clone();
        }
    }
    told
}

/// Those of the time that is asked for, the newest first.
fn warnings(events: &[Value], asked: &Asked<'_>, now: Timestamp) -> Vec<Value> {
    let since = now.checked_sub(asked.logs_since).unwrap_or(Timestamp::MIN);
    let last = |event: &Value| -> Option<Timestamp> {
        let fields = [
            &event["series"]["lastObservedTime"],
            &event["lastTimestamp"],
            &event["eventTime"],
            &event["metadata"]["creationTimestamp"],
        ];
        fields.into_iter().find_map(|time| text(time).parse().ok())
    };
    let mut told: Vec<(Timestamp, Value)> = events
        .iter()
        .filter_map(|event| {
            let (time, about) = (last(event)?, &event["involvedObject"]);
            let object = format!("{} {}", text(&about["kind"]), text(&about["name"]));
            let value = json!({
                "time": time.to_string(), "object": object, "reason": event["reason"], "message": event["message"],
                "count": event["count"],
            });
            (time >= since).then_some((time, value))
        })
        .collect();
    told.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    told.into_iter().map(|(_, value)| value).collect()
}

/// Whether a pod is one of the component's: one of its workloads made it, or it mounts one of its claims. Told by names, so that it holds
/// also where the workload is gone.
pub(super) fn belongs(pod: &Value, workloads: &[WorkloadRef], claims: &[String]) -> bool {
    let hash = text(&pod["metadata"]["labels"]["pod-template-hash"]);
    let made = |workload: &WorkloadRef, owner: &Value| {
        let (kind, owner) = (text(&owner["kind"]), text(&owner["name"]));
        let name = workload.name.as_str();
        match workload.kind {
            WorkloadKind::StatefulSet => kind == "StatefulSet" && owner == name,
            WorkloadKind::Deployment => kind == "ReplicaSet" && owner == format!("{name}-{hash}"),
            // A CronJob's Jobs have the minute of their schedule behind its name.
            WorkloadKind::CronJob => {
                let minute = owner.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
                kind == "Job"
                    && minute.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
            }
        }
    };
    let mut owners = list(&pod["metadata"]["ownerReferences"]);
    let mounts = |volume: &Value| {
        let claim = text(&volume["persistentVolumeClaim"]["claimName"]);
        claims.iter().any(|known| known == claim)
    };
    owners.any(|owner| workloads.iter().any(|workload| made(workload, owner)))
        || (!is_mover(pod) && list(&pod["spec"]["volumes"]).any(mounts))
}

/// What Holdfast started itself mounts claims, too.
fn is_mover(pod: &Value) -> bool {
    use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL};
    pod["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGED_BY
}

/// A log that there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log<'a> {
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
    pub(super) previous: bool,
}

impl Log<'_> {
    /// Where it is written.
    pub(super) fn file(&self) -> String {
        let previous = if self.previous { ".previous" } else { "" };
        format!("logs/{}/{}{previous}.log", self.pod, self.container)
    }
}

/// The logs of a pod: of each container that ever ran, and of what ran before in its place.
pub(super) fn logs(pod: &Value) -> Vec<Log<'_>> {
    let name = text(&pod["metadata"]["name"]);
    let statuses = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut logs = Vec::new();
    for status in statuses.iter().flat_map(|field| list(&pod["status"][*field])) {
        let container = text(&status["name"]);
        // Names of pods and containers hold no slash; what came otherwise must not lead elsewhere.
        if [name, container].iter().any(|name| name.is_empty() || name.starts_with('.') || name.contains('/'))
        {
            continue;
        }
        let before = status["lastState"].get("terminated").is_some();
        let ran = !text(&status["containerID"]).is_empty();
        // One that waits to be started again has its last log under both names.
        let waits = status["state"].get("waiting").is_some();
        if ran && !(waits && before) {
            logs.push(Log { pod: name, container, previous: false });
        }
        if before {
            logs.push(Log { pod: name, container, previous: true });
        }
    }
    logs
}

#[cfg(test)]
mod tests;
