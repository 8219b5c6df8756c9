//! Captures files of records: segment by segment, each compared with the version before by the hashes of its units. What
//! changed a little is stored as the difference to the last whole version; what was rewritten goes into patches
//! (`patches.rs`) or is stored whole.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::aside::{Aside, AtHand};
use super::groups::Groups;
use super::patches::{Group, Rewritten, Waiting};
use super::previous::is_about_bytes;
use super::scan::{Scan, changed, stopped, unreadable};
use crate::block::{Alone, BlockId, Effort, RawBlock};
use crate::error::Result;
use crate::keys::Keys;
use crate::read::Reader;
use crate::repository::blocking;
use crate::tree::{INLINE, Units, ends_root, write_ids};
use crate::units::frame::{FIRST, LATER, Limits, combine, sort};
use crate::units::map::{UnitHash, hash};
use crate::units::{Geometry, Holder, Located, Section, Spot, State, Stored, Unit};

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
    /// Whether what was rewritten may be stored in patches.
    patching: bool,
}

struct Encoded {
    frames: Vec<RawBlock>,
    /// All of its units but those that were rewritten.
    segment: Waiting,
    rewritten: Vec<Rewritten>,
}

/// The segments of a file as they are done with, in order.
enum Segment {
    Unchanged(BlockId, Vec<Holder>),
    Pending(JoinHandle<Result<Encoded>>),
}

/// What is known of a file's new version so far.
#[derive(Default)]
pub(super) struct Version {
    /// The maps of its segments; `None` while units of one wait for a patch.
    maps: Vec<Option<BlockId>>,
    /// The references that its units need.
    references: BTreeSet<BlockId>,
}

