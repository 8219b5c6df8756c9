//! Restores volumes of a point into empty ones, or goes on where an earlier attempt of the same step stopped. The run is marked in
//! the repository before the first byte: carried out once, it is never carried out again under another uid.

use crds::job::{FailureReason, Report, RepositoryAccess, Restored, RunMark};
use engine::{Mark, PutMark, Repository, RestoreMode};
use serde::Deserialize;

use super::Desk;
use crate::access;
use crate::body::Body;
use crate::failure::{Failure, Result};
use crate::trust::Trust;

/// The kind of the marks that runs leave.
const RUNS: &str = "runs";

pub(super) async fn restore(
    desk: &Desk,
    access: &RepositoryAccess,
    point: &str,
    claims: &[String],
    run: &RunMark,
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    Trust::of(&repository).await?.restorable(&point.id)?;
    let parts = Body::of(&point)?.parts(&point, claims)?;
    mark(&repository, run, access.read_only).await?;
    let mut restored = Restored { bytes: 0, files: 0, reused_bytes: 0 };
    for (claim, part) in parts {
        let target = desk.places.target(&claim)?;
        desk.telling.say(format!("restore point {} into {}", point.id, target.display()));
        let progress = desk.telling.stage("restore");
        // What lies in the target was left by an earlier attempt of this step; journals that a server left go with the rest
        // that the point doesn't have.
        let done = engine::restore(&repository, &part, &target, RestoreMode::OntoExisting, progress)
            .await
            .map_err(|e| Failure::from(e).while_reading_a_point())?;
        desk.telling.end_stage();
        for warning in done.warnings() {
            tracing::warn!("{warning}");
        }
        restored.bytes += done.bytes;
        restored.files += done.files;
        restored.reused_bytes += done.bytes.saturating_sub(done.bytes_written);
    }
    Ok(Report::Restored(restored))
}

/// Marks the run as carried out; refuses when another run of that name was.
pub(super) async fn mark(repository: &Repository, run: &RunMark, read_only: bool) -> Result<()> {
    let name = format!("{}/{}", run.namespace, run.name);
    let existing = match read_only {
        true => repository.mark(RUNS, &name).await?,
        false => {
            let value = serde_json::to_value(run).expect("a mark of a run holds only strings");
            match repository.put_mark(RUNS, &name, value).await? {
                PutMark::Created => None,
                PutMark::Exists(mark) => Some(mark),
            }
        }
    };
    match existing {
        Some(mark) => same_run(&mark, run),
        None => Ok(()),
    }
}

fn same_run(mark: &Mark, run: &RunMark) -> Result<()> {
    let known = RunMark::deserialize(&mark.value).map_err(|e| {
        let why =
            format!("the mark of run {} can't be read ({e}); a new recovery needs a new name", mark.name);
        Failure::new(FailureReason::RepositoryDamaged, why)
    })?;
    if known.uid == run.uid {
        return Ok(());
    }
    let when = mark.stored_at.map_or_else(|| "before".to_owned(), |time| format!("on {time:.0}"));
    Err(Failure::new(
        FailureReason::AlreadyExecuted,
        format!("run {} was carried out {when}; a new recovery needs a new name", run.name),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(uid: &str) -> RunMark {
        RunMark { namespace: "arxiv".into(), name: "db".into(), uid: uid.into(), spec_hash: "h".into() }
    }

    #[test]
    fn a_run_goes_on_under_its_own_uid_and_is_refused_under_another() {
        let mark = Mark {
            kind: RUNS.into(),
            name: "arxiv/db".into(),
            value: serde_json::to_value(run("1")).unwrap(),
            stored_at: Some("2026-11-23T09:36:45.5Z".parse().unwrap()),
        };
        same_run(&mark, &run("1")).unwrap();
        let refused = same_run(&mark, &run("2")).unwrap_err();
        assert_eq!(refused.reason, FailureReason::AlreadyExecuted);
        assert!(refused.message.starts_with("run db was carried out on 2026-11-23T09:36:45"), "{refused}");
    }
}
