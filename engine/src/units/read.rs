//! Reading units back: maps into states, frames into the bytes of a section.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::frame::{combine, unsort};
use super::geometry::{Geometry, Section, Unit};
use super::map::{DEEPEST, Map, PatchId};
use super::patches::Gathering;
use super::state::{BadChain, Holder, Spot, State, Stored};
use crate::ahead::ahead;
use crate::block::{Against, Alone, BlockId, Class};
use crate::codec::Cursor;
use crate::error::{Error, Result};
use crate::read::{Reader, Wanted};
use crate::references::STATES_AT_ONCE;
use crate::repository::blocking;
use crate::tree::{Extent, Units};

const READS_AT_ONCE: usize = 4;

/// A file of records with the maps of its segments.
#[derive(Debug, Clone)]
pub(crate) struct Segmented {
    pub(crate) geometry: Geometry,
    pub(crate) size: u64,
    pub(crate) maps: Vec<BlockId>,
    /// What its patches were compressed against, with the length of each dictionary.
    pub(crate) references: Vec<Extent>,
}

/// Which places of a unit to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// What the unit is made of.
    All,
    /// What the unit is made of but its last whole version, which is there already.
    Change,
    /// Its last whole version only, which it has to have.
    Base,
}

/// Bytes of a patch, and where in the file they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patched {
    pub(crate) patch: PatchId,
    pub(crate) at: u64,
    /// Their place in the patch, which holds them: that was checked.
    pub(crate) from: usize,
    pub(crate) length: usize,
}

/// What of a block goes where.
pub(super) struct Use {
    pub(super) unit: Unit,
    pub(super) from: usize,
}

impl Use {
    /// Combines the bytes of a section, columns apart, with what a frame, its values as they were, has for it.
    pub(super) fn combine(&self, frame: &[u8], apart: &mut [u8]) {
        let Self { unit, from } = self;
        let to = frame.len().min(from + unit.length);
        combine(&mut apart[unit.at..unit.at + unit.length], &frame[*from.min(&to)..to]);
    }
}

/// A section of which some units are wanted.
pub(crate) struct Wish {
    pub(crate) section: Section,
    pub(crate) state: State,
    /// Its bytes as far as they are there, columns apart; zeros where frames have all of a unit.
    pub(crate) apart: Vec<u8>,
    pub(crate) units: Vec<(Unit, Places)>,
}

/// A section, its bytes with columns apart, and what of it lies in patches.
pub(crate) type Framed = (Section, Vec<u8>, Vec<Patched>);

/// Which sections use a frame, by their numbers, and for what.
type UsedBy = Vec<(usize, Vec<Use>)>;

/// A section with the frames that are combined with its bytes.
struct Combining {
    section: Section,
    apart: Vec<u8>,
    frames: Vec<(Wanted, Vec<Use>)>,
}

/// Units as they are read where nothing of them is there.
pub(crate) fn whole(units: &[Unit]) -> impl Iterator<Item = (Unit, Places)> + '_ {
    units.iter().map(|unit| (*unit, Places::All))
}

/// Into how many planes a frame is sorted that is used so.
pub(super) fn planes_of(section: &Section, uses: &[Use]) -> u8 {
    uses.first().map_or(1, |first| section.planes(first.unit.column))
}

/// What has to be read: frames, and patches.
#[derive(Default)]
pub(super) struct Uses {
    pub(super) frames: Vec<(Wanted, Vec<Use>)>,
    pub(super) patches: Vec<(PatchId, Wanted, Vec<Use>)>,
}

impl Reader {
    /// The maps of a file's segments, after a check that they are as many as its size asks for.
    pub(crate) async fn segmented(&self, units: &Units, size: u64, file: &str) -> Result<Segmented> {
        let mut maps = units.maps.clone();
        for bytes in self.metas(&units.roots, file).await? {
            let mut cursor = Cursor::new(&bytes);
            while let Some(id) = cursor.take() {
                maps.push(BlockId(id));
            }
        }
        let geometry = units.geometry.clone();
        if !geometry.is_sound() || geometry.segments(size) != maps.len() as u64 {
            let what = format!("the maps of {file} don't fit its {size} bytes");
            let at = units.roots.first().or(units.maps.first());
            return Err(self.repo.damaged(&at.map(|id| self.object_of(id)).unwrap_or_default(), what));
        }
        Ok(Segmented { geometry, size, maps, references: units.references.clone() })
    }

