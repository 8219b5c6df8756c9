//! The report of a run in its repository. Every attempt to write one has a number of its own, and documents are written once: so a lost answer is
//! no question, the next attempt has other names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The report of a run in its repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// Repository that it is written into.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// The newest that lies there; absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenReport>,
    /// The last attempt, counted from 1 over all revisions.
    pub attempt: u32,
    /// What it tells: a hash over the run.
    #[schemars(length(max = 64))]
    pub tells: String,
    /// How many attempts at that have failed, up to the last one.
    #[serde(default)]
    pub failures: u32,
}

/// A report that lies in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrittenReport {
    /// What the names of its documents begin with, of the kind `report`: `<run>/<uid of the run>/<revision>`. They are `report.html`, `report.md` and
    /// `run.json`.
    #[schemars(length(max = 330))]
    pub path: String,
    /// `sha256:` and the hash of the HTML file.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Its number. Later ones are higher; one whose attempt failed is left out.
    pub revision: u32,
    /// What it tells: a hash over the run.
    #[schemars(length(max = 64))]
    pub tells: String,
}
