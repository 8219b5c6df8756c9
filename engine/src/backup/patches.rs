//! Rewritten pages of a file, gathered over its segments and compressed against the last whole versions of all of them: a
//! full-text index rewrites its pages out of one another, so what is new in one stood in another before. Memory: a
//! dictionary of 12 MiB, twice, and 16 MiB while it is used; pages are read again from the file when their patch is made.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::scan::{Scan, changed, unreadable};
use super::units::{Frame, Version};
use crate::block::{Alone, BlockId, Effort, RawBlock};
use crate::compress::{Patcher, pack};
use crate::error::Result;
use crate::seal::NONCE;
use crate::tree::Extent;
use crate::units::frame::{LATER, Limits};
use crate::units::map::{PatchId, UnitHash, hash};
use crate::units::reference::{LONGEST, LONGEST_ALL, MOST, Reference};
use crate::units::{Holder, Located, Section, Spot, State, Stored, Unit};

/// Of patches: a segment's pages lie in few, and what a reader keeps of them is bounded.
const PATCH: Limits = Limits { units: 256, bytes: 1 << 20 };
/// Segments that wait for a patch at once. Each holds the places of its units, some 40 KiB.
const WAITING: usize = 128;
/// A group of fewer bytes is stored whole: a dictionary that every reader has to load is not worth so little.
const LEAST: usize = 256 << 10;

/// A segment some of whose units have no place yet.
pub(super) struct Waiting {
    pub(super) section: Section,
    pub(super) state: State,
    /// What its map will follow.
    pub(super) before: Option<Arc<State>>,
}

/// A unit that has little in common with its last whole version, if it has one.
pub(super) struct Rewritten {
    pub(super) unit: Unit,
    pub(super) hash: UnitHash,
    /// That version: its place in the state, the frame and the position there, its bytes.
    pub(super) base: Option<(Spot, (BlockId, u16), Vec<u8>)>,
}

/// A unit that waits: in which of the waiting segments, what it is, and where its last whole version lies.
struct Member {
    segment: usize,
    unit: Unit,
    hash: UnitHash,
    base: Option<Spot>,
}

/// What is compressed against one dictionary.
pub(super) struct Group {
    segments: Vec<(usize, Waiting)>,
    members: Vec<Member>,
    reference: Reference,
    dictionary: Vec<u8>,
    /// References that the file has, with the lengths of their dictionaries.
    known: Vec<Extent>,
}

impl Group {
    /// For a file whose version before needs these references.
    pub(super) fn new(known: Vec<Extent>) -> Self {
        Self {
            segments: Vec::new(),
            members: Vec::new(),
            reference: Reference::default(),
            dictionary: Vec::new(),
            known,
        }
    }

    pub(super) fn has_room_for(&self, rewritten: &[Rewritten]) -> bool {
        let more: usize = rewritten.iter().flat_map(|r| &r.base).map(|(_, _, bytes)| bytes.len()).sum();
        self.segments.len() < WAITING && self.dictionary.len() + more <= LONGEST as usize
    }

    /// Takes a segment whose other units have their places.
    pub(super) fn add(&mut self, number: usize, segment: Waiting, rewritten: Vec<Rewritten>) {
        let index = self.segments.len();
        self.segments.push((number, segment));
        for Rewritten { unit, hash, base } in rewritten {
            let mut member = Member { segment: index, unit, hash, base: None };
            if let Some((spot, (frame, position), bytes)) = base {
                member.base = Some(spot);
                // Beyond what a reference can name, a unit is compressed against the others' versions only.
                let longer = self.dictionary.len() + bytes.len() <= LONGEST as usize;
                if longer && self.reference.push(frame, position).is_some() {
                    self.dictionary.extend_from_slice(&bytes);
                }
            }
            self.members.push(member);
        }
    }

    /// The references of those that are needed, the new ones too.
    pub(super) fn needed(&self, references: &BTreeSet<BlockId>) -> Vec<Extent> {
        self.known.iter().filter(|known| references.contains(&known.id)).copied().collect()
    }

    /// What compresses this group, if it is worth one more dictionary and the file may have it.
    fn patcher(&self) -> Option<Patcher> {
        let rewritten: usize = self.members.iter().map(|member| member.unit.length).sum();
        let bytes: u64 = self.known.iter().map(|known| u64::from(known.raw)).sum();
        let worth = rewritten >= LEAST && self.dictionary.len() >= LEAST;
        let allowed = self.known.len() < MOST && bytes + self.dictionary.len() as u64 <= LONGEST_ALL;
        (worth && allowed).then(|| Patcher::new(&self.dictionary)).flatten()
    }
}

