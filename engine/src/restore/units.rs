//! Writes a file of records: section by section what lies in frames, then what lies in patches, patch by patch. Neighbours in
//! the file lie in many patches, so that by section each patch would be opened again and again. Their dictionaries are put together
//! out of the frames that are read for the file, as far as those go.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};

use super::file::{Target, all_but_zeros, ranges};
use crate::block::BlockId;
use crate::error::{Error, Result};
use crate::read::Reader;
use crate::repository::blocking;
use crate::subtrees::{Part, Subtrees, parts, parts_around};
use crate::tree::Units;
use crate::units::map::{PatchId, hash};
use crate::units::{Gathering, Patched, Places, Section, State, Stored, Unit, whole};

const SECTIONS_AT_ONCE: usize = 2;

/// A section in its place.
struct Placed {
    parts: Vec<Part>,
    /// What of it has to come from patches.
    patched: Vec<Patched>,
    bytes: u64,
    wrote: u64,
}

/// What the sections of a file are brought with.
#[derive(Clone)]
struct Bringer {
    reader: Reader,
    target: Target,
    dictionaries: Arc<Gathering>,
}

/// Returns the bytes that the target did not have, and the hash of the file. `tell` learns of bytes of the file, and of bytes written.
pub(super) async fn write_units(
    reader: &Reader,
    units: &Units,
    size: u64,
    target: Target,
    tell: &mut impl FnMut(u64, u64),
) -> Result<(u64, Option<blake3::Hash>)> {
    let shown = target.shown.clone();
    let segmented = reader.segmented(units, size, &shown).await?;
    let dictionaries = Arc::new(reader.dictionaries(&segmented, &shown).await?);
    let by = Bringer { reader: reader.clone(), target, dictionaries };
    let from = by.clone();
    let mut sections = reader.with_states(segmented, shown, SECTIONS_AT_ONCE, move |file, number, state| {
        let section = file.geometry.section(file.size, number as u64);
        from.clone().section(section, state).boxed()
    });
    let (mut tree, mut later, mut written) = (Subtrees::default(), Vec::new(), 0);
    while let Some(section) = sections.next().await {
        let Placed { parts, patched, bytes, wrote } = section?;
        tree.add(parts);
        later.extend(patched);
        written += wrote;
        tell(bytes, wrote);
    }
    drop(sections);
    by.patches(later, |parts, wrote| {
        tree.add(parts);
        written += wrote;
        tell(0, wrote);
    })
    .await?;
    Ok((written, tree.finish(size)))
}

impl Bringer {
    /// Of an existing target the units of a section are held against the map, and those that differ are fetched; of a new one
    /// all are. What lies in patches is left as it is.
    async fn section(self, section: Section, state: State) -> Result<Placed> {
        let Self { reader, target, dictionaries } = self;
        let shown = &target.shown;
        if !target.existed {
            let (nothing, all) = (vec![0; section.bytes()], section.units());
            let framed = reader.framed(&section, &state, nothing, whole(&all), &dictionaries, shown).await?;
            return blocking(move || {
                let (apart, patched) = framed;
                let bytes = section.join(apart.into());
                let wrote = target.write(section.at, &bytes, all_but_zeros(&bytes))?;
                Ok(Placed::new(&section, &bytes, patched, wrote))
            })
            .await;
        }
        let state = Arc::new(state);
        let (from, of, known) = (target.clone(), section.clone(), Arc::clone(&state));
        let known_to = Arc::clone(&dictionaries);
        let (there, readable, found) = blocking(move || {
            let (there, readable) = from.read(of.at, of.bytes());
            let found = Found::of(&of, &known, of.split(there.clone()), &known_to);
            (there, readable, found)
        })
        .await;
        if found.wanted.is_empty() && readable == there.len() {
            return Ok(blocking(move || Placed::new(&section, &there, Vec::new(), 0)).await);
        }
        let Found { apart, wanted } = found;
        let (apart, patched) = reader.framed(&section, &state, apart, wanted, &dictionaries, shown).await?;
        blocking(move || {
            let bytes = section.join(apart.into());
            let missing = ranges(&bytes, |from, grain| {
                from + grain.len() > readable || there[from..from + grain.len()] != *grain
            });
            let wrote = target.write(section.at, &bytes, missing)?;
            Ok(Placed::new(&section, &bytes, patched, wrote))
        })
        .await
    }

