//! RecoveryRun (`hfrun`): one recovery. The spec is what a human asked for, once; the status is what happened.

mod assessment;
mod audit;
mod data_loss;
mod decision;
mod exec;
mod fresh;
mod incident;
mod isolation;
mod lost;
mod measured;
mod notice;
mod offline;
mod point;
mod report;
mod rotation;
mod sandbox;
mod status;
mod swap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Span;
use crate::reference::NameRef;

pub use assessment::{Assessed, Health};
pub use audit::{
    AuditCounts, AuditDocument, AuditFinding, AuditKind, AuditSeverity, AuditStatus, DataChange,
    MAX_AUDIT_FINDINGS,
};
pub use data_loss::{CountedIn, DataLoss, LostRecords};
pub use decision::{Answer, Attestation, Decision, DesiredState, Gate, GateName, GateStatus};
pub use exec::ExecStatus;
pub use fresh::FreshCapture;
pub use incident::{DataLossRisk, Incident, Lessons, Severity};
pub use isolation::{HeldConnection, Isolation, IsolationState, IsolationStatus, MAX_NETWORK_POLICIES};
pub use lost::LostPod;
pub use measured::{
    Measured, ObjectiveVerdict, ObjectiveVerdicts, ObjectivesStatus, Part, PolicyObjectiveVerdicts,
};
pub use notice::NoticeStatus;
pub use offline::{
    EndpointState, EndpointStatus, OfflineState, OfflineStatus, RestartStage, RestartStatus, SwitchMemory,
};
pub use point::{ChosenPoint, PreservedPoint};
pub use report::{ReportStatus, WrittenReport};
pub use rotation::{
    CopyFrom, CredentialRotation, Generate, MAX_ROTATIONS, RotationJob, RotationState, RotationStatus,
};
pub use sandbox::{Sandbox, SandboxState, SandboxStatus};
pub use status::*;
pub use swap::{Direction, QuarantinedVolume, Swap};

