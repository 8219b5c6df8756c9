//! Holds what lies in the store against what the points say, at three depths. It names the object with each finding, goes
//! on after one, and changes nothing. Only a store that fails ends it.

mod objects;
mod packs;
mod sample;
mod versions;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::block::BlockId;
use crate::content::Piece;
use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::inspect::{Finding, finding, inspect};
use crate::names;
use crate::older::tampered;
use crate::point::Point;
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::repository::{Repository, blocking};
use crate::tree::{Content, Entry, Node};
use versions::Version;

const READS_AT_ONCE: usize = 4;
/// Points whose files of records are read together. More of them share more, and take more memory.
const POINTS_AT_ONCE: usize = 16;

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Commit records, trees and maps are read, each block is looked up, each pack is seen with its size.
    Manifest,
    /// And some blocks of each file are read and checked: the first (of pages and records: the first segment's), and one in
    /// 32 by chance.
    Sample,
    /// And every byte is read: each block's authentication and name, each file's hash, each pack's footer.
    Full,
}

/// What a verification saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Points looked at.
    pub points: u64,
    /// Files of those points.
    pub files: u64,
    /// Bytes of files read and checked; what points share is read once.
    pub bytes_checked: u64,
    /// What is wrong, sorted, each once.
    pub findings: Vec<Finding>,
    /// What somebody wrote over, marked as deleted, or took out of the index, and that can be read all the same.
    pub tampered: Vec<Finding>,
}

impl VerifyReport {
    /// Nothing is wrong, and nobody meddled.
    pub fn passed(&self) -> bool {
        self.findings.is_empty() && self.tampered.is_empty()
    }
}

/// Verifies one point.
pub fn verify<'a>(
    repo: &'a Repository,
    point: &'a Point,
    level: Level,
    progress: ProgressSink,
) -> BoxFuture<'a, Result<VerifyReport>> {
    Box::pin(async move {
        let mut work = Verification::begin(repo, level, progress, point.totals.bytes).await?;
        work.point(point).await?;
        work.files_of_records().await?;
        work.forget_meddling_elsewhere(point);
        Ok(work.end())
    })
}

/// Verifies every point, the key slots, marks, documents, leases and lists of condemned packs, and at level full every block that any index lists, used or not.
pub fn verify_all(
    repo: &Repository,
    level: Level,
    progress: ProgressSink,
) -> BoxFuture<'_, Result<VerifyReport>> {
    Box::pin(async move {
        let catalogue = repo.points().await?;
        let total = catalogue.points.iter().fold(0u64, |sum, p| sum.saturating_add(p.totals.bytes));
        let mut work = Verification::begin(repo, level, progress, total).await?;
        for (object, what) in catalogue.unreadable {
            work.found(Finding { object, what });
        }
        work.key_slots().await?;
        for (prefix, kind) in [
            (names::MARKS, Kind::Mark),
            (names::DOCUMENTS, Kind::Document),
            (names::LEASE, Kind::Lease),
            (names::CONDEMNED, Kind::Condemned),
        ] {
            work.small_objects(prefix, kind).await?;
        }
        for points in catalogue.points.chunks(POINTS_AT_ONCE) {
            for point in points {
                work.point(point).await?;
            }
            work.files_of_records().await?;
        }
        if level == Level::Full {
            work.all_packs().await?;
        }
        Ok(work.end())
    })
}

struct Verification {
    reader: Reader,
    level: Level,
    progress: ProgressSink,
    told: Progress,
    /// Hash and blocks of files that were found sound already.
    sound: HashSet<[u8; 32]>,
    checked: HashSet<BlockId>,
    /// Files of records that are still to be read, versions of one path together.
    waiting: BTreeMap<PathBuf, Vec<Version>>,
    findings: BTreeSet<Finding>,
    tampered: BTreeSet<Finding>,
    /// Packs that the points need.
    packs: HashSet<String>,
    report: VerifyReport,
}

