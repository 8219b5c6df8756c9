//! What a policy answers to a run that asked for a capture.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of the last capture that a RecoveryRun asked for in its `status.freshCaptures`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCapture {
    /// Uid of the run.
    #[schemars(length(max = 64))]
    pub run: String,
    /// When it asked.
    #[schemars(with = "Time")]
    pub requested_at: Timestamp,
    /// Name of the RecoveryPoint; absent: nothing was captured, or nothing that may be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub point: Option<String>,
    /// Reason of LastCaptureSucceeded.
    #[schemars(length(max = 64))]
    pub reason: String,
}
