//! What the controller and a mover Job say to each other: a [`Request`] in, a [`Report`] out.
//!
//! The Request travels as JSON in the environment variable [`REQUEST_ENV`] of the Job's only container; it never
//! holds a secret. Credentials and keys are mounted by Kubernetes at the paths named here, so the controller needs
//! no right to read them. The Report is the container's termination message, [`REPORT_LIMIT`] bytes at most: every
//! list in it is bounded, what is larger stays in the repository. A Job that ended without a Report says nothing
//! about its result: see [`Request::Confirm`].

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Environment variable that carries the [`Request`] as JSON.
pub const REQUEST_ENV: &str = "HOLDFAST_REQUEST";
/// What Kubernetes keeps of a termination message, in bytes.
pub const REPORT_LIMIT: usize = 4096;
/// Directory where the repository's key Secret is mounted; its file is [`KEY_FILE`].
pub const KEY_DIR: &str = "/var/run/holdfast/key";
/// Directory where the escrow key Secret is mounted, when the repository names one; its file is [`KEY_FILE`].
pub const ESCROW_DIR: &str = "/var/run/holdfast/escrow";
/// Key of a repository key Secret, and so the name of the mounted file. One trailing newline is not part of the key.
pub const KEY_FILE: &str = "password";
/// Directory where the CA bundle ConfigMap is mounted, when the repository names one; its file is [`CA_FILE`].
pub const CA_DIR: &str = "/var/run/holdfast/ca";
/// Key of a CA bundle ConfigMap, PEM.
pub const CA_FILE: &str = "ca.crt";
/// Where the volume to capture or to look at is mounted.
pub const SOURCE_DIR: &str = "/var/run/holdfast/source";
/// Where the volume to restore to, or the restored volume to check, is mounted.
pub const TARGET_DIR: &str = "/var/run/holdfast/target";
/// Scratch space for the mirror, an emptyDir on the node's disk.
pub const SCRATCH_DIR: &str = "/var/run/holdfast/scratch";

/// Most collections named in a Report; the point's own record in the repository has all of them.
pub const MAX_COLLECTIONS: usize = 8;
/// Most checks in a Report.
pub const MAX_CHECKS: usize = 12;
/// Most findings named in a Report.
pub const MAX_FINDINGS: usize = 4;
/// Longest free text in a Report, in bytes; longer text is cut at a character and ends in "...".
pub const MAX_TEXT: usize = 600;
/// Longest name or short value in a Report, in bytes.
pub const MAX_WORD: usize = 96;

/// One thing for a mover to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// Open the repository, creating it when the place is empty and no id is expected, and say what it can do.
    Probe {
        /// The repository.
        repository: RepositoryAccess,
    },
    /// Capture the ChromaDB volume mounted at [`SOURCE_DIR`].
    Capture {
        /// The repository.
        repository: RepositoryAccess,
        /// Unique name of this attempt; the commit record carries it, so that [`Request::Confirm`] can look for it.
        attempt: String,
        /// What is captured.
        source: CaptureSource,
    },
    /// Look for the commit record of a capture whose Report was lost.
    Confirm {
        /// The repository.
        repository: RepositoryAccess,
        /// The attempt to look for.
        attempt: String,
    },
    /// Check the volume mounted read-only at [`SOURCE_DIR`] and say what is broken. Reads only; opens no database
    /// in place (SQLite would roll back a hot journal), but a copy in [`SCRATCH_DIR`].
    CheckIntegrity {
        /// Path of the data below the mount, without a leading slash; empty for the mount itself.
        data_path: String,
    },
    /// Restore a point into the volume mounted at [`TARGET_DIR`], which holds nothing but what an earlier attempt
    /// of the same step left.
    Restore {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// The run on whose behalf data is restored: recorded in the repository before the first byte is written, so that
        /// the same run can't be carried out again from another cluster or after its namespace was deleted.
        run: RunMark,
    },
    /// Hold the volume mounted at [`TARGET_DIR`] against the point: every file's digest, the offline structure
    /// check and every collection's fingerprint. Changes nothing.
    VerifyOffline {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// Path of the data below the mount, without a leading slash.
        data_path: String,
    },
    /// Hold a running ChromaDB against the point through its API.
    Validate {
        /// The repository.
        repository: RepositoryAccess,
        /// Id of the point.
        point: String,
        /// Base URL of the server, e.g. `http://chromadb.arxiv.svc:8000`.
        url: String,
    },
}

/// How a mover reaches a repository. Credentials come as the usual AWS environment, the key at [`KEY_DIR`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryAccess {
    /// S3 endpoint URL; absent for AWS itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// S3 region.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Prefix of every object, ending in a slash or empty.
    pub prefix: String,
    /// Whether the bucket stands in the path or in the host name.
    pub addressing: crate::repository::Addressing,
    /// Id that the repository must have. Absent only until the first probe has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_id: Option<String>,
    /// No object may be written; the repository is not created.
    #[serde(default)]
    pub read_only: bool,
}