/// One recovery: a scenario, the components, the point. A run's name is used once for ever.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "RecoveryRun",
    doc = "One recovery: a scenario, the components, the point. A run's name is used once for ever.",
    plural = "recoveryruns",
    shortname = "hfrun",
    category = "holdfast",
    namespaced,
    status = "RecoveryRunStatus",
    derive = "PartialEq",
    printcolumn(name = "Scenario", type_ = "string", json_path = ".spec.scenario"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.display.step"),
    printcolumn(name = "Point", type_ = "string", json_path = ".status.display.point"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.display.rpo"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.display.rto"),
    printcolumn(name = "Checks", type_ = "string", json_path = ".status.display.checks"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.scenario != 'NetworkFailure' || !has(self.point)", "fieldPath": ".point",
    "message": "NetworkFailure restores nothing; leave out point and target"
}, {
    "rule": "self.scenario != 'NetworkFailure' || !has(self.target) || has(self.target.sandbox)", "fieldPath": ".target",
    "message": "NetworkFailure restores nothing; leave out point and target"
}, {
    "rule": "self.scenario != 'StorageFailure' || !has(self.target) || !has(self.target.sandbox)", "fieldPath": ".target.sandbox",
    "message": "a failing disk can't be rehearsed in a sandbox: rehearse DatabaseCorruption or CompleteFailure, with sandbox.storageClassName of the other storage"
}, {
    "rule": "!has(self.target) || !has(self.target.sandbox) || !has(self.credentialRotations)", "fieldPath": ".credentialRotations",
    "message": "a rehearsal in a sandbox replaces no credentials; leave it out"
}, {
    "rule": "self.scenario != 'StorageFailure' || !has(self.target) || !has(self.target.inPlace) || has(self.target.inPlace.storageClassName)",
    "fieldPath": ".target.inPlace.storageClassName",
    "message": "required: StorageFailure restores onto other storage than what fails; name another StorageClass (kubectl get storageclass)"
}, {
    "rule": "self.scenario != 'BackupVerification' || (!has(self.point) && !has(self.target) && self.mode != 'Assess')", "fieldPath": ".scenario",
    "message": "BackupVerification restores nothing into the cluster; leave out point and target, and write mode: Run or DryRun"
}, {
    "rule": "self.scenario in ['NetworkFailure', 'BackupVerification'] || self.mode == 'Assess' || has(self.target)", "fieldPath": ".target",
    "message": "required: volumes are replaced; write target: {inPlace: {confirm: NAMESPACE}} with the namespace typed out"
}, {
    "rule": "self.scenario != 'SecurityBreach' || self.mode == 'Assess' || (has(self.incident) && has(self.incident.suspectedSince))", "fieldPath": ".incident.suspectedSince",
    "message": "required: points after it are not restored. Unknown? Give the time of the first sign"
}, {
    "rule": "self.scenario != 'SecurityBreach' || !has(self.point) || !has(self.point.latest)", "fieldPath": ".point",
    "message": "latest may hold the intruder's changes; use lastKnownGood: {} or named"
}, {
    "rule": "self.scenario == 'SecurityBreach' || !has(self.credentialRotations)", "fieldPath": ".credentialRotations",
    "message": "credentials are rotated after a SecurityBreach only; leave it out"
}, {
    "rule": "self.scenario == oldSelf.scenario && has(self.target) == has(oldSelf.target) && (!has(self.target) || self.target == oldSelf.target) && self.mode == oldSelf.mode && has(self.point) == has(oldSelf.point) && (!has(self.point) || self.point == oldSelf.point) && has(self.policies) == has(oldSelf.policies) && (!has(self.policies) || self.policies == oldSelf.policies) && has(self.deadline) == has(oldSelf.deadline) && (!has(self.deadline) || self.deadline == oldSelf.deadline) && has(self.quarantineFor) == has(oldSelf.quarantineFor) && (!has(self.quarantineFor) || self.quarantineFor == oldSelf.quarantineFor) && has(self.gates) == has(oldSelf.gates) && (!has(self.gates) || self.gates == oldSelf.gates) && has(self.credentialRotations) == has(oldSelf.credentialRotations) && (!has(self.credentialRotations) || self.credentialRotations == oldSelf.credentialRotations)",
    "message": "a RecoveryRun can't be changed, except desiredState, decisions, attestations and incident texts; create a new run"
}, {
    "rule": "(has(self.incident) && has(self.incident.detectedAt)) == (has(oldSelf.incident) && has(oldSelf.incident.detectedAt)) && (!has(self.incident) || !has(self.incident.detectedAt) || self.incident.detectedAt == oldSelf.incident.detectedAt)",
    "message": "incident.detectedAt can't be changed, both clocks start there; create a new run"
}, {
    "rule": "(has(self.incident) && has(self.incident.suspectedSince)) == (has(oldSelf.incident) && has(oldSelf.incident.suspectedSince)) && (!has(self.incident) || !has(self.incident.suspectedSince) || self.incident.suspectedSince == oldSelf.incident.suspectedSince)",
    "message": "incident.suspectedSince can't be changed, points were judged by it; create a new run"
}, {
    "rule": "!has(self.point) || !has(self.point.lastKnownGood) || has(self.point.lastKnownGood.before) || (has(self.incident) && has(self.incident.suspectedSince))",
    "fieldPath": ".point.lastKnownGood",
    "message": "before what? Write before: TIME, or incident.suspectedSince: TIME; what was stored from then on is passed over"
}, {
    "rule": "oldSelf.desiredState != 'Cancelled' || self.desiredState == 'Cancelled'",
    "message": "a cancelled run stays cancelled; create a new run"
}]))]
pub struct RecoveryRunSpec {
    /// What happened.
    pub scenario: Scenario,
    /// The components to recover; omitted: every one of the namespace, of DatabaseCorruption every ChromaDB. What depends on one of them is
    /// stopped and started with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub policies: Option<Vec<NameRef>>,
    /// Which point to restore; omitted: latest, of SecurityBreach lastKnownGood. NetworkFailure restores none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<PointChoice>,
    /// Where to restore it to. NetworkFailure replaces nothing and BackupVerification restores nothing, and whoever only looks needs none;
    /// everything else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Run; or DryRun: the plan is written to status and nothing is changed; or Assess: so is what is seen, without a plan.
    #[serde(default)]
    pub mode: RunMode,
    /// When the run gives up; omitted: twice the scenario's RTO, of NetworkFailure 24h: a long outage is no failure of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// How long replaced volumes are kept after the end; omitted: as each policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_for: Option<Span>,
    /// Where the run waits for a decision, besides what its policies ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Vec<Gate>,
    /// What humans decided. Each is written by whom it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["gate"]))]
    pub decisions: Vec<Decision>,
    /// What humans know about the manual checks, also after the end of the run. Each is written by whom it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"]))]
    pub attestations: Vec<Attestation>,
    /// What an intruder may have read and is replaced, once everything is restored and before anything is started; of a SecurityBreach only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub credential_rotations: Vec<CredentialRotation>,
    /// Running, or Cancelled: the run ends, and what it did is undone as far as that can be.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// What is known of the incident. Its texts may follow later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
}

