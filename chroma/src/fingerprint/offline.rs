//! Fingerprints from a directory that is ours.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Row, types::ValueRef};

use super::{
    CollectionFingerprint,
    logged::{LoggedVectors, apply, logged_rows, logged_vectors, set},
    normalise::as_answered,
    record::Record,
    sum::{Key, MultisetSum},
    value::Value,
};
use crate::{
    db::{CollectionEntry, Database, OpenFault, Space, catalog, max_seq_id, queue_row},
    files,
    hnsw::{Elements, Header, LabelIndex},
    pickle::{IdMap, PickleError},
};

/// Why a directory has no fingerprint: it is damaged, and the check says how.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenFault),
    /// The database cannot be read to its end.
    #[error("the database cannot be read to its end")]
    Sqlite(#[from] rusqlite::Error),
    /// A pickle cannot be read.
    #[error("{path} cannot be read")]
    Pickle {
        /// The pickle.
        path: PathBuf,
        /// Why.
        #[source]
        source: PickleError,
    },
    /// A vector file cannot be read.
    #[error("{path} cannot be read")]
    Vectors {
        /// The file or its segment.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OfflineError {
    /// One word for metrics and condition reasons.
    pub fn category(&self) -> &'static str {
        match self {
            OfflineError::Open(_) | OfflineError::Sqlite(_) => "DatabaseUnreadable",
            OfflineError::Pickle { .. } | OfflineError::Vectors { .. } => "VectorsUnreadable",
        }
    }
}

/// The fingerprints of every collection in a directory, by tenant, database and name.
pub fn of_dir(dir: &Path, key: &Key) -> Result<Vec<CollectionFingerprint>, OfflineError> {
    of_dir_with(dir, key, None)
}

/// Like [`of_dir`], for a directory that may need a roll-back, made in a copy in `scratch`. Memory: about 40 bytes a record of
/// the largest collection, and 100 a row of the log. The directory is not changed.
pub fn of_dir_with(
    dir: &Path,
    key: &Key,
    scratch: Option<&Path>,
) -> Result<Vec<CollectionFingerprint>, OfflineError> {
    let database = Database::open(dir, scratch)?;
    of_database(dir, &database, &catalog(database.connection())?, key)
}

/// The same of a database that is open, with the collections that it lists.
pub(crate) fn of_database(
    dir: &Path,
    database: &Database,
    collections: &[CollectionEntry],
    key: &Key,
) -> Result<Vec<CollectionFingerprint>, OfflineError> {
    let connection = database.connection();
    let has_arrays = has_arrays(connection)?;
    collections
        .iter()
        .map(|collection| Reading::open(dir, connection, collection, has_arrays)?.fingerprint(key))
        .collect()
}

fn has_arrays(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection
        .prepare("SELECT 1 FROM sqlite_master WHERE name = 'embedding_metadata_array'")?
        .exists([])?
        && connection.prepare("SELECT 1 FROM embedding_metadata_array LIMIT 1")?.exists([])?)
}

/// Takes every record of a collection, in no order. Returns how many vectors were normalised here.
pub(crate) fn records(
    dir: &Path,
    database: &Database,
    collection: &CollectionEntry,
    take: &mut dyn FnMut(&Record),
) -> Result<u64, OfflineError> {
    let connection = database.connection();
    Reading::open(dir, connection, collection, has_arrays(connection)?)?.each(take)
}

struct Reading<'a> {
    connection: &'a Connection,
    collection: &'a CollectionEntry,
    has_arrays: bool,
    vectors: Option<Vectors>,
    logged: LoggedVectors,
    normalised_here: u64,
}

