//! Everything a point needs, block by block: the one walk that the look-up before a commit, verification and whatever
//! deletes rely on. Nothing else follows references from point to block.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;

use futures::{FutureExt, StreamExt};

use crate::ahead::ahead;
use crate::block::{BlockId, Class};
use crate::error::Result;
use crate::inspect::{Finding, finding};
use crate::order::{Order, no_file};
use crate::point::Point;
use crate::read::Reader;
use crate::tree::{Content, Entry, Node};
use crate::units::Segmented;

/// How many map segments are read at once, and of how many segments of a file of records the states are held.
const READS_AT_ONCE: usize = 8;
pub(crate) const STATES_AT_ONCE: usize = 32;

/// What the walk meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A block is needed. Told once or more often; it was found in the index, its pack has not been looked at.
    Block(BlockId, Class),
    /// A file was gone through: its size, and how many blocks hold its bytes.
    File {
        /// Bytes.
        size: u64,
        /// Blocks, repetitions counted.
        blocks: u64,
    },
    /// Something is damaged or missing, so that references behind it can't be told. **Who deletes must stop here.**
    Broken(Finding),
}

/// Tells all references of a point, in the order of its tree.
///
/// Guarantees: when it ends well and told nothing [`Reference::Broken`], every block was told that restoring the point
/// reads, the tree holds together ([`Order`]), and each map was checked against what it refers to. Errors: the store's own failures; what is wrong with stored
/// bytes is told and the walk goes on. Memory: a few MiB, whatever the size of the files.
pub(crate) async fn references(
    reader: &Reader,
    point: &Point,
    mut each: impl FnMut(Reference) + Send,
) -> Result<()> {
    let mut order = Some(Order::default());
    for segment in &point.tree {
        each(Reference::Block(*segment, Class::Meta));
        match reader.entries(point, segment).await {
            Ok(entries) => {
                for entry in &entries {
                    if let Some(Err(what)) = order.as_mut().map(|order| order.next(entry)) {
                        each(Reference::Broken(Finding { object: point.id.object(), what }));
                        order = None;
                    }
                    of_entry(reader, point, entry, &mut each).await?;
                }
            }
            Err(e) => {
                each(Reference::Broken(finding(e, point)?));
                // What follows a gap can't be in order.
                order = None;
            }
        }
    }
    match order.map(Order::into_linked) {
        Some(linked) if !linked.is_empty() => of_links(reader, point, linked, &mut each).await,
        _ => Ok(()),
    }
}

/// Whether everything that a link names is a file. Reads the tree again, so that only points with links pay for it.
async fn of_links(
    reader: &Reader,
    point: &Point,
    mut linked: BTreeMap<OsString, OsString>,
    each: &mut (impl FnMut(Reference) + Send),
) -> Result<()> {
    for segment in &point.tree {
        for entry in reader.entries(point, segment).await? {
            if matches!(entry.node, Node::File { .. }) {
                linked.remove(&entry.path);
            }
        }
    }
    for (to, link) in linked {
        let what = no_file(&link, &to);
        each(Reference::Broken(Finding { object: point.id.object(), what }));
    }
    Ok(())
}

async fn of_entry(
    reader: &Reader,
    point: &Point,
    entry: &Entry,
    each: &mut (impl FnMut(Reference) + Send),
) -> Result<()> {
    let Node::File { size, content, .. } = &entry.node else { return Ok(()) };
    let file = entry.path.to_string_lossy().into_owned();
    let blocks = match content {
        Content::Units(units) => {
            units.roots.iter().for_each(|id| each(Reference::Block(*id, Class::Meta)));
            match reader.segmented(units, *size, &file).await {
                Ok(segmented) => of_units(reader, point, &segmented, &file, each).await?,
                Err(e) => {
                    each(Reference::Broken(finding(e, point)?));
                    0
                }
            }
        }
        Content::Blocks(_) | Content::Map(_) => of_stream(reader, point, content, *size, &file, each).await?,
    };
    each(Reference::File { size: *size, blocks });
    Ok(())
}

