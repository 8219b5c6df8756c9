//! Reading units back: maps into states, frames into the bytes of a section.

use std::collections::HashMap;
use std::ops::Range;

use futures::{FutureExt, TryStreamExt};

use super::frame::{combine, unsort};
use super::geometry::{Geometry, Section, Unit};
use super::map::{DEEPEST, Map};
use super::state::{BadChain, Spot, State};
use crate::ahead::ahead;
use crate::block::{BlockId, Class};
use crate::codec::Cursor;
use crate::error::{Error, Result};
use crate::index::Place;
use crate::read::{Reader, Wanted};
use crate::repository::blocking;
use crate::tree::Units;

const READS_AT_ONCE: usize = 4;

/// A file of records with the maps of its segments.
#[derive(Debug, Clone)]
pub(crate) struct Segmented {
    pub(crate) geometry: Geometry,
    pub(crate) size: u64,
    pub(crate) maps: Vec<BlockId>,
}

/// Which places of a unit to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// What the unit is made of.
    All,
    /// Its last whole version only.
    Base,
}

/// What of a frame goes where.
struct Use {
    unit: Unit,
    from: usize,
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
        Ok(Segmented { geometry, size, maps })
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

    fn bad_map(&self, id: &BlockId, file: &str, what: &str) -> Error {
        self.repo.damaged(&self.object_of(id), format!("the map {id:?} of {file} can't be used: {what}"))
    }

    /// Where each frame of a section is and what of it is used, after a check that every unit lies within its frame.
    fn uses(
        &self,
        section: &Section,
        state: &State,
        units: &[Unit],
        places: Places,
        file: &str,
    ) -> Result<Vec<(Wanted, Vec<Use>)>> {
        let mut frames: HashMap<u32, (Wanted, Vec<Use>)> = HashMap::new();
        let mut add = |unit: &Unit, spot: Spot, padded: bool| {
            let id = state.frame_id(spot.frame);
            let (wanted, uses) = match frames.entry(spot.frame) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let place = self.find(Class::Data, &id, file)?;
                    new.insert((Wanted { id, at: 0, place }, Vec::new()))
                }
            };
            let from = usize::from(spot.position) * unit.slot;
            let end = if padded { from + 1 } else { from + unit.length };
            let planes = |of: &Unit| section.planes(of.column);
            let mixed = uses.first().is_some_and(|first| planes(&first.unit) != planes(unit));
            if end > wanted.place.raw as usize || mixed {
                let what = format!("{file} needs units outside of block {id:?}");
                return Err(self.repo.damaged(&wanted.place.pack.id.object(), what));
            }
            uses.push(Use { unit: *unit, from });
            Ok(())
        };
        for unit in units {
            let Some(located) = state.unit(unit.number) else { continue };
            match (located.delta, places) {
                (Some(delta), Places::All) => {
                    add(unit, located.full, true)?;
                    add(unit, delta, false)?;
                }
                (Some(_), Places::Base) => add(unit, located.full, true)?,
                (None, Places::Base) => add(unit, located.full, true)?,
                (None, Places::All) => add(unit, located.full, false)?,
            }
        }
        let mut frames: Vec<_> = frames.into_values().collect();
        frames.sort_by_key(|(wanted, _)| {
            let Place { pack, offset, .. } = wanted.place;
            (pack.id, offset)
        });
        Ok(frames)
    }

    /// Checks that all frames of a section are known and hold what the state says.
    pub(crate) fn locate_units(&self, section: &Section, state: &State, file: &str) -> Result<Vec<Wanted>> {
        let uses = self.uses(section, state, &section.units(), Places::All, file)?;
        Ok(uses.into_iter().map(|(wanted, _)| wanted).collect())
    }

    /// The bytes of some units of a section, columns apart, zeros elsewhere; and the blocks that were read.
    pub(crate) async fn units(
        &self,
        section: &Section,
        state: &State,
        units: &[Unit],
        places: Places,
        file: &str,
    ) -> Result<(Vec<u8>, Vec<BlockId>)> {
        let mut uses: HashMap<BlockId, Vec<Use>> = HashMap::new();
        let mut frames = Vec::new();
        for (wanted, of) in self.uses(section, state, units, places, file)? {
            frames.push(wanted);
            uses.insert(wanted.id, of);
        }
        let blocks = frames.iter().map(|wanted| wanted.id).collect();
        let (reader, shown) = (self.clone(), file.to_owned());
        let mut read = ahead(Self::runs(frames), READS_AT_ONCE, move |run| {
            let (reader, file) = (reader.clone(), shown.clone());
            async move { Ok::<_, Error>((reader.fetch(Class::Data, &run, &file).await?, run)) }.boxed()
        });
        // A unit is what its places combine to, in whatever order they come.
        let mut bytes = vec![0; section.bytes()];
        while let Some((fetched, run)) = read.try_next().await? {
            let work: Vec<(Vec<u8>, Vec<Use>)> = fetched
                .into_iter()
                .zip(run.parts)
                .map(|(frame, part)| (frame, uses.remove(&part.id).unwrap_or_default()))
                .collect();
            let section = section.clone();
            bytes = blocking(move || {
                for (frame, uses) in work {
                    let planes = uses.first().map_or(1, |first| section.planes(first.unit.column));
                    let frame = unsort(frame, planes);
                    for Use { unit, from } in uses {
                        let to = frame.len().min(from + unit.length);
                        combine(&mut bytes[unit.at..unit.at + unit.length], &frame[from.min(to)..to]);
                    }
                }
                bytes
            })
            .await;
        }
        Ok((bytes, blocks))
    }
}