/// What a capture is taken of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureSource {
    /// Name of the BackupPolicy, which is the identity of the component.
    pub policy: String,
    /// Namespace of the BackupPolicy.
    pub namespace: String,
    /// Name of the claim.
    pub claim: String,
    /// Path of the data below the mount, without a leading slash; empty for the mount itself.
    pub data_path: String,
    /// Image of the ChromaDB container as the pod's status names it (with digest where the runtime knows it).
    pub image: String,
    /// Longest time that writers may be held.
    pub max_writer_pause: SignedDuration,
    /// The policy as it stood, so that a point can be used when no policy is left.
    pub policy_spec: serde_json::Value,
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

/// What a mover says when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Report {
    /// The repository was opened.
    Probed(Probed),
    /// A point was committed, read back and every object it needs was seen.
    Captured(Box<Captured>),
    /// No commit record of this attempt exists.
    NotCommitted,
    /// The volume was looked at.
    Checked(Checked),
    /// The point was restored; every byte was held against its digest.
    Restored(Restored),
    /// The restored volume was held against the point.
    Verified(Verified),
    /// The running server was held against the point.
    Validated {
        /// One entry a check, [`MAX_CHECKS`] at most.
        checks: Vec<CheckResult>,
    },
    /// Nothing was done, or what was done is useless.
    Failed(Failure),
}

/// Result of [`Request::Probe`].
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
    /// Whether of several writers racing for one object exactly one wins.
    pub conditional_writes: bool,
    /// Number of points.
    pub points: u64,
    /// Bytes stored.
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
    /// The instant at which the volume was cut: the lock was just taken.
    pub consistency_time: Timestamp,
    /// The instant at which writers could go on.
    pub released_at: Timestamp,
    /// Longest time that the writers' lock was held, over all attempts.
    pub longest_hold: SignedDuration,
    /// Attempts of the guard; more than one when a flush fell into the window.
    pub attempts: u32,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub new_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Migration levels of the database, e.g. `2/6/10`.
    pub migrations: String,
    /// The first [`MAX_COLLECTIONS`] collections, largest first.
    pub collections: Vec<CollectionSummary>,
    /// Number of collections.
    pub collection_count: u64,
    /// Records in all collections.
    pub records: u64,
    /// What the offline check of the captured bytes found; empty when whole. A point with findings is Quarantined.
    pub findings: Vec<Finding>,
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

/// Result of [`Request::CheckIntegrity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The first [`MAX_FINDINGS`] findings.
    pub findings: Vec<Finding>,
    /// Number of findings.
    pub finding_count: u64,
    /// Migration levels, where the database could be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<String>,
}

/// Result of [`Request::Restore`].
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

/// Result of [`Request::VerifyOffline`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// Why a mover did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The category; its name is the reason of a condition.
    pub reason: FailureReason,
    /// A sentence: what happened, to which object, what to do. [`MAX_TEXT`] bytes at most, without any secret.
    pub message: String,
}

/// Categories of failure. Their names are reasons of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is described by its reason in docs/reasons.md")]
pub enum FailureReason {
    CredentialsMissing,
    AccessDenied,
    BucketUnreachable,
    Throttled,
    KeyMissing,
    KeyMismatch,
    /// The key is empty, too short or a well-known default.
    KeyUnsafe,
    RepositoryReplaced,
    RepositoryMissing,
    FormatTooNew,
    RepositoryDamaged,
    ChromaDBNotFound,
    VersionUnsupported,
    LocksNotShared,
    Torn,
    WriterPauseExceeded,
    SourceUnreadable,
    PointNotFound,
    PointUnreadable,
    TargetNotEmpty,
    IntegrityMismatch,
    NotServing,
    AlreadyExecuted,
    ScratchFull,
    /// The Request could not be read: controller and mover are of different versions.
    InvalidRequest,
    MoverFailed,
}

impl FailureReason {
    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::BucketUnreachable
            | Self::Throttled
            | Self::Torn
            | Self::WriterPauseExceeded
            | Self::ScratchFull
            | Self::NotServing
            | Self::MoverFailed => true,
            Self::CredentialsMissing
            | Self::AccessDenied
            | Self::KeyMissing
            | Self::KeyMismatch
            | Self::KeyUnsafe
            | Self::RepositoryReplaced
            | Self::RepositoryMissing
            | Self::FormatTooNew
            | Self::RepositoryDamaged
            | Self::ChromaDBNotFound
            | Self::VersionUnsupported
            | Self::LocksNotShared
            | Self::SourceUnreadable
            | Self::PointNotFound
            | Self::PointUnreadable
            | Self::TargetNotEmpty
            | Self::IntegrityMismatch
            | Self::AlreadyExecuted
            | Self::InvalidRequest => false,
        }
    }
}

impl Report {
    /// The report as a termination message, [`REPORT_LIMIT`] bytes at most: lists and texts are cut to their bounds first.
    #[must_use]
    pub fn to_message(&self) -> String {
        let mut bounded = self.clone();
        bounded.bound();
        serde_json::to_string(&bounded).expect("a report holds only strings, numbers and times")
    }

