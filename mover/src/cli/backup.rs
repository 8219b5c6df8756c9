//! `holdfast backup`: a directory into a point. One that holds a ChromaDB is captured live, whether a server has it open or
//! not; any other must stand still.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chroma::files::DATABASE;
use crds::job::FailureReason;
use engine::{Committed, PointAttributes};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::export::scratch_space;
use super::output::row;
use super::{LockArgs, Output, RepositoryArgs};
use crate::body::Body;
use crate::capture::{Source, mirror, store};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::seal::takes_captures;
use crate::telling::{Telling, bytes};

#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The directory to capture
    #[arg(long, value_name = "DIR")]
    source: PathBuf,
    /// The component it belongs to, such as the policy's name
    #[arg(long, value_name = "NAME")]
    component: String,
    /// A tag of the point; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Scratch space for the mirror of a ChromaDB, as large as the source; kept by nobody
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Longest time that writers of a ChromaDB may be held
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    max_writer_pause: SignedDuration,
    /// What is captured is evidence of an incident: a sealed repository takes it
    #[arg(long)]
    evidence: bool,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) fn tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no tag; write KEY=VALUE")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    point: String,
    bytes: u64,
    bytes_stored: u64,
    files: u64,
    duration_ms: u64,
    /// 0 where no writer was held, because no ChromaDB was captured.
    writer_pause_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    findings: u64,
    /// What a point can't hold and that was left out.
    skipped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<Timestamp>,
}

pub async fn run(
    args: BackupArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let begun = Instant::now();
    let started = (environment.clock)();
    let repository = args.repository.open_locking(environment, &args.lock).await?;
    takes_captures(&repository, args.evidence).await?;
    let tags: BTreeMap<String, String> = args.tags.into_iter().collect();
    let attributes = PointAttributes {
        component: args.component,
        consistency_time: started,
        started,
        tags,
        body: Body::new().to_value(),
        attempt: None,
    };
    let committed = if args.source.join(DATABASE).is_file() {
        let scratch = scratch_space(args.scratch.as_deref())?;
        let max_writer_pause: Duration = args.max_writer_pause.try_into().map_err(|_| {
            Failure::new(FailureReason::InvalidRequest, "--max-writer-pause must not be negative; write 5s")
        })?;
        let mirrored = scratch.path().join("mirror");
        let source = Source {
            volume: args.source,
            data_path: String::new(),
            mirror: mirrored.clone(),
            scratch: scratch.path().to_owned(),
            max_writer_pause,
            image: String::new(),
            full_check: true,
            aside: None,
        };
        let chroma = mirror(&repository, source, telling).await?;
        let consistency_time = chroma.guard.locked_at;
        let body = Body { chroma: Some(chroma), ..Body::new() }.to_value();
        let attributes = PointAttributes { consistency_time, body, ..attributes };
        store(&repository, mirrored, None, attributes, telling).await?
    } else {
        store(&repository, args.source, None, attributes, telling).await?
    };
    telling.clear();
    tell(committed, begun, output)
}

/// Prints the new point.
pub(super) fn tell(committed: Committed, begun: Instant, output: Output) -> Result<Exit> {
    let point = committed.point;
    let chroma = Body::of(&point)?.chroma;
    let done = Done {
        point: point.id.to_string(),
        bytes: point.totals.bytes,
        bytes_stored: point.totals.bytes_stored,
        files: point.totals.files,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        writer_pause_ms: chroma.as_ref().map_or(0, |c| c.guard.longest_hold_ms),
        records: chroma.as_ref().map(crate::body::ChromaFacts::records),
        findings: chroma.as_ref().map_or(0, |c| c.findings.len() as u64 + c.more_findings),
        skipped: point.totals.skipped,
        locked_until: point.locked_until,
    };
    for skipped in &point.skipped {
        eprintln!(
            "warning: {} is left out: a point can't hold it ({})",
            skipped.path.escape_debug(),
            skipped.kind
        );
    }
    let more = done.skipped - point.skipped.len() as u64;
    if more > 0 {
        eprintln!("warning: {more} more entries are left out");
    }
    for finding in chroma.iter().flat_map(|c| &c.findings) {
        eprintln!("warning: {}: {}. {}", finding.file, finding.what, finding.remedy);
    }
    let pause = chroma.map_or_else(|| "<none>".to_owned(), |_| format!("{}ms", done.writer_pause_ms));
    let rows = [
        row(["POINT", "SIZE", "NEW", "FILES", "TOOK", "WRITER-PAUSE", "LOCKED-UNTIL"]),
        row([
            &done.point,
            &bytes(done.bytes),
            &bytes(done.bytes_stored),
            &done.files.to_string(),
            &format!("{:.1}s", done.duration_ms as f64 / 1000.0),
            &pause,
            &done.locked_until.map_or_else(|| "<none>".to_owned(), |until| format!("{until:.0}")),
        ]),
    ];
    output.print(&done, &rows);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_key_and_a_value_and_the_value_may_hold_anything() {
        assert_eq!(tag("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(tag("a="), Ok(("a".into(), String::new())));
        assert!(tag("=b").is_err() && tag("a").is_err());
    }
}
