//! What a recovery may do to the cluster, as data. Whoever carries it out matches every variant.

use std::collections::BTreeMap;

use crds::point::TrustMark;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::seen::{ClaimSeen, NetworkPolicySeen};
use crate::backup::points::NewPoint;
use crate::effect::MoverJob;
use crate::verification::Stamp;
use crate::workload::Scale;

/// One change of the cluster. Uids and versions are preconditions: an effect planned on an outdated look does nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Creates the mark that this run is carried out: immutable, without an owner, so that it outlives the run.
    CreateExecuted {
        /// Name of the ConfigMap.
        name: String,
        /// Its content.
        data: BTreeMap<String, String>,
    },
    /// Puts our finalizer on the run, so that it stays until the claims are whole, nothing is offline and the namespace is not isolated; on a
    /// SecurityBreach also the label by which admission policies know that it isolates.
    AddFinalizer,
    /// Takes it away.
    RemoveFinalizer,
    /// Remembers in a ConfigMap what the claims look like.
    RememberClaims {
        /// Name of the ConfigMap.
        name: String,
        /// The claims, by policy.
        remembered: BTreeMap<String, Vec<ClaimSeen>>,
    },
    /// Forgets the claims.
    ForgetClaims {
        /// Name of the ConfigMap.
        name: String,
        /// Uid that was seen.
        uid: String,
    },
    /// Gives the controller the right on the namespace's NetworkPolicies, for this run.
    GrantIsolation {
        /// Name of the RoleBinding.
        name: String,
    },
    /// Takes it away again.
    RevokeIsolation {
        /// Name of the RoleBinding.
        name: String,
        /// Uid that was seen.
        uid: String,
    },
    /// Records in a ConfigMap the NetworkPolicies that are removed. It has no owner: it outlives a run that is deleted by force.
    RecordPolicies {
        /// Name of the ConfigMap.
        name: String,
        /// The policies as they are.
        policies: Vec<NetworkPolicySeen>,
    },
    /// Deletes a record, when all that stands in it is back.
    ForgetPolicies {
        /// Name of the ConfigMap.
        name: String,
        /// Uid that was seen.
        uid: String,
    },
    /// Creates a NetworkPolicy: one that isolates, or one of the record.
    CreatePolicy(NewNetworkPolicy),
    /// Deletes a NetworkPolicy: one that stands in the record, or one that isolates.
    DeletePolicy {
        /// Name.
        name: String,
        /// Uid that was seen.
        uid: String,
        /// Version that was seen, which the record has as well.
        resource_version: String,
    },
    /// Records of a point that it is quarantined, as its bucket was told.
    QuarantinePoint {
        /// Name of the RecoveryPoint.
        name: String,
        /// What the bucket was told.
        mark: TrustMark,
    },
    /// Sets the reclaim policy of a volume.
    SetReclaimPolicy {
        /// Name of the volume.
        volume: String,
        /// Version that was seen.
        resource_version: String,
        /// `Retain` or what it was before.
        policy: String,
    },
    /// Scales a workload.
    Scale(Scale),
    /// Sets the value of one key of a ConfigMap, which has it.
    SetSwitch {
        /// Name of the ConfigMap.
        config_map: String,
        /// Version that was seen.
        resource_version: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Makes the namespace of the run's sandbox.
    CreateSandbox {
        /// Its name.
        name: String,
    },
    /// Gives the sandbox its quota, and those rights in it that the run needs.
    FurnishSandbox {
        /// Its name.
        name: String,
    },
    /// Deletes a sandbox, and all that is in it.
    DeleteSandbox {
        /// Its name.
        name: String,
        /// Uid that was seen, with the label of a sandbox.
        uid: String,
    },
    /// Creates a claim.
    CreateClaim(NewClaim),
    /// Writes or removes the annotation [`crds::reference::BINDING`] of a claim, so that whoever binds claims looks at it.
    AnnotateClaim {
        /// Name of the claim.
        name: String,
        /// Version that was seen.
        resource_version: String,
        /// The annotation's value; absent: it goes.
        value: Option<String>,
    },
    /// Creates a mover Job.
    CreateJob {
        /// Step that it belongs to, without its policy: `Restore`.
        step: &'static str,
        /// The Job.
        job: Box<MoverJob>,
    },
    /// Makes a Job of a CronJob's template, for a check or to replace a credential.
    CreateCheckJob {
        /// Name of the Job.
        name: String,
        /// Policy whose check it is; absent: it replaces a credential.
        policy: Option<String>,
        /// Name of the CronJob.
        cron_job: String,
        /// How long it may take.
        timeout: crds::Span,
    },
    /// Records an emergency capture unless it is recorded.
    RecordPoint(Box<NewPoint>),
    /// Deletes a Job and its pods.
    DeleteJob {
        /// Name.
        name: String,
        /// Uid that was seen.
        uid: String,
    },
    /// Deletes a claim. Destructive: its volume is Retained, its swap recorded, the fence held.
    DeleteClaim {
        /// Name.
        name: String,
        /// Uid that is recorded.
        uid: String,
    },
    /// Deletes a claim that keeps a replaced volume, or one that was restored into in a rehearsal, and with it the volume, whose reclaim policy is
    /// Delete by now.
    ReleaseClaim {
        /// Name.
        name: String,
        /// Uid that was seen.
        uid: String,
    },
    /// Says on a point that it was verified, and what came out.
    StampPoint(Box<Stamp>),
    /// Reserves a volume for a claim that does not exist yet, where the components of the run are.
    PatchVolume {
        /// Name of the volume.
        volume: String,
        /// Version that was seen.
        resource_version: String,
        /// Name of the claim.
        claim: String,
    },
}

