//! Several versions of a file read together, segment by segment: a frame that versions share is opened once for all of them, a
//! unit that stays the same is put in its place once. Memory: two segments with 8 MiB of frames each, the states of a few
//! segments of all versions, and before that dictionaries, 24 MiB at most.

mod pass;
mod patches;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::read::Segmented;
use super::state::State;
use crate::ahead::ahead;
use crate::block::BlockId;
use crate::error::Result;
use crate::read::Reader;
use crate::subtrees::Part;
use pass::Pass;
pub(crate) use patches::Patches;

const SEGMENTS_AT_ONCE: usize = 2;
/// Segments whose maps are read by one go.
const STATES_AT_ONCE: usize = 8;

/// What a segment of one version hashes to.
pub(crate) struct Hashed {
    /// Index of the version.
    pub(crate) version: usize,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// `None` if it needs a patch that could not be read, which was told before.
    pub(crate) parts: Result<Option<Vec<Part>>>,
}

/// One segment of all versions.
pub(crate) struct Segment {
    pub(crate) versions: Vec<Hashed>,
    /// The frames that were opened for it.
    pub(crate) frames: Vec<BlockId>,
}

impl Reader {
    /// The segments of these versions in their order; of each its versions in theirs.
    pub(crate) fn segments_of(
        &self,
        versions: Vec<Arc<Segmented>>,
        patches: Arc<Patches>,
        shown: &str,
    ) -> BoxStream<'static, Segment> {
        let longest = versions.iter().map(|file| file.maps.len()).max().unwrap_or_default();
        let (reader, shown) = (self.clone(), shown.to_owned());
        let versions: Arc<[Arc<Segmented>]> = versions.into();
        stream::iter((0..longest).step_by(STATES_AT_ONCE))
            .then(move |first| {
                let (reader, versions, shown) = (reader.clone(), Arc::clone(&versions), shown.clone());
                let patches = Arc::clone(&patches);
                async move {
                    let mut segments: BTreeMap<usize, Vec<(usize, Result<State>)>> = BTreeMap::new();
                    for (version, file) in versions.iter().enumerate() {
                        for (number, state) in reader.next_states(file, first, &shown).await {
                            segments.entry(number).or_default().push((version, state));
                        }
                    }
                    ahead(Vec::from_iter(segments), SEGMENTS_AT_ONCE, move |(number, states)| {
                        let pass = Pass::new(reader.clone(), Arc::clone(&patches), shown.clone());
                        pass.go(Arc::clone(&versions), number, states).boxed()
                    })
                }
            })
            .flatten()
            .boxed()
    }

    /// The states of a file from a segment on, as many as are read by one go.
    async fn next_states(&self, file: &Segmented, first: usize, shown: &str) -> Vec<(usize, Result<State>)> {
        let segments = first..(first + STATES_AT_ONCE).min(file.maps.len());
        if segments.is_empty() { Vec::new() } else { self.each_state(file, segments, shown).await }
    }
}
