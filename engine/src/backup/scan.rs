//! Walks the source in the order of paths, reads each file once, and sends on what the repository doesn't know. Runs on
//! one blocking thread. It refuses to record a file that changed or vanished while it was read.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;

use super::LayoutChooser;
use super::aside::Aside;
use super::names::Names;
use super::previous::Previous;
use crate::block::{Alone, BlockId, Effort, RawBlock};
use crate::error::{Error, Result};
use crate::layout::cut;
use crate::point::{SKIPPED_NAMED, Skipped, Totals};
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::tree::{
    Content, Entry, Extent, INLINE, LONGEST_LINE, Node, ends_map_segment, ends_tree_segment, write_extents,
};
use crate::units::Geometry;
use crate::xattr::{Bearer, Xattr};

/// Progress is told at least this often, in bytes read.
const TELL_EVERY: u64 = 8 << 20;

pub(super) struct Scan {
    pub(super) source: PathBuf,
    pub(super) layout: LayoutChooser,
    pub(super) reader: Reader,
    pub(super) previous: Previous,
    /// Last whole versions that need not be fetched.
    pub(super) aside: Option<Arc<Aside>>,
    /// For what has to be fetched meanwhile.
    pub(super) handle: Handle,
    pub(super) out: Sender<RawBlock>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) progress: ProgressSink,
    /// Where the uploading side counts what it stored.
    pub(super) written: Arc<AtomicU64>,
    /// Blocks sent in this capture.
    pub(super) sent: HashSet<BlockId>,
    /// Files that may be met again under another name.
    pub(super) names: Names,
    /// The segment of the tree so far, and of how many entries.
    pub(super) lines: Vec<u8>,
    pub(super) entries: usize,
    pub(super) scanned: Scanned,
    pub(super) told: u64,
}

/// What the walk found.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) totals: Totals,
    pub(super) skipped: Vec<Skipped>,
    pub(super) tree: Vec<BlockId>,
}

/// What of a file must not have moved while it was read.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            size: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Where a directory lies.
#[derive(Clone, Copy)]
struct At {
    /// Its file system.
    device: u64,
    /// It is the source, or the root of another file system within.
    top: bool,
}

impl At {
    fn below(self, device: u64) -> Self {
        Self { device, top: device != self.device }
    }
}

impl Scan {
    pub(super) fn run(mut self) -> Result<Scanned> {
        let root = self.source.clone();
        let closed = |cause| Error::SourceUnreadable { path: root.clone(), cause };
        let meta = fs::metadata(&root).map_err(&closed)?;
        if !meta.is_dir() {
            return Err(Error::Input(format!("the source {} is no directory", root.display())));
        }
        let open = File::open(&root).map_err(&closed)?;
        let xattrs = self.xattrs(Bearer::Open(&open), Path::new("."))?;
        self.entry(Path::new("."), &meta, xattrs, Node::Directory)?;
        self.scanned.totals.directories += 1;
        self.directory(&root, Path::new(""), At { device: meta.dev(), top: true })?;
        self.end_tree_segment()?;
        self.tell();
        Ok(self.scanned)
    }

