//! The BLAKE3 hash of a file whose bytes come in any order, and of which some are known only by what they hash to. BLAKE3 is
//! a tree over chunks of 1 KiB, so stretches are hashed apart and put together at the end. Memory: a chaining value for each gap
//! between what has come, a chunk where a stretch begins or ends within one.

use std::collections::{BTreeMap, HashMap};

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

const CHUNK: u64 = 1024;

/// What a stretch of a file hashes to.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// An aligned power of two of chunks, not the first of the file: what begins a file may be all of it, and is hashed
    /// otherwise then.
    Subtree { first: u64, chunks: u64, value: ChainingValue },
    /// Bytes that are no whole chunk, or the file's first one, and where they begin.
    Bytes { at: u64, bytes: Vec<u8> },
}

/// Hashes a stretch.
pub(crate) fn parts(mut at: u64, mut bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (first, within) = (at / CHUNK, at % CHUNK);
        let whole = bytes.len() as u64 / CHUNK;
        let length = if within > 0 || whole == 0 || first == 0 {
            (CHUNK - within).min(bytes.len() as u64)
        } else {
            let aligned = 1 << first.trailing_zeros();
            CHUNK * aligned.min(1 << whole.ilog2())
        };
        let (now, later) = bytes.split_at(length as usize);
        parts.push(if within > 0 || length < CHUNK || first == 0 {
            Part::Bytes { at, bytes: now.to_vec() }
        } else {
            Part::Subtree { first, chunks: length / CHUNK, value: value(first, now) }
        });
        (at, bytes) = (at + length, later);
    }
    parts
}

/// Hashes a stretch that begins at `at` but for holes: offsets within it, with their lengths, ascending.
pub(crate) fn parts_around(
    at: u64,
    bytes: &[u8],
    holes: impl IntoIterator<Item = (usize, usize)>,
) -> Vec<Part> {
    let (mut hashed, mut from) = (Vec::new(), 0);
    for (hole, length) in holes {
        hashed.extend(parts(at + from as u64, &bytes[from..hole]));
        from = hole + length;
    }
    hashed.extend(parts(at + from as u64, &bytes[from..]));
    hashed
}

fn value(first: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(first * CHUNK).update(bytes).finalize_non_root()
}

/// A file as far as its parts have come.
#[derive(Debug, Default)]
pub(crate) struct Subtrees {
    /// By first chunk and number of chunks; no two that could be one.
    values: HashMap<(u64, u64), ChainingValue>,
    /// Stretches within chunks, by where they begin.
    edges: BTreeMap<u64, Vec<u8>>,
}

impl Subtrees {
    pub(crate) fn add(&mut self, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            match part {
                Part::Subtree { first, chunks, value } => self.merge(first, chunks, value),
                Part::Bytes { at, bytes } => {
                    self.edges.insert(at, bytes);
                }
            }
        }
    }

    fn merge(&mut self, mut first: u64, mut chunks: u64, mut value: ChainingValue) {
        // The neighbour that completes the subtree above, unless that begins the file.
        while first & !chunks != 0 {
            let Some(other) = self.values.remove(&(first ^ chunks, chunks)) else { break };
            let (left, right) = if first & chunks == 0 { (value, other) } else { (other, value) };
            value = merge_subtrees_non_root(&left, &right, Mode::Hash);
            (first, chunks) = (first & !chunks, chunks * 2);
        }
        self.values.insert((first, chunks), value);
    }

    /// The hash of a file of `size` bytes; `None` if some of them have not come.
    pub(crate) fn finish(mut self, size: u64) -> Option<blake3::Hash> {
        self.join_edges(size)?;
        if size <= CHUNK {
            return Some(blake3::hash(&self.edges.remove(&0).unwrap_or_default()));
        }
        let chunks = size.div_ceil(CHUNK);
        let left = left_of(chunks);
        let (left, right) = (self.value_of(0, left)?, self.value_of(left, chunks - left)?);
        Some(merge_subtrees_root(&left, &right, Mode::Hash))
    }

    /// Makes chunks of the stretches within them; that of a small file stays as it is.
    fn join_edges(&mut self, size: u64) -> Option<()> {
        let (mut chunk, mut end): (Vec<u8>, u64) = (Vec::new(), 0);
        for (at, bytes) in std::mem::take(&mut self.edges) {
            let goes_on = if chunk.is_empty() { at % CHUNK == 0 } else { at == end };
            if !goes_on {
                return None;
            }
            chunk.extend(&bytes);
            let first = at / CHUNK;
            end = at + bytes.len() as u64;
            if size <= CHUNK && end == size {
                self.edges.insert(0, std::mem::take(&mut chunk));
            } else if chunk.len() as u64 == CHUNK || end == size {
                let value = value(first, &std::mem::take(&mut chunk));
                self.merge(first, 1, value);
            }
        }
        let complete = size > CHUNK || size == 0 || self.edges.contains_key(&0);
        (chunk.is_empty() && complete).then_some(())
    }

    fn value_of(&self, first: u64, chunks: u64) -> Option<ChainingValue> {
        if let Some(value) = self.values.get(&(first, chunks)) {
            return Some(*value);
        }
        if chunks < 2 {
            return None;
        }
        let left = left_of(chunks);
        let (left, right) = (self.value_of(first, left)?, self.value_of(first + left, chunks - left)?);
        Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }
}

