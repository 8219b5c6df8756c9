//! The index: which block lies where. Written in pieces, each listing packs that are durable; read whole into memory
//! (about 100 bytes a block). A damaged or lost piece is no disaster: what it listed is read from the footers of the packs,
//! and the next capture or prune lists it again. So pieces need no lock where packs are locked.

use std::collections::{HashMap, HashSet};

use futures::{FutureExt, StreamExt};

use crate::ahead::ahead;
use crate::block::{BlockId, Class};
use crate::codec::{Cursor, put_u32};
use crate::envelope::Kind;
use crate::error::{Category, Error, Result};
use crate::names;
use crate::older::has_older_of;
use crate::pack::{BadPack, DurablePack, PackId, Placed, read_footer};
use crate::repository::Repository;
use crate::seal::random;
use crate::store::Object;

const READS_AT_ONCE: usize = 8;
/// A piece is closed when it has grown to this.
pub(crate) const PIECE: usize = 2 << 20;
/// How often the index is read again because a prune compacted it meanwhile.
const COMPACTIONS: usize = 5;

/// A pack as the index knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownPack {
    pub(crate) id: PackId,
    pub(crate) size: u32,
}

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) pack: KnownPack,
    pub(crate) class: Class,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

#[derive(Clone, Copy)]
struct Slim {
    pack: u32,
    class: Class,
    offset: u32,
    stored: u32,
    raw: u32,
}

/// All that is known.
#[derive(Default, Clone)]
pub(crate) struct Index {
    packs: Vec<KnownPack>,
    numbers: HashMap<PackId, u32>,
    blocks: HashMap<BlockId, Slim>,
    /// Packs that the store lists, with their sizes.
    listed: HashMap<PackId, u64>,
    /// Packs that are to go: another one is taken where there is one.
    condemned: HashSet<PackId>,
    /// Packs that no piece lists, read from their own footers.
    unlisted: HashMap<PackId, (u32, Vec<Placed>)>,
    /// Packs that somebody wrote over: their older versions are read, and nothing new relies on them.
    rewritten: HashSet<PackId>,
    /// Pieces and packs that could not be read, with what is wrong with them.
    pub(crate) damaged: Vec<(String, String)>,
    /// How many pieces were read.
    pub(crate) pieces: usize,
}

impl Index {
    pub(crate) fn add(&mut self, pack: KnownPack, placed: &[Placed]) {
        let next = u32::try_from(self.packs.len()).expect("2^32 packs are 32 PiB");
        let number = *self.numbers.entry(pack.id).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        for block in placed {
            let Placed { id, class, offset, stored, raw } = *block;
            let slim = Slim { pack: number, class, offset, stored, raw };
            // A block may lie in two packs, when two captures met or one stored anew what had been lost.
            let known = self.blocks.entry(id).or_insert(slim);
            let worth = |pack: &KnownPack| {
                u8::from(is_whole(&self.listed, pack)) * 2 + u8::from(!self.condemned.contains(&pack.id))
            };
            if self.packs.get(known.pack as usize).is_none_or(|known| worth(&pack) > worth(known)) {
                *known = slim;
            }
        }
    }

    pub(crate) fn contains(&self, id: &BlockId) -> bool {
        self.blocks.contains_key(id)
    }

    pub(crate) fn find(&self, id: &BlockId) -> Option<Place> {
        let Slim { pack, class, offset, stored, raw } = *self.blocks.get(id)?;
        let pack = *self.packs.get(pack as usize)?;
        Some(Place { pack, class, offset, stored, raw })
    }

    pub(crate) fn packs(&self) -> &[KnownPack] {
        &self.packs
    }

