//! How captures came out, as numbers that outlive the controller and the points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many months are remembered: a year, the year before it, and what both leave of a month.
pub const MOST_MONTHS: usize = 26;

/// How captures of a policy came out since it was created. One that takes several attempts counts once; emergency captures and those that
/// were withdrawn, such as for a recovery, do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Captures {
    /// Captures that made a good point.
    #[serde(default)]
    pub succeeded: u64,
    /// Captures that did not, those included whose point was quarantined at once.
    #[serde(default)]
    pub failed: u64,
    /// The same by month, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 26), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["month"]))]
    pub months: Vec<CapturesOfMonth>,
}

/// How captures of a month came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturesOfMonth {
    /// The month in UTC in which they ended, e.g. 2026-11.
    #[schemars(length(max = 7))]
    pub month: String,
    /// Captures that made a good point.
    #[serde(default)]
    pub succeeded: u64,
    /// Captures that did not.
    #[serde(default)]
    pub failed: u64,
}
