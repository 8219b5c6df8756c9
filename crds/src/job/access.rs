//! Where a mover finds a repository, and what it may do there.

use serde::{Deserialize, Serialize};

use crate::repository::{Addressing, Lock};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RepositoryPlace {
    /// In a bucket. Credentials come as the usual AWS environment.
    S3 {
        /// S3 endpoint URL; absent for AWS itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// S3 region.
        region: String,
        /// Bucket.
        bucket: String,
        /// Prefix of every object, ending in a slash or empty.
        prefix: String,
        /// Whether the bucket stands in the path or in the host name.
        addressing: Addressing,
    },
    /// On a volume, which is mounted at [`REPOSITORY_DIR`](super::REPOSITORY_DIR).
    Volume {
        /// Its claim.
        claim: String,
    },
}

/// How a mover reaches a repository. The key is at [`KEY_DIR`](super::KEY_DIR).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryAccess {
    /// Where it is.
    pub place: RepositoryPlace,
    /// Id that the repository must have. Absent only until the first probe has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_id: Option<String>,
    /// No object may be written; the repository is not created.
    #[serde(default)]
    pub read_only: bool,
    /// spec.mode is Sealed: as if the bucket were sealed by a mark.
    #[serde(default)]
    pub sealed: bool,
    /// What is captured is evidence of an incident, which a sealed repository takes. Set by emergency captures alone.
    #[serde(default)]
    pub evidence: bool,
    /// The lock that everything a capture needs is kept by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
}
