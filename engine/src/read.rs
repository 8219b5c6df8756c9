//! Reading blocks back. Neighbours within a pack are fetched by one request; every block is authenticated, decompressed
//! and held against its name before anybody sees a byte of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, TryStreamExt};

use crate::ahead::ahead;
use crate::block::{self, Against, Alone, BlockId, Class};
use crate::error::{Category, Error, Result};
use crate::index::{Index, Place};
use crate::older::older;
use crate::pack::PackId;
use crate::point::Point;
use crate::repository::{Repository, blocking};
use crate::tree::{Content, Entry, Extent, Node, read_entries, read_extents};

const READS_AT_ONCE: usize = 8;
/// A request grows to about this, in the pack and unpacked.
const RUN_STORED: u32 = 2 << 20;
const RUN_RAW: u64 = 4 << 20;

/// A block wanted, and where its bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) id: BlockId,
    /// Offset within the file.
    pub(crate) at: u64,
    pub(crate) place: Place,
}

/// A block that was read, with its bytes.
pub(crate) type Fetched = (Wanted, Vec<u8>);

/// Blocks that lie next to each other in a pack.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pack: PackId,
    range: Range<u32>,
    pub(crate) parts: Vec<Wanted>,
}

/// Reads blocks of an open repository.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) repo: Repository,
    pub(crate) index: Arc<Index>,
}

impl Reader {
    pub(crate) fn missing(&self, needed_by: &str, id: &BlockId) -> Error {
        let mut what = format!("block {id:?}");
        if let Some((object, why)) = self.index.damaged.first() {
            what = format!("{what} (perhaps listed in {object}: {why})");
        }
        Error::Missing { place: self.repo.place(), needed_by: needed_by.to_owned(), what }
    }

    /// The pack that holds a block, for messages; empty if none is known.
    pub(crate) fn object_of(&self, id: &BlockId) -> String {
        self.index.find(id).map(|place| place.pack.id.object()).unwrap_or_default()
    }

    pub(crate) fn find(&self, class: Class, id: &BlockId, needed_by: &str) -> Result<Place> {
        self.index.find(id).filter(|p| p.class == class).ok_or_else(|| self.missing(needed_by, id))
    }

