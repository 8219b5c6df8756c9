//! What a chain of maps amounts to: for each unit of a segment its hash and where its bytes are. States are made by
//! applying maps, the complete one first, and expressed as maps again, complete or as the difference to another state.

use std::collections::HashMap;

use super::geometry::Section;
use super::map::{DEEPEST, Map, Piece, UnitHash};
use crate::block::BlockId;

/// A place of a unit: a frame of the state, and the position in it counted in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) frame: u32,
    pub(crate) position: u16,
}

/// Where a unit's bytes are: those at `full`, combined by exclusive or with those at `delta` if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) hash: UnitHash,
    pub(crate) full: Spot,
    pub(crate) delta: Option<Spot>,
}

/// A version of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The maps it was read from, the complete one first.
    chain: Vec<BlockId>,
    frames: Vec<BlockId>,
    numbers: HashMap<BlockId, u32>,
    units: Vec<Option<Located>>,
    /// Of the longest chains also what the complete map said, to express the next version by it.
    bottom: Option<Box<State>>,
}

/// Why maps don't make a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadChain {
    /// A map follows one of another depth than it says.
    Depth,
    /// A unit beyond the segment's numbers.
    Number,
    /// A difference to nothing.
    Baseless,
    /// A unit of the file is named by none.
    Incomplete,
}

impl BadChain {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Depth => "it follows a map of the wrong depth",
            Self::Number => "it names a unit that the segment doesn't have",
            Self::Baseless => "it holds a difference to nothing",
            Self::Incomplete => "it leaves out a unit",
        }
    }
}

impl State {
    /// Applies maps to one another, the complete one first. `numbers` bounds those of units.
    pub(crate) fn of(chain: &[(BlockId, Map)], numbers: usize) -> Result<Self, BadChain> {
        let mut state = Self { units: vec![None; numbers], ..Self::default() };
        for (n, (id, map)) in chain.iter().enumerate() {
            if usize::from(map.depth) != n {
                return Err(BadChain::Depth);
            }
            // With it the next version is expressed when the chain can't grow.
            if n == 1 && chain.len() > usize::from(DEEPEST) {
                state.bottom = Some(Box::new(state.clone()));
            }
            state.apply(map)?;
            state.chain.push(*id);
        }
        Ok(state)
    }

    /// The maps it was read from, the complete one first.
    pub(crate) fn chain(&self) -> &[BlockId] {
        &self.chain
    }

    fn apply(&mut self, map: &Map) -> Result<(), BadChain> {
        let frames: Vec<u32> = map.frames.iter().map(|id| self.frame(*id)).collect();
        let spots = |piece: &Piece| {
            let (frame, piece) = (frames[usize::from(piece.frame)], *piece);
            (0..piece.count)
                .map(move |n| (usize::from(piece.unit + n), Spot { frame, position: piece.position + n }))
        };
        for (unit, full) in map.fulls.iter().flat_map(spots) {
            let place = self.units.get_mut(unit).ok_or(BadChain::Number)?;
            *place = Some(Located { hash: [0; 16], full, delta: None });
        }
        for (unit, delta) in map.deltas.iter().flat_map(spots) {
            let place = self.units.get_mut(unit).ok_or(BadChain::Number)?;
            place.as_mut().ok_or(BadChain::Baseless)?.delta = Some(delta);
        }
        for (unit, hash) in map.named().into_iter().zip(&map.hashes) {
            let place = self.units.get_mut(usize::from(unit)).ok_or(BadChain::Number)?;
            place.as_mut().ok_or(BadChain::Baseless)?.hash = *hash;
        }
        Ok(())
    }

