//! What of a damaged database can be made anew from what is whole: its indices. For copies alone; it refuses nothing, so whoever calls it answers
//! for what it is called on.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::files::DATABASE;

/// Why indices could not be built anew.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RepairError(#[from] rusqlite::Error);

/// Builds every index of the database in `dir` anew from the rows that it is about, and every full-text index from the texts that it keeps
/// itself. A hot journal is rolled back by it, as by anybody who opens a database.
///
/// # Errors
/// When the database can't be opened, or what an index is about can't be read.
pub fn rebuild_indices(dir: &Path) -> Result<(), RepairError> {
    let connection = Connection::open_with_flags(dir.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let texts: Vec<String> = connection
        .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%fts5%'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in texts {
        let table = table.replace('"', "\"\"");
        connection.execute_batch(&format!("INSERT INTO \"{table}\"(\"{table}\") VALUES('rebuild')"))?;
    }
    connection.execute_batch("REINDEX")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::complaints_of;

    #[test]
    fn a_broken_index_and_a_full_text_index_that_forgot_its_words_are_built_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX by_name ON rows (name);
             CREATE VIRTUAL TABLE texts USING fts5(content);
             INSERT INTO rows (name) VALUES ('a'), ('b'); INSERT INTO texts VALUES ('a word'), ('another');
             DELETE FROM texts_idx; DELETE FROM texts_data WHERE id > 10;
             PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET sql = 'CREATE INDEX by_name ON rows (name DESC)' WHERE name = 'by_name';",
        )
        .unwrap();
        drop(db);
        assert!(!complaints_of(&path).unwrap().is_empty());
        rebuild_indices(dir.path()).unwrap();
        assert_eq!(complaints_of(&path).unwrap(), Vec::<String>::new());
        let db = Connection::open(&path).unwrap();
        let found: i64 =
            db.query_row("SELECT count(*) FROM texts WHERE texts MATCH 'word'", [], |r| r.get(0)).unwrap();
        assert_eq!(found, 1);
    }

    #[test]
    fn what_is_no_database_is_told_and_made_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(rebuild_indices(dir.path()).is_err());
        assert!(!dir.path().join(DATABASE).exists());
    }
}
