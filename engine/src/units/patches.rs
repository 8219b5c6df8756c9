//! Patches and the dictionaries they are opened with. Dictionaries are put together out of the frames that are read anyway, as
//! far as those go. Memory: the dictionaries that a file names, 24 MiB at most.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::map::PatchId;
use super::read::Segmented;
use super::reference::{LONGEST, LONGEST_ALL, MOST, Reference, Stretch};
use crate::block::{Against, Alone, BlockId, Class, open_patch};
use crate::error::Result;
use crate::read::{Fetched, Reader, Wanted};
use crate::repository::Repository;
use crate::tree::Extent;

const READS_AT_ONCE: usize = 4;

/// Whether they are no more, and no longer, than a reader has to bear.
pub(crate) fn bounded(references: &[Extent]) -> bool {
    let bytes: u64 = references.iter().map(|reference| u64::from(reference.raw)).sum();
    references.len() <= MOST
        && bytes <= LONGEST_ALL
        && references.iter().all(|reference| reference.raw <= LONGEST)
}

/// A stretch of a frame, and where in a dictionary it goes.
#[derive(Debug)]
struct Stretched {
    of: Range<usize>,
    at: usize,
}

/// A dictionary some of whose stretches may be missing yet.
#[derive(Debug)]
struct Begun {
    frames: Vec<Wanted>,
    /// What is missing, by the frame that has it.
    uses: HashMap<BlockId, Vec<Stretched>>,
    bytes: Vec<u8>,
}

impl Begun {
    /// Takes what it misses of these bytes, which stand in a frame from an offset on.
    fn offer(&mut self, frame: &BlockId, from: usize, bytes: &[u8]) {
        let Some(stretches) = self.uses.get_mut(frame) else { return };
        let mut missing = Vec::new();
        for Stretched { of, at } in stretches.drain(..) {
            let (start, end) = (of.start.max(from), of.end.min(from + bytes.len()));
            if start >= end {
                missing.push(Stretched { of, at });
                continue;
            }
            let to = at + start - of.start;
            self.bytes[to..to + (end - start)].copy_from_slice(&bytes[start - from..end - from]);
            let before = Stretched { of: of.start..start, at };
            let behind = Stretched { of: end..of.end, at: to + (end - start) };
            missing.extend([before, behind].into_iter().filter(|stretch| !stretch.of.is_empty()));
        }
        *stretches = missing;
        if stretches.is_empty() {
            self.uses.remove(frame);
        }
    }

    fn missing(&self) -> impl Iterator<Item = &Wanted> {
        self.frames.iter().filter(|part| self.uses.contains_key(&part.id))
    }
}

/// Dictionaries while frames are read: each frame is opened once, for its file and for them. Memory: what they amount to.
#[derive(Debug, Default)]
pub(crate) struct Gathering(std::sync::Mutex<HashMap<BlockId, Begun>>);

impl Gathering {
    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<BlockId, Begun>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes what the dictionaries need of a frame, which has the length that the index tells.
    pub(super) fn offer(&self, frame: &BlockId, bytes: &[u8]) {
        self.offer_units([(*frame, 0, bytes)]);
    }

    /// Takes what the dictionaries need of bytes that stand in frames, from an offset on each, wherever they were come by.
    pub(crate) fn offer_units<'a>(&self, units: impl IntoIterator<Item = (BlockId, usize, &'a [u8])>) {
        let mut begun = self.begun();
        for (frame, from, bytes) in units {
            begun.values_mut().for_each(|begun| begun.offer(&frame, from, bytes));
        }
    }

    /// The frames that nobody offered yet, each once.
    fn missing(&self) -> Vec<Wanted> {
        let begun = self.begun();
        let missing = begun.values().flat_map(Begun::missing).map(|part| (part.id, *part));
        missing.collect::<HashMap<BlockId, Wanted>>().into_values().collect()
    }
}

impl Reader {
    /// A stored reference.
    pub(crate) async fn reference(&self, id: &BlockId, file: &str) -> Result<Reference> {
        let bytes = self.metas(&[*id], file).await?.pop().unwrap_or_default();
        Reference::read(&bytes).ok_or_else(|| {
            self.repo.damaged(&self.object_of(id), format!("the reference {id:?} of {file} makes no sense"))
        })
    }

