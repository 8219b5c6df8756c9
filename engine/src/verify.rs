//! Holds what lies in the store against what the points say, at three depths. It names the object with each finding, goes
//! on after one, and changes nothing. Only a store that fails ends it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use serde::{Deserialize, Serialize};

use crate::ahead::ahead;
use crate::block::BlockId;
use crate::content::Piece;
use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::index::{Index, KnownPack, Place};
use crate::inspect::{Finding, finding, inspect};
use crate::names;
use crate::older::tampered;
use crate::pack::{BadPack, Placed, read_footer};
use crate::point::Point;
use crate::progress::{Progress, ProgressSink};
use crate::read::{Reader, Wanted};
use crate::repository::{Repository, blocking};
use crate::seal::random;
use crate::tree::{Content, Entry, Node};

const READS_AT_ONCE: usize = 4;
/// A sample reads one block in this many, and at least the first of each file.
const SAMPLE_ONE_IN: u8 = 32;

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
        work.forget_meddling_elsewhere(point);
        Ok(work.end())
    })
}

/// Verifies every point, the key slots, marks, leases and lists of condemned packs, and at level full every block that any index lists, used or not.
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
        for (prefix, kind) in
            [(names::MARKS, Kind::Mark), (names::LEASE, Kind::Lease), (names::CONDEMNED, Kind::Condemned)]
        {
            work.small_objects(prefix, kind).await?;
        }
        for point in &catalogue.points {
            work.point(point).await?;
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
                || object.starts_with(names::MARKS);
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

    /// Reads a file's blocks; fails with the first thing that is wrong.
    async fn file(&mut self, point: &Point, entry: &Entry) -> Result<()> {
        let Node::File { hash, content, size, .. } = &entry.node else { return Ok(()) };
        let whole = self.level == Level::Full;
        let identity = *blake3::hash(&serde_json::to_vec(&(hash, content)).unwrap_or_default()).as_bytes();
        if whole && self.sound.contains(&identity) {
            self.tell(*size);
            return Ok(());
        }
        let file = entry.path.to_string_lossy().into_owned();
        if !whole {
            return self.sample(point, content, *size, &file).await;
        }
        let mut hasher = blake3::Hasher::new();
        let mut sound = true;
        let mut pieces = self.reader.pieces(content, *size, &file);
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
                    self.report.bytes_checked += read;
                    self.tell(read);
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

    /// Reads the first block of a file, or the first segment of one of records, and others by chance.
    async fn sample(&mut self, point: &Point, content: &Content, size: u64, file: &str) -> Result<()> {
        let chance = || random::<1>()[0].is_multiple_of(SAMPLE_ONE_IN);
        let wanted = match content {
            Content::Units(units) => {
                let segmented = self.reader.segmented(units, size, file).await?;
                let mut wanted = Vec::new();
                for number in (0..segmented.maps.len()).filter(|n| *n == 0 || chance()) {
                    for state in self.reader.states(&segmented, number..number + 1, file).await? {
                        let section = segmented.geometry.section(size, number as u64);
                        wanted.extend(self.reader.locate_units(&section, &state, file)?);
                    }
                }
                wanted
            }
            Content::Blocks(_) | Content::Map(_) => {
                let (mut at, mut wanted) = (0, Vec::new());
                for segment in Reader::segments(content) {
                    let extents = self.reader.extents(&segment, file).await?;
                    let located = self.reader.locate(&extents, at, file)?;
                    at += extents.iter().map(|e| u64::from(e.raw)).sum::<u64>();
                    wanted.extend(located.into_iter().filter(|part| part.at == 0 || chance()));
                }
                wanted
            }
        };
        let (reader, needed_by) = (self.reader.clone(), file.to_owned());
        let mut runs = ahead(Reader::runs(wanted), READS_AT_ONCE, move |run| {
            let (reader, file) = (reader.clone(), needed_by.clone());
            async move {
                let read: u64 = run.parts.iter().map(|part| u64::from(part.place.raw)).sum();
                reader.prove(&run, &file).await.map(|()| read)
            }
            .boxed()
        });
        while let Some(proved) = runs.next().await {
            match proved {
                Ok(read) => {
                    self.report.bytes_checked += read;
                    self.tell(read);
                }
                Err(e) => {
                    let finding = finding(e, point)?;
                    self.found(finding);
                }
            }
        }
        Ok(())
    }

    /// Every pack's frame, and the blocks in it that no point led to.
    async fn all_packs(&mut self) -> Result<()> {
        let reader = self.reader.clone();
        let repo = &reader.repo;
        let mut rest: Vec<Wanted> = Vec::new();
        for pack in reader.index.packs() {
            let object = pack.id.object();
            let size = match repo.store().head(&object).await {
                Ok(found) => found.size,
                Err(e) if e.is_not_found() => {
                    self.found(Finding { object, what: "it is missing (the index lists it)".to_owned() });
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let what = match read_footer(repo.store(), repo.keys(), pack.id, size).await {
                Ok(Ok(placed)) if size == u64::from(pack.size) => {
                    rest.extend(
                        placed.into_iter().filter_map(|block| unread_copy(&reader.index, *pack, block)),
                    );
                    continue;
                }
                Ok(Ok(_)) => format!("it has {size} bytes instead of {}", pack.size),
                Ok(Err(BadPack::Damaged(what))) => what.to_owned(),
                Ok(Err(BadPack::Newer(found))) => return Err(repo.newer(&object, found)),
                Err(e) if e.category == crate::Category::Corrupt => e.detail,
                Err(e) => return Err(e.into()),
            };
            self.found(Finding { object, what });
        }
        for (id, place) in reader.index.blocks().filter(|(id, _)| !self.checked.contains(id)) {
            rest.push(Wanted { id, at: 0, place });
        }
        rest.sort_by_key(|part| (part.place.pack.id, part.place.offset));
        let from = reader.clone();
        let mut proved = ahead(Reader::runs(rest), READS_AT_ONCE, move |run| {
            let reader = from.clone();
            async move { reader.prove(&run, "an index").await }.boxed()
        });
        while let Some(answer) = proved.next().await {
            match answer {
                Ok(()) => {}
                Err(Error::Damaged { object, what, .. }) => {
                    self.findings.insert(Finding { object, what });
                }
                Err(Error::Missing { what: object, .. }) => {
                    let what = "it is missing (the index lists it)".into();
                    self.findings.insert(Finding { object, what });
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Slots that can't be read. One that belongs to a lost race of creation looks the same, so it says so.
    async fn key_slots(&mut self) -> Result<()> {
        let repo = self.reader.repo.clone();
        for object in repo.store().list(names::KEYS).await? {
            let bytes = repo.store().get(&object.name, None).await?;
            if crate::keys::read_facts(repo.keys(), &object.name, &bytes).is_none() {
                let what = "this key slot is damaged or belongs to no key of this repository".to_owned();
                self.found(Finding { object: object.name, what });
            }
        }
        Ok(())
    }

    /// What no point needs, and what captures and maintenance go by all the same.
    async fn small_objects(&mut self, prefix: &str, kind: Kind) -> Result<()> {
        let repo = self.reader.repo.clone();
        for object in repo.store().list(prefix).await? {
            match repo.read_object(kind, &object.name).await {
                Ok(_) => {}
                Err(Error::Damaged { object, what, .. }) => self.found(Finding { object, what }),
                // Leases and lists go while others are at work.
                Err(Error::Store(e)) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn tell(&mut self, bytes: u64) {
        self.told.bytes = self.told.bytes.saturating_add(bytes);
        self.told.files = self.report.files;
        (self.progress)(self.told);
    }
}

/// A block that readers take from another pack, so that nothing else would look at this copy of it.
fn unread_copy(index: &Index, pack: KnownPack, block: Placed) -> Option<Wanted> {
    let Placed { id, class, offset, stored, raw } = block;
    let elsewhere = index.find(&id).is_none_or(|place| place.pack.id != pack.id);
    elsewhere.then_some(Wanted { id, at: 0, place: Place { pack, class, offset, stored, raw } })
}
