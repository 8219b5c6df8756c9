//! `holdfast report`: what happened in a run, as a document for people. It asks no cluster. The run is given, or the report lies in a repository.

use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use crds::job::FailureReason;
use engine::Repository;
use jiff::Timestamp;
use serde::Serialize;

use super::output::row;
use super::{Output, RepositoryArgs, lost};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result, is_full};
use crate::incident::stored::{self, Stored};
use crate::incident::{self, Format, Run};

/// What no run comes near: the API server takes objects of 1.5 MB.
const LONGEST: u64 = 16 << 20;
const WANTED: &str = "a RecoveryRun as JSON, kubectl get hfrun NAME -o json";

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// File with the run, or - for standard input: kubectl get hfrun NAME -o json | holdfast report -; with --repo the name of the run, left out: all
    /// reports of the repository are listed
    #[arg(value_name = "FILE|RUN", required_unless_present = "repo")]
    run: Option<PathBuf>,
    /// The repository that keeps it: file:///path or s3://bucket/prefix, as for other commands
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// File with the password of the repository; else HOLDFAST_PASSWORD
    #[arg(long, value_name = "FILE", requires = "repo")]
    password_file: Option<PathBuf>,
    /// Number of the report in the repository; left out: the newest
    #[arg(long, value_name = "NUMBER", requires = "repo")]
    revision: Option<u32>,
    /// Print which records were lost instead, by collection: `lost` ones have to be ingested again, `altered` ones were written over or
    /// damaged, and those that were removed or damaged there are `back`
    #[arg(long, requires_all = ["repo", "run"], conflicts_with_all = ["revision", "format", "write"])]
    lost_records: bool,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Write it into this file instead of standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl ReportArgs {
    /// Whether standard output is the report's.
    pub fn prints(&self) -> bool {
        self.write.is_none() && self.run.is_some() && !self.lost_records
    }
}

#[derive(Serialize)]
struct Written<'a> {
    run: &'a str,
    format: &'a str,
    file: String,
    bytes: usize,
}

#[derive(Serialize)]
struct Listed {
    reports: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    run: String,
    uid: String,
    revision: u32,
    stored_at: Option<Timestamp>,
}

pub async fn run(args: ReportArgs, output: Output, environment: &Environment) -> Result<Exit> {
    let repository =
        args.repo.clone().map(|repo| RepositoryArgs { repo, password_file: args.password_file.clone() });
    let (name, report) = match (&repository, &args.run) {
        (Some(repository), None) => return list(&repository.open(environment).await?, output).await,
        (Some(repository), Some(run)) if args.lost_records => {
            let repository = repository.open(environment).await?;
            return lost::list(&repository, &run.display().to_string(), output).await;
        }
        (Some(repository), Some(run)) => {
            let repository = repository.open(environment).await?;
            let name = run.display().to_string();
            let (stored, report) = stored::read(&repository, &name, args.revision, args.format).await?;
            (stored.run, report)
        }
        (None, run) => {
            let (text, place) = given(run.as_deref().unwrap_or(Path::new("-")), LONGEST, WANTED)?;
            let run = Run::read(&text, &place)?;
            (run.name.clone(), incident::render(run, args.format))
        }
    };
    let Some(file) = &args.write else {
        // A reader that went away, such as a pager, is no failure.
        let _ = stdout().write_all(report.as_bytes());
        return Ok(Exit::Done);
    };
    put(file, &report, &format!("the report of {name}"))?;
    let (format, file, bytes) = (args.format.as_str(), file.display().to_string(), report.len());
    let written = Written { run: &name, format, file: file.clone(), bytes };
    output.print(&written, &[row(["RUN", "FORMAT", "FILE"]), row([&name, format, &file])]);
    Ok(Exit::Done)
}

async fn list(repository: &Repository, output: Output) -> Result<Exit> {
    let all = stored::all(repository).await?.into_iter();
    let shown = all.map(|Stored { run, uid, revision, stored_at }| Shown { run, uid, revision, stored_at });
    let reports: Vec<Shown> = shown.collect();
    let mut rows = vec![row(["RUN", "REVISION", "STORED", "UID"])];
    rows.extend(reports.iter().map(|shown| {
        let stored = shown.stored_at.map(|at| format!("{at:.0}")).unwrap_or_default();
        row([&shown.run, &shown.revision.to_string(), &stored, &shown.uid])
    }));
    output.print(&Listed { reports }, &rows);
    Ok(Exit::Done)
}

/// What was given, and how to call it. More than `longest` bytes are not what is `wanted`.
pub(super) fn given(from: &Path, longest: u64, wanted: &str) -> Result<(Vec<u8>, String)> {
    let standard = from == Path::new("-");
    let place = if standard { "standard input".to_owned() } else { from.display().to_string() };
    let mut text = Vec::new();
    let read = match standard {
        true => stdin().lock().take(longest + 1).read_to_end(&mut text),
        false => std::fs::File::open(from).and_then(|file| file.take(longest + 1).read_to_end(&mut text)),
    };
    read.map_err(|e| {
        let why = format!("{place} can't be read: {e}; give a file with {wanted}, or - for standard input");
        Failure::new(FailureReason::SourceUnreadable, why)
    })?;
    if text.len() as u64 > longest {
        let why = format!("{place} is too long; wanted is {wanted}");
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    Ok((text, place))
}

/// Writes what `it` is called into the file.
pub(super) fn put(file: &Path, text: &str, it: &str) -> Result<()> {
    write(file, text).map_err(|e| {
        let reason = if is_full(&e) { FailureReason::NoSpaceLeft } else { FailureReason::TargetNotEmpty };
        let why = format!(
            "{it} can't be written to {}: {e}; name a file that can be, or leave out --write",
            file.display()
        );
        Failure::new(reason, why)
    })
}

/// Writes the file whole or not at all; what is no plain file, such as a pipe, is written to as it is.
fn write(file: &Path, report: &str) -> std::io::Result<()> {
    // Through links: what they lead to is replaced, not they.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if file.exists() && !file.is_file() {
        return std::fs::OpenOptions::new().write(true).open(&file)?.write_all(report.as_bytes());
    }
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().permissions(plain()).tempfile_in(beside)?;
    draft.write_all(report.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(&file)?;
    Ok(())
}

/// The rights of a file that a program makes, less what the umask takes.
fn plain() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
