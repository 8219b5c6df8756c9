//! Patches and their dictionaries, as one file is read: a dictionary is put together when it is first asked for and kept,
//! patches for a while, because neighbouring segments ask for the same ones. Memory: the dictionaries that the file names,
//! 24 MiB at most, and eight patches.

use std::collections::{HashMap, VecDeque};
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

    /// Those of one reference, with a dictionary that is let go with them.
    pub(crate) fn only(&self, reference: &BlockId) -> Self {
        let named =
            self.dictionaries.get(reference).map(|(length, _)| (*reference, (*length, Dictionary::new())));
        Self { slot: self.slot, dictionaries: named.into_iter().collect(), kept: Mutex::default() }
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
        let reference = self.reference(id, file).await?;
        let bad = |what: &str| {
            let what = format!("the reference {id:?} of {file} can't be used: {what}");
            self.repo.damaged(&self.object_of(id), what)
        };
        // Where each stretch goes follows from the lengths of the frames, which the index tells.
        let mut wanted = Vec::with_capacity(reference.frames.len());
        for frame in &reference.frames {
            wanted.push(Wanted { id: *frame, at: 0, place: self.find(Class::Data, frame, file)? });
        }
        let mut uses: HashMap<BlockId, Vec<(usize, usize, usize)>> = HashMap::new();
        let mut end = 0;
        for Stretch { frame, position, count } in reference.stretches {
            let part = &wanted[usize::from(frame)];
            let from = usize::from(position) * slot;
            let to = ((usize::from(position) + usize::from(count)) * slot).min(part.place.raw as usize);
            if from >= to {
                return Err(bad("it names bytes behind the end of a frame"));
            }
            uses.entry(part.id).or_default().push((from, to, end));
            end += to - from;
        }
        if end != length {
            return Err(bad("its stretches don't add up to its length"));
        }
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
        let mut dictionary = vec![0; length];
        while let Some((fetched, run)) = read.try_next().await? {
            for (frame, part) in fetched.into_iter().zip(run.parts) {
                for (from, to, at) in uses.remove(&part.id).unwrap_or_default() {
                    dictionary[at..at + to - from].copy_from_slice(&frame[from..to]);
                }
            }
        }
        Ok(Arc::new(dictionary))
    }
}
