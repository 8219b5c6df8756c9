//! What a request is about: points, components, checks and runs, as far as a mover needs to know them.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::point::{TrustReason, TrustWord};

/// What is kept of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRules {
    /// Name of the BackupPolicy, which is the identity of the component.
    pub policy: String,
    /// What is kept.
    pub retention: crate::retention::Retention,
    /// IANA zone whose hours, days and weeks count.
    pub time_zone: String,
}

/// A point on hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldPoint {
    /// Its id in the repository.
    #[schemars(length(max = 128))]
    pub point: String,
    /// Why, for people.
    #[schemars(length(max = 256))]
    pub reason: String,
}

/// What is said of the trust of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointTrust {
    /// Its id in the repository.
    pub point: String,
    /// What is said.
    pub word: TrustWord,
    /// Why.
    pub reason: TrustReason,
    /// Who says it: `run/breach-2026-11-23`.
    pub by: String,
}

/// A point that was restored and found as captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedPoint {
    /// Its id in the repository.
    pub point: String,
    /// Who found that: `run/backup-verification-20261129-090000`.
    pub by: String,
    /// When.
    pub at: jiff::Timestamp,
}

/// A URL that has to be answered with a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Name of the check.
    pub name: String,
    /// URL of a GET.
    pub url: String,
    /// The status that is wanted.
    pub status: u16,
    /// How long it may take to come true.
    pub patience: SignedDuration,
}

/// A mail that a server has to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestMail {
    /// Name of the check.
    pub name: String,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whose mail it is.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What sends it, for whoever reads it.
    pub by: String,
    /// How long it may take to come true.
    pub patience: SignedDuration,
}

/// Identity of a run in the repository's replay guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunMark {
    /// Namespace of the run.
    pub namespace: String,
    /// Name of the run.
    pub name: String,
    /// Uid of the run.
    pub uid: String,
    /// Hash of the run's spec without incident texts; see [`crate::run::RecoveryRunSpec::identity_hash`].
    pub spec_hash: String,
}
