//! Checks of a policy's own that look into the namespace: a command in a pod, and what an object's status says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A command that ends with 0 in a ready pod of the component. What it prints is thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecCheck {
    /// The program and its arguments. No shell reads them: name one where it is needed.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub command: Vec<String>,
    /// The container; omitted: the pod's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// What a CEL expression says of an object of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCheck {
    /// The object.
    pub object_ref: StatusRef,
    /// True when the object is as it should be, as in `object.status.readyReplicas == 2`. `object` has the name, labels and generation of the
    /// object as `metadata`, its `status`, and of its `spec` the replicas.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-validations" = [
        {"rule": "self.split('.all(').size() + self.split('.exists(').size() + self.split('.exists_one(').size() + self.split('.map(').size() + self.split('.filter(').size() <= 6",
         "message": "use one of all, exists, exists_one, map and filter, once"}]))]
    pub expression: String,
}

/// An object of the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusRef {
    /// What it is.
    pub kind: StatusKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds whose status a check may look at: those that the controller reads anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum StatusKind {
    /// apps/v1.
    Deployment,
    /// apps/v1.
    StatefulSet,
    /// batch/v1.
    CronJob,
    /// batch/v1.
    Job,
    /// v1.
    Pod,
    /// v1.
    Service,
    /// v1.
    PersistentVolumeClaim,
    /// holdfast.dev.
    BackupPolicy,
    /// holdfast.dev.
    RecoveryRepository,
}

impl StatusKind {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::BackupPolicy => "BackupPolicy",
            Self::RecoveryRepository => "RecoveryRepository",
        }
    }
}
