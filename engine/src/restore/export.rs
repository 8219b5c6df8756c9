//! Hands the entries of a point to the caller one by one, in an order in which they can be written to an archive. Each file
//! is first brought together in scratch space and held against its hash, so that no byte of a damaged one gets out.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::write_file;
use super::unwritable;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::inspect::{Finding, inspect};
use crate::point::Point;
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::repository::{Repository, blocking};
use crate::tree::{Entry, Node};
use crate::xattr::Xattr;
use futures::future::BoxFuture;

/// An entry of a point on its way out.
#[derive(Debug)]
pub struct Exported {
    /// Its path below the root; `.` is the root itself.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// What it is.
    pub content: ExportedContent,
}

/// What an entry is.
#[derive(Debug)]
pub enum ExportedContent {
    /// A directory; what is in it follows.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        to: PathBuf,
    },
    /// A further name of a file.
    Link {
        /// The name under which it was handed out before.
        to: PathBuf,
    },
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its bytes, from the beginning; gone when this is dropped.
        bytes: File,
    },
}

/// Hands out every entry of a point. The scratch directory needs room for the largest file. Returns how many entries there
/// were and the bytes of the files.
///
/// Before anything is handed out the point is inspected, as by a restore. An error of the caller's ends it.
pub fn export<'a>(
    repo: &'a Repository,
    point: &'a Point,
    scratch: &'a Path,
    progress: ProgressSink,
    each: &'a mut (dyn FnMut(Exported) -> io::Result<()> + Send),
) -> BoxFuture<'a, Result<(u64, u64)>> {
    Box::pin(async move {
        let reader = Reader { repo: repo.clone(), index: Arc::new(Index::load(repo).await?) };
        if let Some(Finding { object, what }) = inspect(&reader, point).await?.findings.into_iter().next() {
            return Err(repo.damaged(&object, what));
        }
        reader.has_what_is_meant(point).await?;
        let mut told = Progress { bytes_total: point.bytes(), ..Progress::default() };
        let (mut entries, mut bytes) = (0, 0);
        let through = scratch.join("exported");
        for segment in &point.tree {
            for entry in reader.meant(point, segment).await? {
                if entry.below(scratch).is_none() {
                    let shown = entry.path.to_string_lossy();
                    let what = format!("the path `{shown}` leads out of it");
                    return Err(repo.damaged(&point.id.object(), what));
                }
                let content = match &entry.node {
                    Node::Directory => ExportedContent::Directory,
                    Node::Symlink { to } => ExportedContent::Symlink { to: to.into() },
                    Node::Link { to } => ExportedContent::Link { to: to.into() },
                    Node::File { size, .. } => {
                        // Whatever it has in the source, the copy in scratch space is ours to read.
                        let plain = Entry { mode: 0o600, xattrs: Vec::new(), ..entry.clone() };
                        write_file(&reader, point, &plain, &through, None, |read, _| {
                            told.bytes += read;
                            progress(told);
                        })
                        .await?;
                        bytes += size;
                        told.files += 1;
                        ExportedContent::File { size: *size, bytes: take(&through).await? }
                    }
                };
                entries += 1;
                let Entry { path, mode, uid, gid, mtime, xattrs, .. } = entry;
                let path = PathBuf::from(path);
                let exported = Exported { path: path.clone(), mode, uid, gid, mtime, xattrs, content };
                each(exported).map_err(|cause| Error::TargetUnwritable { path, cause })?;
            }
        }
        Ok((entries, bytes))
    })
}

/// Opens a file and takes its name away.
async fn take(path: &Path) -> Result<File> {
    let place = path.to_owned();
    let taken = blocking(move || {
        let file = File::open(&place)?;
        std::fs::remove_file(&place)?;
        Ok::<_, io::Error>(file)
    });
    taken.await.map_err(unwritable(path))
}
