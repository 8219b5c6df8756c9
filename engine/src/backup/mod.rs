//! Captures a directory tree. The order is the proof: blocks, packs, index, an inspection of everything the point will
//! need as it lies in the store, the lock of all of that if one was asked for, and the commit record last, which is read back. A failure anywhere before leaves no point,
//! only blocks that the next attempt finds again. Nothing is ever overwritten and no lock is taken.

mod aside;
mod groups;
mod keep;
mod names;
mod patches;
mod previous;
mod scan;
mod units;
mod write;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::inspect::{Finding, inspect};
use crate::layout::Layout;
use crate::point::{Point, PointAttributes, PointId, Record, SKIPPED_NAMED};
use crate::progress::ProgressSink;
use crate::prune::{COMMIT_WITHIN, Condemned, secure};
use crate::read::Reader;
use crate::repository::Repository;
pub use aside::REPLACED;
use futures::future::BoxFuture;
use keep::{Proved, Ready, keep};
use names::Names;
use previous::Previous;
use scan::{Scan, Scanned};
use write::write_blocks;

/// Names the layout of a file: gets its path within the source and its path on disk, and may look into it.
pub type LayoutChooser = Arc<dyn Fn(&Path, &Path) -> Layout + Send + Sync>;

/// What to capture, and what to record with it.
pub struct Backup {
    /// The directory whose content is captured. It must not change meanwhile; a file that does is an error.
    pub source: PathBuf,
    /// How each file is cut.
    pub layout: LayoutChooser,
    /// What is recorded.
    pub attributes: PointAttributes,
    /// Who is told.
    pub progress: ProgressSink,
    /// A directory that stays from one capture of the component to the next, if there is one. In its file [`REPLACED`] the caller may
    /// lay what it wrote over in the source since the one before, in pieces of 4,096 bytes; what a capture had to fetch it keeps
    /// there itself. It saves work: nothing in there is trusted, and nothing is needed.
    pub aside: Option<PathBuf>,
}

/// Proof that a point was read back and that everything it needs was seen in the store. Only a capture makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    digest: String,
    packs: usize,
    blocks: u64,
    files: u64,
    bytes: u64,
}

impl Verified {
    /// The digest of the commit record as read back.
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// How many packs were seen, each with its recorded size.
    pub fn packs(&self) -> usize {
        self.packs
    }
    /// How many blocks of files were resolved.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }
    /// How many files were resolved.
    pub fn files(&self) -> u64 {
        self.files
    }
    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A capture that took effect.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The point.
    pub point: Point,
    /// What was checked after it was stored.
    pub verified: Verified,
    /// The same attempt had committed this point before; nothing new was stored.
    pub already_committed: bool,
}

/// Ends the scanning thread when the capture is dropped or fails.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Captures the source into a new point.
///
/// Guarantees: on success the commit record was read back and everything it needs was seen in the store, and if the store
/// was opened with a lock, all of it is kept for at least that long from the consistency time on; on failure no point
/// exists, with one exception: when the store failed during or after the commit, the point may exist, which
/// [`Repository::find_by_attempt`] tells. Memory: about 60 MiB, 40 more while pages that were rewritten are compressed,
/// and 100 bytes for each block in the repository.
/// A clock that is more than a minute behind the newest point of the component is refused.
/// Files that have pages or records are compared with the component's newest point; a version before that can't be read is
/// told in the log and captured whole.
/// A file of several names in the source is captured once; one whose other names lie outside is a file as any other.
/// Caveat: `lost+found` in the root, and in that of another file system within, is left out, and of extended attributes those that belong to the node or the file system.
pub fn backup(repo: &Repository, request: Backup) -> BoxFuture<'_, Result<Committed>> {
    Box::pin(async move { capture(repo, request).await.map_err(|e| keep::explained(repo, e)) })
}

