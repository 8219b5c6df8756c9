//! Why a mover did not do what it was asked, and whether asking again may help.

use serde::{Deserialize, Serialize};

/// Why a mover did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The category; its name is the reason of a condition.
    pub reason: FailureReason,
    /// A sentence: what happened, to which object, what to do. [`MAX_TEXT`](super::MAX_TEXT) bytes at most, without any secret.
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
    /// A lock is asked for, and the bucket can't keep what a point needs.
    LockNotEnforced,
    ChromaDBNotFound,
    /// A volume of an application holds one: it would be captured torn.
    ChromaDBFound,
    VersionUnsupported,
    LocksNotShared,
    Torn,
    WriterPauseExceeded,
    /// The cluster does not take the snapshot: nothing was asked of the storage.
    SnapshotRefused,
    /// The storage did not cut the snapshot, or it can't be read.
    SnapshotFailed,
    /// A command in a pod failed, or could not be run.
    HookFailed,
    /// The cluster does not take an object of a point.
    ObjectRefused,
    SourceUnreadable,
    ClockBehind,
    PointNotFound,
    PointUnreadable,
    /// A mark in the repository says that it is not to be restored.
    PointQuarantined,
    /// What is missing is a Secret of which the repository says that its values are void.
    CredentialRevoked,
    /// The repository is sealed.
    Sealed,
    TargetNotEmpty,
    IntegrityMismatch,
    NotServing,
    /// The running server refuses the credential, or wants one and none is named.
    ServerAccessDenied,
    AlreadyExecuted,
    ScratchFull,
    NoSpaceLeft,
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
            | Self::SnapshotFailed
            | Self::HookFailed
            | Self::ScratchFull
            | Self::NoSpaceLeft
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
            | Self::LockNotEnforced
            | Self::ChromaDBNotFound
            | Self::ChromaDBFound
            | Self::VersionUnsupported
            | Self::LocksNotShared
            | Self::SnapshotRefused
            | Self::ObjectRefused
            | Self::SourceUnreadable
            | Self::ClockBehind
            | Self::PointNotFound
            | Self::PointUnreadable
            | Self::PointQuarantined
            | Self::CredentialRevoked
            | Self::Sealed
            | Self::TargetNotEmpty
            | Self::IntegrityMismatch
            | Self::ServerAccessDenied
            | Self::AlreadyExecuted
            | Self::InvalidRequest => false,
        }
    }
}
