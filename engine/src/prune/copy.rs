//! Copies blocks into new packs, out of packs that are to go. Blocks are sealed under their own names, so their sealed
//! bytes move as they are; each is opened and held against its name before it is copied.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::condemned::Condemned;
use crate::block::{self, BlockId, Class, SealedBlock};
use crate::error::{Error, Result};
use crate::index::{IndexPiece, KnownPack, Place};
use crate::lease::Lease;
use crate::older::older;
use crate::pack::{OpenPack, Placed};
use crate::point::Point;
use crate::read::Reader;
use crate::references::{Reference, references};
use crate::repository::{Repository, blocking};

/// Blocks that lie closer than this in a pack are read by one request.
const GAP: u32 = 128 << 10;
/// A request grows to about this.
const REQUEST: u32 = 8 << 20;
const PACKS_A_PIECE: usize = 8;
/// How often a capture moves out of packs that were condemned meanwhile.
const MOVES: usize = 5;

/// Makes what a point needs independent of all that is condemned, so that no sweep can take it away: needed blocks that
/// lie in condemned packs are copied. What is condemned after the last look of this function can't be swept before the
/// shortest wait of a prune has passed; the point has to be committed well before that.
///
/// References that are broken are left to the inspection, which names them.
pub(crate) async fn secure(mut reader: Reader, point: &Point) -> Result<Reader> {
    for _ in 0..MOVES {
        let condemned = Condemned::read(&reader.repo).await?.packs();
        if condemned.is_empty() {
            return Ok(reader);
        }
        let mut at_risk: HashSet<BlockId> = HashSet::new();
        references(&reader, point, |reference| {
            if let Reference::Block(id, _) = reference
                && reader.index.find(&id).is_some_and(|place| condemned.contains(&place.pack.id))
            {
                at_risk.insert(id);
            }
        })
        .await?;
        if at_risk.is_empty() {
            return Ok(reader);
        }
        tracing::info!("{} blocks are copied out of packs that a prune condemned meanwhile", at_risk.len());
        let moved = copy(&reader, at_risk, None).await?;
        let index = Arc::make_mut(&mut reader.index);
        index.avoid(condemned);
        for (pack, placed) in &moved.packs {
            index.relocate(*pack, placed);
        }
    }
    Err(Error::UnderMaintenance {
        place: reader.repo.place(),
        what: "a prune condemns faster than a capture can move".to_owned(),
        since: "just now".to_owned(),
    })
}

/// What was copied.
#[derive(Default)]
pub(super) struct Copied {
    /// Where it lies now, as the index pieces said when they were read back.
    pub(super) packs: Vec<(KnownPack, Vec<Placed>)>,
    /// Bytes of the new packs.
    pub(super) bytes: u64,
}

/// Copies these blocks, which the index must know. When it returns they are durable and indexed.
pub(super) async fn copy(
    reader: &Reader,
    blocks: HashSet<BlockId>,
    mut lease: Option<&mut Lease>,
) -> Result<Copied> {
    let mut places: Vec<(BlockId, Place)> = Vec::with_capacity(blocks.len());
    for id in blocks {
        places.push((id, reader.index.find(&id).ok_or_else(|| reader.missing("a point", &id))?));
    }
    places.sort_by_key(|(_, place)| (place.pack.id, place.offset));
    let mut writer = Writer {
        repo: &reader.repo,
        data: OpenPack::new(),
        meta: OpenPack::new(),
        piece: IndexPiece::default(),
        copied: Copied::default(),
    };
    for run in runs(&places) {
        if let Some(lease) = &mut lease {
            lease.keep().await?;
        }
        for block in sealed(&reader.repo, run).await? {
            writer.push(&block).await?;
        }
    }
    writer.finish().await
}

/// Neighbours, near enough for one request.
fn runs(places: &[(BlockId, Place)]) -> impl Iterator<Item = &[(BlockId, Place)]> {
    let mut begun = None;
    places.chunk_by(move |(_, a), (_, b)| {
        let end = a.offset + a.stored;
        let near = a.pack.id == b.pack.id && b.offset >= end && b.offset - end <= GAP;
        let start = *begun.get_or_insert(a.offset);
        let joins = near && b.offset + b.stored - start <= REQUEST;
        if !joins {
            begun = None;
        }
        joins
    })
}

/// The sealed bytes of a run, each block proved.
async fn sealed(repo: &Repository, run: &[(BlockId, Place)]) -> Result<Vec<SealedBlock>> {
    let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let object = first.pack.id.object();
    let (start, end) = (first.offset, last.offset + last.stored);
    let range = u64::from(start)..u64::from(end);
    let bytes = repo.store().get(&object, Some(range.clone())).await?;
    let (by, owned) = (repo.clone(), run.to_vec());
    let failed = match blocking(move || prove_all(&by, &bytes, start, &owned)).await {
        Ok(proved) => return Ok(proved),
        Err(id) => id,
    };
    let proved = |bytes: &Bytes| prove_all(repo, bytes, start, run).ok();
    older(repo.store(), &object, Some(range), proved).await?.ok_or_else(|| {
        repo.damaged(&object, format!("block {failed:?} fails authentication and can't be copied"))
    })
}

fn prove_all(
    repo: &Repository,
    bytes: &Bytes,
    start: u32,
    run: &[(BlockId, Place)],
) -> std::result::Result<Vec<SealedBlock>, BlockId> {
    run.iter().map(|(id, place)| prove(repo, bytes, start, *id, *place).ok_or(*id)).collect()
}

fn prove(repo: &Repository, bytes: &Bytes, start: u32, id: BlockId, place: Place) -> Option<SealedBlock> {
    let from = (place.offset - start) as usize;
    let sealed = bytes.get(from..from + place.stored as usize)?;
    let authentic = block::is_authentic(repo.keys(), place.class, id, place.raw, sealed);
    authentic.then(|| SealedBlock { id, class: place.class, raw: place.raw, sealed: sealed.to_vec() })
}

/// Fills packs and index pieces, one upload at a time: maintenance has time.
struct Writer<'a> {
    repo: &'a Repository,
    data: OpenPack,
    meta: OpenPack,
    piece: IndexPiece,
    copied: Copied,
}

impl Writer<'_> {
    async fn push(&mut self, block: &SealedBlock) -> Result<()> {
        let pack = match block.class {
            Class::Data | Class::Patch => &mut self.data,
            Class::Meta => &mut self.meta,
        };
        pack.push(block);
        if pack.is_full() {
            let full = std::mem::replace(pack, OpenPack::new());
            self.upload(full).await?;
        }
        Ok(())
    }

    async fn upload(&mut self, pack: OpenPack) -> Result<()> {
        let Some(closed) = pack.close(self.repo.keys()) else { return Ok(()) };
        let durable = closed.upload(self.repo.store()).await?;
        self.copied.bytes += u64::from(durable.size);
        self.piece.record(&durable);
        if self.piece.packs() >= PACKS_A_PIECE { self.end_piece().await } else { Ok(()) }
    }

    async fn end_piece(&mut self) -> Result<()> {
        let (_, packs) = std::mem::take(&mut self.piece).write(self.repo).await?;
        self.copied.packs.extend(packs);
        Ok(())
    }

    async fn finish(mut self) -> Result<Copied> {
        let data = std::mem::replace(&mut self.data, OpenPack::new());
        let meta = std::mem::replace(&mut self.meta, OpenPack::new());
        self.upload(data).await?;
        self.upload(meta).await?;
        if self.piece.packs() > 0 {
            self.end_piece().await?;
        }
        Ok(self.copied)
    }
}