impl<'a> Reading<'a> {
    fn open(
        dir: &Path,
        connection: &'a Connection,
        collection: &'a CollectionEntry,
        has_arrays: bool,
    ) -> Result<Reading<'a>, OfflineError> {
        let vectors = match &collection.vector_segment {
            Some(segment) => Vectors::open(&dir.join(segment), collection.space)?,
            None => None,
        };
        let table = match &collection.vector_segment {
            Some(segment) => max_seq_id(connection, segment)?,
            None => None,
        };
        let pickled = vectors.as_ref().and_then(|vectors| vectors.ids.numbers().max_seq_id);
        let exists = |id: &str| vectors.as_ref().is_some_and(|vectors| vectors.ids.label(id).is_some());
        let after = table.or(pickled).unwrap_or(0);
        let logged = logged_vectors(connection, collection.topic.as_deref(), after, exists)?;
        Ok(Reading { connection, collection, has_arrays, vectors, logged, normalised_here: 0 })
    }

    fn fingerprint(self, key: &Key) -> Result<CollectionFingerprint, OfflineError> {
        let collection = self.collection;
        let (mut sum, mut count, mut without_vector) = (MultisetSum::default(), 0, 0);
        let normalised_here = self.each(&mut |record| {
            count += 1;
            without_vector += u64::from(record.vector.is_none());
            sum.add(record.number(key));
        })?;
        Ok(CollectionFingerprint {
            tenant: collection.tenant.clone(),
            database: collection.database.clone(),
            collection: collection.name.clone(),
            id: collection.id.clone(),
            count,
            dimension: collection.dimension,
            digest: sum.digest(),
            normalised_here,
            without_vector,
        })
    }

    /// Gives every record to `each`. Returns how many vectors were normalised here.
    fn each(mut self, each: &mut dyn FnMut(&Record)) -> Result<u64, OfflineError> {
        let (connection, collection, has_arrays) = (self.connection, self.collection, self.has_arrays);
        let segment = collection.metadata_segment.as_deref().unwrap_or_default();
        let after = max_seq_id(connection, segment)?.unwrap_or(0);
        let mut rows_left = logged_rows(connection, collection.topic.as_deref(), after)?;
        let mut take = |record: Option<Record>| -> Result<(), OfflineError> {
            let Some(mut record) = record else { return Ok(()) };
            record.vector = self.vector(&record.id)?;
            each(&record);
            Ok(())
        };

        // One statement and not one a record, which costs as much as what it reads. An outer join is a loop in a loop: the rows of a
        // record follow one another.
        let sql = format!(
            "SELECT e.id, e.embedding_id, {COLUMNS} FROM embeddings e LEFT JOIN embedding_metadata m ON m.id = e.id WHERE e.segment_id = ?1"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([segment])?;
        let mut whole = |(id, mut record): (i64, Record)| -> Result<(), OfflineError> {
            if has_arrays {
                read_arrays(connection, id, &mut record)?;
            }
            let logged = rows_left.remove(&record.id).unwrap_or_default();
            take(apply(connection, &logged, Some(record))?)
        };
        let mut read: Option<(i64, Record)> = None;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if read.as_ref().is_none_or(|(known, _)| *known != id) {
                let next = Record { id: text(row, 1)?, ..Record::default() };
                read.replace((id, next)).map_or(Ok(()), &mut whole)?;
            }
            if let Some((_, record)) = read.as_mut().filter(|_| row.get_ref(2) != Ok(ValueRef::Null)) {
                set(record, text(row, 2)?, value(row, 3)?);
            }
        }
        read.map_or(Ok(()), &mut whole)?;
        for logged in rows_left.values() {
            take(apply(connection, logged, None)?)?;
        }
        Ok(self.normalised_here)
    }

    fn vector(&mut self, id: &str) -> Result<Option<Vec<f32>>, OfflineError> {
        match self.logged.get(id) {
            Some(None) => Ok(None),
            Some(Some(seq_id)) => {
                let row = queue_row(self.connection, *seq_id)?;
                let mut vector = row.vector.as_deref().map(floats).unwrap_or_default();
                if self.collection.space == Space::Cosine {
                    as_answered(&mut vector);
                    self.normalised_here += 1;
                }
                Ok(Some(vector))
            }
            None => match &mut self.vectors {
                Some(vectors) => vectors.get(id),
                None => Ok(None),
            },
        }
    }
}

