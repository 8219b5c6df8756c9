//! The patches of several versions, opened before their segments are read: patch by patch, because neighbours in a file lie in
//! many. What is kept of a unit is what it hashes to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::STATES_AT_ONCE;
use crate::block::BlockId;
use crate::error::Error;
use crate::read::Reader;
use crate::repository::blocking;
use crate::subtrees::{Part, parts};
use crate::tree::Extent;
use crate::units::map::PatchId;
use crate::units::patches::Gathering;
use crate::units::read::{Segmented, Use, whole};
use crate::units::reference::LONGEST_ALL;
use crate::units::state::{State, Stored};
use crate::units::{Section, Unit};

/// Where a unit begins within its patch, and where in the file.
type Place = (usize, u64);

/// What the units in patches hash to.
#[derive(Default)]
pub(crate) struct Patches {
    parts: HashMap<(PatchId, Place), Vec<Part>>,
    /// The patches that were opened.
    pub(crate) opened: HashSet<BlockId>,
    /// What could not be read, each with a version that needs it.
    pub(crate) failures: Vec<(usize, Error)>,
}

impl Patches {
    /// What a unit of a section hashes to; `None` if its patch could not be opened.
    pub(super) fn parts(&self, patch: PatchId, section: &Section, of: &Use) -> Option<&[Part]> {
        self.parts.get(&(patch, place(section, of))).map(Vec::as_slice)
    }
}

fn place(section: &Section, of: &Use) -> Place {
    // Of a file that has patches a section is one column: what stands apart stands there in the file.
    (of.from, section.at + of.unit.at as u64)
}

/// The units of a section that lie in patches.
pub(super) fn patched(section: &Section, state: &State) -> Vec<Unit> {
    let is_patched =
        |unit: &Unit| state.unit(unit.number).is_some_and(|l| matches!(l.stored, Stored::Patched { .. }));
    section.units().into_iter().filter(is_patched).collect()
}

/// A reference, and of each of its patches what goes where, with its length.
struct Needed {
    /// The first version that needs it.
    version: usize,
    reference: Extent,
    slot: usize,
    patches: BTreeMap<BlockId, BTreeMap<Place, usize>>,
}

impl Reader {
    /// Opens the patches of all versions, each once.
    pub(crate) async fn patches(&self, versions: &[Arc<Segmented>], shown: &str) -> Patches {
        let mut patches = Patches::default();
        let mut needed = self.needed_patches(versions, shown).await;
        while !needed.is_empty() {
            // As many dictionaries at a time as a file may have.
            let mut bytes = 0;
            let fit = needed.iter().take_while(|of| {
                bytes += u64::from(of.reference.raw);
                bytes <= LONGEST_ALL
            });
            let group = needed.drain(..fit.count().max(1)).collect();
            self.open_group(group, &mut patches, shown).await;
        }
        patches
    }

    async fn open_group(&self, group: Vec<Needed>, patches: &mut Patches, shown: &str) {
        let gathering = Gathering::default();
        let mut begun = Vec::new();
        for of in group {
            match self.begin(&gathering, &of.reference, of.slot, shown).await {
                Ok(()) => begun.push(of),
                Err(e) => patches.failures.push((of.version, e)),
            }
        }
        self.fill(&gathering, shown).await;
        for Needed { version, reference, patches: of, .. } in begun {
            let dictionary = match self.dictionary(&gathering, &reference.id, shown).await {
                Ok(dictionary) => dictionary,
                Err(e) => {
                    patches.failures.push((version, e));
                    continue;
                }
            };
            for (id, units) in of {
                let patch = PatchId { id, reference: reference.id };
                match self.patch(&dictionary, patch, shown).await {
                    Ok(bytes) => {
                        patches.opened.insert(id);
                        patches.parts.extend(blocking(move || hash(patch, &units, &bytes)).await);
                    }
                    Err(e) => patches.failures.push((version, e)),
                }
            }
        }
    }

    /// What lies in patches. What is wrong with maps is left to those who read the segments.
    async fn needed_patches(&self, versions: &[Arc<Segmented>], shown: &str) -> Vec<Needed> {
        let mut needed: BTreeMap<BlockId, Needed> = BTreeMap::new();
        for (version, file) in versions.iter().enumerate() {
            for reference in &file.references {
                needed.entry(reference.id).or_insert_with(|| Needed {
                    version,
                    reference: *reference,
                    slot: file.geometry.patched_slot(),
                    patches: BTreeMap::new(),
                });
            }
            let segments = if file.references.is_empty() { 0 } else { file.maps.len() };
            for first in (0..segments).step_by(STATES_AT_ONCE) {
                for (number, state) in self.next_states(file, first, shown).await {
                    let Ok(state) = state else { continue };
                    let section = file.geometry.section(file.size, number as u64);
                    let units = patched(&section, &state);
                    let Ok(uses) = self.uses(&section, &state, whole(&units), shown) else { continue };
                    for (patch, _, uses) in uses.patches {
                        let Some(of) = needed.get_mut(&patch.reference) else { continue };
                        let places = uses.iter().map(|of| (place(&section, of), of.unit.length));
                        of.patches.entry(patch.id).or_default().extend(places);
                    }
                }
            }
        }
        needed.into_values().collect()
    }
}

fn hash(patch: PatchId, units: &BTreeMap<Place, usize>, bytes: &[u8]) -> Vec<((PatchId, Place), Vec<Part>)> {
    let hashed = |(&(from, at), &length): (&Place, &usize)| {
        ((patch, (from, at)), parts(at, &bytes[from..from + length]))
    };
    units.iter().map(hashed).collect()
}
