//! Writes a point into a directory, byte for byte, and proves it: every block is authenticated, every file's hash is held
//! against the one taken at capture, files and directories are fsynced. It refuses a target that isn't empty unless told
//! otherwise, follows no symbolic link of the target, and leaves a marker there until it is through, so that a half-written
//! target is never taken for a whole one.

mod blocks;
mod export;
mod file;
mod place;
#[cfg(test)]
mod tests;
mod units;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::index::Index;
use crate::inspect::{Finding, inspect};
use crate::point::Point;
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::repository::{Repository, blocking};
use crate::tree::{Entry, Node, below};
use crate::xattr::Left;
pub use export::{Exported, ExportedContent, export};
use file::write_file;

/// Lies in the root of the target while a restore is under way or after it failed.
pub(crate) const MARKER: &str = ".holdfast-restore-unfinished";

/// What the target may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreMode {
    /// Nothing, but for `lost+found`. The directory is made if only its last part is missing.
    EmptyTarget,
    /// Anything. It becomes exactly the point: what equals it is left alone, what differs is written, and everything
    /// that is not in the point is **removed** (stale journals too), `lost+found` in the root excepted. Goes on with an
    /// interrupted restore.
    OntoExisting,
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSummary {
    /// Files in place, each with its hash checked.
    pub files: u64,
    /// Of these, how many had the right bytes already.
    pub files_unchanged: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub links: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that had to be written.
    pub bytes_written: u64,
    /// Entries of the target that the point doesn't have and that were removed, whole trees counted once.
    pub removed: u64,
    /// Entries whose owner could not be set for lack of permission; they belong to whoever restored.
    pub owners_left: u64,
    /// Extended attributes that could not be set or removed for lack of permission, or because the target's file system
    /// has none such or no room for them.
    pub xattrs_left: u64,
    /// The first of them: its name, the path within the target, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_xattr_left: Option<String>,
    /// How long it took.
    #[serde(skip)]
    pub elapsed: Duration,
}

impl RestoreSummary {
    /// What the restored files lack, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.owners_left > 0 {
            let count = self.owners_left;
            warnings.push(format!(
                "the owner of {count} entries could not be set: they are yours; restore as root"
            ));
        }
        if let Some(first) = &self.first_xattr_left {
            warnings.push(format!(
                "{} extended attributes could not be set or removed, the first is {first}: restore as root, onto a file \
                 system that takes them",
                self.xattrs_left
            ));
        }
        warnings
    }
}

/// Restores a point into a directory.
///
/// Before anything is touched the point is inspected: when an object it needs is missing from the store, an existing
/// target stays as it is. On failure the marker stays, and restoring again with [`RestoreMode::OntoExisting`] goes on.
/// Memory: about 40 MiB, and the paths of the point.
pub fn restore<'a>(
    repo: &'a Repository,
    point: &'a Point,
    target: &'a Path,
    mode: RestoreMode,
    progress: ProgressSink,
) -> BoxFuture<'a, Result<RestoreSummary>> {
    Box::pin(async move {
        let begun = Instant::now();
        let reader = Reader { repo: repo.clone(), index: Arc::new(Index::load(repo).await?) };
        let seen = inspect(&reader, point).await?;
        if let Some(Finding { object, what }) = seen.findings.into_iter().next() {
            return Err(repo.damaged(&object, what));
        }
        reader.has_what_is_meant(point).await?;
        let root = target.to_owned();
        blocking(move || place::begin(&root, mode)).await?;
        let mut work = Restore {
            reader,
            point,
            target,
            mode,
            summary: RestoreSummary::default(),
            told: Progress { bytes_total: point.bytes(), ..Progress::default() },
            progress,
            directories: Vec::new(),
            names: HashMap::new(),
            left: Left::default(),
        };
        if mode == RestoreMode::OntoExisting {
            work.remove_foreign().await?;
        }
        work.write().await?;
        let (root, directories, mut left) = (target.to_owned(), work.directories, work.left);
        left.add(blocking(move || place::end(&root, directories)).await?);
        let mut summary = work.summary;
        summary.owners_left = left.owners;
        summary.xattrs_left = left.xattrs;
        summary.first_xattr_left = left.first_xattr;
        summary.elapsed = begun.elapsed();
        Ok(summary)
    })
}

