//! Commands that a run has run in pods, for checks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A command of a check, written before it may run: the chart's admission policy lets nothing else run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecStatus {
    /// Line of the checklist.
    #[schemars(length(max = 300))]
    pub check: String,
    /// The pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The container; absent: the pod's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub container: Option<String>,
    /// The program and its arguments.
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub command: Vec<String>,
}
