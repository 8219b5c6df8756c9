//! `holdfast check`: is this ChromaDB directory whole, does a server serve it, is it what a point holds?

use std::path::{Path, PathBuf};

use chroma::check::{CheckOptions, CheckReport, check_dir_with};
use chroma::fingerprint::{CollectionFingerprint, Key, of_dir_with};
use chroma::serve::{ServeError, ServeOptions, Served, serve};
use crds::job::{FailureReason, Finding};
use serde::Serialize;

use super::choose::{Choice, choose};
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::body::{ChromaFacts, levels_text};
use crate::capture::blocking;
use crate::content::differing;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result, sentence};
use crate::report::{finding, translated};
use crate::telling::Telling;

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The directory that holds chroma.sqlite3. No server may have it open; it is not changed
    dir: PathBuf,
    /// structure: the files, read offline; serve: and a server of our own has to serve a copy, every record of it
    #[arg(long, value_enum, default_value_t = Depth::Structure)]
    level: Depth,
    /// The server for --level serve, of the version that wrote the directory
    #[arg(long, value_name = "PROGRAM", default_value = "chroma")]
    server: PathBuf,
    /// Where the copy for --level serve is made: as much room as the directory takes; else the system's place for temporary files
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Also hold the content against this point of --repo: latest, asof:TIME, or an id
    #[arg(long, value_name = "POINT", requires = "repo")]
    expect: Option<Choice>,
    /// Where the point of --expect is: file:///path or s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// File with the password of --repo; else HOLDFAST_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Depth {
    Structure,
    Serve,
}

/// The content against a point.
#[derive(Serialize)]
struct Expected {
    point: String,
    differences: Vec<Finding>,
}

#[derive(Serialize)]
struct Done {
    passed: bool,
    #[serde(flatten)]
    structure: CheckReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    served: Option<Served>,
    /// Why there was nothing to serve, or nothing to hold against the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
}

pub async fn run(
    args: CheckArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    // Before the long work: a wrong password must not be found out after it.
    let point = match (&args.expect, args.repo) {
        (Some(choice), Some(repo)) => {
            let repository = RepositoryArgs { repo, password_file: args.password_file };
            let repository = repository.open(environment).await?;
            let point = choose(&repository, choice, None).await?;
            Some((point.id.to_string(), ChromaFacts::of(&point)?, Key::new(repository.digest_key())))
        }
        _ => None,
    };
    // Without a point any key will do: both sides are made here.
    let key = point.as_ref().map_or_else(|| Key::new([0; 32]), |(_, _, key)| key.clone());
    let scratch = args.scratch.as_deref().map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let scratch = scratch.map_err(|e| Failure::unexpected("can't make scratch space", &e))?;
    telling.say(format!("check {}", args.dir.display()));
    let structure = structure(&args.dir, scratch.path()).await?;
    let (mut served, mut unreadable, mut collections) = (None, None, None);
    if args.level == Depth::Serve {
        telling.say(format!("serve a copy by {}", args.server.display()));
        let options = ServeOptions::new(args.server.clone(), scratch.path().to_owned());
        match serve(&args.dir, &key, &options).await {
            Ok(told) => {
                collections = Some(told.collections.clone());
                served = Some(told);
            }
            Err(e @ ServeError::Files(_)) => unreadable = Some(sentence(&e)),
            Err(e) => return Err(Failure::new(FailureReason::NotServing, sentence(&e))),
        }
    } else if point.is_some() {
        match fingerprints(&args.dir, scratch.path(), &key).await? {
            Ok(told) => collections = Some(told),
            Err(why) => unreadable = Some(why),
        }
    }
    let expected = point.map(|(id, facts, _)| Expected {
        differences: match &collections {
            Some(seen) => differing(&facts.collections, seen),
            None => vec![finding("collections", unreadable.clone().unwrap_or_default())],
        },
        point: id,
    });
    telling.clear();
    let passed = structure.is_whole()
        && unreadable.is_none()
        && served.as_ref().is_none_or(|served| served.findings.is_empty())
        && expected.as_ref().is_none_or(|expected| expected.differences.is_empty());
    let done = Done { passed, structure, served, unreadable, expected };
    output.print(&done, &rows(&done));
    Ok(if passed { Exit::Done } else { Exit::Damaged })
}

async fn structure(dir: &Path, scratch: &Path) -> Result<CheckReport> {
    let (dir, scratch) = (dir.to_owned(), scratch.to_owned());
    blocking(move || {
        let options = CheckOptions { scratch: Some(scratch), ..CheckOptions::default() };
        check_dir_with(&dir, &options)
            .map_err(|e| Failure::new(FailureReason::SourceUnreadable, sentence(&e)))
    })
    .await
}

/// The content, or a sentence why it can't be read.
async fn fingerprints(
    dir: &Path,
    scratch: &Path,
    key: &Key,
) -> Result<std::result::Result<Vec<CollectionFingerprint>, String>> {
    let (dir, scratch, key) = (dir.to_owned(), scratch.to_owned(), key.clone());
    blocking(move || Ok(of_dir_with(&dir, &key, Some(&scratch)).map_err(|e| sentence(&e)))).await
}

/// The table for people.
fn rows(done: &Done) -> Vec<Vec<String>> {
    let structure = &done.structure;
    let served = done.served.as_ref();
    let findings =
        structure.findings.findings.iter().chain(served.into_iter().flat_map(|s| &s.findings.findings));
    let findings: Vec<_> = findings.collect();
    let differences = done.expected.iter().flat_map(|expected| &expected.differences);
    let more = structure.findings.more + served.map_or(0, |served| served.findings.more);
    let count = findings.len() as u64 + more + differences.clone().count() as u64;
    let count = count + u64::from(done.unreadable.is_some() && done.expected.is_none());
    let mut rows = vec![
        row(["COLLECTIONS", "PENDING", "MIGRATIONS", "SERVED", "FINDINGS", "VERDICT"]),
        row([
            &structure.collections.to_string(),
            &structure.pending.to_string(),
            &levels_text(structure.levels),
            &served.map_or_else(
                || "<none>".to_owned(),
                |s| format!("{} records, {} of {} sought", s.records, s.found, s.sought),
            ),
            &count.to_string(),
            if done.passed { "Passed" } else { "Failed" },
        ]),
    ];
    if done.passed {
        return rows;
    }
    rows.push(Vec::new());
    rows.push(row(["SUBJECT", "FINDING", "REMEDY"]));
    rows.extend(findings.into_iter().map(|f| {
        let told = translated(f);
        row([&told.subject, &told.message, &f.remedy])
    }));
    let unreadable = done.unreadable.iter().filter(|_| done.expected.is_none());
    rows.extend(unreadable.map(|why| row(["collections", why, "See what the structure says"])));
    let of = |expected: &Expected| format!("Not the content of point {}: restore it anew", expected.point);
    rows.extend(done.expected.iter().flat_map(|expected| {
        expected.differences.iter().map(move |f| row([&f.subject, &f.message, &of(expected)]))
    }));
    rows
}
