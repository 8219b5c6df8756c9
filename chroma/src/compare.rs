//! What changed between two states of a database, record by record: which ids came, went, or are other records now. Both are directories that are ours.
//! Ids and digests are laid aside in a database in scratch space, so that memory does not grow with the records.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::db::{CollectionEntry, Database, catalog};
use crate::fingerprint::{Key, OfflineError, records};

/// The file in scratch space where ids lie, of one collection at a time.
const ASIDE: &str = "compared.sqlite3";

/// How a collection differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionChange {
    /// Tenant.
    pub tenant: String,
    /// Database.
    pub database: String,
    /// Name.
    pub collection: String,
    /// Whether it is in one of both only.
    pub existence: Existence,
    /// Records that only the later state has.
    pub added: u64,
    /// Records that only the earlier one has.
    pub removed: u64,
    /// Records that are others by the same id.
    pub altered: u64,
    /// Ids of each, in their order, as many as were asked for.
    pub ids: ChangedIds,
    /// Vectors that only a log holds in one of both, and that were normalised here: a server of another build may have done so in its last bit, and
    /// such a record counts as altered.
    #[serde(default)]
    pub normalised_here: u64,
}

impl CollectionChange {
    /// Whether it is the same in both.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.existence == Existence::Both && self.added == 0 && self.removed == 0 && self.altered == 0
    }

    /// `tenant/database/collection`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.database, self.collection)
    }
}

/// In which state a collection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Existence {
    /// In both.
    #[default]
    Both,
    /// In the earlier one only.
    Removed,
    /// In the later one only.
    Added,
}

/// Some ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedIds {
    /// Added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Altered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<String>,
}

/// Why two states can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One of them can't be read.
    #[error("the {which} state can't be read")]
    State {
        /// Which.
        which: &'static str,
        /// Why.
        #[source]
        source: OfflineError,
    },
    /// Scratch space fails.
    #[error("ids can't be laid aside in {path}")]
    Scratch {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// Every collection that differs, by tenant, database and name, with `most` ids of each kind. `scratch` is a directory with room for about 100 bytes a
/// record of the largest collection, and for a copy of what needs a roll-back. Neither directory is changed. Blocks.
///
/// # Errors
/// When a state is damaged, or scratch space fails.
pub fn compare(
    earlier: &Path,
    later: &Path,
    scratch: &Path,
    most: usize,
) -> Result<Vec<CollectionChange>, CompareError> {
    let earlier = State::open("earlier", earlier, &scratch.join("earlier"))?;
    let later = State::open("later", later, &scratch.join("later"))?;
    let mut names: BTreeSet<Name> = BTreeSet::new();
    names.extend(earlier.collections.iter().map(name).chain(later.collections.iter().map(name)));
    let mut changes = Vec::new();
    for name in names {
        let aside = Aside::new(scratch.join(ASIDE))?;
        let (before, normalised_before) = aside.take(&earlier, &name, "a")?;
        let (after, normalised_after) = aside.take(&later, &name, "b")?;
        let (tenant, database, collection) = name;
        let change = CollectionChange {
            tenant,
            database,
            collection,
            existence: match (before, after) {
                (true, false) => Existence::Removed,
                (false, true) => Existence::Added,
                _ => Existence::Both,
            },
            normalised_here: normalised_before + normalised_after,
            ..aside.changes(most)?
        };
        changes.extend(Some(change).filter(|change| !change.is_none()));
    }
    Ok(changes)
}

type Name = (String, String, String);

fn name(entry: &CollectionEntry) -> Name {
    (entry.tenant.clone(), entry.database.clone(), entry.name.clone())
}

struct State<'a> {
    which: &'static str,
    dir: &'a Path,
    database: Database,
    collections: Vec<CollectionEntry>,
}

impl<'a> State<'a> {
    fn open(which: &'static str, dir: &'a Path, scratch: &Path) -> Result<Self, CompareError> {
        let failed = |source: OfflineError| CompareError::State { which, source };
        let database = Database::open(dir, Some(scratch)).map_err(|e| failed(e.into()))?;
        let collections = catalog(database.connection()).map_err(|e| failed(e.into()))?;
        Ok(Self { which, dir, database, collections })
    }
}

/// Ids and digests of one collection in both states.
struct Aside {
    path: PathBuf,
    connection: Connection,
}

impl Aside {
    fn new(path: PathBuf) -> Result<Self, CompareError> {
        // What an earlier collection, or an earlier program, left.
        let _ = std::fs::remove_file(&path);
        let opened = Connection::open(&path).and_then(|connection| {
            // Nothing of it outlives this program.
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
                 CREATE TABLE a (id TEXT PRIMARY KEY, digest BLOB) WITHOUT ROWID;
                 CREATE TABLE b (id TEXT PRIMARY KEY, digest BLOB) WITHOUT ROWID;
                 BEGIN",
            )?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => Ok(Self { path, connection }),
            Err(source) => Err(CompareError::Scratch { path, source }),
        }
    }

    /// Lays a collection aside. Returns whether there is one, and how many vectors were normalised here.
    fn take(&self, state: &State<'_>, wanted: &Name, table: &str) -> Result<(bool, u64), CompareError> {
        let Some(collection) = state.collections.iter().find(|entry| name(entry) == *wanted) else {
            return Ok((false, 0));
        };
        let failed = |source| CompareError::Scratch { path: self.path.clone(), source };
        // Which key is of no matter: both sides have the same, and no digest leaves this function.
        let key = Key::new([0; 32]);
        // An id that is there twice is damage that a check tells; the last one counts here.
        let insert = format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2)");
        let mut insert = self.connection.prepare(&insert).map_err(failed)?;
        let mut refused = None;
        let normalised = records(state.dir, &state.database, collection, &mut |record| {
            if refused.is_none() {
                refused = insert.execute((&record.id, record.number(&key))).err();
            }
        });
        let normalised = normalised.map_err(|source| CompareError::State { which: state.which, source })?;
        match refused {
            Some(source) => Err(failed(source)),
            None => Ok((true, normalised)),
        }
    }

    fn changes(&self, most: usize) -> Result<CollectionChange, CompareError> {
        let of = |rows: &str| -> rusqlite::Result<(u64, Vec<String>)> {
            let count: i64 =
                self.connection.query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| row.get(0))?;
            let sql = format!("SELECT id FROM {rows} ORDER BY id LIMIT ?1");
            let mut statement = self.connection.prepare(&sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let ids = statement.query_map([most], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok((count.unsigned_abs(), ids))
        };
        let all = || -> rusqlite::Result<CollectionChange> {
            let (added, new) = of("b WHERE id NOT IN (SELECT id FROM a)")?;
            let (removed, old) = of("a WHERE id NOT IN (SELECT id FROM b)")?;
            let (altered, other) =
                of("(SELECT a.id FROM a JOIN b ON a.id = b.id WHERE a.digest <> b.digest)")?;
            let ids = ChangedIds { added: new, removed: old, altered: other };
            Ok(CollectionChange { added, removed, altered, ids, ..CollectionChange::default() })
        };
        all().map_err(|source| CompareError::Scratch { path: self.path.clone(), source })
    }
}
