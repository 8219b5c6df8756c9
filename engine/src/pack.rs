//! Packs: objects of a few MiB that hold sealed blocks back to back, then a sealed footer that lists them, so that an
//! index can be made again from the packs alone. The types follow the write order: an open pack is closed, a closed one
//! uploaded, and only a durable one can be recorded in an index.

use bytes::Bytes;

use crate::block::{BlockId, Class, SealedBlock};
use crate::codec::{Cursor, put_u32};
use crate::envelope::{self, HEAD, Kind};
use crate::error::{Category, Result};
use crate::keys::Keys;
use crate::layout::LARGEST;
use crate::names;
use crate::seal::{self, MAX_PLAIN, Purpose, random};
use crate::store::{Put, Store, StoreError};

/// A pack is closed when it has grown to this. Not part of the format.
const FULL: usize = 6 << 20;

/// The name of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackId(pub(crate) [u8; 16]);

impl PackId {
    pub(crate) fn object(&self) -> String {
        names::pack(&self.0)
    }
}

/// Where a block lies within its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) id: BlockId,
    pub(crate) class: Class,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

impl Placed {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(match self.class {
            Class::Data => 0,
            Class::Meta => 1,
            Class::Patch => 2,
        });
        out.extend_from_slice(&self.id.0);
        put_u32(out, self.offset);
        put_u32(out, self.stored);
        put_u32(out, self.raw);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let class = match cursor.take::<1>()? {
            [0] => Class::Data,
            [1] => Class::Meta,
            [2] => Class::Patch,
            _ => return None,
        };
        let id = BlockId(cursor.take()?);
        let (offset, stored, raw) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        offset.checked_add(stored)?;
        // What a reader allocates for a block is what is said here.
        if raw as usize > LARGEST {
            return None;
        }
        Some(Self { id, class, offset, stored, raw })
    }
}

/// A pack being filled.
pub(crate) struct OpenPack {
    id: PackId,
    bytes: Vec<u8>,
    placed: Vec<Placed>,
}

/// A pack that takes no more.
pub(crate) struct ClosedPack {
    id: PackId,
    body: Bytes,
    placed: Vec<Placed>,
}

/// A pack whose upload was acknowledged.
pub(crate) struct DurablePack {
    pub(crate) id: PackId,
    pub(crate) size: u32,
    pub(crate) placed: Vec<Placed>,
}

impl OpenPack {
    pub(crate) fn new() -> Self {
        Self { id: PackId(random()), bytes: envelope::head(Kind::Pack).to_vec(), placed: Vec::new() }
    }

    pub(crate) fn push(&mut self, block: &SealedBlock) {
        let offset = u32::try_from(self.bytes.len()).expect("a pack is closed at 6 MiB");
        let stored = u32::try_from(block.sealed.len()).expect("blocks are cut at a few MiB");
        if block.class != Class::Meta && self.placed.is_empty() {
            // Once, to the end: growing by doubling would hold half a pack twice. Untouched pages cost nothing.
            self.bytes.reserve_exact(FULL + LARGEST + (1 << 20));
        }
        self.bytes.extend_from_slice(&block.sealed);
        self.placed.push(Placed { id: block.id, class: block.class, offset, stored, raw: block.raw });
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Appends the footer. `None` when nothing was put in.
    pub(crate) fn close(self, keys: &Keys) -> Option<ClosedPack> {
        let Self { id, mut bytes, placed } = self;
        if placed.is_empty() {
            return None;
        }
        let mut list = Vec::new();
        for block in &placed {
            block.write(&mut list);
        }
        let footer = keys.objects.seal(Purpose::Footer, &id.0, &list);
        bytes.extend_from_slice(&footer);
        put_u32(&mut bytes, u32::try_from(footer.len()).expect("a footer lists thousands of blocks at most"));
        Some(ClosedPack { id, body: Bytes::from(bytes), placed })
    }
}

impl ClosedPack {
    pub(crate) async fn upload(self, store: &dyn Store) -> Result<DurablePack> {
        let Self { id, body, placed } = self;
        let size = u32::try_from(body.len()).expect("a pack is closed at 6 MiB");
        match store.put_if_absent(&id.object(), body).await? {
            Put::Created => Ok(DurablePack { id, size, placed }),
            Put::Exists => Err(StoreError {
                category: Category::AlreadyExists,
                action: "write",
                object: id.object(),
                place: store.place(),
                detail: "another object has this random name: the store does not keep what it acknowledges"
                    .into(),
            }
            .into()),
        }
    }
}

/// Why a pack's frame can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPack {
    Newer(u32),
    Damaged(&'static str),
}

/// Where the footer of a pack of this size with this trailing length lies, as (offset, length).
pub(crate) fn footer_place(size: u64, trailer: [u8; 4]) -> Option<(u64, u64)> {
    let length = u64::from(u32::from_be_bytes(trailer));
    let end = size.checked_sub(4)?;
    let start = end.checked_sub(length)?;
    (start >= HEAD as u64 && length >= seal::OVERHEAD as u64).then_some((start, length))
}

/// Reads the list of blocks out of a pack in the store, checking head, footer, and that the blocks fill what lies
/// between without a gap. The outer error is the store's.
pub(crate) async fn read_footer(
    store: &dyn Store,
    keys: &Keys,
    id: PackId,
    size: u64,
) -> std::result::Result<std::result::Result<Vec<Placed>, BadPack>, StoreError> {
    let object = id.object();
    if size < HEAD as u64 + 4 {
        return Ok(Err(BadPack::Damaged("it is cut short")));
    }
    let head = store.get(&object, Some(0..HEAD as u64)).await?;
    match envelope::body(Kind::Pack, &head) {
        Ok(_) => {}
        Err(envelope::BadHead::Newer(found)) => return Ok(Err(BadPack::Newer(found))),
        Err(envelope::BadHead::Damaged) => return Ok(Err(BadPack::Damaged("its head is no pack's"))),
    }
    let trailer = store.get(&object, Some(size - 4..size)).await?;
    let trailer: [u8; 4] = trailer.as_ref().try_into().unwrap_or([0; 4]);
    let Some((start, length)) = footer_place(size, trailer) else {
        return Ok(Err(BadPack::Damaged("its last bytes point to no footer")));
    };
    let sealed = store.get(&object, Some(start..start + length)).await?;
    let Ok(list) = keys.objects.open(Purpose::Footer, &id.0, &sealed, MAX_PLAIN) else {
        return Ok(Err(BadPack::Damaged("its footer fails authentication")));
    };
    Ok(read_list(&list, start).map_err(BadPack::Damaged))
}

/// The blocks of a footer, which fill what lies between the head and its own start.
pub(crate) fn read_list(list: &[u8], start: u64) -> std::result::Result<Vec<Placed>, &'static str> {
    let mut cursor = Cursor::new(list);
    let mut placed = Vec::new();
    let mut end = HEAD as u64;
    while !cursor.is_done() {
        match Placed::read(&mut cursor) {
            Some(block) if u64::from(block.offset) == end => {
                end += u64::from(block.stored);
                placed.push(block);
            }
            _ => return Err("its footer makes no sense"),
        }
    }
    if end == start { Ok(placed) } else { Err("its footer doesn't cover it") }
}
