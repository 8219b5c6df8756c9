//! Whether everything a point needs is there: its tree and maps are read, each block is looked up, each pack is looked at
//! in the store. It goes on after the first thing missing; only the store's own failures end it.

use std::collections::HashSet;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::index::{SeenPacks, check_packs};
use crate::pack::PackId;
use crate::point::Point;
use crate::read::Reader;
use crate::references::{Reference, references};
use crate::store::Object;

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
    /// The packs that are whole, as the store told of them.
    pub(crate) packs: Vec<(PackId, Object)>,
    pub(crate) blocks: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Sorts a failure: what is wrong with stored bytes is a finding, all else ends the work.
pub(crate) fn finding(error: Error, point: &Point) -> Result<Finding> {
    match error {
        // What no pack can be named for is damage of the tree, and so of the point.
        Error::Damaged { object, what, .. } if object.is_empty() => {
            Ok(Finding { object: point.id.object(), what })
        }
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

/// Looks at everything a point needs.
pub(crate) async fn inspect(reader: &Reader, point: &Point) -> Result<Inspection> {
    let mut seen = Inspection::default();
    let mut packs: HashSet<(PackId, u32)> = HashSet::new();
    references(reader, point, |reference| match reference {
        Reference::Block(id, _) => {
            packs.extend(reader.index.find(&id).map(|place| (place.pack.id, place.pack.size)));
        }
        Reference::File { size, blocks } => {
            seen.files += 1;
            seen.bytes = seen.bytes.saturating_add(size);
            seen.blocks += blocks;
        }
        Reference::Broken(finding) => seen.findings.push(finding),
    })
    .await?;
    let SeenPacks { whole, wrong } = check_packs(&reader.repo, packs).await?;
    seen.packs = whole;
    for (id, what) in wrong {
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