impl Scan {
    /// Gives every unit of a group its place, and its segments their maps. The group is empty then.
    pub(super) fn close(
        &mut self,
        group: &mut Group,
        file: &File,
        within: &Path,
        version: &mut Version,
    ) -> Result<()> {
        if group.segments.is_empty() {
            return Ok(());
        }
        let mut patcher = group.patcher();
        let raw = u32::try_from(std::mem::take(&mut group.dictionary).len()).expect("at most 12 MiB");
        let named = std::mem::take(&mut group.reference).write();
        let id = Alone::Meta.id(self.reader.repo.keys(), &named);
        let mut used = false;
        let members = std::mem::take(&mut group.members);
        for members in members.chunks(PATCH.units) {
            for members in members.chunk_by({
                let mut bytes = 0;
                move |member, next| {
                    bytes += member.unit.length;
                    let fits = bytes + next.unit.length <= PATCH.bytes;
                    if !fits {
                        bytes = 0;
                    }
                    fits
                }
            }) {
                let bytes = read_again(members, &group.segments, file, within)?;
                let packed = patcher.as_mut().map(|by| by.pack(&bytes, NONCE));
                match packed.filter(|packed| is_worth_it(packed.len() - NONCE, &bytes)) {
                    Some(packed) => {
                        let block = RawBlock::patch(self.reader.repo.keys(), &id, &bytes, packed);
                        let patch = PatchId { id: self.send(block)?, reference: id };
                        used = true;
                        for (position, member) in (0u16..).zip(members) {
                            let state = &mut group.segments[member.segment].1.state;
                            let spot = Spot { frame: state.holder(Holder::Patch(patch)), position };
                            let stored = Stored::Patched { base: member.base, patch: spot };
                            state.place(member.unit.number, Located { hash: member.hash, stored });
                        }
                    }
                    None => self.store_whole(members, &bytes, &mut group.segments)?,
                }
            }
        }
        if used {
            self.send_meta(named)?;
            group.known.push(Extent { id, raw });
        }
        for (number, segment) in std::mem::take(&mut group.segments) {
            self.end_segment(number, segment, version)?;
        }
        Ok(())
    }

    /// In frames of one segment each, so that who reads a segment reads no other's units.
    fn store_whole(
        &mut self,
        members: &[Member],
        bytes: &[u8],
        segments: &mut [(usize, Waiting)],
    ) -> Result<()> {
        let repo = self.reader.repo.clone();
        let (mut frames, mut rest) = (Vec::new(), bytes);
        for members in members.chunk_by(|a, b| a.segment == b.segment) {
            let Waiting { section, state, .. } = &mut segments[members[0].segment].1;
            let mut frame = Frame::new(Effort::Usual, LATER);
            for Member { unit, hash, .. } in members {
                let (unit_bytes, behind) = rest.split_at(unit.length);
                frame.push(repo.keys(), section, unit, *hash, unit_bytes, state, &mut frames);
                rest = behind;
            }
            frame.end(repo.keys(), section, state, &mut frames);
        }
        frames.into_iter().try_for_each(|frame| self.send(frame).map(drop))
    }
}

/// The bytes of units, end to end, which must be what they were when they were compared.
fn read_again(
    members: &[Member],
    segments: &[(usize, Waiting)],
    file: &File,
    within: &Path,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; members.iter().map(|member| member.unit.length).sum()];
    let mut rest = bytes.as_mut_slice();
    for Member { segment, unit, hash: known, .. } in members {
        let (into, behind) = rest.split_at_mut(unit.length);
        // The columns of a file whose units are patched are its records, so units lie in it as they are numbered.
        let at = segments[*segment].1.section.at + unit.at as u64;
        file.read_exact_at(into, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => changed(within, "it shrank"),
            _ => unreadable(within, e),
        })?;
        if hash(into) != *known {
            return Err(changed(within, "its bytes changed"));
        }
        rest = behind;
    }
    Ok(bytes)
}

/// A patch saves half of what whole pages would take, or it isn't made: those serve later versions, a patch doesn't.
fn is_worth_it(packed: usize, bytes: &[u8]) -> bool {
    packed * 5 <= bytes.len() || packed * 2 <= pack(bytes, Effort::Usual, 0).len()
}
