//! Whether everything a point needs is there: its tree and maps are read, each block is looked up, each pack is looked at
//! in the store. It goes on after the first thing missing; only the store's own failures end it.

use std::collections::HashSet;

use futures::{FutureExt, StreamExt};
use serde::Serialize;

use crate::ahead::ahead;
use crate::block::BlockId;
use crate::error::{Error, Result};
use crate::index::check_packs;
use crate::pack::PackId;
use crate::point::Point;
use crate::read::Reader;
use crate::tree::{Content, Entry, Node};

/// Something wrong with a stored object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object it was found in, or the point when none can be named.
    pub object: String,
    /// What is wrong, and which file or point needs it.
    pub what: String,
}

/// What an inspection saw.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    pub(crate) findings: Vec<Finding>,
    pub(crate) packs: usize,
    pub(crate) blocks: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Sorts a failure: what is wrong with stored bytes is a finding, all else ends the work.
pub(crate) fn finding(error: Error, point: &Point) -> Result<Finding> {
    match error {
        Error::Damaged { object, what, .. } => Ok(Finding { object, what }),
        Error::Missing { needed_by, what, .. } if what.starts_with("packs/") => {
            Ok(Finding { object: what, what: format!("it is missing ({needed_by} needs it)") })
        }
        Error::Missing { needed_by, what, .. } => Ok(Finding {
            object: point.id.object(),
            what: format!("{needed_by} needs {what}, which is missing"),
        }),
        Error::HashMismatch { path, .. } => Ok(Finding {
            object: point.id.object(),
            what: format!("{} does not have the bytes that were captured", path.display()),
        }),
        other => Err(other),
    }
}

/// How many map segments are read at once.
const READS_AT_ONCE: usize = 8;

/// Looks at everything a point needs.
pub(crate) async fn inspect(reader: &Reader, point: &Point) -> Result<Inspection> {
    let mut seen = Inspection::default();
    let mut packs: HashSet<(PackId, u32)> = HashSet::new();
    let pack_of = |id: &BlockId| reader.index.find(id).map(|place| (place.pack.id, place.pack.size));
    for segment in &point.tree {
        packs.extend(pack_of(segment));
        let entries = match reader.entries(point, segment).await {
            Ok(entries) => entries,
            Err(e) => {
                seen.findings.push(finding(e, point)?);
                continue;
            }
        };
        for entry in &entries {
            let Node::File { size, content, .. } = &entry.node else { continue };
            let file = entry.path.to_string_lossy().into_owned();
            if let Content::Map(ids) = content {
                packs.extend(ids.iter().filter_map(pack_of));
            }
            let (from, needed_by) = (reader.clone(), file.clone());
            let mut read = ahead(Reader::segments(content), READS_AT_ONCE, move |segment| {
                let (reader, file) = (from.clone(), needed_by.clone());
                async move { reader.extents(&segment, &file).await }.boxed()
            });
            let (mut at, mut whole) = (0, true);
            while let Some(extents) = read.next().await {
                let located = extents.and_then(|e| reader.locate(&e, at, &file));
                match located {
                    Ok(wanted) => {
                        for part in &wanted {
                            packs.insert((part.place.pack.id, part.place.pack.size));
                            at += u64::from(part.place.raw);
                        }
                        seen.blocks += wanted.len() as u64;
                    }
                    Err(e) => {
                        whole = false;
                        seen.findings.push(finding(e, point)?);
                    }
                }
            }
            if whole && at != *size {
                seen.findings.push(wrong_length(point, entry, at, *size));
            }
            seen.files += 1;
            seen.bytes += size;
        }
    }
    seen.packs = packs.len();
    for (id, what) in check_packs(&reader.repo, packs).await? {
        seen.findings
            .push(Finding { object: id.object(), what: format!("{what} (point {} needs it)", point.id) });
    }
    let as_stated = seen.files == point.totals.files && seen.bytes == point.totals.bytes;
    if !as_stated && seen.findings.is_empty() {
        let what = "its tree holds other files than its totals say".to_owned();
        seen.findings.push(Finding { object: point.id.object(), what });
    }
    Ok(seen)
}

fn wrong_length(point: &Point, entry: &Entry, found: u64, size: u64) -> Finding {
    let file = entry.path.to_string_lossy();
    Finding {
        object: point.id.object(),
        what: format!("the blocks of {file} add up to {found} bytes, not {size}"),
    }
}