    /// What the maps of these segments amount to. Chains are followed side by side.
    pub(crate) async fn states(
        &self,
        file: &Segmented,
        segments: Range<usize>,
        shown: &str,
    ) -> Result<Vec<State>> {
        let mut chains: Vec<Vec<(BlockId, Map)>> = vec![Vec::new(); segments.len()];
        let mut open: Vec<(usize, BlockId)> =
            file.maps[segments.clone()].iter().copied().enumerate().collect();
        while !open.is_empty() {
            let ids: Vec<BlockId> = open.iter().map(|(_, id)| *id).collect();
            let read = self.metas(&ids, shown).await?;
            let mut next = Vec::new();
            for ((chain, id), bytes) in open.into_iter().zip(read) {
                let map = Map::read(&bytes).ok_or_else(|| self.bad_map(&id, shown, "it makes no sense"))?;
                // Each map is one shallower than the last: no chain is endless.
                let expected = chains[chain].last().map_or(map.depth, |(_, last)| last.depth - 1);
                if map.depth != expected || map.depth > DEEPEST {
                    return Err(self.bad_map(&id, shown, BadChain::Depth.what()));
                }
                next.extend(map.previous.map(|previous| (chain, previous)));
                chains[chain].push((id, map));
            }
            open = next;
        }
        let mut states = Vec::with_capacity(chains.len());
        for (number, mut chain) in segments.zip(chains) {
            chain.reverse();
            let head = file.maps[number];
            let section = file.geometry.section(file.size, number as u64);
            let made = State::of(&chain, file.geometry.numbers())
                .and_then(|mut state| state.fit(&section).map(|()| state));
            states.push(made.map_err(|bad| self.bad_map(&head, shown, bad.what()))?);
        }
        Ok(states)
    }

    /// The states of some segments; one by one if need be, so that none that is damaged hides another. It ends early where the
    /// store fails.
    pub(crate) async fn each_state(
        &self,
        file: &Segmented,
        segments: Range<usize>,
        shown: &str,
    ) -> Vec<(usize, Result<State>)> {
        if let Ok(states) = self.states(file, segments.clone(), shown).await {
            return segments.zip(states.into_iter().map(Ok)).collect();
        }
        let mut states = Vec::new();
        for number in segments {
            let state = self.states(file, number..number + 1, shown).await;
            let state = state.map(|mut one| one.pop().expect("one segment was asked for"));
            let ends =
                matches!(&state, Err(e) if !matches!(e, Error::Damaged { .. } | Error::Missing { .. }));
            states.push((number, state));
            if ends {
                break;
            }
        }
        states
    }

