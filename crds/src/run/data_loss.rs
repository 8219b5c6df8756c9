//! What was lost with a recovery: what was written after the point that was restored.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was written after the point, and is not in the restored state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLoss {
    /// The point's consistency time.
    #[schemars(with = "Time")]
    pub from: Timestamp,
    /// When the writers stood still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub to: Option<Timestamp>,
    /// Records that the replaced volume has and the restored point does not, or has otherwise; absent: not counted, or not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_in: Option<CountedIn>,
    /// What came out, where it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<LostRecords>,
    /// Why they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub unknown: Option<String>,
    /// Number of the attempt to count them, the first is 1.
    #[serde(default)]
    pub attempt: u32,
}

/// Where lost records were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CountedIn {
    /// In the volume that was replaced.
    Quarantine,
}

/// How the replaced volume differs from the restored point, record by record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostRecords {
    /// Records that only the replaced volume has: they are to be ingested again.
    pub added: u64,
    /// Records that are others there: written over since, or damaged.
    pub altered: u64,
    /// Records that only the point has: removed since, or lost by the damage. They are back.
    pub removed: u64,
    /// Collections that differ.
    pub collections: u64,
    /// Of the altered ones these may be so by the last bit of a vector alone, which another build of the server rounds in another way.
    #[serde(default)]
    pub rounded: u64,
    /// SHA-256 of the document with their ids in the repository of the point, as `sha256:HEX`; absent where nothing may be written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub digest: Option<String>,
}
