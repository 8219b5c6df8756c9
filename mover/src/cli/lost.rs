//! `holdfast report RUN --lost-records`: which records a run lost, by collection, as they were counted in the replaced volume.

use crds::job::FailureReason;
use engine::Repository;
use serde::Serialize;

use super::Output;
use super::audit::plain;
use super::output::row;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::losses::{DOCUMENTS, Losses};

#[derive(Serialize)]
struct Listed {
    losses: Vec<Losses>,
}

/// Prints what run `run` lost, by its name or uid.
pub async fn list(repository: &Repository, run: &str, output: Output) -> Result<Exit> {
    let mut losses = Vec::new();
    for document in repository.documents(DOCUMENTS).await? {
        let mut parts = document.name.split('/');
        if parts.next() != Some(run) && parts.next() != Some(run) {
            continue;
        }
        losses.push(Losses::from_bytes(&document.bytes).map_err(|why| {
            let why = format!("lost records of {}: {why}", document.name);
            Failure::new(FailureReason::RepositoryDamaged, why)
        })?);
    }
    if losses.is_empty() {
        let why = format!(
            "{} holds no lost records of a run {run}: they are counted after a DatabaseCorruption, as far as the replaced database can be read; status.measured[].dataLoss of the run says what came of it",
            repository.place()
        );
        return Err(Failure::new(FailureReason::PointNotFound, why));
    }
    let mut rows = vec![row(["POLICY", "COLLECTION", "RECORD", "ID"])];
    for of in &losses {
        let policy = of.of().map(|(_, _, policy)| policy).unwrap_or_default();
        for change in &of.collections {
            let each = [
                ("lost", &change.ids.added, change.added),
                ("altered", &change.ids.altered, change.altered),
                ("back", &change.ids.removed, change.removed),
            ];
            for (word, ids, all) in each {
                let name = plain(&change.full_name());
                rows.extend(ids.iter().map(|id| row([policy, &name, word, &plain(id)])));
                let more = all.saturating_sub(ids.len() as u64);
                rows.extend((more > 0).then(|| row([policy, &name, word, &format!("and {more} more")])));
            }
        }
    }
    output.print(&Listed { losses }, &rows);
    Ok(Exit::Done)
}
