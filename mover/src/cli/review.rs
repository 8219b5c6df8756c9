//! `holdfast review`: what was promised and what was kept in a month, a quarter or a year. It asks no cluster: the objects are given.

use std::io::{Write, stdout};
use std::path::PathBuf;

use crds::job::FailureReason;
use jiff::Timestamp;
use serde::Serialize;

use super::Output;
use super::output::row;
use super::report::{given, put};
use crate::environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::incident::Format;
use crate::review::{self, Length, Objects, Period};

/// 2,000 policies and as many runs come to some 60 MB.
const LONGEST: u64 = 512 << 20;
const WANTED: &str = "the objects as JSON, kubectl get hfrepo,hfpolicy,hfrun,hfdrill -o json";

#[derive(Debug, clap::Args)]
pub struct ReviewArgs {
    /// File with the objects, or - for standard input: kubectl get hfrepo,hfpolicy,hfrun,hfdrill -o json | holdfast review - --period month; with -A those of
    /// every namespace
    #[arg(value_name = "FILE")]
    objects: PathBuf,
    /// What is reviewed
    #[arg(long, value_enum)]
    period: Length,
    /// Which one: 2026-11, 2026-Q4 or 2026; left out: the last that is over
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// As of when; left out: now. The objects are as they were printed
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Write it into this file instead of standard output
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl ReviewArgs {
    /// Whether standard output is the review's.
    pub fn prints(&self) -> bool {
        self.write.is_none()
    }
}

#[derive(Serialize)]
struct Written<'a> {
    period: &'a str,
    format: &'a str,
    file: String,
    bytes: usize,
}

pub fn run(args: &ReviewArgs, output: Output) -> Result<Exit> {
    let at = args.at.unwrap_or_else(environment::now);
    let period = match &args.of {
        None => Period::last_complete(args.period, at),
        Some(name) => Period::named(args.period, name).ok_or_else(|| {
            let example = Period::last_complete(args.period, at).name();
            let why = format!("{name:?} is no {}; write it as {example}", args.period.as_str());
            Failure::new(FailureReason::InvalidRequest, why)
        })?,
    };
    let (text, place) = given(&args.objects, LONGEST, WANTED)?;
    let objects = Objects::read(&text, &place)?;
    let review = review::render(&objects, &period, at, args.format);
    let Some(file) = &args.write else {
        // A reader that went away, such as a pager, is no failure.
        let _ = stdout().write_all(review.as_bytes());
        return Ok(Exit::Done);
    };
    put(file, &review, &format!("the review of {}", period.name()))?;
    let (format, name, file) = (args.format.as_str(), period.name(), file.display().to_string());
    let written = Written { period: &name, format, file: file.clone(), bytes: review.len() };
    output.print(&written, &[row(["PERIOD", "FORMAT", "FILE"]), row([&name, format, &file])]);
    Ok(Exit::Done)
}
