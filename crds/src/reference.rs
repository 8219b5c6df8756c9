//! References to other objects. Always an object, never a bare string, so that it can grow; always in the same namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of an object of a known kind in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl NameRef {
    /// A reference to `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// Kinds of workload whose volumes are captured and which are stopped and started around a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 Deployment.
    Deployment,
    /// batch/v1 CronJob. It is stopped by suspending it, and counts as one replica while it is not suspended.
    CronJob,
}

impl WorkloadKind {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::CronJob => "CronJob",
        }
    }
}

/// A workload of a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the annotation is called that asks a policy for a capture, or a repository for a probe, now; its value is an RFC3339
/// time and acts once per later time.
pub const REQUESTED_AT: &str = "holdfast.dev/requested-at";

/// What the annotation is called that asks a repository for maintenance now, in the same way.
pub const MAINTENANCE_REQUESTED_AT: &str = "holdfast.dev/maintenance-requested-at";
/// What the annotation is called that asks a policy for an emergency capture now, in the same way.
pub const EMERGENCY_REQUESTED_AT: &str = "holdfast.dev/emergency-requested-at";
/// Label on points, Jobs and claims: the BackupPolicy concerned.
pub const POLICY_LABEL: &str = "holdfast.dev/policy";
/// Label on VolumeSnapshots and claims that a capture reads: its slot. They are removed after it.
pub const CAPTURE_LABEL: &str = "holdfast.dev/capture";
/// Label on Jobs: the RecoveryRepository that is probed.
pub const REPOSITORY_LABEL: &str = "holdfast.dev/repository";
/// Label on Jobs and claims: the RecoveryRun concerned.
pub const RUN_LABEL: &str = "holdfast.dev/run";
/// Label on claims that hold a replaced volume: the run that replaced it.
pub const QUARANTINE_LABEL: &str = "holdfast.dev/quarantine";
/// Label on the objects that remember what claims looked like while they are exchanged.
pub const MEMORY_LABEL: &str = "holdfast.dev/remembers";
/// Annotation on a claim until it is bound to the volume that it names: when it was made, a slash, when this was last written.
pub const BINDING: &str = "holdfast.dev/binding";
/// Label on the objects that remember which runs were carried out.
pub const EXECUTED_LABEL: &str = "holdfast.dev/executed";
/// Finalizer on a policy while its workloads are stopped for a capture: the policy stays until they run again.
pub const STOPPED_FINALIZER: &str = "holdfast.dev/stopped";
/// Finalizer on a point whose `deletionPolicy` is Delete: its object stays until the point is removed from the repository.
pub const POINT_FINALIZER: &str = "holdfast.dev/point";
/// Finalizer on a run while its claims are taken apart, a component is offline or the namespace is isolated: the run stays until that is given
/// back.
pub const SWAP_FINALIZER: &str = "holdfast.dev/swap";
/// The ClusterRole, from the chart, that lets a mover ask for snapshots; bound in the namespace of a policy that wants them.
pub const SNAPSHOT_ROLE: &str = "holdfast-snapshots";
/// The ClusterRole, from the chart where hooks are enabled, that lets a mover run a policy's hooks; bound in its namespace.
pub const HOOK_ROLE: &str = "holdfast-hooks";
/// The ClusterRole, from the chart, that lets a mover create what is missing of a component; bound in the namespace of a run.
pub const RECREATE_ROLE: &str = "holdfast-recreate";
/// The ClusterRole, from the chart, that lets a mover read logs and what the cluster says in a namespace; bound there for as long as its Job exists.
pub const COLLECT_ROLE: &str = "holdfast-collect";
/// The ClusterRole, from the chart, that lets a mover list ConfigMaps and Secrets in the namespace of a breach, of which it reads the names; bound there
/// for as long as its Job exists.
pub const AUDIT_ROLE: &str = "holdfast-audit";
/// The ClusterRole, from the chart, that lets the controller isolate a namespace; it binds that to itself for a run.
pub const ISOLATE_ROLE: &str = "holdfast-isolate";
/// The ClusterRole, from the chart, that lets the controller deny all in a sandbox and limit it; it binds that to itself there.
pub const SANDBOX_ROLE: &str = "holdfast-sandbox";
/// The ClusterRole, from the chart, that lets a mover replace values of Secrets; bound in the namespace of a run.
pub const ROTATE_ROLE: &str = "holdfast-rotate";
/// Annotation on a Secret: which rotations of which run have replaced values of it, as `<run uid>/<name>`, with commas between.
pub const ROTATED_BY: &str = "holdfast.dev/rotated-by";
/// Annotation on a workload or a claim that no policy is to cover: why, for people.
pub const LEFT_OUT: &str = "holdfast.dev/left-out";
/// Annotation on an object that a run created because it was missing: the run's uid.
pub const RECREATED_BY: &str = "holdfast.dev/recreated-by";
/// Annotation on a workload that a run created stopped: the replicas that it had; of a CronJob 1 when it was not suspended.
pub const REPLICAS: &str = "holdfast.dev/replicas";
/// Annotation on a claim that is restored into instead of one that is lost: labels and annotations of that one, as JSON.
pub const STANDS_FOR: &str = "holdfast.dev/stands-for";
/// Label on a ConfigMap, "true" where the controller may change the value of one of its keys: somebody's consent to be switched offline.
pub const OFFLINE_SWITCH_LABEL: &str = "holdfast.dev/offline-switch";
/// Label on a run: the DrDrill that it is an execution of.
pub const DRILL_LABEL: &str = "holdfast.dev/drill";
/// Label on the namespace of a sandbox, and on all that is made in it: the uid of the run. Nothing without it is ever removed.
pub const SANDBOX_LABEL: &str = "holdfast.dev/sandbox";
/// Label on a run while it holds the isolation of its namespace: what the chart's admission policies look for.
pub const ISOLATING_LABEL: &str = "holdfast.dev/isolating";
/// Label on the NetworkPolicies by which a run isolates its namespace: its uid.
pub const ISOLATION_LABEL: &str = "holdfast.dev/isolation";
/// Label on the pods of movers, which an isolation excepts. An admission policy keeps everybody else from using it.
pub const MOVER_LABEL: &str = "holdfast.dev/mover";
/// Label on everything the controller creates.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const MANAGED_BY: &str = "holdfast";