struct Restore<'a> {
    reader: Reader,
    point: &'a Point,
    target: &'a Path,
    mode: RestoreMode,
    summary: RestoreSummary,
    told: Progress,
    progress: ProgressSink,
    /// Finished last, deepest first: what is written into a directory moves its times.
    directories: Vec<(PathBuf, Entry)>,
    /// The further names of files by the first, of a restore onto what exists.
    names: HashMap<OsString, Vec<PathBuf>>,
    left: Left,
}

impl Restore<'_> {
    async fn remove_foreign(&mut self) -> Result<()> {
        let mut known: HashSet<OsString> = HashSet::new();
        for segment in &self.point.tree {
            for entry in self.reader.meant(self.point, segment).await? {
                if let Node::Link { to } = &entry.node {
                    self.names.entry(to.clone()).or_default().extend(entry.below(self.target));
                }
                known.insert(entry.path);
            }
        }
        let root = self.target.to_owned();
        self.summary.removed = blocking(move || place::remove_foreign(&root, &known)).await?;
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        for segment in &self.point.tree {
            for entry in self.reader.meant(self.point, segment).await? {
                let path = self.below(&entry.path)?;
                self.entry(entry, path).await?;
            }
        }
        Ok(())
    }

    fn below(&self, path: &OsStr) -> Result<PathBuf> {
        below(self.target, path).ok_or_else(|| {
            let what = format!("the path `{}` leads out of it", path.to_string_lossy());
            self.reader.repo.damaged(&self.point.id.object(), what)
        })
    }

    async fn entry(&mut self, entry: Entry, path: PathBuf) -> Result<()> {
        match &entry.node {
            Node::Directory => {
                self.summary.directories += 1;
                let place = path.clone();
                let existing = self.mode == RestoreMode::OntoExisting;
                blocking(move || place::directory(&place, existing)).await?;
                self.directories.push((path, entry));
            }
            Node::Symlink { to } => {
                self.summary.symlinks += 1;
                let (to, existing, of) = (to.clone(), self.mode == RestoreMode::OntoExisting, entry.clone());
                self.left.add(blocking(move || place::symlink(&path, &to, &of, existing)).await?);
            }
            Node::Link { to } => {
                self.summary.links += 1;
                let (first, existing) = (self.below(to)?, self.mode == RestoreMode::OntoExisting);
                blocking(move || place::link(&first, &path, existing)).await?;
            }
            Node::File { size, .. } => {
                let existing = match self.mode {
                    RestoreMode::EmptyTarget => None,
                    RestoreMode::OntoExisting => Some(self.names_of(&entry.path, &path).await),
                };
                let (told, progress) = (&mut self.told, &self.progress);
                let written = write_file(&self.reader, self.point, &entry, &path, existing, |read, wrote| {
                    told.bytes += read;
                    told.bytes_written += wrote;
                    progress(*told);
                })
                .await?;
                self.summary.files += 1;
                self.summary.bytes += size;
                self.summary.bytes_written += written.bytes;
                self.summary.files_unchanged += u64::from(written.bytes == 0 && written.existed);
                self.left.add(written.left);
                self.told.files += 1;
            }
        }
        Ok(())
    }

    /// How many names the file in the target may have so that whatever is written into it shows under no other.
    async fn names_of(&mut self, first: &OsStr, path: &Path) -> u64 {
        let Some(others) = self.names.remove(first) else { return 1 };
        let (root, path) = (self.target.to_owned(), path.to_owned());
        blocking(move || place::names_within(&root, &path, &others)).await
    }
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |cause| Error::TargetUnwritable { path: path.to_owned(), cause }
}
