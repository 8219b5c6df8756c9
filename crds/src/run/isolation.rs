//! What a run knows of the isolation of its namespace. What is to be given back stands in a record before it is taken, and its names here.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most NetworkPolicies of a namespace that a run removes and puts back.
pub const MAX_NETWORK_POLICIES: usize = 128;

/// Isolation of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IsolationStatus {
    /// How far it is.
    pub state: IsolationState,
    /// Records of what was removed that were written, the last of which counts.
    #[serde(default)]
    pub records: u32,
    /// Names of the NetworkPolicies that stand in the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub policies: Vec<String>,
    /// The probe connected before anything was changed: the positive control.
    #[serde(default)]
    pub control: bool,
    /// When all that allows was seen to be gone, and all that denies to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub since: Option<Timestamp>,
    /// What the probe found; absent: nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Isolation>,
    /// What became of the connection that was opened before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldConnection>,
}

/// How far the isolation of a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IsolationState {
    /// A probe connects while everything is as it was. Nothing was changed.
    Probing,
    /// What allows is recorded, and is being removed.
    Taking,
    /// Nothing allows any more but what the run needs.
    Isolated,
    /// What was removed is being put back.
    Lifting,
    /// All is as it was.
    Lifted,
}

/// What a probe found of the isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Isolation {
    /// What connected before does not connect any more.
    ProbeBlocked,
    /// It still connects: nothing in the cluster enforces NetworkPolicies, or not all of them.
    NotEnforced,
    /// It did not connect before either, or could not be run: nothing is proved.
    ControlFailed,
}

/// What became of a connection that was opened before the isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HeldConnection {
    /// What is sent through it is not acknowledged any more.
    Ended,
    /// It goes on until one of its ends stops.
    StillOpen,
    /// None was held, or nothing is known of it.
    Unknown,
}
