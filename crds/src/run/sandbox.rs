//! A sandbox: a namespace of its own in which a recovery is rehearsed, and nothing of production can be reached.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Isolation;
use crate::Span;

/// In a sandbox: everything is restored into a namespace that is made for it, isolated, and removed afterwards. Production is not touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// StorageClass of the restored volumes; omitted: the one that the captured claims had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// How long the sandbox of a rehearsal that did not pass is kept for inspection; omitted: it is removed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_on_failure: Option<Span>,
}

/// What is known of the sandbox of a run. Its name stands here before it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// The namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its uid; absent: it was not seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// How far it is.
    pub state: SandboxState,
    /// The probe connected to production before anything was denied: the positive control.
    #[serde(default)]
    pub control: bool,
    /// When all that denies was seen to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub since: Option<Timestamp>,
    /// What the probe found; absent: nothing yet. Without ProbeBlocked no workload is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Until when it is kept for inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub keep_until: Option<Timestamp>,
    /// When nothing of it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub cleaned: Option<Timestamp>,
}

/// How far a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SandboxState {
    /// The namespace is being made.
    Creating,
    /// A probe in it connects to production while nothing is denied yet.
    Probing,
    /// Everything is denied but what the rehearsal needs.
    Isolated,
    /// It is kept for inspection.
    Kept,
    /// It is being removed.
    Removing,
    /// Nothing of it is left.
    Cleaned,
}
