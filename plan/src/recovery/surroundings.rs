//! What is seen around a run's components, in the words of an assessment. Nothing here is decided.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One look around.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Every node, or a sentence why they can't be told.
    pub nodes: Option<Vec<NodeSeen>>,
    /// Every pod of the namespace but movers.
    pub pods: Vec<PodLook>,
    /// Ready addresses behind each Service that selects pods.
    pub endpoints: BTreeMap<String, usize>,
    /// Warnings of the last hour, the newest first.
    pub warnings: Vec<Warning>,
    /// ConfigMaps that pod templates of the components refer to, and whether they exist.
    pub config_maps: BTreeMap<String, bool>,
    /// Secrets that they refer to. Whether they exist the controller may not know.
    pub secrets: Vec<String>,
    /// Of each repository of the namespace why it is not Ready, when it isn't.
    pub repositories: BTreeMap<String, Result<(), String>>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Name.
    pub name: String,
    /// It says that it is ready; absent: it does not answer.
    pub ready: Option<bool>,
    /// Nothing new is put on it.
    pub cordoned: bool,
    /// What it is short of: `MemoryPressure`.
    pub pressures: Vec<String>,
}

/// What a node uses, in Kubernetes' quantities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// Name.
    pub name: String,
    /// CPU in use, as `250m`.
    pub cpu: String,
    /// Memory in use, as `1024Ki`.
    pub memory: String,
    /// CPU that pods can have.
    pub allocatable_cpu: String,
    /// Memory that pods can have.
    pub allocatable_memory: String,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLook {
    /// Name.
    pub name: String,
    /// Phase.
    pub phase: String,
    /// All of its containers are ready.
    pub ready: bool,
    /// Restarts of its containers.
    pub restarts: i32,
    /// Why it does not run, when the cluster gives a reason.
    pub waiting: Option<String>,
    /// It belongs to a Job: it ends.
    pub of_job: bool,
}

/// A Warning of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// About what, as `pod/chromadb-0`.
    pub object: String,
    /// Its reason.
    pub reason: String,
    /// What it says.
    pub message: String,
    /// When it was seen last.
    pub last: Timestamp,
}
