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
use crate::units::{Framed, Gathering, Patched, Places, Section, State, Stored, Wish, whole};

/// Sections of a new file are read together up to so many bytes: neighbours in a file lie side by side in the pack of each capture
/// that changed them, so that a long chain takes fewer requests. Of an existing file little is read.
const BATCH: usize = 8 << 20;
const BATCHES_AT_ONCE: usize = 2;

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
    let largest = segmented.geometry.section(size, 0).bytes();
    let sections = reader.with_states(segmented, shown, 1, move |file, number, state| {
        let section = file.geometry.section(file.size, number as u64);
        std::future::ready(Ok((section, state))).boxed()
    });
    let batch = if by.target.existed { 1 } else { (BATCH / largest.max(1)).max(1) };
    let from = by.clone();
    let batches = sections.chunks(batch).map(move |sections| {
        let (by, sections) = (from.clone(), sections.into_iter().collect::<Result<Vec<_>>>());
        async move { by.batch(sections?).await }.boxed()
    });
    let mut batches = batches.buffered(BATCHES_AT_ONCE).boxed();
    let (mut tree, mut later, mut written) = (Subtrees::default(), Vec::new(), 0);
    while let Some(placed) = batches.next().await {
        for Placed { parts, patched, bytes, wrote } in placed? {
            tree.add(parts);
            later.extend(patched);
            written += wrote;
            tell(bytes, wrote);
        }
    }
    drop(batches);
    by.patches(later, |parts, wrote| {
        tree.add(parts);
        written += wrote;
        tell(0, wrote);
    })
    .await?;
    Ok((written, tree.finish(size)))
}

impl Bringer {
    /// Of an existing target the units of each section are held against the map, and those that differ are fetched; of a new one
    /// all are. What lies in patches is left as it is.
    async fn batch(self, sections: Vec<(Section, State)>) -> Result<Vec<Placed>> {
        let Self { reader, target, dictionaries } = self;
        let (from, known_to) = (target.clone(), Arc::clone(&dictionaries));
        let found = blocking(move || {
            let look = |(section, state)| Found::of(section, state, &from, &known_to);
            sections.into_iter().map(look).collect::<Vec<_>>()
        })
        .await;
        let (right, others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(Found::is_right);
        let (there, wishes): (Vec<Option<There>>, Vec<Wish>) =
            others.into_iter().map(|found| (found.there, found.wish)).unzip();
        let framed = reader.framed(wishes, &dictionaries, &target.shown).await?;
        blocking(move || {
            let right = right.into_iter().map(|found| Ok(found.placed()));
            let brought = framed.into_iter().zip(there).map(|(framed, there)| place(&target, framed, there));
            right.chain(brought).collect()
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

/// Writes what a section lacks.
fn place(target: &Target, (section, apart, patched): Framed, there: Option<There>) -> Result<Placed> {
    let bytes = section.join(apart.into());
    let missing = match there {
        None => all_but_zeros(&bytes),
        Some(There { bytes: there, readable }) => ranges(&bytes, |from, grain| {
            from + grain.len() > readable || there[from..from + grain.len()] != *grain
        }),
    };
    let wrote = target.write(section.at, &bytes, missing)?;
    Ok(Placed::new(&section, &bytes, patched, wrote))
}

/// The bytes of a section that an existing target has, and how many of them could be read.
struct There {
    bytes: Vec<u8>,
    readable: usize,
}

/// What there is of a section, and what has to be read.
struct Found {
    /// Nothing of a new target.
    there: Option<There>,
    wish: Wish,
}

impl Found {
    /// Nothing has to be brought.
    fn is_right(&self) -> bool {
        let readable = self.there.as_ref().is_some_and(|there| there.readable == there.bytes.len());
        readable && self.wish.units.is_empty()
    }

    /// A section that is right stays as it is.
    fn placed(self) -> Placed {
        let bytes = self.there.map(|there| there.bytes).unwrap_or_default();
        Placed::new(&self.wish.section, &bytes, Vec::new(), 0)
    }

    /// Holds the units that are there against the state. The last whole version of one serves too: to apply a change to it, and
    /// as a piece of a dictionary.
    fn of(section: Section, state: State, target: &Target, dictionaries: &Gathering) -> Self {
        if !target.existed {
            let (apart, units) = (vec![0; section.bytes()], whole(&section.units()).collect());
            return Self { there: None, wish: Wish { section, state, apart, units } };
        }
        let (there, readable) = target.read(section.at, section.bytes());
        let mut apart = section.split(there.clone());
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
        let there = Some(There { bytes: there, readable });
        Self { there, wish: Wish { section, state, apart, units: wanted } }
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
