//! The log: operations that were acknowledged and may not be in the segments yet.

use rusqlite::{Connection, Row, params};

use super::sequence_id;

/// What a log row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Creates a record; does nothing to one that exists.
    Add,
    /// Changes a record that exists; never creates one.
    Update,
    /// Either.
    Upsert,
    /// Removes a record.
    Delete,
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueRow {
    /// Its place in the log.
    pub seq_id: u64,
    /// What it does.
    pub operation: Operation,
    /// To which record.
    pub id: String,
    /// Little-endian floats, where it sets a vector.
    pub vector: Option<Vec<u8>>,
    /// JSON, where it changes metadata or the document.
    pub metadata: Option<String>,
}

const COLUMNS: &str = "seq_id, operation, id, vector, metadata";

/// Calls `each` with the rows of a topic that follow `after`, in order.
pub fn queue_rows<E: From<rusqlite::Error>>(
    connection: &Connection,
    topic: &str,
    after: u64,
    mut each: impl FnMut(QueueRow) -> Result<(), E>,
) -> Result<(), E> {
    let sql =
        format!("SELECT {COLUMNS} FROM embeddings_queue WHERE topic = ?1 AND seq_id > ?2 ORDER BY seq_id");
    let mut statement = connection.prepare_cached(&sql)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![topic, after])?;
    while let Some(row) = rows.next()? {
        each(read(row)?)?;
    }
    Ok(())
}

/// One row by its place.
pub fn queue_row(connection: &Connection, seq_id: u64) -> rusqlite::Result<QueueRow> {
    let sql = format!("SELECT {COLUMNS} FROM embeddings_queue WHERE seq_id = ?1");
    let seq_id = i64::try_from(seq_id).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_row([seq_id], read)
}

fn read(row: &Row<'_>) -> rusqlite::Result<QueueRow> {
    let operation = match row.get(1)? {
        0 => Operation::Add,
        1 => Operation::Update,
        2 => Operation::Upsert,
        3 => Operation::Delete,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    Ok(QueueRow {
        seq_id: sequence_id(row.get_ref(0)?).unwrap_or_default(),
        operation,
        id: row.get(2)?,
        vector: row.get(3)?,
        metadata: row.get(4)?,
    })
}
