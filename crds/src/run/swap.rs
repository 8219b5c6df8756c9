//! Volumes exchanged under a claim's name, and the claims that keep what was replaced.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Two volumes exchanged under a claim's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Swap {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Claim that the workload names.
    #[schemars(length(max = 253))]
    pub claim: String,
    /// Uid of that claim while it held the old volume; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub claim_uid: Option<String>,
    /// Claim that the new volume was restored under.
    #[schemars(length(max = 253))]
    pub restore_claim: String,
    /// Uid of that claim.
    #[schemars(length(max = 64))]
    pub restore_claim_uid: String,
    /// Claim that keeps the old volume afterwards, where there is one.
    #[schemars(length(max = 253))]
    pub quarantine_claim: String,
    /// The old PersistentVolume; absent: it was lost with its claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub old_volume: Option<String>,
    /// The new PersistentVolume.
    #[schemars(length(max = 253))]
    pub new_volume: String,
    /// Reclaim policy of the new volume before it was set to Retain; put back at the end.
    #[schemars(length(max = 16))]
    pub new_reclaim_policy: String,
    /// Which way: Forth, or Back when the run was cancelled. Back, the old volume is the restored one and the new volume the one of before.
    #[serde(default, skip_serializing_if = "Direction::is_forth")]
    pub direction: Direction,
}

impl Swap {
    /// The volume that the run restored, whichever way it goes.
    #[must_use]
    pub fn restored_volume(&self) -> Option<&str> {
        match self.direction {
            Direction::Forth => Some(&self.new_volume),
            Direction::Back => self.old_volume.as_deref(),
        }
    }

    /// The volume of before the run, where it is left, whichever way it goes.
    #[must_use]
    pub fn original_volume(&self) -> Option<&str> {
        match self.direction {
            Direction::Forth => self.old_volume.as_deref(),
            Direction::Back => Some(&self.new_volume),
        }
    }
}

/// Which way volumes are exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// The restored volume takes the claim's name.
    #[default]
    Forth,
    /// The volume of before takes it again.
    Back,
}

impl Direction {
    fn is_forth(&self) -> bool {
        *self == Self::Forth
    }
}

/// A replaced volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedVolume {
    /// Claim that keeps it.
    #[schemars(length(max = 253))]
    pub claim: String,
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// PersistentVolume.
    #[schemars(length(max = 253))]
    pub volume: String,
    /// Its capacity, which it takes for as long as it is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub size: String,
    /// Until when it is kept; absent: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub keep_until: Option<Timestamp>,
    /// Why it is kept although its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub kept_because: Option<String>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub released: Option<Timestamp>,
}
