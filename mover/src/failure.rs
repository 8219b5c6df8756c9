//! Failures as the contract names them: each failure of the crates below becomes one reason and one sentence. The match
//! arms are complete, so that a new failure below has to be given a reason here.

use std::error::Error;

use chroma::guard::GuardError;
use crds::job::{self, FailureReason};
use engine::Category;

/// Why the work was not done. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The category.
    pub reason: FailureReason,
    /// What happened, to which object, what to do.
    pub message: String,
}

/// A result of the mover.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure of this reason.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// An unexpected failure of `doing`.
    pub fn unexpected(doing: impl std::fmt::Display, error: &dyn Error) -> Self {
        Self::new(FailureReason::MoverFailed, format!("{doing}: {}", sentence(error)))
    }

    /// The same failure while a point was read: what is damaged is this point.
    pub fn while_reading_a_point(self) -> Self {
        match self.reason {
            FailureReason::RepositoryDamaged => Self { reason: FailureReason::PointUnreadable, ..self },
            _ => self,
        }
    }
}

impl From<Failure> for job::Failure {
    fn from(failure: Failure) -> Self {
        Self { reason: failure.reason, message: failure.message }
    }
}

/// An error with its causes, those that repeat what was said left out.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        use engine::Error as E;
        let reason = match &error {
            E::RepositoryMissing { .. } | E::HalfInitialised { .. } | E::NotARepository { .. } => {
                FailureReason::RepositoryMissing
            }
            E::ConfigMissing { .. } | E::NoKeySlot { .. } | E::Damaged { .. } => {
                FailureReason::RepositoryDamaged
            }
            E::NewerFormat { .. } => FailureReason::FormatTooNew,
            E::NotLockable { .. } | E::NotKept { .. } => FailureReason::LockNotEnforced,
            E::WrongPassword { .. } => FailureReason::KeyMismatch,
            E::WeakPassword { .. } => FailureReason::KeyUnsafe,
            E::Missing { .. } => FailureReason::PointUnreadable,
            E::HashMismatch { .. } => FailureReason::IntegrityMismatch,
            E::PointNotFound { .. } => FailureReason::PointNotFound,
            E::SourceChanged { .. } => FailureReason::Torn,
            E::ClockBehind { .. } => FailureReason::ClockBehind,
            E::Sealed { .. } => FailureReason::Sealed,
            E::Input(_) | E::AlreadyARepository { .. } => FailureReason::InvalidRequest,
            other => of_category(other.category()),
        };
        Self::new(reason, sentence(&error))
    }
}

impl From<engine::store::StoreError> for Failure {
    fn from(error: engine::store::StoreError) -> Self {
        Self::new(of_category(error.category), sentence(&error))
    }
}

fn of_category(category: Category) -> FailureReason {
    match category {
        // A bucket that is made later is found by the next try, as one that comes back.
        Category::Unreachable | Category::BucketMissing => FailureReason::BucketUnreachable,
        Category::Throttled => FailureReason::Throttled,
        Category::AccessDenied => FailureReason::AccessDenied,
        Category::NotFound | Category::Corrupt => FailureReason::RepositoryDamaged,
        Category::Key => FailureReason::KeyMismatch,
        Category::NewerFormat => FailureReason::FormatTooNew,
        Category::Source => FailureReason::SourceUnreadable,
        Category::Target => FailureReason::TargetNotEmpty,
        Category::Input => FailureReason::InvalidRequest,
        Category::AlreadyExists => FailureReason::MoverFailed,
        Category::Full => FailureReason::NoSpaceLeft,
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        let reason = match &error {
            GuardError::NotChroma { .. } => FailureReason::ChromaDBNotFound,
            GuardError::NotSqlite { .. } | GuardError::HotJournal { .. } | GuardError::Read { .. } => {
                FailureReason::SourceUnreadable
            }
            GuardError::JournalMode { .. } => FailureReason::VersionUnsupported,
            GuardError::LocksNotShared { .. } => FailureReason::LocksNotShared,
            GuardError::Torn { .. } => FailureReason::Torn,
            GuardError::WriterPauseExceeded { .. } => FailureReason::WriterPauseExceeded,
            GuardError::Write { source, .. } if is_full(source) => FailureReason::ScratchFull,
            GuardError::Write { .. }
            | GuardError::MirrorOverlaps { .. }
            | GuardError::LockProcess { .. }
            | GuardError::LockUnavailable { .. } => FailureReason::MoverFailed,
        };
        Self::new(reason, sentence(&error))
    }
}

/// Whether a disk is full, or a quota is.
pub fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failure_says_its_cause_once() {
        let error =
            GuardError::Read { path: "/data/x".into(), source: io::Error::other("input/output error") };
        let failure = Failure::from(error);
        assert_eq!(failure.reason, FailureReason::SourceUnreadable);
        assert_eq!(failure.message, "cannot read /data/x: input/output error");
    }

    #[test]
    fn a_full_scratch_disk_is_told_from_a_broken_one() {
        let write = |kind| GuardError::Write { path: "/scratch".into(), source: io::Error::from(kind) };
        assert_eq!(Failure::from(write(io::ErrorKind::StorageFull)).reason, FailureReason::ScratchFull);
        assert_eq!(Failure::from(write(io::ErrorKind::PermissionDenied)).reason, FailureReason::MoverFailed);
    }

    #[test]
    fn what_is_damaged_while_a_point_is_read_is_that_point() {
        let damaged =
            engine::Error::Damaged { place: "p".into(), object: "packs/1".into(), what: "w".into() };
        let failure = Failure::from(damaged);
        assert_eq!(failure.reason, FailureReason::RepositoryDamaged);
        assert_eq!(failure.while_reading_a_point().reason, FailureReason::PointUnreadable);
    }

    #[test]
    fn a_missing_bucket_is_tried_again_and_a_wrong_key_is_not() {
        let missing = engine::store::StoreError {
            category: Category::BucketMissing,
            action: "list",
            object: String::new(),
            place: "s3://b".into(),
            detail: "NoSuchBucket".into(),
        };
        let failure = Failure::from(engine::Error::from(missing));
        assert!(failure.reason.is_transient(), "{failure:?}");
        let wrong = engine::Error::WrongPassword {
            place: "p".into(),
            slots: 1,
            fingerprint: "7c1f-09aa-52d3".into(),
            damaged: String::new(),
        };
        assert!(!Failure::from(wrong).reason.is_transient());
    }
}
