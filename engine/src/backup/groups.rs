//! Hashes a file as it is read, group by group, and tells which groups are as they were in the version before. What the groups of
//! that version hashed to was kept beside the repository; it is believed only if it adds up to the hash that the version itself
//! states. So one pass over the bytes gives both the file's hash and what needs no second look. Memory: 32 bytes a group, twice.

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of a group: as many chunks of BLAKE3 as the widest processors hash at once. A power of two.
const GROUP: u64 = 16 << 10;

/// What a file's groups hash to, in order: more than one of them.
pub(super) type Values = Vec<ChainingValue>;

/// The hash of a file in the making.
pub(super) struct Groups {
    /// Of the version before.
    before: Values,
    values: Values,
    /// The group that is not complete.
    open: Hasher,
    at: u64,
    size: u64,
}

impl Groups {
    /// For a file of so many bytes. `before` is what the groups of the version before are said to hash to, and what they have to
    /// add up to.
    pub(super) fn new(size: u64, before: Option<(Values, &str)>) -> Self {
        let proved = before.filter(|(values, hash)| root(values).is_some_and(|root| root.to_hex() == **hash));
        let before = proved.map(|(values, _)| values).unwrap_or_default();
        Self { before, values: Vec::new(), open: Hasher::new(), at: 0, size }
    }

    /// Takes the bytes that follow.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        if self.size <= GROUP {
            // All of it is one group, and that is hashed otherwise than those of a larger file.
            self.open.update(bytes);
            return;
        }
        while !bytes.is_empty() {
            let room = (GROUP - self.at % GROUP) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.update(now);
            (self.at, bytes) = (self.at + now.len() as u64, later);
            if self.at.is_multiple_of(GROUP) || self.at == self.size {
                self.values.push(self.open.finalize_non_root());
                self.open = Hasher::new();
                // Where nothing follows may be within a chunk.
                if self.at < self.size {
                    self.open.set_input_offset(self.at);
                }
            }
        }
    }

    /// Whether all groups of a stretch were taken and are as in the version before.
    pub(super) fn are_as_before(&self, stretch: Range<u64>) -> bool {
        let groups = (stretch.start / GROUP) as usize..stretch.end.div_ceil(GROUP) as usize;
        match (self.values.get(groups.clone()), self.before.get(groups)) {
            (Some(now), Some(before)) => now == before,
            _ => false,
        }
    }

    /// The file's hash, and what its groups hash to; none for a file of one group.
    pub(super) fn finish(self) -> (blake3::Hash, Values) {
        match root(&self.values) {
            Some(root) => (root, self.values),
            None => (self.open.finalize(), Vec::new()),
        }
    }
}

/// What groups add up to; more than one make a file.
fn root(values: &[ChainingValue]) -> Option<blake3::Hash> {
    let (left, right) = halves(values)?;
    Some(merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash))
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match halves(values) {
        Some((left, right)) => merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash),
        None => values[0],
    }
}

/// The left half of a tree is a power of two, and all others at most as many.
fn halves(values: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    (values.len() > 1).then(|| values.split_at(1 << (values.len() - 1).ilog2()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::noise;

    fn hashed(bytes: &[u8], cuts: &[usize], before: Option<(Values, &str)>) -> Groups {
        let mut groups = Groups::new(bytes.len() as u64, before);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).for_each(|cut| groups.update(&bytes[cut[0]..cut[1]]));
        groups
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_hash_is_the_files_however_it_comes(
            length in prop_oneof![0usize..3000, 16_000usize..17_000, 32_000usize..33_500, 0usize..400_000],
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let bytes = noise(1, length);
            prop_assert_eq!(hashed(&bytes, &cuts, None).finish().0, blake3::hash(&bytes));
        }

        #[test]
        fn a_stretch_is_as_before_only_if_its_bytes_are(
            lengths in (20_000usize..200_000, 20_000usize..200_000),
            changed in prop::collection::vec(any::<usize>(), 0..4),
            stretch in (any::<usize>(), 1usize..20_000),
        ) {
            let old = noise(1, lengths.0);
            let mut new = noise(1, lengths.1);
            for at in changed {
                let at = at % new.len();
                new[at] ^= 1;
            }
            let (hash, values) = hashed(&old, &[], None).finish();
            let groups = hashed(&new, &[], Some((values, hash.to_hex().as_str())));
            let start = stretch.0 % new.len();
            let end = (start + stretch.1).min(new.len());
            let (from, to) = (start / GROUP as usize * GROUP as usize, end.next_multiple_of(GROUP as usize));
            let same = old.get(from..to.min(old.len())) == new.get(from..to.min(new.len()));
            prop_assert_eq!(groups.are_as_before(start as u64..end as u64), same);
        }
    }

    #[test]
    fn what_does_not_add_up_to_the_version_before_counts_for_nothing() {
        let bytes = noise(1, 100_000);
        let (hash, values) = hashed(&bytes, &[], None).finish();
        let as_before = |values: Values, hash: &blake3::Hash| {
            hashed(&bytes, &[], Some((values, hash.to_hex().as_str()))).are_as_before(0..100_000)
        };
        assert!(as_before(values.clone(), &hash));
        assert!(!as_before(values.clone(), &blake3::hash(b"another")));
        assert!(!as_before(values[1..].to_vec(), &hash));
        assert!(!as_before(Vec::new(), &hash));
        let mut forged = values;
        forged[2][0] ^= 1;
        assert!(!as_before(forged, &hash));
    }

    #[test]
    fn what_was_not_read_yet_is_not_as_before() {
        let bytes = noise(1, 100_000);
        let (hash, values) = hashed(&bytes, &[], None).finish();
        let mut groups = Groups::new(100_000, Some((values, hash.to_hex().as_str())));
        groups.update(&bytes[..GROUP as usize + 10]);
        assert!(groups.are_as_before(0..GROUP));
        assert!(!groups.are_as_before(0..GROUP + 1));
    }
}
