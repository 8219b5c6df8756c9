//! What a point says about its content: the part of the commit record that is ours. It is versioned, holds everything that a
//! restored system is held against, and the policy itself, so that a point can be used when no policy and no cluster is left.

use std::path::Path;

use chroma::check::{CheckReport, Finding};
use chroma::fingerprint::CollectionFingerprint;
use chroma::guard;
use chroma::versions::MigrationLevels;
use crds::job::{FailureReason, Torn, UnreadableRange};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// The version that this program writes, and the newest it reads. In the first, the root of the only volume was that of the point.
const VERSION: u32 = 2;
/// Where the volumes of a component lie in a point, each in a directory of its claim's name.
pub const VOLUMES: &str = "volumes";

/// The body of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// Version of this structure. Fields may be added within one version.
    pub version: u32,
    /// Version of the program that wrote it.
    pub holdfast: String,
    /// The policy on whose behalf it was captured; absent for captures by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Claims whose volumes lie below [`VOLUMES`]. Empty for a directory that was captured as such: the point's root is it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Number of objects of the cluster.
    #[serde(default)]
    pub objects: u64,
    /// Objects that belong to the component and that there were not, such as `Secret env`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects_missing: Vec<String>,
    /// What the ChromaDB held; absent when the source was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroma: Option<ChromaFacts>,
    /// How the volumes of an application were copied; absent when the source was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationFacts>,
    /// What could not be read, where it is an emergency capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<EmergencyFacts>,
}

/// How an emergency capture was read, and what could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyFacts {
    /// When the first file was read: the consistency time.
    pub read_from: Timestamp,
    /// When the last one was.
    pub read_until: Timestamp,
    /// Nothing was to write meanwhile: the workloads were stopped.
    pub stopped: bool,
    /// Files that changed while they were read, as `claim/path`.
    pub unstable: Vec<String>,
    /// Ranges of bytes that could not be read and are zeros, the first of them.
    pub unreadable: Vec<UnreadableRange>,
    /// Number of all such ranges.
    pub unreadable_count: u64,
    /// Number of all such bytes.
    pub unreadable_bytes: u64,
    /// Files, directories and objects that are not there, the first of them.
    pub missed: Vec<FileFinding>,
    /// Number of all of those.
    pub missed_count: u64,
    /// Number of files below `evidence`.
    pub evidence: u64,
}

impl EmergencyFacts {
    /// Whether its files may be of several instants.
    pub fn torn(&self) -> Torn {
        match (self.unstable.is_empty(), self.stopped) {
            (false, _) => Torn::Yes,
            (true, true) => Torn::No,
            (true, false) => Torn::Unknown,
        }
    }
}

/// The policy as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its spec.
    pub spec: serde_json::Value,
}

/// How the volumes of an application were copied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationFacts {
    /// When the first file was read: the consistency time.
    pub cut_at: Timestamp,
    /// SQLite databases, each of one instant.
    pub databases: Vec<DatabaseFacts>,
    /// Files that changed whenever they were read, as `claim/path`.
    pub unstable: Vec<String>,
    /// Files and directories whose owner the copy has not.
    pub owners_left: u64,
    /// What is wrong with databases.
    pub findings: Vec<FileFinding>,
}

/// A captured SQLite database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseFacts {
    /// As `claim/path`.
    pub file: String,
    /// How long its writers were held, in milliseconds.
    pub held_ms: u64,
    /// Its writer had crashed: the journal lies beside it and is rolled back by whoever opens it.
    pub crashed: bool,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFinding {
    /// As `claim/path`.
    pub file: String,
    /// What.
    pub what: String,
}

/// What a captured ChromaDB was, and how it was captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChromaFacts {
    /// Image of the server, as its pod named it; empty where no pod was asked.
    pub image: String,
    /// Where the data lies below the root of the point.
    pub data_path: String,
    /// Migration levels.
    pub levels: Option<MigrationLevels>,
    /// Every collection, with its digest.
    pub collections: Vec<CollectionFingerprint>,
    /// Why the collections could not be read, where they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// What the offline check of the captured bytes found.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub more_findings: u64,
    /// Whether SQLite's own integrity check was part of it.
    pub integrity_checked: bool,
    /// The consistency time of the last state of which it was part and found nothing, this one or an earlier one of the same pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity_checked_at: Option<Timestamp>,
    /// Log rows that a server replays at its first start.
    pub pending: u64,
    /// How the guard took it.
    pub guard: GuardFacts,
}

/// How the volume was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardFacts {
    /// The lock was held from here: the consistency time.
    pub locked_at: Timestamp,
    /// To here.
    pub released_at: Timestamp,
    /// The longest hold of all attempts, in milliseconds.
    pub longest_hold_ms: u64,
    /// Attempts, the successful one included.
    pub attempts: u32,
    /// Why those before were given up.
    pub torn_because: Vec<String>,
    /// Files that are not Chroma's and changed while they were read.
    pub unstable: Vec<String>,
    /// The filesystem of the source.
    pub filesystem: String,
}

