//! Where a run waits for a human, and what the human says.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point at which a run waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum GateName {
    /// After Assess: the plan stands in the status, and nothing was touched yet.
    Start,
    /// A pod is on a node that does not answer: before it counts as stopped.
    ForceStop,
    /// Before restored workloads are started in a namespace whose isolation is not proved.
    StartUnisolated,
    /// After a breach: before the isolation is lifted.
    LiftIsolation,
    /// After a breach: before the repositories are unsealed.
    Unseal,
}

impl GateName {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::ForceStop => "ForceStop",
            Self::StartUnisolated => "StartUnisolated",
            Self::LiftIsolation => "LiftIsolation",
            Self::Unseal => "Unseal",
        }
    }
}

/// A gate that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Which.
    pub name: GateName,
}

/// What a human decided. Whoever writes it needs the verb approve on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// At which gate.
    pub gate: GateName,
    /// What.
    pub answer: Answer,
    /// Who: the user name of whoever writes it.
    #[schemars(length(min = 1, max = 253))]
    pub by: String,
    /// The plan that was read, as in `status.plan.digest`; a decision on another plan is none. Omitted: whatever the plan is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub plan_digest: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
}

/// What a human knows about a check of type manual. Whoever writes it needs the verb approve on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Name of the check, as in `status.checks`.
    #[schemars(length(min = 1, max = 300))]
    pub check: String,
    /// Approved: it is as it should be; Rejected: it is not.
    pub answer: Answer,
    /// Who: the user name of whoever writes it.
    #[schemars(length(min = 1, max = 253))]
    pub by: String,
    /// What was found, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
}

/// A yes or a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Answer {
    /// The run goes on.
    Approved,
    /// The run ends.
    Rejected,
}

/// Whether a run is to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// It is.
    #[default]
    Running,
    /// It ends as soon as its claims are whole, and what it stopped runs again, on the volumes of before: an exchange is taken back, and what was restored is
    /// kept. After a breach, and where a volume of before is lost, it is too late for that once volumes are exchanged.
    Cancelled,
}

/// A gate of a run, and what was decided there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Which.
    pub name: GateName,
    /// Who asked for it: `run`, or `policy/` and its name.
    #[schemars(length(max = 280))]
    pub required_by: String,
    /// Since when the run waits there.
    #[schemars(with = "Time")]
    pub since: Timestamp,
    /// What was decided; absent: nothing yet. What stands here stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub by: Option<String>,
    /// When it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub time: Option<Timestamp>,
}
