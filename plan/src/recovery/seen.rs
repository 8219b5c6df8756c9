//! What is seen of the cluster at one look, in the words of a recovery. Nothing here is decided.

use std::collections::BTreeMap;

use crds::Span;
use crds::job::RepositoryAccess;
use crds::point::Verification;
use crds::policy::{Objectives, OfflineMode, PolicyCheck, Priority, RunCapture, ServerAuth, StatusRef};
use crds::reference::WorkloadRef;
use crds::run::{RecoveryRunSpec, RecoveryRunStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};

pub use super::claims::{ClaimOf, ClaimSeen, Memory, Proof, UsedBy, VolumeSeen};
pub use super::force_stop::NodeState;
pub use super::sandbox::{NamespaceSeen, SandboxSeen};
pub use super::surroundings::{NodeSeen, NodeUsage, PodLook, Surroundings, Warning};
use crate::backup::source::{Readable, Source};
use crate::effect::{Identity, JobState, RepositoryKeys};
pub use crate::workload::{PodSeen, WorkloadSeen};

/// One look at everything that concerns a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The time of the look.
    pub now: Timestamp,
    /// Term of this controller.
    pub epoch: i64,
    /// The namespace is being deleted: nothing can be created in it any more.
    pub namespace_terminating: bool,
    /// The run.
    pub run: RunSeen,
    /// Who carried out a run of this name, when somebody did.
    pub executed: Option<Executed>,
    /// The other runs of the namespace that have not ended.
    pub others: Vec<OtherRun>,
    /// Every policy of the namespace.
    pub policies: Vec<PolicySeen>,
    /// The repositories of the namespace.
    pub repositories: Vec<RepositorySeen>,
    /// What the policies of the run protect, in the order of [`scope`](super::scope). A policy that does not exist is missing here.
    pub components: Vec<Component>,
    /// Every point of the namespace.
    pub points: Vec<PointSeen>,
    /// The Jobs of this run, by name.
    pub jobs: BTreeMap<String, JobSeen>,
    /// Claims that matter to the run, by name.
    pub claims: BTreeMap<String, ClaimSeen>,
    /// Volumes that matter to the run, by name.
    pub volumes: BTreeMap<String, VolumeSeen>,
    /// Pods that mount one of the claims.
    pub pods: Vec<PodSeen>,
    /// Nodes that matter to the run because pods were lost there, by name.
    pub nodes: BTreeMap<String, NodeState>,
    /// Commands may be run in pods in this installation.
    pub hooks_allowed: bool,
    /// The objects that checks look at, as far as they exist and expressions see them.
    pub objects: BTreeMap<StatusRef, serde_json::Value>,
    /// Names of the StorageClasses, where the run names one and has not begun; absent: they were not looked for, or can't be told.
    pub storage_classes: Option<Vec<String>>,
    /// Ports of every Service of the namespace, by its name.
    pub services: BTreeMap<String, Vec<u16>>,
    /// What the run remembers of the claims it replaces, and whether its fence holds.
    pub memory: Option<Memory>,
    /// What is around the components; only before the run has begun.
    pub surroundings: Option<Surroundings>,
    /// What offline mode changes, as it is now.
    pub offline: OfflineSeen,
    /// What the nodes use, or why that is not known; only while components are validated.
    pub usage: Option<Result<Vec<NodeUsage>, String>>,
    /// Those CronJobs that exist of which checks and rotations make Jobs, by name.
    pub cron_jobs: Vec<String>,
    /// Pods that belong to no component and read one of the Secrets that the run replaces values of, by its name.
    pub readers: BTreeMap<String, Vec<String>>,
    /// What isolates the namespace, and what allows in it; only of a SecurityBreach.
    pub network: NetworkSeen,
    /// The sandbox; only of a run that rehearses.
    pub sandbox: SandboxSeen,
    /// What somebody may have left in it; only where [`audits`](super::audits) says so.
    pub audit: Option<crate::audit::Seen>,
}

/// What isolates a namespace, and what allows in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSeen {
    /// Every NetworkPolicy of the namespace.
    pub policies: Vec<NetworkPolicySeen>,
    /// The run's records of what it removes, by number.
    pub records: BTreeMap<u32, NetworkRecord>,
    /// Uid of the RoleBinding that gives the controller the right on them; absent: it has none.
    pub granted: Option<String>,
    /// Pods that share their node's network, which no NetworkPolicy binds.
    pub host_network: Vec<String>,
    /// Pods that run and belong to no component of the run, and to no mover.
    pub strangers: Vec<String>,
    /// Ports on which the API server is reached behind its Service.
    pub api_ports: Vec<u16>,
}

