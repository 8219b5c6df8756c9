//! Removes points and what only they needed, in two phases: what no point needs is condemned, and deleted by a later run
//! when it has been condemned for long enough. Captures need no lock: right before it commits a capture looks at what is
//! condemned and moves out of it. So a sweep never takes what a point needs that was written meanwhile:
//!
//! - whatever a point needs lies in a pack that was not condemned when its capture looked, and the capture committed within
//!   [`COMMIT_WITHIN`] of that look;
//! - a pack is swept only after it was condemned for at least [`SHORTEST_WAIT`], and only if no point, listed after that
//!   time had passed, needs anything of it that no other pack holds.
//!
//! Ages are measured by the store's clock alone. Two prunes at once are kept apart by a lease, and do no harm where that
//! fails: a pack that is condemned is never the reason to condemn another.
//!
//! What is locked stays until its lock has ended: that is told with the date, and a later run takes it.

mod condemned;
mod copy;
mod plan;
mod removal;
mod sweep;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::Category;
use crate::block::BlockId;
use crate::error::{Error, Result};
use crate::index::{Index, pack_id};
use crate::inspect::Finding;
use crate::lease::Lease;
use crate::names::PACKS;
use crate::pack::PackId;
use crate::point::{Point, PointId};
use crate::progress::{Progress, ProgressSink};
use crate::read::Reader;
use crate::references::{Reference, references};
use crate::repository::Repository;
use crate::seal::random;
use crate::store::StoreError;
pub(crate) use condemned::Condemned;
pub(crate) use copy::secure;
use plan::{Fate, Rules, Seen};
use removal::{Removal, Removed};
use sweep::{Going, Swept};

/// A capture commits within this time of its last look at what is condemned, or looks again.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_secs(20 * 60);
/// The shortest time between the two phases: well above [`COMMIT_WITHIN`], and above the skew of a store's own clocks.
const SHORTEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// What to remove.
#[derive(Debug, Clone)]
pub struct Prune {
    /// Points that go, such as those that [`crate::Retention::decide`] gives no reason to keep. Unknown ones are ignored.
    pub remove: BTreeSet<PointId>,
    /// How long a pack has to be condemned before it is deleted, and how old it has to be to be condemned: at least an
    /// hour. Longer than any capture and any restore lasts.
    pub wait: SignedDuration,
    /// How much of a pack, in percent, may be waste before what is needed of it is copied elsewhere.
    pub waste: u8,
    /// Only say what would be done; nothing is written.
    pub dry_run: bool,
    /// The time, for a lease that was left behind and for a dry run. Whatever is deleted is judged by the store's clock.
    pub now: Timestamp,
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// Points that were removed.
    pub points_removed: u64,
    /// Points that are left.
    pub points_kept: u64,
    /// Packs that were deleted, and their bytes.
    pub packs_swept: u64,
    /// See `packs_swept`.
    pub bytes_swept: u64,
    /// Packs that nothing needs any more and that a later prune deletes, and their bytes.
    pub packs_condemned: u64,
    /// See `packs_condemned`.
    pub bytes_condemned: u64,
    /// Of these, packs whose needed blocks were copied first, and how many bytes were written for that (0 in a dry run).
    pub packs_repacked: u64,
    /// See `packs_repacked`.
    pub bytes_repacked: u64,
    /// Packs that were condemned before and have to wait.
    pub packs_waiting: u64,
    /// See `packs_waiting`.
    pub bytes_waiting: u64,
    /// Packs that nothing needs and that are too young to be judged: a capture may be under way.
    pub packs_young: u64,
    /// Packs that were condemned and that are needed after all.
    pub packs_spared: u64,
    /// Objects that the index consists of.
    pub index_pieces: u64,
    /// Points that were to go and are locked.
    pub points_locked: u64,
    /// Packs that nothing needs any more and that are locked, and their bytes.
    pub packs_locked: u64,
    /// See `packs_locked`.
    pub bytes_locked: u64,
    /// Other objects that are locked, by a default of the bucket: pieces of the index, lists. Nobody asked for that.
    pub others_locked: u64,
    /// When the first of these locks ends: a prune after that takes more.
    pub locked_until: Option<Timestamp>,
    /// Objects that the store did not let go, such as those under a legal hold. They stay, and the next prune tries again.
    pub held: Vec<String>,
}

