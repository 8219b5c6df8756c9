//! Volumes of an application that stand still: clones of snapshots. A database is as a power failure would have left it, which is for
//! whoever opens it next to recover from; whether that works is tried with a copy.

use std::path::{Path, PathBuf};

use chroma::files::DATABASE;
use chroma::guard::has_hot_journal;
use jiff::Timestamp;

use super::{database, holds_chroma, list};
use crate::body::{ApplicationFacts, DatabaseFacts, FileFinding};
use crate::capture::unreadable;
use crate::failure::Result;

/// Checks every database of the volumes, that were cut at `at`. Blocks.
pub fn look(volumes: &[(String, PathBuf)], at: Timestamp, scratch: &Path) -> Result<ApplicationFacts> {
    let mut facts = ApplicationFacts {
        cut_at: at,
        databases: Vec::new(),
        unstable: Vec::new(),
        owners_left: 0,
        findings: Vec::new(),
    };
    for (claim, root) in volumes {
        directory(claim, root, Path::new(""), scratch, &mut facts)?;
    }
    Ok(facts)
}

fn directory(
    claim: &str,
    root: &Path,
    within: &Path,
    scratch: &Path,
    facts: &mut ApplicationFacts,
) -> Result<()> {
    let here = root.join(within);
    for (name, kind) in list(&here).map_err(|e| unreadable(&here, &e))? {
        let path = within.join(&name);
        if kind.is_dir() && !(within.as_os_str().is_empty() && name == "lost+found") {
            directory(claim, root, &path, scratch, facts)?;
        } else if kind.is_file() && database::is_one(&root.join(&path)) {
            if name == DATABASE {
                return Err(holds_chroma(claim, &path));
            }
            let file = format!("{claim}/{}", path.display());
            let found = database::check(&root.join(&path), scratch)?;
            facts.findings.extend(found.into_iter().map(|what| FileFinding { file: file.clone(), what }));
            let crashed = has_hot_journal(&root.join(&path))?;
            facts.databases.push(DatabaseFacts { file, held_ms: 0, crashed });
        }
    }
    Ok(())
}