async fn capture(repo: &Repository, request: Backup) -> Result<Committed> {
    let Backup { source, layout, attributes, progress, aside } = request;
    let id = match &attributes.attempt {
        Some(attempt) => PointId::of_attempt(repo.keys(), attempt),
        None => PointId::random(),
    };
    if attributes.attempt.is_some() {
        match repo.point(id).await {
            Ok(point) => return confirm(repo, point).await,
            Err(Error::PointNotFound { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    let newest = repo.newest_of(&attributes.component).await?;
    if let Some(newest) = &newest {
        refuse_clock_behind(newest, &attributes)?;
    }
    keep::can_lock(repo).await?;
    let condemned = Condemned::read(repo).await?.packs();
    let mut index = Index::load_avoiding(repo, &condemned).await?;
    index.keep_whole();
    let index = Arc::new(index);

    let stop = Arc::new(AtomicBool::new(false));
    let guard = StopOnDrop(Arc::clone(&stop));
    let (out, blocks) = tokio::sync::mpsc::channel(2);
    let reader = Reader { repo: repo.clone(), index: Arc::clone(&index) };
    let written_so_far = Arc::default();
    let scan = Scan {
        source,
        layout,
        previous: Previous::of(&reader, newest).await?,
        reader,
        aside: aside::open(aside.as_deref()),
        handle: tokio::runtime::Handle::current(),
        out,
        stop,
        progress,
        written: Arc::clone(&written_so_far),
        sent: HashSet::new(),
        names: Names::default(),
        lines: Vec::new(),
        entries: 0,
        scanned: Scanned::default(),
        told: 0,
    };
    let scanning = tokio::task::spawn_blocking(move || scan.run());
    let written = write_blocks(repo, blocks, &written_so_far).await;
    if written.is_err() {
        guard.0.store(true, Ordering::Relaxed);
    }
    let scanned = scanning.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    // A failed upload ends the scan too: the upload's failure is the one to tell.
    let written = written?;
    let scanned = scanned?;

    let mut totals = scanned.totals;
    totals.bytes_stored = written.bytes;
    let mut skipped = scanned.skipped;
    skipped.truncate(SKIPPED_NAMED);
    let record = Record { attributes, totals, skipped, tree: scanned.tree };

    // What is about to be committed, seen through what the store returns and not through what was sent.
    let mut index = Arc::into_inner(index).expect("the scan has ended and dropped its share");
    for (pack, placed) in &written.recorded {
        index.add(*pack, placed);
    }
    let mut reader = Reader { repo: repo.clone(), index: Arc::new(index) };
    let planned = point_of(id, String::new(), record.clone());
    // In this order: what a prune deletes stands in the lists of the condemned until it is gone.
    let ready = loop {
        let looked = Instant::now();
        reader = secure(reader, &planned).await?;
        let ready = keep(repo, prove(&reader, &planned).await?, &planned).await?;
        if looked.elapsed() < COMMIT_WITHIN {
            break ready;
        }
    };

    let body =
        serde_json::to_vec(&record).map_err(|e| Error::Input(format!("the point can't be written: {e}")))?;
    commit(repo, &ready, id, &body).await?;
    // Whoever committed this attempt, us or a twin that was faster: what lies there now is the point.
    let (_, back) = repo.read_object(Kind::Point, &id.object()).await?;
    let point = repo.point(id).await?;
    if back == body {
        // Should the commit have taken too long after all, and a prune have begun, this still is in time.
        let known = Arc::clone(&reader.index);
        let moved = secure(reader, &point).await?;
        if !Arc::ptr_eq(&known, &moved.index) {
            keep(repo, prove(&moved, &point).await?, &point).await?;
        }
        let point = keep::see_locked(repo, point).await?;
        let verified = Verified { digest: point.digest.clone(), ..ready.into_verified() };
        return Ok(Committed { point, verified, already_committed: false });
    }
    if record.attributes.attempt.is_none() || point.attributes.attempt != record.attributes.attempt {
        return Err(repo.damaged(&id.object(), "the store returned another commit record than was written"));
    }
    confirm(repo, point).await
}

/// Two machines may differ by so much, in seconds.
const CLOCKS_DIFFER: i64 = 60;

/// A point that is older than the newest by its own clock would never be the latest. What the newest says of its time counts
/// only as far as the store's clock confirms it.
fn refuse_clock_behind(newest: &Point, attributes: &PointAttributes) -> Result<()> {
    let said = newest.attributes.started;
    let begun = newest.stored_at.map_or(said, |stored| said.min(stored));
    if attributes.started.as_second().saturating_add(CLOCKS_DIFFER) >= begun.as_second() {
        return Ok(());
    }
    Err(Error::ClockBehind {
        component: attributes.component.clone(),
        now: attributes.started,
        newest: newest.id.to_string(),
        begun,
    })
}

/// Writes the commit record. There is no other way to, and none without having everything the point needs, kept.
async fn commit(repo: &Repository, _: &Ready, id: PointId, body: &[u8]) -> Result<()> {
    repo.write_object(Kind::Point, &id.object(), body).await.map(drop)
}

/// An earlier capture of the same attempt, held against the store again.
async fn confirm(repo: &Repository, point: Point) -> Result<Committed> {
    let index = Arc::new(Index::load(repo).await?);
    let proved = prove(&Reader { repo: repo.clone(), index }, &point).await?;
    let ready = keep(repo, proved, &point).await?;
    let point = keep::see_locked(repo, point).await?;
    let verified = Verified { digest: point.digest.clone(), ..ready.into_verified() };
    Ok(Committed { point, verified, already_committed: true })
}

/// Looks at everything the point needs, and sees to it that the index lists it.
async fn prove(reader: &Reader, point: &Point) -> Result<Proved> {
    let seen = inspect(reader, point).await?;
    if let Some(Finding { object, what }) = seen.findings.into_iter().next() {
        return Err(reader.repo.damaged(&object, what));
    }
    let (ids, packs): (Vec<_>, Vec<_>) = seen.packs.into_iter().unzip();
    reader.index.list_again(&reader.repo, &ids).await?;
    let verified = Verified {
        digest: String::new(),
        packs: packs.len(),
        blocks: seen.blocks,
        files: seen.files,
        bytes: seen.bytes,
    };
    Ok(Proved { verified, packs })
}

fn point_of(id: PointId, digest: String, record: Record) -> Point {
    let Record { attributes, totals, skipped, tree } = record;
    Point { id, digest, stored_at: None, locked_until: None, attributes, totals, skipped, tree, part: None }
}
