//! What a mover is asked that counts lost records.

use serde::{Deserialize, Serialize};

use super::RepositoryAccess;

/// A count that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossRequest {
    /// The repository.
    pub repository: RepositoryAccess,
    /// What the document is called: `RUN/UID/POLICY`.
    pub document: String,
    /// Id of the point that was restored.
    pub point: String,
    /// Name of the directory below [`SOURCE_DIR`](super::SOURCE_DIR) where the replaced volume is mounted.
    pub claim: String,
    /// Path of the data below it, without a leading slash.
    pub data_path: String,
}
