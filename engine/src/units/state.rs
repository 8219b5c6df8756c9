//! What a chain of maps amounts to: for each unit of a segment its hash and where its bytes are. States are made by
//! applying maps, the complete one first, and expressed as maps again, complete or as the difference to another state.

use std::collections::HashMap;

use super::geometry::Section;
use super::map::{DEEPEST, Map, PatchId, Piece, UnitHash};
use crate::block::BlockId;

/// A place of a unit: a frame or patch of the state, and the position in it counted in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) frame: u32,
    pub(crate) position: u16,
}

/// What a unit is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The bytes at this spot.
    Whole(Spot),
    /// Those at `base` combined by exclusive or with those at `delta`.
    Changed { base: Spot, delta: Spot },
    /// The bytes at a spot of a patch. The last whole version, if there is one, serves what comes later.
    Patched { base: Option<Spot>, patch: Spot },
}

/// A unit of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) hash: UnitHash,
    pub(crate) stored: Stored,
}

impl Located {
    /// Where its last whole version is.
    pub(crate) fn base(&self) -> Option<Spot> {
        match self.stored {
            Stored::Whole(base) | Stored::Changed { base, .. } => Some(base),
            Stored::Patched { base, .. } => base,
        }
    }

    /// The places its bytes are read from.
    fn spots(&self) -> impl Iterator<Item = Spot> {
        let (one, other) = match self.stored {
            Stored::Whole(spot) | Stored::Patched { patch: spot, .. } => (spot, None),
            Stored::Changed { base, delta } => (base, Some(delta)),
        };
        std::iter::once(one).chain(other)
    }
}

/// A block that units lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Frame(BlockId),
    Patch(PatchId),
}

impl Holder {
    pub(crate) fn id(&self) -> BlockId {
        match self {
            Self::Frame(id) => *id,
            Self::Patch(patch) => patch.id,
        }
    }
}

