//! Whether a server serves what a data directory holds: a copy of it is opened by a server of one's own, and every record is asked
//! for and held against what the files say. The directory itself is only read. It sees what the offline check can't, the server's
//! own judgement: damage that a server dies of, hangs over or answers with an error.

mod collection;
mod sandbox;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::check::{Finding, Findings, Problem};
use crate::client::{Auth, Client, ClientError, Collection, Scope};
use crate::db::{CollectionEntry, Database, catalog};
use crate::files::DATABASE;
use crate::fingerprint::{CollectionFingerprint, Key, OfflineError, of_database};
use crate::versions::MigrationLevels;
use sandbox::Sandbox;

/// How to serve and how long to wait.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The server's program, `chroma`. Of the version that wrote the directory: a newer one migrates the copy, an older one refuses it.
    pub program: PathBuf,
    /// An empty directory with room for a copy.
    pub scratch: PathBuf,
    /// How long the server may take until it answers.
    pub start: Duration,
    /// How long it may take over one request; the first one of a collection loads its index.
    pub patience: Duration,
    /// How many records of each collection are looked for by their own vectors.
    pub samples: u64,
}

impl ServeOptions {
    /// With the waits and the number of samples that fit most directories.
    #[must_use]
    pub fn new(program: PathBuf, scratch: PathBuf) -> Self {
        Self {
            program,
            scratch,
            start: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            samples: 20,
        }
    }
}

/// How a server served a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// What is wrong.
    #[serde(flatten)]
    pub findings: Findings,
    /// What the files hold, which is what the server has to answer.
    pub collections: Vec<CollectionFingerprint>,
    /// Records that the server returned.
    pub records: u64,
    /// Records that were looked for by their own vectors; those of collections by inner product are not, since the nearest there
    /// need not be the record itself.
    pub sought: u64,
    /// How many of them were found.
    pub found: u64,
    /// The server changed the schema of its copy: it is newer than the one that wrote the directory.
    pub migrated: bool,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// Why it was not tried at all. What a server does with the data is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The program can't be run.
    #[error("{} can't be started. Give the chroma program of the version that wrote the directory", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No copy could be made.
    #[error("{} can't be copied to be served", path.display())]
    Copy {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files can't be read, so there is nothing to hold a server against. The offline check says what is wrong.
    #[error("the collections can't be read from the files")]
    Files(#[from] OfflineError),
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Serves a copy of `dir` and holds every answer against the files. Memory: a page of records, and about 40 bytes a record of the
/// largest collection.
///
/// # Errors
/// When it could not be tried.
pub async fn serve(dir: &Path, key: &Key, options: &ServeOptions) -> Result<Served, ServeError> {
    let begun = Instant::now();
    let copy = options.scratch.join("served");
    let (from, to, scratch, of) = (dir.to_owned(), copy.clone(), options.scratch.clone(), key.clone());
    let prepared = tokio::task::spawn_blocking(move || prepare(&from, &to, &scratch, &of)).await;
    let (catalogued, collections, levels) =
        prepared.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let mut served = Served {
        findings: Findings::default(),
        collections,
        records: 0,
        sought: 0,
        found: 0,
        migrated: false,
        took_ms: 0,
    };
    match start(&copy, levels, options).await? {
        Ok(sandbox) => {
            let client = Client::new(sandbox.url(), Auth::None, options.patience)?;
            examine(&client, &catalogued, key, options.samples, &mut served).await;
            served.findings.findings.iter_mut().for_each(|finding| sandbox.last_words(finding));
            sandbox.end().await;
        }
        Err(what) => served.findings.add(Finding::new(Problem::NotServing, DATABASE, what)),
    }
    served.migrated = levels.is_some() && levels_of(&copy) != levels;
    served.took_ms = begun.elapsed().as_millis() as u64;
    Ok(served)
}

/// A server that has migrated its copy is started anew: 1.x that has just migrated files of 0.4 dies of its first questions one time in ten,
/// of statements from before, and not of the files.
async fn start(
    copy: &Path,
    levels: Option<MigrationLevels>,
    options: &ServeOptions,
) -> Result<Result<Sandbox, String>, ServeError> {
    match Sandbox::start(copy, options).await? {
        Ok(sandbox) if levels.is_some() && levels_of(copy) != levels => {
            sandbox.end().await;
            Sandbox::start(copy, options).await
        }
        started => Ok(started),
    }
}

type Prepared = (Vec<CollectionEntry>, Vec<CollectionFingerprint>, Option<MigrationLevels>);

fn prepare(dir: &Path, copy: &Path, scratch: &Path, key: &Key) -> Result<Prepared, ServeError> {
    let database = Database::open(dir, Some(scratch)).map_err(OfflineError::from)?;
    let catalogued = catalog(database.connection()).map_err(OfflineError::from)?;
    let levels = MigrationLevels::read(database.connection()).ok();
    let collections = of_database(dir, &database, &catalogued, key)?;
    copy_all(dir, copy)?;
    Ok((catalogued, collections, levels))
}

fn levels_of(dir: &Path) -> Option<MigrationLevels> {
    let database = Database::open(dir, None).ok()?;
    MigrationLevels::read(database.connection()).ok()
}

/// Files and directories; a server needs nothing else.
fn copy_all(from: &Path, to: &Path) -> Result<(), ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::Copy { path, source }
    };
    fs::create_dir(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed(from))?);
        if kind.is_dir() {
            copy_all(&path, &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            fs::copy(&path, to.join(entry.file_name())).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Asks for everything, and ends at the first thing after which the server answers nothing any more.
async fn examine(
    client: &Client,
    catalogued: &[CollectionEntry],
    key: &Key,
    samples: u64,
    served: &mut Served,
) {
    let scopes: BTreeSet<Scope> = catalogued.iter().map(|c| Scope::new(&c.tenant, &c.database)).collect();
    let scopes: Vec<Scope> = scopes.into_iter().collect();
    let listed: Vec<Collection> = match client.collections(&scopes).await {
        Ok(listed) => listed,
        Err(error) => return served.findings.add(collection::unanswered(&error)),
    };
    for entry in catalogued {
        let name = entry.full_name();
        let expected = served.collections.iter().find(|c| c.full_name() == name).cloned();
        let Some(listed) = listed.iter().find(|listed| listed.full_name() == name) else {
            let missing = Finding::new(Problem::ContentDiffers, DATABASE, "the server does not list it");
            served.findings.add(missing.of(entry));
            continue;
        };
        let examined = collection::examine(client, entry, listed, expected.as_ref(), key, samples).await;
        served.records += examined.records;
        served.sought += examined.sought;
        served.found += examined.found;
        examined.findings.into_iter().for_each(|finding| served.findings.add(finding));
        if examined.failed && client.heartbeat().await.is_err() {
            let dead = "the server answers nothing any more: what follows was not asked for";
            return served.findings.add(Finding::new(Problem::NotServing, DATABASE, dead).of(entry));
        }
    }
}
