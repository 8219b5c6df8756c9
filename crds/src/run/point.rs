//! The points of a run: those that it restores, and what it preserved.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The point chosen for a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChosenPoint {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Name of the RecoveryPoint.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Id in the repository.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Repository.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// The instant that it shows.
    #[schemars(with = "Time")]
    pub consistency_time: Timestamp,
}

/// What could be read of the volumes of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreservedPoint {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Name of the RecoveryPoint.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Id in the repository.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Repository.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// When the first byte was read.
    #[schemars(with = "Time")]
    pub consistency_time: Timestamp,
    /// Bytes that could not be read.
    pub unreadable_bytes: u64,
    /// Files, directories and objects that are not in it at all.
    pub missed_count: u64,
    /// Every byte was read, and nothing wrote meanwhile.
    pub complete: bool,
    /// The check of what was preserved found nothing; absent until it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<bool>,
}
