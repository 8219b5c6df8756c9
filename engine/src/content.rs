//! The bytes of a file that was cut as a stream, front to back.

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::ahead::ahead;
use crate::block::{Against, Alone, BlockId};
use crate::error::{Error, Result};
use crate::read::{Fetched, Reader};
use crate::tree::{Content, Extent};

/// Requests under way at once.
const RUNS_AT_ONCE: usize = 4;

/// A stretch of a file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    /// The blocks it was made of.
    pub(crate) blocks: Vec<BlockId>,
}

impl Reader {
    /// The file's bytes in order, several requests ahead; none of a file of records. A stretch that can't be read is an
    /// error in its place; the stretches behind it follow. **Whoever uses them holds the file against its hash.** Memory: about
    /// 30 MiB.
    pub(crate) fn pieces(&self, content: &Content, file: &str) -> BoxStream<'static, Result<Piece>> {
        let file = file.to_owned();
        let (reader, named) = (self.clone(), file.clone());
        let maps = ahead(Self::segments(content), 1, move |segment| {
            let (reader, file) = (reader.clone(), named.clone());
            async move { reader.extents(&segment, &file).await }.boxed()
        });
        let (reader, mut at) = (self.clone(), 0);
        maps.map(move |extents| {
            let extents: Vec<Extent> = extents?;
            let wanted = reader.locate(&extents, at, &file)?;
            at += extents.iter().map(|extent| u64::from(extent.raw)).sum::<u64>();
            let runs = reader.fetched(wanted, RUNS_AT_ONCE, Alone::Data, Against::Length, &file);
            Ok::<_, Error>(runs.map_ok(Piece::of))
        })
        .try_flatten()
        .boxed()
    }
}

impl Piece {
    fn of(fetched: Vec<Fetched>) -> Self {
        let at = fetched.first().map_or(0, |(part, _)| part.at);
        let (blocks, bytes) = fetched.into_iter().map(|(part, bytes)| (part.id, bytes)).unzip();
        Self { at, bytes: joined(bytes), blocks }
    }
}

fn joined(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    if parts.len() == 1 { parts.pop().unwrap_or_default() } else { parts.concat() }
}
