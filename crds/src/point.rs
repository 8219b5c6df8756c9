//! RecoveryPoint (`hfpoint`): the record of one capture. The bucket is the truth, the object a cache of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{CollectionSummary, Emergency};
use crate::policy::Origin;
use crate::reference::NameRef;
use crate::run::Verdict;

/// The record of one capture, made by the controller. Deleting it deletes nothing in the repository unless `deletionPolicy` says so.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "RecoveryPoint",
    doc = "The record of one capture, made by the controller. Deleting it deletes nothing in the repository unless deletionPolicy says so.",
    plural = "recoverypoints",
    shortname = "hfpoint",
    category = "holdfast",
    namespaced,
    status = "RecoveryPointStatus",
    derive = "PartialEq",
    selectable = ".spec.policy",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy"),
    printcolumn(name = "Consistent", type_ = "date", json_path = ".status.consistencyTime"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.sizes.size"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].reason"#
    ),
    printcolumn(name = "Origin", type_ = "string", json_path = ".status.origin"),
    printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repositoryRef.name", priority = 1),
    printcolumn(name = "Stored", type_ = "date", json_path = ".status.storedAt", priority = 1),
    printcolumn(name = "New", type_ = "string", json_path = ".status.sizes.newSize", priority = 1),
    printcolumn(
        name = "Collections",
        type_ = "integer",
        json_path = ".status.chromaDB.collectionCount",
        priority = 1
    ),
    printcolumn(name = "Locked-Until", type_ = "string", json_path = ".status.lockedUntil", priority = 1),
    printcolumn(
        name = "Writer-Pause",
        type_ = "string",
        json_path = ".status.chromaDB.writerPause",
        priority = 1
    ),
    printcolumn(name = "Hold", type_ = "string", json_path = ".spec.hold.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.policy == oldSelf.policy && self.repositoryRef == oldSelf.repositoryRef && self.id == oldSelf.id",
    "message": "a RecoveryPoint can't be changed, except hold, trust and deletionPolicy; it records what the repository holds"}]))]
pub struct RecoveryPointSpec {
    /// Name of the policy that captured it; the policy may be gone.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// The repository that holds it.
    pub repository_ref: NameRef,
    /// Id of the point in the repository.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// What becomes of the point in the repository when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Keeps the point from being removed by retention, until it is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Auto: as `status.trust` and the checks say. Quarantined: it is never restored, and never removed. Trusted: a quarantine is lifted; a
    /// point that was damaged when it was captured may be restored by its name, and is never chosen. What is said here is written down in
    /// the repository when it changes; to take it back, say the opposite: Auto lifts no quarantine.
    #[serde(default)]
    pub trust: Trust,
}

/// What people say of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Trust {
    /// Nothing.
    #[default]
    Auto,
    /// It may be restored.
    Trusted,
    /// It may not.
    Quarantined,
}

impl Trust {
    /// What is said, when something is.
    #[must_use]
    pub fn word(self) -> Option<TrustWord> {
        match self {
            Self::Auto => None,
            Self::Trusted => Some(TrustWord::Trusted),
            Self::Quarantined => Some(TrustWord::Quarantined),
        }
    }
}

/// What a mark in the repository says of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrustWord {
    /// It may be restored.
    Trusted,
    /// It may not.
    Quarantined,
}

impl TrustWord {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "Trusted",
            Self::Quarantined => "Quarantined",
        }
    }
}

/// Why it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrustReason {
    /// It was captured when somebody may have been in the system.
    SuspectedBreach,
    /// A person said so.
    ByUser,
    /// It was restored, and is not what was captured.
    VerificationFailed,
}

impl TrustReason {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuspectedBreach => "SuspectedBreach",
            Self::ByUser => "ByUser",
            Self::VerificationFailed => "VerificationFailed",
        }
    }
}

/// The last that a mark in the repository says of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustMark {
    /// What it says.
    pub word: TrustWord,
    /// Why.
    pub reason: TrustReason,
    /// Who said it.
    #[schemars(length(max = 256))]
    pub by: String,
    /// When.
    #[schemars(with = "Time")]
    pub since: Timestamp,
}

