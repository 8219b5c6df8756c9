//! What people know of an incident: the texts of its report that no program can measure. All but its times may be written, and
//! written again, when the run has long ended.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scenario;

/// What is known of the incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.suspectedSince) || !has(self.detectedAt) || self.suspectedSince <= self.detectedAt", "fieldPath": ".suspectedSince",
    "message": "later than detectedAt: write the time of the first sign, at or before the time at which it was noticed"}]))]
pub struct Incident {
    /// What happened, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// How bad it is; omitted: the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// When the failure was declared, the start of both clocks; omitted: the creation of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub detected_at: Option<Timestamp>,
    /// Since when what was captured is not trusted; can't be changed later. `lastKnownGood` restores what was stored before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub suspected_since: Option<Timestamp>,
    /// What users felt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub impact: Option<String>,
    /// How many users felt it, as estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub users_affected: Option<i64>,
    /// Whether data may be lost, as judged before it was measured. Quoted in YAML, where a bare Yes is a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss_risk: Option<DataLossRisk>,
    /// Who coordinates the recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub coordinator: Option<String>,
    /// Who commands the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub commander: Option<String>,
    /// Who leads the technical work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub technical_lead: Option<String>,
    /// Why it happened, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub root_cause: Option<String>,
    /// What made it likelier or worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub contributing_factors: Vec<String>,
    /// What keeps it from happening again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub prevention: Vec<String>,
    /// What was learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lessons: Option<Lessons>,
    /// What is changed in how recoveries are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub process_improvements: Vec<String>,
    /// Procedures that were written or changed because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub updated_procedures: Vec<String>,
}

/// How bad an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Everything stands, or somebody broke in.
    Critical,
    /// A component that others need is lost.
    High,
    /// It works, and less well.
    Medium,
    /// Nobody waits for it.
    Low,
}

impl Severity {
    /// What a scenario is unless somebody says otherwise.
    #[must_use]
    pub fn of(scenario: Scenario) -> Self {
        match scenario {
            Scenario::CompleteFailure | Scenario::SecurityBreach => Self::Critical,
            Scenario::DatabaseCorruption | Scenario::StorageFailure => Self::High,
            Scenario::NetworkFailure => Self::Medium,
            Scenario::BackupVerification => Self::Low,
        }
    }

    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
        }
    }
}

/// Whether data may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DataLossRisk {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody knows yet.
    Unknown,
}

impl DataLossRisk {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::No => "No",
            Self::Unknown => "Unknown",
        }
    }
}

/// What was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lessons {
    /// What worked well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub worked_well: Vec<String>,
    /// What needs improvement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub to_improve: Vec<String>,
}
