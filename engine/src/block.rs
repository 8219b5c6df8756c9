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

/// Whether a block holds bytes of files, or maps and trees. They lie in packs of their own, so that looking at a point
/// reads little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Data,
    Meta,
}

impl Class {
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Data => Purpose::Data,
            Self::Meta => Purpose::Meta,
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
    pub(crate) class: Class,
    pub(crate) effort: Effort,
    pub(crate) bytes: Vec<u8>,
}

impl RawBlock {
    /// Names these bytes.
    pub(crate) fn new(keys: &Keys, class: Class, effort: Effort, bytes: Vec<u8>) -> Self {
        Self { id: class.id(keys, &bytes), class, effort, bytes }
    }

    /// Compresses and encrypts. Takes milliseconds: call it off the async threads.
    pub(crate) fn seal(self, keys: &Keys) -> SealedBlock {
        let sealed = keys.blocks.seal_with(self.effort, self.class.purpose(), &self.id.0, &self.bytes);
        let raw = u32::try_from(self.bytes.len()).expect("blocks are cut at a few MiB");
        SealedBlock { id: self.id, class: self.class, raw, sealed }
    }
}

/// Opens a block and holds its bytes against its name.
pub(crate) fn open(keys: &Keys, class: Class, id: BlockId, raw: u32, sealed: &[u8]) -> Option<Vec<u8>> {
    let bytes = keys.blocks.open(class.purpose(), &id.0, sealed, raw as usize).ok()?;
    (bytes.len() == raw as usize && class.id(keys, &bytes) == id).then_some(bytes)
}