    /// The number of a frame, a new one if need be.
    pub(crate) fn frame(&mut self, id: BlockId) -> u32 {
        let next = self.frames.len() as u32;
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.frames.push(id);
        }
        number
    }

    pub(crate) fn frame_id(&self, number: u32) -> BlockId {
        self.frames[number as usize]
    }

    pub(crate) fn unit(&self, number: u16) -> Option<&Located> {
        self.units.get(usize::from(number))?.as_ref()
    }

    /// Puts a unit where it is now.
    pub(crate) fn place(&mut self, number: u16, located: Located) {
        let needed = usize::from(number) + 1;
        if self.units.len() < needed {
            self.units.resize(needed, None);
        }
        self.units[usize::from(number)] = Some(located);
    }

    /// Forgets the units that are in frames which don't pass, so that they are stored anew.
    pub(crate) fn forget(&mut self, is_there: impl Fn(&BlockId) -> bool) {
        let lost: Vec<bool> = self.frames.iter().map(|id| !is_there(id)).collect();
        for unit in &mut self.units {
            let gone = |spot: Spot| lost[spot.frame as usize];
            if unit.is_some_and(|l| gone(l.full) || l.delta.is_some_and(gone)) {
                *unit = None;
            }
        }
    }

    /// Keeps the units that a section has, and fails unless all of them are known.
    pub(crate) fn fit(&mut self, section: &Section) -> Result<(), BadChain> {
        let mut has = vec![false; self.units.len()];
        for unit in section.units() {
            *has.get_mut(usize::from(unit.number)).ok_or(BadChain::Number)? = true;
        }
        for (unit, has) in self.units.iter_mut().zip(has) {
            match (has, unit.is_some()) {
                (true, false) => return Err(BadChain::Incomplete),
                (false, true) => *unit = None,
                _ => {}
            }
        }
        Ok(())
    }

    /// The frames that its units are in.
    pub(crate) fn needed(&self) -> Vec<BlockId> {
        let mut used = vec![false; self.frames.len()];
        for located in self.units.iter().flatten() {
            for spot in [Some(located.full), located.delta].into_iter().flatten() {
                used[spot.frame as usize] = true;
            }
        }
        self.frames.iter().zip(used).filter_map(|(id, used)| used.then_some(*id)).collect()
    }

    /// The map of this state, which was made out of `before`: what changed since, unless the chain would become too
    /// long. Then it is the difference to the complete map, or, where that is more than a quarter, a complete one.
    pub(crate) fn express(&self, before: Option<&State>) -> Map {
        let Some(before) = before else { return self.since(None) };
        if before.chain.len() <= usize::from(DEEPEST) {
            return self.since(Some(before));
        }
        let merged = self.since(before.bottom.as_deref());
        if merged.hashes.len() * 4 > self.units.iter().flatten().count() { self.since(None) } else { merged }
    }

    fn since(&self, before: Option<&State>) -> Map {
        let mut map = Map::default();
        if let Some(before) = before {
            (map.depth, map.previous) = (before.chain.len() as u8, before.chain.last().copied());
        }
        let mut frames: HashMap<u32, u16> = HashMap::new();
        let mut add = |map_frames: &mut Vec<BlockId>, pieces: &mut Vec<Piece>, unit: u16, spot: Spot| {
            let next = map_frames.len() as u16;
            let frame = *frames.entry(spot.frame).or_insert(next);
            if frame == next {
                map_frames.push(self.frame_id(spot.frame));
            }
            match pieces.last_mut() {
                Some(last)
                    if last.frame == frame
                        && last.unit + last.count == unit
                        && last.position + last.count == spot.position =>
                {
                    last.count += 1;
                }
                _ => pieces.push(Piece { unit, count: 1, frame, position: spot.position }),
            }
        };
        for (number, located) in (0u16..).zip(&self.units) {
            let Some(located) = located else { continue };
            let known = before.and_then(|b| b.unit(number));
            if known == Some(located) {
                continue;
            }
            if located.delta.is_none() || known.is_none_or(|known| known.full != located.full) {
                add(&mut map.frames, &mut map.fulls, number, located.full);
            }
            if let Some(delta) = located.delta {
                add(&mut map.frames, &mut map.deltas, number, delta);
            }
            map.hashes.push(located.hash);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::units::Geometry;
    use proptest::prelude::*;

    fn piece(unit: u16, count: u16) -> Piece {
        Piece { unit, count, frame: 0, position: 0 }
    }

    fn map(depth: u8, fulls: Vec<Piece>, deltas: Vec<Piece>) -> Map {
        let previous = (depth > 0).then_some(BlockId([depth; 32]));
        let mut map = Map { depth, previous, frames: vec![BlockId([9; 32])], fulls, deltas, hashes: vec![] };
        map.hashes = vec![[1; 16]; map.named().len()];
        map
    }

    fn numbered(maps: Vec<Map>) -> Vec<(BlockId, Map)> {
        (1u8..).map(|n| BlockId([n; 32])).zip(maps).collect()
    }

    #[test]
    fn chains_that_contradict_themselves_are_refused() {
        let of = |maps: Vec<Map>| State::of(&numbered(maps), 10).map(|_| ());
        let complete = || map(0, vec![piece(0, 10)], vec![]);
        assert_eq!(of(vec![complete(), map(1, vec![], vec![piece(3, 2)])]), Ok(()));
        assert_eq!(of(vec![complete(), map(2, vec![], vec![])]), Err(BadChain::Depth));
        assert_eq!(of(vec![map(1, vec![piece(0, 10)], vec![])]), Err(BadChain::Depth));
        assert_eq!(of(vec![map(0, vec![piece(0, 11)], vec![])]), Err(BadChain::Number));
        assert_eq!(of(vec![complete(), map(1, vec![], vec![piece(10, 1)])]), Err(BadChain::Number));
        assert_eq!(of(vec![map(0, vec![piece(0, 5)], vec![piece(5, 1)])]), Err(BadChain::Baseless));
        let section = Geometry::of(&Layout::Pages { size: 4096 }).unwrap().section(8 * 4096, 0);
        let fit = |count| {
            State::of(&numbered(vec![map(0, vec![piece(0, count)], vec![])]), 10).unwrap().fit(&section)
        };
        assert_eq!((fit(7), fit(8), fit(9)), (Err(BadChain::Incomplete), Ok(()), Ok(())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_history_is_expressed_by_bounded_chains_that_read_back_the_same(
            versions in prop::collection::vec(
                prop::collection::vec((0u16..60, any::<bool>(), 0u8..20, 0u16..64), 0..12), 1..60)
        ) {
            let section = Geometry::of(&Layout::Pages { size: 4096 }).unwrap().section(60 * 4096, 0);
            let mut stored: HashMap<BlockId, Map> = HashMap::new();
            let mut before: Option<State> = None;
            for (version, changes) in versions.into_iter().enumerate() {
                let mut now = before.clone().unwrap_or_default();
                let all = (0..60).map(|unit| (unit, false, 0, unit));
                let first = before.is_none();
                for (unit, delta, frame, position) in all.filter(|_| first).chain(changes) {
                    let spot = Spot { frame: now.frame(BlockId([frame; 32])), position };
                    let hash = [version as u8; 16];
                    let known = now.unit(unit).copied();
                    now.place(unit, match known {
                        Some(known) if delta => Located { hash, delta: Some(spot), ..known },
                        _ => Located { hash, full: spot, delta: None },
                    });
                }
                let map = now.express(before.as_ref());
                let bytes = map.write();
                prop_assert_eq!(Map::read(&bytes), Some(map.clone()));
                let id = BlockId(*blake3::hash(&bytes).as_bytes());
                stored.insert(id, map);
                let mut chain = vec![(id, stored[&id].clone())];
                while let Some(previous) = chain.last().and_then(|(_, map)| map.previous) {
                    chain.push((previous, stored[&previous].clone()));
                }
                prop_assert!(chain.len() <= 1 + usize::from(DEEPEST));
                chain.reverse();
                let mut read = State::of(&chain, 61).unwrap();
                read.fit(&section).unwrap();
                for unit in 0..60 {
                    let shown = |s: &State| {
                        let l = s.unit(unit).copied().unwrap();
                        let place = |spot: Spot| (s.frame_id(spot.frame), spot.position);
                        (l.hash, place(l.full), l.delta.map(place))
                    };
                    prop_assert_eq!(shown(&read), shown(&now));
                }
                before = Some(read);
            }
        }
    }
}
