//! Which Chroma last opened a directory, told by the migrations in its database: the version that 1.x servers tell over
//! HTTP is always `1.0.0`. An older server on newer data fails, sometimes behind a healthy heartbeat, so it is refused.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// The newest migration of each part of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationLevels {
    /// The log.
    pub embeddings_queue: u32,
    /// Metadata and documents.
    pub metadb: u32,
    /// Tenants, databases, collections.
    pub sysdb: u32,
}

/// Whether data of one level may be opened by a server of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passage {
    /// Same levels: the server changes nothing.
    Same,
    /// The server migrates the data when it starts, and there is no way back.
    OneWay,
    /// The server is older than the data.
    DowngradeRefused,
}

/// Levels and the releases that write them, oldest first.
const RELEASES: &[(MigrationLevels, &str)] = &[
    (levels(1, 1, 3), "0.4.0 to 0.4.3"),
    (levels(1, 2, 3), "0.4.4 to 0.4.5"),
    (levels(1, 3, 3), "0.4.6 to 0.4.14"),
    (levels(1, 3, 4), "0.4.15 to 0.4.24"),
    (levels(1, 3, 5), "0.5.0"),
    (levels(1, 3, 6), "0.5.1 to 0.5.3"),
    (levels(1, 3, 7), "0.5.4 to 0.5.5"),
    (levels(2, 4, 9), "0.5.6 to 0.6.3"),
    (levels(2, 5, 9), "1.0.0 to 1.2.2"),
    (levels(2, 5, 10), "1.3.0 to 1.4.1"),
    (levels(2, 6, 10), "1.5.0 to 1.5.9"),
];

const fn levels(embeddings_queue: u32, metadb: u32, sysdb: u32) -> MigrationLevels {
    MigrationLevels { embeddings_queue, metadb, sysdb }
}

impl MigrationLevels {
    /// Reads the levels from an open database.
    pub fn read(connection: &Connection) -> rusqlite::Result<MigrationLevels> {
        let mut found = levels(0, 0, 0);
        let mut statement = connection.prepare("SELECT dir, MAX(version) FROM migrations GROUP BY dir")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let version: u32 = row.get(1)?;
            match row.get_ref(0)?.as_str().unwrap_or_default() {
                "embeddings_queue" => found.embeddings_queue = version,
                "metadb" => found.metadb = version,
                "sysdb" => found.sysdb = version,
                _ => {}
            }
        }
        Ok(found)
    }

    /// The releases of Chroma that leave these levels, or None for one we have never seen.
    pub fn releases(self) -> Option<&'static str> {
        RELEASES.iter().find(|(levels, _)| *levels == self).map(|(_, releases)| *releases)
    }

    /// Whether data of these levels may be given to a server that writes `server`'s.
    pub fn passage_to(self, server: MigrationLevels) -> Passage {
        let pairs = [
            (self.embeddings_queue, server.embeddings_queue),
            (self.metadb, server.metadb),
            (self.sysdb, server.sysdb),
        ];
        if pairs.iter().any(|(data, server)| data > server) {
            Passage::DowngradeRefused
        } else if self == server {
            Passage::Same
        } else {
            Passage::OneWay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_servers_may_open_older_data_and_never_the_other_way_round() {
        for (at, (older, _)) in RELEASES.iter().enumerate() {
            assert_eq!(older.passage_to(*older), Passage::Same);
            for (newer, _) in &RELEASES[at + 1..] {
                assert_eq!(older.passage_to(*newer), Passage::OneWay);
                assert_eq!(newer.passage_to(*older), Passage::DowngradeRefused);
            }
        }
    }

    #[test]
    fn a_level_that_is_ahead_in_one_part_only_is_refused_too() {
        assert_eq!(levels(2, 5, 10).passage_to(levels(2, 6, 9)), Passage::DowngradeRefused);
    }

    #[test]
    fn levels_name_the_releases_that_write_them() {
        assert_eq!(levels(2, 6, 10).releases(), Some("1.5.0 to 1.5.9"));
        assert_eq!(levels(9, 9, 9).releases(), None);
    }
}