impl Version {
    fn needs(&mut self, holders: &[Holder]) {
        self.references.extend(holders.iter().filter_map(|holder| match holder {
            Holder::Patch(patch) => Some(patch.reference),
            Holder::Frame(_) => None,
        }));
    }
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
        let said = before.as_ref().zip(self.aside.as_ref().and_then(|aside| aside.groups(within)));
        let mut whole = Groups::new(size, said.map(|(before, values)| (values, before.hash())));
        let (mut version, mut pending) = (Version::default(), VecDeque::new());
        let known = before.as_ref().map(|before| before.references().to_vec());
        let patching = known.is_some() && geometry.section(size, 0).can_be_patched();
        let mut group = Group::new(known.unwrap_or_default());
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
            let is_as_before = |unit: &Unit| {
                let known = state.as_ref().is_some_and(|state| state.unit(unit.number).is_some());
                known && section.stretch(unit).is_some_and(|stretch| whole.are_as_before(stretch))
            };
            let looked_at = section.units().into_iter().filter(|unit| !is_as_before(unit));
            let hashed = looked_at.map(|unit| (unit, hash(&apart[unit.at..unit.at + unit.length])));
            let differing: Vec<(Unit, UnitHash)> = hashed.filter(differs).collect();
            self.read(section.bytes() as u64);
            match state.as_ref().and_then(|state| Some((state, state.chain().last()?))) {
                Some((state, map)) if differing.is_empty() => {
                    pending.push_back(Segment::Unchanged(*map, state.needed()));
                    spare = apart;
                }
                _ => {
                    let file = shown.clone();
                    let work = Work { section, apart, changed: differing, before: state, file, patching };
                    let encoding = self.handle.spawn(encode(self.reader.clone(), self.aside.clone(), work));
                    pending.push_back(Segment::Pending(encoding));
                }
            }
            while pending.len() > SEGMENTS_AT_ONCE {
                self.settle(&mut pending, file, within, &mut group, &mut version)?;
            }
        }
        while !pending.is_empty() {
            self.settle(&mut pending, file, within, &mut group, &mut version)?;
        }
        self.close(&mut group, file, within, &mut version)?;
        match file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(changed(within, "it grew")),
            Err(e) => return Err(unreadable(within, e)),
        }
        let maps: Option<Vec<BlockId>> = version.maps.into_iter().collect();
        let maps = maps.expect("no segment waits for a patch once the last group is closed");
        let references = group.needed(&version.references);
        let mut units = Units { geometry, maps, roots: Vec::new(), references };
        if units.maps.len() > INLINE {
            self.roots(&mut units)?;
        }
        let (hash, values) = whole.finish();
        if let Some(aside) = &self.aside {
            aside.keep_groups(within, &values);
        }
        Ok((units, hash))
    }

    /// Takes the oldest segment under way: stores its frames, and its map unless units of it have to wait for a patch.
    fn settle(
        &mut self,
        pending: &mut VecDeque<Segment>,
        file: &File,
        within: &Path,
        group: &mut Group,
        version: &mut Version,
    ) -> Result<()> {
        match pending.pop_front() {
            None => {}
            Some(Segment::Unchanged(map, holders)) => {
                self.scanned.totals.blocks += holders.len() as u64;
                version.needs(&holders);
                version.maps.push(Some(map));
            }
            Some(Segment::Pending(encoding)) => {
                let done = self.handle.block_on(encoding);
                let Encoded { frames, segment, rewritten } =
                    done.unwrap_or_else(|e| match e.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(stopped()), // the runtime is shutting down
                    })?;
                for frame in frames {
                    self.send(frame)?;
                }
                let number = version.maps.len();
                version.maps.push(None);
                if rewritten.is_empty() {
                    return self.end_segment(number, segment, version);
                }
                if !group.has_room_for(&rewritten) {
                    self.close(group, file, within, version)?;
                }
                group.add(number, segment, rewritten);
            }
        }
        Ok(())
    }

    /// Stores the map of a segment all of whose units have a place.
    pub(super) fn end_segment(
        &mut self,
        number: usize,
        segment: Waiting,
        version: &mut Version,
    ) -> Result<()> {
        let Waiting { section, mut state, before } = segment;
        state.fit(&section).expect("each unit is the same as before or was placed");
        let needed = state.needed();
        self.scanned.totals.blocks += needed.len() as u64;
        version.needs(&needed);
        let map = self.send_meta(state.express(before.as_deref()).write())?;
        version.maps[number] = Some(map);
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

/// Fetches what the changed units are compared with, and makes frames.
async fn encode(reader: Reader, aside: Option<Arc<Aside>>, work: Work) -> Result<Encoded> {
    let mut base = None;
    if let Some(before) = &work.before {
        let known = |(unit, _): &(Unit, UnitHash)| {
            before.unit(unit.number).and_then(Located::base).is_some().then_some(*unit)
        };
        let units: Vec<Unit> = work.changed.iter().filter_map(known).collect();
        match bases(&reader, aside, &work.section, before, units, &work.file).await {
            Ok(bytes) => base = Some(bytes),
            Err(e) if is_about_bytes(&e) => {
                let at = work.section.at;
                tracing::warn!("what changed in {} at byte {at} is stored whole: {e}", work.file);
            }
            Err(e) => return Err(e),
        }
    }
    let repo = reader.repo.clone();
    drop(reader);
    Ok(blocking(move || pack_units(repo.keys(), work, base)).await)
}

/// The last whole versions of some units of a section, which all have one; zeros elsewhere.
async fn bases(
    reader: &Reader,
    aside: Option<Arc<Aside>>,
    section: &Section,
    before: &Arc<State>,
    units: Vec<Unit>,
    file: &str,
) -> Result<Vec<u8>> {
    let Some(aside) = aside else {
        return reader.bases(section, before, &units, vec![0; section.bytes()], file).await;
    };
    let (from, of, state) = (Arc::clone(&aside), section.clone(), Arc::clone(before));
    let AtHand { apart, missing } = blocking(move || from.take(&of, &state, units)).await;
    if missing.is_empty() {
        return Ok(apart);
    }
    let apart = reader.bases(section, before, &missing, apart, file).await?;
    let state = Arc::clone(before);
    Ok(blocking(move || {
        aside.keep_all(&state, &missing, &apart);
        apart
    })
    .await)
}

fn pack_units(keys: &Keys, work: Work, mut base: Option<Vec<u8>>) -> Encoded {
    let Work { section, apart, changed, before, patching, .. } = work;
    let mut state = before.as_deref().cloned().unwrap_or_default();
    let (mut frames, mut rewritten) = (Vec::new(), Vec::new());
    let mut fulls = Frame::new(Effort::Usual, if before.is_none() { FIRST } else { LATER });
    let mut deltas = Frame::new(Effort::High, LATER);
    for (unit, hash) in changed {
        let range = unit.at..unit.at + unit.length;
        let bytes = &apart[range.clone()];
        // A tail has a slot of its own, which positions of a patch don't count by.
        let patching = patching && unit.column == 0;
        let known = before.as_deref().and_then(|before| before.unit(unit.number));
        let old = known.and_then(Located::base).zip(base.as_mut().map(|base| &mut base[range]));
        match old {
            Some((spot, difference)) => {
                combine(difference, bytes);
                if is_worth_it(difference) {
                    deltas.push(keys, &section, &unit, hash, difference, &mut state, &mut frames);
                    continue;
                }
                if patching {
                    combine(difference, bytes);
                    let place = (state.held_by(spot).id(), spot.position);
                    rewritten.push(Rewritten { unit, hash, base: Some((spot, place, difference.to_vec())) });
                    continue;
                }
            }
            // What has a version, if only in a patch, becomes whole, so that the next one has something to build upon.
            None if patching && state.is_new(unit.number) => {
                rewritten.push(Rewritten { unit, hash, base: None });
                continue;
            }
            None => {}
        }
        fulls.push(keys, &section, &unit, hash, bytes, &mut state, &mut frames);
    }
    fulls.end(keys, &section, &mut state, &mut frames);
    deltas.end(keys, &section, &mut state, &mut frames);
    Encoded { frames, segment: Waiting { section, state, before }, rewritten }
}

/// A difference that is mostly zeros compresses to less than the unit itself.
fn is_worth_it(difference: &[u8]) -> bool {
    let zeros = difference.iter().filter(|byte| **byte == 0).count();
    zeros * 2 >= difference.len()
}

/// A frame as it grows.
pub(super) struct Frame {
    effort: Effort,
    limits: Limits,
    bytes: Vec<u8>,
    column: usize,
    units: Vec<(u16, UnitHash)>,
}

impl Frame {
    /// Of whole units with the usual effort, of differences with a high one.
    pub(super) fn new(effort: Effort, limits: Limits) -> Self {
        Self { effort, limits, bytes: Vec::new(), column: 0, units: Vec::new() }
    }

    #[allow(clippy::too_many_arguments, reason = "what a frame is made of and where it goes")]
    pub(super) fn push(
        &mut self,
        keys: &Keys,
        section: &Section,
        unit: &Unit,
        hash: UnitHash,
        bytes: &[u8],
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
        self.units.push((unit.number, hash));
    }

    pub(super) fn end(
        &mut self,
        keys: &Keys,
        section: &Section,
        state: &mut State,
        frames: &mut Vec<RawBlock>,
    ) {
        if self.units.is_empty() {
            return;
        }
        let bytes = sort(std::mem::take(&mut self.bytes), section.planes(self.column));
        let block = RawBlock::new(keys, Alone::Data, self.effort, bytes);
        let frame = state.holder(Holder::Frame(block.id));
        for (position, (number, hash)) in (0u16..).zip(self.units.drain(..)) {
            let spot = Spot { frame, position };
            let base = state.unit(number).and_then(Located::base);
            let stored = match (self.effort, base) {
                (Effort::High, Some(base)) => Stored::Changed { base, delta: spot },
                _ => Stored::Whole(spot),
            };
            state.place(number, Located { hash, stored });
        }
        frames.push(block);
    }
}
