//! What a point consists of: entries of a directory tree in the order of their paths, and maps from a file's bytes to
//! blocks. Both are cut into segments by their own content and stored as blocks, so that what did not change between
//! two points is stored once.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::BlockId;
use crate::codec::{Cursor, put_u32};
use crate::layout::LARGEST;
use crate::units::Geometry;
use crate::xattr::Xattr;

/// A name, a path or a value of the file system: UTF-8 where it is, else its bytes in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes { hex: String },
}

impl Text {
    fn of(text: &OsStr) -> Self {
        match text.to_str() {
            Some(utf8) => Self::Utf8(utf8.to_owned()),
            None => Self::Bytes { hex: hex::encode(text.as_bytes()) },
        }
    }

    /// Text that a person can read, else hex: shorter than a string of escapes.
    fn of_value(value: &[u8]) -> Self {
        match std::str::from_utf8(value) {
            Ok(utf8) if !utf8.contains(char::is_control) => Self::Utf8(utf8.to_owned()),
            _ => Self::Bytes { hex: hex::encode(value) },
        }
    }

    fn into_os(self) -> Option<OsString> {
        match self {
            Self::Utf8(text) => Some(text.into()),
            Self::Bytes { hex: digits } => Some(OsString::from_vec(hex::decode(digits).ok()?)),
        }
    }
}

/// As a pair of name and value.
impl Serialize for Xattr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Text::of(&self.name), Text::of_value(&self.value)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Xattr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, value) = <(Text, Text)>::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("an attribute is neither text nor hex");
        let name = name.into_os().ok_or_else(wrong)?;
        Ok(Self { name, value: value.into_os().ok_or_else(wrong)?.into_vec() })
    }
}

mod text {
    use super::{OsString, Text};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &OsString, serializer: S) -> Result<S::Ok, S::Error> {
        Text::of(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OsString, D::Error> {
        let text = Text::deserialize(deserializer)?;
        text.into_os().ok_or_else(|| serde::de::Error::custom("a path is neither UTF-8 nor hex"))
    }
}

/// A stretch of a file: the block that holds it and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) id: BlockId,
    pub(crate) raw: u32,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// The blocks themselves, for small files.
    Blocks(Vec<Extent>),
    /// Segments of the file's map, each a block of kind meta.
    Map(Vec<BlockId>),
    /// Units that are compared with the version before.
    Units(Units),
}

/// The content of a file of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Units {
    #[serde(flatten)]
    pub(crate) geometry: Geometry,
    /// The maps of its segments, of a small file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) maps: Vec<BlockId>,
    /// Blocks of kind meta that list them, of a larger one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roots: Vec<BlockId>,
    /// Blocks of kind meta that name what its patches were compressed against, each with the length of its dictionary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) references: Vec<Extent>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Node {
    Directory,
    File {
        size: u64,
        /// BLAKE3 of the whole file, as `b3sum` prints it.
        hash: String,
        content: Content,
    },
    Symlink {
        #[serde(with = "text")]
        to: OsString,
    },
    /// A further name of a file.
    Link {
        /// Its first name in the order of the tree, whose entry has the content and the attributes.
        #[serde(with = "text")]
        to: OsString,
    },
}

/// An entry of the tree. A directory stands before what is in it; the root itself has the path `.`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(with = "text")]
    pub(crate) path: OsString,
    /// Permission bits, setuid and the like included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    /// Extended attributes by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) xattrs: Vec<Xattr>,
    #[serde(flatten)]
    pub(crate) node: Node,
}

impl Entry {
    /// The path below the root of a target; `None` if it could lead out of it.
    pub(crate) fn below(&self, root: &Path) -> Option<PathBuf> {
        below(root, &self.path)
    }

    /// The entry as it stands within a directory of the tree; `None` for one that lies elsewhere. The name of a file outside, of
    /// which it is a further one, is the error.
    pub(crate) fn within(mut self, directory: &OsStr) -> Result<Option<Self>, OsString> {
        let Some(path) = rest(&self.path, directory) else { return Ok(None) };
        if let Node::Link { to } = &mut self.node {
            *to = rest(to, directory).ok_or_else(|| to.clone())?;
        }
        self.path = path;
        Ok(Some(self))
    }

    /// The entry's line in a segment of the tree.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("entries are structs of strings and numbers");
        line.push(b'\n');
        line
    }

    #[cfg(test)]
    pub(crate) fn bare(path: impl Into<OsString>, node: Node) -> Self {
        Self { path: path.into(), mode: 0o755, uid: 1, gid: 2, mtime: (-5, 7), xattrs: Vec::new(), node }
    }
}

/// A path of the tree below the root of a target; `None` if it could lead out of it.
pub(crate) fn below(root: &Path, path: &OsStr) -> Option<PathBuf> {
    if path == "." {
        return Some(root.to_owned());
    }
    let parts = Path::new(path);
    let inside = !path.is_empty()
        && !path.as_bytes().contains(&0)
        && parts.components().all(|c| matches!(c, Component::Normal(_)))
        && parts.components().map(Component::as_os_str).collect::<Vec<_>>().join(OsStr::new("/")) == path;
    inside.then(|| root.join(parts))
}

/// What of a path lies below a directory; `.` for the directory itself.
fn rest(path: &OsStr, directory: &OsStr) -> Option<OsString> {
    let rest = Path::new(path).strip_prefix(directory).ok()?;
    Some(if rest.as_os_str().is_empty() { ".".into() } else { rest.into() })
}

/// A segment of the tree as bytes: a line of JSON for each entry.
#[cfg(any(test, fuzzing))]
pub(crate) fn write_entries(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(Entry::line).collect()
}

