//! `chroma.sqlite3` of a directory that is ours: opened without changing a byte of the directory. Never used on a source that
//! a server has open.

mod catalog;
mod queue;
mod sequence;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

pub use catalog::{CollectionEntry, Space, catalog};
pub use queue::{Operation, QueueRow, queue_row, queue_rows};
pub(crate) use sequence::{max_seq_id, sequence_id};

use crate::files;

/// Why the database cannot be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// There is none: a server would start empty on this directory, without an error.
    #[error("{path} does not exist. A server would start empty here, without an error")]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// SQLite cannot read it.
    #[error("{path} cannot be read by SQLite")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// It has a journal, and no place was given where it could be rolled back without touching the directory.
    #[error(
        "{path} was left by a crash and has to be rolled back; give a scratch directory, where a copy is rolled back"
    )]
    JournalLeft {
        /// The journal.
        path: PathBuf,
    },
    /// The copy for the roll-back could not be made.
    #[error("a copy of the database cannot be made in {path}")]
    Scratch {
        /// The scratch directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// An open database. With a journal left by a crash it is a rolled back copy, removed when this is dropped.
pub struct Database {
    connection: Connection,
    copy: Option<PathBuf>,
}

impl Database {
    /// Opens the database of `dir`. `scratch` is where a copy may be rolled back when a crash left a journal.
    pub fn open(dir: &Path, scratch: Option<&Path>) -> Result<Database, OpenFault> {
        let path = dir.join(files::DATABASE);
        if !path.is_file() {
            return Err(OpenFault::Missing { path });
        }
        let journal = dir.join(format!("{}-journal", files::DATABASE));
        let left = fs::metadata(&journal).is_ok_and(|metadata| metadata.len() > 0);
        if left {
            let scratch = scratch.ok_or(OpenFault::JournalLeft { path: journal.clone() })?;
            return Database::open_copy(&path, &journal, scratch);
        }
        let connection = open_immutable(&path).map_err(|source| OpenFault::Sqlite { path, source })?;
        Ok(Database { connection, copy: None })
    }

    fn open_copy(path: &Path, journal: &Path, scratch: &Path) -> Result<Database, OpenFault> {
        let copy = scratch.join(format!("rolled-back-{}", std::process::id()));
        let made = fs::create_dir_all(&copy)
            .and_then(|()| fs::copy(path, copy.join(files::DATABASE)))
            .and_then(|_| fs::copy(journal, copy.join(format!("{}-journal", files::DATABASE))));
        if let Err(source) = made {
            let _ = fs::remove_dir_all(&copy);
            return Err(OpenFault::Scratch { path: scratch.to_owned(), source });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(copy.join(files::DATABASE), flags).and_then(|connection| {
            connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))?;
            prepare(connection)
        });
        match opened {
            Ok(connection) => Ok(Database { connection, copy: Some(copy) }),
            Err(source) => {
                let _ = fs::remove_dir_all(&copy);
                Err(OpenFault::Sqlite { path: path.to_owned(), source })
            }
        }
    }

    /// The connection, for reading.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a journal had to be rolled back, in a copy.
    pub fn was_rolled_back(&self) -> bool {
        self.copy.is_some()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            let _ = fs::remove_dir_all(copy);
        }
    }
}

/// `immutable` keeps SQLite from making locks, journals or shared memory beside the file.
fn open_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1&mode=ro");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(uri, flags)?)
}

/// A bounded cache, and temporary tables in memory only: nothing is left beside the file.
fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    connection.execute_batch("PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
