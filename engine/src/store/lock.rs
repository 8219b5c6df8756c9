//! Object Lock, in the words of the engine: whether a store has it, and how long objects are kept by it.

use jiff::Timestamp;

/// Whether a store can keep objects from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectLock {
    /// It can, and would if asked.
    Enabled,
    /// It can't, or it is switched off for this bucket.
    Absent,
    /// The credentials may not ask.
    Unknown,
}

/// Who may shorten a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has a special right.
    Governance,
    /// Nobody, the owner of the account included.
    Compliance,
}

/// How every object is locked when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may shorten it.
    pub mode: LockMode,
    /// Until when it is kept, by the store's clock.
    pub until: Timestamp,
}
