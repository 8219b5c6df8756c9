//! Writes one file. On an existing one only the blocks that differ are fetched and written, after hashing what is there.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};

use super::place::{clear, set_attributes};
use super::unwritable;
use crate::ahead::ahead;
use crate::block::Class;
use crate::error::{Error, Result};
use crate::point::Point;
use crate::read::{Reader, Run, Wanted};
use crate::repository::blocking;
use crate::tree::{Entry, Node};

const RUNS_AT_ONCE: usize = 4;

/// What was done to a file.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) existed: bool,
    pub(super) owner_set: bool,
}

/// A stretch in hand: where it goes, its bytes, and whether the target has them already.
struct Piece {
    at: u64,
    bytes: Vec<u8>,
    there: bool,
}

/// Brings the file to its final content, checks its hash, sets its attributes, fsyncs it.
pub(super) async fn write_file(
    reader: &Reader,
    point: &Point,
    entry: &Entry,
    path: &Path,
    existing: bool,
    mut tell: impl FnMut(u64, u64),
) -> Result<Written> {
    let Node::File { size, hash, content, .. } = &entry.node else {
        return Err(Error::Input(format!("{} is no file", path.display())));
    };
    let place = path.to_owned();
    let (file, existed) = blocking(move || open(&place, existing)).await?;
    let file = Arc::new(file);
    let shown = entry.path.to_string_lossy().into_owned();
    let mut hasher = blake3::Hasher::new();
    let (mut at, mut bytes) = (0, 0);
    for segment in Reader::segments(content) {
        let extents = reader.extents(&segment, &shown).await?;
        let wanted = reader.locate(&extents, at, &shown)?;
        at += extents.iter().map(|e| u64::from(e.raw)).sum::<u64>();
        let (from, needed_by, there) = (reader.clone(), shown.clone(), existed.then(|| Arc::clone(&file)));
        let mut pieces = ahead(Reader::runs(wanted), RUNS_AT_ONCE, move |run| {
            bring(from.clone(), run, needed_by.clone(), there.clone()).boxed()
        });
        while let Some(pieces) = pieces.next().await {
            let (pieces, target, mut hashing) = (pieces?, Arc::clone(&file), hasher);
            let done = blocking(move || {
                let (mut read, mut wrote) = (0, 0);
                for piece in &pieces {
                    hashing.update(&piece.bytes);
                    read += piece.bytes.len() as u64;
                    // A new file begins as a hole: zeros needn't be written.
                    let hole = !existed && piece.bytes.iter().all(|b| *b == 0);
                    if !piece.there && !hole {
                        target.write_all_at(&piece.bytes, piece.at)?;
                    }
                    wrote += if piece.there { 0 } else { piece.bytes.len() as u64 };
                }
                Ok::<_, io::Error>((hashing, read, wrote))
            });
            let (hashed, read, wrote) = done.await.map_err(unwritable(path))?;
            hasher = hashed;
            bytes += wrote;
            tell(read, wrote);
        }
    }
    if hasher.finalize().to_hex().as_str() != hash {
        let place = path.to_owned();
        if !existed {
            blocking(move || clear(&place)).await?;
        }
        return Err(Error::HashMismatch { path: (&entry.path).into(), point: point.id.to_string() });
    }
    let (place, size, of) = (path.to_owned(), *size, entry.clone());
    let owner_set = blocking(move || {
        if file.metadata().map_err(unwritable(&place))?.len() != size {
            file.set_len(size).map_err(unwritable(&place))?;
        }
        let owner_set = set_attributes(&file, &place, &of)?;
        file.sync_all().map_err(unwritable(&place))?;
        Ok::<_, Error>(owner_set)
    })
    .await?;
    Ok(Written { bytes, existed, owner_set })
}

/// Opens the file to be written: an existing one of our own only if nothing else shares it, else a new one.
fn open(path: &Path, existing: bool) -> Result<(File, bool)> {
    if existing {
        let nofollow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(nofollow.bits()).unwrap_or_default();
        let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
        if let Ok(file) = opened {
            let meta = file.metadata().map_err(unwritable(path))?;
            // Written in place, a hard link elsewhere would change with it.
            if meta.is_file() && meta.nlink() == 1 {
                return Ok((file, true));
            }
        }
        clear(path)?;
    }
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    Ok((file.map_err(unwritable(path))?, false))
}

/// The bytes of a run: from the target where they are right already, else from the store.
async fn bring(reader: Reader, run: Run, shown: String, target: Option<Arc<File>>) -> Result<Vec<Piece>> {
    let Some(target) = target else {
        let fetched = reader.fetch(Class::Data, &run, &shown).await?;
        let pieces =
            run.parts.iter().zip(fetched).map(|(part, bytes)| Piece { at: part.at, bytes, there: false });
        return Ok(pieces.collect());
    };
    let (repo, parts) = (reader.repo.clone(), run.parts.clone());
    let there: Vec<Option<Vec<u8>>> = blocking(move || {
        let local = |part: &Wanted| {
            let mut bytes = vec![0; part.place.raw as usize];
            target.read_exact_at(&mut bytes, part.at).ok()?;
            (Class::Data.id(repo.keys(), &bytes) == part.id).then_some(bytes)
        };
        parts.iter().map(local).collect()
    })
    .await;
    let differing: Vec<Wanted> =
        run.parts.iter().zip(&there).filter(|(_, local)| local.is_none()).map(|(part, _)| *part).collect();
    let mut fetched = Vec::with_capacity(differing.len());
    for run in Reader::runs(differing) {
        fetched.extend(reader.fetch(Class::Data, &run, &shown).await?);
    }
    let mut fetched = fetched.into_iter();
    let piece = |(part, local): (&Wanted, Option<Vec<u8>>)| match local {
        Some(bytes) => Some(Piece { at: part.at, bytes, there: true }),
        None => Some(Piece { at: part.at, bytes: fetched.next()?, there: false }),
    };
    let pieces: Option<Vec<Piece>> = run.parts.iter().zip(there).map(piece).collect();
    pieces.ok_or_else(|| Error::Input("a run came back with fewer blocks than asked for".to_owned()))
}