/// A claim to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewClaim {
    /// Namespace: the run's, or its sandbox.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    pub owners: Vec<OwnerReference>,
    /// The volume to bind; absent: a new one.
    pub volume: Option<String>,
    /// StorageClass; absent: the cluster's default.
    pub class: Option<String>,
    /// Requested size.
    pub size: String,
    /// Access modes.
    pub access_modes: Vec<String>,
    /// Volume mode.
    pub volume_mode: Option<String>,
}

/// A NetworkPolicy to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewNetworkPolicy {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    pub owners: Vec<OwnerReference>,
    /// Its spec.
    pub spec: serde_json::Value,
}

impl Effect {
    /// Name of the effect as logs, metrics and fail points have it.
    #[must_use]
    pub fn mark(&self) -> String {
        match self {
            Self::CreateExecuted { .. } => "CreateExecuted".into(),
            Self::AddFinalizer => "AddFinalizer".into(),
            Self::RemoveFinalizer => "RemoveFinalizer".into(),
            Self::RememberClaims { .. } => "RememberClaims".into(),
            Self::ForgetClaims { .. } => "ForgetClaims".into(),
            Self::GrantIsolation { .. } => "GrantIsolation".into(),
            Self::RevokeIsolation { .. } => "RevokeIsolation".into(),
            Self::RecordPolicies { .. } => "RecordPolicies".into(),
            Self::ForgetPolicies { .. } => "ForgetPolicies".into(),
            Self::CreatePolicy(_) => "CreatePolicy".into(),
            Self::DeletePolicy { .. } => "DeletePolicy".into(),
            Self::QuarantinePoint { .. } => "QuarantinePoint".into(),
            Self::StampPoint(_) => "StampPoint".into(),
            Self::SetReclaimPolicy { .. } => "SetReclaimPolicy".into(),
            Self::Scale(_) => "Scale".into(),
            Self::SetSwitch { .. } => "SetSwitch".into(),
            Self::CreateSandbox { .. } => "CreateSandbox".into(),
            Self::FurnishSandbox { .. } => "FurnishSandbox".into(),
            Self::DeleteSandbox { .. } => "DeleteSandbox".into(),
            Self::CreateClaim(_) => "CreateClaim".into(),
            Self::AnnotateClaim { .. } => "AnnotateClaim".into(),
            Self::CreateJob { step, .. } => format!("CreateJob/{step}"),
            Self::CreateCheckJob { .. } => "CreateCheckJob".into(),
            Self::RecordPoint(_) => "RecordPoint".into(),
            Self::DeleteJob { .. } => "DeleteJob".into(),
            Self::DeleteClaim { .. } => "DeleteClaims".into(),
            Self::ReleaseClaim { .. } => "ReleaseClaim".into(),
            Self::PatchVolume { .. } => "PatchVolume".into(),
        }
    }
}
