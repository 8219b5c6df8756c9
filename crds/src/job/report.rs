//! What a mover says when it ends. What is larger than a termination message stays in the repository.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Audited, Failure, PointsVerified, Rotated};
use crate::point::{TrustMark, Verification};
use crate::policy::Cut;
use crate::repository::SealMark;
use crate::run::LostRecords;

/// What a mover says when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Report {
    /// The repository was opened.
    Probed(Probed),
    /// A point was committed, read back and every object it needs was seen.
    Captured(Box<Captured>),
    /// What could be read was committed as an emergency capture, read back and every object it needs was seen: [`Captured::emergency`]
    /// is there.
    Preserved(Box<Captured>),
    /// The snapshots are cut.
    Cut(Cut),
    /// The command ran in every pod that was there, and succeeded.
    Ran,
    /// Whether the endpoints answer.
    Diagnosed(Diagnosed),
    /// Whether what connected before an isolation still does.
    IsolationProbed(IsolationProbed),
    /// The capture was left out: by its turn the next one was due.
    LeftOut,
    /// Points of the repository.
    Catalogued(Catalogued),
    /// Which points no rule keeps.
    Judged(Judged),
    /// Points were removed.
    Pruned(Pruned),
    /// What was to be said of points stands in the bucket.
    Marked,
    /// The repository is sealed or unsealed, as was asked.
    Sealed {
        /// The seal, where there is one now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seal: Option<SealMark>,
    },
    /// The report of a run lies in the repository, and was read back.
    ReportWritten {
        /// `sha256:` and the hash of the HTML file.
        digest: String,
    },
    /// No commit record of this attempt exists.
    NotCommitted,
    /// The volume was looked at.
    Checked(Checked),
    /// The objects of a point were written for the next container of the pod.
    Extracted {
        /// How many, the policy included.
        objects: u64,
    },
    /// Whatever was missing exists.
    Recreated(Recreated),
    /// What was asked is replaced, but for what is named.
    Rotated(Rotated),
    /// What people need to see was collected, as far as it could be.
    Collected(Collected),
    /// The names were listed, as far as they could be.
    Inventoried {
        /// How many.
        names: u64,
    },
    /// What was held against the last known good.
    Audited(Box<Audited>),
    /// Lost records were counted, and their ids stored.
    LossCounted(LostRecords),
    /// The point was restored; every byte was held against its digest.
    Restored(Restored),
    /// The restored volume was held against the point.
    Verified(Verified),
    /// Points were restored into scratch space and held against their records.
    PointsVerified(PointsVerified),
    /// The running server was held against the point.
    Validated {
        /// One entry a check, [`MAX_CHECKS`](super::MAX_CHECKS) at most.
        checks: Vec<CheckResult>,
    },
    /// Nothing was done, or what was done is useless.
    Failed(Failure),
}

/// Result of [`Request::Probe`](super::Request::Probe).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// Id of the repository.
    pub id: String,
    /// Version of its format.
    pub format_version: u32,
    /// Fingerprint of the key, e.g. `7c1f-09aa-52d3`.
    pub key_fingerprint: String,
    /// Number of key slots; two or more mean that a second key opens the repository.
    pub key_slots: u32,
    /// Whether of several writers racing for one object exactly one wins; absent when it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional_writes: Option<bool>,
    /// The seal in the bucket, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealMark>,
    /// What came of locking an object, if that was asked and could be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockTried>,
    /// Number of points.
    pub points: u64,
    /// Bytes stored.
    pub bytes: u64,
}

/// What came of locking an object and trying to delete it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LockTried {
    /// It could not be deleted.
    Enforced,
    /// The store shows the lock; whether it holds could not be tried, because the credentials may delete nothing.
    Shown,
    /// It is no use to ask for a lock: why, and what to do.
    NotEnforced(String),
}

/// Result of [`Request::Collect`](super::Request::Collect).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// Logs that were written.
    pub logs: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// How much could not be collected.
    pub failure_count: u64,
    /// What, and why: the first [`MAX_NOT_COLLECTED`](super::MAX_NOT_COLLECTED). All of it stands in `failures.json` beside what was collected.
    pub failures: Vec<String>,
}

