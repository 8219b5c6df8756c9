//! DrDrill (`hfdrill`): a rehearsal on a schedule. Each execution is a RecoveryRun of its own, on the same code path as a real recovery.

mod status;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::cron::Schedule;
use crate::reference::NameRef;
use crate::run::{Sandbox, Scenario};

pub use status::*;

/// A rehearsal on a schedule. Each execution is a RecoveryRun of its own in a sandbox, and its verdict stands here.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "DrDrill",
    doc = "A rehearsal on a schedule. Each execution is a RecoveryRun of its own in a sandbox, and its verdict stands here.",
    plural = "drdrills",
    shortname = "hfdrill",
    category = "holdfast",
    namespaced,
    status = "DrDrillStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Test", type_ = "string", json_path = ".spec.test"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule.cron"),
    printcolumn(name = "Last-Result", type_ = "string", json_path = ".status.display.result"),
    printcolumn(name = "Objectives", type_ = "string", json_path = ".status.display.objectives"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.display.rpo"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.display.rto"),
    printcolumn(name = "Last-Run", type_ = "date", json_path = ".status.lastRun"),
    printcolumn(name = "Next-Run", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="LastDrillPassed")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.test == oldSelf.test", "fieldPath": ".test",
    "message": "can't be changed, the results would be of two tests; create a new drill"
}, {
    "rule": "self.test != 'BackupVerification' || !has(self.sandbox)", "fieldPath": ".sandbox",
    "message": "BackupVerification restores into scratch space of its movers and starts nothing; leave out sandbox"
}, {
    "rule": "self.test != 'BackupVerification' || !has(self.objectives) || !has(self.objectives.rto)", "fieldPath": ".objectives.rto",
    "message": "BackupVerification recovers nothing, so no recovery time is measured; leave out rto"
}, {
    "rule": "self.test != 'NetworkFailure' || !has(self.objectives) || !has(self.objectives.rpo)", "fieldPath": ".objectives.rpo",
    "message": "NetworkFailure restores nothing, so no data loss is measured; leave out rpo"
}]))]
pub struct DrDrillSpec {
    /// What is rehearsed.
    pub test: DrillTest,
    /// When. A slot that comes while the drill still runs is skipped, and of several that were missed the newest counts alone.
    pub schedule: Schedule,
    /// The components; omitted: every policy of the namespace, of DatabaseRecovery every ChromaDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub policies: Option<Vec<NameRef>>,
    /// What is held against what was measured; what is omitted: what each policy promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<DrillObjectives>,
    /// When the run gives up; omitted: as a RecoveryRun of the scenario does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// The sandbox in which everything is restored. BackupVerification has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// How old the last passed drill may be for EvidenceFresh; omitted: one and a half times the longest wait of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_staleness: Option<Span>,
    /// How many of its runs are kept.
    #[serde(default)]
    pub history: History,
    /// Active, or Suspended: no drill is started, and what was missed meanwhile is not made up for.
    #[serde(default)]
    pub mode: DrillMode,
}

/// What a drill rehearses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DrillTest {
    /// Points are restored into scratch space and held against what was recorded of them.
    BackupVerification,
    /// The database is damaged: a healthy point is restored, served and validated in a sandbox.
    DatabaseRecovery,
    /// All is lost: every component comes back in a sandbox.
    FullSystemRecovery,
    /// Somebody broke in: the last known good is restored and audited in a sandbox.
    SecurityBreach,
    /// What components need from outside does not answer: they work offline in a sandbox.
    NetworkFailure,
}

impl DrillTest {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupVerification => "BackupVerification",
            Self::DatabaseRecovery => "DatabaseRecovery",
            Self::FullSystemRecovery => "FullSystemRecovery",
            Self::SecurityBreach => "SecurityBreach",
            Self::NetworkFailure => "NetworkFailure",
        }
    }

    /// What its runs carry out.
    #[must_use]
    pub fn scenario(self) -> Scenario {
        match self {
            Self::BackupVerification => Scenario::BackupVerification,
            Self::DatabaseRecovery => Scenario::DatabaseCorruption,
            Self::FullSystemRecovery => Scenario::CompleteFailure,
            Self::SecurityBreach => Scenario::SecurityBreach,
            Self::NetworkFailure => Scenario::NetworkFailure,
        }
    }

    /// Whether points are restored or read, so that their age counts.
    #[must_use]
    pub fn has_points(self) -> bool {
        self != Self::NetworkFailure
    }
}

/// What is held against what was measured, for every policy alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillObjectives {
    /// From the start of the drill to validation passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Span>,
    /// How old the newest good point may be when the drill starts. An older one fails the drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Span>,
}

/// How many runs of a drill are kept. The newest that passed stays in any case, and so does one whose sandbox is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Of those that passed.
    #[schemars(range(min = 1, max = 50))]
    pub passed: u32,
    /// Of the others.
    #[schemars(range(min = 1, max = 50))]
    pub failed: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { passed: 5, failed: 10 }
    }
}

/// Whether drills are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillMode {
    /// On schedule and on request.
    #[default]
    Active,
    /// None is.
    Suspended,
}
