//! Tenants, databases, collections and their segments.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a collection measures distance, which decides what is stored of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Squared Euclidean; vectors are stored as given.
    L2,
    /// Inner product; vectors are stored as given.
    Ip,
    /// Cosine; vectors are stored normalised, their lengths beside them.
    Cosine,
}

impl Space {
    fn named(name: &str) -> Option<Space> {
        match name {
            "l2" => Some(Space::L2),
            "ip" => Some(Space::Ip),
            "cosine" => Some(Space::Cosine),
            _ => None,
        }
    }
}

/// One collection and where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionEntry {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the database.
    pub database: String,
    /// The collection's id.
    pub id: String,
    /// The collection's name.
    pub name: String,
    /// Floats a vector; None before the first record.
    pub dimension: Option<u32>,
    /// The distance.
    pub space: Space,
    /// Id of the segment that holds metadata and documents.
    pub metadata_segment: Option<String>,
    /// Id of the segment that holds vectors, the name of its directory.
    pub vector_segment: Option<String>,
    /// The log's name for it.
    pub topic: Option<String>,
}

impl CollectionEntry {
    /// `tenant/database/name`, as findings and reports name it.
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.database, self.name)
    }
}

/// Lists every collection, by tenant, database and name.
pub fn catalog(connection: &Connection) -> rusqlite::Result<Vec<CollectionEntry>> {
    let columns = columns_of(connection, "collections")?;
    let has_databases = !columns_of(connection, "databases")?.is_empty() && columns.contains("database_id");
    let optional = |name: &str| if columns.contains(name) { format!("c.{name}") } else { "NULL".to_owned() };
    let (names, join) = if has_databases {
        ("d.tenant_id, d.name", "LEFT JOIN databases d ON d.id = c.database_id")
    } else {
        ("'default_tenant', 'default_database'", "")
    };
    let sql = format!(
        "SELECT c.id, c.name, c.dimension, {}, {}, {names} FROM collections c {join}",
        optional("schema_str"),
        optional("config_json_str"),
    );
    let topics = topics(connection)?;
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let mut entry = CollectionEntry {
            tenant: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
            database: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            name: row.get(1)?,
            dimension: row.get(2)?,
            space: Space::L2,
            metadata_segment: None,
            vector_segment: None,
            topic: topics.get(&id).cloned(),
            id,
        };
        let (schema, config): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
        add_segments(connection, &mut entry)?;
        entry.space = space_of(connection, &entry, schema.as_deref(), config.as_deref())?;
        found.push(entry);
    }
    found.sort_by(|a, b| (&a.tenant, &a.database, &a.name).cmp(&(&b.tenant, &b.database, &b.name)));
    Ok(found)
}

fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<HashSet<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

/// Topics end in the collection's id; what stands before it is a constant that changed its name once.
fn topics(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare("SELECT DISTINCT topic FROM embeddings_queue")?;
    let topics = statement.query_map([], |row| row.get::<_, String>(0))?;
    topics
        .map(|topic| {
            let topic = topic?;
            let id = topic.rsplit('/').next().unwrap_or_default().to_owned();
            Ok((id, topic))
        })
        .collect()
}

fn add_segments(connection: &Connection, entry: &mut CollectionEntry) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT id, scope FROM segments WHERE collection = ?1")?;
    let mut rows = statement.query([&entry.id])?;
    while let Some(row) = rows.next()? {
        let id = Some(row.get(0)?);
        match row.get_ref(1)?.as_str().unwrap_or_default() {
            "METADATA" => entry.metadata_segment = id,
            "VECTOR" => entry.vector_segment = id,
            _ => {}
        }
    }
    Ok(())
}

/// Each version keeps it elsewhere, and one writes a wrong value into the place of the next: the order is the versions' own.
fn space_of(
    connection: &Connection,
    entry: &CollectionEntry,
    schema: Option<&str>,
    config: Option<&str>,
) -> rusqlite::Result<Space> {
    let at = |text: Option<&str>, pointer: &str| {
        let value: Value = serde_json::from_str(text?).ok()?;
        Space::named(value.pointer(pointer)?.as_str()?)
    };
    const SCHEMA: [&str; 2] = [
        "/keys/#embedding/float_list/vector_index/config/space",
        "/defaults/float_list/vector_index/config/space",
    ];
    if let Some(space) = SCHEMA.iter().find_map(|pointer| at(schema, pointer)) {
        return Ok(space);
    }
    let by_key = |sql: &str, id: &str| -> rusqlite::Result<Option<Space>> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(row.get_ref(0)?.as_str().ok().and_then(Space::named))
    };
    if let Some(segment) = &entry.vector_segment {
        let sql = "SELECT str_value FROM segment_metadata WHERE segment_id = ?1 AND key = 'hnsw:space'";
        if let Some(space) = by_key(sql, segment)? {
            return Ok(space);
        }
    }
    let sql = "SELECT str_value FROM collection_metadata WHERE collection_id = ?1 AND key = 'hnsw:space'";
    if let Some(space) = by_key(sql, &entry.id)? {
        return Ok(space);
    }
    const CONFIG: [&str; 3] = ["/vector_index/hnsw/space", "/hnsw/space", "/hnsw_configuration/space"];
    Ok(CONFIG.iter().find_map(|pointer| at(config, pointer)).unwrap_or(Space::L2))
}
