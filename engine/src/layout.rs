//! Layouts: what a file is made of. The caller names one per file from what it knows of the content; the engine knows
//! only numbers. Whatever the layout, a file comes back as the same bytes.

use std::io::Read;

use fastcdc::v2020::StreamCDC;

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Anything: it is cut by its content, for bytes that move.
    Stream,
    /// Pages of a fixed size that change in place, such as SQLite's.
    Pages {
        /// Bytes a page.
        size: u32,
    },
    /// Records of a fixed size that change in place, such as HNSW's. What is less than a record at the end goes along.
    Records {
        /// Bytes a record.
        stride: u32,
        /// Widths of the columns of a record in bytes, in their order; they add up to the stride. Columns are stored
        /// apart, so that one which changes often doesn't drag along one which never does.
        columns: Vec<u32>,
    },
}

/// Cut points of content-defined blocks. Changing them, or the version of the chunker, costs every repository its
/// deduplication against what it holds; a golden test guards them.
const STREAM_MIN: usize = 128 << 10;
const STREAM_AVERAGE: usize = 512 << 10;
const STREAM_MAX: usize = 2 << 20;

/// The largest block any layout makes.
pub(crate) const LARGEST: usize = STREAM_MAX;

/// Cuts by content what it reads.
pub(crate) fn cut<R: Read>(source: R) -> StreamCDC<R> {
    StreamCDC::new(source, STREAM_MIN, STREAM_AVERAGE, STREAM_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;
    use proptest::prelude::*;

    fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
        cut(bytes).map(|chunk| chunk.unwrap().data).collect()
    }

    #[test]
    fn the_cut_points_of_streams_never_change() {
        let cuts: Vec<usize> = blocks(&noise(1, 6 << 20)).iter().map(Vec::len).collect();
        assert_eq!(cuts, [1217099, 986914, 564238, 549799, 303644, 560887, 576020, 633337, 899518]);
    }

    #[test]
    fn an_insertion_into_a_stream_changes_few_blocks() {
        let before = noise(4, 8 << 20);
        let after = [&before[..1 << 20], b"inserted", &before[1 << 20..]].concat();
        let (old, new) = (blocks(&before), blocks(&after));
        let fresh = new.iter().filter(|block| !old.contains(block)).count();
        assert!(fresh <= 2, "{fresh} of {} blocks are new", new.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_cut_as_a_stream_come_back_identical(seed: u64, length in 0usize..600_000) {
            let bytes = noise(seed, length);
            let blocks = blocks(&bytes);
            prop_assert!(blocks.iter().all(|b| !b.is_empty() && b.len() <= LARGEST));
            prop_assert_eq!(blocks.concat(), bytes);
        }
    }
}
