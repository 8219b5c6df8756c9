//! What a mover is asked to replace.

use serde::{Deserialize, Serialize};

/// Values of a Secret that are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Name of the rotation.
    pub name: String,
    /// Name of the Secret.
    pub secret: String,
    /// By what.
    pub change: Change,
}

/// A value that a run has replaced, by what it was the value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Name of the Secret.
    pub secret: String,
    /// Its key.
    pub key: String,
}

/// By what a value is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// By a random one.
    Generate {
        /// Key of the Secret.
        key: String,
        /// Length in characters.
        length: u16,
    },
    /// By what another Secret has.
    Copy {
        /// Name of that Secret.
        from: String,
        /// The keys.
        keys: Vec<String>,
    },
    /// By somebody else, afterwards: what these keys have is only kept.
    Elsewhere {
        /// The keys, where it is known which count.
        keys: Vec<String>,
    },
}
