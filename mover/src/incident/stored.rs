//! Reports in a repository: which documents they are.

use crds::job::FailureReason;
use engine::{Document, PutDocument, Repository};
use jiff::Timestamp;

use super::{Format, Run, render};
use crate::failure::{Failure, Result};

/// The kind of the documents that people read.
const KIND: &str = "report";
/// The kind of the runs that they were written from, as JSON. Written last: a report is whole when it is there. Of a kind of its own, because only by
/// reading them the reports are known.
const RUN_KIND: &str = "report-run";
const RUN: &str = "run.json";

/// A report that lies in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Name of the run.
    pub run: String,
    /// Its uid.
    pub uid: String,
    /// Number of the report, the newest of a run is the highest.
    pub revision: u32,
    /// When the repository received it, by the store's clock.
    pub stored_at: Option<Timestamp>,
}

impl Stored {
    fn of(document: &Document) -> Option<Self> {
        let mut parts = document.name.split('/');
        let (run, uid, revision) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let last = parts.next()? == RUN && parts.next().is_none();
        last.then(|| Self {
            run: run.to_owned(),
            uid: uid.to_owned(),
            revision,
            stored_at: document.stored_at,
        })
    }

    /// What the names of its documents begin with.
    fn path(&self) -> String {
        format!("{}/{}/{}", self.run, self.uid, self.revision)
    }
}

fn file(format: Format) -> &'static str {
    match format {
        Format::Markdown => "report.md",
        Format::Html => "report.html",
    }
}

/// Writes the report of the run in `text` in both formats, and the run itself. Returns the digest of the HTML file.
pub async fn write(repository: &Repository, path: &str, text: &[u8]) -> Result<String> {
    let read = || Run::read(text, "the Request");
    let html = render(read()?, Format::Html);
    let markdown = render(read()?, Format::Markdown);
    let name = |file| format!("{path}/{file}");
    put(repository, KIND, &name(file(Format::Markdown)), markdown.as_bytes()).await?;
    let digest = put(repository, KIND, &name(file(Format::Html)), html.as_bytes()).await?;
    put(repository, RUN_KIND, &name(RUN), text).await?;
    Ok(digest)
}

async fn put(repository: &Repository, kind: &str, name: &str, bytes: &[u8]) -> Result<String> {
    match repository.put_document(kind, name, bytes).await? {
        PutDocument::Created(digest) => Ok(digest),
        PutDocument::Exists(there) if there.bytes == bytes => Ok(there.digest()),
        // An earlier life of this attempt wrote it, of a run that has changed since.
        PutDocument::Exists(_) => {
            let why =
                format!("document {name} exists and tells something else; the next revision is written");
            Err(Failure::new(FailureReason::MoverFailed, why))
        }
    }
}

/// All reports that are whole, by run and revision.
pub async fn all(repository: &Repository) -> Result<Vec<Stored>> {
    let mut all: Vec<Stored> = repository.documents(RUN_KIND).await?.iter().filter_map(Stored::of).collect();
    all.sort_by(|a, b| (&a.run, a.stored_at, a.revision).cmp(&(&b.run, b.stored_at, b.revision)));
    Ok(all)
}

/// The report of `run` with this number; absent: the newest.
pub async fn read(
    repository: &Repository,
    run: &str,
    revision: Option<u32>,
    format: Format,
) -> Result<(Stored, String)> {
    let of_run: Vec<Stored> = all(repository).await?.into_iter().filter(|stored| stored.run == run).collect();
    let asked = |stored: &&Stored| revision.is_none_or(|revision| stored.revision == revision);
    let Some(stored) = of_run.iter().rfind(asked) else {
        let place = repository.place();
        let why = match (of_run.as_slice(), revision) {
            ([], _) => format!(
                "{place} holds no report of a run {run}; holdfast report --repo URL lists those that it holds"
            ),
            (known, revision) => {
                let known: Vec<String> = known.iter().map(|stored| stored.revision.to_string()).collect();
                let revision = revision.unwrap_or_default();
                format!(
                    "{place} holds no revision {revision} of the report of {run}, but {}",
                    known.join(", ")
                )
            }
        };
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    };
    let name = format!("{}/{}", stored.path(), file(format));
    let Some(document) = repository.document(KIND, &name).await? else {
        let why = format!("document {name} of {} is gone", repository.place());
        return Err(Failure::new(FailureReason::RepositoryDamaged, why));
    };
    let text = String::from_utf8(document.bytes)
        .map_err(|e| Failure::unexpected(format!("document {name} is no text"), &e))?;
    Ok((stored.clone(), text))
}
