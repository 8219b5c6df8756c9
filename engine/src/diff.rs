//! What changed from one point to another, told by their trees alone: no block of data is read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::index::Index;
use crate::point::Point;
use crate::read::Reader;
use crate::repository::Repository;
use crate::tree::{Entry, Node};
use crate::xattr::Xattr;
use futures::future::BoxFuture;

/// How an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second point has it.
    Added,
    /// Only the first point has it.
    Removed,
    /// It has other bytes, leads elsewhere, or is of another kind. What has several names is told under the first; a further
    /// name is of a kind of its own.
    Modified,
    /// Its owner, its permissions or its extended attributes differ.
    Attributes,
}

/// An entry that is not the same in both points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its path.
    pub path: PathBuf,
    /// How.
    pub change: Change,
    /// Bytes of the file in the first point; 0 for what is no file, or not there.
    pub before: u64,
    /// Bytes of the file in the second point.
    pub after: u64,
}

/// Everything that differs between two points of a repository, by path. Times don't count. Memory: the entries of the
/// first point, without their maps.
pub fn diff<'a>(
    repo: &'a Repository,
    first: &'a Point,
    second: &'a Point,
) -> BoxFuture<'a, Result<Vec<Changed>>> {
    Box::pin(async move {
        let reader = Reader { repo: repo.clone(), index: Arc::new(Index::load(repo).await?) };
        for point in [first, second] {
            reader.has_what_is_meant(point).await?;
        }
        let mut earlier: BTreeMap<OsString, Facts> = BTreeMap::new();
        for segment in &first.tree {
            for entry in reader.meant(first, segment).await? {
                earlier.insert(entry.path.clone(), Facts::of(&entry));
            }
        }
        let mut changes = Vec::new();
        for segment in &second.tree {
            for entry in reader.meant(second, segment).await? {
                let now = Facts::of(&entry);
                let was = earlier.remove(&entry.path);
                let change = match &was {
                    None => Change::Added,
                    Some(was) if was.content != now.content => Change::Modified,
                    Some(was) if was.owner != now.owner => Change::Attributes,
                    Some(_) => continue,
                };
                let before = was.map_or(0, |was| was.size);
                changes.push(Changed { path: entry.path.into(), change, before, after: now.size });
            }
        }
        let removed = |(path, was): (OsString, Facts)| Changed {
            path: path.into(),
            change: Change::Removed,
            before: was.size,
            after: 0,
        };
        changes.extend(earlier.into_iter().map(removed));
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    })
}

/// What of an entry is compared.
struct Facts {
    content: Content,
    owner: (u32, u32, u32, Vec<Xattr>),
    size: u64,
}

#[derive(PartialEq, Eq)]
enum Content {
    Directory,
    File(String),
    Symlink(OsString),
    Link(OsString),
}

impl Facts {
    fn of(entry: &Entry) -> Self {
        let (content, size) = match &entry.node {
            Node::Directory => (Content::Directory, 0),
            Node::File { size, hash, .. } => (Content::File(hash.clone()), *size),
            Node::Symlink { to } => (Content::Symlink(to.clone()), 0),
            Node::Link { to } => (Content::Link(to.clone()), 0),
        };
        // Of a further name they are those of the first.
        let owner = match &entry.node {
            Node::Link { .. } => (0, 0, 0, Vec::new()),
            _ => (entry.mode, entry.uid, entry.gid, entry.xattrs.clone()),
        };
        Self { content, owner, size }
    }
}
