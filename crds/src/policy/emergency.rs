//! Emergency captures: what can be read of a component, whatever state it is in.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::reference::NameRef;

/// What an emergency capture keeps, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.logsSince) || duration(self.logsSince) <= duration('720h')",
     "fieldPath": ".logsSince", "message": "logs of more than 720h don't fit into an emergency capture"}]))]
pub struct EmergencyCapture {
    /// Where it goes: a RecoveryRepository of this namespace; omitted: the policy's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_ref: Option<NameRef>,
    /// How far back the logs of the component's pods go that it keeps.
    pub logs_since: Span,
}

impl Default for EmergencyCapture {
    fn default() -> Self {
        Self { repository_ref: None, logs_since: Span::from_hours(24) }
    }
}

/// How emergency captures of a policy go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyStatus {
    /// The latest value of the annotation holdfast.dev/emergency-requested-at that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub observed_requested_at: Option<Timestamp>,
    /// The one under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveEmergency>,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastEmergency>,
}

/// An emergency capture under way: written before its Job is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveEmergency {
    /// Unique per emergency capture of this policy; part of its Job's name and of its commit record.
    #[schemars(length(max = 64))]
    pub slot: String,
    /// Attempts so far, the running one included.
    pub attempt: u32,
    /// When it was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// When this attempt was.
    #[schemars(with = "Time")]
    pub since: Timestamp,
    /// The RecoveryRepository that it goes to.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// Why the volumes are left out; absent while they are part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub without_volumes: Option<String>,
    /// The Job ended without a Report: a Confirm Job is looking for the commit record.
    #[serde(default)]
    pub confirming: bool,
    /// Confirm Jobs so far, the running one included.
    #[serde(default)]
    pub confirms: u32,
    /// The next Job of it starts no sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub not_before: Option<Timestamp>,
}

/// How the last emergency capture ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastEmergency {
    /// When it ended.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// A reason of EmergencyCaptured.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The RecoveryPoint, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub point: Option<String>,
    /// The RecoveryRepository that it went to.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// How much of what was to be captured is not in it.
    pub missing: u64,
}