    /// Where these stretches of a file are, beginning at an offset of the file.
    pub(crate) fn locate(&self, extents: &[Extent], mut at: u64, needed_by: &str) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::with_capacity(extents.len());
        for extent in extents {
            let place = self.find(Class::Data, &extent.id, needed_by)?;
            if place.raw != extent.raw {
                let what = format!("block {:?} has another length than {needed_by} recorded", extent.id);
                return Err(self.repo.damaged(&place.pack.id.object(), what));
            }
            wanted.push(Wanted { id: extent.id, at, place });
            at += u64::from(extent.raw);
        }
        Ok(wanted)
    }

    /// Joins neighbours, keeping the order.
    pub(crate) fn runs(wanted: Vec<Wanted>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for part in wanted {
            let Place { pack, offset, stored, raw, .. } = part.place;
            if let Some(run) = runs.last_mut() {
                let raws: u64 = run.parts.iter().map(|p| u64::from(p.place.raw)).sum();
                let joins = run.pack == pack.id
                    && run.range.end == offset
                    && offset + stored - run.range.start <= RUN_STORED
                    && raws + u64::from(raw) <= RUN_RAW;
                if joins {
                    run.range.end = offset + stored;
                    run.parts.push(part);
                    continue;
                }
            }
            runs.push(Run { pack: pack.id, range: offset..offset + stored, parts: vec![part] });
        }
        runs
    }

    /// The bytes of each part of a run.
    pub(crate) async fn fetch(
        &self,
        class: Alone,
        run: &Run,
        against: Against,
        needed_by: &str,
    ) -> Result<Vec<Vec<u8>>> {
        let open = move |repo: &Repository, part: &Wanted, sealed: &[u8]| {
            block::open(repo.keys(), class, part.id, part.place.raw, sealed, against)
        };
        self.each(run, needed_by, open).await
    }

    /// Blocks with their bytes, a run at a time, several requests ahead, in the order given.
    pub(crate) fn fetched(
        &self,
        wanted: Vec<Wanted>,
        at_once: usize,
        class: Alone,
        against: Against,
        needed_by: &str,
    ) -> BoxStream<'static, Result<Vec<Fetched>>> {
        let (reader, needed_by) = (self.clone(), needed_by.to_owned());
        ahead(Self::runs(wanted), at_once, move |run| {
            let (reader, needed_by) = (reader.clone(), needed_by.clone());
            async move {
                let fetched = reader.fetch(class, &run, against, &needed_by).await?;
                Ok(run.parts.into_iter().zip(fetched).collect())
            }
            .boxed()
        })
    }

    /// Checks each part of a run as far as that can be done without other blocks.
    pub(crate) async fn prove(&self, run: &Run, needed_by: &str) -> Result<()> {
        let prove = |repo: &Repository, part: &Wanted, sealed: &[u8]| {
            block::is_authentic(repo.keys(), part.place.class, part.id, part.place.raw, sealed).then_some(())
        };
        self.each(run, needed_by, prove).await.map(drop)
    }

    /// What `open` makes of one block, such as a patch, which needs another to be opened.
    pub(crate) async fn one<T: Send + 'static>(
        &self,
        class: Class,
        id: BlockId,
        needed_by: &str,
        open: impl Fn(&Repository, &Wanted, &[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let place = self.find(class, &id, needed_by)?;
        let range = place.offset..place.offset + place.stored;
        let run = Run { pack: place.pack.id, range, parts: vec![Wanted { id, at: 0, place }] };
        Ok(self.each(&run, needed_by, open).await?.pop().expect("one part was asked for"))
    }

    /// What `open` makes of each part of a run, or of an older version of the object where the newest one fails.
    async fn each<T: Send + 'static>(
        &self,
        run: &Run,
        needed_by: &str,
        open: impl Fn(&Repository, &Wanted, &[u8]) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let object = run.pack.object();
        let range = u64::from(run.range.start)..u64::from(run.range.end);
        let (by, start, parts) = (self.repo.clone(), run.range.start, run.parts.clone());
        let open_all = Arc::new(move |stored: &Bytes| {
            let open = |part: &Wanted| {
                let from = (part.place.offset - start) as usize;
                let sealed = stored.get(from..from + part.place.stored as usize).ok_or(part.id)?;
                open(&by, part, sealed).ok_or(part.id)
            };
            parts.iter().map(open).collect::<std::result::Result<Vec<T>, BlockId>>()
        });
        let failure = match self.repo.store().get(&object, Some(range.clone())).await {
            Ok(stored) => {
                let open = Arc::clone(&open_all);
                match blocking(move || open(&stored)).await {
                    Ok(opened) => return Ok(opened),
                    Err(id) => {
                        let what = format!("block {id:?} fails authentication ({needed_by} needs it)");
                        self.repo.damaged(&object, what)
                    }
                }
            }
            Err(e) if e.is_not_found() => {
                let (needed_by, what) = (needed_by.to_owned(), object.clone());
                Error::Missing { place: self.repo.place(), needed_by, what }
            }
            Err(e) if e.category == Category::Corrupt => {
                self.repo.damaged(&object, format!("it is cut short ({needed_by} needs it)"))
            }
            Err(e) => return Err(e.into()),
        };
        let proved = |stored: &Bytes| open_all(stored).ok();
        older(self.repo.store(), &object, Some(range), proved).await?.ok_or(failure)
    }

    /// Blocks of maps or trees, in the order asked for; neighbours in a pack by one request.
    pub(crate) async fn metas(&self, ids: &[BlockId], needed_by: &str) -> Result<Vec<Vec<u8>>> {
        let mut wanted = Vec::with_capacity(ids.len());
        for (number, id) in (0..).zip(ids) {
            wanted.push(Wanted { id: *id, at: number, place: self.find(Class::Meta, id, needed_by)? });
        }
        wanted.sort_by_key(|part| (part.place.pack.id, part.place.offset, part.at));
        let mut read = self.fetched(wanted, READS_AT_ONCE, Alone::Meta, Against::Name, needed_by);
        let mut blocks = vec![Vec::new(); ids.len()];
        while let Some(fetched) = read.try_next().await? {
            for (part, bytes) in fetched {
                blocks[part.at as usize] = bytes;
            }
        }
        Ok(blocks)
    }

    async fn meta(&self, id: &BlockId, needed_by: &str) -> Result<Vec<u8>> {
        Ok(self.metas(&[*id], needed_by).await?.pop().unwrap_or_default())
    }

    /// One segment of a point's tree.
    pub(crate) async fn entries(&self, point: &Point, segment: &BlockId) -> Result<Vec<Entry>> {
        let needed_by = format!("the tree of point {}", point.id);
        let bytes = self.meta(segment, &needed_by).await?;
        read_entries(&bytes).ok_or_else(|| {
            self.repo.damaged(&point.id.object(), format!("tree segment {segment:?} makes no sense"))
        })
    }

    /// What one segment of a point's tree holds of the part that is meant, as seen from there.
    pub(crate) async fn meant(&self, point: &Point, segment: &BlockId) -> Result<Vec<Entry>> {
        let entries = self.entries(point, segment).await?;
        let Some(part) = &point.part else { return Ok(entries) };
        let within = |entry: Entry| {
            let name = entry.path.to_string_lossy().into_owned();
            entry.within(part).map_err(|first| {
                let (first, part) = (first.to_string_lossy(), part.to_string_lossy());
                Error::Input(format!("{name} is another name of {first}, which lies outside {part}"))
            })
        };
        entries.into_iter().filter_map(|entry| within(entry).transpose()).collect()
    }

    /// Refuses a part that the point doesn't have: a target would be emptied for it.
    pub(crate) async fn has_what_is_meant(&self, point: &Point) -> Result<()> {
        let Some(part) = &point.part else { return Ok(()) };
        for segment in &point.tree {
            let entries = self.meant(point, segment).await?;
            if entries.iter().any(|entry| entry.path == "." && matches!(entry.node, Node::Directory)) {
                return Ok(());
            }
        }
        Err(Error::Input(format!("point {} has no directory {}", point.id, part.to_string_lossy())))
    }

    /// The segments of the map of a file that was cut as a stream; one for a small file.
    pub(crate) fn segments(content: &Content) -> Vec<Segment> {
        match content {
            Content::Blocks(extents) => vec![Segment::Here(extents.clone())],
            Content::Map(ids) => ids.iter().copied().map(Segment::Stored).collect(),
            Content::Units(_) => Vec::new(),
        }
    }

    /// The stretches of one segment.
    pub(crate) async fn extents(&self, segment: &Segment, needed_by: &str) -> Result<Vec<Extent>> {
        match segment {
            Segment::Here(extents) => Ok(extents.clone()),
            Segment::Stored(id) => {
                let bytes = self.meta(id, needed_by).await?;
                read_extents(&bytes).ok_or_else(|| {
                    let what = format!("map segment {id:?} of {needed_by} makes no sense");
                    self.repo.damaged(&self.object_of(id), what)
                })
            }
        }
    }
}

/// A part of a file's map.
pub(crate) enum Segment {
    Here(Vec<Extent>),
    Stored(BlockId),
}
