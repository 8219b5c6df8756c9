//! An SQLite database by SQLite's own rules: its write lock is held by another process while its files are copied, in a rollback
//! mode the database alone, in WAL mode the WAL with it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use chroma::check::complaints_of;
use chroma::guard::{
    GuardError, HeldLock, LockCommand, LockRequest, beside, has_hot_journal, require_shared_locks,
};
use crds::job::FailureReason;

use super::copy::{copied, is_gone};
use crate::capture::{LOCK_WAIT, unreadable, unwritable};
use crate::failure::{Failure, Result};

/// Complaints that are told of one database.
const TOLD: usize = 3;

/// Whether a file begins as an SQLite database does. One that was never written to is empty and none.
pub(super) fn is_one(path: &Path) -> bool {
    let mut start = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && &start == b"SQLite format 3\0"
}

/// How a database was cut.
pub(super) struct Cut {
    /// How long its writers were held, in milliseconds.
    pub(super) held_ms: u64,
    /// Its writer had crashed: its journal was copied with it, and is rolled back by whoever opens it next.
    pub(super) crashed: bool,
}

/// Copies a database as it is at one instant.
pub(super) fn cut(from: &Path, to: &Path, lock: &LockCommand, pause: Duration) -> Result<Cut> {
    if let Some(dir) = from.parent() {
        require_shared_locks(dir)?;
    }
    // Taking the lock would roll the journal back, which is a write to the source.
    if has_hot_journal(from)? {
        plain(from, to)?;
        plain(&beside(from, "-journal"), &beside(to, "-journal"))?;
        return Ok(Cut { held_ms: 0, crashed: true });
    }
    let request = LockRequest { db: from.to_owned(), wait: LOCK_WAIT, deadline: pause };
    let held = HeldLock::acquire(lock, &request)?;
    plain(from, to)?;
    plain(&beside(from, "-wal"), &beside(to, "-wal"))?;
    let released = held.release().map_err(|e| held_too_long(from, pause, e))?;
    Ok(Cut { held_ms: u64::try_from(released.held.as_millis()).unwrap_or(u64::MAX), crashed: false })
}

fn held_too_long(db: &Path, pause: Duration, error: GuardError) -> Failure {
    let told = format!(
        "{} could not be copied while its writers were held ({error}); maxWriterPause is {pause:?}. Raise it, or use capture.offline",
        db.display()
    );
    Failure::new(FailureReason::WriterPauseExceeded, told)
}

/// Copies a file where it exists.
fn plain(from: &Path, to: &Path) -> Result<()> {
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(unreadable(from, &e)),
    };
    let mut target = File::create(to).map_err(|e| unwritable(to, &e))?;
    copied(&mut source, &mut target, from, to).map(drop)
}

/// What SQLite says is wrong with the copy; nothing when it is whole. The copy itself is not opened: that would roll back or move
/// what lies beside it.
pub(super) fn check(copy: &Path, scratch: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(scratch).map_err(|e| unwritable(scratch, &e))?;
    let disposable = scratch.join("database");
    for suffix in ["", "-wal", "-journal"] {
        plain(&beside(copy, suffix), &beside(&disposable, suffix))?;
    }
    let told = match complaints_of(&disposable) {
        Ok(complaints) => complaints,
        Err(e) => vec![format!("it can't be read: {e}")],
    };
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let path = beside(&disposable, suffix);
        match fs::remove_file(&path) {
            Err(e) if !is_gone(&e) => return Err(unwritable(&path, &e)),
            _ => {}
        }
    }
    Ok(told.into_iter().take(TOLD).collect())
}