/// The chunks of the left half of a tree of this many: a power of two, all others at most as many.
fn left_of(chunks: u64) -> u64 {
    1 << (chunks - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
    }

    /// Cuts a file at these places and puts it together in an order that the cuts decide.
    fn in_pieces(file: &[u8], cuts: &[usize], order: u64) -> Option<blake3::Hash> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (file.len() + 1)).collect();
        cuts.extend([0, file.len()]);
        cuts.sort_unstable();
        let mut pieces: Vec<(usize, &[u8])> =
            cuts.windows(2).map(|cut| (cut[0], &file[cut[0]..cut[1]])).collect();
        pieces.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(order | 1).rotate_left(17));
        let mut tree = Subtrees::default();
        pieces.into_iter().for_each(|(at, piece)| tree.add(parts(at as u64, piece)));
        tree.finish(file.len() as u64)
    }

    #[test]
    fn whole_files_of_all_lengths_around_the_borders_of_the_tree() {
        for length in (0..10).chain(1020..1030).chain(2040..2060).chain([4096, 4097, 65_536, 65_535, 100_000])
        {
            let file = bytes(length);
            assert_eq!(in_pieces(&file, &[], 0), Some(blake3::hash(&file)), "{length}");
        }
    }

    #[test]
    fn a_file_that_is_not_all_there_has_no_hash() {
        let file = bytes(70_000);
        for (from, to) in [(0, 1), (69_999, 70_000), (1024, 2048), (4096, 8192), (5000, 5001)] {
            let mut tree = Subtrees::default();
            tree.add(parts(0, &file[..from]));
            tree.add(parts(to as u64, &file[to..]));
            assert_eq!(tree.finish(70_000), None, "{from}..{to}");
        }
        assert_eq!(Subtrees::default().finish(1), None);
        assert_eq!(Subtrees::default().finish(1_000_000), None);
    }

    #[test]
    fn what_completes_a_subtree_is_not_kept_apart() {
        let file = bytes(1 << 20);
        let mut tree = Subtrees::default();
        for (number, page) in file.chunks(4096).enumerate() {
            tree.add(parts(number as u64 * 4096, page));
        }
        // One for each level on the left, where the file begins.
        assert_eq!((tree.values.len(), tree.edges.len()), (10, 1));
        assert_eq!(tree.finish(1 << 20), Some(blake3::hash(&file)));
    }

    proptest! {
        #[test]
        fn any_file_in_any_pieces_in_any_order(
            length in 0usize..40_000,
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
            order: u64,
        ) {
            let file = bytes(length);
            prop_assert_eq!(in_pieces(&file, &cuts, order), Some(blake3::hash(&file)));
        }
    }
}
