//! BackupPolicy (`hfpolicy`): one component to protect.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::cron::Schedule;
use crate::reference::NameRef;
use crate::retention::Retention;
use crate::run::StoppedWorkload;

mod auth;
mod capture;
mod captures;
mod check;
mod component;
mod emergency;
mod hooks;
mod offline;
mod pod_check;
mod run_capture;
pub use auth::{ServerAuth, TokenRef};
pub use capture::{CaptureMethod, Live, Method, Offline, Snapshot};
pub use captures::{Captures, CapturesOfMonth, MOST_MONTHS};
pub use check::{ChromaCount, ChromaQuery, HttpCheck, InDrills, PolicyCheck, SmtpCheck};
pub use component::{
    Application, ChromaDb, Component, NamedObject, ObjectKind, Objects, Secrets, Selector, VolumeName,
};
pub use emergency::{ActiveEmergency, EmergencyCapture, EmergencyStatus, LastEmergency};
pub use hooks::{Hook, HookStage, Hooked, Hooks};
pub use offline::{Endpoint, OfflineMode, Restart, Switch};
pub use pod_check::{ExecCheck, StatusCheck, StatusKind, StatusRef};
pub use run_capture::RunCapture;

/// One component to protect: what, how, how often, where to, with which objectives and priority.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "BackupPolicy",
    doc = "One component to protect: what, how, how often, where to, with which objectives and priority.",
    plural = "backuppolicies",
    shortname = "hfpolicy",
    category = "holdfast",
    namespaced,
    status = "BackupPolicyStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Priority", type_ = "string", json_path = ".spec.priority"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".status.resolved.schedule.cron"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".spec.objectives.rpo"),
    printcolumn(
        name = "RPO-Met",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="RPOMet")].status"#
    ),
    printcolumn(name = "Last-Point", type_ = "date", json_path = ".status.lastPoint.consistencyTime"),
    printcolumn(name = "Verified", type_ = "date", json_path = ".status.lastVerified"),
    printcolumn(name = "Points", type_ = "integer", json_path = ".status.points"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(
        name = "Writer-Pause",
        type_ = "string",
        json_path = ".status.lastAttempt.longestPause",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.checks) || has(self.component.chromaDB) || self.checks.all(check, !has(check.chromaCount) && !has(check.chromaQuery))",
     "fieldPath": ".checks", "message": "chromaCount and chromaQuery ask a ChromaDB, and this component is none; use http, or put it into the ChromaDB's policy"}]))]
pub struct BackupPolicySpec {
    /// What is protected.
    pub component: Component,
    /// Components that this one works with, by their policies. A recovery starts it when they are validated, and one that replaces the volumes
    /// of one of them stops it meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub depends_on: Vec<NameRef>,
    /// Who gets the slots first when there are not enough; makes nobody wait for anybody.
    #[serde(default)]
    pub priority: Priority,
    /// What was promised.
    #[serde(default)]
    pub objectives: Objectives,
    /// When to capture; omitted: as often as half the RPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How to capture.
    #[serde(default)]
    pub capture: CaptureMethod,
    /// What a recovery of the component needs.
    #[serde(default)]
    pub recovery: Recovery,
    /// Lines that it adds to the validation checklist of a recovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<PolicyCheck>,
    /// What a network failure does to the component; omitted: it needs nothing from outside, and such a run does not concern it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflineMode>,
    /// Which points are kept. The maintenance of the repository removes the others.
    #[serde(default)]
    pub retention: Retention,
    /// What an emergency capture keeps, and where; omitted: in the policy's own repository, with the logs of a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencyCapture>,
    /// Where points are kept: a RecoveryRepository of this namespace.
    pub repository_ref: NameRef,
    /// Active, or Suspended: no capture is started.
    #[serde(default)]
    pub mode: PolicyMode,
}

/// What a recovery of a component needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Recovery {
    /// Required: a RecoveryRun waits at gate Start until somebody has approved its plan.
    pub approval: Approval,
    /// How long the volumes are kept that a recovery has replaced, once it has ended well. None goes before a newer point was captured.
    pub quarantine_for: Span,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { approval: Approval::default(), quarantine_for: Span::from_hours(336) }
    }
}

/// Whether a human has to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody is asked.
    #[default]
    NotRequired,
    /// Somebody with the verb approve.
    Required,
}

/// Priority of a component.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Priority {
    /// P1.
    Critical,
    /// P2.
    High,
    /// P3.
    #[default]
    Medium,
    /// P4.
    Low,
}

/// What was promised for a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Objectives {
    /// Recovery time objective: from the declared failure to validation passed.
    pub rto: Span,
    /// Recovery point objective: how old the newest good point may be.
    pub rpo: Span,
}

impl Default for Objectives {
    fn default() -> Self {
        Self { rto: Span::from_hours(4), rpo: Span::from_hours(1) }
    }
}

/// Whether captures are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyMode {
    /// Captures are taken on schedule and on request.
    #[default]
    Active,
    /// No capture is started.
    Suspended,
}

impl BackupPolicySpec {
    /// Name of the repository that emergency captures go to.
    #[must_use]
    pub fn emergency_repository(&self) -> &str {
        let named = self.emergency.as_ref().and_then(|emergency| emergency.repository_ref.as_ref());
        &named.unwrap_or(&self.repository_ref).name
    }
}