/// What becomes of a point in the repository when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays, and is recorded again: the bucket is the truth, retention alone removes from it.
    #[default]
    Retain,
    /// It is removed as well, unless it is the newest, the newest good or the newest verified one of its component, on hold or locked: then
    /// it stays all the same.
    Delete,
}

/// A hold on a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why, for people: INC-2041 evidence.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}

/// What is known of a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPointStatus {
    /// Generation that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Derived from the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PointPhase>,
    /// Why it was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The instant at which the volume was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub consistency_time: Option<Timestamp>,
    /// When the repository's store received it, by the store's own clock: the time that `lastKnownGood` goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub stored_at: Option<Timestamp>,
    /// Digest of the commit record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub digest: Option<String>,
    /// Until when the bucket keeps the point from being deleted, as it was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub locked_until: Option<Timestamp>,
    /// Sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Sizes>,
    /// What ChromaDB held.
    #[serde(default, rename = "chromaDB", skip_serializing_if = "Option::is_none")]
    pub chroma_db: Option<ChromaDbContent>,
    /// What the volumes of an application held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationContent>,
    /// What could not be read, where it is an emergency capture. Such a point is Quarantined: it is never chosen by `latest` or `asOf`,
    /// counts for no objective, and no rule of retention counts or removes it. It stays until it is deleted by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
    /// Number of objects of the cluster that it holds: workloads, Services, ConfigMaps, Secrets and so on.
    #[serde(default)]
    pub objects: u64,
    /// Who held it against what, when, and what came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// The last that the repository's marks say of its trust, as known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustMark>,
    /// Conditions: Ready, Verified, Quarantined.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// In which state a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PointPhase {
    /// Its commit record was read back, every object it needs exists and the offline check found it whole.
    Available,
    /// Never chosen by `latest`, `asOf` or `lastKnownGood`; by its name only when people trust it all the same.
    Quarantined,
}

/// Sizes of a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Bytes of the captured files.
    pub bytes: u64,
    /// Bytes that the capture added to the repository.
    pub new_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// `bytes` for people: 699Mi.
    #[schemars(length(max = 16))]
    pub size: String,
    /// `newBytes` for people.
    #[schemars(length(max = 16))]
    pub new_size: String,
}

/// What ChromaDB held at the consistency time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChromaDbContent {
    /// Migration levels (embeddings queue/metadata/system), which order ChromaDB's versions on disk.
    #[schemars(length(max = 32))]
    pub migrations: String,
    /// Image of the container, by digest where the runtime knows it.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Longest time that writers were held, e.g. 0.18s.
    #[schemars(length(max = 24))]
    pub writer_pause: String,
    /// When writers could go on: what was sent later is not in the point.
    #[schemars(with = "Time")]
    pub released_at: Timestamp,
    /// Number of collections.
    pub collection_count: u64,
    /// Records in all collections.
    pub records: u64,
    /// The largest collections; the repository's own record has all of them.
    #[schemars(length(max = 8))]
    pub collections: Vec<CollectionSummary>,
}

/// What the volumes of an application held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationContent {
    /// Number of volumes.
    pub volumes: u64,
    /// SQLite databases in them, each captured under its own lock.
    pub databases: u64,
    /// Longest time that writers of a database were held, e.g. 0.02s.
    #[schemars(length(max = 24))]
    pub writer_pause: String,
    /// Files that changed whenever they were read, the first of them: what the point holds of them may be of several instants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub unstable: Vec<String>,
    /// Number of such files.
    #[serde(default)]
    pub unstable_count: u64,
}

/// A verification of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What came out.
    pub verdict: Verdict,
    /// When.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// Who: `Capture`, or `run/<name>`.
    #[schemars(length(max = 260))]
    pub by: String,
    /// The repository says so too, so that it is known when the cluster is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}