    fn directory(&mut self, dir: &Path, within: &Path, at: At) -> Result<()> {
        let shown = if within.as_os_str().is_empty() { Path::new(".") } else { within };
        let listed = fs::read_dir(dir)
            .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = listed.map_err(|e| unreadable(shown, e))?;
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            if at.top && name == "lost+found" {
                continue;
            }
            let (path, within) = (dir.join(&name), within.join(&name));
            let meta = fs::symlink_metadata(&path).map_err(|e| unreadable(&within, e))?;
            let kind = meta.file_type();
            if kind.is_dir() {
                let xattrs = self.xattrs(Bearer::Path(&path), &within)?;
                self.entry(&within, &meta, xattrs, Node::Directory)?;
                self.scanned.totals.directories += 1;
                self.directory(&path, &within, at.below(meta.dev()))?;
            } else if kind.is_symlink() {
                let to = fs::read_link(&path).map_err(|e| unreadable(&within, e))?.into_os_string();
                let xattrs = self.xattrs(Bearer::Path(&path), &within)?;
                self.entry(&within, &meta, xattrs, Node::Symlink { to })?;
                self.scanned.totals.symlinks += 1;
            } else if kind.is_file() {
                match self.names.first_of(&within, &meta)? {
                    Some(to) => {
                        self.entry(&within, &meta, Vec::new(), Node::Link { to })?;
                        self.scanned.totals.links += 1;
                    }
                    None => self.file(&path, &within)?,
                }
            } else {
                let kind = if kind.is_socket() {
                    "socket"
                } else if kind.is_fifo() {
                    "fifo"
                } else {
                    "device"
                };
                self.skip(&within, kind);
            }
        }
        Ok(())
    }

    fn skip(&mut self, within: &Path, kind: &str) {
        self.scanned.totals.skipped += 1;
        if self.scanned.skipped.len() < SKIPPED_NAMED {
            let path = within.to_string_lossy().chars().take(256).collect();
            self.scanned.skipped.push(Skipped { path, kind: kind.to_owned() });
        }
    }

    /// The attributes that the point holds. One that is there and can't be read is left out, as a special file is.
    fn xattrs(&mut self, of: Bearer<'_>, within: &Path) -> Result<Vec<Xattr>> {
        let read = of.read().map_err(|e| unreadable(within, e))?;
        for name in read.unreadable {
            self.skip(within, &format!("attribute {}", name.to_string_lossy()));
        }
        Ok(read.xattrs)
    }

    fn file(&mut self, path: &Path, within: &Path) -> Result<()> {
        // Neither a link nor a FIFO put in the file's place since it was listed may lead us astray or block us.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(path)
            .map_err(|e| unreadable(within, e))?;
        let meta = file.metadata().map_err(|e| unreadable(within, e))?;
        if !meta.is_file() {
            return Err(changed(within, "it is another kind of file now"));
        }
        let layout = (self.layout)(within, path);
        let size = meta.len();
        let (content, hash) = match Geometry::of(&layout) {
            Some(geometry) => {
                let (units, hash) = self.units(&file, size, within, geometry)?;
                (Content::Units(units), hash)
            }
            None => self.stream(&file, size, within)?,
        };
        let xattrs = self.xattrs(Bearer::Open(&file), within)?;
        let there = fs::symlink_metadata(path).map_err(|e| unreadable(within, e))?;
        if (there.dev(), there.ino()) != (meta.dev(), meta.ino()) {
            return Err(changed(within, "another file took its place"));
        }
        if Identity::of(&there) != Identity::of(&meta) {
            return Err(changed(within, "its size or times moved"));
        }
        let hash = hash.to_hex().to_string();
        self.scanned.totals.files += 1;
        self.names.meet(within, &meta);
        self.entry(within, &meta, xattrs, Node::File { size, hash, content })
    }

    /// Cuts a file by its content.
    fn stream(&mut self, file: &File, expected: u64, within: &Path) -> Result<(Content, blake3::Hash)> {
        let mut hash = blake3::Hasher::new();
        let (mut size, mut content) = (0, ContentBuilder::default());
        for block in cut(file) {
            if self.is_stopped() {
                return Err(stopped());
            }
            let bytes = block.map_err(|e| unreadable(within, io::Error::other(e)))?.data;
            hash.update(&bytes);
            size += bytes.len() as u64;
            if size > expected {
                return Err(changed(within, "it grew"));
            }
            let raw = u32::try_from(bytes.len()).expect("streams are cut at 2 MiB");
            self.scanned.totals.blocks += 1;
            self.read(u64::from(raw));
            let id = self.send(RawBlock::new(self.reader.repo.keys(), Alone::Data, Effort::Usual, bytes))?;
            if let Some(segment) = content.push(Extent { id, raw }) {
                content.map.push(self.send_meta(write_extents(&segment))?);
            }
        }
        if size < expected {
            return Err(changed(within, "it shrank"));
        }
        let content = match content.finish() {
            Ok(inline) => Content::Blocks(inline),
            Err((mut map, rest)) => {
                if !rest.is_empty() {
                    map.push(self.send_meta(write_extents(&rest))?);
                }
                Content::Map(map)
            }
        };
        Ok((content, hash.finalize()))
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts bytes of a file, and tells now and then.
    pub(super) fn read(&mut self, bytes: u64) {
        self.scanned.totals.bytes += bytes;
        if self.scanned.totals.bytes - self.told >= TELL_EVERY {
            self.tell();
        }
    }

    fn entry(&mut self, within: &Path, meta: &Metadata, xattrs: Vec<Xattr>, node: Node) -> Result<()> {
        let entry = Entry {
            path: within.as_os_str().to_owned(),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or_default()),
            xattrs,
            node,
        };
        let line = entry.line();
        if line.len() > LONGEST_LINE {
            let why =
                format!("its extended attributes take {} bytes, a point has room for 1 MiB", line.len());
            return Err(unreadable(within, io::Error::other(why)));
        }
        self.lines.extend_from_slice(&line);
        self.entries += 1;
        let ends = ends_tree_segment(&entry.path, self.entries, self.lines.len());
        if ends { self.end_tree_segment() } else { Ok(()) }
    }

    fn end_tree_segment(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        self.entries = 0;
        let lines = std::mem::take(&mut self.lines);
        let id = self.send_meta(lines)?;
        self.scanned.tree.push(id);
        Ok(())
    }

    pub(super) fn send_meta(&mut self, bytes: Vec<u8>) -> Result<BlockId> {
        self.send(RawBlock::new(self.reader.repo.keys(), Alone::Meta, Effort::Usual, bytes))
    }

    /// Hands a block over unless it is known.
    pub(super) fn send(&mut self, block: RawBlock) -> Result<BlockId> {
        let id = block.id;
        if !self.reader.index.contains(&id) && self.sent.insert(id) {
            self.out.blocking_send(block).map_err(|_| stopped())?;
        }
        Ok(id)
    }

    fn tell(&mut self) {
        let Totals { files, bytes, .. } = self.scanned.totals;
        self.told = bytes;
        let bytes_written = self.written.load(Ordering::Relaxed);
        (self.progress)(Progress { files, bytes, bytes_written, bytes_total: None });
    }
}

