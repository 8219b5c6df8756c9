//! What a run found before it touched anything: the emergency assessment. Unknown is an answer, with the reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assessed {
    /// What, as `pod/chromadb-0`.
    #[schemars(length(max = 300))]
    pub subject: String,
    /// How it is.
    pub state: Health,
    /// What was seen, or why nothing could be.
    #[schemars(length(max = 256))]
    pub observed: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// As it should not be.
    Bad,
    /// It can't be told.
    Unknown,
    /// As it should be.
    Good,
}

impl Health {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "Bad",
            Self::Unknown => "Unknown",
            Self::Good => "Good",
        }
    }
}
