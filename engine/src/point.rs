//! Recovery points: the commit record of a capture. It is written last; until it exists there is no point, and what was
//! stored before is merely found again by the next attempt.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::block::BlockId;
use crate::keys::Keys;
use crate::names;
use crate::seal::random;

/// How many skipped entries a point names; the rest is only counted.
pub(crate) const SKIPPED_NAMED: usize = 50;

/// The name of a point: 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId([u8; 16]);

impl PointId {
    /// The id of the point of this attempt: the same attempt can commit only once.
    pub(crate) fn of_attempt(keys: &Keys, attempt: &str) -> Self {
        let hash = blake3::keyed_hash(&keys.names, &[b"attempt\0", attempt.as_bytes()].concat());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }

    pub(crate) fn random() -> Self {
        Self(random())
    }

    /// The object that holds its commit record.
    pub fn object(&self) -> String {
        format!("{}{self}", names::POINTS)
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PointId {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)
            .map_err(|_| crate::Error::Input(format!("`{text}` is no point id: it has 32 hex digits")))?;
        Ok(Self(id))
    }
}

impl Serialize for PointId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the caller says about a capture. All of it is encrypted in the commit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PointAttributes {
    /// The protected component.
    pub component: String,
    /// The instant the volume was cut.
    pub consistency_time: Timestamp,
    /// When the capture began.
    pub started: Timestamp,
    /// Free tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Whatever the caller wants to find with the point: facts about the content, the policy, checks. Opaque here.
    #[serde(default)]
    pub body: serde_json::Value,
    /// The caller's name for this attempt, such as the Job's. An attempt that committed already commits no second
    /// point, also when two processes run it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
}

/// What a capture amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files, beyond the first of each.
    #[serde(default)]
    pub links: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Blocks the files consist of, repetitions counted.
    pub blocks: u64,
    /// Bytes this capture added to the store, in packs.
    pub bytes_stored: u64,
    /// Entries and attributes left out, see [`Skipped`].
    pub skipped: u64,
}

/// What of the source a point can't hold: a socket, a FIFO, a device, an extended attribute that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Its path, made printable.
    pub path: String,
    /// What it is.
    pub kind: String,
}

/// The commit record as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) attributes: PointAttributes,
    pub(crate) totals: Totals,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<Skipped>,
    /// Segments of the tree, in order.
    pub(crate) tree: Vec<BlockId>,
}

/// A recovery point of the repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its name.
    pub id: PointId,
    /// `sha256:` and the hash of its commit record as it lies in the store: `sha256sum` of the object shows the same.
    pub digest: String,
    /// When the commit record was stored, by the store's clock. Nobody who holds only the writer's credentials can
    /// choose it.
    pub stored_at: Option<Timestamp>,
    /// Until when the store keeps the commit record from being deleted. Told where one point is asked for, not in lists.
    pub locked_until: Option<Timestamp>,
    /// What the caller said.
    pub attributes: PointAttributes,
    /// What it amounts to.
    pub totals: Totals,
    /// The first entries that were left out.
    pub skipped: Vec<Skipped>,
    pub(crate) tree: Vec<BlockId>,
    /// The directory of the tree that is meant; absent for all of it.
    pub(crate) part: Option<OsString>,
}

impl Point {
    /// One directory of the point as if it were all of it: what restores, compares, exports or lists differences of it takes that
    /// directory for the root. That there is none of that name is an error there. Its totals stay those of the point.
    #[must_use]
    pub fn part(&self, directory: &Path) -> Self {
        Self { part: Some(directory.as_os_str().to_owned()), ..self.clone() }
    }

    /// Bytes of all files, where they are known: not of a part.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.part.is_none().then_some(self.totals.bytes)
    }

    /// The time that retention takes it for: its consistency time, but never a later one than the store saw it written,
    /// so that a writer whose clock runs ahead can't push other points out.
    pub fn retention_time(&self) -> Timestamp {
        let said = self.attributes.consistency_time;
        self.stored_at.map_or(said, |stored| said.min(stored))
    }
}

/// All points of a repository.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The readable ones, the oldest consistency time first.
    pub points: Vec<Point>,
    /// Commit records that can't be read: object name and what is wrong. They hide no other point.
    pub unreadable: Vec<(String, String)>,
}
