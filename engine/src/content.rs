//! The bytes of a file, front to back, whatever its layout.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::ahead::ahead;
use crate::block::{Against, Alone, BlockId};
use crate::error::{Error, Result};
use crate::read::{Reader, Segment};
use crate::references::STATES_AT_ONCE;
use crate::tree::{Content, Extent};
use crate::units::{Patches, Segmented, State};

/// Requests for streams, and segments of files of records, under way at once.
const RUNS_AT_ONCE: usize = 4;
const SECTIONS_AT_ONCE: usize = 2;

/// A stretch of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// The blocks it was made of.
    pub(crate) blocks: Vec<BlockId>,
}

impl Reader {
    /// The file's bytes in order, several requests ahead. A stretch that can't be read is an error in its place; the
    /// stretches behind it follow. **Whoever uses them holds the file against its hash.** Memory: about 30 MiB, and the
    /// dictionaries of a file that has patches, 24 MiB at most.
    pub(crate) fn pieces(
        &self,
        content: &Content,
        size: u64,
        file: &str,
    ) -> BoxStream<'static, Result<Piece>> {
        match content {
            Content::Units(units) => {
                let (reader, units, file) = (self.clone(), units.clone(), file.to_owned());
                let opened = async move {
                    let segmented = reader.segmented(&units, size, &file).await?;
                    let patches = Arc::new(reader.patches(&segmented, &file)?);
                    Ok::<_, Error>(reader.sections(segmented, patches, file))
                };
                stream::once(opened).try_flatten().boxed()
            }
            Content::Blocks(_) | Content::Map(_) => self.stretches(Self::segments(content), file.to_owned()),
        }
    }

    fn stretches(&self, segments: Vec<Segment>, file: String) -> BoxStream<'static, Result<Piece>> {
        let (reader, named) = (self.clone(), file.clone());
        let maps = ahead(segments, 1, move |segment| {
            let (reader, file) = (reader.clone(), named.clone());
            async move { reader.extents(&segment, &file).await }.boxed()
        });
        let (reader, mut at) = (self.clone(), 0);
        maps.map(move |extents| {
            let extents: Vec<Extent> = extents?;
            let wanted = reader.locate(&extents, at, &file)?;
            at += extents.iter().map(|extent| u64::from(extent.raw)).sum::<u64>();
            let (reader, file) = (reader.clone(), file.clone());
            let runs = ahead(Self::runs(wanted), RUNS_AT_ONCE, move |run| {
                let (reader, file) = (reader.clone(), file.clone());
                async move {
                    let fetched = reader.fetch(Alone::Data, &run, Against::Length, &file).await?;
                    let at = run.parts.first().map_or(0, |part| part.at);
                    let blocks = run.parts.iter().map(|part| part.id).collect();
                    Ok(Piece { at, bytes: joined(fetched), blocks })
                }
                .boxed()
            });
            Ok::<_, Error>(runs)
        })
        .try_flatten()
        .boxed()
    }

    fn sections(
        &self,
        file: Segmented,
        patches: Arc<Patches>,
        shown: String,
    ) -> BoxStream<'static, Result<Piece>> {
        let reader = self.clone();
        self.with_states(file, shown.clone(), SECTIONS_AT_ONCE, move |file, number, state| {
            let (reader, patches, shown) = (reader.clone(), Arc::clone(&patches), shown.clone());
            async move {
                let section = file.geometry.section(file.size, number as u64);
                let units = section.units();
                let (apart, blocks) = reader.units(&section, &state, &units, &patches, &shown).await?;
                Ok(Piece { at: section.at, bytes: section.join(apart), blocks })
            }
            .boxed()
        })
    }

    /// Does something with each segment of a file of records, several ahead, answers in order.
    pub(crate) fn with_states<R: Send + 'static>(
        &self,
        file: Segmented,
        shown: String,
        at_once: usize,
        work: impl Fn(Arc<Segmented>, usize, State) -> futures::future::BoxFuture<'static, Result<R>>
        + Clone
        + Send
        + 'static,
    ) -> BoxStream<'static, Result<R>> {
        let reader = self.clone();
        let file = Arc::new(file);
        let batches: Vec<usize> = (0..file.maps.len()).step_by(STATES_AT_ONCE).collect();
        stream::iter(batches)
            .then(move |first| {
                let (reader, file, shown) = (reader.clone(), file.clone(), shown.clone());
                let work = work.clone();
                async move {
                    let segments = first..(first + STATES_AT_ONCE).min(file.maps.len());
                    let states = reader.states(&file, segments.clone(), &shown).await?;
                    let numbered: Vec<_> = segments.zip(states).collect();
                    let each = move |(number, state)| work(Arc::clone(&file), number, state);
                    Ok::<_, Error>(ahead(numbered, at_once, each))
                }
            })
            .try_flatten()
            .boxed()
    }
}

fn joined(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    if parts.len() == 1 { parts.pop().unwrap_or_default() } else { parts.concat() }
}