/// Removes points, then what nothing needs any more.
///
/// Guarantees: no point but those named is touched, and each of the others can be restored at every moment, whenever
/// this is killed; the next run finishes. The last point of a component isn't removed. Errors: before anything is deleted
/// it fails when a point that stays can't be read whole, when the store doesn't let delete, and when another prune is at
/// work. Memory: 100 bytes for each block of the repository, and two packs.
pub fn prune<'a>(
    repo: &'a Repository,
    request: &'a Prune,
    progress: ProgressSink,
) -> BoxFuture<'a, Result<PruneReport>> {
    Box::pin(async move {
        if request.wait < SHORTEST_WAIT {
            let why = format!(
                "what is pruned has to wait for at least an hour ({:#} was asked for): captures that are under way rely on it",
                request.wait
            );
            return Err(Error::Input(why));
        }
        refuse_to_empty(&repo.points().await?.points, &request.remove)?;
        if request.dry_run {
            let removal = Removal::begin(repo, request.now).await?;
            let mut work = Work {
                repo,
                request,
                progress,
                lease: None,
                now: request.now,
                removal,
                locked_points: HashSet::new(),
            };
            return work.run().await;
        }
        may_delete(repo).await?;
        let lease = Lease::take(repo, "a prune", request.now).await?;
        let Some(now) = lease.taken() else {
            lease.release().await?;
            let why = "the store doesn't say when an object was stored, so it can't be told how long one was condemned";
            return Err(Error::Input(format!("{}: {why}; nothing was removed", repo.place())));
        };
        let removal = Removal::begin(repo, now).await?;
        let mut work =
            Work { repo, request, progress, lease: Some(lease), now, removal, locked_points: HashSet::new() };
        let done = work.run().await;
        let released = match work.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        };
        // What went wrong in the work counts more than a lease that will end by itself.
        let report = done?;
        released?;
        Ok(report)
    })
}

/// Refuses to remove every point of a component.
fn refuse_to_empty(points: &[Point], remove: &BTreeSet<PointId>) -> Result<()> {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for point in points {
        *left.entry(&point.attributes.component).or_default() += usize::from(!remove.contains(&point.id));
    }
    match left.into_iter().find(|(_, left)| *left == 0) {
        Some((component, _)) => Err(Error::Input(format!(
            "this would remove the last point of {component}: nothing was removed; keep one, or delete the repository"
        ))),
        None => Ok(()),
    }
}

/// Tries whether objects can be deleted, because a prune that can't delete would only add. A bucket may lock by default
/// whatever is written: then that will go in time.
async fn may_delete(repo: &Repository) -> Result<()> {
    let name = format!("probe/{}", hex::encode(random::<16>()));
    repo.store().put_if_absent(&name, bytes::Bytes::from_static(b"may this be deleted?\n")).await?;
    match repo.store().delete(&name).await {
        Err(e) if e.category == Category::AccessDenied => {
            if repo.store().head(&name).await?.locked.is_some() {
                return Ok(());
            }
            let detail = format!("{}; nothing was pruned: it takes credentials that may delete", e.detail);
            Err(Error::Store(StoreError { detail, ..e }))
        }
        other => Ok(other?),
    }
}

struct Work<'a> {
    repo: &'a Repository,
    request: &'a Prune,
    progress: ProgressSink,
    /// Absent in a dry run.
    lease: Option<Lease>,
    /// By the store's clock, but in a dry run.
    now: Timestamp,
    removal: Removal<'a>,
    /// Points that were to go and stay.
    locked_points: HashSet<String>,
}

/// A pack with its verdict.
struct Judged {
    id: PackId,
    size: u64,
    fate: Fate,
}

