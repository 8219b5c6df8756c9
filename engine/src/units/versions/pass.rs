//! One segment through all versions: its bytes are kept, and for each version only the units are put in place that lie
//! elsewhere than those of the version before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::TryStreamExt;

use super::patches::{Patches, patched};
use super::{Hashed, Segment};
use crate::block::{Against, Alone, BlockId};
use crate::error::Result;
use crate::read::{Reader, Wanted};
use crate::repository::blocking;
use crate::subtrees::{Part, parts_around};
use crate::units::frame::unsort;
use crate::units::read::{Segmented, Use, planes_of, whole};
use crate::units::state::{State, Stored};
use crate::units::{Section, Unit};

const READS_AT_ONCE: usize = 4;
/// Bytes of frames that are kept for later versions.
const KEPT: usize = 8 << 20;

/// A frame as it is used: its values as they were before they were sorted into planes.
type Frame = (BlockId, u8);

/// Work on one segment.
pub(super) struct Pass {
    reader: Reader,
    patches: Arc<Patches>,
    shown: String,
    /// The bytes of the segment as of the last version, columns apart. What lies in patches is left out.
    apart: Vec<u8>,
    /// The units in it that are right.
    filled: HashSet<u16>,
    last: Option<(Section, State)>,
    frames: Frames,
    opened: Vec<BlockId>,
}

/// Frames opened lately.
#[derive(Default)]
struct Frames {
    kept: HashMap<Frame, Arc<Vec<u8>>>,
    order: VecDeque<Frame>,
    bytes: usize,
}

impl Frames {
    fn keep(&mut self, frame: Frame, bytes: &Arc<Vec<u8>>) {
        self.bytes += bytes.len();
        self.order.push_back(frame);
        if let Some(before) = self.kept.insert(frame, Arc::clone(bytes)) {
            self.bytes -= before.len();
        }
        while self.bytes > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.kept.remove(&oldest).map_or(0, |bytes| bytes.len());
        }
    }
}

impl Pass {
    pub(super) fn new(reader: Reader, patches: Arc<Patches>, shown: String) -> Self {
        let (apart, filled, last) = (Vec::new(), HashSet::new(), None);
        Self { reader, patches, shown, apart, filled, last, frames: Frames::default(), opened: Vec::new() }
    }

    /// Goes through the versions, given as many states as have this segment.
    pub(super) async fn go(
        mut self,
        files: Arc<[Arc<Segmented>]>,
        number: usize,
        states: Vec<(usize, Result<State>)>,
    ) -> Segment {
        let mut versions: Vec<Hashed> = Vec::with_capacity(states.len());
        let mut done: HashMap<(BlockId, usize), Vec<Part>> = HashMap::new();
        for (version, state) in states {
            let file = &files[version];
            let section = file.geometry.section(file.size, number as u64);
            let (bytes, known) = (section.bytes() as u64, (file.maps[number], section.bytes()));
            let parts = match (state, done.get(&known)) {
                (Err(e), _) => Err(e),
                (Ok(_), Some(parts)) => Ok(Some(parts.clone())),
                (Ok(state), None) => self.version(section, state).await,
            };
            if let Ok(Some(parts)) = &parts {
                done.insert(known, parts.clone());
            }
            versions.push(Hashed { version, bytes, parts });
        }
        Segment { versions, frames: self.opened }
    }

    /// What the segment hashes to in one version.
    async fn version(&mut self, section: Section, state: State) -> Result<Option<Vec<Part>>> {
        let fits = self.last.as_ref().is_some_and(|(last, _)| *last == section);
        if !fits {
            self.apart = vec![0; section.bytes()];
            self.filled.clear();
        }
        let units = section.units();
        let before = self.last.take();
        let moved = |unit: &Unit| {
            let same = before.as_ref().is_some_and(|(_, before)| before.reads_alike(&state, unit.number));
            !same || !self.filled.contains(&unit.number)
        };
        let lies_in_frames = |unit: &Unit| {
            !state.unit(unit.number).is_some_and(|l| matches!(l.stored, Stored::Patched { .. }))
        };
        let wanted: Vec<Unit> =
            units.iter().filter(|unit| lies_in_frames(unit) && moved(unit)).copied().collect();
        let in_patches = patched(&section, &state);
        for unit in wanted.iter().chain(&in_patches) {
            self.filled.remove(&unit.number);
        }
        let reader = self.reader.clone();
        let of_frames = reader.uses(&section, &state, whole(&wanted), &self.shown);
        let of_patches = reader.uses(&section, &state, whole(&in_patches), &self.shown);
        self.last = Some((section.clone(), state));
        self.put(&section, of_frames?.frames).await?;
        self.filled.extend(wanted.iter().map(|unit| unit.number));

        let mut holes = Vec::new();
        for (patch, _, uses) in of_patches?.patches {
            for of in uses {
                let Some(parts) = self.patches.parts(patch, &section, &of) else { return Ok(None) };
                holes.push((of.unit.at, of.unit.length, parts.to_vec()));
            }
        }
        holes.sort_by_key(|(at, ..)| *at);
        let apart = std::mem::take(&mut self.apart);
        let (hashed, apart) = blocking(move || (hash(&section, &apart, holes), apart)).await;
        self.apart = apart;
        Ok(Some(hashed))
    }

    /// Puts units in place that lie in frames.
    async fn put(&mut self, section: &Section, uses: Vec<(Wanted, Vec<Use>)>) -> Result<()> {
        let (mut work, mut missing) = (Vec::with_capacity(uses.len()), Vec::new());
        let mut waiting: HashMap<BlockId, (u8, Vec<Use>)> = HashMap::new();
        for (wanted, uses) in uses {
            let planes = planes_of(section, &uses);
            if let Some(bytes) = self.frames.kept.get(&(wanted.id, planes)) {
                work.push((Arc::clone(bytes), uses));
            } else {
                missing.push(wanted);
                waiting.insert(wanted.id, (planes, uses));
            }
        }
        let mut read = self.reader.fetched(missing, READS_AT_ONCE, Alone::Data, Against::Length, &self.shown);
        while let Some(fetched) = read.try_next().await? {
            for (part, bytes) in fetched {
                let Some((planes, uses)) = waiting.remove(&part.id) else { continue };
                let bytes = Arc::new(unsort(bytes, planes));
                self.frames.keep((part.id, planes), &bytes);
                self.opened.push(part.id);
                work.push((bytes, uses));
            }
        }
        let mut apart = std::mem::take(&mut self.apart);
        self.apart = blocking(move || {
            for (_, uses) in &work {
                uses.iter().for_each(|of| apart[of.unit.at..of.unit.at + of.unit.length].fill(0));
            }
            for (frame, uses) in &work {
                uses.iter().for_each(|of| of.combine(frame, &mut apart));
            }
            apart
        })
        .await;
        Ok(())
    }
}

/// Hashes a section, its columns apart, but for holes whose parts are known.
fn hash(section: &Section, apart: &[u8], holes: Vec<(usize, usize, Vec<Part>)>) -> Vec<Part> {
    // Of a file that has patches a section is one column: what stands apart stands there in the file.
    let around = holes.iter().map(|(at, length, _)| (*at, *length));
    let mut hashed = parts_around(section.at, &section.join(apart.into()), around);
    hashed.extend(holes.into_iter().flat_map(|(.., parts)| parts));
    hashed
}
