//! What a point needs can't be deleted while it is locked: an attacker with every right but to lift locks takes what he can,
//! at the last second, and the point restores. Before a point is written everything it needs is kept, or there is no point.

use std::path::PathBuf;
use std::sync::Arc;

use crate::support::clocked::{Clock, Clocked};
use crate::support::faulty::{Dies, Faulty};
use crate::support::locking::{Flaw, Locking, Locks};
use crate::support::{Bench, noise, request, same_tree};
use engine::store::{Lock, LockFinding, LockMode, Retention, Store, probe};
use engine::{
    Category, Error, Level, Password, Point, Prune, PruneReport, Repository, RestoreMode, backup, prune,
    restore, silent, verify_all,
};
use jiff::{SignedDuration, Timestamp};

const MONTH: SignedDuration = SignedDuration::from_hours(720);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A bucket with Object Lock, and a source.
struct Vault {
    bench: Bench,
    clock: Arc<Clock>,
    locks: Arc<Locks>,
    key: Password,
}

impl Vault {
    /// With a repository that was made before anybody asked for a lock.
    async fn new() -> Self {
        let bench = Bench::new().await;
        let key = Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap();
        bench.repo.add_key_slot(&key, "test", crate::support::at(0)).await.unwrap();
        bench.write("chroma.sqlite3", &noise(1, 400_000));
        bench.write("segment/data_level0.bin", &noise(2, 300_000));
        Self { bench, clock: Arc::default(), locks: Arc::default(), key }
    }

    fn lock(&self, retain_for: SignedDuration) -> Option<Lock> {
        Some(Lock::new(LockMode::Governance, retain_for, self.clock.now()).unwrap())
    }

    fn opened(&self, lock: Option<Lock>) -> Locking {
        Locking {
            inner: Clocked::new(self.bench.store(), Arc::clone(&self.clock)),
            clock: Arc::clone(&self.clock),
            locks: Arc::clone(&self.locks),
            lock,
            by_default: None,
            flaw: Flaw::None,
        }
    }

    async fn open(&self, store: impl Store + 'static) -> Repository {
        Repository::open(Arc::new(store), &self.key).await.unwrap()
    }

    async fn repo(&self) -> Repository {
        self.open(self.opened(None)).await
    }

    fn request(&self, attempt: &str) -> engine::Backup {
        let mut request = request(self.bench.source(), attempt);
        request.attributes.started = self.clock.now();
        request.attributes.consistency_time = self.clock.now();
        request
    }

    async fn capture(&self, attempt: &str, retain_for: SignedDuration) -> Point {
        let repo = self.open(self.opened(self.lock(retain_for))).await;
        backup(&repo, self.request(attempt)).await.unwrap().point
    }

    fn change(&self, seed: u64) {
        let mut db = noise(1, 400_000);
        db[200_000..200_100].copy_from_slice(&noise(seed, 100));
        self.bench.write("chroma.sqlite3", &db);
        self.bench.write("segment/new", &noise(seed, 100_000));
    }

    /// What the source holds now.
    fn remember(&self, name: &str) -> PathBuf {
        let to = self.bench.scratch(name);
        let done = std::process::Command::new("cp").arg("-a").arg(self.bench.source()).arg(&to).status();
        assert!(done.unwrap().success());
        to
    }

    /// Deletes whatever the store lets go.
    async fn attack(&self) -> usize {
        let store = self.opened(None);
        let mut gone = 0;
        for object in store.list("").await.unwrap() {
            gone += usize::from(store.delete(&object.name).await.is_ok());
        }
        gone
    }

    async fn restores(&self, point: &Point, expected: &std::path::Path, why: &str) {
        let target = self.bench.scratch("target");
        let restored = restore(&self.repo().await, point, &target, RestoreMode::EmptyTarget, silent()).await;
        restored.unwrap_or_else(|e| panic!("{why}: {e}"));
        same_tree(expected, &target);
        std::fs::remove_dir_all(target).unwrap();
    }

    /// Another one with the same objects, kept alike.
    async fn twin(&self) -> Self {
        let bench = Bench::copy(&self.bench, &self.key).await;
        let (clock, locks) = (Arc::new(self.clock.twin()), Arc::new(self.locks.twin()));
        Self { bench, clock, locks, key: self.key.clone() }
    }

    async fn prune(&self, remove: &[&Point], by_default: Option<SignedDuration>) -> PruneReport {
        let repo = self.open(Locking { by_default, ..self.opened(None) }).await;
        let request = Prune {
            remove: remove.iter().map(|point| point.id).collect(),
            wait: SignedDuration::from_hours(24),
            waste: 30,
            dry_run: false,
            now: self.clock.now(),
        };
        prune(&repo, &request, silent()).await.unwrap()
    }
}

