//! What a capture is taken of, and how.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{Deserialize, Serialize};

/// What a capture is taken of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureSource {
    /// Name of the BackupPolicy, which is the identity of the component.
    pub policy: String,
    /// Namespace of the BackupPolicy.
    pub namespace: String,
    /// Names of the claims, each mounted at a directory of its name.
    pub claims: Vec<String>,
    /// What is on them.
    pub content: SourceContent,
    /// Longest time that writers may be held.
    pub max_writer_pause: SignedDuration,
    /// The policy as it stood, so that a point can be used when no policy is left.
    pub policy_spec: serde_json::Value,
}

/// Snapshots to ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshots {
    /// Namespace of the claims.
    pub namespace: String,
    /// The VolumeSnapshotClass.
    pub class: String,
    /// What each snapshot is called, by claim; those of later tries are numbered, see [`names::snapshot_of_try`](crate::names::snapshot_of_try).
    pub names: BTreeMap<String, String>,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// Whose they are, so that they go with it.
    pub owner: OwnerReference,
}

/// A ChromaDB whose writers are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldDatabase {
    /// Name of the claim.
    pub claim: String,
    /// Path of the data below the mount, without a leading slash; empty for the mount itself.
    pub data_path: String,
    /// Longest time that writers may be held.
    pub max_writer_pause: SignedDuration,
}

/// One of several captures of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// When it is due; until then it waits.
    pub at: Timestamp,
    /// From then on it is left out: the next one is due.
    pub until: Timestamp,
    /// SQLite's integrity check, which reads the database several times, is part of it.
    pub full_check: bool,
}

/// What is on the volumes of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SourceContent {
    /// A ChromaDB, on the only one.
    ChromaDb {
        /// Path of the data below the mount, without a leading slash; empty for the mount itself.
        data_path: String,
        /// Image of the ChromaDB container as the pod's status names it (with digest where the runtime knows it).
        image: String,
    },
    /// Files of any kind.
    Application,
}
