//! `holdfast audit`: what a breach left, as a run stored it; or what changed in a database from one point to another, record by record.

use std::path::PathBuf;

use chroma::compare::{CollectionChange, compare};
use crds::job::FailureReason;
use crds::run::{AuditCounts, AuditFinding};
use engine::{Document, Repository, RestoreMode};
use jiff::Timestamp;
use serde::Serialize;

use super::choose::{Choice, choose};
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::audit::{Audit, DOCUMENTS};
use crate::body::{Body, ChromaFacts};
use crate::capture::blocking;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result, sentence};
use crate::places::data_dir;
use crate::telling::Telling;

/// Most ids of each kind that are printed of a collection.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The run, by its name or uid; omitted: the only audit there is, else a list of them
    #[arg(value_name = "RUN", conflicts_with = "point")]
    run: Option<String>,
    /// Compare the records of two points instead: the earlier one, an id, latest, or asof:TIME
    #[arg(long, value_name = "POINT", requires = "against")]
    point: Option<Choice>,
    /// The later one
    #[arg(long, value_name = "POINT", requires = "point")]
    against: Option<Choice>,
    /// Only points of this component, for latest and asof
    #[arg(long, value_name = "NAME", requires = "point")]
    component: Option<String>,
    /// Room for both states of the database, for --point
    #[arg(long, value_name = "DIR", requires = "point")]
    scratch: Option<PathBuf>,
}

/// One that is stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    run: String,
    time: Timestamp,
    counts: AuditCounts,
    digest: String,
}

#[derive(Serialize)]
struct List {
    audits: Vec<Stored>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    from: String,
    to: String,
    collections: Vec<CollectionChange>,
}

pub async fn run(
    args: AuditArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    if let (Some(first), Some(second)) = (&args.point, &args.against) {
        let compared = points(&repository, (first, second), &args, telling).await?;
        telling.clear();
        let mut rows = vec![row(["COLLECTION", "ADDED", "REMOVED", "ALTERED", "IDS"])];
        rows.extend(compared.collections.iter().map(collection));
        output.print(&compared, &rows);
        return Ok(Exit::Done);
    }
    let mut audits = Vec::new();
    for document in repository.documents(DOCUMENTS).await? {
        let meant =
            |run: &String| document.name == *run || document.name.split('/').skip(1).any(|part| part == run);
        if args.run.as_ref().is_none_or(meant) {
            audits.push((read(&document)?, document.digest()));
        }
    }
    match audits.as_slice() {
        [] => {
            let of = args.run.as_ref().map(|run| format!(" of run {run}")).unwrap_or_default();
            let why = format!(
                "{} holds no audit{of}; a run with scenario SecurityBreach stores one",
                repository.place()
            );
            Err(Failure::new(FailureReason::PointNotFound, why))
        }
        [(audit, _)] => {
            output.print(audit, &rows(audit));
            Ok(Exit::Done)
        }
        several => {
            list(several, output);
            Ok(Exit::Done)
        }
    }
}

fn read(document: &Document) -> Result<Audit> {
    let damaged = |why| format!("audit {}: {why}", document.name);
    Audit::from_bytes(&document.bytes)
        .map_err(|why| Failure::new(FailureReason::RepositoryDamaged, damaged(why)))
}

fn list(audits: &[(Audit, String)], output: Output) {
    let stored = |(audit, digest): &(Audit, String)| Stored {
        run: audit.run.clone(),
        time: audit.time,
        counts: AuditCounts::of(&audit.namespace).and(AuditCounts::of(&audit.findings)),
        digest: digest.clone(),
    };
    let list = List { audits: audits.iter().map(stored).collect() };
    let mut rows = vec![row(["RUN", "TIME", "HIGH", "MEDIUM", "LOW", "NOT SEEN"])];
    rows.extend(list.audits.iter().map(|stored| {
        let AuditCounts { high, medium, unknown, low } = stored.counts;
        let numbers = [high, medium, low, unknown].map(|number| number.to_string());
        row([&stored.run, &format!("{:.0}", stored.time), &numbers[0], &numbers[1], &numbers[2], &numbers[3]])
    }));
    output.print(&list, &rows);
}

/// The findings, and the collections that differ behind them.
fn rows(audit: &Audit) -> Vec<Vec<String>> {
    let mut rows = vec![row(["SEVERITY", "KIND", "OBJECT", "FOUND"])];
    let of = |found: &AuditFinding| {
        row([found.severity.as_str(), found.kind.as_str(), &plain(&found.object), &plain(&found.message)])
    };
    rows.extend(audit.all().into_iter().map(of));
    let mut changes =
        audit.components.iter().flat_map(|component| component.collections.iter().flatten()).peekable();
    if changes.peek().is_some() {
        rows.push(Vec::new());
        rows.push(row(["COLLECTION", "ADDED", "REMOVED", "ALTERED", "IDS"]));
        rows.extend(changes.map(collection));
    }
    rows
}

/// A collection that differs, and the first ids of it: `+` came, `-` went, `~` are others now.
fn collection(change: &CollectionChange) -> Vec<String> {
    let signed = [("+", &change.ids.added), ("-", &change.ids.removed), ("~", &change.ids.altered)];
    let shown =
        signed.iter().flat_map(|(sign, ids)| ids.iter().map(move |id| format!("{sign}{}", plain(id))));
    let shown: Vec<String> = shown.take(SHOWN).collect();
    let all = change.added + change.removed + change.altered;
    let more = all.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let numbers = [change.added, change.removed, change.altered].map(|number| number.to_string());
    row([
        &plain(&change.full_name()),
        &numbers[0],
        &numbers[1],
        &numbers[2],
        &format!("{}{more}", shown.join(" ")),
    ])
}

/// What somebody else wrote, without what a terminal would take for commands.
pub(super) fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}

/// The records of two points.
async fn points(
    repository: &Repository,
    (first, second): (&Choice, &Choice),
    args: &AuditArgs,
    telling: &Telling,
) -> Result<Compared> {
    let unusable =
        |e: &std::io::Error| Failure::new(FailureReason::MoverFailed, format!("no scratch space: {e}"));
    let scratch = match &args.scratch {
        Some(dir) => std::fs::create_dir_all(dir).and_then(|()| tempfile::tempdir_in(dir)),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.map_err(|e| unusable(&e))?;
    let (mut ids, mut data) = (Vec::new(), Vec::new());
    for (choice, name) in [(first, "first"), (second, "second")] {
        let point = choose(repository, choice, args.component.as_deref()).await?;
        let facts = ChromaFacts::of(&point)?;
        let part = Body::of(&point)?.volume(&point, None)?;
        let to = scratch.path().join(name);
        engine::restore(repository, &part, &to, RestoreMode::EmptyTarget, telling.stage("restore"))
            .await
            .map_err(|e| Failure::from(e).while_reading_a_point())?;
        telling.end_stage();
        data.push(data_dir(&to, &facts.data_path)?);
        ids.push(point.id.to_string());
    }
    telling.say("compare record by record");
    let aside = scratch.path().to_owned();
    let [earlier, later] = [data[0].clone(), data[1].clone()];
    let collections = blocking(move || {
        compare(&earlier, &later, &aside, crate::audit::MOST_IDS)
            .map_err(|e| Failure::new(FailureReason::IntegrityMismatch, sentence(&e)))
    })
    .await?;
    Ok(Compared { from: ids[0].clone(), to: ids[1].clone(), collections })
}