async fn of_stream(
    reader: &Reader,
    point: &Point,
    content: &Content,
    size: u64,
    file: &str,
    each: &mut (impl FnMut(Reference) + Send),
) -> Result<u64> {
    if let Content::Map(ids) = content {
        ids.iter().for_each(|id| each(Reference::Block(*id, Class::Meta)));
    }
    let (from, needed_by) = (reader.clone(), file.to_owned());
    let mut read = ahead(Reader::segments(content), READS_AT_ONCE, move |segment| {
        let (reader, file) = (from.clone(), needed_by.clone());
        async move { reader.extents(&segment, &file).await }.boxed()
    });
    let (mut at, mut blocks, mut whole) = (0, 0, true);
    while let Some(extents) = read.next().await {
        match extents.and_then(|extents| reader.locate(&extents, at, file)) {
            Ok(wanted) => {
                for part in &wanted {
                    each(Reference::Block(part.id, Class::Data));
                    at += u64::from(part.place.raw);
                }
                blocks += wanted.len() as u64;
            }
            Err(e) => {
                whole = false;
                each(Reference::Broken(finding(e, point)?));
            }
        }
    }
    if whole && at != size {
        let what = format!("the blocks of {file} add up to {at} bytes, not {size}");
        each(Reference::Broken(Finding { object: point.id.object(), what }));
    }
    Ok(blocks)
}

async fn of_units(
    reader: &Reader,
    point: &Point,
    file: &Segmented,
    shown: &str,
    each: &mut (impl FnMut(Reference) + Send),
) -> Result<u64> {
    of_dictionaries(reader, point, file, shown, each).await?;
    let mut blocks = 0;
    let mut seen = HashSet::new();
    for first in (0..file.maps.len()).step_by(STATES_AT_ONCE) {
        let segments = first..(first + STATES_AT_ONCE).min(file.maps.len());
        for (number, state) in reader.each_state(file, segments, shown).await {
            let state = match state {
                Ok(state) => state,
                Err(e) => {
                    each(Reference::Block(file.maps[number], Class::Meta));
                    each(Reference::Broken(finding(e, point)?));
                    continue;
                }
            };
            state.chain().iter().for_each(|id| each(Reference::Block(*id, Class::Meta)));
            let section = file.geometry.section(file.size, number as u64);
            match reader.locate_units(&section, &state, shown) {
                Ok(frames) => {
                    blocks += frames.len() as u64;
                    for frame in frames.into_iter().filter(|frame| seen.insert(frame.id)) {
                        each(Reference::Block(frame.id, frame.place.class));
                    }
                }
                Err(e) => each(Reference::Broken(finding(e, point)?)),
            }
        }
        // Blocks shared between segments are rare: what was told is forgotten before it grows.
        seen.clear();
    }
    Ok(blocks)
}

/// What the patches of a file were compressed against. The maps of its segments name the same references.
async fn of_dictionaries(
    reader: &Reader,
    point: &Point,
    file: &Segmented,
    shown: &str,
    each: &mut (impl FnMut(Reference) + Send),
) -> Result<()> {
    if let Err(e) = reader.bounded(file, shown) {
        each(Reference::Broken(finding(e, point)?));
    }
    for reference in &file.references {
        each(Reference::Block(reference.id, Class::Meta));
        let frames = match reader.reference(&reference.id, shown).await {
            Ok(reference) => reference.frames,
            Err(e) => {
                each(Reference::Broken(finding(e, point)?));
                continue;
            }
        };
        for frame in frames {
            match reader.find(Class::Data, &frame, shown) {
                Ok(_) => each(Reference::Block(frame, Class::Data)),
                Err(e) => each(Reference::Broken(finding(e, point)?)),
            }
        }
    }
    Ok(())
}
