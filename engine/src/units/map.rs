//! Maps as stored: what one version of a segment says about its units. A complete map names every unit; a later one only
//! the units that changed since the map it follows. Reading is total, and refuses whatever contradicts itself.

use crate::block::BlockId;
use crate::codec::{Cursor, put_u16};

/// The longest chain of maps: this many may follow a complete one.
pub(crate) const DEEPEST: u8 = 16;

/// The first bytes of BLAKE3 of a unit.
pub(crate) type UnitHash = [u8; 16];

/// Names a unit's bytes.
pub(crate) fn hash(bytes: &[u8]) -> UnitHash {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

/// Consecutive units that lie in consecutive positions of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The number of the first unit.
    pub(crate) unit: u16,
    pub(crate) count: u16,
    /// Index into the map's list of frames, or of patches.
    pub(crate) frame: u16,
    /// Of the first unit, counted in units.
    pub(crate) position: u16,
}

/// A block of units that were compressed against a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PatchId {
    pub(crate) id: BlockId,
    /// What names the dictionary.
    pub(crate) reference: BlockId,
}

/// A stored map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Map {
    /// How many maps it builds on.
    pub(crate) depth: u8,
    /// The one it follows; none for a complete map.
    pub(crate) previous: Option<BlockId>,
    pub(crate) frames: Vec<BlockId>,
    pub(crate) patches: Vec<PatchId>,
    /// Units that are stored whole.
    pub(crate) fulls: Vec<Piece>,
    /// Units that are stored as the difference to their last whole version.
    pub(crate) deltas: Vec<Piece>,
    /// Units that are stored in a patch.
    pub(crate) patched: Vec<Piece>,
    /// Of each unit that is named above, in the order of their numbers.
    pub(crate) hashes: Vec<UnitHash>,
}

