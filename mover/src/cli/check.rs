//! `holdfast check`: is this ChromaDB directory whole?

use std::path::PathBuf;

use chroma::check::{CheckOptions, check_dir_with};
use crds::job::FailureReason;

use super::Output;
use super::output::row;
use crate::body::levels_text;
use crate::capture::blocking;
use crate::exit::Exit;
use crate::failure::{Failure, Result, sentence};
use crate::report::translated;
use crate::telling::Telling;

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The directory that holds chroma.sqlite3. No server may have it open; it is not changed
    dir: PathBuf,
}

pub async fn run(args: CheckArgs, output: Output, telling: &Telling) -> Result<Exit> {
    telling.say(format!("check {}", args.dir.display()));
    let report = blocking(move || {
        let scratch = tempfile::tempdir().map_err(|e| Failure::unexpected("can't make scratch space", &e))?;
        let options = CheckOptions { scratch: Some(scratch.path().to_owned()), ..CheckOptions::default() };
        check_dir_with(&args.dir, &options)
            .map_err(|e| Failure::new(FailureReason::SourceUnreadable, sentence(&e)))
    })
    .await?;
    telling.clear();
    let mut rows = vec![
        row(["COLLECTIONS", "PENDING", "MIGRATIONS", "FINDINGS", "VERDICT"]),
        row([
            &report.collections.to_string(),
            &report.pending.to_string(),
            &levels_text(report.levels),
            &(report.findings.findings.len() as u64 + report.findings.more).to_string(),
            if report.is_whole() { "Passed" } else { "Failed" },
        ]),
    ];
    if !report.is_whole() {
        rows.push(Vec::new());
        rows.push(row(["SUBJECT", "FINDING", "REMEDY"]));
        rows.extend(report.findings.findings.iter().map(|f| {
            let told = translated(f);
            row([&told.subject, &told.message, &f.remedy])
        }));
    }
    let whole = report.is_whole();
    output.print(&report, &rows);
    Ok(if whole { Exit::Done } else { Exit::Damaged })
}
