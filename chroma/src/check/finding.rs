//! What can be wrong, where, and what to do about it.

use serde::{Deserialize, Serialize};

use crate::db::CollectionEntry;

/// The kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Problem {
    /// No database.
    DatabaseMissing,
    /// SQLite cannot read the database.
    DatabaseUnreadable,
    /// A crash left a journal and nothing may be rolled back here.
    JournalLeft,
    /// SQLite's integrity check found something.
    IntegrityCheck,
    /// The index of the documents contradicts the documents.
    FullTextIndex,
    /// The segment's directory or one of its files is missing.
    SegmentFileMissing,
    /// The header's numbers are impossible or contradict the collection.
    Header,
    /// A file is longer or shorter than the header says.
    FileLength,
    /// A link count or a link is out of range.
    Link,
    /// The upper layers' file cannot be walked to its end.
    LinkLists,
    /// The pickle cannot be read.
    Pickle,
    /// The labels of the elements and of the pickle differ.
    Labels,
    /// The ids of the metadata and of the vectors differ, with the log replayed on both sides.
    IdsDiffer,
    /// A server ends, hangs or answers with an error over it.
    NotServing,
    /// The content is not what was expected.
    ContentDiffers,
    /// Records are not found by their own vectors.
    QueryMisses,
}

impl Problem {
    /// What somebody should do.
    pub fn remedy(self) -> &'static str {
        match self {
            Problem::DatabaseMissing => {
                "Do not start a server here: it would start empty. Check the data path, or restore a point"
            }
            Problem::DatabaseUnreadable | Problem::IntegrityCheck => {
                "Restore the newest point that is healthy"
            }
            Problem::JournalLeft => {
                "Check again with a scratch directory, or let a server of the same version roll it back"
            }
            Problem::FullTextIndex => {
                "Document filters may be wrong; rebuild the index with `chroma vacuum`, or restore a healthy point"
            }
            Problem::SegmentFileMissing
            | Problem::Header
            | Problem::FileLength
            | Problem::Link
            | Problem::LinkLists
            | Problem::Pickle
            | Problem::Labels => {
                "The vectors of this collection cannot be rebuilt from the database: restore the newest healthy point"
            }
            Problem::IdsDiffer => {
                "Records would be lost or answered with an error: restore the newest healthy point"
            }
            Problem::NotServing => {
                "No server opens this: restore the newest healthy point. Where the offline check passed, try the server's own version first"
            }
            Problem::ContentDiffers => {
                "Hold the restored point against the repository (holdfast verify --level full), or restore an older one"
            }
            Problem::QueryMisses => {
                "The index leads past these records: restore the newest healthy point, or add the records anew"
            }
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The kind.
    pub problem: Problem,
    /// The file, relative to the data directory.
    pub file: String,
    /// `tenant/database/name` of the collection it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The number of the record in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The id of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    pub(crate) fn new(problem: Problem, file: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding {
            problem,
            file: file.into(),
            collection: None,
            record: None,
            id: None,
            what: what.into(),
            remedy: problem.remedy().to_owned(),
        }
    }

    pub(super) fn record(self, record: u64) -> Finding {
        Finding { record: Some(record), ..self }
    }

    pub(super) fn id(self, id: String) -> Finding {
        Finding { id: Some(id), ..self }
    }

    pub(crate) fn of(self, collection: &CollectionEntry) -> Finding {
        Finding { collection: Some(collection.full_name()), ..self }
    }
}

/// How many findings are kept. More add nothing to the decision.
const MOST: usize = 100;

/// Findings, bounded: the first hundred and how many more there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The first ones.
    pub findings: Vec<Finding>,
    /// How many were left out.
    #[serde(default)]
    pub more: u64,
}

impl Findings {
    /// Keeps a finding, or counts it.
    pub fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST { self.findings.push(finding) } else { self.more += 1 }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }
}