impl PolicyMode {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Suspended => "Suspended",
        }
    }
}

/// What was found out about a component, and how its captures go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicyStatus {
    /// Generation that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The mode in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<PolicyMode>,
    /// What the spec left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
    /// When the next scheduled capture starts, RFC3339. A string: kubectl prints future dates wrongly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub next_capture: Option<String>,
    /// The last slot that was started or skipped: no slot up to it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_slot: Option<Timestamp>,
    /// The latest value of the annotation holdfast.dev/requested-at that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub observed_requested_at: Option<Timestamp>,
    /// The capture under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCapture>,
    /// What an offline capture has stopped: written before anything is scaled, there until everything has its replicas again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Hooks of a capture that are under way: there until the last command ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooked: Option<Hooked>,
    /// Emergency captures, which neither hold up ordinary ones nor are held up by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencyStatus>,
    /// What came of the last capture that a RecoveryRun asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_capture: Option<RunCapture>,
    /// The newest Available point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_point: Option<LastPoint>,
    /// When a point of it was last restored and found as captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_verified: Option<Timestamp>,
    /// The newest Available point that was restored and compared, by a drill for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_point: Option<LastPoint>,
    /// How the last capture ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<LastAttempt>,
    /// Number of points of this policy.
    #[serde(default)]
    pub points: u32,
    /// Captures failed in a row.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// How captures came out so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captures: Option<Captures>,
    /// Conditions: Ready, RepositoryReady, SourceReady, LastCaptureSucceeded, RPOMet, Verified, RetentionEnforced,
    /// AnomalyDetected, EmergencyCaptured.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What the spec left open, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The schedule, derived from the RPO when the spec has none.
    pub schedule: ResolvedSchedule,
    /// The claims that are captured, the one of a ChromaDB or all of an application.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub claims: Vec<String>,
    /// The Service in front of the ChromaDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
    /// Node of the pod, where captures run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
}

/// When captures are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedSchedule {
    /// Five fields as in the spec; or `@every 30s`, where the RPO is too short for them: one capture after the other, in one pod.
    #[schemars(length(max = 128))]
    pub cron: String,
    /// IANA time zone in which the fields are read.
    #[schemars(length(max = 64))]
    pub time_zone: String,
}

/// A capture under way: written before its Job is created, so that a restarted controller finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCapture {
    /// Unique per capture of this policy; part of its Job's name and of its commit record.
    #[schemars(length(max = 64))]
    pub slot: String,
    /// Attempts so far, the running one included.
    pub attempt: u32,
    /// Why it was started.
    pub origin: Origin,
    /// When it was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// It reads a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStage>,
    /// It is one of several that a single pod takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// The Job ended without a Report: a Confirm Job is looking for the commit record.
    #[serde(default)]
    pub confirming: bool,
    /// Confirm Jobs so far, the running one included.
    #[serde(default)]
    pub confirms: u32,
    /// The next Job of this capture starts no sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub not_before: Option<Timestamp>,
}

/// How far a capture is that reads snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStage {
    /// How they were cut; absent until they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// How snapshots were cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// What was acknowledged before is in them: writers were held from here, or, where nobody was held, the first was asked for.
    #[schemars(with = "Time")]
    pub at: Timestamp,
    /// To here; where nobody was held, the storage had cut the last.
    #[schemars(with = "Time")]
    pub until: Timestamp,
    /// Milliseconds for which writers were held, the longest time of all attempts.
    pub held_ms: u64,
    /// Tries of the guard; more than one when a flush was met. What the last one had cut is whole.
    pub attempts: u32,
    /// The filesystem of the volume; empty where it was not looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub filesystem: String,
}

/// Captures that one pod takes, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When the first is due.
    #[schemars(with = "Time")]
    pub first: Timestamp,
    /// How long after one the next is due.
    pub every: Span,
    /// How many there are.
    pub captures: u32,
    /// How many have ended and are recorded.
    pub ended: u32,
}

/// Workloads that are stopped for an offline capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Since when.
    #[schemars(with = "Time")]
    pub since: Timestamp,
    /// What runs again afterwards, with as many replicas.
    #[schemars(length(max = 16))]
    pub workloads: Vec<StoppedWorkload>,
    /// Image of the server, as its pod named it.
    #[schemars(length(max = 512))]
    pub image: String,
    /// As whom the server ran.
    pub user: User,
}

/// As whom a server ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<i64>,
    /// Group id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<i64>,
    /// Further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub groups: Vec<i64>,
}

/// Why a capture was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// A slot of the schedule.
    Scheduled,
    /// The annotation holdfast.dev/requested-at.
    Requested,
    /// A step of a RecoveryRun.
    Run,
    /// An emergency capture was asked for.
    Emergency,
    /// It was found in the bucket; this cluster did not capture it, or has forgotten that it did.
    Discovered,
}

/// The newest Available point of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastPoint {
    /// Name of the RecoveryPoint.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The instant that it shows.
    #[schemars(with = "Time")]
    pub consistency_time: Timestamp,
}

/// How the last capture ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// When it ended.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// A reason of LastCaptureSucceeded.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Jobs that it took.
    pub attempts: u32,
    /// Longest time that writers were held, e.g. 0.18s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub longest_pause: Option<String>,
}
