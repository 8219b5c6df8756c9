//! What has to hold between the database and the vector files, whatever the moment of the copy:
//!
//! ids of the metadata, with the log's rows that follow its place replayed, are the ids of the vectors, with the log's rows
//! that follow theirs replayed. In 1.x both sides lag behind the log, each by its own distance.

use std::{collections::HashMap, path::Path};

use rusqlite::Connection;

use super::finding::{Finding, Problem};
use crate::{
    db::{CollectionEntry, Operation, max_seq_id, queue_rows},
    files,
    pickle::{IdMap, pick_ids},
};

/// Ids named one by one before they are only counted.
const NAMED: usize = 5;

/// Whether an id is there after the rows were replayed, for every id that they decide. An update decides nothing.
type Replayed = HashMap<String, bool>;

/// Holds the two sides against one another and returns how many log rows are not in the vector files.
pub(super) fn check(
    connection: &Connection,
    collection: &CollectionEntry,
    segment_dir: Option<&Path>,
    ids: Option<&IdMap>,
    findings: &mut Vec<Finding>,
) -> rusqlite::Result<u64> {
    let empty = IdMap::default();
    let pickle = segment_dir.map(|dir| dir.join(files::PICKLE));
    if ids.is_none() && pickle.as_deref().is_some_and(Path::exists) {
        // The pickle was reported already, and nothing can be said about ids that cannot be read.
        return Ok(0);
    }
    let ids = ids.unwrap_or(&empty);
    let metadata_at = place(connection, collection.metadata_segment.as_deref(), None)?;
    let vectors_at = place(connection, collection.vector_segment.as_deref(), ids.numbers().max_seq_id)?;
    let metadata = replay(connection, collection, metadata_at)?;
    let vectors = replay(connection, collection, vectors_at)?;
    let in_vectors = |id: &str| vectors.0.get(id).copied().unwrap_or_else(|| ids.label(id).is_some());

    let mut sides = Sides::default();
    let segment = collection.metadata_segment.as_deref().unwrap_or_default();
    let mut statement =
        connection.prepare_cached("SELECT embedding_id FROM embeddings WHERE segment_id = ?1")?;
    let mut rows = statement.query([segment])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().unwrap_or_default();
        if !metadata.0.contains_key(id) {
            sides.see(id, in_vectors(id));
        }
    }
    for (id, _) in metadata.0.iter().filter(|(_, present)| **present) {
        sides.see(id, in_vectors(id));
    }
    let vectors_removed = vectors.0.keys().filter(|id| ids.label(id).is_some()).count();
    let vectors_present = vectors.0.values().filter(|present| **present).count();
    let vector_count = ids.len() - vectors_removed + vectors_present;

    report_lost(collection, &sides, findings);
    if sides.both < vector_count {
        let ghosts = vector_count - sides.both;
        let in_metadata = |id: &str| -> bool {
            metadata.0.get(id).copied().unwrap_or_else(|| row_exists(connection, segment, id))
        };
        let mut named: Vec<String> = vectors
            .0
            .iter()
            .filter(|(id, present)| **present && !in_metadata(id))
            .map(|(id, _)| id.clone())
            .take(NAMED)
            .collect();
        if let Some(pickle) = &pickle {
            let wanted = |id: &str| !vectors.0.contains_key(id) && !in_metadata(id);
            named.extend(pick_ids(pickle, NAMED - named.len(), wanted).unwrap_or_default());
        }
        report_ghosts(collection, ghosts, named, findings);
    }
    Ok(vectors.1)
}

fn row_exists(connection: &Connection, segment: &str, id: &str) -> bool {
    let sql = "SELECT 1 FROM embeddings WHERE segment_id = ?1 AND embedding_id = ?2";
    connection.prepare_cached(sql).and_then(|mut statement| statement.exists([segment, id])).unwrap_or(false)
}

/// The place in the log up to which a segment has applied it: the table's, and where 0.4 never wrote it, the pickle's.
fn place(connection: &Connection, segment: Option<&str>, pickled: Option<u64>) -> rusqlite::Result<u64> {
    let Some(segment) = segment else { return Ok(0) };
    Ok(max_seq_id(connection, segment)?.or(pickled).unwrap_or(0))
}

fn replay(
    connection: &Connection,
    collection: &CollectionEntry,
    after: u64,
) -> rusqlite::Result<(Replayed, u64)> {
    let mut replayed = Replayed::new();
    let mut rows = 0;
    let Some(topic) = &collection.topic else { return Ok((replayed, 0)) };
    queue_rows(connection, topic, after, |row| {
        rows += 1;
        match row.operation {
            Operation::Add | Operation::Upsert => drop(replayed.insert(row.id, true)),
            Operation::Delete => drop(replayed.insert(row.id, false)),
            Operation::Update => {}
        }
        Ok::<_, rusqlite::Error>(())
    })?;
    Ok((replayed, rows))
}

#[derive(Default)]
struct Sides {
    both: usize,
    lost: u64,
    first_lost: Vec<String>,
}

impl Sides {
    fn see(&mut self, id: &str, has_vector: bool) {
        if has_vector {
            self.both += 1;
            return;
        }
        self.lost += 1;
        if self.first_lost.len() < NAMED {
            self.first_lost.push(id.to_owned());
        }
    }
}

fn report_lost(collection: &CollectionEntry, sides: &Sides, findings: &mut Vec<Finding>) {
    let file = file_of(collection);
    for id in &sides.first_lost {
        let what = format!("{} records have metadata but no vector, this among them", sides.lost);
        findings.push(Finding::new(Problem::IdsDiffer, file.clone(), what).id(id.clone()));
    }
}

fn report_ghosts(
    collection: &CollectionEntry,
    ghosts: usize,
    named: Vec<String>,
    findings: &mut Vec<Finding>,
) {
    let file = file_of(collection);
    let what = format!("{ghosts} vectors have no record in the database");
    if named.is_empty() {
        findings.push(Finding::new(Problem::IdsDiffer, file, what));
        return;
    }
    for id in named {
        findings
            .push(Finding::new(Problem::IdsDiffer, file.clone(), format!("{what}, this among them")).id(id));
    }
}

fn file_of(collection: &CollectionEntry) -> String {
    match &collection.vector_segment {
        Some(segment) => format!("{segment}/{}", files::PICKLE),
        None => files::DATABASE.to_owned(),
    }
}
