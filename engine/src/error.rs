//! Everything the engine can fail with, as sentences: what happened, to which object, what to do. Each failure
//! has a [`Category`], which is what retry decisions, exit codes and conditions are made of. Nothing here ever
//! carries a password, a key or a credential.

use std::path::PathBuf;

use crate::store::StoreError;

/// What kind of failure it was, for whoever has to decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// The store does not answer, or answers with a server failure. Trying again may help.
    Unreachable,
    /// The store asks us to slow down. Trying again later helps.
    Throttled,
    /// The credentials are refused, or lack the right for this action.
    AccessDenied,
    /// The bucket or the directory that should hold the repository does not exist.
    BucketMissing,
    /// An object, a point or a repository that was asked for does not exist.
    NotFound,
    /// Something that may exist only once exists already.
    AlreadyExists,
    /// Stored bytes are not what was written: damaged, cut short, or forged.
    Corrupt,
    /// No space left, in the store or in the target.
    Full,
    /// The password opens no key slot, or is too weak to be accepted.
    Key,
    /// The repository was written by a newer version.
    NewerFormat,
    /// A file of the source can't be captured: unreadable, vanished, or changed while it was read.
    Source,
    /// The target of a restore can't be used as asked.
    Target,
    /// The caller asked for something that makes no sense.
    Input,
}

impl Category {
    /// Whether trying again unchanged is pointless.
    pub fn is_permanent(self) -> bool {
        !matches!(self, Self::Unreachable | Self::Throttled | Self::Full | Self::Source)
    }
}

