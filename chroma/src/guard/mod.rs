//! Live capture: a mirror of a data directory that a running server is writing to, cut at one instant.
//!
//! [`freeze`] holds the same lock while somebody else cuts the whole volume.
//!
//! The mirror is brought near without any lock, then levelled while a child process holds SQLite's write lock. It refuses
//! to open the source's database with SQLite in this process: POSIX locks die with the first close of any descriptor of the
//! file in the process that holds them, so the lock lives in a process that opens nothing else. Readers of the server
//! are never blocked; writers wait while the lock is held.

mod capture;
mod error;
mod flush;
mod freeze;
mod held;
mod hold;
mod journal;
mod level;
mod mirror;
mod scan;
mod source;

pub use capture::{CaptureOptions, Captured, Moment, capture_live, capture_live_watched};
pub use error::GuardError;
pub use freeze::{FreezeError, Frozen, freeze};
pub use held::{HeldLock, LockCommand, Released};
pub use hold::{HoldEnd, HoldError, LockRequest, hold_lock};
pub use journal::{beside, has_hot_journal};
pub use source::{SourceFacts, inspect_source, require_shared_locks};
