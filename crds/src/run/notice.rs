//! What people who wait were told of a run, and when they hear more.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last notice of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticeStatus {
    /// How many there were.
    pub number: u32,
    /// When it was told.
    #[schemars(with = "Time")]
    pub told: Timestamp,
    /// When the next one follows at the latest; absent: it was the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub next: Option<Timestamp>,
}
