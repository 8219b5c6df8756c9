//! What can stop a live capture.

use std::{io, path::PathBuf, time::Duration};

/// Why no consistent mirror was made. The source is untouched in every case.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The directory is not a Chroma data directory: the commonest cause of empty backups.
    #[error(
        "{path} has no chroma.sqlite3; found: {found}. Give the directory that the server persists to (its persist_path), \
         not a parent of it"
    )]
    NotChroma {
        /// The directory that was given.
        path: PathBuf,
        /// What is there instead, a few names.
        found: String,
    },
    /// The file of that name is not an SQLite database.
    #[error(
        "{path} is not an SQLite database: {why}. The source is damaged or not Chroma's; check it with `holdfast check`"
    )]
    NotSqlite {
        /// The database file.
        path: PathBuf,
        /// What was wrong with it.
        why: String,
    },
    /// A database in WAL mode would need its WAL to be captured with it.
    #[error(
        "{path} is in journal mode {mode}, and live capture understands `delete` only. Use capture mode Offline"
    )]
    JournalMode {
        /// The database file.
        path: PathBuf,
        /// The mode found.
        mode: &'static str,
    },
    /// A crashed writer left a journal that must be rolled back first, by the server.
    #[error(
        "{path} was left behind by a writer that crashed and has to be rolled back. Start the server once, which does it, \
         or use capture mode Offline"
    )]
    HotJournal {
        /// The journal.
        path: PathBuf,
    },
    /// Locks on this filesystem do not reach the server, so holding one proves nothing.
    #[error(
        "{path} is on {filesystem}, where file locks do not reach other pods. Use capture mode Snapshot or Offline"
    )]
    LocksNotShared {
        /// The data directory.
        path: PathBuf,
        /// Name of the filesystem.
        filesystem: String,
    },
    /// The mirror would be captured into itself.
    #[error(
        "the mirror {mirror} and the data directory {data} contain one another. Give scratch storage outside of it"
    )]
    MirrorOverlaps {
        /// The mirror.
        mirror: PathBuf,
        /// The source.
        data: PathBuf,
    },
    /// The process that is to hold the lock did not start or does not speak.
    #[error("the process that holds the write lock failed: {why}")]
    LockProcess {
        /// What it did.
        why: String,
    },
    /// Writers kept the lock for the whole wait, or the file cannot be locked at all.
    #[error("no write lock on {db} within {waited:?}: {why}")]
    LockUnavailable {
        /// The database file.
        db: PathBuf,
        /// How long was tried.
        waited: Duration,
        /// SQLite's reason.
        why: String,
    },
    /// Each attempt met a change that the lock should have excluded.
    #[error(
        "every one of {attempts} attempts was torn, the last because {last}. Retry when the server writes less, or use capture mode Snapshot"
    )]
    Torn {
        /// Attempts made.
        attempts: u32,
        /// Why the last was given up.
        last: String,
    },
    /// The comparison under the lock takes longer than writers may be made to wait.
    #[error(
        "writers would have to wait about {needed:?}, but maxWriterPause is {allowed:?}. Raise it, or use capture mode Snapshot"
    )]
    WriterPauseExceeded {
        /// The bound.
        allowed: Duration,
        /// An estimate of what it would take.
        needed: Duration,
    },
    /// A source file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mirror cannot be written.
    #[error("cannot write the mirror's {path}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl GuardError {
    /// One word for metrics and condition reasons.
    pub fn category(&self) -> &'static str {
        match self {
            GuardError::NotChroma { .. } => "NotChroma",
            GuardError::NotSqlite { .. } => "NotSqlite",
            GuardError::JournalMode { .. } => "JournalMode",
            GuardError::HotJournal { .. } => "HotJournal",
            GuardError::LocksNotShared { .. } => "LocksNotShared",
            GuardError::MirrorOverlaps { .. } => "MirrorOverlaps",
            GuardError::LockProcess { .. } => "LockProcess",
            GuardError::LockUnavailable { .. } => "LockUnavailable",
            GuardError::Torn { .. } => "Torn",
            GuardError::WriterPauseExceeded { .. } => "WriterPauseExceeded",
            GuardError::Read { .. } => "SourceUnreadable",
            GuardError::Write { .. } => "MirrorUnwritable",
        }
    }

    /// Whether trying again without a change by somebody is pointless.
    pub fn is_permanent(&self) -> bool {
        match self {
            GuardError::NotChroma { .. }
            | GuardError::NotSqlite { .. }
            | GuardError::JournalMode { .. }
            | GuardError::HotJournal { .. }
            | GuardError::LocksNotShared { .. }
            | GuardError::MirrorOverlaps { .. } => true,
            GuardError::LockProcess { .. }
            | GuardError::LockUnavailable { .. }
            | GuardError::Torn { .. }
            | GuardError::WriterPauseExceeded { .. } => false,
            GuardError::Read { source, .. } | GuardError::Write { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            }
        }
    }
}
