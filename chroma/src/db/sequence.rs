//! Places in the log.

use rusqlite::{Connection, types::ValueRef};

/// A sequence id: an integer since 1.0, 8 bytes big-endian before, and both in one table after an upgrade.
pub(crate) fn sequence_id(value: ValueRef<'_>) -> Option<u64> {
    match value {
        ValueRef::Integer(number) => u64::try_from(number).ok(),
        ValueRef::Blob(bytes) => bytes.try_into().ok().map(u64::from_be_bytes),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) => None,
    }
}

/// The last log row that is in a segment, by the table.
pub(crate) fn max_seq_id(connection: &Connection, segment: &str) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT seq_id FROM max_seq_id WHERE segment_id = ?1")?;
    let mut rows = statement.query([segment])?;
    match rows.next()? {
        Some(row) => Ok(sequence_id(row.get_ref(0)?)),
        None => Ok(None),
    }
}
