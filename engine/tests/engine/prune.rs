//! Points go, what they shared stays: by death at every store operation, and with a capture and a prune in each other's way
//! at every store operation. The store's clock is the test's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::clocked::{Between, Clock, Clocked};
use crate::support::faulty::{Dies, Faulty};
use crate::support::{Bench, at, noise, request, same_tree, tree_of};
use engine::store::Store;
use engine::{
    Category, Error, Level, Password, Point, PointId, Prune, PruneReport, Repository, RestoreMode, backup,
    prune, restore, silent, verify_all,
};
use futures::FutureExt;
use jiff::SignedDuration;

const DAY: SignedDuration = SignedDuration::from_hours(25);
const PAGES: usize = 30;

/// A repository with a clock of its own, whose key costs nothing to derive.
struct History {
    bench: Bench,
    clock: Arc<Clock>,
    key: Password,
    kept: Vec<(PointId, PathBuf)>,
}

fn copy_tree(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn requested(history: &History, remove: &[PointId]) -> Prune {
    Prune {
        remove: remove.iter().copied().collect(),
        wait: SignedDuration::from_hours(24),
        waste: 30,
        dry_run: false,
        now: history.clock.now(),
    }
}

impl History {
    /// Two points: the first has content of its own, the second shares some of it. A day has passed since.
    async fn new() -> (Self, PointId) {
        let bench = Bench::new().await;
        let key = Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap();
        bench.repo.add_key_slot(&key, "test", at(0)).await.unwrap();
        let mut history = Self { bench, clock: Arc::default(), key, kept: Vec::new() };
        history.write(&[("shared", 1), ("gone", 2), ("dir/early", 3)]);
        history.write_pages(0);
        let first = history.capture("first").await.id;
        // So that the second is the version before the third, whatever their names.
        history.clock.pass(SignedDuration::from_hours(1));
        history.write(&[("shared", 1), ("stays", 4)]);
        history.write_pages(1);
        std::fs::remove_file(history.bench.source().join("gone")).unwrap();
        std::fs::remove_file(history.bench.source().join("dir/early")).unwrap();
        let second = history.capture("second").await;
        history.keep(&second, "second");
        history.clock.pass(DAY);
        (history, first)
    }

    fn write(&self, files: &[(&str, u64)]) {
        for (path, seed) in files {
            self.bench.write(path, &noise(*seed, 60_000));
        }
    }

    /// A file of pages after so many changes. Points hold the difference to what earlier ones hold.
    fn write_pages(&self, changes: usize) {
        let mut pages = noise(5, PAGES * 4096);
        for change in 1..=changes {
            let at = change * 7 % PAGES * 4096 + change * 60;
            pages[at..at + 60].copy_from_slice(&noise(1000 + change as u64, 60));
        }
        self.bench.write("pages.sqlite3", &pages);
    }

    fn store(&self) -> Arc<Clocked> {
        Clocked::new(self.bench.store(), Arc::clone(&self.clock))
    }

    async fn open(&self, store: Arc<dyn Store>) -> Repository {
        Repository::open(store, &self.key).await.unwrap()
    }

    async fn repo(&self) -> Repository {
        self.open(self.store()).await
    }

    async fn capture(&self, attempt: &str) -> Point {
        backup(&self.repo().await, request(self.bench.source(), attempt)).await.unwrap().point
    }

    /// From now on this point has to be restorable, to what the source holds now.
    fn keep(&mut self, point: &Point, name: &str) {
        let expected = self.bench.scratch(&format!("expected {name}"));
        copy_tree(self.bench.source(), &expected);
        self.kept.push((point.id, expected));
    }

    async fn prune(&self, remove: &[PointId]) -> PruneReport {
        prune(&self.repo().await, &requested(self, remove), silent()).await.unwrap()
    }

    /// Prunes until nothing is left to do, a day between each.
    async fn settle(&self) -> PruneReport {
        for _ in 0..6 {
            let report = self.prune(&[]).await;
            if report.packs_condemned + report.packs_waiting + report.packs_young + report.packs_swept == 0 {
                return report;
            }
            self.clock.pass(DAY);
        }
        panic!("a prune that never comes to an end");
    }

    async fn restores(&self, why: &str) {
        let repo = self.repo().await;
        for (id, expected) in &self.kept {
            let point = repo.point(*id).await.unwrap();
            let target = self.bench.scratch("target");
            let restored = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await;
            restored.unwrap_or_else(|e| panic!("{why}: {e}"));
            same_tree(expected, &target);
            std::fs::remove_dir_all(target).unwrap();
        }
    }

    async fn is_whole(&self, why: &str) {
        let report = verify_all(&self.repo().await, Level::Full, silent()).await.unwrap();
        assert_eq!(report.findings, [], "{why}");
        self.restores(why).await;
    }

    async fn size(&self) -> u64 {
        self.store().list("").await.unwrap().iter().map(|o| o.size).sum()
    }

    /// Another one with the same objects at the same times.
    async fn twin(&self) -> Self {
        let bench = Bench::copy(&self.bench, &self.key).await;
        let clock = Arc::new(self.clock.twin());
        let mut twin = Self { bench, clock, key: self.key.clone(), kept: Vec::new() };
        for (number, (id, expected)) in self.kept.iter().enumerate() {
            let own = twin.bench.scratch(&format!("kept {number}"));
            copy_tree(expected, &own);
            twin.kept.push((*id, own));
        }
        twin
    }
}

#[tokio::test]
async fn a_removed_point_goes_at_once_and_its_blocks_a_day_later() {
    let (history, first) = History::new().await;
    let before = history.size().await;
    let report = history.prune(&[first]).await;
    assert_eq!((report.points_removed, report.points_kept, report.packs_swept), (1, 1, 0), "{report:?}");
    assert!(report.packs_condemned > 0 && report.packs_repacked > 0, "{report:?}");
    history.is_whole("condemned").await;
    let early = history.prune(&[]).await;
    assert_eq!((early.packs_swept, early.packs_waiting), (0, report.packs_condemned), "{early:?}");
    history.clock.pass(DAY);
    let swept = history.prune(&[]).await;
    assert_eq!(swept.packs_swept, report.packs_condemned, "{swept:?}");
    history.is_whole("swept").await;
    let report = history.settle().await;
    assert_eq!(report.held, [] as [String; 0]);
    let after = history.size().await;
    assert!(after + 100_000 < before, "{before} bytes became {after}: two files of 60,000 bytes are gone");
    assert!(history.store().list("condemned/").await.unwrap().is_empty());
    assert!(history.store().list("lease/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_does_and_writes_nothing() {
    let (history, first) = History::new().await;
    let before = tree_of(history.bench.store_path());
    let dry = Prune { dry_run: true, ..requested(&history, &[first]) };
    let said = prune(&history.repo().await, &dry, silent()).await.unwrap();
    assert!(tree_of(history.bench.store_path()) == before);
    let done = history.prune(&[first]).await;
    assert!(done.bytes_repacked > 0);
    let told = PruneReport { bytes_repacked: 0, index_pieces: said.index_pieces, ..done };
    assert_eq!(said, told);
}

#[tokio::test]
async fn the_last_point_a_wait_too_short_and_a_point_that_cant_be_read_stop_it_before_anything_goes() {
    let (history, first) = History::new().await;
    let repo = history.repo().await;
    let second = history.kept[0].0;
    let before = tree_of(history.bench.store_path());
    let all = prune(&repo, &requested(&history, &[first, second]), silent()).await.unwrap_err();
    assert!(all.to_string().contains("the last point of chroma"), "{all}");
    let hasty = Prune { wait: SignedDuration::from_mins(59), ..requested(&history, &[first]) };
    assert_eq!(prune(&repo, &hasty, silent()).await.unwrap_err().category(), Category::Input);
    assert!(tree_of(history.bench.store_path()) == before);

    let object = history.bench.store_path().join(first.object());
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let packs = history.store().list("packs/").await.unwrap();
    let refused = prune(&repo, &requested(&history, &[]), silent()).await.unwrap_err();
    assert_eq!(refused.category(), Category::Corrupt);
    assert!(refused.to_string().contains(&first.object()), "{refused}");
    assert_eq!(history.store().list("packs/").await.unwrap(), packs);
    // Asked to remove just that point, it goes on.
    assert_eq!(history.prune(&[first]).await.points_removed, 1);
    history.settle().await;
    history.is_whole("without the damaged point").await;
}

#[tokio::test]
async fn a_store_that_lets_nothing_go_is_told_in_a_sentence_and_locked_objects_stay_in_use() {
    let (history, first) = History::new().await;
    let locked = Clocked::keeping(history.bench.store(), Arc::clone(&history.clock), "");
    let repo = history.open(locked).await;
    let refused = prune(&repo, &requested(&history, &[first]), silent()).await.unwrap_err();
    assert_eq!(refused.category(), Category::AccessDenied);
    assert!(refused.to_string().contains("nothing was pruned"), "{refused}");

    for prefix in ["points/", "index/", "packs/", "condemned/"] {
        let history = history.twin().await;
        let keeping = Clocked::keeping(history.bench.store(), Arc::clone(&history.clock), prefix);
        let repo = history.open(keeping).await;
        let mut held = 0;
        for _ in 0..3 {
            let report = prune(&repo, &requested(&history, &[first]), silent()).await.unwrap();
            held += report.held.len();
            history.clock.pass(DAY);
        }
        assert!(held > 0, "{prefix}");
        history.is_whole(prefix).await;
        history.prune(&[first]).await;
        history.settle().await;
        history.is_whole(prefix).await;
    }
}

#[tokio::test]
async fn of_two_prunes_one_is_turned_away_until_its_lease_is_old() {
    let (history, first) = History::new().await;
    let dying = Faulty::dying_before(history.store(), 1, "list condemned/");
    let repo = history.open(dying).await;
    prune(&repo, &requested(&history, &[first]), silent()).await.unwrap_err();
    assert_eq!(history.store().list("lease/").await.unwrap().len(), 1, "it died at work");
    let busy = prune(&history.repo().await, &requested(&history, &[]), silent()).await.unwrap_err();
    assert!(matches!(busy, Error::UnderMaintenance { .. }), "{busy}");
    history.clock.pass(SignedDuration::from_hours(1));
    history.prune(&[first]).await;
    assert!(history.store().list("lease/").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_prune_killed_at_any_store_operation_leaves_every_other_point_whole_and_the_next_finishes() {
    let (fresh, first) = History::new().await;
    let condemned = fresh.twin().await;
    condemned.prune(&[first]).await;
    condemned.clock.pass(DAY);
    for (phase, begun, remove) in [("condemn", fresh, vec![first]), ("sweep", condemned, vec![])] {
        let counted = begun.twin().await;
        let counting = Faulty::counting(counted.store());
        let repo = counted.open(counting.clone()).await;
        let opening = counting.count();
        prune(&repo, &requested(&counted, &remove), silent()).await.unwrap();
        let operations = counting.count() - opening;
        assert!(operations > 15, "{operations} operations are too few to mean anything");
        let clean = counted.settle().await;
        let size = counted.store().list("packs/").await.unwrap().iter().map(|o| o.size).sum::<u64>();
        for n in 1..=operations {
            for dies in [Dies::Before, Dies::After] {
                let why = format!("{phase}: dies at {n} {dies:?}");
                let history = begun.twin().await;
                let repo = history.open(Faulty::dying(history.store(), opening + n, dies)).await;
                prune(&repo, &requested(&history, &remove), silent()).await.unwrap_err();
                history.restores(&why).await;
                history.clock.pass(SignedDuration::from_hours(1));
                history.prune(&remove).await;
                history.clock.pass(DAY);
                let settled = history.settle().await;
                assert_eq!(settled.points_kept, clean.points_kept, "{why}");
                history.is_whole(&why).await;
                let packs = history.store().list("packs/").await.unwrap();
                let left = packs.iter().map(|o| o.size).sum::<u64>();
                assert!(left < size + 10_000, "{why}: {left} bytes are left instead of {size}");
                for prefix in ["condemned/", "lease/"] {
                    assert_eq!(history.store().list(prefix).await.unwrap(), [], "{why}");
                }
            }
        }
    }
}

/// Prunes of the twin that run between two operations of a capture, with so many days in between.
fn prunes(history: &Arc<History>, first: PointId, days: usize) -> Between {
    let history = Arc::clone(history);
    Arc::new(move || {
        let history = Arc::clone(&history);
        async move {
            history.prune(&[first]).await;
            for _ in 0..days {
                history.clock.pass(DAY);
                history.prune(&[]).await;
            }
        }
        .boxed()
    })
}

/// The capture brings back what only the point that goes still has, so it would re-use exactly what the prune takes.
async fn about_to_reuse() -> (History, PointId) {
    let (history, first) = History::new().await;
    history.write(&[("shared", 1), ("gone", 2), ("dir/early", 3), ("new", 9)]);
    history.write_pages(2);
    (history, first)
}

#[tokio::test]
async fn a_prune_at_any_operation_of_a_capture_takes_nothing_that_the_new_point_needs() {
    let (begun, first) = about_to_reuse().await;
    let counted = begun.twin().await;
    let counting = counted.store();
    let repo = counted.open(counting.clone()).await;
    let opening = counting.seen().len();
    backup(&repo, request(counted.bench.source(), "third")).await.unwrap();
    let operations = counting.seen()[opening..].to_vec();
    let commit = operations.iter().position(|o| o.starts_with("put points/")).unwrap();
    let looked = operations[..commit].iter().rposition(|o| o == "list condemned/").unwrap();
    assert!(looked > 3 && commit > looked, "{operations:?}");
    for n in 1..=operations.len() {
        for days in 0..3 {
            // Between its last look and its commit a capture takes minutes, never a day: else it looks again.
            if days > 0 && (looked + 1 < n && n <= commit + 1) {
                continue;
            }
            let why = format!("before {} ({n}), {days} days", operations[n - 1]);
            let history = Arc::new(begun.twin().await);
            let between = prunes(&history, first, days);
            let store =
                Clocked::interrupted(history.bench.store(), Arc::clone(&history.clock), opening + n, between);
            let repo = history.open(store).await;
            let captured = backup(&repo, request(history.bench.source(), "third")).await;
            drop(repo);
            if days == 0 {
                captured.as_ref().unwrap_or_else(|e| panic!("{why}: {e}"));
            }
            let mut history = history.twin().await;
            if let Some(point) = history.repo().await.find_by_attempt("third").await.unwrap() {
                history.keep(&point, "third");
            } else {
                assert!(captured.is_err(), "{why}: success without a point");
            }
            // A capture that slept for days may leave an index of what was swept; no point needs it.
            history.restores(&why).await;
            history.clock.pass(DAY);
            history.settle().await;
            history.is_whole(&why).await;
            let next = history.capture("fourth").await;
            history.keep(&next, "fourth");
            history.is_whole(&why).await;
        }
    }
}

#[tokio::test]
async fn a_capture_at_any_operation_of_a_prune_loses_nothing() {
    let (fresh, first) = about_to_reuse().await;
    let condemned = fresh.twin().await;
    condemned.prune(&[first]).await;
    condemned.clock.pass(DAY);
    for (phase, begun, remove) in [("condemn", fresh, vec![first]), ("sweep", condemned, vec![])] {
        let counted = begun.twin().await;
        let counting = counted.store();
        let repo = counted.open(counting.clone()).await;
        let opening = counting.seen().len();
        prune(&repo, &requested(&counted, &remove), silent()).await.unwrap();
        let operations = counting.seen()[opening..].to_vec();
        for n in 1..=operations.len() {
            let why = format!("{phase}: before {} ({n})", operations[n - 1]);
            let history = Arc::new(begun.twin().await);
            let capturing = Arc::clone(&history);
            let between: Between = Arc::new(move || {
                let history = Arc::clone(&capturing);
                async move { drop(history.capture("third").await) }.boxed()
            });
            let (inner, clock) = (history.bench.store(), Arc::clone(&history.clock));
            let repo = history.open(Clocked::interrupted(inner, clock, opening + n, between)).await;
            prune(&repo, &requested(&history, &remove), silent()).await.unwrap();
            let mut history = history.twin().await;
            let third = history.repo().await.find_by_attempt("third").await.unwrap();
            history.keep(&third.expect("the capture took effect"), "third");
            history.is_whole(&why).await;
            history.clock.pass(DAY);
            history.settle().await;
            history.is_whole(&why).await;
        }
    }
}

#[tokio::test]
async fn a_long_series_keeps_its_size_and_its_index_stays_short() {
    let (mut history, first) = History::new().await;
    let mut points = vec![first, history.kept[0].0];
    for number in 0..24 {
        history.write(&[("rolling", 100 + number)]);
        history.write_pages(2 + number as usize);
        let point = history.capture(&format!("point {number}")).await;
        points.push(point.id);
        history.clock.pass(DAY);
    }
    let last = points.pop().unwrap();
    let kept: BTreeSet<PointId> = [last].into();
    history.kept.clear();
    let point = history.repo().await.point(last).await.unwrap();
    history.keep(&point, "last");
    points.retain(|id| !kept.contains(id));
    history.prune(&points).await;
    let report = history.settle().await;
    assert_eq!(report.points_kept, 1);
    history.is_whole("one point is left").await;
    let size = history.size().await;
    let content = 3 * 60_000 + PAGES as u64 * 4096;
    assert!(size < content + 40_000, "{size} bytes hold {content}");
    let pieces = history.store().list("index/").await.unwrap();
    assert!(pieces.len() <= 16, "{} index pieces", pieces.len());
}