fn until(vault: &Vault, time: SignedDuration) -> Timestamp {
    vault.clock.now() + time
}

#[tokio::test]
async fn everything_a_point_needs_is_kept_before_the_point_is_written() {
    let vault = Vault::new().await;
    let demanded = Retention { mode: LockMode::Governance, until: until(&vault, MONTH) };
    let point = vault.capture("first", MONTH).await;
    assert!(point.locked_until.unwrap() >= demanded.until);
    let at_commit = vault.locks.at_commit().pop().unwrap();
    let store = vault.opened(None);
    for prefix in ["config", "keys/", "packs/"] {
        let of_prefix = store.list("").await.unwrap();
        let named: Vec<_> = of_prefix.iter().filter(|object| object.name.starts_with(prefix)).collect();
        assert!(!named.is_empty());
        for object in named {
            assert!(at_commit[&object.name].suffices(demanded), "{}", object.name);
        }
    }
    for prefix in ["index/", "lease/", "condemned/", "probe/"] {
        assert!(
            vault.locks.kept().keys().all(|name| !name.starts_with(prefix)),
            "{prefix} must stay free to go"
        );
    }
}

#[tokio::test]
async fn an_increment_extends_old_packs_when_their_time_runs_out_and_asks_for_nothing_before() {
    let vault = Vault::new().await;
    vault.capture("first", MONTH).await;
    let old: Vec<_> = vault.opened(None).list("packs/").await.unwrap().into_iter().map(|o| o.name).collect();
    vault.locks.extended();
    vault.clock.pass(SignedDuration::from_hours(179));
    vault.change(3);
    vault.capture("soon", MONTH).await;
    let extended = vault.locks.extended();
    let packs = extended.iter().filter(|name| name.starts_with("packs/")).count();
    assert_eq!(packs, 0, "a quarter more than asked for is still enough: {extended:?}");

    vault.clock.pass(SignedDuration::from_hours(2));
    vault.change(4);
    let point = vault.capture("late", MONTH).await;
    let expected = vault.remember("late");
    let extended = vault.locks.extended();
    assert!(old.iter().all(|pack| extended.contains(pack)), "{old:?} {extended:?}");
    vault.change(5);
    vault.capture("after", MONTH).await;
    assert!(vault.locks.extended().iter().all(|name| !old.contains(name)));

    vault.clock.pass(MONTH - SECOND);
    assert!(vault.attack().await > 0, "the index can be deleted at any time");
    vault.restores(&point, &expected, "at the last second").await;
}

#[tokio::test]
async fn a_point_whose_capture_died_at_any_store_operation_is_locked_whole_or_not_there() {
    let begun = Vault::new().await;
    begun.capture("first", MONTH).await;
    begun.clock.pass(SignedDuration::from_hours(200));
    begun.change(3);
    let lock = begun.lock(MONTH);
    let counted = begun.twin().await;
    let counting = Faulty::counting(Arc::new(counted.opened(lock)));
    let repo = Repository::open(counting.clone(), &begun.key).await.unwrap();
    let opening = counting.count();
    let id = backup(&repo, counted.request("second")).await.unwrap().point.id;
    let operations = counting.count() - opening;
    assert!(!counted.locks.extended().is_empty() && operations > 20, "{operations}");
    let mut committed = 0;
    for n in 1..=operations {
        for dies in [Dies::Before, Dies::After] {
            let why = format!("dies at {n} of {operations} {dies:?}");
            let vault = begun.twin().await;
            let expected = vault.bench.source();
            let faulty = Faulty::dying(Arc::new(vault.opened(lock)), opening + n, dies);
            let repo = Repository::open(faulty, &begun.key).await.unwrap();
            let done = backup(&repo, vault.request("second")).await;
            let there = vault.opened(None).head(&id.object()).await.is_ok();
            assert!(there || done.is_err(), "{why}: success without a point");
            vault.clock.pass(MONTH - SECOND);
            vault.attack().await;
            // Without the point nothing of the repository need be left by now, not even its configuration.
            if there {
                committed += 1;
                let point = vault.repo().await.point(id).await.unwrap_or_else(|e| panic!("{why}: {e}"));
                vault.restores(&point, expected, &why).await;
            }
        }
    }
    assert!(committed >= 2, "no death came after a commit");
}