/// Result of [`Request::Diagnose`](super::Request::Diagnose): what could be seen from the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosed {
    /// One entry an endpoint, in the order of the request.
    pub endpoints: Vec<EndpointSeen>,
    /// Its network interfaces, as `eth0 up 10.244.0.12`.
    pub interfaces: Vec<String>,
    /// Its routes, as `default via 10.244.0.1 dev eth0`.
    pub routes: Vec<String>,
}

/// Result of [`Request::ProbeIsolation`](super::Request::ProbeIsolation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsolationProbed {
    /// What connected before, as `host:port`; of a probe without a control, what was tried.
    pub connected: Vec<String>,
    /// What of it still connected when the probe ended; empty: two rounds in a row were blocked.
    pub open: Vec<String>,
    /// What became of the connection that was held.
    pub held: crate::run::HeldConnection,
    /// Why nothing connected before, where nothing did.
    pub message: String,
}

/// What came of reaching an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSeen {
    /// A connection was made.
    pub answers: bool,
    /// The first of the addresses that its name resolves to.
    pub addresses: Vec<String>,
    /// How it was reached, or why not, in the resolver's or the network's words.
    pub message: String,
}

/// Result of [`Request::Catalogue`](super::Request::Catalogue).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalogued {
    /// The newest points that were not known, as many as fit.
    pub points: Vec<CataloguedPoint>,
    /// There are more.
    pub more: bool,
}

/// A point that lies in the repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CataloguedPoint {
    /// Name of the BackupPolicy that it was captured for.
    pub policy: String,
    /// Image of the ChromaDB container.
    pub image: String,
    /// Why it is on hold, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether it is trusted, where somebody has said so or the opposite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustMark>,
    /// That it was verified, where the bucket says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What its capture reported.
    pub captured: Captured,
}

/// Result of [`Request::Judge`](super::Request::Judge).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Ids of points that no rule keeps, the oldest first, [`MAX_POINTS`](super::MAX_POINTS) at most.
    pub remove: Vec<String>,
    /// There are more.
    pub more: bool,
}

/// Result of [`Request::Prune`](super::Request::Prune).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Those of the points that are still there: the bucket's lock keeps them.
    pub left: Vec<String>,
    /// When the first of the locks ends that kept something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Bytes that were deleted.
    pub bytes_swept: u64,
    /// Bytes that nothing needs any more and that a later round deletes.
    pub bytes_condemned: u64,
    /// Number of points now.
    pub points: u64,
    /// Bytes stored now.
    pub bytes: u64,
}

/// Result of a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// Id of the point in the repository.
    pub point: String,
    /// Digest of the commit record.
    pub digest: String,
    /// The instant at which the volume was cut: the lock was just taken. Of several volumes or databases the earliest cut.
    pub consistency_time: Timestamp,
    /// The second in which the commit record was stored, by the store's clock: whoever holds the writer's credentials alone can't choose
    /// it. Absent where the store doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
    /// Longest time that a writers' lock was held, over all attempts.
    pub longest_hold: SignedDuration,
    /// Until when the bucket keeps the point, if it was locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub new_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Number of objects of the cluster.
    #[serde(default)]
    pub objects: u64,
    /// What the volumes held.
    pub content: Content,
    /// What the offline check of the captured bytes found; empty when whole. A point with findings is Quarantined.
    pub findings: Vec<Finding>,
    /// What could not be read, where it is an emergency capture. Such a point is Quarantined whatever it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

impl Captured {
    /// What the ChromaDB held, when it was one.
    #[must_use]
    pub fn chroma(&self) -> Option<&CapturedChroma> {
        match &self.content {
            Content::ChromaDb(chroma) => Some(chroma),
            Content::Application(_) => None,
        }
    }
}

/// How an emergency capture came about, and what it has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Emergency {
    /// Whether its files may be of several instants.
    pub torn: Torn,
    /// Bytes that the storage did not give back; the point has zeros in their place.
    pub unreadable_bytes: u64,
    /// Number of ranges of such bytes.
    pub unreadable_count: u64,
    /// The first [`MAX_UNREADABLE`](super::MAX_UNREADABLE) of them; the whole list lies in the point as `evidence/unreadable.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub unreadable: Vec<UnreadableRange>,
    /// Number of files, directories and objects that are not in the point at all.
    pub missed_count: u64,
    /// The first [`MAX_MISSED`](super::MAX_MISSED) of them, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub missed: Vec<String>,
    /// Number of files below `evidence`.
    pub evidence: u64,
}