/// A version of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The maps it was read from, the complete one first.
    chain: Vec<BlockId>,
    holders: Vec<Holder>,
    numbers: HashMap<Holder, u32>,
    units: Vec<Option<Located>>,
    /// What the last whole version of each unit hashes to, where a map said so.
    bases: Vec<Option<UnitHash>>,
    /// Units that a map named, be they there or not: whoever follows those maps must not take one for new.
    named: Vec<bool>,
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
        let (units, bases, named) = (vec![None; numbers], vec![None; numbers], vec![false; numbers]);
        let mut state = Self { units, bases, named, ..Self::default() };
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
        let frames: Vec<u32> = map.frames.iter().map(|id| self.holder(Holder::Frame(*id))).collect();
        let patches: Vec<u32> = map.patches.iter().map(|id| self.holder(Holder::Patch(*id))).collect();
        for (unit, base) in map.fulls.iter().flat_map(|piece| spots(piece, &frames)) {
            *self.units.get_mut(unit).ok_or(BadChain::Number)? =
                Some(Located { hash: [0; 16], stored: Stored::Whole(base) });
            self.bases[unit] = None;
        }
        for (unit, delta) in map.deltas.iter().flat_map(|piece| spots(piece, &frames)) {
            let place = self.units.get_mut(unit).ok_or(BadChain::Number)?.as_mut();
            let place = place.ok_or(BadChain::Baseless)?;
            let base = place.base().ok_or(BadChain::Baseless)?;
            place.stored = Stored::Changed { base, delta };
        }
        for (unit, patch) in map.patched.iter().flat_map(|piece| spots(piece, &patches)) {
            let place = self.units.get_mut(unit).ok_or(BadChain::Number)?;
            let base = place.as_ref().and_then(Located::base);
            *place = Some(Located { hash: [0; 16], stored: Stored::Patched { base, patch } });
        }
        for (unit, hash) in map.named().into_iter().zip(&map.hashes) {
            let place = self.units.get_mut(usize::from(unit)).ok_or(BadChain::Number)?;
            let place = place.as_mut().ok_or(BadChain::Baseless)?;
            place.hash = *hash;
            if matches!(place.stored, Stored::Whole(_)) {
                self.bases[usize::from(unit)] = Some(*hash);
            }
            self.named[usize::from(unit)] = true;
        }
        Ok(())
    }

    /// The number of a frame or patch, a new one if need be.
    pub(crate) fn holder(&mut self, holder: Holder) -> u32 {
        let next = self.holders.len() as u32;
        let number = *self.numbers.entry(holder).or_insert(next);
        if number == next {
            self.holders.push(holder);
        }
        number
    }

    pub(crate) fn held_by(&self, spot: Spot) -> Holder {
        self.holders[spot.frame as usize]
    }

    /// Whether no map that it was read from says anything of this unit.
    pub(crate) fn is_new(&self, number: u16) -> bool {
        !self.named.get(usize::from(number)).copied().unwrap_or_default()
    }

    pub(crate) fn unit(&self, number: u16) -> Option<&Located> {
        self.units.get(usize::from(number))?.as_ref()
    }

    /// Where the last whole version of a unit is, and what it hashes to: of a state that was read, where a map said so.
    pub(crate) fn base(&self, number: u16) -> Option<(Spot, UnitHash)> {
        let spot = self.unit(number)?.base()?;
        Some((spot, (*self.bases.get(usize::from(number))?)?))
    }

    /// Whether both read a unit from the same places.
    pub(crate) fn reads_alike(&self, other: &Self, number: u16) -> bool {
        let (Some(here), Some(there)) = (self.unit(number), other.unit(number)) else { return false };
        let here = here.spots().map(|spot| (self.held_by(spot), spot.position));
        here.eq(there.spots().map(|spot| (other.held_by(spot), spot.position)))
    }

    /// Puts a unit where it is now.
    pub(crate) fn place(&mut self, number: u16, located: Located) {
        let needed = usize::from(number) + 1;
        if self.units.len() < needed {
            self.units.resize(needed, None);
        }
        let place = &mut self.units[usize::from(number)];
        let base = place.as_ref().and_then(Located::base);
        *place = Some(located);
        // It is known again once the map was read that says so.
        if let Some(hash) = self.bases.get_mut(usize::from(number)) {
            *hash = hash.filter(|_| base == located.base());
        }
    }

    /// Forgets the units that are in blocks which don't pass, so that they are stored anew.
    pub(crate) fn forget(&mut self, is_there: impl Fn(&Holder) -> bool) {
        let lost: Vec<bool> = self.holders.iter().map(|holder| !is_there(holder)).collect();
        for place in &mut self.units {
            let gone = |spot: Spot| lost[spot.frame as usize];
            if place.is_some_and(|unit| unit.spots().any(gone)) {
                *place = None;
            } else if let Some(Located { stored: Stored::Patched { base, .. }, .. }) = place {
                *base = base.filter(|base| !gone(*base));
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

    /// The blocks that its units are read from.
    pub(crate) fn needed(&self) -> Vec<Holder> {
        let mut used = vec![false; self.holders.len()];
        for spot in self.units.iter().flatten().flat_map(Located::spots) {
            used[spot.frame as usize] = true;
        }
        self.holders.iter().zip(used).filter_map(|(holder, used)| used.then_some(*holder)).collect()
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
        let mut frames = Listed::default();
        let mut patches = Listed::default();
        for (number, located) in (0u16..).zip(&self.units) {
            let Some(located) = located else { continue };
            let known = before.and_then(|b| b.unit(number));
            if known == Some(located) {
                continue;
            }
            let base = located.base().filter(|base| known.and_then(Located::base) != Some(*base));
            match located.stored {
                // What was stored otherwise before is named, so that this holds again.
                Stored::Whole(spot) => frames.add(&mut map.fulls, number, spot),
                Stored::Changed { delta, .. } => {
                    base.into_iter().for_each(|base| frames.add(&mut map.fulls, number, base));
                    frames.add(&mut map.deltas, number, delta);
                }
                Stored::Patched { patch, .. } => {
                    base.into_iter().for_each(|base| frames.add(&mut map.fulls, number, base));
                    patches.add(&mut map.patched, number, patch);
                }
            }
            map.hashes.push(located.hash);
        }
        for number in frames.listed {
            map.frames.push(self.holders[number as usize].id());
        }
        for number in patches.listed {
            if let Holder::Patch(patch) = self.holders[number as usize] {
                map.patches.push(patch);
            }
        }
        map
    }
}

/// The units of a piece with their spots.
fn spots(piece: &Piece, holders: &[u32]) -> impl Iterator<Item = (usize, Spot)> + use<> {
    let (frame, piece) = (holders[usize::from(piece.frame)], *piece);
    (0..piece.count).map(move |n| (usize::from(piece.unit + n), Spot { frame, position: piece.position + n }))
}

/// The frames, or the patches, of a map in the making.
#[derive(Default)]
struct Listed {
    listed: Vec<u32>,
    numbers: HashMap<u32, u16>,
}

impl Listed {
    /// Adds a unit to a list of pieces, to the last one where it goes on there.
    fn add(&mut self, pieces: &mut Vec<Piece>, unit: u16, spot: Spot) {
        let next = self.listed.len() as u16;
        let frame = *self.numbers.entry(spot.frame).or_insert(next);
        if frame == next {
            self.listed.push(spot.frame);
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
        let mut map =
            Map { depth, previous, frames: vec![BlockId([9; 32])], fulls, deltas, ..Map::default() };
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
                prop::collection::vec((0u16..60, 0u8..3, 0u8..20, 0u16..64), 0..12), 1..60)
        ) {
            let section = Geometry::of(&Layout::Pages { size: 4096 }).unwrap().section(60 * 4096, 0);
            let mut stored: HashMap<BlockId, Map> = HashMap::new();
            let mut before: Option<State> = None;
            for (version, changes) in versions.into_iter().enumerate() {
                let mut now = before.clone().unwrap_or_default();
                // Some are in a patch from the beginning, hence without a base.
                let all = (0..60).map(|unit| (unit, if unit % 7 == 0 { 2 } else { 0 }, 0, unit));
                let first = before.is_none();
                for (unit, how, frame, position) in all.filter(|_| first).chain(changes) {
                    let id = BlockId([frame; 32]);
                    let frame = now.holder(match how {
                        2 => Holder::Patch(PatchId { id, reference: BlockId([100 + frame; 32]) }),
                        _ => Holder::Frame(id),
                    });
                    let spot = Spot { frame, position };
                    let stored = match (how, now.unit(unit).and_then(Located::base)) {
                        (1, Some(base)) => Stored::Changed { base, delta: spot },
                        (2, base) => Stored::Patched { base, patch: spot },
                        _ => Stored::Whole(spot),
                    };
                    now.place(unit, Located { hash: [version as u8; 16], stored });
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
                        let place = |spot: Spot| (s.held_by(spot), spot.position);
                        let kind = std::mem::discriminant(&l.stored);
                        (l.hash, kind, l.base().map(place), l.spots().map(place).collect::<Vec<_>>())
                    };
                    prop_assert_eq!(shown(&read), shown(&now));
                }
                before = Some(read);
            }
        }
    }
}
