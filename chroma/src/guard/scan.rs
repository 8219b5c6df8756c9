//! What a directory holds at one moment, by names and stat only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::error::GuardError;
use crate::files::{self, Part};

/// Deeper than anything Chroma makes; a bound, so that a loop of mounts ends.
const DEEPEST: usize = 16;

/// What stat says of a file: when none of it changed, and it was not fresh, the content did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub size: u64,
    pub inode: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i128,
    pub ctime: i128,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Stamp {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Stamp {
            size: metadata.len(),
            inode: metadata.ino(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Stamp {
    /// When it changed last, in any way.
    pub fn changed(&self) -> i128 {
        self.mtime.max(self.ctime)
    }
}

/// A directory's content, by path relative to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub files: BTreeMap<PathBuf, Stamp>,
    pub dirs: BTreeSet<PathBuf>,
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Sockets, pipes, devices, and what may not be read by its own nature.
    pub skipped: BTreeSet<PathBuf>,
}

impl Tree {
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|stamp| stamp.size).sum()
    }

    pub fn segment_files(&self) -> impl Iterator<Item = (&PathBuf, &Stamp)> {
        self.files.iter().filter(|(path, _)| files::part_of(path) == Part::Segment)
    }

    /// The first difference that a capture cannot bear: anything about the database or a segment, as a sentence.
    pub fn difference(&self, later: &Tree) -> Option<String> {
        let matters = |path: &&PathBuf| files::part_of(path) != Part::Other;
        for (path, stamp) in self.files.iter().filter(|(path, _)| matters(path)) {
            match later.files.get(path) {
                None => return Some(format!("{} vanished under the lock", path.display())),
                Some(now) if now != stamp => {
                    return Some(format!("{} changed under the lock", path.display()));
                }
                Some(_) => {}
            }
        }
        if let Some(path) = later.files.keys().filter(matches_new(&self.files)).find(matters) {
            return Some(format!("{} appeared under the lock", path.display()));
        }
        if let Some(path) = self.dirs.symmetric_difference(&later.dirs).find(matters) {
            return Some(format!("directory {} came or went under the lock", path.display()));
        }
        None
    }
}

fn matches_new<V>(known: &BTreeMap<PathBuf, V>) -> impl Fn(&&PathBuf) -> bool {
    |path| !known.contains_key(*path)
}

/// Walks a directory. Entries that vanish on the way are left out.
pub(super) fn scan(root: &Path) -> Result<Tree, GuardError> {
    let mut tree = Tree::default();
    walk(root, Path::new(""), 0, &mut tree)?;
    Ok(tree)
}

fn walk(root: &Path, below: &Path, depth: usize, tree: &mut Tree) -> Result<(), GuardError> {
    let here = root.join(below);
    let fail = |source| GuardError::Read { path: here.clone(), source };
    let entries = match fs::read_dir(&here) {
        Ok(entries) => entries,
        Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(fail(source)),
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let relative = below.join(entry.file_name());
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(GuardError::Read { path: entry.path(), source }),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            if files::part_of(&relative) != Part::Journal {
                tree.files.insert(relative, Stamp::of(&metadata));
            }
        } else if kind.is_dir() {
            // The filesystem's own, readable by root only, and empty but after a repair.
            if relative == Path::new("lost+found") || depth >= DEEPEST {
                tree.skipped.insert(relative);
                continue;
            }
            walk(root, &relative, depth + 1, tree)?;
            tree.dirs.insert(relative);
        } else if kind.is_symlink() {
            if let Ok(target) = fs::read_link(entry.path()) {
                tree.links.insert(relative, target);
            }
        } else {
            tree.skipped.insert(relative);
        }
    }
    Ok(())
}