impl Body {
    /// A body of the present version, which says nothing yet.
    pub fn new() -> Self {
        Self {
            version: VERSION,
            holdfast: env!("CARGO_PKG_VERSION").to_owned(),
            policy: None,
            volumes: Vec::new(),
            objects: 0,
            objects_missing: Vec::new(),
            chroma: None,
            application: None,
            emergency: None,
        }
    }

    /// Whether `latest` may choose it, and rules of retention may count it as good: it is no emergency capture, and nothing was found wrong.
    pub fn is_good(&self) -> bool {
        self.emergency.is_none() && self.is_whole() != Some(false)
    }

    /// Whether nothing was found wrong with what was captured; absent when nothing was looked at.
    pub fn is_whole(&self) -> Option<bool> {
        match (&self.chroma, &self.application) {
            (Some(chroma), _) => Some(chroma.is_whole()),
            (None, Some(application)) => Some(application.findings.is_empty()),
            (None, None) => None,
        }
    }

    /// The part of the point that is one volume: the one that is named, or the only one.
    pub fn volume(&self, point: &engine::Point, wanted: Option<&str>) -> Result<engine::Point> {
        let refused = |why: String| Failure::new(FailureReason::InvalidRequest, why);
        let names = || self.volumes.join(", ");
        let volume = match (wanted, self.volumes.as_slice()) {
            (None, []) => return Ok(point.clone()),
            (None, [only]) => only,
            (None, _) => {
                return Err(refused(format!(
                    "point {} has several volumes ({}); name one",
                    point.id,
                    names()
                )));
            }
            (Some(name), known) => known.iter().find(|known| *known == name).ok_or_else(|| {
                refused(format!("point {} has no volume {name}; it has: {}", point.id, names()))
            })?,
        };
        Ok(point.part(&Path::new(VOLUMES).join(volume)))
    }

    /// The parts of the point that become the volumes of `claims`. A single claim gets the only volume, whatever that was called.
    pub fn parts(&self, point: &engine::Point, claims: &[String]) -> Result<Vec<(String, engine::Point)>> {
        let only = claims.len() == 1 && self.volumes.len() < 2;
        let part = |claim: &String| {
            let wanted = (!only).then_some(claim.as_str());
            Ok((claim.clone(), self.volume(point, wanted)?))
        };
        claims.iter().map(part).collect()
    }

    /// Reads the body of a point. One of a newer version is refused, because what it says would be understood half.
    pub fn of(point: &engine::Point) -> Result<Self> {
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        let value = &point.attributes.body;
        let unreadable = |why: String| {
            Failure::new(
                FailureReason::PointUnreadable,
                format!("the record of point {} can't be read: {why}", point.id),
            )
        };
        let any = Any::deserialize(value).map_err(|e| unreadable(e.to_string()))?;
        if any.version > VERSION {
            return Err(Failure::new(
                FailureReason::FormatTooNew,
                format!(
                    "point {} was recorded in version {}, this program reads up to {VERSION}: use the newer one that wrote it",
                    point.id, any.version
                ),
            ));
        }
        Self::deserialize(value).map_err(|e| unreadable(e.to_string()))
    }

    /// The body as stored.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a body holds only strings, numbers and times")
    }
}

impl From<guard::Captured> for GuardFacts {
    fn from(guard: guard::Captured) -> Self {
        Self {
            locked_at: guard.locked_at,
            released_at: guard.released_at,
            longest_hold_ms: guard.longest_hold_ms,
            attempts: guard.attempts,
            torn_because: guard.torn_because,
            unstable: guard.unstable,
            filesystem: guard.filesystem,
        }
    }
}

impl ChromaFacts {
    /// Puts together what guard, check and fingerprints said.
    pub fn new(
        image: &str,
        data_path: &str,
        guard: GuardFacts,
        report: CheckReport,
        collections: std::result::Result<Vec<CollectionFingerprint>, String>,
    ) -> Self {
        let (collections, unreadable) = match collections {
            Ok(collections) => (collections, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        Self {
            image: image.to_owned(),
            data_path: data_path.to_owned(),
            levels: report.levels,
            collections,
            unreadable,
            more_findings: report.findings.more,
            findings: report.findings.findings,
            integrity_checked: report.integrity_checked,
            integrity_checked_at: None,
            pending: report.pending,
            guard,
        }
    }

    /// What a point says of its ChromaDB.
    pub fn of(point: &engine::Point) -> Result<Self> {
        Body::of(point)?.chroma.ok_or_else(|| {
            let why = format!("point {} was not captured from a ChromaDB", point.id);
            Failure::new(FailureReason::PointUnreadable, why)
        })
    }

    /// Whether nothing was found wrong with the captured bytes.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
            && self.more_findings == 0
            && self.unreadable.is_none()
            && self.collections.iter().all(|c| c.without_vector == 0)
    }

    /// Records in all collections.
    pub fn records(&self) -> u64 {
        self.collections.iter().map(|c| c.count).sum()
    }
}

/// Migration levels as shown, such as `2/6/10`.
pub fn levels_text(levels: Option<MigrationLevels>) -> String {
    levels.map_or_else(String::new, |l| format!("{}/{}/{}", l.embeddings_queue, l.metadb, l.sysdb))
}