    /// Every block with its place.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (BlockId, Place)> + '_ {
        self.blocks.keys().filter_map(|id| Some((*id, self.find(id)?)))
    }

    /// Forgets what lies in packs that are gone, have another size than recorded, were written over or are condemned, so
    /// that a capture stores it anew.
    pub(crate) fn keep_whole(&mut self) {
        let Self { packs, blocks, listed, condemned, rewritten, .. } = self;
        let stays = |pack: &KnownPack| {
            is_whole(listed, pack) && !condemned.contains(&pack.id) && !rewritten.contains(&pack.id)
        };
        blocks.retain(|_, slim| packs.get(slim.pack as usize).is_some_and(stays));
    }

    /// Takes another pack than these from now on, where it gets to know one.
    pub(crate) fn avoid(&mut self, condemned: HashSet<PackId>) {
        self.condemned = condemned;
    }

    /// Learns of a new pack that was seen in the store and holds what others hold too.
    pub(crate) fn relocate(&mut self, pack: KnownPack, placed: &[Placed]) {
        self.listed.insert(pack.id, pack.size.into());
        self.add(pack, placed);
    }

    /// Whether the store lists a pack with the size that is recorded for it.
    pub(crate) fn is_whole(&self, pack: &KnownPack) -> bool {
        is_whole(&self.listed, pack)
    }

    /// Reads every piece there is.
    pub(crate) async fn load(repo: &Repository) -> Result<Self> {
        Self::load_avoiding(repo, &HashSet::new()).await
    }

    /// Reads every piece there is, and takes blocks from other packs than these where it can.
    pub(crate) async fn load_avoiding(repo: &Repository, condemned: &HashSet<PackId>) -> Result<Self> {
        for _ in 0..COMPACTIONS {
            if let Some(index) = Self::try_load(repo, condemned).await? {
                return Ok(index);
            }
        }
        Err(repo.damaged(names::INDEX, "its pieces vanish faster than they can be read"))
    }

    /// `None` when a piece vanished under the reader: what it listed stands in another by now.
    async fn try_load(repo: &Repository, condemned: &HashSet<PackId>) -> Result<Option<Self>> {
        let listed = repo.store().list(names::INDEX).await?;
        // After the pieces: a pack is durable before a piece names it.
        let packs = repo.store().list(names::PACKS).await?;
        let mut index = Self { condemned: condemned.clone(), ..Self::default() };
        for Object { name, size, rewritten, .. } in packs {
            let Some(id) = pack_id(&name) else { continue };
            index.listed.insert(id, size);
            if rewritten {
                index.rewritten.insert(id);
            }
        }
        let from = repo.clone();
        let mut pieces = ahead(listed, READS_AT_ONCE, move |object| {
            let repo = from.clone();
            async move {
                let read = repo.read_object(Kind::Index, &object.name).await;
                (object.name, read)
            }
            .boxed()
        });
        while let Some((name, read)) = pieces.next().await {
            match read.map(|(_, body)| decode(&body)) {
                Ok(Some(packs)) => {
                    index.pieces += 1;
                    for pack in packs {
                        index.add(KnownPack { id: pack.id, size: pack.size }, &pack.placed);
                    }
                }
                Ok(None) => index.damaged.push((name, "its content makes no sense".to_owned())),
                Err(Error::Damaged { what, .. }) => index.damaged.push((name, what)),
                Err(e) if e.category() == Category::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        index.read_unlisted_footers(repo).await?;
        Ok(Some(index))
    }

    /// Packs of which no piece tells: of captures that are under way or died, a few; more where pieces were lost.
    async fn read_unlisted_footers(&mut self, repo: &Repository) -> Result<()> {
        let unlisted: Vec<(PackId, u64)> = self
            .listed
            .iter()
            .filter(|(id, _)| !self.numbers.contains_key(id))
            .map(|(id, size)| (*id, *size))
            .collect();
        let pieces_are_whole = self.damaged.is_empty();
        let from = repo.clone();
        let mut footers = ahead(unlisted, READS_AT_ONCE, move |(id, length)| {
            let repo = from.clone();
            async move { (id, length, read_footer(repo.store(), repo.keys(), id, length).await) }.boxed()
        });
        while let Some((id, length, footer)) = footers.next().await {
            let Ok(size) = u32::try_from(length) else { continue };
            match footer {
                Ok(Ok(placed)) => {
                    self.add(KnownPack { id, size }, &placed);
                    self.unlisted.insert(id, (size, placed));
                }
                // Nobody said that it is one of ours, or that anything needs it.
                Ok(Err(_)) if pieces_are_whole => {}
                Ok(Err(BadPack::Newer(found))) => return Err(repo.newer(&id.object(), found)),
                Ok(Err(BadPack::Damaged(what))) => self.damaged.push((id.object(), what.to_owned())),
                // Swept between the list and the read, or shorter than listed.
                Err(e) if matches!(e.category, Category::NotFound | Category::Corrupt) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Writes pieces for those of these packs that none lists, so that whoever reads finds them as quickly as the others.
    pub(crate) async fn list_again(&self, repo: &Repository, packs: &[PackId]) -> Result<()> {
        let mut piece = IndexPiece::default();
        for id in packs {
            let Some((size, placed)) = self.unlisted.get(id) else { continue };
            piece.record(&DurablePack { id: *id, size: *size, placed: placed.clone() });
            if piece.bytes() >= PIECE {
                std::mem::take(&mut piece).write(repo).await?;
            }
        }
        if piece.packs() > 0 {
            piece.write(repo).await?;
        }
        Ok(())
    }

    /// Whether no piece lists this pack.
    pub(crate) fn is_unlisted(&self, pack: &PackId) -> bool {
        self.unlisted.contains_key(pack)
    }
}

fn is_whole(listed: &HashMap<PackId, u64>, pack: &KnownPack) -> bool {
    listed.get(&pack.id) == Some(&u64::from(pack.size))
}

pub(crate) fn pack_id(object: &str) -> Option<PackId> {
    let mut id = [0; 16];
    hex::decode_to_slice(names::last_part(object), &mut id).ok()?;
    Some(PackId(id))
}

pub(crate) fn decode(body: &[u8]) -> Option<Vec<DurablePack>> {
    let mut cursor = Cursor::new(body);
    let mut packs = Vec::new();
    while !cursor.is_done() {
        let (id, size, count) = (PackId(cursor.take()?), cursor.u32()?, cursor.u32()?);
        let placed: Option<Vec<Placed>> = (0..count).map(|_| Placed::read(&mut cursor)).collect();
        packs.push(DurablePack { id, size, placed: placed? });
    }
    Some(packs)
}

/// What a stored piece lists.
pub(crate) async fn read_piece(repo: &Repository, name: &str) -> Result<Vec<DurablePack>> {
    let (_, body) = repo.read_object(Kind::Index, name).await?;
    decode(&body).ok_or_else(|| repo.damaged(name, "its content makes no sense"))
}

/// A piece of the index being written. Takes durable packs only: an index never promises what may not be there.
#[derive(Default)]
pub(crate) struct IndexPiece {
    body: Vec<u8>,
    packs: usize,
}

impl IndexPiece {
    pub(crate) fn record(&mut self, pack: &DurablePack) {
        self.packs += 1;
        self.body.extend_from_slice(&pack.id.0);
        put_u32(&mut self.body, pack.size);
        put_u32(&mut self.body, u32::try_from(pack.placed.len()).expect("a pack holds thousands of blocks"));
        for block in &pack.placed {
            block.write(&mut self.body);
        }
    }

    pub(crate) fn packs(&self) -> usize {
        self.packs
    }

    pub(crate) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Writes the piece and reads it back; returns its object name and what the store then held.
    pub(crate) async fn write(self, repo: &Repository) -> Result<(String, Vec<(KnownPack, Vec<Placed>)>)> {
        let name = format!("{}{}", names::INDEX, hex::encode(random::<16>()));
        repo.write_object(Kind::Index, &name, &self.body).await?;
        let (_, back) = repo.read_object(Kind::Index, &name).await?;
        let packs = decode(&back).ok_or_else(|| repo.damaged(&name, "it came back with other content"))?;
        let packs = packs.into_iter().map(|p| (KnownPack { id: p.id, size: p.size }, p.placed)).collect();
        Ok((name, packs))
    }
}

/// What was seen of packs.
#[derive(Debug, Default)]
pub(crate) struct SeenPacks {
    /// Those that are there with their recorded sizes, as the store told of them.
    pub(crate) whole: Vec<(PackId, Object)>,
    /// Those that are missing or have another size, with what is wrong.
    pub(crate) wrong: Vec<(PackId, String)>,
}

/// Looks at each pack and compares sizes. One that was written over counts as whole if an older version has the size.
pub(crate) async fn check_packs(repo: &Repository, packs: HashSet<(PackId, u32)>) -> Result<SeenPacks> {
    let from = repo.clone();
    let mut heads = ahead(packs.into_iter().collect(), READS_AT_ONCE, move |(id, size)| {
        let repo = from.clone();
        async move { (id, size, repo.store().head(&id.object()).await) }.boxed()
    });
    let mut seen = SeenPacks::default();
    while let Some((id, size, head)) = heads.next().await {
        let (what, object) = match head {
            Ok(object) if object.size == u64::from(size) => {
                seen.whole.push((id, object));
                continue;
            }
            Ok(object) => (format!("it has {} bytes instead of {size}", object.size), object),
            Err(e) if e.is_not_found() => {
                seen.wrong.push((id, "it is missing".to_owned()));
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        match has_older_of(repo.store(), &object.name, size.into()).await? {
            true => seen.whole.push((id, object)),
            false => seen.wrong.push((id, what)),
        }
    }
    Ok(seen)
}
