//! Layouts: how a file is cut into blocks. The caller names one per file from what it knows of the content; the engine
//! knows only numbers. Whatever the layout, the blocks of a file put end to end are its bytes.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;
use serde::{Deserialize, Serialize};

/// How to cut a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Layout {
    /// Content-defined: for bytes that move, and for everything unknown.
    Stream,
    /// Pages of a fixed size that change in place, such as SQLite's.
    Pages {
        /// Bytes a page.
        size: u32,
    },
    /// Records of a fixed size that change in place, such as HNSW's.
    Records {
        /// Bytes a record.
        stride: u32,
    },
}

/// Cut points of content-defined blocks. Changing them, or the version of the chunker, costs every repository its
/// deduplication against what it holds; a golden test guards them.
const STREAM_MIN: usize = 128 << 10;
const STREAM_AVERAGE: usize = 512 << 10;
const STREAM_MAX: usize = 2 << 20;

/// Pages and records are grouped to about this: smaller blocks cost more in the first capture than they save later.
const GROUP: u32 = 64 << 10;

/// The largest block any layout makes.
pub(crate) const LARGEST: usize = STREAM_MAX;

impl Layout {
    /// The layout that is used when this one is asked for: what can't work falls back to `Stream`.
    pub(crate) fn effective(self) -> Self {
        match self {
            Self::Pages { size: n } | Self::Records { stride: n } if n == 0 || n as usize > LARGEST => {
                Self::Stream
            }
            fits => fits,
        }
    }
}

/// Cuts what it reads into blocks.
pub(crate) enum Cutter<R: Read> {
    Stream(Box<StreamCDC<R>>),
    Fixed { source: R, block: usize },
}

impl<R: Read> Cutter<R> {
    pub(crate) fn new(layout: Layout, source: R) -> Self {
        match layout.effective() {
            Layout::Stream => {
                Self::Stream(Box::new(StreamCDC::new(source, STREAM_MIN, STREAM_AVERAGE, STREAM_MAX)))
            }
            Layout::Pages { size: unit } | Layout::Records { stride: unit } => {
                Self::Fixed { source, block: (unit * (GROUP / unit).max(1)) as usize }
            }
        }
    }
}

impl<R: Read> Iterator for Cutter<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Stream(chunks) => chunks.next().map(|c| c.map(|c| c.data).map_err(io::Error::other)),
            Self::Fixed { source, block } => {
                let mut bytes = Vec::with_capacity(*block);
                match source.by_ref().take(*block as u64).read_to_end(&mut bytes) {
                    Err(e) => Some(Err(e)),
                    Ok(0) => None,
                    Ok(_) => Some(Ok(bytes)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that depend on nothing but the seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cut(layout: Layout, bytes: &[u8]) -> Vec<Vec<u8>> {
        Cutter::new(layout, bytes).map(Result::unwrap).collect()
    }

    #[test]
    fn the_cut_points_of_streams_never_change() {
        let cuts: Vec<usize> = cut(Layout::Stream, &noise(1, 6 << 20)).iter().map(Vec::len).collect();
        assert_eq!(cuts, [1217099, 986914, 564238, 549799, 303644, 560887, 576020, 633337, 899518]);
    }

    #[test]
    fn pages_and_records_are_cut_at_multiples_of_their_size() {
        let lengths = |layout| cut(layout, &noise(2, 200_000)).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(Layout::Pages { size: 4096 }), [65536, 65536, 65536, 3392]);
        assert_eq!(lengths(Layout::Records { stride: 1676 }), [65364, 65364, 65364, 3908]);
        assert_eq!(lengths(Layout::Pages { size: 131_072 }), [131_072, 68_928]);
    }

    #[test]
    fn a_layout_that_makes_no_sense_falls_back_to_stream() {
        for layout in [Layout::Pages { size: 0 }, Layout::Records { stride: u32::MAX }] {
            assert_eq!(cut(layout, &noise(3, 1000)).concat(), noise(3, 1000));
        }
    }

    #[test]
    fn an_insertion_into_a_stream_changes_few_blocks() {
        let before = noise(4, 8 << 20);
        let after = [&before[..1 << 20], b"inserted", &before[1 << 20..]].concat();
        let (old, new) = (cut(Layout::Stream, &before), cut(Layout::Stream, &after));
        let fresh = new.iter().filter(|block| !old.contains(block)).count();
        assert!(fresh <= 2, "{fresh} of {} blocks are new", new.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_through_any_layout_come_back_identical(
            seed: u64, length in 0usize..600_000, layout in prop_oneof![
                Just(Layout::Stream),
                any::<u32>().prop_map(|size| Layout::Pages { size }),
                (0u32..70_000).prop_map(|stride| Layout::Records { stride }),
                Just(Layout::Pages { size: 4096 }),
            ]
        ) {
            let bytes = noise(seed, length);
            let blocks = cut(layout, &bytes);
            prop_assert!(blocks.iter().all(|b| !b.is_empty() && b.len() <= LARGEST));
            prop_assert_eq!(blocks.concat(), bytes);
        }
    }
}
