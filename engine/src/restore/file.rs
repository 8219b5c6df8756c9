//! Writes one file. Of an existing one only what differs is fetched and written, after hashing what is there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::patched::{Needed, hash_of, write_patched};
use super::place::{clear, set_attributes};
use super::unwritable;
use crate::ahead::ahead;
use crate::block::{Against, Alone};
use crate::content::Piece;
use crate::error::{Error, Result};
use crate::point::Point;
use crate::read::{Reader, Run, Wanted};
use crate::repository::blocking;
use crate::tree::{Content, Entry, Node};
use crate::units::map::hash;
use crate::units::{Gathering, Patched, Section, State, Stored, Unit};
use crate::xattr::Left;

const RUNS_AT_ONCE: usize = 4;
const SECTIONS_AT_ONCE: usize = 2;
/// Bytes are compared, and zeros left out, by so many.
const GRAIN: usize = 4096;

/// What was done to a file.
pub(super) struct Written {
    /// Bytes that the target did not have; of a new file all of them, holes included.
    pub(super) bytes: u64,
    pub(super) existed: bool,
    pub(super) left: Left,
}

/// A stretch in hand: where it goes, its bytes, and which of them the target doesn't have.
struct Change {
    at: u64,
    bytes: Vec<u8>,
    missing: Vec<Range<usize>>,
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
    let mut bytes = 0;
    let mut later = Vec::new();
    let hashed = match content {
        Content::Units(units) => {
            let segmented = reader.segmented(units, *size, &shown).await?;
            let patches = reader.patches(&segmented, &shown)?;
            let dictionaries = Arc::new(reader.gather(&patches, &shown).await?);
            let gathering = Arc::clone(&dictionaries);
            let (from, target, named) = (reader.clone(), Arc::clone(&file), shown.clone());
            let mut sections =
                reader.with_states(segmented, shown.clone(), SECTIONS_AT_ONCE, move |file, number, state| {
                    let section = file.geometry.section(file.size, number as u64);
                    let target = existed.then(|| Arc::clone(&target));
                    let gathering = Arc::clone(&gathering);
                    bring_section(from.clone(), section, state, target, gathering, named.clone()).boxed()
                });
            let mut hasher = Some(blake3::Hasher::new());
            while let Some(section) = sections.next().await {
                let (change, patched) = section?;
                // With the first byte that comes later the hash can't be taken in passing.
                hasher = hasher.filter(|_| patched.is_empty());
                later.extend(patched);
                let (read, wrote, hashing) = put(change, &file, hasher).await.map_err(unwritable(path))?;
                hasher = hashing;
                bytes += wrote;
                tell(read, wrote);
            }
            drop(sections);
            let wrote = |wrote| {
                bytes += wrote;
                tell(0, wrote);
            };
            let needed = Needed { patches, dictionaries, units: later };
            write_patched(reader, needed, &file, path, &shown, wrote).await?;
            match hasher {
                Some(hasher) => hasher.finalize(),
                None => hash_of(&file, *size).await.map_err(unwritable(path))?,
            }
        }
        Content::Blocks(_) | Content::Map(_) => {
            let mut changes = if existed {
                differing_blocks(reader, content, &shown, &file)
            } else {
                reader.pieces(content, *size, &shown).map_ok(onto_nothing).boxed()
            };
            let mut hasher = Some(blake3::Hasher::new());
            while let Some(change) = changes.next().await {
                let (read, wrote, hashing) = put(change?, &file, hasher).await.map_err(unwritable(path))?;
                hasher = hashing;
                bytes += wrote;
                tell(read, wrote);
            }
            hasher.map_or_else(|| blake3::hash(&[]), |hasher| hasher.finalize())
        }
    };
    if hashed.to_hex().as_str() != hash {
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

/// A new file begins as a hole: zeros needn't be written.
fn onto_nothing(piece: Piece) -> Change {
    let missing = ranges(&piece.bytes, |_, grain| grain.iter().any(|byte| *byte != 0));
    Change { at: piece.at, bytes: piece.bytes, missing }
}

/// The grains that pass, neighbours joined.
fn ranges(bytes: &[u8], passes: impl Fn(usize, &[u8]) -> bool) -> Vec<Range<usize>> {
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

/// Writes what the target doesn't have, and hashes the whole stretch if it comes in its turn. Returns the bytes of the stretch
/// and those that were written.
async fn put(
    change: Change,
    target: &Arc<File>,
    hasher: Option<blake3::Hasher>,
) -> io::Result<(u64, u64, Option<blake3::Hasher>)> {
    let (target, mut hasher) = (Arc::clone(target), hasher);
    blocking(move || {
        if let Some(hasher) = &mut hasher {
            hasher.update(&change.bytes);
        }
        let mut wrote = 0;
        for range in change.missing {
            wrote += range.len() as u64;
            target.write_all_at(&change.bytes[range.clone()], change.at + range.start as u64)?;
        }
        Ok((change.bytes.len() as u64, wrote, hasher))
    })
    .await
}

/// One section of a file. Of an existing `target` its units are held against the map, and those that differ are fetched; of a
/// new one all are. What lies in patches is left as it is, and returned.
async fn bring_section(
    reader: Reader,
    section: Section,
    state: State,
    target: Option<Arc<File>>,
    dictionaries: Arc<Gathering>,
    shown: String,
) -> Result<(Change, Vec<Patched>)> {
    let Some(target) = target else {
        let (apart, patched) =
            reader.framed(&section, &state, &section.units(), &dictionaries, &shown).await?;
        return Ok((
            onto_nothing(Piece { at: section.at, bytes: section.join(apart), blocks: vec![] }),
            patched,
        ));
    };
    let state = Arc::new(state);
    let (of, known) = (section.clone(), Arc::clone(&state));
    let (there, readable, apart, wanted) = blocking(move || {
        let (there, readable) = read_there(&target, of.at, of.bytes());
        let apart = of.split(there.clone());
        let differs = |unit: &Unit| {
            let bytes = &apart[unit.at..unit.at + unit.length];
            known.unit(unit.number).is_none_or(|located| located.hash != hash(bytes))
        };
        let wanted: Vec<Unit> = of.units().into_iter().filter(differs).collect();
        (there, readable, apart, wanted)
    })
    .await;
    if wanted.is_empty() && readable == there.len() {
        return Ok((Change { at: section.at, bytes: there, missing: Vec::new() }, Vec::new()));
    }
    let (fetched, patched) = reader.framed(&section, &state, &wanted, &dictionaries, &shown).await?;
    let change = blocking(move || {
        let mut apart = apart;
        let framed = |unit: &Unit| {
            state.unit(unit.number).is_some_and(|located| !matches!(located.stored, Stored::Patched { .. }))
        };
        for unit in wanted.into_iter().filter(framed) {
            let range = unit.at..unit.at + unit.length;
            apart[range.clone()].copy_from_slice(&fetched[range]);
        }
        let bytes = section.join(apart);
        let missing = ranges(&bytes, |from, grain| {
            from + grain.len() > readable || there[from..from + grain.len()] != *grain
        });
        Change { at: section.at, bytes, missing }
    });
    Ok((change.await, patched))
}

/// What the target holds there, and how much of it could be read. What is beyond the end counts as zeros, which it will be once
/// the file has its length.
fn read_there(target: &File, at: u64, length: usize) -> (Vec<u8>, usize) {
    let mut there = vec![0; length];
    let mut read = 0;
    while read < length {
        match target.read_at(&mut there[read..], at + read as u64) {
            Ok(0) => return (there, length),
            Ok(more) => read += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return (there, read),
        }
    }
    (there, length)
}

/// The blocks of an existing file that was cut as a stream.
fn differing_blocks(
    reader: &Reader,
    content: &Content,
    shown: &str,
    target: &Arc<File>,
) -> BoxStream<'static, Result<Change>> {
    let (reader, shown, target) = (reader.clone(), shown.to_owned(), Arc::clone(target));
    let mut at = 0;
    stream::iter(Reader::segments(content))
        .then({
            let (reader, shown) = (reader.clone(), shown.clone());
            move |segment| {
                let (reader, shown) = (reader.clone(), shown.clone());
                async move { reader.extents(&segment, &shown).await }
            }
        })
        .map(move |extents| {
            let extents = extents?;
            let wanted = reader.locate(&extents, at, &shown)?;
            at += extents.iter().map(|e| u64::from(e.raw)).sum::<u64>();
            let (reader, shown, target) = (reader.clone(), shown.clone(), Arc::clone(&target));
            let runs = ahead(Reader::runs(wanted), RUNS_AT_ONCE, move |run| {
                bring(reader.clone(), run, shown.clone(), Arc::clone(&target)).boxed()
            });
            Ok::<_, Error>(runs.map_ok(|changes| stream::iter(changes).map(Ok)).try_flatten())
        })
        .try_flatten()
        .boxed()
}

/// The bytes of a run: from the target where they are right already, else from the store.
async fn bring(reader: Reader, run: Run, shown: String, target: Arc<File>) -> Result<Vec<Change>> {
    let (repo, parts) = (reader.repo.clone(), run.parts.clone());
    let there: Vec<Option<Vec<u8>>> = blocking(move || {
        let local = |part: &Wanted| {
            let mut bytes = vec![0; part.place.raw as usize];
            target.read_exact_at(&mut bytes, part.at).ok()?;
            (Alone::Data.id(repo.keys(), &bytes) == part.id).then_some(bytes)
        };
        parts.iter().map(local).collect()
    })
    .await;
    let differing: Vec<Wanted> =
        run.parts.iter().zip(&there).filter(|(_, local)| local.is_none()).map(|(part, _)| *part).collect();
    let mut fetched = Vec::with_capacity(differing.len());
    for run in Reader::runs(differing) {
        fetched.extend(reader.fetch(Alone::Data, &run, Against::Length, &shown).await?);
    }
    let mut fetched = fetched.into_iter();
    let change = |(part, local): (&Wanted, Option<Vec<u8>>)| match local {
        Some(bytes) => Some(Change { at: part.at, bytes, missing: Vec::new() }),
        None => {
            let bytes = fetched.next()?;
            let missing = std::iter::once(0..bytes.len()).collect();
            Some(Change { at: part.at, bytes, missing })
        }
    };
    let changes: Option<Vec<Change>> = run.parts.iter().zip(there).map(change).collect();
    changes.ok_or_else(|| Error::Input("a run came back with fewer blocks than asked for".to_owned()))
}