impl RecoveryRunSpec {
    /// The volumes that are replaced, where some are.
    #[must_use]
    pub fn in_place(&self) -> Option<&InPlace> {
        self.target.as_ref().and_then(|target| target.in_place.as_ref())
    }

    /// The sandbox, where the run is a rehearsal in one.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.target.as_ref().and_then(|target| target.sandbox.as_ref())
    }

    /// Whether it is about a namespace that somebody broke into, and not a rehearsal of that.
    #[must_use]
    pub fn is_breach(&self) -> bool {
        self.scenario == Scenario::SecurityBreach && self.sandbox().is_none()
    }

    /// StorageClass of the restored volumes, where the run names one.
    #[must_use]
    pub fn storage_class(&self) -> Option<&String> {
        let sandbox = self.sandbox().and_then(|sandbox| sandbox.storage_class_name.as_ref());
        self.in_place().and_then(|target| target.storage_class_name.as_ref()).or(sandbox)
    }

    /// Hash of what the run does, hex: texts of the incident and what follows its creation are left out, so that completing them does not
    /// make the same run look like another one.
    #[must_use]
    pub fn identity_hash(&self) -> String {
        let mut identity = Self {
            decisions: vec![],
            attestations: vec![],
            desired_state: DesiredState::Running,
            ..self.clone()
        };
        identity.incident = identity
            .incident
            .map(|told| Incident {
                detected_at: told.detected_at,
                suspected_since: told.suspected_since,
                ..Incident::default()
            })
            .filter(|times| *times != Incident::default());
        let value = serde_json::to_value(&identity).expect("a spec holds only strings, numbers and times");
        // serde_json's Map is ordered by key, so equal specs print equal bytes.
        Sha256::digest(value.to_string()).iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Most components that a run can be about: what its status holds of each is bounded.
pub const MAX_COMPONENTS: usize = 32;
/// Most claims whose volumes it can replace.
pub const MAX_CLAIMS: usize = 256;

/// The kinds of disaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scenario {
    /// All is lost or down: stop what is left, restore every component, each as soon as what it depends on is back, validate.
    CompleteFailure,
    /// The database is damaged: stop, keep the damaged volume as it is, restore a healthy point, swap, start, validate.
    DatabaseCorruption,
    /// The disk under components fails: stop, preserve every byte that can still be read, restore onto another StorageClass what was preserved
    /// where that is whole, else a healthy point; swap, start, validate.
    StorageFailure,
    /// What components need from outside does not answer: switch them to offline mode, watch, and back when it answers again.
    NetworkFailure,
    /// Somebody broke in: isolate the namespace and prove it, stop everything, keep the volumes as they are, restore the last point from before
    /// it, start and validate it while isolated, and lift the isolation when a human says so.
    SecurityBreach,
    /// Nothing happened: points are restored into scratch space of movers and held against what was recorded of them. Nothing of the cluster is
    /// touched.
    BackupVerification,
}

impl Scenario {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CompleteFailure => "CompleteFailure",
            Self::DatabaseCorruption => "DatabaseCorruption",
            Self::StorageFailure => "StorageFailure",
            Self::NetworkFailure => "NetworkFailure",
            Self::SecurityBreach => "SecurityBreach",
            Self::BackupVerification => "BackupVerification",
        }
    }

    /// The scenario's own objectives (RTO, RPO); a component's come from its policy. What restores nothing has no RPO.
    #[must_use]
    pub fn objectives(self) -> (Span, Option<Span>) {
        match self {
            Self::CompleteFailure => (Span::from_hours(4), Some(Span::from_hours(1))),
            Self::DatabaseCorruption => (Span::from_hours(2), Some(Span::from_mins(30))),
            Self::StorageFailure => (Span::from_hours(3), Some(Span::from_hours(1))),
            Self::NetworkFailure => (Span::from_hours(1), None),
            Self::SecurityBreach => (Span::from_hours(1), Some(Span::from_secs(0))),
            Self::BackupVerification => (Span::from_mins(30), None),
        }
    }

    /// How long a run may take that says nothing else: twice the RTO, and of what lasts as long as the outage does a day.
    #[must_use]
    pub fn deadline(self) -> Span {
        match self {
            Self::CompleteFailure
            | Self::DatabaseCorruption
            | Self::StorageFailure
            | Self::SecurityBreach
            | Self::BackupVerification => Span::from_secs(self.objectives().0.as_secs().saturating_mul(2)),
            Self::NetworkFailure => Span::from_hours(24),
        }
    }
}

