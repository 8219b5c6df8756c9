//! Writes one file. Of an existing one only what differs is fetched and written, after hashing what is there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocks::write_blocks;
use super::place::{clear, set_attributes};
use super::units::write_units;
use super::unwritable;
use crate::error::{Error, Result};
use crate::point::Point;
use crate::read::Reader;
use crate::repository::blocking;
use crate::tree::{Content, Entry, Node};
use crate::xattr::Left;

/// Bytes are compared, and zeros left out, by so many.
const GRAIN: usize = 4096;

/// What was done to a file.
pub(super) struct Written {
    /// Bytes that the target did not have; of a new file all of them, holes included.
    pub(super) bytes: u64,
    pub(super) existed: bool,
    pub(super) left: Left,
}

/// A file that is being written.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) file: Arc<File>,
    /// It was there before, so that only what differs is written.
    pub(super) existed: bool,
    pub(super) path: PathBuf,
    /// Its path in the point, for messages.
    pub(super) shown: String,
}

impl Target {
    /// Writes some ranges of these bytes, which begin at an offset of the file. Returns how many bytes that were.
    pub(super) fn write(
        &self,
        at: u64,
        bytes: &[u8],
        ranges: impl IntoIterator<Item = Range<usize>>,
    ) -> Result<u64> {
        let mut wrote = 0;
        for range in ranges {
            wrote += range.len() as u64;
            let written = self.file.write_all_at(&bytes[range.clone()], at + range.start as u64);
            written.map_err(unwritable(&self.path))?;
        }
        Ok(wrote)
    }

    /// What it holds there, and how much of it could be read. What is beyond the end counts as zeros, which it will be once the
    /// file has its length.
    pub(super) fn read(&self, at: u64, length: usize) -> (Vec<u8>, usize) {
        let mut there = vec![0; length];
        let mut read = 0;
        while read < length {
            match self.file.read_at(&mut there[read..], at + read as u64) {
                Ok(0) => return (there, length),
                Ok(more) => read += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (there, read),
            }
        }
        (there, length)
    }
}

/// Brings the file to its final content, checks its hash, sets its attributes, fsyncs it. One that is there may be written in
/// place if it has as many names as `existing` says.
pub(super) async fn write_file(
    reader: &Reader,
    point: &Point,
    entry: &Entry,
    path: &Path,
    existing: Option<u64>,
    mut tell: impl FnMut(u64, u64),
) -> Result<Written> {
    let Node::File { size, hash, content } = &entry.node else {
        return Err(Error::Input(format!("{} is no file", path.display())));
    };
    let place = path.to_owned();
    let (file, existed) = blocking(move || open(&place, existing)).await?;
    let file = Arc::new(file);
    let shown = entry.path.to_string_lossy().into_owned();
    let target = Target { file: Arc::clone(&file), existed, path: path.to_owned(), shown };
    let (bytes, hashed) = match content {
        Content::Units(units) => write_units(reader, units, *size, target, &mut tell).await?,
        Content::Blocks(_) | Content::Map(_) => write_blocks(reader, content, target, &mut tell).await?,
    };
    // Of something that isn't all there is no hash.
    let hashed = hashed.filter(|hashed| hashed.to_hex().as_str() == hash);
    if hashed.is_none() {
        let place = path.to_owned();
        if !existed {
            blocking(move || clear(&place)).await?;
        }
        return Err(Error::HashMismatch { path: (&entry.path).into(), point: point.id.to_string() });
    }
    let (place, size, of) = (path.to_owned(), *size, entry.clone());
    let left = blocking(move || {
        if file.metadata().map_err(unwritable(&place))?.len() != size {
            file.set_len(size).map_err(unwritable(&place))?;
        }
        let left = set_attributes(&file, &place, &of)?;
        file.sync_all().map_err(unwritable(&place))?;
        Ok::<_, Error>(left)
    })
    .await?;
    Ok(Written { bytes: if existed { bytes } else { size }, existed, left })
}

/// Opens the file to be written: an existing one only if it has no names but those that are to have its content, else a
/// new one.
fn open(path: &Path, existing: Option<u64>) -> Result<(File, bool)> {
    if let Some(names) = existing {
        let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(nofollow.bits()).unwrap_or_default();
        let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
        if let Ok(file) = opened {
            let meta = file.metadata().map_err(unwritable(path))?;
            // Written in place, a hard link elsewhere would change with it.
            if meta.is_file() && meta.nlink() == names {
                return Ok((file, true));
            }
        }
        clear(path)?;
    }
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    Ok((file.map_err(unwritable(path))?, false))
}

/// What has to be written of a new file, which begins as a hole: all but zeros.
pub(super) fn all_but_zeros(bytes: &[u8]) -> Vec<Range<usize>> {
    ranges(bytes, |_, grain| grain.iter().any(|byte| *byte != 0))
}

/// The grains that pass, neighbours joined.
pub(super) fn ranges(bytes: &[u8], passes: impl Fn(usize, &[u8]) -> bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (number, grain) in bytes.chunks(GRAIN).enumerate() {
        let from = number * GRAIN;
        if !passes(from, grain) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end == from => last.end = from + grain.len(),
            _ => found.push(from..from + grain.len()),
        }
    }
    found
}
