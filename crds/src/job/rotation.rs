//! What a mover is asked to replace, and what it says of that.

use serde::{Deserialize, Serialize};

use super::MAX_NOT_ROTATED;
use super::message::cut;

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

/// Result of [`Request::Rotate`](super::Request::Rotate).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// Names of the rotations that are done, now or by an earlier attempt.
    pub done: Vec<String>,
    /// Those that are not, the first [`MAX_NOT_ROTATED`](super::MAX_NOT_ROTATED).
    pub refused: Vec<NotRotated>,
}

/// A credential that was not replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRotated {
    /// Name of the rotation.
    pub name: String,
    /// Why, and what to do: a sentence without any value.
    pub why: String,
}

impl Rotated {
    /// Cuts lists and texts to what the largest report has room for.
    pub(super) fn bound(&mut self) {
        self.done.truncate(crate::run::MAX_ROTATIONS);
        self.done.iter_mut().for_each(|name| cut(name, 48));
        self.refused.truncate(MAX_NOT_ROTATED);
        for not in &mut self.refused {
            cut(&mut not.name, 48);
            cut(&mut not.why, 500);
        }
    }
}
