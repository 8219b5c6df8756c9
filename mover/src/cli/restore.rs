//! `holdfast restore`.

use std::path::{Path, PathBuf};

use crds::job::{FailureReason, Torn, UnreadableRange};
use engine::RestoreMode;
use jiff::Timestamp;
use serde::Serialize;

use super::choose::PointArgs;
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::body::{Body, EmergencyFacts, VOLUMES};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::preserve::{EVIDENCE, LIST};
use crate::telling::{Telling, bytes};
use crate::trust::Trust;

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    point: PointArgs,
    /// Only this volume of the point, a claim's name; omitted: the only one, or each into a directory of its name
    #[arg(long, value_name = "CLAIM")]
    volume: Option<String>,
    /// Only what an emergency capture holds besides volumes and objects: logs, the state of the cluster, the list of what could not be read
    #[arg(long, conflicts_with = "volume")]
    evidence: bool,
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
    /// Bytes of these files could not be read when they were captured in an emergency: zeros stand there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableRange>,
}

pub async fn run(
    args: RestoreArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let point = args.point.choose(&repository).await?;
    Trust::of(&repository).await?.restorable(&point.id)?;
    let body = Body::of(&point);
    let emergency = body.as_ref().ok().and_then(|body| body.emergency.clone()).filter(|_| !args.evidence);
    let meant = match (body, &args.volume) {
        (Ok(body), _) if args.evidence => {
            if body.emergency.is_none() {
                let why = format!("point {} is no emergency capture and holds no evidence", point.id);
                return Err(Failure::new(FailureReason::InvalidRequest, why));
            }
            point.part(Path::new(EVIDENCE))
        }
        (Ok(body), None) if body.volumes.len() > 1 => point.part(Path::new(VOLUMES)),
        (Ok(body), volume) => body.volume(&point, volume.as_deref())?,
        (Err(failure), volume) if volume.is_some() || args.evidence => return Err(failure),
        // What the point says of itself hinders nobody from having its bytes.
        (Err(failure), _) => {
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
    if let Some(emergency) = &emergency {
        warn(emergency, args.volume.as_deref());
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
        unreadable: emergency.map(|emergency| emergency.unreadable).unwrap_or_default(),
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

/// Says what the files that were restored have not.
fn warn(emergency: &EmergencyFacts, volume: Option<&str>) {
    let meant = |file: &str| volume.is_none_or(|volume| file.split('/').next() == Some(volume));
    for UnreadableRange { file, offset, length } in emergency.unreadable.iter().filter(|r| meant(&r.file)) {
        let end = offset + length;
        eprintln!(
            "warning: {file}: bytes {offset} to {end} could not be read when they were captured; zeros stand there"
        );
    }
    for missed in emergency.missed.iter().filter(|missed| meant(&missed.file)) {
        eprintln!("warning: {} is missing: {}", missed.file, missed.what);
    }
    let told = (emergency.unreadable.len() + emergency.missed.len()) as u64;
    let more = (emergency.unreadable_count + emergency.missed_count).saturating_sub(told);
    if more > 0 {
        eprintln!("warning: {more} more are listed in evidence/{LIST}: holdfast restore --evidence");
    }
    match emergency.torn() {
        Torn::No => {}
        Torn::Unknown => eprintln!(
            "warning: something may have written while this was read: files may be of several instants"
        ),
        Torn::Yes => {
            eprintln!("warning: files changed while they were read, such as {}", emergency.unstable[0])
        }
    }
}