pub(crate) fn read_entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let lines = bytes.strip_suffix(b"\n")?.split(|b| *b == b'\n');
    lines.map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The longest line of an entry, and where a segment ends at the latest: both fit into a block together.
pub(crate) const LONGEST_LINE: usize = LARGEST / 2;

/// Whether a tree segment of so many bytes ends behind this entry: depends on its path, so an inserted file moves few
/// borders.
pub(crate) fn ends_tree_segment(path: &OsStr, entries: usize, bytes: usize) -> bool {
    entries >= 1024
        || bytes >= LARGEST - LONGEST_LINE
        || (entries >= 16 && blake3::hash(path.as_bytes()).as_bytes()[0] == 0)
}

/// A segment of a map as bytes.
pub(crate) fn write_extents(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(extents.len() * 36);
    for extent in extents {
        out.extend_from_slice(&extent.id.0);
        put_u32(&mut out, extent.raw);
    }
    out
}

pub(crate) fn read_extents(bytes: &[u8]) -> Option<Vec<Extent>> {
    let mut cursor = Cursor::new(bytes);
    let mut extents = Vec::with_capacity(bytes.len() / 36);
    while !cursor.is_done() {
        extents.push(Extent { id: BlockId(cursor.take()?), raw: cursor.u32()? });
    }
    Some(extents)
}

/// Whether a map segment ends behind this extent: depends on its block, 256 extents on average.
pub(crate) fn ends_map_segment(id: &BlockId, extents: usize) -> bool {
    extents >= 1024 || (extents >= 32 && id.0[31] == 0)
}

/// A list of blocks as bytes.
pub(crate) fn write_ids(ids: &[BlockId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0).collect()
}

/// Whether a list of maps ends behind this one: depends on the map, 48 on average, so that a change rewrites few.
pub(crate) fn ends_root(id: &BlockId, maps: usize) -> bool {
    maps >= 256 || (maps >= 16 && id.0[31] < 8)
}

/// Files of up to this many blocks, or segments, carry them in their entry.
pub(crate) const INLINE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: impl Into<OsString>) -> Entry {
        Entry::bare(path, Node::Directory)
    }

    #[test]
    fn entries_come_back_as_written_names_that_are_not_utf8_included() {
        let file = Node::File {
            size: 5,
            hash: "ab".into(),
            content: Content::Blocks(vec![Extent { id: BlockId([1; 32]), raw: 5 }]),
        };
        let entries = vec![
            directory("."),
            directory(OsString::from_vec(vec![b'a', 0xff, b'\n'])),
            Entry { node: file, ..directory("a/b") },
            Entry { node: Node::Symlink { to: "../x".into() }, ..directory("c") },
            Entry { node: Node::Link { to: "a/b".into() }, ..directory("d") },
        ];
        assert_eq!(read_entries(&write_entries(&entries)), Some(entries));
        assert_eq!(read_entries(b"{}\n"), None);
        assert_eq!(read_entries(b""), None);
    }

    #[test]
    fn an_entry_is_seen_from_a_directory_above_it_and_from_no_other() {
        let seen = |path: &str| directory(path).within(OsStr::new("a/b")).unwrap().map(|entry| entry.path);
        assert_eq!(seen("a/b"), Some(".".into()));
        assert_eq!(seen("a/b/c/d"), Some("c/d".into()));
        for path in [".", "a", "a/bc", "b", "c/a/b"] {
            assert_eq!(seen(path), None, "{path}");
        }
        let link = |to: &str| Entry { node: Node::Link { to: to.into() }, ..directory("a/b/c") };
        let within = link("a/b/first").within(OsStr::new("a/b")).unwrap().unwrap();
        assert_eq!(within.node, Node::Link { to: "first".into() });
        assert_eq!(link("a/first").within(OsStr::new("a/b")), Err("a/first".into()));
    }

    #[test]
    fn attributes_are_any_bytes_and_those_of_people_can_be_read() {
        let xattr = |name: &[u8], value: &[u8]| Xattr {
            name: OsString::from_vec(name.to_vec()),
            value: value.to_vec(),
        };
        let xattrs = vec![
            xattr(b"user.comment", "über alles Maß".as_bytes()),
            xattr(b"security.capability", b"\x01\x00\x00\x02"),
            xattr(b"user.\xff", b""),
        ];
        let entry = Entry { xattrs, ..directory("a") };
        let line = String::from_utf8(entry.line()).unwrap();
        let readable = r#"[["user.comment","über alles Maß"],["security.capability",{"hex":"01000002"}],["#;
        assert!(line.contains(readable), "{line}");
        assert_eq!(read_entries(line.as_bytes()), Some(vec![entry]));
        assert!(!String::from_utf8(directory("a").line()).unwrap().contains("xattrs"));
        assert_eq!(read_entries(line.replace("01000002", "0100000").as_bytes()), None);
    }

    #[test]
    fn a_segment_fits_into_a_block_however_long_its_lines_are() {
        let ends = |entries, bytes| ends_tree_segment(OsStr::new("a"), entries, bytes);
        assert!(!ends(1, LARGEST - LONGEST_LINE - 1) && ends(1, LARGEST - LONGEST_LINE));
        assert!(!ends(15, 5_000) && ends(1024, 5_000));
    }

    #[test]
    fn no_path_leads_out_of_the_target() {
        let root = Path::new("/target");
        assert_eq!(directory("a/b").below(root), Some("/target/a/b".into()));
        assert_eq!(directory(".").below(root), Some("/target".into()));
        for path in ["", "/etc", "../x", "a/../../x", "a/..", "./a", "a//b", "a/"] {
            assert_eq!(directory(path).below(root), None, "{path}");
        }
    }
}