/// What a run remembers of the NetworkPolicies that it removes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRecord {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The policies as they were.
    pub policies: Vec<NetworkPolicySeen>,
}

/// A NetworkPolicy. Also the form in which a run remembers one that it removes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySeen {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Version that was seen.
    pub resource_version: String,
    /// It is being deleted.
    #[serde(skip)]
    pub deleting: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    pub owners: Vec<OwnerReference>,
    /// Its spec, as it is.
    pub spec: serde_json::Value,
}

/// What offline mode changes: all that the policies of a run or its status name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfflineSeen {
    /// The ConfigMaps that exist, by name.
    pub switches: BTreeMap<String, SwitchSeen>,
    /// The workloads that exist.
    pub workloads: Vec<WorkloadSeen>,
}

/// A ConfigMap with a switch in it. Of its keys only those that are a switch are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchSeen {
    /// Version that was seen.
    pub resource_version: String,
    /// It carries the label that lets the controller change it.
    pub labelled: bool,
    /// The values of its keys.
    pub values: BTreeMap<String, String>,
}

impl Observed {
    /// The component of `policy`.
    #[must_use]
    pub fn component(&self, policy: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.policy == policy)
    }

    /// The namespace in which the components are, and their claims: the run's, or its sandbox. What is restored into is the run's.
    #[must_use]
    pub fn home(&self) -> String {
        match self.run.spec.sandbox() {
            Some(_) => crds::names::sandbox(&self.run.namespace, &self.run.uid),
            None => self.run.namespace.clone(),
        }
    }

    /// Pods that mount `claim`.
    pub fn pods_of<'a>(&'a self, claim: &'a str) -> impl Iterator<Item = &'a PodSeen> {
        self.pods.iter().filter(move |pod| pod.claims.iter().any(|name| name == claim))
    }

    /// As whom the movers of `component` run: as whoever owned the files when the run stopped it.
    #[must_use]
    pub fn identity(&self, component: &Component) -> Identity {
        let now = component.source.as_ref().map(|source| source.identity.clone()).unwrap_or_default();
        let remembered = self.remembered(&component.policy).unwrap_or_default();
        match remembered.first().and_then(|claim| claim.used_by.clone()) {
            Some(UsedBy { uid, gid, groups }) => Identity { uid, gid, groups, ..now },
            None => now,
        }
    }

    /// The components whose volumes are replaced.
    pub fn restored(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|component| component.role == Role::Restored)
    }

    /// The claims of `policy` as they were when the run stopped its workloads.
    #[must_use]
    pub fn remembered(&self, policy: &str) -> Option<&[ClaimSeen]> {
        self.memory.as_ref().and_then(|memory| memory.remembered.get(policy)).map(Vec::as_slice)
    }
}

/// The run itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSeen {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// When it was created, whole seconds.
    pub created: Timestamp,
    /// Generation of the spec.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// It carries the label of one that isolates its namespace.
    pub isolating: bool,
    /// What was asked.
    pub spec: RecoveryRunSpec,
    /// What is stored.
    pub status: RecoveryRunStatus,
}

/// The mark that a run of this name was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Uid of that run.
    pub uid: String,
    /// When, as the mark says it.
    pub time: String,
}

/// Another run that has not ended. A DryRun is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRun {
    /// Name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its policies.
    pub policies: Vec<String>,
    /// It passed Assess, so it holds its components whoever is older.
    pub begun: bool,
    /// It is about the network, and is restarting nothing: it touches no volume, and keeps nobody from restoring one.
    pub network: bool,
}

/// A repository of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositorySeen {
    /// Name.
    pub name: String,
    /// Whether every point that it holds is recorded here, or a sentence why that is not known.
    pub catalogued: Result<(), String>,
    /// Secrets with keys that open it.
    pub key_secrets: Vec<String>,
    /// Secrets with what its store wants.
    pub credential_secrets: Vec<String>,
}

/// A policy of the namespace, as far as it decides which components a run concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySeen {
    /// Name.
    pub name: String,
    /// It protects an application, and no ChromaDB.
    pub application: bool,
    /// Who gets the slots first.
    pub priority: Priority,
    /// Policies of the components that it works with.
    pub depends_on: Vec<String>,
    /// It has an offline mode.
    pub offline: bool,
}

