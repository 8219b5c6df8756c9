//! What the log does to the records that a segment has not applied yet.

use std::collections::HashMap;

use rusqlite::Connection;
use serde_json::value::RawValue;

use super::{
    record::Record,
    value::{Floats, Value, from_json},
};
use crate::db::{Operation, QueueRow, queue_row, queue_rows};

/// The key under which the log and the database keep the document.
pub(super) const DOCUMENT: &str = "chroma:document";
/// And the URI.
pub(super) const URI: &str = "chroma:uri";

/// Where the log says the vector of an id is: a row of it, or nowhere because it is deleted.
pub(super) type LoggedVectors = HashMap<String, Option<u64>>;

/// Follows the rows after `after` as the vector segment would. `exists` tells which ids the segment has.
pub(super) fn logged_vectors(
    connection: &Connection,
    topic: Option<&str>,
    after: u64,
    exists: impl Fn(&str) -> bool,
) -> rusqlite::Result<LoggedVectors> {
    let mut logged = LoggedVectors::new();
    let Some(topic) = topic else { return Ok(logged) };
    queue_rows(connection, topic, after, |row| {
        let present = match logged.get(&row.id) {
            Some(place) => place.is_some(),
            None => exists(&row.id),
        };
        let sets = row.vector.is_some()
            && match row.operation {
                Operation::Add => !present,
                Operation::Update => present,
                Operation::Upsert => true,
                Operation::Delete => false,
            };
        if sets {
            logged.insert(row.id, Some(row.seq_id));
        } else if row.operation == Operation::Delete {
            logged.insert(row.id, None);
        }
        Ok::<_, rusqlite::Error>(())
    })?;
    Ok(logged)
}

/// The rows that the metadata segment has not applied yet, by id, in order.
pub(super) fn logged_rows(
    connection: &Connection,
    topic: Option<&str>,
    after: u64,
) -> rusqlite::Result<HashMap<String, Vec<u64>>> {
    let mut logged: HashMap<String, Vec<u64>> = HashMap::new();
    let Some(topic) = topic else { return Ok(logged) };
    queue_rows(connection, topic, after, |row| {
        logged.entry(row.id).or_default().push(row.seq_id);
        Ok::<_, rusqlite::Error>(())
    })?;
    Ok(logged)
}

/// Applies rows to a record as the metadata segment would. None is a record that is not there.
pub(super) fn apply(
    connection: &Connection,
    rows: &[u64],
    mut record: Option<Record>,
) -> rusqlite::Result<Option<Record>> {
    for seq_id in rows {
        let row = queue_row(connection, *seq_id)?;
        let changes = match (row.operation, &mut record) {
            (Operation::Delete, _) => {
                record = None;
                continue;
            }
            (Operation::Add, Some(_)) | (Operation::Update, None) => continue,
            (Operation::Add | Operation::Upsert, None) => {
                record.insert(Record { id: row.id.clone(), ..Record::default() })
            }
            (Operation::Update | Operation::Upsert, Some(record)) => record,
        };
        change(changes, &row);
    }
    Ok(record)
}

/// Text that is not JSON changes nothing: a server would not have written it.
fn change(record: &mut Record, row: &QueueRow) {
    let Some(text) = &row.metadata else { return };
    let Ok(changes) = serde_json::from_str::<HashMap<String, &RawValue>>(text) else { return };
    for (key, raw) in changes {
        let value = from_json(raw, Floats::AsServer).ok().flatten();
        let value = value.filter(|value| !matches!(value, Value::List(items) if items.is_empty()));
        set(record, key, value);
    }
}

/// Sets or removes one key, wherever it belongs.
pub(super) fn set(record: &mut Record, key: String, value: Option<Value>) {
    let text = |value| match value {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    match (key.as_str(), value) {
        (DOCUMENT, value) => record.document = text(value),
        (URI, value) => record.uri = text(value),
        (_, None) => drop(record.metadata.remove(&key)),
        (_, Some(value)) => drop(record.metadata.insert(key, value)),
    }
}