    /// Writes what lies in patches, each of which is opened once. Tells what the units of each hash to, and their bytes.
    async fn patches(&self, units: Vec<Patched>, mut wrote: impl FnMut(Vec<Part>, u64)) -> Result<()> {
        let mut by_reference: BTreeMap<BlockId, BTreeMap<BlockId, Vec<Patched>>> = BTreeMap::new();
        for one in units {
            by_reference.entry(one.patch.reference).or_default().entry(one.patch.id).or_default().push(one);
        }
        let Self { reader, target, dictionaries } = self;
        for (reference, of) in by_reference {
            let dictionary = reader.dictionary(dictionaries, &reference, &target.shown).await?;
            for (id, units) in of {
                let held = reader.patch(&dictionary, PatchId { id, reference }, &target.shown).await?;
                let target = target.clone();
                let written = blocking(move || {
                    let (mut hashed, mut written) = (Vec::new(), 0);
                    for Patched { at, from, length, .. } in units {
                        let bytes = &held[from..from + length];
                        written += target.write(at, bytes, Some(0..length))?;
                        hashed.extend(parts(at, bytes));
                    }
                    Ok::<_, Error>((hashed, written))
                });
                let (hashed, written) = written.await?;
                wrote(hashed, written);
            }
        }
        Ok(())
    }
}

/// What an existing target has of a section.
struct Found {
    /// Its bytes, columns apart. Zeros are where frames have all of a unit.
    apart: Vec<u8>,
    /// What has to be read.
    wanted: Vec<(Unit, Places)>,
}

impl Found {
    /// Holds the units that are there against the state. The last whole version of one serves too: to apply a change to it, and
    /// as a piece of a dictionary.
    fn of(section: &Section, state: &State, mut apart: Vec<u8>, dictionaries: &Gathering) -> Self {
        let (mut wanted, mut bases) = (Vec::new(), Vec::new());
        for unit in section.units() {
            let bytes = &mut apart[unit.at..unit.at + unit.length];
            let named = hash(bytes);
            let base = state.base(unit.number).filter(|(_, hash)| *hash == named);
            bases.extend(base.filter(|_| section.can_be_patched()).map(|(spot, _)| (unit, spot)));
            let Some(located) = state.unit(unit.number).filter(|located| located.hash != named) else {
                continue;
            };
            match (base, located.stored) {
                (Some(_), Stored::Changed { .. }) => wanted.push((unit, Places::Change)),
                (_, Stored::Patched { .. }) => wanted.push((unit, Places::All)),
                (_, Stored::Whole(_) | Stored::Changed { .. }) => {
                    bytes.fill(0);
                    wanted.push((unit, Places::All));
                }
            }
        }
        // A section that can be patched is one column, whose frames hold its bytes as they are.
        dictionaries.offer_units(bases.iter().map(|(unit, spot)| {
            let bytes = &apart[unit.at..unit.at + unit.length];
            (state.held_by(*spot).id(), usize::from(spot.position) * unit.slot, bytes)
        }));
        Self { apart, wanted }
    }
}

impl Placed {
    fn new(section: &Section, bytes: &[u8], mut patched: Vec<Patched>, wrote: u64) -> Self {
        patched.sort_by_key(|unit| unit.at);
        let holes = patched.iter().map(|unit| ((unit.at - section.at) as usize, unit.length));
        let parts = parts_around(section.at, bytes, holes);
        Self { parts, patched, bytes: bytes.len() as u64, wrote }
    }
}
