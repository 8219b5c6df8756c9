//! Writes a file that was cut as a stream.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::file::{Target, all_but_zeros};
use crate::ahead::ahead;
use crate::block::{Against, Alone};
use crate::content::Piece;
use crate::error::{Error, Result};
use crate::read::{Reader, Run, Wanted};
use crate::repository::blocking;
use crate::tree::Content;

const RUNS_AT_ONCE: usize = 4;

/// A stretch in hand: where it goes, its bytes, and which of them the target doesn't have.
struct Change {
    at: u64,
    bytes: Vec<u8>,
    missing: Vec<Range<usize>>,
}

/// Returns the bytes that the target did not have, and the hash of the file. `tell` learns of bytes of the file, and of bytes written.
pub(super) async fn write_blocks(
    reader: &Reader,
    content: &Content,
    target: Target,
    tell: &mut impl FnMut(u64, u64),
) -> Result<(u64, Option<blake3::Hash>)> {
    let mut changes = if target.existed {
        differing_blocks(reader, content, &target)
    } else {
        let onto_nothing = |Piece { at, bytes, .. }| {
            let missing = all_but_zeros(&bytes);
            Change { at, bytes, missing }
        };
        reader.pieces(content, &target.shown).map_ok(onto_nothing).boxed()
    };
    let (mut hasher, mut written) = (blake3::Hasher::new(), 0);
    while let Some(change) = changes.next().await {
        let Change { at, bytes, missing } = change?;
        let target = target.clone();
        let (read, wrote, hashed) = blocking(move || {
            hasher.update(&bytes);
            Ok::<_, Error>((bytes.len() as u64, target.write(at, &bytes, missing)?, hasher))
        })
        .await?;
        hasher = hashed;
        written += wrote;
        tell(read, wrote);
    }
    Ok((written, Some(hasher.finalize())))
}

/// The blocks of an existing file that was cut as a stream.
fn differing_blocks(
    reader: &Reader,
    content: &Content,
    target: &Target,
) -> BoxStream<'static, Result<Change>> {
    let (reader, shown, target) = (reader.clone(), target.shown.clone(), target.clone());
    let mut at = 0;
    stream::iter(Reader::segments(content))
        .then({
            let (reader, shown) = (reader.clone(), shown.clone());
            move |segment| {
                let (reader, shown) = (reader.clone(), shown.clone());
                async move { reader.extents(&segment, &shown).await }
            }
        })
        .map(move |extents| {
            let extents = extents?;
            let wanted = reader.locate(&extents, at, &shown)?;
            at += extents.iter().map(|e| u64::from(e.raw)).sum::<u64>();
            let (reader, target) = (reader.clone(), target.clone());
            let runs = ahead(Reader::runs(wanted), RUNS_AT_ONCE, move |run| {
                bring(reader.clone(), run, target.clone()).boxed()
            });
            Ok::<_, Error>(runs.map_ok(|changes| stream::iter(changes).map(Ok)).try_flatten())
        })
        .try_flatten()
        .boxed()
}

/// The bytes of a run: from the target where they are right already, else from the store.
async fn bring(reader: Reader, run: Run, target: Target) -> Result<Vec<Change>> {
    let (repo, parts, shown) = (reader.repo.clone(), run.parts.clone(), target.shown.clone());
    let there: Vec<Option<Vec<u8>>> = blocking(move || {
        let local = |part: &Wanted| {
            let mut bytes = vec![0; part.place.raw as usize];
            target.file.read_exact_at(&mut bytes, part.at).ok()?;
            (Alone::Data.id(repo.keys(), &bytes) == part.id).then_some(bytes)
        };
        parts.iter().map(local).collect()
    })
    .await;
    let differing: Vec<Wanted> =
        run.parts.iter().zip(&there).filter(|(_, local)| local.is_none()).map(|(part, _)| *part).collect();
    let mut fetched = Vec::with_capacity(differing.len());
    for run in Reader::runs(differing) {
        fetched.extend(reader.fetch(Alone::Data, &run, Against::Length, &shown).await?);
    }
    let mut fetched = fetched.into_iter();
    let change = |(part, local): (&Wanted, Option<Vec<u8>>)| match local {
        Some(bytes) => Some(Change { at: part.at, bytes, missing: Vec::new() }),
        None => {
            let bytes = fetched.next()?;
            let missing = std::iter::once(0..bytes.len()).collect();
            Some(Change { at: part.at, bytes, missing })
        }
    };
    let changes: Option<Vec<Change>> = run.parts.iter().zip(there).map(change).collect();
    changes.ok_or_else(|| Error::Input("a run came back with fewer blocks than asked for".to_owned()))
}
