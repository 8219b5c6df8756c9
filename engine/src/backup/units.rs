//! Captures files of records: segment by segment, each compared with the version before by the hashes of its units. What
//! changed is stored as the difference to the last whole version where that is worth it, else whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::previous::is_about_bytes;
use super::scan::{Scan, changed, stopped, unreadable};
use crate::block::{BlockId, Class, Effort, RawBlock};
use crate::error::Result;
use crate::keys::Keys;
use crate::read::Reader;
use crate::repository::blocking;
use crate::tree::{INLINE, Units, ends_root, write_ids};
use crate::units::frame::{FIRST, LATER, Limits, combine, sort};
use crate::units::map::{UnitHash, hash};
use crate::units::{Geometry, Located, Places, Section, Spot, State, Unit};

/// Segments that are encoded while the next one is read.
const SEGMENTS_AT_ONCE: usize = 2;

/// A segment to be encoded.
struct Work {
    section: Section,
    /// Its bytes, columns apart.
    apart: Vec<u8>,
    changed: Vec<(Unit, UnitHash)>,
    before: Option<Arc<State>>,
    file: String,
}

struct Encoded {
    frames: Vec<RawBlock>,
    map: RawBlock,
    /// Frames that the segment needs, old ones included.
    needed: usize,
}

/// The maps of a file as they become known, in order.
enum Segment {
    Unchanged(BlockId),
    Pending(JoinHandle<Result<Encoded>>),
}

impl Scan {
    /// Reads so many bytes of a file and stores what changed. Returns its content and hash.
    pub(super) fn units(
        &mut self,
        mut file: &File,
        size: u64,
        within: &Path,
        geometry: Geometry,
    ) -> Result<(Units, blake3::Hash)> {
        let shown = within.to_string_lossy().into_owned();
        let mut before = self.previous.open(within, &geometry, &self.reader, &self.handle)?;
        let mut geometry = before.as_ref().map_or(geometry, |before| before.geometry().clone());
        let mut whole = blake3::Hasher::new();
        let (mut maps, mut pending) = (Vec::new(), VecDeque::new());
        // Most segments of an increment don't change: their memory serves the next one.
        let mut spare = Vec::new();
        for number in 0..geometry.segments(size) {
            if self.is_stopped() {
                return Err(stopped());
            }
            let section = geometry.section(size, number);
            let mut bytes = std::mem::take(&mut spare);
            bytes.resize(section.bytes(), 0);
            file.read_exact(&mut bytes).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(within, "it shrank"),
                _ => unreadable(within, e),
            })?;
            whole.update(&bytes);
            let apart = section.split(bytes);
            if number == 0 && before.is_none() {
                geometry = sorted_where_smaller(&section, &apart);
            }
            let section = geometry.section(size, number);
            let state = before.as_mut().map_or(Ok(None), |before| before.next())?;
            let differs = |(unit, hash): &(Unit, UnitHash)| {
                state
                    .as_ref()
                    .and_then(|state| state.unit(unit.number))
                    .is_none_or(|known| known.hash != *hash)
            };
            let hashed =
                section.units().into_iter().map(|unit| (unit, hash(&apart[unit.at..unit.at + unit.length])));
            let differing: Vec<(Unit, UnitHash)> = hashed.filter(differs).collect();
            self.read(section.bytes() as u64);
            match state.as_ref().and_then(|state| Some((state, state.chain().last()?))) {
                Some((state, map)) if differing.is_empty() => {
                    self.scanned.totals.blocks += state.needed().len() as u64;
                    pending.push_back(Segment::Unchanged(*map));
                    spare = apart;
                }
                _ => {
                    let file = shown.clone();
                    let work = Work { section, apart, changed: differing, before: state, file };
                    let encoding = self.handle.spawn(encode(self.reader.clone(), work));
                    pending.push_back(Segment::Pending(encoding));
                }
            }
            while pending.len() > SEGMENTS_AT_ONCE {
                self.settle(&mut pending, &mut maps)?;
            }
        }
        while !pending.is_empty() {
            self.settle(&mut pending, &mut maps)?;
        }
        match file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(changed(within, "it grew")),
            Err(e) => return Err(unreadable(within, e)),
        }
        let mut units = Units { geometry, maps, roots: Vec::new() };
        if units.maps.len() > INLINE {
            self.roots(&mut units)?;
        }
        Ok((units, whole.finalize()))
    }

    /// Takes the oldest segment under way: stores its frames and its map.
    fn settle(&mut self, pending: &mut VecDeque<Segment>, maps: &mut Vec<BlockId>) -> Result<()> {
        match pending.pop_front() {
            None => {}
            Some(Segment::Unchanged(map)) => maps.push(map),
            Some(Segment::Pending(encoding)) => {
                let done = self.handle.block_on(encoding);
                let encoded = done.unwrap_or_else(|e| match e.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(stopped()), // the runtime is shutting down
                })?;
                self.scanned.totals.blocks += encoded.needed as u64;
                for frame in encoded.frames {
                    self.send(frame)?;
                }
                maps.push(self.send(encoded.map)?);
            }
        }
        Ok(())
    }

    /// Moves the list of maps into blocks of its own, cut by content so that a change rewrites one of them.
    fn roots(&mut self, units: &mut Units) -> Result<()> {
        let mut root = Vec::new();
        for map in std::mem::take(&mut units.maps) {
            root.push(map);
            if ends_root(&map, root.len()) {
                let bytes = write_ids(&std::mem::take(&mut root));
                units.roots.push(self.send_meta(bytes)?);
            }
        }
        if !root.is_empty() {
            units.roots.push(self.send_meta(write_ids(&root))?);
        }
        Ok(())
    }
}

