//! Holds a directory against a point: every file's length and hash, every directory, link and further name, and what is there besides.
//! It reads no block of the repository, only the point's tree, and changes nothing.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::index::Index;
use crate::point::Point;
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::repository::{Repository, blocking};
use crate::restore::MARKER;
use crate::tree::{Entry, Node, below};
use futures::future::BoxFuture;

/// Differences that are named; more add nothing to the decision.
const NAMED: usize = 100;
const PIECE: usize = 1 << 20;

/// One thing that is not as in the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path within the directory.
    pub path: PathBuf,
    /// What is different.
    pub what: String,
}

/// What a comparison saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Files of the point.
    pub files: u64,
    /// Of these, how many have the bytes of the point.
    pub files_equal: u64,
    /// The first hundred differences.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more: u64,
}

impl Comparison {
    fn differs(&mut self, path: impl Into<PathBuf>, what: impl Into<String>) {
        if self.differences.len() < NAMED {
            self.differences.push(Difference { path: path.into(), what: what.into() });
        } else {
            self.more += 1;
        }
    }
}

/// Compares a directory with a point. Owners, permissions, extended attributes and times don't count; `lost+found` in the root is nobody's.
/// A file of the directory that can't be read is a difference; only the repository's failures are errors.
pub fn compare<'a>(
    repo: &'a Repository,
    point: &'a Point,
    dir: &'a Path,
    progress: ProgressSink,
) -> BoxFuture<'a, Result<Comparison>> {
    Box::pin(async move {
        let reader = Reader { repo: repo.clone(), index: Arc::new(Index::load(repo).await?) };
        reader.has_what_is_meant(point).await?;
        let mut seen = Comparison::default();
        let mut known: HashSet<OsString> = HashSet::new();
        let mut told = Progress { bytes_total: point.bytes(), ..Progress::default() };
        for segment in &point.tree {
            for entry in reader.meant(point, segment).await? {
                let path = entry.below(dir).ok_or_else(|| {
                    let shown = entry.path.to_string_lossy();
                    repo.damaged(&point.id.object(), format!("the path `{shown}` leads out of it"))
                })?;
                known.insert(entry.path.clone());
                if let Node::File { size, .. } = &entry.node {
                    seen.files += 1;
                    told.files += 1;
                    told.bytes = told.bytes.saturating_add(*size);
                }
                let (name, is_file) = (entry.path.clone(), matches!(entry.node, Node::File { .. }));
                let root = dir.to_owned();
                match blocking(move || differs(&root, &path, &entry)).await {
                    Some(what) => seen.differs(name, what),
                    None => seen.files_equal += u64::from(is_file),
                }
                progress(told);
            }
        }
        let root = dir.to_owned();
        for (path, what) in blocking(move || foreign(&root, &known)).await {
            seen.differs(path, what);
        }
        Ok(seen)
    })
}

/// How what lies at the path differs from the entry.
fn differs(root: &Path, path: &Path, entry: &Entry) -> Option<String> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Some("it is missing".to_owned()),
        Err(e) => return Some(format!("it can't be looked at: {e}")),
    };
    match &entry.node {
        Node::Directory => (!meta.is_dir()).then(|| "it is no directory".to_owned()),
        Node::Symlink { to } => match fs::read_link(path) {
            Ok(found) if found.as_os_str() == to => None,
            Ok(found) => Some(format!("it leads to {}, not to {}", found.display(), Path::new(to).display())),
            Err(_) => Some("it is no symbolic link".to_owned()),
        },
        Node::Link { to } => {
            let inode = |meta: &fs::Metadata| (meta.dev(), meta.ino());
            let first = below(root, to).and_then(|first| fs::symlink_metadata(first).ok());
            let same = first.is_some_and(|first| inode(&first) == inode(&meta));
            (!same).then(|| format!("it is not the same file as {}", Path::new(to).display()))
        }
        Node::File { .. } if !meta.is_file() => Some("it is no file".to_owned()),
        Node::File { size, .. } if meta.len() != *size => {
            Some(format!("it has {} bytes, the point has {size}", meta.len()))
        }
        Node::File { hash, .. } => match hash_of(path) {
            Ok(found) if found == *hash => None,
            Ok(_) => Some("its hash is not the point's".to_owned()),
            Err(e) => Some(format!("it can't be read: {e}")),
        },
    }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&piece[..read]),
        };
    }
}

/// What is there and not in the point, whole trees named once.
fn foreign(root: &Path, known: &HashSet<OsString>) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(within) = open.pop() {
        let entries = match fs::read_dir(root.join(&within)) {
            Ok(entries) => entries,
            // Known and missing: told already.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                found.push((within, format!("it can't be listed: {e}")));
                continue;
            }
        };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), within.join(entry.file_name()));
            let top = within.as_os_str().is_empty();
            if top && name == "lost+found" {
                continue;
            }
            if top && name == MARKER {
                found.push((path, "a restore into this directory was not finished".to_owned()));
            } else if !known.contains(path.as_os_str()) {
                found.push((path, "the point doesn't have it".to_owned()));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}
