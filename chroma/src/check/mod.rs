//! Whether a copy of a data directory is whole, told offline and without changing a byte of it: the database, both sides of
//! the log replayed, and each segment's files. It sees torn and damaged structure, not a vector whose bits were changed:
//! that is what fingerprints are for. Never point it at a directory that a server has open.

mod database;
mod finding;
mod invariant;
mod repair;
mod segment;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

pub use database::complaints_of;
pub use finding::{Finding, Findings, Problem};
pub use repair::{RepairError, rebuild_indices};

use crate::{
    db::{CollectionEntry, Database, OpenFault, catalog},
    files,
    versions::MigrationLevels,
};

/// How thoroughly to look.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Leaves out SQLite's own integrity check, which reads the database several times (10 s for 600 MB).
    pub skip_integrity_check: bool,
    /// Where a copy of the database may be rolled back when a crash left a journal. Without it such a directory is only reported.
    pub scratch: Option<PathBuf>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// What is wrong, in the order it was found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Whether SQLite's integrity check was part of it.
    pub integrity_checked: bool,
    /// The schema's levels, where the database could be read.
    pub levels: Option<MigrationLevels>,
    /// Collections looked at.
    pub collections: u32,
    /// Log rows that are not in the vector files yet: a server replays them.
    pub pending: u64,
    /// Segment directories that no collection names. Left by deleted collections, harmless.
    pub orphaned_segments: Vec<String>,
    /// Whether a journal was rolled back, in a copy, before looking.
    pub rolled_back: bool,
    /// Milliseconds it took.
    pub took_ms: u64,
}

impl CheckReport {
    /// Nothing was looked at.
    pub fn unchecked() -> Self {
        Self {
            findings: Findings::default(),
            integrity_checked: false,
            levels: None,
            collections: 0,
            pending: 0,
            orphaned_segments: Vec::new(),
            rolled_back: false,
            took_ms: 0,
        }
    }

    /// Nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Why no check could be made at all. A directory that is damaged is a report, not an error.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file or directory cannot be read, for a reason that is not the data's.
    #[error("cannot read {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The scratch directory cannot be used.
    #[error("cannot roll back a copy of the database")]
    Scratch(#[source] OpenFault),
}

impl CheckError {
    /// One word for metrics and condition reasons.
    pub fn category(&self) -> &'static str {
        match self {
            CheckError::Read { .. } => "Unreadable",
            CheckError::Scratch(_) => "ScratchUnusable",
        }
    }
}

/// Checks everything, SQLite's integrity check included.
pub fn check_dir(dir: &Path) -> Result<CheckReport, CheckError> {
    check_dir_with(dir, &CheckOptions::default())
}

/// Checks as thoroughly as asked. Memory: about 40 bytes a record of the largest collection.
pub fn check_dir_with(dir: &Path, options: &CheckOptions) -> Result<CheckReport, CheckError> {
    let begun = Instant::now();
    let segments = segment_dirs(dir)?;
    let mut report = CheckReport::unchecked();
    match Database::open(dir, options.scratch.as_deref()) {
        Ok(database) => check_with_database(dir, &database, options, segments, &mut report),
        Err(fault @ OpenFault::Scratch { .. }) => return Err(CheckError::Scratch(fault)),
        Err(fault) => report.findings.add(database::cannot_be_opened(&fault)),
    }
    report.took_ms = begun.elapsed().as_millis() as u64;
    Ok(report)
}

fn check_with_database(
    dir: &Path,
    database: &Database,
    options: &CheckOptions,
    mut segments: Vec<String>,
    report: &mut CheckReport,
) {
    report.rolled_back = database.was_rolled_back();
    let connection = database.connection();
    if !options.skip_integrity_check {
        report.integrity_checked = database::check_integrity(connection, &mut report.findings);
    }
    report.levels = MigrationLevels::read(connection).ok();
    let collections = match catalog(connection) {
        Ok(collections) => collections,
        Err(error) => return report.findings.add(database::cannot_be_read(&error)),
    };
    for collection in &collections {
        report.collections += 1;
        if let Some(segment) = &collection.vector_segment {
            segments.retain(|name| name != segment);
        }
        check_collection(dir, connection, collection, report);
    }
    report.orphaned_segments = segments;
}

fn check_collection(
    dir: &Path,
    connection: &rusqlite::Connection,
    collection: &CollectionEntry,
    report: &mut CheckReport,
) {
    let mut about = Vec::new();
    let segment_dir = collection.vector_segment.as_ref().map(|segment| dir.join(segment));
    let ids = segment_dir.as_deref().map(|dir| segment::check(dir, collection.dimension, &mut about));
    let ids = ids.flatten();
    match invariant::check(connection, collection, segment_dir.as_deref(), ids.as_ref(), &mut about) {
        Ok(pending) => report.pending += pending,
        Err(error) => about.push(database::cannot_be_read(&error)),
    }
    for finding in about {
        report.findings.add(finding.of(collection));
    }
}

/// Whether one segment's files fit one another. Reads no database; the fast check after a live capture.
pub fn segment_is_whole(segment: &Path) -> bool {
    let mut findings = Vec::new();
    segment::check(segment, None, &mut findings);
    findings.is_empty()
}

fn segment_dirs(dir: &Path) -> Result<Vec<String>, CheckError> {
    let fail = |source| CheckError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if files::is_segment_name(&name) && entry.path().is_dir() {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
