//! `holdfast report`: what happened in a run, as a document for people. It asks no cluster and no repository: the run is given.

use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use crds::job::FailureReason;
use serde::Serialize;

use super::Output;
use super::output::row;
use crate::exit::Exit;
use crate::failure::{Failure, Result, is_full};
use crate::incident::{self, Format, Run};

/// What no run comes near: the API server takes objects of 1.5 MB.
const LONGEST: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// File with the run, or - for standard input: kubectl get hfrun NAME -o json | holdfast report -
    #[arg(value_name = "FILE")]
    run: PathBuf,
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
        self.write.is_none()
    }
}

#[derive(Serialize)]
struct Written<'a> {
    run: &'a str,
    format: &'a str,
    file: String,
    bytes: usize,
}

pub fn run(args: &ReportArgs, output: Output) -> Result<Exit> {
    let (text, place) = given(&args.run)?;
    let run = Run::read(&text, &place)?;
    let name = run.name.clone();
    let report = incident::render(run, args.format);
    let Some(file) = &args.write else {
        // A reader that went away, such as a pager, is no failure.
        let _ = stdout().write_all(report.as_bytes());
        return Ok(Exit::Done);
    };
    write(file, &report).map_err(|e| {
        let reason = if is_full(&e) { FailureReason::NoSpaceLeft } else { FailureReason::TargetNotEmpty };
        let why = format!(
            "the report of {name} can't be written to {}: {e}; name a file that can be, or leave out --write",
            file.display()
        );
        Failure::new(reason, why)
    })?;
    let (format, file, bytes) = (args.format.as_str(), file.display().to_string(), report.len());
    let written = Written { run: &name, format, file: file.clone(), bytes };
    output.print(&written, &[row(["RUN", "FORMAT", "FILE"]), row([&name, format, &file])]);
    Ok(Exit::Done)
}

/// What was given, and how to call it.
fn given(from: &Path) -> Result<(Vec<u8>, String)> {
    let standard = from == Path::new("-");
    let place = if standard { "standard input".to_owned() } else { from.display().to_string() };
    let mut text = Vec::new();
    let read = match standard {
        true => stdin().lock().take(LONGEST + 1).read_to_end(&mut text),
        false => std::fs::File::open(from).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut text)),
    };
    read.map_err(|e| {
        let why = format!(
            "{place} can't be read: {e}; give a file with a RecoveryRun as JSON, or - for standard input"
        );
        Failure::new(FailureReason::SourceUnreadable, why)
    })?;
    if text.len() as u64 > LONGEST {
        let why = format!(
            "{place} is longer than any RecoveryRun: print one alone, kubectl get hfrun NAME -o json"
        );
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    Ok((text, place))
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