/// One-of: which point to restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.latest), has(self.named), has(self.asOf), has(self.lastKnownGood)].filter(c, c).size() == 1",
    "message": "set exactly one of latest, named, asOf, lastKnownGood"}]))]
pub struct PointChoice {
    /// The newest Available point of each policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Empty>,
    /// This point; for a run with exactly one policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<NameRef>,
    /// The newest Available point that is not younger than a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
    /// The newest Available point that its repository received before a time, by the store's own clock: what somebody could write who
    /// broke in since is not chosen, whatever time it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_known_good: Option<LastKnownGood>,
}

impl Default for PointChoice {
    fn default() -> Self {
        Self { latest: Some(Empty {}), named: None, as_of: None, last_known_good: None }
    }
}

/// A choice without parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// A time to go back to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AsOf {
    /// RFC3339.
    #[schemars(with = "Time")]
    pub time: Timestamp,
}

/// Before which time points are trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastKnownGood {
    /// RFC3339; omitted: incident.suspectedSince.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub before: Option<Timestamp>,
}

/// One-of: where to restore to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.inPlace) != has(self.sandbox)", "message": "set exactly one of inPlace: {confirm: NAMESPACE}, sandbox: {}"}]))]
pub struct Target {
    /// The workloads' own claims get the restored volumes; the old volumes are kept in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// A rehearsal, in a namespace of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

/// In place: the restored volume takes the place of the old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InPlace {
    /// The namespace, typed out: this run replaces the volumes of its workloads.
    #[schemars(length(min = 1, max = 63))]
    pub confirm: String,
    /// StorageClass of the new volumes; omitted: the old one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunMode {
    /// Carry out the plan.
    #[default]
    Run,
    /// Write the plan to status and stop.
    DryRun,
    /// Look at everything, write what is seen to status, and stop.
    Assess,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RecoveryRunSpec {
        serde_json::from_value(serde_json::json!({
            "scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": "arxiv"}}
        }))
        .unwrap()
    }

    #[test]
    fn incident_texts_are_no_part_of_a_runs_identity_but_its_clock_is() {
        let plain = run();
        let mut told = run();
        let texts = serde_json::json!({
            "summary": "pages overwritten", "severity": "Critical", "impact": "500", "usersAffected": 120, "dataLossRisk": "Unknown",
            "coordinator": "admin", "commander": "ops", "technicalLead": "tech-lead", "rootCause": "a stray dd",
            "contributingFactors": ["root shell"], "prevention": ["read-only mounts"],
            "lessons": {"workedWell": ["the gate"], "toImprove": ["paging"]},
            "processImprovements": ["page sooner"], "updatedProcedures": ["runbook 7"],
        });
        told.incident = serde_json::from_value(texts.clone()).unwrap();
        assert_eq!(serde_json::to_value(&told.incident).unwrap(), texts, "nothing of it is lost");
        assert_eq!(plain.identity_hash(), told.identity_hash());
        let mut timed = told.clone();
        timed.incident.as_mut().unwrap().detected_at = Some(Timestamp::UNIX_EPOCH);
        assert_ne!(plain.identity_hash(), timed.identity_hash());
        told.incident.as_mut().unwrap().suspected_since = Some(Timestamp::UNIX_EPOCH);
        assert_ne!(plain.identity_hash(), told.identity_hash());
        assert_ne!(timed.identity_hash(), told.identity_hash());
    }

    #[test]
    fn another_point_makes_another_run() {
        let mut other = run();
        let named = Some(NameRef::new("p"));
        other.point = Some(PointChoice { latest: None, named, as_of: None, last_known_good: None });
        assert_ne!(run().identity_hash(), other.identity_hash());
    }
}
