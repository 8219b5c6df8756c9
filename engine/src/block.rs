//! Blocks: the unit of deduplication, sealing and checking. A block is named by a keyed hash of its bytes, so equal
//! bytes meet within a repository and nobody without the key can tell whether known bytes are in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::keys::Keys;
use crate::seal::Purpose;

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockId(pub(crate) [u8; 32]);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex::encode(&self.0[..6]))
    }
}

impl Serialize for BlockId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let mut id = [0; 32];
        hex::decode_to_slice(&digits, &mut id).map_err(serde::de::Error::custom)?;
        Ok(Self(id))
    }
}

/// What a block holds. Those of maps and trees lie in packs of their own, so that looking at a point reads little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Bytes of files.
    Data,
    /// Maps, trees, references.
    Meta,
    /// Units of a file, compressed against what a reference names.
    Patch,
}

impl Class {
    fn purpose(self) -> Purpose {
        match self {
            Self::Data => Purpose::Data,
            Self::Meta => Purpose::Meta,
            Self::Patch => Purpose::Patch,
        }
    }
}

/// Blocks whose bytes can be read without others, and are their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alone {
    Data,
    Meta,
}

impl Alone {
    pub(crate) fn class(self) -> Class {
        match self {
            Self::Data => Class::Data,
            Self::Meta => Class::Meta,
        }
    }

    /// The name of a block with these bytes.
    pub(crate) fn id(self, keys: &Keys, raw: &[u8]) -> BlockId {
        let key = match self {
            Self::Data => &keys.data_ids,
            Self::Meta => &keys.meta_ids,
        };
        BlockId(*blake3::keyed_hash(key, raw).as_bytes())
    }
}

/// The name of a patch: of its bytes and of what they were compressed against.
pub(crate) fn patch_id(keys: &Keys, reference: &BlockId, raw: &[u8]) -> BlockId {
    let mut hasher = blake3::Hasher::new_keyed(&keys.patch_ids);
    BlockId(*hasher.update(&reference.0).update(raw).finalize().as_bytes())
}

/// A block ready for a pack.
pub(crate) struct SealedBlock {
    pub(crate) id: BlockId,
    pub(crate) class: Class,
    pub(crate) raw: u32,
    pub(crate) sealed: Vec<u8>,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For what is large.
    Usual,
    /// For what is small and mostly zeros.
    High,
}

/// A block as cut.
pub(crate) struct RawBlock {
    pub(crate) id: BlockId,
    class: Class,
    raw: u32,
    body: Body,
}

enum Body {
    Plain(Effort, Vec<u8>),
    /// Packed already, with room for a nonce.
    Packed(Vec<u8>),
}

impl RawBlock {
    /// Names these bytes.
    pub(crate) fn new(keys: &Keys, class: Alone, effort: Effort, bytes: Vec<u8>) -> Self {
        let (id, raw) = (class.id(keys, &bytes), length(&bytes));
        Self { id, class: class.class(), raw, body: Body::Plain(effort, bytes) }
    }

    /// A patch: its bytes, and the same packed against the reference's dictionary behind room for a nonce.
    pub(crate) fn patch(keys: &Keys, reference: &BlockId, bytes: &[u8], packed: Vec<u8>) -> Self {
        let id = patch_id(keys, reference, bytes);
        Self { id, class: Class::Patch, raw: length(bytes), body: Body::Packed(packed) }
    }

    /// Compresses and encrypts. Takes milliseconds: call it off the async threads.
    pub(crate) fn seal(self, keys: &Keys) -> SealedBlock {
        let Self { id, class, raw, body } = self;
        let purpose = class.purpose();
        let sealed = match body {
            Body::Plain(effort, bytes) => keys.blocks.seal_with(effort, purpose, &id.0, &bytes),
            Body::Packed(packed) => keys.blocks.seal_packed(purpose, &id.0, packed),
        };
        SealedBlock { id, class, raw, sealed }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("blocks are cut at a few MiB")
}

/// What is held against what a block says of itself, besides its authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Its name, which is a hash of its bytes.
    Name,
    /// Its length. For whoever holds the file that it is part of against a hash.
    Length,
}

/// Opens a block that needs no other.
pub(crate) fn open(
    keys: &Keys,
    class: Alone,
    id: BlockId,
    raw: u32,
    sealed: &[u8],
    against: Against,
) -> Option<Vec<u8>> {
    let bytes = keys.blocks.open(class.class().purpose(), &id.0, sealed, raw as usize).ok()?;
    let named = |bytes: &[u8]| against == Against::Length || class.id(keys, bytes) == id;
    (bytes.len() == raw as usize && named(&bytes)).then_some(bytes)
}

/// Opens a patch and holds its bytes against its name.
pub(crate) fn open_patch(
    keys: &Keys,
    id: BlockId,
    raw: u32,
    sealed: &[u8],
    reference: &BlockId,
    dictionary: &[u8],
) -> Option<Vec<u8>> {
    let limit = raw as usize;
    let bytes = keys.blocks.open_against(Purpose::Patch, &id.0, sealed, limit, dictionary).ok()?;
    (bytes.len() == limit && patch_id(keys, reference, &bytes) == id).then_some(bytes)
}

/// Whether a block is what was sealed under its name, as far as can be told without another.
pub(crate) fn is_authentic(keys: &Keys, class: Class, id: BlockId, raw: u32, sealed: &[u8]) -> bool {
    let open = |class| open(keys, class, id, raw, sealed, Against::Name).is_some();
    match class {
        Class::Data => open(Alone::Data),
        Class::Meta => open(Alone::Meta),
        Class::Patch => keys.blocks.authenticate(Purpose::Patch, &id.0, sealed).is_ok(),
    }
}
