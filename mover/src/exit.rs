//! How the process ends: one code a kind of remedy. Scripts and `podFailurePolicy` depend on the numbers.

use std::process::ExitCode;

use crds::job::FailureReason;

/// The exit codes, for the Job and the command line alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that no other code names; worth another try.
    Failed = 1,
    /// The command, its arguments or the Request make no sense.
    Usage = 2,
    /// The key is missing, wrong or unsafe.
    Key = 3,
    /// The store's credentials, or a server's, are missing or lack a right, or the store can't lock what was to be locked.
    Denied = 4,
    /// The store doesn't answer, asks to slow down, or the bucket doesn't exist; worth another try.
    Unreachable = 5,
    /// The repository or the point isn't there, or the repository is another one.
    Missing = 6,
    /// Stored or restored bytes are not what was captured, or a check found damage.
    Damaged = 7,
    /// The source isn't a ChromaDB, can't be read, or can't be captured live.
    Source = 8,
    /// The capture was torn, the source changed meanwhile, or writers would be held too long; worth another try.
    Torn = 9,
    /// The target isn't empty or can't be written.
    Target = 10,
    /// The repository's format is newer than this version.
    Newer = 11,
    /// The run was carried out before.
    Refused = 12,
    /// The ChromaDB server doesn't serve; worth another try.
    NotServing = 13,
    /// No space left; worth another try.
    Full = 14,
    /// The clock is behind the newest point.
    Clock = 15,
    /// The point is quarantined.
    Quarantined = 16,
    /// The repository is sealed.
    Sealed = 17,
    /// A person interrupted it.
    Interrupted = 130,
    /// It was asked to end.
    Terminated = 143,
}

/// The table that `--help` prints.
pub const HELP: &str = "Exit codes:
   0  done
   1  failed, worth another try
   2  the command or its arguments make no sense
   3  the key is missing, wrong or unsafe
   4  the store's credentials are missing or lack a right, or it can't lock objects
   5  the store doesn't answer or the bucket doesn't exist
   6  the repository or the point isn't there
   7  damage: stored or restored bytes are not what was captured, or a check found something
   8  the source is no ChromaDB, unreadable, or can't be captured live
   9  the capture was torn, the source changed meanwhile, or writers would be held too long
  10  the target isn't empty or can't be written
  11  the repository was written by a newer version
  12  the run was carried out before
  13  the ChromaDB server doesn't serve
  14  no space left: in the repository, the target or the scratch space
  15  the clock is behind the newest point of the component
  16  the point is quarantined
  17  the repository is sealed
 130  interrupted
 143  terminated";

impl Exit {
    /// The code of a failure.
    pub fn of(reason: FailureReason) -> Self {
        match reason {
            FailureReason::InvalidRequest => Self::Usage,
            FailureReason::KeyMissing | FailureReason::KeyMismatch | FailureReason::KeyUnsafe => Self::Key,
            FailureReason::CredentialsMissing
            | FailureReason::AccessDenied
            | FailureReason::ServerAccessDenied
            | FailureReason::LockNotEnforced => Self::Denied,
            FailureReason::BucketUnreachable | FailureReason::Throttled => Self::Unreachable,
            FailureReason::RepositoryReplaced
            | FailureReason::RepositoryMissing
            | FailureReason::PointNotFound => Self::Missing,
            FailureReason::RepositoryDamaged
            | FailureReason::PointUnreadable
            | FailureReason::IntegrityMismatch => Self::Damaged,
            FailureReason::ChromaDBNotFound
            | FailureReason::ChromaDBFound
            | FailureReason::VersionUnsupported
            | FailureReason::LocksNotShared
            | FailureReason::SnapshotRefused
            | FailureReason::SourceUnreadable => Self::Source,
            FailureReason::Torn | FailureReason::WriterPauseExceeded | FailureReason::SnapshotFailed => {
                Self::Torn
            }
            FailureReason::TargetNotEmpty => Self::Target,
            FailureReason::FormatTooNew => Self::Newer,
            FailureReason::AlreadyExecuted => Self::Refused,
            FailureReason::PointQuarantined => Self::Quarantined,
            FailureReason::Sealed => Self::Sealed,
            FailureReason::NotServing => Self::NotServing,
            FailureReason::ScratchFull | FailureReason::NoSpaceLeft => Self::Full,
            FailureReason::ClockBehind => Self::Clock,
            FailureReason::HookFailed
            | FailureReason::ObjectRefused
            | FailureReason::CredentialRevoked
            | FailureReason::MoverFailed => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_help() {
        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::Key,
            Exit::Denied,
            Exit::Unreachable,
            Exit::Missing,
            Exit::Damaged,
            Exit::Source,
            Exit::Torn,
            Exit::Target,
            Exit::Newer,
            Exit::Refused,
            Exit::NotServing,
            Exit::Full,
            Exit::Clock,
            Exit::Quarantined,
            Exit::Sealed,
            Exit::Interrupted,
            Exit::Terminated,
        ] {
            let code = exit as u8;
            assert!(HELP.lines().any(|line| line.starts_with(&format!("{code:>4}  "))), "{exit:?}");
        }
    }
}