    fn bound(&mut self) {
        match self {
            Self::Probed(probed) => {
                cut(&mut probed.id, MAX_WORD);
                cut(&mut probed.key_fingerprint, MAX_WORD);
            }
            Self::Captured(captured) => {
                for word in [&mut captured.point, &mut captured.digest, &mut captured.migrations] {
                    cut(word, MAX_WORD);
                }
                captured.collections.truncate(MAX_COLLECTIONS);
                for collection in &mut captured.collections {
                    for word in [&mut collection.tenant, &mut collection.database, &mut collection.name] {
                        cut(word, 40);
                    }
                    cut(&mut collection.digest, 16);
                }
                bound_findings(&mut captured.findings);
            }
            Self::NotCommitted | Self::Restored(_) => {}
            Self::Checked(checked) => {
                bound_findings(&mut checked.findings);
                if let Some(migrations) = &mut checked.migrations {
                    cut(migrations, MAX_WORD);
                }
            }
            Self::Verified(verified) => bound_findings(&mut verified.findings),
            Self::Validated { checks } => {
                checks.truncate(MAX_CHECKS);
                for check in checks {
                    for word in [&mut check.name, &mut check.expected, &mut check.observed] {
                        cut(word, 64);
                    }
                }
            }
            Self::Failed(failure) => cut(&mut failure.message, MAX_TEXT),
        }
    }
}

fn bound_findings(findings: &mut Vec<Finding>) {
    findings.truncate(MAX_FINDINGS);
    for finding in findings {
        cut(&mut finding.subject, MAX_WORD);
        cut(&mut finding.message, 100);
    }
}

/// Cuts `text` so that its JSON form, escapes included, takes at most `limit` bytes.
fn cut(text: &mut String, limit: usize) {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if (c as u32) < 0x20 => 6,
        c => c.len_utf8(),
    };
    if text.chars().map(escaped).sum::<usize>() <= limit {
        return;
    }
    let mut kept = String::new();
    let mut used = 3;
    for c in text.chars() {
        used += escaped(c);
        if used > limit {
            break;
        }
        kept.push(c);
    }
    kept.push_str("...");
    *text = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Verdict;

    fn hostile(len: usize) -> String {
        "\u{1}\"ä\n".chars().cycle().take(len).collect()
    }

    fn largest_reports() -> Vec<Report> {
        let text = || hostile(5000);
        let findings = || vec![Finding { subject: text(), message: text() }; 100];
        let time: Timestamp = "2026-11-23T09:00:03.123456789Z".parse().unwrap();
        let span = SignedDuration::new(86_399, 999_999_999);
        vec![
            Report::Probed(Probed {
                id: text(),
                format_version: u32::MAX,
                key_fingerprint: text(),
                key_slots: u32::MAX,
                conditional_writes: false,
                points: u64::MAX,
                bytes: u64::MAX,
            }),
            Report::Captured(Box::new(Captured {
                point: text(),
                digest: text(),
                consistency_time: time,
                released_at: time,
                longest_hold: span,
                attempts: u32::MAX,
                bytes: u64::MAX,
                new_bytes: u64::MAX,
                files: u64::MAX,
                migrations: text(),
                collections: vec![
                    CollectionSummary {
                        tenant: text(),
                        database: text(),
                        name: text(),
                        count: u64::MAX,
                        dimension: Some(u32::MAX),
                        digest: text(),
                    };
                    100
                ],
                collection_count: u64::MAX,
                records: u64::MAX,
                findings: findings(),
            })),
            Report::NotCommitted,
            Report::Checked(Checked {
                findings: findings(),
                finding_count: u64::MAX,
                migrations: Some(text()),
            }),
            Report::Restored(Restored { bytes: u64::MAX, files: u64::MAX, reused_bytes: u64::MAX }),
            Report::Verified(Verified {
                files_equal: u64::MAX,
                files: u64::MAX,
                collections_equal: u64::MAX,
                collections: u64::MAX,
                findings: findings(),
            }),
            Report::Validated {
                checks: vec![
                    CheckResult {
                        name: text(),
                        verdict: Verdict::Inconclusive,
                        expected: text(),
                        observed: text()
                    };
                    100
                ],
            },
            Report::Failed(Failure { reason: FailureReason::WriterPauseExceeded, message: text() }),
        ]
    }

    #[test]
    fn the_largest_report_of_every_kind_fits_a_termination_message_and_reads_back() {
        for report in largest_reports() {
            let message = report.to_message();
            assert!(message.len() <= REPORT_LIMIT, "{} bytes: {message}", message.len());
            let back: Report = serde_json::from_str(&message).unwrap();
            assert_eq!(back.to_message(), message);
        }
    }

    #[test]
    fn a_text_that_fits_is_left_alone() {
        let mut text = String::from("exactly");
        cut(&mut text, 7);
        assert_eq!(text, "exactly");
        cut(&mut text, 6);
        assert_eq!(text, "exa...");
    }
}
