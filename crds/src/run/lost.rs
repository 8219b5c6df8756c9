//! Pods of which nobody can say whether they still write.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pod on a node that did not answer when the run stopped the workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostPod {
    /// Name.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Its node.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Claims that it mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub claims: Vec<String>,
    /// When the run saw it first.
    #[schemars(with = "Time")]
    pub since: Timestamp,
}