/// Tries which columns compress better with their bytes sorted into planes, on the first frame of each.
fn sorted_where_smaller(section: &Section, apart: &[u8]) -> Geometry {
    let mut geometry = section.geometry().clone();
    if geometry.columns.len() == 1 {
        return geometry;
    }
    let units = section.units();
    for (index, column) in geometry.columns.iter_mut().enumerate() {
        let Some(first) = units.iter().find(|unit| unit.column == index) else { continue };
        if !column.width.is_multiple_of(4) {
            continue;
        }
        let length: usize = units.iter().filter(|unit| unit.column == index).map(|unit| unit.length).sum();
        let sample = &apart[first.at..first.at + length.min(LATER.bytes)];
        let size = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).map_or(usize::MAX, |small| small.len());
        if size(&sort(sample.to_vec(), 4)) < size(sample) / 100 * 98 {
            column.planes = 4;
        }
    }
    geometry
}

/// Fetches what the changed units are compared with, and makes frames and the map.
async fn encode(reader: Reader, work: Work) -> Result<Encoded> {
    let Work { section, apart, changed, before, file } = work;
    let mut base = None;
    if let Some(before) = &before {
        let known = |(unit, _): &(Unit, UnitHash)| before.unit(unit.number).is_some().then_some(*unit);
        let units: Vec<Unit> = changed.iter().filter_map(known).collect();
        match reader.units(&section, before, &units, Places::Base, &file).await {
            Ok((bytes, _)) => base = Some(bytes),
            Err(e) if is_about_bytes(&e) => {
                tracing::warn!("what changed in {file} at byte {} is stored whole: {e}", section.at);
            }
            Err(e) => return Err(e),
        }
    }
    let repo = reader.repo.clone();
    drop(reader);
    Ok(blocking(move || pack_units(repo.keys(), &section, &apart, &changed, before.as_deref(), base)).await)
}

fn pack_units(
    keys: &Keys,
    section: &Section,
    apart: &[u8],
    changed: &[(Unit, UnitHash)],
    before: Option<&State>,
    mut base: Option<Vec<u8>>,
) -> Encoded {
    let mut state = before.cloned().unwrap_or_default();
    let mut frames = Vec::new();
    let mut fulls = Frame::new(Effort::Usual, if before.is_none() { FIRST } else { LATER });
    let mut deltas = Frame::new(Effort::High, LATER);
    for (unit, hash) in changed {
        let range = unit.at..unit.at + unit.length;
        let bytes = &apart[range.clone()];
        let known = before.and_then(|before| before.unit(unit.number));
        let delta = match (&mut base, known) {
            (Some(base), Some(known)) => {
                let difference = &mut base[range];
                combine(difference, bytes);
                is_worth_it(difference).then_some((&*difference, known.full))
            }
            _ => None,
        };
        match delta {
            Some((difference, full)) => {
                let placed = Located { hash: *hash, full, delta: None };
                deltas.push(keys, section, unit, difference, placed, &mut state, &mut frames);
            }
            None => {
                let nowhere = Spot { frame: 0, position: 0 };
                let placed = Located { hash: *hash, full: nowhere, delta: None };
                fulls.push(keys, section, unit, bytes, placed, &mut state, &mut frames);
            }
        }
    }
    fulls.end(keys, section, &mut state, &mut frames);
    deltas.end(keys, section, &mut state, &mut frames);
    state.fit(section).expect("each unit is the same as before or was placed");
    let map = state.express(before).write();
    Encoded {
        frames,
        map: RawBlock::new(keys, Class::Meta, Effort::Usual, map),
        needed: state.needed().len(),
    }
}

/// A difference that is mostly zeros compresses to less than the unit itself.
fn is_worth_it(difference: &[u8]) -> bool {
    let zeros = difference.iter().filter(|byte| **byte == 0).count();
    zeros * 2 >= difference.len()
}

/// A frame as it grows.
struct Frame {
    effort: Effort,
    limits: Limits,
    bytes: Vec<u8>,
    column: usize,
    units: Vec<(u16, Located)>,
}

impl Frame {
    fn new(effort: Effort, limits: Limits) -> Self {
        Self { effort, limits, bytes: Vec::new(), column: 0, units: Vec::new() }
    }

    #[allow(clippy::too_many_arguments, reason = "what a frame is made of and where it goes")]
    fn push(
        &mut self,
        keys: &Keys,
        section: &Section,
        unit: &Unit,
        bytes: &[u8],
        located: Located,
        state: &mut State,
        frames: &mut Vec<RawBlock>,
    ) {
        let full =
            self.units.len() >= self.limits.units || self.bytes.len() + bytes.len() > self.limits.bytes;
        if full || self.column != unit.column {
            self.end(keys, section, state, frames);
        }
        self.column = unit.column;
        self.bytes.extend_from_slice(bytes);
        self.units.push((unit.number, located));
    }

    fn end(&mut self, keys: &Keys, section: &Section, state: &mut State, frames: &mut Vec<RawBlock>) {
        if self.units.is_empty() {
            return;
        }
        let bytes = sort(std::mem::take(&mut self.bytes), section.planes(self.column));
        let block = RawBlock::new(keys, Class::Data, self.effort, bytes);
        let frame = state.frame(block.id);
        for (position, (number, mut located)) in (0u16..).zip(self.units.drain(..)) {
            let spot = Spot { frame, position };
            match self.effort {
                Effort::Usual => located.full = spot,
                Effort::High => located.delta = Some(spot),
            }
            state.place(number, located);
        }
        frames.push(block);
    }
}
