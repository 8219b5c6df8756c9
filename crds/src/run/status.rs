//! What happened in a run. Facts that Jobs and claims cannot keep are written here before the effect that needs them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Assessed, AuditStatus, ChosenPoint, ExecStatus, FreshCapture, GateStatus, IsolationStatus, LostPod,
    Measured, NoticeStatus, ObjectivesStatus, OfflineStatus, PreservedPoint, QuarantinedVolume, ReportStatus,
    RotationStatus, SandboxStatus, Swap,
};
use crate::reference::WorkloadRef;

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRunStatus {
    /// Generation that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Term of the controller that carries the run; a controller of an older term no longer acts.
    #[serde(default)]
    pub epoch: i64,
    /// Derived from the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Short texts for columns; programs read the fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// The plan. A DryRun ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// Where the run waits for a decision, and what was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Vec<GateStatus>,
    /// What was seen before anything was touched, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["subject"]))]
    pub assessment: Vec<Assessed>,
    /// The points chosen, one a policy, fixed once the volume is stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub points: Vec<ChosenPoint>,
    /// What could be read of failing volumes, one entry a policy: emergency captures, which stay in the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub preserved: Vec<PreservedPoint>,
    /// Workloads that were stopped and what they ran before; written before they are scaled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub stopped: Vec<StoppedWorkload>,
    /// Pods on nodes that did not answer when the workloads were stopped: nothing is restored in their place before they are known to be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod", "node"]))]
    pub lost_pods: Vec<LostPod>,
    /// Volumes exchanged under a claim's name; written before the first claim is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["claim"]))]
    pub swaps: Vec<Swap>,
    /// Claims whose names belong to the run while their volumes are exchanged: the chart's admission policy reads them here
    /// and denies pods that mount them, and claims of these names that somebody else makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub fenced: Vec<String>,
    /// Offline mode of each component that a NetworkFailure concerns; what is to be given back stands here before it is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub offline: Vec<OfflineStatus>,
    /// Isolation of the namespace in a SecurityBreach; what is to be given back stands here before it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationStatus>,
    /// The namespace in which a rehearsal takes place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxStatus>,
    /// What becomes of each of `spec.credentialRotations`; stands here before its Secret is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rotations: Vec<RotationStatus>,
    /// What a SecurityBreach found that somebody may have left or changed, the worst first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditStatus>,
    /// The steps in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepStatus>,
    /// Captures that the run asks for when all is recovered, one a policy; written before a policy may start one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub fresh_captures: Vec<FreshCapture>,
    /// Commands that checks run in pods; written before they may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 192), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"]))]
    pub exec_checks: Vec<ExecStatus>,
    /// The validation checklist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<CheckStatus>,
    /// Measured recovery time and data loss, one entry a policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub measured: Vec<Measured>,
    /// Migration levels of the volumes that are replaced, where their databases could be opened: what the server there writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub levels: Vec<LiveLevels>,
    /// What was measured against what was promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<ObjectivesStatus>,
    /// Replaced volumes and the claims that keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["claim"]))]
    pub quarantine: Vec<QuarantinedVolume>,
    /// What people who wait were told last, as an event, and when they hear more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<NoticeStatus>,
    /// The report of the incident in the repository, written after the end and again when what it tells has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,
    /// The state of the world in a few words, for a run that ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_as: Option<LeftAs>,
    /// What to do next, the recommended first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub next_actions: Vec<NextAction>,
    /// Conditions: Ready, Reconciling, Stalled, Complete, Failed, Cancelled, PlanReady, GatesPassed, SourceResolved, Stopped, Fenced,
    /// TargetReady, DataRestored, ApplicationReady, Validated, Attested, OfflineMode, Isolated, ObjectivesMet, Reported.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Phase of a run, derived from its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// Not looked at yet, or waiting for something named in Reconciling.
    Pending,
    /// A DryRun that ended.
    Planned,
    /// It waits at a gate, see status.gates.
    AwaitingDecision,
    /// Steps are carried out.
    Running,
    /// Validated.
    Succeeded,
    /// Ended without success; leftAs and nextActions say how to go on.
    Failed,
    /// Ended because a human wanted it so.
    Cancelled,
}

/// What came out of a check or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Seen as expected.
    Passed,
    /// Seen otherwise.
    Failed,
    /// Could not be seen; never counted as passed.
    Inconclusive,
    /// Does not apply here.
    Skipped,
}

/// Short texts for columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// The running step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub step: Option<String>,
    /// The point, or how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub point: Option<String>,
    /// Measured over promised, e.g. 27m57s/30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rpo: Option<String>,
    /// Measured over promised, e.g. 8m43s/2h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub rto: Option<String>,
    /// Passed over counted, e.g. 9/9; skipped checks are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub checks: Option<String>,
}

/// The plan in short; its steps stand in status.steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Digest over the steps and what they concern.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Number of steps.
    pub steps: u32,
    /// Number of policies.
    pub policies: u32,
}

/// The migration levels of a replaced volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveLevels {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Levels (embeddings queue/metadata/system), e.g. 2/6/10.
    #[schemars(length(max = 32))]
    pub migrations: String,
}

/// A workload that a run stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedWorkload {
    /// The workload.
    #[serde(flatten)]
    pub workload: WorkloadRef,
    /// Replicas before.
    pub replicas: i32,
}

/// A step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name, e.g. Restore/chromadb.
    #[schemars(length(max = 280))]
    pub name: String,
    /// Policy concerned; absent for a step of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub policy: Option<String>,
    /// Phase.
    pub phase: StepPhase,
    /// When it was begun: written before its first effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub start: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub end: Option<Timestamp>,
    /// Attempts, the running one included.
    #[serde(default)]
    pub attempts: u32,
    /// What it does, or what came out.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Why it ended badly: a reason of the condition Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
}

/// Phase of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepPhase {
    /// Not begun.
    Waiting,
    /// Begun.
    Running,
    /// Ended well.
    Done,
    /// Not needed.
    Skipped,
    /// Ended badly.
    Failed,
    /// Ended well, and taken back by a run that was cancelled later.
    Undone,
}

/// A line of the validation checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name.
    #[schemars(length(max = 300))]
    pub name: String,
    /// Section of the checklist.
    pub group: CheckGroup,
    /// What came out.
    pub verdict: Verdict,
    /// What had to be seen.
    #[schemars(length(max = 256))]
    pub expected: String,
    /// What was seen.
    #[schemars(length(max = 256))]
    pub observed: String,
    /// Only a person can know it, and says so in `spec.attestations`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
}

/// Sections of the validation checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckGroup {
    /// CPU, memory, disk, network.
    SystemResources,
    /// ChromaDB, workloads, pods, CronJobs.
    CoreServices,
    /// Collections, counts, digests.
    DataIntegrity,
    /// What the applications do.
    ApplicationFunctions,
    /// Access, credentials, audit.
    Security,
}

/// The state of the world after a run that ended without success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftAs {
    /// Running, Stopped, or Mixed.
    #[schemars(length(max = 32))]
    pub workloads: String,
    /// Untouched, or Restored.
    #[schemars(length(max = 32))]
    pub data: String,
    /// Original, Swapped, or Between.
    #[schemars(length(max = 32))]
    pub claims: String,
    /// Isolated, or Lifted; absent where the namespace was not isolated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub isolation: Option<String>,
}

/// Something to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextAction {
    /// Short name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What it does and costs.
    #[schemars(length(max = 512))]
    pub message: String,
    /// What to type.
    #[schemars(length(max = 1024))]
    pub command: String,
}
