//! The child's side of the lock: take SQLite's write lock, say so, keep it until told or until the deadline, and go.
//!
//! The process that runs [`hold_lock`] must never open the database in any other way: the first close of any other
//! descriptor of that file would drop the lock without a word.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

/// Which lock to take, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// The database file.
    pub db: PathBuf,
    /// How long to try while other writers have it.
    pub wait: Duration,
    /// How long to keep it at most. Writers wait all that time.
    pub deadline: Duration,
}

impl LockRequest {
    /// The arguments that [`LockRequest::from_args`] understands, to be put after the command's own.
    pub fn to_args(&self) -> Vec<OsString> {
        vec![
            self.db.clone().into_os_string(),
            self.wait.as_millis().to_string().into(),
            self.deadline.as_millis().to_string().into(),
        ]
    }

    /// Reads the arguments of the child. None when they are not three, or not numbers where numbers are due.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Option<LockRequest> {
        let mut args = args.into_iter();
        let db = PathBuf::from(args.next()?);
        let mut millis = || args.next()?.to_str()?.parse().ok().map(Duration::from_millis);
        let request = LockRequest { db, wait: millis()?, deadline: millis()? };
        args.next().is_none().then_some(request)
    }
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEnd {
    /// The parent asked.
    Asked,
    /// The parent is gone: its end of the pipe closed.
    Closed,
    /// The deadline passed first. Whatever was read meanwhile cannot be trusted.
    Deadline,
}

impl HoldEnd {
    pub(super) fn word(self) -> &'static str {
        match self {
            HoldEnd::Asked => "asked",
            HoldEnd::Closed => "closed",
            HoldEnd::Deadline => "deadline",
        }
    }
}

/// Why the child holds no lock.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// SQLite refused the lock.
    #[error("cannot lock {db}: {source}")]
    Lock {
        /// The database file.
        db: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The parent cannot be told.
    #[error("cannot speak to the process that asked for the lock")]
    Speak(#[from] io::Error),
}

/// Holds the write lock and speaks the protocol: prints `locked <time>`, waits for `release`, end of input or the deadline,
/// rolls back, prints `released <time> <held ms> <why>`. When the lock cannot be had it prints `failed <why>`.
///
/// Assumptions: `clock` is the node's; `input` and `output` are pipes to the parent; nothing else in this process touches the database.
/// Guarantees: the lock is held from before the printed `locked` time until after the printed `released` time. Nothing is
/// ever written to the database.
pub fn hold_lock(
    request: &LockRequest,
    clock: impl Fn() -> Timestamp,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<HoldEnd, HoldError> {
    let connection = match take(request) {
        Ok(connection) => connection,
        Err(source) => {
            writeln!(output, "failed {source}")?;
            return Err(HoldError::Lock { db: request.db.clone(), source });
        }
    };
    let since = Instant::now();
    writeln!(output, "locked {}", clock())?;
    output.flush()?;

    let end = wait_for_word(input, request.deadline);
    let released_at = clock();
    let held = since.elapsed();
    // Closing the connection rolls back whatever happens; nothing was written that could be lost.
    drop(connection);
    writeln!(output, "released {released_at} {} {}", held.as_millis(), end.word())?;
    output.flush()?;
    Ok(end)
}

fn take(request: &LockRequest) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&request.db, flags)?;
    // The last to close a database in WAL mode would move its WAL into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(request.wait)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    Ok(connection)
}

/// A blocking read cannot be given a deadline, so a thread reads and this side waits; the process ends right after.
fn wait_for_word(mut input: impl Read + Send + 'static, deadline: Duration) -> HoldEnd {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut byte = [0u8; 1];
        let end = match input.read(&mut byte) {
            Ok(1) => HoldEnd::Asked,
            Ok(_) | Err(_) => HoldEnd::Closed,
        };
        let _ = tell.send(end);
    });
    told.recv_timeout(deadline).unwrap_or(HoldEnd::Deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_survive_the_way_to_the_child() {
        let request = LockRequest {
            db: "/data/with space/chroma.sqlite3".into(),
            wait: Duration::from_secs(3),
            deadline: Duration::from_millis(250),
        };
        assert_eq!(LockRequest::from_args(request.to_args()), Some(request.clone()));
        assert_eq!(LockRequest::from_args(request.to_args().into_iter().take(2)), None);
        assert_eq!(LockRequest::from_args(["x".into(), "soon".into(), "1".into()]), None);
    }

    #[test]
    fn a_file_that_is_no_database_is_told_to_the_parent() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("chroma.sqlite3");
        std::fs::write(&db, "not a database, but long enough to be taken for a header").unwrap();
        let request =
            LockRequest { db, wait: Duration::from_millis(10), deadline: Duration::from_millis(10) };
        let mut said = Vec::new();
        assert!(hold_lock(&request, || Timestamp::UNIX_EPOCH, io::empty(), &mut said).is_err());
        assert!(String::from_utf8(said).unwrap().starts_with("failed "));
    }
}
