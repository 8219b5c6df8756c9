//! Whether a writer of an SQLite database crashed, told from outside: without opening the database.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use super::error::GuardError;

/// The file that SQLite keeps beside a database under this suffix: `-journal`, `-wal`, `-shm`.
pub fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A journal is hot when nobody holds the RESERVED lock that its writer would hold. A writer makes its journal after it took
/// the lock and removes it before it lets go, so the same journal, seen between two looks at a free lock, has no writer.
pub fn has_hot_journal(db: &Path) -> Result<bool, GuardError> {
    let journal = beside(db, "-journal");
    let file = File::open(db).map_err(|source| GuardError::Read { path: db.to_owned(), source })?;
    let first = identity(&journal)?;
    if first.is_none() || reserved(&file, db)? {
        return Ok(false);
    }
    let between = identity(&journal)?;
    if reserved(&file, db)? {
        return Ok(false);
    }
    Ok(between == first && identity(&journal)? == first)
}

fn identity(journal: &Path) -> Result<Option<(u64, i64, i64)>, GuardError> {
    match fs::metadata(journal) {
        Ok(metadata) if metadata.len() == 0 => Ok(None),
        Ok(metadata) => Ok(Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(GuardError::Read { path: journal.to_owned(), source }),
    }
}

/// SQLite's RESERVED byte: one past the pending byte at 1 GiB.
const RESERVED_BYTE: u64 = 0x4000_0001;

fn reserved(file: &File, db: &Path) -> Result<bool, GuardError> {
    let question = Flock {
        start: RESERVED_BYTE,
        length: 1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    fcntl_getlk(file, &question)
        .map(|holder| holder.is_some())
        .map_err(|error| GuardError::Read { path: db.to_owned(), source: error.into() })
}
