//! What is known of a repository, and the rounds of work on it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Coverage, RepositoryMode};
use crate::job::HeldPoint;
use crate::point::TrustWord;

/// What was found out about a repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRepositoryStatus {
    /// Generation that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The mode in force: the stricter of what the spec and what a seal in the bucket says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RepositoryMode>,
    /// The seal in the bucket, as the last look found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealMark>,
    /// Id of the repository, pinned at the first successful probe: another one in its place is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "uniqueID", length(max = 128))]
    #[serde(rename = "uniqueID")]
    pub unique_id: Option<String>,
    /// Version of the repository's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u32>,
    /// Fingerprint of the key, to be acknowledged in spec.encryption.escrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub key_fingerprint: Option<String>,
    /// The lock in force, e.g. Compliance/720h; None: nothing is locked. NotEnforced: it is asked for, and the bucket keeps
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub lock: Option<String>,
    /// How many different keys open the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_slots: Option<u32>,
    /// What the repository holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The probe under way or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The latest value of the annotation holdfast.dev/requested-at that was acted upon by a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub observed_requested_at: Option<Timestamp>,
    /// The rebuilding of the catalogue under way or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueRound>,
    /// What the bucket was told of points: which are on hold, and whom people trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<MarksRound>,
    /// The maintenance under way or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceRound>,
    /// What of the namespace no policy covers, as it was seen last; absent where it has no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Conditions: Ready, BackendReachable, CredentialsValid, KeyVerified, KeyEscrowed, ConditionalWrites,
    /// ImmutabilityEnforced, MaintenanceHealthy, CatalogueCurrent, MarksRecorded, RequestAccepted, Sealed,
    /// CoverageComplete.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// That a mark in the bucket seals the repository. Only a later mark lifts it, such as that of `holdfast repo unseal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealMark {
    /// Who sealed it.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Why, for people.
    #[schemars(length(max = 256))]
    pub reason: String,
    /// When.
    #[schemars(with = "Time")]
    pub since: Timestamp,
}

/// What a repository holds: what the last good probe counted, and the points recorded in this namespace since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Number of points.
    pub points: u64,
    /// Bytes stored.
    pub bytes: u64,
    /// The same for people: 2.4Gi.
    #[schemars(length(max = 16))]
    pub size: String,
    /// What the last good probe counted.
    #[serde(default)]
    pub counted: Counted,
}

/// What a probe counted in the repository itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// When its result was recorded.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// Number of points.
    pub points: u64,
    /// Bytes stored.
    pub bytes: u64,
}

/// A probe of a repository by a mover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Number of this probe; part of its Job's name.
    pub number: u32,
    /// When it was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// Hash of what it probes of the spec: something else is probed anew at once.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub spec: String,
    /// When its result was recorded; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished: Option<Timestamp>,
    /// Probes failed in a row, for the wait before the next one.
    #[serde(default)]
    pub failures: u32,
}

/// One round of recording the points that lie in the bucket and not here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueRound {
    /// Number of its latest Job; part of that Job's name.
    pub number: u32,
    /// When that Job was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// When its result was recorded; absent while a Job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished: Option<Timestamp>,
    /// Jobs failed in a row, for the wait before the next one.
    #[serde(default)]
    pub failures: u32,
    /// Points that it recorded.
    pub found: u32,
    /// Points of the repository, as the probe counted them that it followed.
    pub counted: u64,
    /// Points that were recorded when it began, then when it ended.
    pub recorded: u64,
}

/// One round of writing down in the bucket which points are on hold, and which are trusted or quarantined, so that they are when the
/// cluster is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarksRound {
    /// Number of its latest Job; part of that Job's name.
    pub number: u32,
    /// When that Job was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// When its result was recorded; absent while a Job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished: Option<Timestamp>,
    /// Jobs failed in a row, for the wait before the next one.
    #[serde(default)]
    pub failures: u32,
    /// What the bucket says since the last good one.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub told: Vec<HeldPoint>,
    /// What the Job that runs makes it say. Written before the Job, so that a restarted controller knows what was told.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub telling: Vec<HeldPoint>,
    /// What was said here of the trust of points when the bucket was last told. Said again it is only after something else was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub trust_told: Vec<SaidOfPoint>,
    /// What the Job that runs tells of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub trust_telling: Vec<SaidOfPoint>,
    /// Ids of points that were verified, which the Job that runs tells. What was told stands in the points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub verified_telling: Vec<String>,
}

/// What people say of the trust of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaidOfPoint {
    /// Its id in the repository.
    #[schemars(length(max = 128))]
    pub point: String,
    /// What is said.
    pub trust: TrustWord,
}

/// One round of maintenance: a mover judges which points no rule keeps, then another removes those that are written down
/// here. So a controller that dies in between goes on with the same ones, and nobody takes a point that is gone for one lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRound {
    /// Number of its latest Job; part of that Job's name.
    pub number: u32,
    /// When that Job was started.
    #[schemars(with = "Time")]
    pub started: Timestamp,
    /// The ids of points that are being removed; absent while they are being judged, and when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub removing: Option<Vec<String>>,
    /// Points that no rule keeps and that the bucket's lock kept in the last round.
    #[serde(default)]
    pub locked: u32,
    /// More are to go than fit one round.
    #[serde(default)]
    pub more: bool,
    /// When its result was recorded; absent while a Job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished: Option<Timestamp>,
    /// Jobs failed in a row, for the wait before the next one.
    #[serde(default)]
    pub failures: u32,
    /// The last slot of the schedule that was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub last_slot: Option<Timestamp>,
    /// The latest value of the annotation holdfast.dev/requested-at that a round was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub asked: Option<Timestamp>,
}
