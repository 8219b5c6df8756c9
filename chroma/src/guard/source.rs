//! What must be true of a source before anybody waits for it: a Chroma directory, a journal mode whose locks we understand,
//! nothing left by a crash, and a filesystem whose locks reach the server. Never opens the database with SQLite.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use rustix::fs::statfs;

use super::{
    error::GuardError,
    journal::{beside, has_hot_journal},
};
use crate::files;

/// What was seen of a source that may be captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFacts {
    /// The name of the filesystem, or its number where it has none here.
    pub filesystem: String,
    /// Size of the database in bytes.
    pub database_bytes: u64,
}

/// Looks at a data directory and refuses what cannot be captured live. Opens files for reading only and takes no lock.
///
/// `allow_unshared_locks` lets filesystems pass whose locks may not reach the server; then nothing is guaranteed.
pub fn inspect_source(data: &Path, allow_unshared_locks: bool) -> Result<SourceFacts, GuardError> {
    let db = data.join(files::DATABASE);
    let database_bytes = match fs::metadata(&db) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(not_chroma(data)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && data.is_dir() => {
            return Err(not_chroma(data));
        }
        Err(source) => return Err(GuardError::Read { path: db, source }),
    };
    let filesystem = filesystem_of(data)?;
    if !allow_unshared_locks {
        refuse_unshared(data, &filesystem)?;
    }
    refuse_journal_mode(&db)?;
    if has_hot_journal(&db)? {
        return Err(GuardError::HotJournal { path: beside(&db, "-journal") });
    }
    let filesystem = match filesystem {
        Filesystem::Shared(name) | Filesystem::Unshared(name) => name,
    };
    Ok(SourceFacts { filesystem, database_bytes })
}

/// Refuses a directory on a filesystem where a lock does not reach other pods.
pub fn require_shared_locks(dir: &Path) -> Result<(), GuardError> {
    refuse_unshared(dir, &filesystem_of(dir)?)
}

fn refuse_unshared(dir: &Path, filesystem: &Filesystem) -> Result<(), GuardError> {
    match filesystem {
        Filesystem::Shared(_) => Ok(()),
        Filesystem::Unshared(name) => {
            Err(GuardError::LocksNotShared { path: dir.to_owned(), filesystem: name.clone() })
        }
    }
}

fn not_chroma(data: &Path) -> GuardError {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = fs::read_dir(data)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let found = match (names.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    GuardError::NotChroma { path: data.to_owned(), found }
}

enum Filesystem {
    Shared(String),
    Unshared(String),
}

/// Names and numbers of `statfs(2)`. Unknown numbers pass: a local filesystem we never heard of is likelier than a remote one.
fn filesystem_of(data: &Path) -> Result<Filesystem, GuardError> {
    let facts =
        statfs(data).map_err(|error| GuardError::Read { path: data.to_owned(), source: error.into() })?;
    // The field's type differs between architectures; the numbers are 32 bits wide everywhere.
    Ok(filesystem_named(facts.f_type as u32))
}

fn filesystem_named(magic: u32) -> Filesystem {
    match magic {
        0x6969 => Filesystem::Unshared("NFS".into()),
        0x6573_5546 => Filesystem::Unshared("FUSE".into()),
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => Filesystem::Unshared("SMB".into()),
        0x0102_1997 => Filesystem::Unshared("9p".into()),
        0x7375_7245 => Filesystem::Unshared("Coda".into()),
        0x5346_414F => Filesystem::Unshared("AFS".into()),
        0xEF53 => Filesystem::Shared("ext4".into()),
        0x5846_5342 => Filesystem::Shared("xfs".into()),
        0x9123_683E => Filesystem::Shared("btrfs".into()),
        0x2FC1_2FC1 => Filesystem::Shared("zfs".into()),
        0x0102_1994 => Filesystem::Shared("tmpfs".into()),
        0x794C_7630 => Filesystem::Shared("overlayfs".into()),
        other => Filesystem::Shared(format!("{other:#x}")),
    }
}

/// Bytes 18 and 19 of the header are 1 for a rollback journal and 2 for a WAL. A file under a writer is still read right
/// here: the header's first bytes never change.
fn refuse_journal_mode(db: &Path) -> Result<(), GuardError> {
    let mut header = [0u8; 20];
    let read = File::open(db).and_then(|mut file| {
        let mut filled = 0;
        while filled < header.len() {
            match file.read(&mut header[filled..])? {
                0 => break,
                some => filled += some,
            }
        }
        Ok(filled)
    });
    let filled = read.map_err(|source| GuardError::Read { path: db.to_owned(), source })?;
    if filled < header.len() || &header[..16] != b"SQLite format 3\0" {
        let why = if filled == 0 { "it is empty" } else { "its first bytes are not SQLite's" };
        return Err(GuardError::NotSqlite { path: db.to_owned(), why: why.to_owned() });
    }
    match (header[18], header[19]) {
        (1, 1) => Ok(()),
        (2, 2) => Err(GuardError::JournalMode { path: db.to_owned(), mode: "wal" }),
        _ => Err(GuardError::NotSqlite {
            path: db.to_owned(),
            why: "its format version is unknown".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_user_space_filesystems_are_refused_by_their_numbers() {
        for magic in [0x6969, 0x6573_5546, 0xFE53_4D42, 0x0102_1997] {
            assert!(matches!(filesystem_named(magic), Filesystem::Unshared(_)), "{magic:#x}");
        }
        for magic in [0xEF53, 0x9123_683E, 0x0102_1994, 0x1234_5678] {
            assert!(matches!(filesystem_named(magic), Filesystem::Shared(_)), "{magic:#x}");
        }
    }
}