impl Emergency {
    /// Every byte of the volumes was read, and nothing wrote meanwhile.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unreadable_count == 0 && self.missed_count == 0 && self.torn == Torn::No
    }
}

/// Whether files that were read one after the other may be of several instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Torn {
    /// Nothing wrote meanwhile.
    No,
    /// Something may have written meanwhile; no file was seen to change.
    Unknown,
    /// Files changed while they were read.
    Yes,
}

/// Bytes of a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableRange {
    /// The file, as `claim/path`.
    #[schemars(length(max = 128))]
    pub file: String,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
}

/// What the volumes of a point hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// A ChromaDB.
    ChromaDb(CapturedChroma),
    /// Files of an application.
    Application(CapturedFiles),
}

/// What a captured ChromaDB held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturedChroma {
    /// The instant at which writers could go on.
    pub released_at: Timestamp,
    /// Attempts of the guard; more than one when a flush fell into the window.
    pub attempts: u32,
    /// Migration levels of the database, e.g. `2/6/10`.
    pub migrations: String,
    /// The first [`MAX_COLLECTIONS`](super::MAX_COLLECTIONS) collections, largest first.
    pub collections: Vec<CollectionSummary>,
    /// Number of collections.
    pub collection_count: u64,
    /// Records in all collections.
    pub records: u64,
}

/// What the captured volumes of an application held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturedFiles {
    /// Number of volumes.
    pub volumes: u64,
    /// SQLite databases, each captured under its own lock.
    pub databases: u64,
    /// The first [`MAX_UNSTABLE`](super::MAX_UNSTABLE) files that changed whenever they were read; what the point holds of them may be
    /// of several instants.
    pub unstable: Vec<String>,
    /// Number of such files.
    pub unstable_count: u64,
}

/// One collection of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionSummary {
    /// Tenant.
    #[schemars(length(max = 128))]
    pub tenant: String,
    /// Database.
    #[schemars(length(max = 128))]
    pub database: String,
    /// Name.
    #[schemars(length(max = 512))]
    pub name: String,
    /// Number of records.
    pub count: u64,
    /// Length of a vector; absent while the collection is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u32>,
    /// First 16 hex digits of the order-free keyed digest over ids, vectors, documents and metadata.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// File, collection or record concerned.
    pub subject: String,
    /// What is wrong with it.
    pub message: String,
}

/// Result of [`Request::CheckIntegrity`](super::Request::CheckIntegrity).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The first [`MAX_FINDINGS`](super::MAX_FINDINGS) findings.
    pub findings: Vec<Finding>,
    /// Number of findings.
    pub finding_count: u64,
    /// Migration levels, where the database could be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<String>,
    /// What could not be checked because it could not be read, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<String>,
    /// What repairing the copy that was looked at came to, in a sentence; absent where nothing was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<String>,
}

/// Result of [`Request::Recreate`](super::Request::Recreate).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recreated {
    /// The first [`MAX_OBJECTS`](super::MAX_OBJECTS) objects that were created, as `Secret env`.
    pub created: Vec<String>,
    /// How many were created.
    pub created_count: u64,
    /// How many existed, and were left as they are.
    pub existing: u64,
}

/// Result of [`Request::Restore`](super::Request::Restore).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Bytes of the restored files.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Bytes that were already there and right, after an earlier attempt.
    pub reused_bytes: u64,
}

/// Result of [`Request::VerifyOffline`](super::Request::VerifyOffline).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Files whose digest equals the point's.
    pub files_equal: u64,
    /// Files of the point.
    pub files: u64,
    /// Collections whose count and digest equal the point's.
    pub collections_equal: u64,
    /// Collections of the point.
    pub collections: u64,
    /// How much of the fullest volume is free, in percent; absent where that could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_percent: Option<u8>,
    /// Everything that differs or is broken; empty means verified.
    pub findings: Vec<Finding>,
}

/// One line of the validation checklist, as a mover saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Name, one of the built-in check names.
    pub name: String,
    /// Verdict.
    pub verdict: crate::run::Verdict,
    /// What had to be seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
}
