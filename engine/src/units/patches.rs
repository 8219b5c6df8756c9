//! Patches and their dictionaries, as one file is read: a dictionary is put together when it is first asked for and kept,
//! patches for a while, because neighbouring segments ask for the same ones. Memory: the dictionaries that the file names,
//! 24 MiB at most, and eight patches.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use futures::{FutureExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell};

use super::map::PatchId;
use super::reference::{LONGEST, LONGEST_ALL, MOST, Reference, Stretch};
use crate::ahead::ahead;
use crate::block::{Against, Alone, BlockId, Class, open_patch};
use crate::error::{Error, Result};
use crate::read::{Reader, Wanted};
use crate::repository::Repository;
use crate::tree::Extent;

const READS_AT_ONCE: usize = 4;
const KEPT: usize = 8;

type Dictionary = OnceCell<Arc<Vec<u8>>>;

/// What the patches of one file need.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    /// Bytes from one unit to the next within a frame.
    slot: usize,
    dictionaries: HashMap<BlockId, (u32, Dictionary)>,
    kept: Mutex<VecDeque<(PatchId, Arc<Vec<u8>>)>>,
}

impl Patches {
    /// For a file whose tree entry names these references, each with the length of its dictionary. `None` if they are
    /// more, or longer, than a reader has to bear.
    pub(crate) fn of(references: &[Extent], slot: usize) -> Option<Self> {
        let bytes: u64 = references.iter().map(|reference| u64::from(reference.raw)).sum();
        let bounded = references.len() <= MOST
            && bytes <= LONGEST_ALL
            && references.iter().all(|reference| reference.raw <= LONGEST);
        let cells = references.iter().map(|reference| (reference.id, (reference.raw, Dictionary::new())));
        bounded.then(|| Self { slot, dictionaries: cells.collect(), kept: Mutex::default() })
    }
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
    fn offer(&mut self, frame: &BlockId, bytes: &[u8]) {
        for Stretched { of, at } in self.uses.remove(frame).unwrap_or_default() {
            let end = at + of.len();
            self.bytes[at..end].copy_from_slice(&bytes[of]);
        }
    }
}

/// The dictionaries of a file while its frames are read: each frame is opened once, for the file and for them. Memory: 24 MiB
/// at most.
#[derive(Debug)]
pub(crate) struct Gathering(std::sync::Mutex<HashMap<BlockId, Begun>>);

impl Gathering {
    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<BlockId, Begun>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes what the dictionaries need of a frame, which has the length that the index tells.
    pub(super) fn offer(&self, frame: &BlockId, bytes: &[u8]) {
        self.begun().values_mut().for_each(|begun| begun.offer(frame, bytes));
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

    /// The bytes of a patch.
    pub(crate) async fn patch(&self, patches: &Patches, patch: PatchId, file: &str) -> Result<Arc<Vec<u8>>> {
        // Held over the reading, so that segments that are read side by side read it once.
        let mut kept = patches.kept.lock().await;
        if let Some((_, bytes)) = kept.iter().find(|(known, _)| *known == patch) {
            return Ok(Arc::clone(bytes));
        }
        let Some((length, cell)) = patches.dictionaries.get(&patch.reference) else {
            let what =
                format!("{file} needs the reference {:?}, which its entry doesn't name", patch.reference);
            return Err(self.repo.damaged(&self.object_of(&patch.id), what));
        };
        let dictionary = cell
            .get_or_try_init(|| self.dictionary(&patch.reference, *length as usize, patches.slot, file))
            .await?;
        let (by, reference) = (Arc::clone(dictionary), patch.reference);
        let open = move |repo: &Repository, part: &Wanted, sealed: &[u8]| {
            open_patch(repo.keys(), part.id, part.place.raw, sealed, &reference, &by)
        };
        let bytes = self.one(Class::Patch, patch.id, file, open).await?;
        let bytes = Arc::new(bytes);
        kept.push_back((patch, Arc::clone(&bytes)));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(bytes)
    }

    async fn dictionary(&self, id: &BlockId, length: usize, slot: usize, file: &str) -> Result<Arc<Vec<u8>>> {
        let begun = self.begin(id, length, slot, file).await?;
        self.complete(begun, file).await
    }

    /// All dictionaries of a file, empty, for whoever reads its frames anyway.
    pub(crate) async fn gather(&self, patches: &Patches, file: &str) -> Result<Gathering> {
        let mut begun = HashMap::new();
        for (id, (length, _)) in &patches.dictionaries {
            begun.insert(*id, self.begin(id, *length as usize, patches.slot, file).await?);
        }
        Ok(Gathering(std::sync::Mutex::new(begun)))
    }

    /// The patches of one reference, whose dictionary is made whole, and let go with them.
    pub(crate) async fn patches_of(
        &self,
        patches: &Patches,
        gathering: &Gathering,
        reference: &BlockId,
        file: &str,
    ) -> Result<Patches> {
        let mut dictionaries = HashMap::new();
        let begun = gathering.begun().remove(reference);
        if let Some(begun) = begun {
            let length = begun.bytes.len() as u32;
            let whole = self.complete(begun, file).await?;
            dictionaries.insert(*reference, (length, Dictionary::new_with(Some(whole))));
        }
        Ok(Patches { slot: patches.slot, dictionaries, kept: Mutex::default() })
    }

    async fn begin(&self, id: &BlockId, length: usize, slot: usize, file: &str) -> Result<Begun> {
        let reference = self.reference(id, file).await?;
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
        Ok(Begun { frames, uses, bytes: vec![0; length] })
    }

    /// Reads the frames that nobody offered.
    async fn complete(&self, mut begun: Begun, file: &str) -> Result<Arc<Vec<u8>>> {
        let mut wanted = std::mem::take(&mut begun.frames);
        wanted.retain(|part| begun.uses.contains_key(&part.id));
        wanted.sort_by_key(|part| (part.place.pack.id, part.place.offset));
        let (reader, needed_by) = (self.clone(), file.to_owned());
        let mut read = ahead(Self::runs(wanted), READS_AT_ONCE, move |run| {
            let (reader, file) = (reader.clone(), needed_by.clone());
            async move {
                let fetched = reader.fetch(Alone::Data, &run, Against::Name, &file).await?;
                Ok::<_, Error>((fetched, run))
            }
            .boxed()
        });
        while let Some((fetched, run)) = read.try_next().await? {
            for (frame, part) in fetched.into_iter().zip(run.parts) {
                begun.offer(&part.id, &frame);
            }
        }
        Ok(Arc::new(begun.bytes))
    }
}