impl Map {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![self.depth];
        out.extend(self.previous.iter().flat_map(|id| id.0));
        put_u16(&mut out, self.frames.len() as u16);
        out.extend(self.frames.iter().flat_map(|id| id.0));
        put_u16(&mut out, self.patches.len() as u16);
        out.extend(self.patches.iter().flat_map(|patch| [patch.id.0, patch.reference.0].concat()));
        for pieces in [&self.fulls, &self.deltas, &self.patched] {
            put_u16(&mut out, pieces.len() as u16);
            for field in
                [|p: &Piece| p.unit, |p: &Piece| p.count, |p: &Piece| p.frame, |p: &Piece| p.position]
            {
                pieces.iter().for_each(|piece| put_u16(&mut out, field(piece)));
            }
        }
        out.extend(self.hashes.iter().flatten());
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let [depth] = cursor.take()?;
        let previous = match depth {
            0 => None,
            1..=DEEPEST => Some(BlockId(cursor.take()?)),
            _ => return None,
        };
        let count = cursor.u16()?;
        let frames: Option<Vec<BlockId>> = (0..count).map(|_| cursor.take().map(BlockId)).collect();
        let frames = frames?;
        let count = cursor.u16()?;
        let mut patch = || Some(PatchId { id: BlockId(cursor.take()?), reference: BlockId(cursor.take()?) });
        let patches: Option<Vec<PatchId>> = (0..count).map(|_| patch()).collect();
        let patches = patches?;
        let mut lists = [Vec::new(), Vec::new(), Vec::new()];
        for (list, blocks) in lists.iter_mut().zip([frames.len(), frames.len(), patches.len()]) {
            let count = usize::from(cursor.u16()?);
            let mut field = || (0..count).map(|_| cursor.u16()).collect::<Option<Vec<u16>>>();
            let (units, counts, of, positions) = (field()?, field()?, field()?, field()?);
            let fields = units.into_iter().zip(counts).zip(of.into_iter().zip(positions));
            list.extend(fields.map(|((unit, count), (frame, position))| Piece {
                unit,
                count,
                frame,
                position,
            }));
            let ascending = list
                .windows(2)
                .all(|pair| u32::from(pair[0].unit) + u32::from(pair[0].count) <= u32::from(pair[1].unit));
            let fits = |p: &Piece| {
                p.count > 0
                    && usize::from(p.frame) < blocks
                    && p.unit.checked_add(p.count).is_some()
                    && p.position.checked_add(p.count).is_some()
            };
            if !ascending || !list.iter().all(fits) {
                return None;
            }
        }
        let [fulls, deltas, patched] = lists;
        // A unit has one version.
        let twice = numbers(&deltas).any(|unit| {
            let before = patched.partition_point(|piece| piece.unit <= unit);
            before > 0 && unit - patched[before - 1].unit < patched[before - 1].count
        });
        if twice {
            return None;
        }
        let mut map = Self { depth, previous, frames, patches, fulls, deltas, patched, hashes: Vec::new() };
        for _ in 0..map.named().len() {
            map.hashes.push(cursor.take()?);
        }
        cursor.is_done().then_some(map)
    }

    /// The numbers of all units it says something about, in order.
    pub(crate) fn named(&self) -> Vec<u16> {
        let mut named: Vec<u16> = [&self.fulls, &self.deltas, &self.patched]
            .into_iter()
            .flat_map(|pieces| numbers(pieces))
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// The units of all pieces.
fn numbers(pieces: &[Piece]) -> impl Iterator<Item = u16> + '_ {
    pieces.iter().flat_map(|p| p.unit..p.unit.saturating_add(p.count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(unit: u16, count: u16, frame: u16, position: u16) -> Piece {
        Piece { unit, count, frame, position }
    }

    fn sample() -> Map {
        Map {
            depth: 3,
            previous: Some(BlockId([7; 32])),
            frames: vec![BlockId([1; 32]), BlockId([2; 32])],
            patches: vec![PatchId { id: BlockId([3; 32]), reference: BlockId([4; 32]) }],
            fulls: vec![piece(0, 3, 0, 0), piece(900, 1, 0, 3)],
            deltas: vec![piece(2, 1, 1, 0), piece(4, 2, 1, 1)],
            patched: vec![piece(1, 1, 0, 9), piece(6, 3, 0, 10)],
            hashes: (0..9).map(|n| [n; 16]).collect(),
        }
    }

    #[test]
    fn maps_come_back_as_written() {
        let complete = Map { depth: 0, previous: None, ..sample() };
        for map in [sample(), complete, Map::default()] {
            assert_eq!(Map::read(&map.write()), Some(map));
        }
        assert_eq!(sample().named(), [0, 1, 2, 4, 5, 6, 7, 8, 900]);
    }

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        type Change = fn(&mut Map);
        let broken: [(&str, Change); 11] = [
            ("too deep", |m| m.depth = DEEPEST + 1),
            ("a frame that is not listed", |m| m.fulls[1].frame = 2),
            ("a patch that is not listed", |m| m.patched[1].frame = 1),
            ("a unit with two versions", |m| m.patched[1] = piece(5, 1, 0, 10)),
            ("pieces that overlap", |m| m.fulls[0].count = 901),
            ("pieces out of order", |m| m.deltas.reverse()),
            ("an empty piece", |m| m.fulls[1].count = 0),
            ("units beyond any number", |m| m.deltas[1].count = u16::MAX),
            ("positions beyond any number", |m| m.deltas[1].position = u16::MAX),
            ("too few hashes", |m| m.hashes.truncate(8)),
            ("too many hashes", |m| m.hashes.push([9; 16])),
        ];
        for (what, change) in broken {
            let mut map = sample();
            change(&mut map);
            assert_eq!(Map::read(&map.write()), None, "{what}");
        }
        let bytes = sample().write();
        for length in 0..bytes.len() {
            assert_eq!(Map::read(&bytes[..length]), None, "cut at {length}");
        }
    }
}
