//! What a policy protects: a ChromaDB, or an application beside it, with the objects that it consists of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServerAuth;
use crate::reference::{NameRef, WorkloadRef};

/// A component: a ChromaDB or an application, and the workloads that run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.chromaDB) != has(self.application)",
     "message": "set exactly one of chromaDB, application; a ChromaDB treated as an application would be captured torn"}]))]
pub struct Component {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// The component is a ChromaDB.
    #[serde(default, rename = "chromaDB", skip_serializing_if = "Option::is_none")]
    pub chroma_db: Option<ChromaDb>,
    /// The component is anything else: its volumes are captured file by file, SQLite databases in them by SQLite's own locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Application>,
    /// The workloads that make up the component. Of a ChromaDB exactly one of them mounts its claim.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub workloads: Vec<WorkloadRef>,
    /// Which objects belong to it, besides the workloads, their claims, and what their pod templates refer to.
    #[serde(default)]
    pub objects: Objects,
}

/// Where the ChromaDB is, only as far as it can't be found from the pod template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChromaDb {
    /// The Service in front of it; omitted: the one whose selector matches the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<NameRef>,
    /// Port of the server.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Directory of chroma.sqlite3 in the container; omitted: where the claim is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [
        {"rule": "self.startsWith('/') && !self.contains('..')", "message": "write an absolute path in the container, as in /data"}]))]
    pub data_path: Option<String>,
    /// Name of the volume of the pod template that holds it; omitted: the only claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub volume: Option<String>,
    /// The credential with which a recovery asks the running server; omitted: none. ChromaDB before 1.0 may want one, later ones only behind
    /// a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ServerAuth>,
}

fn default_port() -> u16 {
    8000
}

/// What of an application is captured, only as far as it is not all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The volumes of the pod templates to capture; omitted: every volume that is a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Option<Vec<VolumeName>>,
}

/// A volume of a pod template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeName {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// Which objects belong to a component. The workloads, their claims, the Services and NetworkPolicies that select their pods, and the
/// ConfigMaps and Secrets that their pod templates refer to always do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Objects {
    /// StatefulSets, Deployments, CronJobs, Services, NetworkPolicies and PersistentVolumeClaims with these labels, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Objects by name, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub named: Vec<NamedObject>,
    /// Whether Secrets are part of a point. They are encrypted with the repository's key like everything in it.
    pub secrets: Secrets,
}

/// Labels that an object has to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of them.
    #[schemars(length(min = 1, max = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// An object that is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of objects that a point can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ObjectKind {
    /// v1 ConfigMap. Its labels and annotations are not captured, as it is read the way pods do.
    ConfigMap,
    /// v1 Secret. The same; its type is told by its keys.
    Secret,
    /// v1 PersistentVolumeClaim, without the volume that it is bound to.
    PersistentVolumeClaim,
    /// v1 Service.
    Service,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 Deployment.
    Deployment,
    /// batch/v1 CronJob.
    CronJob,
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy,
}

/// Whether Secrets are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Secrets {
    /// Those that the pod templates refer to, and those that are named.
    #[default]
    Referenced,
    /// None. A restored component then waits for whoever creates them.
    None,
}
