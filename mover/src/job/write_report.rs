//! Writes the report of a run into the repository. The run comes in the environment: whoever has the key asks no cluster.

use crds::job::{FailureReason, Report, RepositoryAccess};

use super::{Desk, writable};
use crate::failure::{Failure, Result};
use crate::incident::stored;

pub(super) async fn write(desk: &Desk, access: &RepositoryAccess, path: &str) -> Result<Report> {
    writable(access, "no report can be written")?;
    let run = joined(&desk.environment.objects)?;
    let repository = desk.open_locking(access).await?;
    let digest = stored::write(&repository, path, run.as_bytes()).await?;
    desk.telling.say(format!("report {path} is in {}", repository.place()));
    Ok(Report::ReportWritten { digest })
}

/// The pieces put together, each of which is a string of JSON.
fn joined(pieces: &[String]) -> Result<String> {
    let text: std::result::Result<String, _> =
        pieces.iter().map(|piece| serde_json::from_str::<String>(piece)).collect();
    text.map_err(|e| {
        let name = crds::job::OBJECT_ENV;
        let why = format!(
            "{name} can't be read ({e}): controller and mover are of different versions; upgrade both together"
        );
        Failure::new(FailureReason::InvalidRequest, why)
    })
}
