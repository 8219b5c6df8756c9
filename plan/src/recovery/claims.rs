//! Claims and volumes as one look shows them, and what a run remembers of those that it replaces.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};

/// A claim. Also the form in which a run remembers the claim that it replaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSeen {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Version that was seen. What is remembered has none: it is gone by then.
    #[serde(skip)]
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    pub owners: Vec<OwnerReference>,
    /// Name of its volume.
    pub volume: Option<String>,
    /// It is bound.
    pub bound: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// StorageClass.
    pub class: Option<String>,
    /// Requested size, as written.
    pub size: String,
    /// Access modes.
    pub access_modes: Vec<String>,
    /// Volume mode.
    pub volume_mode: Option<String>,
    /// Who used it, in what a run remembers; the pod that told is gone by then.
    pub used_by: Option<UsedBy>,
}

/// User and groups of the process that owns the files of a claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsedBy {
    /// User id.
    pub uid: Option<i64>,
    /// Group id.
    pub gid: Option<i64>,
    /// Further groups.
    pub groups: Vec<i64>,
}

/// A PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeen {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Version that was seen.
    pub resource_version: String,
    /// The claim that it belongs to.
    pub claim: Option<ClaimOf>,
    /// Reclaim policy.
    pub reclaim: String,
    /// Phase: Available, Bound, Released, Failed.
    pub phase: String,
    /// StorageClass.
    pub class: Option<String>,
    /// Capacity, as written.
    pub size: String,
}

/// The claim that a volume belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOf {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid; absent when the volume is reserved for a claim that does not exist yet.
    pub uid: Option<String>,
}

/// What the run remembers of the claims it replaces, and whether its fence around their names holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Uid.
    pub uid: String,
    /// The claims as they were, by policy.
    pub remembered: BTreeMap<String, Vec<ClaimSeen>>,
    /// Whether the fence was found to hold at this look.
    pub proof: Proof,
}

/// Whether a pod that mounts a fenced claim is refused, tried at this look without creating one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing is fenced, so nothing was tried.
    NotTried,
    /// It is refused, while the same pod with another claim is not.
    Holds,
    /// It is not refused, or every pod is; a sentence.
    Open(String),
}
