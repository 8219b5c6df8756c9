//! Captures that a run asks for once it has recovered a component, to know that it is protected again.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A capture that a run asks for. Its answer is the policy's `status.runCapture`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreshCapture {
    /// The policy that is asked.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// When.
    #[schemars(with = "Time")]
    pub requested_at: Timestamp,
}
