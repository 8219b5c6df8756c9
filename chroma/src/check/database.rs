//! The database by itself.

use std::{error::Error, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::finding::{Finding, Findings, Problem};
use crate::{db::OpenFault, files};

pub(super) fn cannot_be_opened(fault: &OpenFault) -> Finding {
    let problem = match fault {
        OpenFault::Missing { .. } => Problem::DatabaseMissing,
        OpenFault::JournalLeft { .. } => Problem::JournalLeft,
        OpenFault::Sqlite { .. } | OpenFault::Scratch { .. } => Problem::DatabaseUnreadable,
    };
    let why = fault.source().map(|source| format!(": {source}")).unwrap_or_default();
    Finding::new(problem, files::DATABASE, format!("{fault}{why}"))
}

pub(super) fn cannot_be_read(error: &rusqlite::Error) -> Finding {
    Finding::new(Problem::DatabaseUnreadable, files::DATABASE, error.to_string())
}

/// Runs SQLite's integrity check, which also holds every index against its table, and the full-text index's own. Tells
/// whether it ran to its end.
///
/// The full-text index is held against the texts that it keeps itself, never against the records: 0.4 leaves the text of each deleted
/// record in both, and what is there more is no damage.
pub(super) fn check_integrity(connection: &Connection, findings: &mut Findings) -> bool {
    match complaints(connection) {
        Ok(complaints) => {
            for complaint in complaints {
                // SQLite runs the check of virtual tables as part of it; they name themselves in the message.
                let problem = if complaint.contains("fts5") || complaint.contains("embedding_fulltext_search")
                {
                    Problem::FullTextIndex
                } else {
                    Problem::IntegrityCheck
                };
                findings.add(Finding::new(problem, files::DATABASE, complaint));
            }
            true
        }
        Err(error) => {
            findings.add(cannot_be_read(&error));
            false
        }
    }
}

/// What SQLite says of any database. It is opened as its own server would, which rolls back a journal and moves a WAL into it: only
/// for a copy that nobody else needs.
pub fn complaints_of(disposable: &Path) -> rusqlite::Result<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    complaints(&Connection::open_with_flags(disposable, flags)?)
}

fn complaints(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(50)")?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}
