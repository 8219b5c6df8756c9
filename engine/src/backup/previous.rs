//! The version before: files of the component's newest point that have units, to be compared with and built upon. Nothing
//! here is needed: what can't be read is told and captured whole.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::block::BlockId;
use crate::error::{Category, Error, Result};
use crate::point::Point;
use crate::read::Reader;
use crate::tree::{Content, Extent, Node, Units};
use crate::units::{Geometry, Holder, Segmented, State};

/// States are read so many at once.
const STATES_AT_ONCE: usize = 16;

/// The files of the newest point.
#[derive(Default)]
pub(super) struct Previous {
    files: HashMap<OsString, (u64, String, Units)>,
}

/// One file of it. Its segments are asked for in order.
pub(super) struct Before {
    reader: Reader,
    handle: Handle,
    file: Segmented,
    hash: String,
    /// Those that can't be read any more.
    lost: HashSet<BlockId>,
    shown: String,
    next: usize,
    states: VecDeque<Option<Arc<State>>>,
}

/// Whether the version before is at fault, and not the store.
pub(super) fn is_about_bytes(error: &Error) -> bool {
    matches!(error.category(), Category::Corrupt | Category::NotFound | Category::NewerFormat)
}

impl Previous {
    /// Reads the tree of the component's newest point, if it has one.
    pub(super) async fn of(reader: &Reader, newest: Option<Point>) -> Result<Self> {
        let mut previous = Self::default();
        let Some(point) = newest else { return Ok(previous) };
        for segment in &point.tree {
            match reader.entries(&point, segment).await {
                Ok(entries) => {
                    for entry in entries {
                        if let Node::File { size, hash, content: Content::Units(units) } = entry.node {
                            previous.files.insert(entry.path, (size, hash, units));
                        }
                    }
                }
                Err(e) if is_about_bytes(&e) => {
                    tracing::warn!(
                        "files of point {} are captured whole, not as what changed: {e}",
                        point.id
                    );
                }
                Err(e) => return Err(e),
            }
        }
        Ok(previous)
    }

    /// The version before of a file, if it had the same geometry.
    pub(super) fn open(
        &self,
        within: &Path,
        geometry: &Geometry,
        reader: &Reader,
        handle: &Handle,
    ) -> Result<Option<Before>> {
        let Some((size, hash, units)) = self.files.get(within.as_os_str()) else { return Ok(None) };
        if !units.geometry.resembles(geometry) {
            return Ok(None);
        }
        let shown = within.to_string_lossy().into_owned();
        match handle.block_on(reader.segmented(units, *size, &shown)) {
            Ok(mut file) => {
                let lost = handle.block_on(lost(reader, &file.references, &shown))?;
                file.references.retain(|reference| !lost.contains(&reference.id));
                let (reader, handle, states) = (reader.clone(), handle.clone(), VecDeque::new());
                let hash = hash.clone();
                Ok(Some(Before { reader, handle, file, hash, lost, shown, next: 0, states }))
            }
            Err(e) if is_about_bytes(&e) => {
                tracing::warn!("{shown} is captured whole, not as what changed: {e}");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl Before {
    pub(super) fn geometry(&self) -> &Geometry {
        &self.file.geometry
    }

    /// What all of it hashes to.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// What its patches need and that is whole.
    pub(super) fn references(&self) -> &[Extent] {
        &self.file.references
    }

    /// The next segment; none behind the end, and where it can't be read.
    pub(super) fn next(&mut self) -> Result<Option<Arc<State>>> {
        if self.states.is_empty() && self.next < self.file.maps.len() {
            let segments = self.next..(self.next + STATES_AT_ONCE).min(self.file.maps.len());
            self.next = segments.end;
            match self.handle.block_on(self.reader.states(&self.file, segments.clone(), &self.shown)) {
                Ok(states) => {
                    let known: Vec<_> = states.into_iter().map(|state| self.known(state)).collect();
                    self.states.extend(known);
                }
                Err(e) if is_about_bytes(&e) => {
                    for number in segments {
                        let state = self.alone(number)?;
                        self.states.push_back(state);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(self.states.pop_front().flatten())
    }

    fn alone(&self, number: usize) -> Result<Option<Arc<State>>> {
        match self.handle.block_on(self.reader.states(&self.file, number..number + 1, &self.shown)) {
            Ok(states) => Ok(states.into_iter().next().and_then(|state| self.known(state))),
            Err(e) if is_about_bytes(&e) => {
                tracing::warn!("segment {number} of {} is captured whole: {e}", self.shown);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Without what lies in packs that are gone.
    fn known(&self, mut state: State) -> Option<Arc<State>> {
        state.forget(|holder| {
            let readable = match holder {
                Holder::Patch(patch) => !self.lost.contains(&patch.reference),
                Holder::Frame(_) => true,
            };
            readable && self.reader.index.contains(&holder.id())
        });
        Some(Arc::new(state))
    }
}

/// The references of which something is gone. What was compressed against them is stored anew.
async fn lost(reader: &Reader, references: &[Extent], shown: &str) -> Result<HashSet<BlockId>> {
    let mut lost = HashSet::new();
    for Extent { id, .. } in references {
        let whole = match reader.reference(id, shown).await {
            Ok(reference) => reference.frames.iter().all(|frame| reader.index.contains(frame)),
            Err(e) if is_about_bytes(&e) => {
                tracing::warn!("patches of {shown} are stored anew: {e}");
                false
            }
            Err(e) => return Err(e),
        };
        if !whole {
            lost.insert(*id);
        }
    }
    Ok(lost)
}