impl Work<'_> {
    async fn run(&mut self) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        self.remove_points(&mut report).await?;
        // From here on what the store lists counts: a point that could not be removed is needed like any other. The order
        // of the three looks matters: what is condemned, then the points, then the index that knows their blocks.
        let condemned = Condemned::read(self.repo).await?;
        let points = self.points().await?;
        report.points_kept = points.len() as u64;
        let index = Index::load_avoiding(self.repo, &condemned.packs()).await?;
        report.index_pieces = index.pieces as u64;
        let reader = Reader { repo: self.repo.clone(), index: Arc::new(index) };
        let needed = self.needed(&reader, &points).await?;
        let judged = self.judge(&reader, &needed, &condemned).await?;
        count(&judged, &mut report);
        if !self.request.dry_run {
            // Before the condemnation, which moves them: packs that points need and that no piece lists.
            let places = needed.iter().filter_map(|id| reader.index.find(id)).map(|place| place.pack.id);
            let unlisted = places.filter(|id| reader.index.is_unlisted(id)).collect();
            self.condemn(&reader, needed, &judged, &mut report).await?;
            self.sweep(&judged, &unlisted, condemned, &mut report).await?;
        }
        report.held.append(&mut self.removal.held);
        report.others_locked = self.removal.others_locked;
        report.locked_until = self.removal.first_end;
        Ok(report)
    }

    async fn remove_points(&mut self, report: &mut PruneReport) -> Result<()> {
        for object in self.repo.store().list(crate::names::POINTS).await? {
            let goes = crate::names::last_part(&object.name)
                .parse()
                .is_ok_and(|id: PointId| self.request.remove.contains(&id));
            if !goes {
                continue;
            }
            let removed = match &mut self.lease {
                None => match self.removal.locked(&object.name).await? {
                    Some(end) => Removed::Locked(end),
                    None => Removed::Gone,
                },
                Some(lease) => {
                    lease.keep().await?;
                    self.removal.delete(&object.name).await?
                }
            };
            match removed {
                Removed::Gone => report.points_removed += 1,
                Removed::Locked(_) => {
                    report.points_locked += 1;
                    self.locked_points.insert(object.name);
                }
                Removed::Held => {}
            }
        }
        Ok(())
    }

    /// The points that stay. One that can't be read may need anything, so it ends the work.
    async fn points(&self) -> Result<Vec<Point>> {
        let mut catalogue = self.repo.points().await?;
        let goes = |id: &PointId| {
            let locked = self.locked_points.contains(&id.object());
            self.request.dry_run && self.request.remove.contains(id) && !locked
        };
        catalogue.points.retain(|point| !goes(&point.id));
        let unreadable = |(object, _): &(String, String)| {
            !crate::names::last_part(object).parse().is_ok_and(|id: PointId| goes(&id))
        };
        match catalogue.unreadable.into_iter().find(unreadable) {
            Some((object, what)) => Err(self.undecidable(&object, &what)),
            None => Ok(catalogue.points),
        }
    }

    fn undecidable(&self, object: &str, what: &str) -> Error {
        let what = format!(
            "{what}; what it needs can't be told, so nothing that points share was removed: repair it, or remove the point"
        );
        self.repo.damaged(object, what)
    }

    /// Every block that these points need.
    async fn needed(&mut self, reader: &Reader, points: &[Point]) -> Result<HashSet<BlockId>> {
        let mut needed = HashSet::new();
        let mut told = Progress::default();
        for point in points {
            if let Some(lease) = &mut self.lease {
                lease.keep().await?;
            }
            let mut broken: Option<Finding> = None;
            references(reader, point, |reference| match reference {
                Reference::Block(id, _) => {
                    let place = reader.index.find(&id);
                    if needed.insert(id) && !place.is_some_and(|place| reader.index.is_whole(&place.pack)) {
                        let object = place.map_or_else(|| point.id.object(), |place| place.pack.id.object());
                        let what = format!("block {id:?} lies in no whole pack");
                        broken.get_or_insert(Finding { object, what });
                    }
                }
                Reference::Broken(finding) => {
                    broken.get_or_insert(finding);
                }
                Reference::File { .. } => {}
            })
            .await?;
            if let Some(Finding { object, what }) = broken {
                return Err(self.undecidable(&object, &format!("{what} (point {} needs it)", point.id)));
            }
            told.files = told.files.saturating_add(point.totals.files);
            told.bytes = told.bytes.saturating_add(point.totals.bytes);
            (self.progress)(told);
        }
        Ok(needed)
    }

    async fn judge(
        &mut self,
        reader: &Reader,
        needed: &HashSet<BlockId>,
        condemned: &Condemned,
    ) -> Result<Vec<Judged>> {
        let mut used: HashMap<PackId, u64> = HashMap::new();
        for place in needed.iter().filter_map(|id| reader.index.find(id)) {
            *used.entry(place.pack.id).or_default() += u64::from(place.stored);
        }
        let since = condemned.since();
        let rules = Rules { wait: self.request.wait, waste: self.request.waste };
        // What the store can't date is as good as new.
        let now = self.now;
        let age = |stored: Option<Timestamp>| {
            stored.map_or(SignedDuration::ZERO, |stored| now.duration_since(stored))
        };
        let mut judged = Vec::new();
        for object in self.repo.store().list(PACKS).await? {
            let Some(id) = pack_id(&object.name) else { continue };
            let seen = Seen {
                size: object.size,
                needed: used.get(&id).copied().unwrap_or(0),
                age: age(object.modified),
                condemned: since.get(&id).map(|since| age(*since)),
                locked: false,
            };
            let mut fate = plan::fate(seen, rules);
            // Only for what would go, because it takes a request.
            if matches!(fate, Fate::Condemn | Fate::Repack | Fate::Sweep) {
                let locked = self.removal.locked(&object.name).await?.is_some();
                fate = plan::fate(Seen { locked, ..seen }, rules);
            }
            judged.push(Judged { id, size: object.size, fate });
        }
        Ok(judged)
    }

    async fn condemn(
        &mut self,
        reader: &Reader,
        mut needed: HashSet<BlockId>,
        judged: &[Judged],
        report: &mut PruneReport,
    ) -> Result<()> {
        let of = |fate: Fate| judged.iter().filter(move |pack| pack.fate == fate).map(|pack| pack.id);
        let repacked: HashSet<PackId> = of(Fate::Repack).collect();
        needed.retain(|id| reader.index.find(id).is_some_and(|place| repacked.contains(&place.pack.id)));
        if let Some(lease) = &mut self.lease {
            lease.keep().await?;
            report.bytes_repacked = copy::copy(reader, needed, Some(lease)).await?.bytes;
        }
        let condemned: Vec<PackId> = of(Fate::Condemn).chain(repacked).collect();
        if condemned.is_empty() { Ok(()) } else { condemned::condemn(self.repo, &condemned).await }
    }

    async fn sweep(
        &mut self,
        judged: &[Judged],
        unlisted: &HashSet<PackId>,
        mut condemned: Condemned,
        report: &mut PruneReport,
    ) -> Result<()> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let swept: HashSet<PackId> =
            judged.iter().filter(|pack| pack.fate == Fate::Sweep).map(|pack| pack.id).collect();
        let waiting = |pack: &&Judged| matches!(pack.fate, Fate::Wait | Fate::Locked);
        let waits: HashSet<PackId> = judged.iter().filter(waiting).map(|pack| pack.id).collect();
        // A list is through when nothing of it waits. What is needed after all is thereby pardoned.
        let now = self.now;
        let old =
            |since: Option<Timestamp>| since.is_some_and(|s| now.duration_since(s) >= self.request.wait);
        condemned.lists.retain(|list| old(list.since) && list.packs.is_disjoint(&waits));
        let going = Going { packs: &swept, unlisted, through: &condemned, wait: self.request.wait };
        let Swept { pieces, kept_back } = sweep::sweep(self.repo, lease, &mut self.removal, going).await?;
        for pack in judged.iter().filter(|pack| kept_back.contains(&pack.id)) {
            report.packs_swept -= 1;
            report.bytes_swept -= pack.size;
            report.packs_locked += 1;
            report.bytes_locked += pack.size;
        }
        report.index_pieces = pieces;
        Ok(())
    }
}

fn count(judged: &[Judged], report: &mut PruneReport) {
    for Judged { size, fate, .. } in judged {
        match fate {
            Fate::Keep => {}
            Fate::Young => report.packs_young += 1,
            Fate::Repack | Fate::Condemn => {
                report.packs_condemned += 1;
                report.bytes_condemned += size;
                report.packs_repacked += u64::from(*fate == Fate::Repack);
            }
            Fate::Wait => {
                report.packs_waiting += 1;
                report.bytes_waiting += size;
            }
            Fate::Sweep => {
                report.packs_swept += 1;
                report.bytes_swept += size;
            }
            Fate::Locked => {
                report.packs_locked += 1;
                report.bytes_locked += size;
            }
            Fate::Spare => report.packs_spared += 1,
        }
    }
}
