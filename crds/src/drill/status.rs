//! What came of a drill. A result stands here longer than the run that it is of.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DrillMode;
use crate::Span;
use crate::cron::Schedule;
use crate::run::{ObjectiveVerdict, Verdict};

/// Most results that a status holds.
pub const MAX_RESULTS: usize = 10;

/// What came of a drill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrDrillStatus {
    /// Generation that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The mode in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DrillMode>,
    /// The schedule that slots were counted by, and what the spec left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedDrill>,
    /// The drill under way: written before its run is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningDrill>,
    /// The last slot that was started or skipped: no slot up to it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_slot: Option<Timestamp>,
    /// The latest value of the annotation holdfast.dev/requested-at that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub observed_requested_at: Option<Timestamp>,
    /// When the last drill was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_run: Option<Timestamp>,
    /// When the last drill that passed was started, however long ago that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_passed: Option<Timestamp>,
    /// Its run, which is kept while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_passed_run: Option<String>,
    /// When the next one starts, RFC3339. A string: kubectl prints future dates wrongly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub next_run: Option<String>,
    /// Drills in a row that ran and did not pass.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// The last results, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["run"]))]
    pub results: Vec<DrillResult>,
    /// Short texts for columns; programs read the fields above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<DrillDisplay>,
    /// Conditions: Ready, Reconciling, LastDrillPassed, ObjectivesMet, EvidenceFresh, SandboxIsolated, SandboxCleaned.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The schedule that slots were counted by, and what the spec left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedDrill {
    /// As the spec had it: slots of another one that lie in the past are none.
    pub schedule: Schedule,
    /// How old the last passed drill may be.
    pub max_staleness: Span,
}

/// A drill under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningDrill {
    /// Name of its RecoveryRun.
    #[schemars(length(max = 253))]
    pub run: String,
    /// Uid of it; absent: it was not seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// When the drill was started, whole seconds: both clocks begin here.
    #[schemars(with = "Time")]
    pub started: Timestamp,
}

/// What came of one drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillResult {
    /// Name of its RecoveryRun, which may be gone; of a slot that was skipped, the name that it would have had.
    #[schemars(length(max = 253))]
    pub run: String,
    /// What came out.
    pub verdict: Verdict,
    /// Why: a reason of the run, of LastDrillPassed, or why the slot was skipped.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// A sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The point, or how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub point: Option<String>,
    /// Age of the point when the drill started, of several the one that missed its objective or else the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub rpo: Option<String>,
    /// From the start of the drill to validation passed, of several the one that missed its objective or else the slowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub rto: Option<String>,
    /// What those are held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<DrillVerdicts>,
    /// When the drill was started, or was to be.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// When this came out.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// The report of its run in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<DrillReport>,
}

/// What was promised, and whether it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillVerdicts {
    /// Promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Span>,
    /// Kept?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_verdict: Option<ObjectiveVerdict>,
    /// Promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Span>,
    /// Kept?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_verdict: Option<ObjectiveVerdict>,
}

/// Where the report of a drill is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    /// Repository.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// As `status.report.written.path` of the run.
    #[schemars(length(max = 330))]
    pub path: String,
    /// `sha256:` and the hash of the HTML file.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// Short texts for columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillDisplay {
    /// Verdict of the newest result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub result: Option<String>,
    /// Met, or Missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub objectives: Option<String>,
    /// Measured over promised, e.g. 14m57s/30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rpo: Option<String>,
    /// Measured over promised, e.g. 6m41s/2h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rto: Option<String>,
}