/// A failure of an operation on a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing is there yet.
    #[error(
        "{place} holds no repository: it is empty; create one with init, or check the bucket and the prefix"
    )]
    RepositoryMissing {
        /// Where it was looked for.
        place: String,
    },
    /// Something is there, and it isn't ours.
    #[error(
        "{place} is not a repository: it holds other objects ({example}); use an empty prefix or directory of its own"
    )]
    NotARepository {
        /// Where it was looked for.
        place: String,
        /// One of the foreign objects.
        example: String,
    },
    /// A repository exists where one was to be made.
    #[error("{place} is a repository already: open it instead, nothing was changed")]
    AlreadyARepository {
        /// Where.
        place: String,
    },
    /// A creation was interrupted before it took effect.
    #[error(
        "{place} holds a repository whose creation was interrupted: nothing was stored in it yet; run init again"
    )]
    HalfInitialised {
        /// Where it was looked for.
        place: String,
    },
    /// The repository lost its configuration object.
    #[error(
        "{place} holds points but the object `config` is missing: it was deleted by somebody; restore it from an older object version of the bucket"
    )]
    ConfigMissing {
        /// Where it was looked for.
        place: String,
    },
    /// Written by a newer version.
    #[error(
        "{object} in {place} has format {found}, this version reads up to {supported}: use the newer version that wrote it"
    )]
    NewerFormat {
        /// Where.
        place: String,
        /// The object with the unknown format.
        object: String,
        /// The format it states.
        found: u32,
        /// The newest this version reads.
        supported: u32,
    },
    /// No slot opens with this password.
    #[error(
        "the password opens none of the {slots} key slots of {place}{damaged}: check that the Secret or file belongs to this repository (its fingerprint would be {fingerprint})"
    )]
    WrongPassword {
        /// Where.
        place: String,
        /// How many slots were tried.
        slots: usize,
        /// The fingerprint of the password that was tried.
        fingerprint: String,
        /// Names of slots that could not be tried because they are damaged; empty otherwise.
        damaged: String,
    },
    /// No slot at all is left.
    #[error(
        "{place} has no key slot left (objects keys/*): without one nothing can be decrypted; restore them from older object versions of the bucket"
    )]
    NoKeySlot {
        /// Where.
        place: String,
    },
    /// The password can't be accepted for a new slot.
    #[error("the password can't be used: {why}")]
    WeakPassword {
        /// What is wrong with it, and what to do. Never the password.
        why: &'static str,
    },
    /// Stored bytes are damaged.
    #[error(
        "{object} in {place} is damaged: {what}; points that need it can't be trusted, take another copy or an older object version"
    )]
    Damaged {
        /// Where.
        place: String,
        /// The damaged object.
        object: String,
        /// What is wrong, and whom it concerns.
        what: String,
    },
    /// An object that a point needs is gone or was never there.
    #[error("{needed_by} in {place} needs {what}, which is missing: take another point or another copy")]
    Missing {
        /// Where.
        place: String,
        /// The point or file that needs it.
        needed_by: String,
        /// What is missing.
        what: String,
    },
    /// A point that was asked for doesn't exist.
    #[error("{place} holds no point {id}: list the points to see which there are")]
    PointNotFound {
        /// Where.
        place: String,
        /// The id asked for.
        id: String,
    },
    /// A file of the source can't be read.
    #[error("can't read {path} of the source: {cause}", path = path.display())]
    SourceUnreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file of the source moved under us.
    #[error(
        "{path} of the source changed while it was read ({what}): nothing was committed; capture a copy that stands still",
        path = path.display()
    )]
    SourceChanged {
        /// The path.
        path: PathBuf,
        /// What changed.
        what: &'static str,
    },
    /// The clock of whoever captures goes wrong, or went wrong when the newest point was made.
    #[error(
        "the clock says {now}, but capture {newest} of component {component} began at {begun}: a point made now would not be \
         the newest one. Set the clock right; if it was wrong then, remove that point (holdfast prune --remove {newest})"
    )]
    ClockBehind {
        /// The component.
        component: String,
        /// What the clock says.
        now: jiff::Timestamp,
        /// The newest point.
        newest: String,
        /// When its capture began, by its own clock, which the store's confirms.
        begun: jiff::Timestamp,
    },
    /// The target of a restore holds something.
    #[error(
        "the target {path} is not empty ({example}): restore into an empty directory, or ask for restoring onto what exists",
        path = path.display()
    )]
    TargetNotEmpty {
        /// The target.
        path: PathBuf,
        /// One of the entries found.
        example: String,
    },
    /// The target holds the remains of an interrupted restore.
    #[error(
        "the target {path} holds an interrupted restore: go on with it by restoring onto what exists, or empty it",
        path = path.display()
    )]
    TargetInterrupted {
        /// The target.
        path: PathBuf,
    },
    /// Writing to the target failed.
    #[error("can't write {path} of the target: {cause}", path = path.display())]
    TargetUnwritable {
        /// The path.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// What was written differs from what was captured.
    #[error(
        "{path} of point {point} does not have the bytes that were captured (its whole-file hash differs): don't use it; verify the repository and take another point",
        path = path.display()
    )]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The point.
        point: String,
    },
    /// Another process is at maintenance.
    #[error(
        "{place} is under maintenance by another process ({what}, since {since}): wait until it is through; if it died, its \
         lease ends an hour after it was last renewed"
    )]
    UnderMaintenance {
        /// Where.
        place: String,
        /// What it said it does.
        what: String,
        /// When it last renewed its lease, by the store's clock.
        since: String,
    },
    /// Nobody may remove anything now.
    #[error(
        "{place} is sealed (by {by}, {since:.0}: {reason}): nothing is removed from it and no key of it is changed. Once it is known that \
         nothing in it is evidence any more, unseal it: holdfast repo unseal, with its key"
    )]
    Sealed {
        /// Where.
        place: String,
        /// Who sealed it.
        by: String,
        /// Why.
        reason: String,
        /// When.
        since: jiff::Timestamp,
    },
    /// A lock was asked for where nothing can be locked.
    #[error("objects can't be locked in {place}: {why}; nothing was captured")]
    NotLockable {
        /// Where.
        place: String,
        /// Why, and what to do.
        why: String,
    },
    /// Something that a point needs can't be kept from being deleted.
    #[error(
        "{object} in {place} can't be kept from being deleted until {until}: {why}; so no point was written. Give the credentials \
         s3:PutObjectRetention and s3:GetObjectRetention, see that the bucket has Object Lock, and capture again"
    )]
    NotKept {
        /// Where.
        place: String,
        /// The object.
        object: String,
        /// Until when it has to be kept.
        until: String,
        /// What the store said.
        why: String,
    },
    /// The last key can't be removed.
    #[error(
        "the key {fingerprint} is the last that opens {place}: nothing was removed; add another key first"
    )]
    LastKey {
        /// Where.
        place: String,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The caller asked for nonsense.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// What kind of failure it was.
    pub fn category(&self) -> Category {
        match self {
            Self::Store(e) => e.category,
            Self::RepositoryMissing { .. } | Self::PointNotFound { .. } => Category::NotFound,
            Self::AlreadyARepository { .. } | Self::UnderMaintenance { .. } => Category::AlreadyExists,
            Self::NotARepository { .. }
            | Self::LastKey { .. }
            | Self::ClockBehind { .. }
            | Self::NotLockable { .. }
            | Self::Sealed { .. }
            | Self::Input(_) => Category::Input,
            Self::NotKept { .. } => Category::AccessDenied,
            Self::HalfInitialised { .. } => Category::NotFound,
            Self::ConfigMissing { .. }
            | Self::NoKeySlot { .. }
            | Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::HashMismatch { .. } => Category::Corrupt,
            Self::NewerFormat { .. } => Category::NewerFormat,
            Self::WrongPassword { .. } | Self::WeakPassword { .. } => Category::Key,
            Self::SourceUnreadable { .. } | Self::SourceChanged { .. } => Category::Source,
            Self::TargetUnwritable { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
                Category::Full
            }
            Self::TargetNotEmpty { .. } | Self::TargetInterrupted { .. } | Self::TargetUnwritable { .. } => {
                Category::Target
            }
        }
    }

    /// Whether trying again unchanged is pointless.
    pub fn is_permanent(&self) -> bool {
        self.category().is_permanent()
    }
}

/// A result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
