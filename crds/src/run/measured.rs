//! Recovery time and data loss as measured, and what was promised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DataLoss;
use crate::Span;

/// Measured recovery time and data loss of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// The declared failure minus the point's consistency time; absent where nothing was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub rpo: Option<String>,
    /// How far a SecurityBreach took the component back: the declared failure minus the point's consistency time. What was written since lies
    /// in the quarantined volume, which is why it is no loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub rewind: Option<String>,
    /// Validation passed minus the declared failure; of a network failure until the component works in offline mode.
    #[schemars(length(max = 24))]
    pub rto: String,
    /// The same by step; adds up to `rto`.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["part"]))]
    pub breakdown: Vec<Part>,
    /// What can't be measured from inside the cluster.
    #[schemars(length(max = 8))]
    pub not_measured: Vec<String>,
    /// What was written after the point; absent where nothing was restored, and of a SecurityBreach, whose audit tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss: Option<DataLoss>,
}

/// A part of the recovery time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Step, or `beforeRun`, or `between`.
    #[schemars(length(max = 64))]
    pub part: String,
    /// How long, in milliseconds.
    pub millis: i64,
}

/// What was measured against what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectivesStatus {
    /// Against the scenario's objectives: the worst component.
    pub scenario: ObjectiveVerdicts,
    /// Against each policy's objectives, which decide the component's verdict.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub policies: Vec<PolicyObjectiveVerdicts>,
}

/// Objectives and whether they were met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveVerdicts {
    /// Promised, 0s of a SecurityBreach; absent where nothing is restored.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::duration::or_none_at_all")]
    #[schemars(with = "Option<String>", length(max = 24))]
    pub rpo: Option<Span>,
    /// Kept?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_verdict: Option<ObjectiveVerdict>,
    /// Promised.
    pub rto: Span,
    /// Kept?
    pub rto_verdict: ObjectiveVerdict,
}

/// Objectives of a policy and whether they were met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyObjectiveVerdicts {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Its objectives.
    #[serde(flatten)]
    pub verdicts: ObjectiveVerdicts,
}

/// Whether an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectiveVerdict {
    /// Measured is not longer than promised.
    Met,
    /// Measured is longer than promised.
    Missed,
}