    /// Fails if a file names more references, or longer ones, than a reader has to bear.
    pub(crate) fn bounded(&self, file: &Segmented, shown: &str) -> Result<()> {
        if bounded(&file.references) {
            return Ok(());
        }
        let at = file.references.first().map(|reference| self.object_of(&reference.id));
        let what = format!("the references of {shown} are more than format 1 allows");
        Err(self.repo.damaged(&at.unwrap_or_default(), what))
    }

    /// The dictionaries of a file, empty yet, for whoever reads its frames anyway.
    pub(crate) async fn dictionaries(&self, file: &Segmented, shown: &str) -> Result<Gathering> {
        self.bounded(file, shown)?;
        let gathering = Gathering::default();
        for reference in &file.references {
            self.begin(&gathering, reference, file.geometry.patched_slot(), shown).await?;
        }
        Ok(gathering)
    }

    /// Reads the frames that nobody offered, each once for all dictionaries. One that can't be read is left out: whoever
    /// asks for a dictionary that needs it learns why.
    pub(crate) async fn fill(&self, gathering: &Gathering, file: &str) {
        let mut read = self.frames(gathering.missing(), file);
        while let Some(read) = read.next().await {
            for (part, frame) in read.into_iter().flatten() {
                gathering.offer(&part.id, &frame);
            }
        }
    }

    /// Takes out the dictionary of one reference, whole.
    pub(crate) async fn dictionary(
        &self,
        gathering: &Gathering,
        reference: &BlockId,
        file: &str,
    ) -> Result<Arc<Vec<u8>>> {
        let begun = gathering.begun().remove(reference);
        let Some(mut begun) = begun else {
            let what = format!("{file} needs the reference {reference:?}, which its entry doesn't name");
            return Err(self.repo.damaged(&self.object_of(reference), what));
        };
        let missing: Vec<Wanted> = begun.missing().copied().collect();
        let mut read = self.frames(missing, file);
        while let Some(read) = read.try_next().await? {
            read.iter().for_each(|(part, frame)| begun.offer(&part.id, 0, frame));
        }
        Ok(Arc::new(begun.bytes))
    }

    /// The bytes of a patch.
    pub(crate) async fn patch(
        &self,
        dictionary: &Arc<Vec<u8>>,
        patch: PatchId,
        file: &str,
    ) -> Result<Vec<u8>> {
        let (by, reference) = (Arc::clone(dictionary), patch.reference);
        let open = move |repo: &Repository, part: &Wanted, sealed: &[u8]| {
            open_patch(repo.keys(), part.id, part.place.raw, sealed, &reference, &by)
        };
        self.one(Class::Patch, patch.id, file, open).await
    }

    fn frames(&self, mut wanted: Vec<Wanted>, file: &str) -> BoxStream<'static, Result<Vec<Fetched>>> {
        wanted.sort_by_key(|part| (part.place.pack.id, part.place.offset));
        self.fetched(wanted, READS_AT_ONCE, Alone::Data, Against::Name, file)
    }

    /// Adds the dictionary of a reference, empty yet, for patches with units so many bytes apart.
    pub(crate) async fn begin(
        &self,
        gathering: &Gathering,
        Extent { id, raw }: &Extent,
        slot: usize,
        file: &str,
    ) -> Result<()> {
        let (reference, length) = (self.reference(id, file).await?, *raw as usize);
        let bad = |what: &str| {
            let what = format!("the reference {id:?} of {file} can't be used: {what}");
            self.repo.damaged(&self.object_of(id), what)
        };
        // Where each stretch goes follows from the lengths of the frames, which the index tells.
        let mut frames = Vec::with_capacity(reference.frames.len());
        for frame in &reference.frames {
            frames.push(Wanted { id: *frame, at: 0, place: self.find(Class::Data, frame, file)? });
        }
        let mut uses: HashMap<BlockId, Vec<Stretched>> = HashMap::new();
        let mut end = 0;
        for Stretch { frame, position, count } in reference.stretches {
            let part = &frames[usize::from(frame)];
            let from = usize::from(position) * slot;
            let to = ((usize::from(position) + usize::from(count)) * slot).min(part.place.raw as usize);
            if from >= to {
                return Err(bad("it names bytes behind the end of a frame"));
            }
            uses.entry(part.id).or_default().push(Stretched { of: from..to, at: end });
            end += to - from;
        }
        if end != length {
            return Err(bad("its stretches don't add up to its length"));
        }
        gathering.begun().insert(*id, Begun { frames, uses, bytes: vec![0; length] });
        Ok(())
    }
}