    /// Does something with each segment of a file of records, several ahead, answers in order.
    pub(crate) fn with_states<R: Send + 'static>(
        &self,
        file: Segmented,
        shown: String,
        at_once: usize,
        work: impl Fn(Arc<Segmented>, usize, State) -> BoxFuture<'static, Result<R>> + Clone + Send + 'static,
    ) -> BoxStream<'static, Result<R>> {
        let reader = self.clone();
        let file = Arc::new(file);
        let batches: Vec<usize> = (0..file.maps.len()).step_by(STATES_AT_ONCE).collect();
        stream::iter(batches)
            .then(move |first| {
                let (reader, file, shown) = (reader.clone(), file.clone(), shown.clone());
                let work = work.clone();
                async move {
                    let segments = first..(first + STATES_AT_ONCE).min(file.maps.len());
                    let states = reader.states(&file, segments.clone(), &shown).await?;
                    let numbered: Vec<_> = segments.zip(states).collect();
                    let each = move |(number, state)| work(Arc::clone(&file), number, state);
                    Ok::<_, Error>(ahead(numbered, at_once, each))
                }
            })
            .try_flatten()
            .boxed()
    }

    fn bad_map(&self, id: &BlockId, file: &str, what: &str) -> Error {
        self.repo.damaged(&self.object_of(id), format!("the map {id:?} of {file} can't be used: {what}"))
    }

    /// Where each block of a section is and what of it is used, after a check that every unit lies within its block.
    pub(super) fn uses(
        &self,
        section: &Section,
        state: &State,
        units: impl IntoIterator<Item = (Unit, Places)>,
        file: &str,
    ) -> Result<Uses> {
        let mut frames: HashMap<u32, (Wanted, Vec<Use>)> = HashMap::new();
        let mut patches: HashMap<u32, (PatchId, Wanted, Vec<Use>)> = HashMap::new();
        let outside = |wanted: &Wanted| {
            let what = format!("{file} needs units outside of block {:?}", wanted.id);
            self.repo.damaged(&wanted.place.pack.id.object(), what)
        };
        let mut frame = |unit: &Unit, spot: Spot, padded: bool| {
            let id = state.held_by(spot).id();
            let (wanted, uses) = match frames.entry(spot.frame) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let place = self.find(Class::Data, &id, file)?;
                    new.insert((Wanted { id, at: 0, place }, Vec::new()))
                }
            };
            let from = usize::from(spot.position) * unit.slot;
            let end = if padded { from + 1 } else { from + unit.length };
            let planes = |of: &Unit| section.planes(of.column);
            let mixed = uses.first().is_some_and(|first| planes(&first.unit) != planes(unit));
            if end > wanted.place.raw as usize || mixed {
                return Err(outside(wanted));
            }
            uses.push(Use { unit: *unit, from });
            Ok(())
        };
        let mut patch = |unit: &Unit, spot: Spot| {
            let Holder::Patch(patch) = state.held_by(spot) else { return Ok(()) };
            let (_, wanted, uses) = match patches.entry(spot.frame) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let (id, place) = (patch.id, self.find(Class::Patch, &patch.id, file)?);
                    new.insert((patch, Wanted { id, at: 0, place }, Vec::new()))
                }
            };
            let from = usize::from(spot.position) * unit.slot;
            let within = from + unit.length <= wanted.place.raw as usize;
            if !within || !section.can_be_patched() || unit.column != 0 {
                return Err(outside(wanted));
            }
            uses.push(Use { unit: *unit, from });
            Ok(())
        };
        for (unit, places) in units {
            let (Some(located), unit) = (state.unit(unit.number), &unit) else { continue };
            match (places, located.stored) {
                (Places::All | Places::Change, Stored::Whole(spot)) => frame(unit, spot, false)?,
                (Places::All, Stored::Changed { base, delta }) => {
                    frame(unit, base, true)?;
                    frame(unit, delta, false)?;
                }
                (Places::Change, Stored::Changed { delta, .. }) => frame(unit, delta, false)?,
                (Places::All | Places::Change, Stored::Patched { patch: spot, .. }) => patch(unit, spot)?,
                (Places::Base, _) => {
                    if let Some(base) = located.base() {
                        frame(unit, base, true)?;
                    }
                }
            }
        }
        let order = |wanted: &Wanted| (wanted.place.pack.id, wanted.place.offset);
        let mut uses =
            Uses { frames: frames.into_values().collect(), patches: patches.into_values().collect() };
        uses.frames.sort_by_key(|(wanted, _)| order(wanted));
        uses.patches.sort_by_key(|(_, wanted, _)| order(wanted));
        Ok(uses)
    }

    /// Checks that all blocks of a section are known and hold what the state says.
    pub(crate) fn locate_units(&self, section: &Section, state: &State, file: &str) -> Result<Vec<Wanted>> {
        let uses = self.uses(section, state, whole(&section.units()), file)?;
        let frames = uses.frames.into_iter().map(|(wanted, _)| wanted);
        Ok(frames.chain(uses.patches.into_iter().map(|(_, wanted, _)| wanted)).collect())
    }

    /// Puts the last whole versions of some units of a section, which all have one, where zeros are.
    pub(crate) async fn bases(
        &self,
        section: &Section,
        state: &State,
        units: &[Unit],
        apart: Vec<u8>,
        file: &str,
    ) -> Result<Vec<u8>> {
        let bases = units.iter().map(|unit| (*unit, Places::Base));
        let frames = self.uses(section, state, bases, file)?.frames;
        let one = Combining { section: section.clone(), apart, frames };
        let mut done = self.combined(vec![one], Against::Name, None, file).await?;
        Ok(done.pop().expect("one section was asked for"))
    }

    /// Combines the bytes of sections with what frames have of their units: zeros become those that lie in frames. Also says where the
    /// others lie. Nobody has held them against a name yet. What is read on the way is offered to the dictionaries. Frames of several
    /// sections that lie side by side in a pack are one request.
    pub(crate) async fn framed(
        &self,
        wishes: Vec<Wish>,
        dictionaries: &Arc<Gathering>,
        file: &str,
    ) -> Result<Vec<Framed>> {
        let (mut combining, mut sections) = (Vec::new(), Vec::new());
        for Wish { section, state, apart, units } in wishes {
            let Uses { frames, patches } = self.uses(&section, &state, units, file)?;
            // Of a file that has patches a section is one column: what stands apart stands there in the file.
            let at = section.at;
            let patched = patches.into_iter().flat_map(|(patch, _, uses)| {
                uses.into_iter().map(move |Use { unit, from }| Patched {
                    patch,
                    at: at + unit.at as u64,
                    from,
                    length: unit.length,
                })
            });
            sections.push((section.clone(), patched.collect()));
            combining.push(Combining { section, apart, frames });
        }
        let offered = Some(Arc::clone(dictionaries));
        let bytes = self.combined(combining, Against::Length, offered, file).await?;
        Ok(sections
            .into_iter()
            .zip(bytes)
            .map(|((section, patched), bytes)| (section, bytes, patched))
            .collect())
    }

    /// What frames combine to with what is there.
    async fn combined(
        &self,
        of: Vec<Combining>,
        against: Against,
        dictionaries: Option<Arc<Gathering>>,
        file: &str,
    ) -> Result<Vec<Vec<u8>>> {
        let mut uses: HashMap<BlockId, UsedBy> = HashMap::new();
        let (mut frames, mut done): (Vec<Wanted>, Vec<(Section, Vec<u8>)>) = (Vec::new(), Vec::new());
        for (number, Combining { section, apart, frames: of }) in of.into_iter().enumerate() {
            for (wanted, of) in of {
                let known = uses.entry(wanted.id).or_default();
                if known.is_empty() {
                    frames.push(wanted);
                }
                known.push((number, of));
            }
            done.push((section, apart));
        }
        frames.sort_by_key(|wanted| (wanted.place.pack.id, wanted.place.offset));
        let mut read = self.fetched(frames, READS_AT_ONCE, Alone::Data, against, file);
        // A unit is what its places combine to, in whatever order they come.
        while let Some(fetched) = read.try_next().await? {
            let work: Vec<(BlockId, Vec<u8>, UsedBy)> = fetched
                .into_iter()
                .map(|(part, frame)| (part.id, frame, uses.remove(&part.id).unwrap_or_default()))
                .collect();
            let dictionaries = dictionaries.clone();
            done = blocking(move || {
                for (id, frame, of) in work {
                    dictionaries.iter().for_each(|gathering| gathering.offer(&id, &frame));
                    // All sections of a file sort their frames alike.
                    let planes = of.first().map_or(1, |(number, uses)| planes_of(&done[*number].0, uses));
                    let frame = unsort(frame, planes);
                    for (number, uses) in of {
                        uses.iter().for_each(|of| of.combine(&frame, &mut done[number].1));
                    }
                }
                done
            })
            .await;
        }
        Ok(done.into_iter().map(|(_, bytes)| bytes).collect())
    }
}
