//! The pickle's meaning: ids, labels and a few numbers, in 20 bytes an id.

use std::{fs::File, io::BufReader, path::Path};

use super::machine::{PickleError, Scalar, read};

/// What the pickle says beside its maps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PickleNumbers {
    /// Elements ever added. The next label is one more.
    pub total_elements_added: Option<u64>,
    /// The last log row that is in the index. Written by 0.4 only, and left stale by later versions.
    pub max_seq_id: Option<u64>,
    /// Floats a vector, where it is told.
    pub dimensionality: Option<u64>,
}

/// The ids of a segment with their labels. Ids are kept as hashes: 20 bytes each, however long they are.
#[derive(Default)]
pub struct IdMap {
    sorted: Vec<Slot>,
    numbers: PickleNumbers,
    maps_agree: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    id: [u8; 16],
    label: [u8; 4],
}

/// The hash by which an id is known here.
fn hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    short
}

impl IdMap {
    /// Reads the pickle of a segment.
    pub fn read(path: &Path) -> Result<IdMap, PickleError> {
        let mut sorted = Vec::new();
        let mut numbers = PickleNumbers::default();
        // The second map has to be the first one turned round: compared without keeping it, by sums of hashes of the pairs.
        let (mut forth, mut back) = (0u128, 0u128);
        let file = File::open(path).map_err(PickleError::Read)?;
        read(BufReader::with_capacity(1 << 16, file), |entry| match (entry.dict, entry.key, entry.value) {
            (Some("id_to_label"), Scalar::Text(id), Scalar::Int(label)) => {
                let id = hash(id);
                forth = forth.wrapping_add(pair(id, *label));
                sorted.push(Slot { id, label: (*label as u32).to_be_bytes() });
            }
            (Some("label_to_id"), Scalar::Int(label), Scalar::Text(id)) => {
                back = back.wrapping_add(pair(hash(id), *label));
            }
            (None, Scalar::Text(name), Scalar::Int(number)) => {
                let number = u64::try_from(*number).ok();
                match name.as_ref() {
                    "total_elements_added" => numbers.total_elements_added = number,
                    "max_seq_id" => numbers.max_seq_id = number,
                    "dimensionality" => numbers.dimensionality = number,
                    _ => {}
                }
            }
            _ => {}
        })?;
        sorted.sort_unstable();
        Ok(IdMap { sorted, numbers, maps_agree: forth == back })
    }

    /// The label of an id.
    pub fn label(&self, id: &str) -> Option<u32> {
        let id = hash(id);
        let at = self.sorted.binary_search_by_key(&id, |slot| slot.id).ok()?;
        Some(u32::from_be_bytes(self.sorted[at].label))
    }

    /// All labels, in no particular order.
    pub fn labels(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().map(|slot| u32::from_be_bytes(slot.label))
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// What the pickle says beside its maps.
    pub fn numbers(&self) -> PickleNumbers {
        self.numbers
    }

    /// Whether the map from labels to ids is the other one turned round.
    pub fn maps_agree(&self) -> bool {
        self.maps_agree
    }
}

fn pair(id: [u8; 16], label: i64) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id);
    hasher.update(&label.to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(short)
}

/// The ids of a pickle that `wanted` picks, `most` of them at most. Reads the file again.
pub(crate) fn pick_ids(
    path: &Path,
    most: usize,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<String>, PickleError> {
    let mut picked = Vec::new();
    let file = File::open(path).map_err(PickleError::Read)?;
    read(BufReader::with_capacity(1 << 16, file), |entry| {
        if let (Some("id_to_label"), Scalar::Text(id)) = (entry.dict, entry.key)
            && picked.len() < most
            && wanted(id)
        {
            picked.push(id.to_string());
        }
    })?;
    Ok(picked)
}