/// The map of one file as it grows.
#[derive(Default)]
struct ContentBuilder {
    map: Vec<BlockId>,
    extents: Vec<Extent>,
}

impl ContentBuilder {
    /// Adds a stretch; returns a segment that is complete with it.
    fn push(&mut self, extent: Extent) -> Option<Vec<Extent>> {
        self.extents.push(extent);
        ends_map_segment(&extent.id, self.extents.len()).then(|| std::mem::take(&mut self.extents))
    }

    /// The stretches of a small file, or the map so far and the stretches of its last segment.
    fn finish(self) -> std::result::Result<Vec<Extent>, (Vec<BlockId>, Vec<Extent>)> {
        if self.map.is_empty() && self.extents.len() <= INLINE {
            Ok(self.extents)
        } else {
            Err((self.map, self.extents))
        }
    }
}

pub(super) fn unreadable(within: &Path, cause: io::Error) -> Error {
    if cause.kind() == io::ErrorKind::NotFound && within != Path::new(".") {
        return changed(within, "it vanished");
    }
    Error::SourceUnreadable { path: within.to_owned(), cause }
}

pub(super) fn changed(within: &Path, what: &'static str) -> Error {
    Error::SourceChanged { path: within.to_owned(), what }
}

/// Never shown: whoever stopped the scan has an error of its own.
pub(super) fn stopped() -> Error {
    Error::Input("the capture was stopped".to_owned())
}
