//! The names in a Chroma data directory, and which part of Chroma a path belongs to. Looks at names only.

use std::path::{Component, Path};

/// The log, the metadata and the documents.
pub const DATABASE: &str = "chroma.sqlite3";
/// The links and vectors of a segment's lowest layer, one fixed-size record an element.
pub const LEVEL0: &str = "data_level0.bin";
/// The index's numbers, 100 bytes.
pub const HEADER: &str = "header.bin";
/// One float an element: the vector's length before it was normalised.
pub const LENGTHS: &str = "length.bin";
/// The links of the upper layers.
pub const LINK_LISTS: &str = "link_lists.bin";
/// The map between ids and labels.
pub const PICKLE: &str = "index_metadata.pickle";

/// What a path inside a data directory is to Chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `chroma.sqlite3`.
    Database,
    /// A journal, WAL or shared-memory file beside the database. Never copied: it belongs to one server's crash.
    Journal,
    /// A file of a vector segment, also of one that the database no longer names.
    Segment,
    /// Anything else that somebody keeps there.
    Other,
}

/// Tells what the path, relative to the data directory, is.
pub fn part_of(relative: &Path) -> Part {
    let mut components = relative.components();
    let Some(Component::Normal(first)) = components.next() else { return Part::Other };
    let first = first.to_string_lossy();
    if components.next().is_some() {
        return if is_segment_name(&first) { Part::Segment } else { Part::Other };
    }
    match first.as_ref() {
        DATABASE => Part::Database,
        name if name
            .strip_prefix(DATABASE)
            .is_some_and(|rest| ["-journal", "-wal", "-shm"].contains(&rest)) =>
        {
            Part::Journal
        }
        name if is_segment_name(name) => Part::Segment,
        _ => Part::Other,
    }
}

/// Segment directories are named by a UUID in its plain lower-case form.
pub fn is_segment_name(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_data_directory_is_told_apart_by_its_name() {
        let segment = "c03507a1-ab9b-417f-ab21-fa635468b284";
        assert_eq!(part_of(Path::new("chroma.sqlite3")), Part::Database);
        assert_eq!(part_of(Path::new("chroma.sqlite3-journal")), Part::Journal);
        assert_eq!(part_of(Path::new("chroma.sqlite3-backup")), Part::Other);
        assert_eq!(part_of(&Path::new(segment).join(LEVEL0)), Part::Segment);
        assert_eq!(part_of(Path::new(segment)), Part::Segment);
        assert_eq!(part_of(Path::new("auth/server.htpasswd")), Part::Other);
        assert!(!is_segment_name("C03507A1-AB9B-417F-AB21-FA635468B284"));
    }
}
