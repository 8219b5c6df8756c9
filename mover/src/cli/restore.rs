//! `holdfast restore`.

use std::path::{Path, PathBuf};

use engine::RestoreMode;
use jiff::Timestamp;
use serde::Serialize;

use super::choose::PointArgs;
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::body::{Body, VOLUMES};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::telling::{Telling, bytes};

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    point: PointArgs,
    /// Only this volume of the point, a claim's name; omitted: the only one, or each into a directory of its name
    #[arg(long, value_name = "CLAIM")]
    volume: Option<String>,
    /// The directory to restore into, empty or not there yet
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// Make what exists in the target equal to the point: writes what differs, REMOVES what the point doesn't have
    #[arg(long)]
    onto_existing: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    point: String,
    consistency_time: Timestamp,
    bytes: u64,
    bytes_written: u64,
    files: u64,
    removed: u64,
    owners_left: u64,
    xattrs_left: u64,
    duration_ms: u64,
}

pub async fn run(
    args: RestoreArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let point = args.point.choose(&repository).await?;
    let meant = match (Body::of(&point), &args.volume) {
        (Ok(body), None) if body.volumes.len() > 1 => point.part(Path::new(VOLUMES)),
        (Ok(body), volume) => body.volume(&point, volume.as_deref())?,
        (Err(failure), Some(_)) => return Err(failure),
        // What the point says of itself hinders nobody from having its bytes.
        (Err(failure), None) => {
            eprintln!("warning: {failure}; all of its tree is restored");
            point.clone()
        }
    };
    let mode = if args.onto_existing { RestoreMode::OntoExisting } else { RestoreMode::EmptyTarget };
    let progress = telling.stage("restore");
    let summary = engine::restore(&repository, &meant, &args.target, mode, progress)
        .await
        .map_err(|e| Failure::from(e).while_reading_a_point())?;
    telling.end_stage();
    telling.clear();
    for warning in summary.warnings() {
        eprintln!("warning: {warning}");
    }
    let done = Done {
        point: point.id.to_string(),
        consistency_time: point.attributes.consistency_time,
        bytes: summary.bytes,
        bytes_written: summary.bytes_written,
        files: summary.files,
        removed: summary.removed,
        owners_left: summary.owners_left,
        xattrs_left: summary.xattrs_left,
        duration_ms: u64::try_from(summary.elapsed.as_millis()).unwrap_or(u64::MAX),
    };
    let rows = [
        row(["POINT", "CONSISTENT", "SIZE", "WRITTEN", "FILES", "REMOVED", "TOOK"]),
        row([
            &done.point,
            &format!("{:.0}", done.consistency_time),
            &bytes(done.bytes),
            &bytes(done.bytes_written),
            &done.files.to_string(),
            &done.removed.to_string(),
            &format!("{:.1}s", done.duration_ms as f64 / 1000.0),
        ]),
    ];
    output.print(&done, &rows);
    Ok(Exit::Done)
}