impl Verification {
    async fn begin(repo: &Repository, level: Level, progress: ProgressSink, total: u64) -> Result<Self> {
        let index = Index::load(repo).await?;
        let findings =
            index.damaged.iter().map(|(object, what)| Finding { object: object.clone(), what: what.clone() });
        let findings = findings.collect();
        let tampered = tampered(repo).await?.into_iter().collect();
        Ok(Self {
            reader: Reader { repo: repo.clone(), index: Arc::new(index) },
            level,
            progress,
            told: Progress { bytes_total: Some(total), ..Progress::default() },
            sound: HashSet::new(),
            checked: HashSet::new(),
            waiting: BTreeMap::new(),
            findings,
            tampered,
            packs: HashSet::new(),
            report: VerifyReport::default(),
        })
    }

    fn found(&mut self, finding: Finding) {
        self.findings.insert(finding);
    }

    fn end(mut self) -> VerifyReport {
        self.report.findings = self.findings.into_iter().collect();
        self.report.tampered = self.tampered.into_iter().collect();
        self.report
    }

    /// Leaves only what concerns this point: other packs and points may be anything.
    fn forget_meddling_elsewhere(&mut self, point: &Point) {
        let Self { tampered, packs, .. } = self;
        tampered.retain(|Finding { object, .. }| {
            let elsewhere = object.starts_with(names::PACKS) && !packs.contains(object)
                || object.starts_with(names::POINTS) && *object != point.id.object()
                || object.starts_with(names::MARKS)
                || object.starts_with(names::DOCUMENTS);
            !elsewhere
        });
    }

    async fn point(&mut self, point: &Point) -> Result<()> {
        self.report.points += 1;
        let seen = inspect(&self.reader, point).await?;
        self.report.files += seen.files;
        let damaged = !seen.findings.is_empty();
        for (id, object) in seen.packs {
            if self.reader.index.is_unlisted(&id) {
                let what = "no piece of the index lists it any more; it was read from the pack itself. The next capture or prune lists it again";
                self.tampered.insert(Finding { object: object.name.clone(), what: what.to_owned() });
            }
            self.packs.insert(object.name);
        }
        self.findings.extend(seen.findings);
        if self.level == Level::Manifest {
            return Ok(());
        }
        for segment in &point.tree {
            let entries = match self.reader.entries(point, segment).await {
                Ok(entries) => entries,
                // The inspection has named it.
                Err(e) if damaged => {
                    finding(e, point)?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            for entry in &entries {
                if let Err(e) = self.file(point, entry).await {
                    let finding = finding(e, point)?;
                    self.found(finding);
                }
            }
        }
        Ok(())
    }

    /// Reads a file's blocks, or leaves it for later; fails with the first thing that is wrong.
    async fn file(&mut self, point: &Point, entry: &Entry) -> Result<()> {
        let Node::File { hash, content, size, .. } = &entry.node else { return Ok(()) };
        let file = entry.path.to_string_lossy().into_owned();
        if self.level != Level::Full {
            return self.sample(point, content, *size, &file).await;
        }
        let identity = *blake3::hash(&serde_json::to_vec(&(hash, content)).unwrap_or_default()).as_bytes();
        if self.sound.contains(&identity) {
            self.tell(*size);
            return Ok(());
        }
        if let Content::Units(units) = content {
            let version = Version::new(point, hash, identity, *size, units);
            self.waiting.entry((&entry.path).into()).or_default().push(version);
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        let mut sound = true;
        let mut pieces = self.reader.pieces(content, &file);
        while let Some(piece) = pieces.next().await {
            // One bad block must not hide another object's: the rest of the file is read all the same.
            match piece {
                Ok(Piece { bytes, blocks, .. }) => {
                    self.checked.extend(blocks);
                    let read = bytes.len() as u64;
                    hasher = blocking(move || {
                        hasher.update(&bytes);
                        hasher
                    })
                    .await;
                    self.read(read);
                }
                Err(e) => {
                    let finding = finding(e, point)?;
                    self.found(finding);
                    sound = false;
                }
            }
        }
        if sound {
            if hasher.finalize().to_hex().as_str() != hash {
                return Err(Error::HashMismatch { path: (&entry.path).into(), point: point.id.to_string() });
            }
            self.sound.insert(identity);
        }
        Ok(())
    }

    fn read(&mut self, bytes: u64) {
        self.report.bytes_checked += bytes;
        self.tell(bytes);
    }

    fn tell(&mut self, bytes: u64) {
        self.told.bytes = self.told.bytes.saturating_add(bytes);
        self.told.files = self.report.files;
        (self.progress)(self.told);
    }
}
