//! Looks at clones of snapshots: disposable volumes that nobody writes to, so nothing is copied and no lock is taken.

use std::path::PathBuf;

use chroma::check::CheckOptions;
use chroma::fingerprint::Key;
use chroma::guard::inspect_source;
use crds::job::SourceContent;
use crds::policy::Cut;
use engine::Repository;

use super::Desk;
use super::capture::only;
use crate::application;
use crate::body::{Body, GuardFacts};
use crate::capture::{Look, blocking, look};
use crate::failure::Result;
use crate::places::data_dir;

/// Says in the body what the clones hold.
pub(super) async fn look_at(
    body: &mut Body,
    desk: &Desk,
    repository: &Repository,
    content: &SourceContent,
    volumes: Vec<(String, PathBuf)>,
    cut: &Cut,
) -> Result<()> {
    let (scratch, telling) = (desk.places.scratch(), desk.telling.clone());
    match content {
        SourceContent::ChromaDb { data_path, image } => {
            let data = data_dir(&only(volumes)?.1, data_path)?;
            inspect_source(&data, true)?;
            let key = Key::new(repository.digest_key());
            let (image, data_path, guard) = (image.clone(), data_path.clone(), guard_facts(cut));
            let options =
                CheckOptions { scratch: Some(scratch.join("rolled-back")), skip_integrity_check: false };
            let seen = Look { data, options, image, data_path, guard };
            let mut facts = blocking(move || look(seen, &key, &telling)).await?;
            facts.integrity_checked_at = facts.findings.is_empty().then_some(cut.at);
            body.chroma = Some(facts);
        }
        SourceContent::Application => {
            let at = cut.at;
            let facts = blocking(move || application::look(&volumes, at, &scratch.join("check"))).await?;
            body.application = Some(facts);
        }
    }
    Ok(())
}

fn guard_facts(cut: &Cut) -> GuardFacts {
    GuardFacts {
        locked_at: cut.at,
        released_at: cut.until,
        longest_hold_ms: cut.held_ms,
        attempts: cut.attempts,
        torn_because: Vec::new(),
        unstable: Vec::new(),
        filesystem: cut.filesystem.clone(),
    }
}
