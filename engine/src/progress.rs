//! How far an operation is, told to whoever wants to know.

use std::sync::Arc;

/// A moment of a running operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files finished.
    pub files: u64,
    /// Bytes of files gone through.
    pub bytes: u64,
    /// Bytes written: to the store in a capture, to the target in a restore.
    pub bytes_written: u64,
    /// Bytes there are in all, where that is known: in a restore and a verification.
    pub bytes_total: Option<u64>,
}

/// Called now and then, from any thread; must return quickly.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// Tells nobody.
pub fn silent() -> ProgressSink {
    Arc::new(|_| {})
}