#[tokio::test]
async fn what_cant_be_kept_is_named_with_the_remedy_and_there_is_no_point() {
    for flaw in [Flaw::Denies("packs/"), Flaw::Denies("config"), Flaw::Denies("keys/"), Flaw::Forgets] {
        let vault = Vault::new().await;
        vault.capture("first", MONTH).await;
        vault.clock.pass(SignedDuration::from_hours(200));
        vault.change(3);
        let repo = vault.open(Locking { flaw, ..vault.opened(vault.lock(MONTH)) }).await;
        let refused = backup(&repo, vault.request("second")).await.unwrap_err();
        assert!(matches!(refused, Error::NotKept { .. }), "{refused}");
        assert_eq!(refused.category(), Category::AccessDenied);
        let message = refused.to_string();
        let object = if let Flaw::Denies(prefix) = flaw { prefix } else { "" };
        assert!(message.contains(object) && message.contains("s3:PutObjectRetention"), "{message}");
        assert!(message.contains("no point was written"), "{message}");
        assert_eq!(vault.repo().await.find_by_attempt("second").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_lock_where_nothing_can_be_locked_is_refused_before_anything_is_written() {
    let vault = Vault::new().await;
    let before = vault.opened(None).list("").await.unwrap();
    let absent = Locking { flaw: Flaw::Absent, ..vault.opened(vault.lock(MONTH)) };
    let refused = backup(&vault.open(absent).await, vault.request("x")).await.unwrap_err();
    assert_eq!(refused.category(), Category::Input);
    assert!(refused.to_string().contains("make one with Object Lock"), "{refused}");
    assert_eq!(vault.opened(None).list("").await.unwrap(), before);
}

#[tokio::test]
async fn a_shorter_time_later_shortens_nothing_and_a_stricter_mode_is_applied() {
    let vault = Vault::new().await;
    vault.capture("long", MONTH).await;
    let long = vault.locks.kept();
    let strict = Lock::new(LockMode::Compliance, HOUR, vault.clock.now()).unwrap();
    backup(&vault.open(vault.opened(Some(strict))).await, vault.request("strict")).await.unwrap();
    let strict = vault.locks.kept();
    for (name, kept) in &long {
        assert!(strict[name].until >= kept.until, "{name} was shortened");
        let shared = !name.starts_with("points/");
        assert!(!shared || strict[name].mode == LockMode::Compliance, "{name}: {:?}", strict[name]);
    }
    vault.change(3);
    vault.capture("short and lax", HOUR).await;
    let after = vault.locks.kept();
    for (name, kept) in &strict {
        assert!(after[name].suffices(*kept), "{name}");
    }
}

#[tokio::test]
async fn the_same_attempt_again_answers_with_the_lock_of_its_point() {
    let vault = Vault::new().await;
    let first = vault.capture("job", MONTH).await;
    let again = vault.capture("job", MONTH).await;
    assert_eq!((again.id, again.locked_until), (first.id, first.locked_until));
    let repo = vault.repo().await;
    assert_eq!(repo.find_by_attempt("job").await.unwrap().unwrap().locked_until, first.locked_until);
}

#[tokio::test]
async fn a_prune_under_lock_tells_what_stays_until_when_and_takes_it_afterwards() {
    let vault = Vault::new().await;
    vault.bench.write("gone", &noise(9, 600_000));
    let first = vault.capture("first", MONTH).await;
    vault.clock.pass(HOUR);
    std::fs::remove_file(vault.bench.source().join("gone")).unwrap();
    vault.change(3);
    let second = vault.capture("second", MONTH).await;
    let expected = vault.remember("second");
    vault.clock.pass(SignedDuration::from_hours(48));
    let report = vault.prune(&[&first], None).await;
    assert_eq!((report.points_removed, report.points_locked, report.points_kept), (0, 1, 2), "{report:?}");
    assert_eq!(report.locked_until, first.locked_until);
    assert_eq!(report.held, [] as [String; 0]);
    for prefix in ["lease/", "probe/"] {
        assert!(vault.opened(None).list(prefix).await.unwrap().is_empty(), "{prefix}");
    }

    vault.clock.pass(MONTH + MONTH / 4);
    let report = vault.prune(&[&first], None).await;
    assert_eq!((report.points_removed, report.points_locked), (1, 0), "{report:?}");
    vault.clock.pass(SignedDuration::from_hours(25));
    let report = vault.prune(&[], None).await;
    assert!(report.packs_swept > 0, "{report:?}");
    assert_eq!(verify_all(&vault.repo().await, Level::Full, silent()).await.unwrap().findings, []);
    vault.restores(&second, &expected, "what is left").await;
}

#[tokio::test]
async fn packs_that_nothing_needs_and_that_are_locked_are_neither_condemned_nor_copied() {
    let vault = Vault::new().await;
    vault.bench.write("gone", &noise(9, 600_000));
    let first = vault.capture("first", MONTH).await;
    vault.change(3);
    std::fs::remove_file(vault.bench.source().join("gone")).unwrap();
    vault.capture("second", MONTH).await;
    // The commit record of the first alone was let go.
    let store = Locking { flaw: Flaw::LetsGo, ..vault.opened(None) };
    store.delete(&first.id.object()).await.unwrap();
    vault.clock.pass(SignedDuration::from_hours(48));
    let packs = vault.opened(None).list("packs/").await.unwrap();
    let report = vault.prune(&[], None).await;
    assert_eq!((report.packs_condemned, report.packs_repacked), (0, 0), "{report:?}");
    assert_eq!(vault.opened(None).list("packs/").await.unwrap(), packs);
    vault.clock.pass(MONTH + MONTH / 4);
    let report = vault.prune(&[], None).await;
    assert!(report.packs_repacked > 0 && report.packs_locked == 0, "{report:?}");
}

#[tokio::test]
async fn a_bucket_that_locks_by_default_whatever_is_written_stops_no_prune() {
    let vault = Vault::new().await;
    let day = Some(SignedDuration::from_hours(24 * 7));
    vault.bench.write("gone", &noise(9, 600_000));
    let repo = vault.open(Locking { by_default: day, ..vault.opened(None) }).await;
    let first = backup(&repo, vault.request("first")).await.unwrap().point;
    std::fs::remove_file(vault.bench.source().join("gone")).unwrap();
    vault.clock.pass(SignedDuration::from_hours(100));
    vault.change(3);
    let second = backup(&repo, vault.request("second")).await.unwrap().point;
    let expected = vault.remember("second");
    for day_of_prune in 0..24 {
        vault.clock.pass(SignedDuration::from_hours(25));
        let report = vault.prune(&[&first], day).await;
        assert_eq!(report.held, [] as [String; 0], "{day_of_prune}: {report:?}");
        vault.restores(&second, &expected, "between prunes").await;
        assert!(vault.opened(None).list("index/").await.unwrap().len() < 12, "pieces pile up");
    }
    assert_eq!(vault.repo().await.points().await.unwrap().points.len(), 1);
    let report = verify_all(&vault.repo().await, Level::Full, silent()).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn a_key_that_cant_be_taken_away_yet_is_told_and_its_lock_is_not_extended_for_ever() {
    let vault = Vault::new().await;
    let new = Password::new(format!("hfkey1-{}", "6b".repeat(32))).unwrap();
    vault.capture("first", MONTH).await;
    let old = vault.repo().await.fingerprint().to_owned();
    let refused = vault.repo().await.rotate_key(&new, "new", vault.clock.now()).await.unwrap_err();
    assert!(
        refused.to_string().contains("still opens") && refused.to_string().contains("locked"),
        "{refused}"
    );
    vault.clock.pass(SignedDuration::from_hours(200));
    vault.change(3);
    let store = Arc::new(vault.opened(vault.lock(MONTH)));
    let repo = Repository::open(store, &new).await.unwrap();
    backup(&repo, vault.request("second")).await.unwrap();
    vault.clock.pass(MONTH - SECOND);
    let removed = repo.remove_key(&old, vault.clock.now()).await.unwrap();
    assert_eq!(removed, 1, "its lock has ended, and nothing extended it");
    Repository::open(Arc::new(vault.opened(None)), &new).await.unwrap();
}

#[tokio::test]
async fn the_probe_of_a_lock_tries_it_and_piles_nothing_up() {
    let vault = Vault::new().await;
    for _ in 0..3 {
        let store: Arc<dyn Store> = Arc::new(vault.opened(vault.lock(MONTH)));
        assert_eq!(probe(&store).await.unwrap().lock, LockFinding::Holds);
        assert_eq!(store.list("probe/").await.unwrap().len(), 1);
        vault.clock.pass(SignedDuration::from_mins(2));
    }
    for (flaw, why) in [
        (Flaw::Absent, "make one with Object Lock"),
        (Flaw::LetsGo, "could be deleted"),
        (Flaw::Forgets, "doesn't show it"),
        (Flaw::Denies("probe/"), "s3:PutObjectRetention"),
    ] {
        let store: Arc<dyn Store> = Arc::new(Locking { flaw, ..vault.opened(vault.lock(MONTH)) });
        let LockFinding::Fails(said) = probe(&store).await.unwrap().lock else {
            panic!("{flaw:?} was not seen")
        };
        assert!(said.contains(why), "{flaw:?}: {said}");
    }
    let unasked: Arc<dyn Store> = Arc::new(vault.opened(None));
    assert_eq!(probe(&unasked).await.unwrap().lock, LockFinding::NotAsked);
}