/// The flushed vectors of one segment.
struct Vectors {
    dir: PathBuf,
    ids: IdMap,
    labels: LabelIndex,
    elements: Elements,
    lengths: Option<File>,
    buffer: Vec<u8>,
}

impl Vectors {
    /// None where nothing was flushed yet.
    fn open(dir: &Path, space: Space) -> Result<Option<Vectors>, OfflineError> {
        let pickle = dir.join(files::PICKLE);
        if !pickle.exists() {
            return Ok(None);
        }
        let ids = IdMap::read(&pickle).map_err(|source| OfflineError::Pickle { path: pickle, source })?;
        let unreadable = |source| OfflineError::Vectors { path: dir.to_owned(), source };
        let header = Header::read(&dir.join(files::HEADER)).map_err(unreadable)?;
        if !header.is_plausible() {
            let why =
                io::Error::new(io::ErrorKind::InvalidData, "the header's numbers contradict one another");
            return Err(unreadable(why));
        }
        let elements = Elements::open(&dir.join(files::LEVEL0), header).map_err(unreadable)?;
        let labels = LabelIndex::read(&elements).map_err(unreadable)?;
        let lengths = match space {
            Space::Cosine => Some(File::open(dir.join(files::LENGTHS)).map_err(unreadable)?),
            Space::L2 | Space::Ip => None,
        };
        Ok(Some(Vectors { dir: dir.to_owned(), ids, labels, elements, lengths, buffer: Vec::new() }))
    }

    fn get(&mut self, id: &str) -> Result<Option<Vec<f32>>, OfflineError> {
        let element = self.ids.label(id).and_then(|label| self.labels.element(u64::from(label)));
        let Some(element) = element else { return Ok(None) };
        let unreadable = |source| OfflineError::Vectors { path: self.dir.clone(), source };
        self.elements.vector(element, &mut self.buffer).map_err(unreadable)?;
        let mut vector = floats(&self.buffer);
        if let Some(lengths) = &self.lengths {
            let mut length = [0; 4];
            lengths.read_exact_at(&mut length, 4 * u64::from(element)).map_err(unreadable)?;
            let length = f32::from_le_bytes(length);
            vector.iter_mut().for_each(|value| *value *= length);
        }
        Ok(Some(vector))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.chunks_exact(4).map(float).collect()
}

/// What a row of metadata holds, of either kind.
const COLUMNS: &str = "m.key, m.string_value, m.int_value, m.float_value, m.bool_value";

fn read_arrays(connection: &Connection, id: i64, record: &mut Record) -> rusqlite::Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM embedding_metadata_array m WHERE id = ?1 ORDER BY rowid");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let (key, value) = (text(row, 0)?, value(row, 1)?);
        let list = record.metadata.entry(key).or_insert_with(|| Value::List(Vec::new()));
        if let (Value::List(items), Some(value)) = (list, value) {
            items.push(value);
        }
    }
    Ok(())
}

/// Bytes that are no text, in a damaged database, count as replaced ones: the digest differs, which is the point.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
    })
}

/// The value in four columns from this one on.
fn value(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Value>> {
    if !matches!(row.get_ref(first)?, ValueRef::Null) {
        return Ok(Some(Value::Text(text(row, first)?)));
    }
    if let ValueRef::Integer(number) = row.get_ref(first + 1)? {
        return Ok(Some(Value::Int(number)));
    }
    match row.get_ref(first + 2)? {
        ValueRef::Real(number) => return Ok(Some(Value::Float(number))),
        ValueRef::Integer(number) => return Ok(Some(Value::Float(number as f64))),
        _ => {}
    }
    match row.get_ref(first + 3)? {
        ValueRef::Integer(truth) => Ok(Some(Value::Bool(truth != 0))),
        _ => Ok(None),
    }
}