/// What a run does with a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its volumes are replaced.
    Restored,
    /// It depends on one whose volumes are replaced: it is stopped and started.
    Dependent,
    /// It is switched to offline mode and back; its volumes are left alone.
    Offline,
    /// Its points are verified; nothing of it is touched.
    Verified,
}

/// What a policy protects.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Name of the policy.
    pub policy: String,
    /// What is done with it.
    pub role: Role,
    /// Only the repository knows it: its policy does not exist.
    pub forgotten: bool,
    /// Policies of the components that it works with.
    pub depends_on: Vec<String>,
    /// What was promised.
    pub objectives: Objectives,
    /// Name of the repository.
    pub repository: String,
    /// How to reach it, or a sentence why it can't be used yet.
    pub access: Result<Access, String>,
    /// The policy's spec as it stands, which goes into a point; null where there is none.
    pub policy_spec: serde_json::Value,
    /// It is an application, and no ChromaDB.
    pub application: bool,
    /// Its policy wants a human to approve what is done to it.
    pub approval: bool,
    /// How long its policy has replaced volumes kept.
    pub quarantine_for: Span,
    /// What offline mode means for it.
    pub offline: Option<OfflineMode>,
    /// What an emergency capture of it needs to know.
    pub emergency: EmergencySeen,
    /// How a ChromaDB's server is asked.
    pub auth: Option<ServerAuth>,
    /// Checks of its policy.
    pub checks: Vec<PolicyCheck>,
    /// Its workloads that exist.
    pub workloads: Vec<WorkloadSeen>,
    /// Its pods that are ready, in the order of their names; only where a check asks for one.
    pub ready_pods: Vec<String>,
    /// Those that don't.
    pub missing: Vec<WorkloadRef>,
    /// What becomes of a capture of it.
    pub capture: CaptureSeen,
    /// An offline capture has stopped them, and will start them again.
    pub stopped: bool,
    /// Where its data is, or a sentence why that can't be told.
    pub source: Result<Source, String>,
}

/// What a policy says of its captures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureSeen {
    /// Why none is taken, which is somebody's will and no failure.
    pub refused: Option<String>,
    /// A mark in the bucket seals its repository, as far as the last probe knows; a sentence.
    pub sealed: Option<String>,
    /// One that a run asked for is under way.
    pub begun: bool,
    /// What came of the last that a run asked for.
    pub answer: Option<RunCapture>,
    /// Why none begins, in a sentence.
    pub waits: Option<String>,
    /// Reason and message of the last one, if it failed.
    pub failed: Option<(String, String)>,
}

/// What an emergency capture of a component needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct EmergencySeen {
    /// Name of the repository that it goes to.
    pub repository: String,
    /// How to reach it, or a sentence why it can't be used.
    pub access: Result<Access, String>,
    /// How far back logs go.
    pub logs_since: Span,
    /// The policy as it stands.
    pub policy_spec: serde_json::Value,
    /// What can be read of the component.
    pub readable: Readable,
}

/// How to reach a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Where it is.
    pub access: RepositoryAccess,
    /// Its Secrets.
    pub keys: RepositoryKeys,
}

/// A point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointSeen {
    /// Name.
    pub name: String,
    /// Id in the repository.
    pub id: String,
    /// Policy that captured it.
    pub policy: String,
    /// Repository that holds it.
    pub repository: String,
    /// What is known of its health.
    pub state: PointState,
    /// The instant that it shows.
    pub consistency_time: Option<Timestamp>,
    /// When its repository received it, by the store's own clock.
    pub stored_at: Option<Timestamp>,
    /// Bytes of its files.
    pub bytes: u64,
    /// It holds a ChromaDB.
    pub chroma: bool,
    /// Migration levels of its data.
    pub migrations: Option<String>,
    /// The last that is known of it since it was captured, or what its capture found.
    pub verification: Option<Verification>,
}

/// Whether a point may be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointState {
    /// It may.
    Available,
    /// It may not, and why.
    Quarantined(String),
    /// It is an emergency capture: no run looks for it, so it isn't passed over either.
    Emergency,
    /// It is damaged, as is said here, and people trust it all the same: by its name it may.
    ByName(String),
    /// Its record is not complete.
    Unknown,
}

/// A Job of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    /// Uid.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// Its pod is ready.
    pub ready: bool,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// It ended well, as Kubernetes sees it.
    pub completed: bool,
    /// How it goes.
    pub state: JobState,
}
