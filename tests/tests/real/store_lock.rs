//! Object Lock and versions on real servers, SeaweedFS and versitygw: what a point needs can't be deleted by whoever has
//! credentials, and what somebody writes over or hides is read all the same, and told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a lock ends by the server's real clock")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use engine::store::{
    Lock, LockFinding, LockMode, ObjectLock, Patience, Put, Retention, S3Options, S3Store, Store, probe,
    steady,
};
use engine::{
    Backup, Category, Error, Level, Password, Point, Prune, Repository, RestoreMode, backup, prune, restore,
    silent, verify, verify_all,
};
use jiff::{SignedDuration, Timestamp};
use tests::seaweedfs::{self, ADMIN, Identity, READER, SeaweedFs, WRITER};
use tests::versitygw::{self, ROOT, VersityGw, signed};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A bucket of a server, a prefix in it, and who uses it.
#[derive(Clone)]
struct Bucket {
    endpoint: String,
    bucket: &'static str,
    prefix: String,
    identity: &'static Identity,
}

/// A bucket with Object Lock on each server.
fn locking(prefix: &str) -> [Bucket; 2] {
    let seaweed = Bucket {
        endpoint: SeaweedFs::shared().endpoint().to_owned(),
        bucket: seaweedfs::LOCKED_BUCKET,
        prefix: prefix.to_owned(),
        identity: &ADMIN,
    };
    let versity = Bucket {
        endpoint: VersityGw::shared().endpoint().to_owned(),
        bucket: versitygw::LOCKED_BUCKET,
        identity: &ROOT,
        ..seaweed.clone()
    };
    [seaweed, versity]
}

impl Bucket {
    async fn open(&self, lock: Option<Lock>) -> Arc<dyn Store> {
        let options = S3Options {
            multipart_above: 6 << 20,
            lock,
            ..crate::s3::options(&self.endpoint, self.identity, self.bucket, &self.prefix)
        };
        steady(Arc::new(S3Store::connect(options).await.unwrap()), Patience::default(), None).0
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{}/{}/{name}", self.endpoint, self.bucket, self.prefix)
    }

    /// A request of somebody who has the credentials and not our program.
    fn curl(&self, method: &str, name: &str, query: &str) -> anyhow::Result<String> {
        let url = format!("{}{query}", self.url(name));
        match method {
            "HEAD" => signed(self.identity, &["--head", &url]),
            _ => signed(self.identity, &["--request", method, &url]),
        }
    }

    /// What a header of the object says.
    fn header(&self, name: &str, header: &str) -> Option<String> {
        let said = self.curl("HEAD", name, "").unwrap();
        let value = said.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(header).then(|| value.trim().to_owned())
        });
        value.filter(|value| !value.is_empty())
    }
}

fn lock_for(time: SignedDuration) -> Option<Lock> {
    Some(Lock::new(LockMode::Governance, time, Timestamp::now()).unwrap())
}

fn password() -> Password {
    Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap()
}

fn capture(source: &Path, attempt: &str) -> Backup {
    crate::s3::capture(source, attempt, Timestamp::now())
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn requested(points: &[&Point]) -> Prune {
    Prune {
        remove: points.iter().map(|point| point.id).collect(),
        wait: SignedDuration::from_hours(24),
        waste: 30,
        dry_run: false,
        now: Timestamp::now(),
    }
}

async fn kept_until(store: &Arc<dyn Store>, name: &str) -> Timestamp {
    store.head(name).await.unwrap().locked.unwrap_or_else(|| panic!("{name} is not locked")).until
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_locked_when_it_is_written_and_its_retention_only_grows() {
    for bucket in locking("grows") {
        let store = bucket.open(lock_for(HOUR)).await;
        assert_eq!(store.object_lock().await.unwrap(), ObjectLock::Enabled);
        let soon = Timestamp::now() + HOUR;
        for (name, bytes) in [("packs/one", vec![1; 10]), ("packs/parts", vec![7; 7 << 20])] {
            assert_eq!(store.put_if_absent(name, bytes.into()).await.unwrap(), Put::Created);
            assert!(kept_until(&store, name).await >= soon, "{name}");
            let said = bucket.header(name, "x-amz-object-lock-mode").expect("a mode is told");
            assert_eq!(said, "GOVERNANCE");
        }
        let far =
            Retention { mode: LockMode::Governance, until: Timestamp::from_second(4_000_000_000).unwrap() };
        store.retain("packs/one", far).await.unwrap();
        assert_eq!(kept_until(&store, "packs/one").await, far.until);
        store.retain("packs/one", Retention { until: soon, ..far }).await.unwrap();
        assert_eq!(kept_until(&store, "packs/one").await, far.until, "it was shortened");
        assert!(store.retain("packs/absent", far).await.unwrap_err().is_not_found());

        for name in ["index/free", "lease/free", "condemned/free", "probe/free"] {
            store.put_if_absent(name, b"free".to_vec().into()).await.unwrap();
            assert_eq!(store.head(name).await.unwrap().locked, None, "{name}");
            store.delete(name).await.unwrap();
            assert!(store.versions(name).await.unwrap().is_empty(), "{name} must be gone for good");
        }
        let refused = store.delete("packs/one").await.unwrap_err();
        assert_eq!(refused.category, Category::AccessDenied, "{refused}");
        assert!(store.get("packs/one", None).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_object_of_a_point_can_be_deleted_an_increment_extends_the_old_ones_and_a_prune_leaves_them() {
    for bucket in locking("point") {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("chroma.sqlite3"), noise(1, 400_000)).unwrap();
        let store = bucket.open(lock_for(HOUR)).await;
        let repo = Repository::init(Arc::clone(&store), &password(), Timestamp::now()).await.unwrap();
        let first = backup(&repo, capture(dir.path(), "first")).await.unwrap().point;
        let old = store.list("packs/").await.unwrap();
        assert!(!old.is_empty());

        let mut page = noise(1, 400_000);
        page[5000..5050].fill(9);
        fs::write(dir.path().join("chroma.sqlite3"), page).unwrap();
        let longer = bucket.open(lock_for(3 * HOUR)).await;
        let by = Repository::open(Arc::clone(&longer), &password()).await.unwrap();
        let demanded = Timestamp::now() + 3 * HOUR;
        let second = backup(&by, capture(dir.path(), "second")).await.unwrap().point;
        assert!(second.locked_until.unwrap() >= demanded);
        assert!(kept_until(&store, "config").await >= demanded);
        let mut extended = 0;
        for pack in &old {
            extended += usize::from(kept_until(&store, &pack.name).await >= demanded);
        }
        assert!(extended > 0, "the second point shares packs of the first");

        for object in store.list("").await.unwrap() {
            if object.name.starts_with("index/") {
                continue;
            }
            let version = bucket.header(&object.name, "x-amz-version-id").expect("the bucket has versions");
            let refused = bucket.curl("DELETE", &object.name, &format!("?versionId={version}")).unwrap_err();
            assert!(refused.to_string().contains("403"), "{}: {refused}", object.name);
        }
        let report = prune(&by, &requested(&[&first]), silent()).await.unwrap();
        assert_eq!(
            (report.points_removed, report.points_locked, report.points_kept),
            (0, 1, 2),
            "{report:?}"
        );
        assert!(report.locked_until.is_some() && report.held.is_empty(), "{report:?}");
        let report = verify_all(&by, Level::Full, silent()).await.unwrap();
        assert!(report.passed(), "{report:?}");
    }
}

/// Everything that is restored and told after somebody has meddled with every object.
async fn holds(bucket: &Bucket, point: &Point, expected: &[u8], names: &[String], why: &str) {
    let store = bucket.open(None).await;
    let repo = Repository::open(store, &password()).await.unwrap_or_else(|e| panic!("{why}: {e}"));
    let points = repo.points().await.unwrap();
    assert_eq!(points.unreadable, [], "{why}");
    assert_eq!(points.points.iter().map(|p| p.id).collect::<Vec<_>>(), [point.id], "{why}");
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    let restored = restore(&repo, &points.points[0], &target, RestoreMode::EmptyTarget, silent()).await;
    restored.unwrap_or_else(|e| panic!("{why}: {e}"));
    assert!(fs::read(target.join("chroma.sqlite3")).unwrap() == expected, "{why}");
    let all = verify_all(&repo, Level::Full, silent()).await.unwrap();
    let one = verify(&repo, &points.points[0], Level::Manifest, silent()).await.unwrap();
    assert!(!all.passed() && !one.passed(), "{why}");
    for name in names {
        for report in [&all, &one] {
            assert!(
                report.tampered.iter().any(|f| f.object == *name),
                "{why}: {name} is not named: {report:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_writes_over_or_marks_as_deleted_is_restored_all_the_same_and_named() {
    for (number, bucket) in locking("meddled").into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(1, 400_000);
        fs::write(dir.path().join("chroma.sqlite3"), &bytes).unwrap();
        let store = bucket.open(lock_for(HOUR)).await;
        let repo = Repository::init(Arc::clone(&store), &password(), Timestamp::now()).await.unwrap();
        let point = backup(&repo, capture(dir.path(), "first")).await.unwrap().point;
        let ours: Vec<_> = store.list("").await.unwrap();
        let names: Vec<String> = ours.iter().map(|object| object.name.clone()).collect();
        assert!(verify_all(&repo, Level::Full, silent()).await.unwrap().passed());

        // Hidden: a plain delete is a mark.
        for name in &names {
            bucket.curl("DELETE", name, "").unwrap();
            assert!(bucket.curl("GET", name, "").is_err(), "{name} is hidden from everybody else");
        }
        holds(&bucket, &point, &bytes, &names, "hidden").await;

        // Written over, with garbage of another size, and of the same.
        let thief = bucket.open(None).await;
        for object in &ours {
            let size = usize::try_from(object.size).unwrap();
            thief.put(&object.name, noise(7, size / 2 + 1).into()).await.unwrap();
        }
        holds(&bucket, &point, &bytes, &names, "written over").await;
        for object in &ours {
            thief.put(&object.name, noise(8, usize::try_from(object.size).unwrap()).into()).await.unwrap();
        }
        holds(&bucket, &point, &bytes, &names, "written over by the same size").await;
        for name in &names {
            bucket.curl("DELETE", name, "").unwrap();
        }
        holds(&bucket, &point, &bytes, &names, "written over and hidden").await;

        // The next capture relies on nothing that was meddled with, and is locked.
        let again = Repository::open(bucket.open(lock_for(HOUR)).await, &password()).await.unwrap();
        let second = match backup(&again, capture(dir.path(), "second")).await {
            Ok(committed) => committed.point,
            // versitygw lets nobody extend the lock of a version behind a mark of deletion. Then there is no point, and
            // the capture says which object it is.
            Err(Error::NotKept { object, .. }) if number == 1 => {
                assert_eq!(object, "config");
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        assert!(second.totals.bytes_stored > 400_000, "{:?}", second.totals);
        // Each block lies in two packs now, and which of them a reader takes is open: either proves itself.
        let seen = verify(&again, &second, Level::Full, silent()).await.unwrap();
        assert_eq!(seen.findings, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_finds_out_whether_a_lock_holds() {
    for bucket in locking("probe") {
        for _ in 0..2 {
            let seen = probe(&bucket.open(lock_for(HOUR)).await).await.unwrap();
            assert_eq!((seen.object_lock, seen.lock), (ObjectLock::Enabled, LockFinding::Holds));
        }
        assert_eq!(probe(&bucket.open(None).await).await.unwrap().lock, LockFinding::NotAsked);
    }
    let [seaweed, versity] = locking("probe-without");
    let plain = [
        Bucket { bucket: seaweedfs::BUCKET, ..seaweed.clone() },
        Bucket { bucket: versitygw::BUCKET, ..versity },
        // Who may not even ask.
        Bucket { bucket: seaweedfs::BUCKET, identity: &WRITER, prefix: "probe-writer".into(), ..seaweed },
    ];
    for bucket in plain {
        let seen = probe(&bucket.open(lock_for(HOUR)).await).await.unwrap();
        assert!(matches!(seen.lock, LockFinding::Fails(_)), "{}: {seen:?}", bucket.endpoint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_in_a_bucket_without_it_leaves_no_point_and_says_what_to_do() {
    let [seaweed, versity] = locking("without");
    let plain = [
        Bucket { bucket: seaweedfs::BUCKET, ..seaweed.clone() },
        Bucket { bucket: versitygw::BUCKET, ..versity },
    ];
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("chroma.sqlite3"), noise(1, 100_000)).unwrap();
    for bucket in plain {
        Repository::init(bucket.open(None).await, &password(), Timestamp::now()).await.unwrap();
        let repo = Repository::open(bucket.open(lock_for(HOUR)).await, &password()).await.unwrap();
        let refused = backup(&repo, capture(dir.path(), "x")).await.unwrap_err();
        assert!(matches!(refused, Error::NotLockable { .. }), "{refused}");
        assert!(refused.to_string().contains("make one with Object Lock"), "{refused}");
        assert!(repo.points().await.unwrap().points.is_empty());
    }
    // Credentials that may not even ask for the lock: found out before there is a point.
    let blind =
        Bucket { bucket: seaweedfs::BUCKET, identity: &WRITER, prefix: "without-asking".into(), ..seaweed };
    Repository::init(blind.open(None).await, &password(), Timestamp::now()).await.unwrap();
    let repo = Repository::open(blind.open(lock_for(HOUR)).await, &password()).await.unwrap();
    backup(&repo, capture(dir.path(), "x")).await.unwrap_err();
    assert!(repo.points().await.unwrap().points.is_empty());
    let reader = Bucket { identity: &READER, ..blind };
    Repository::open(reader.open(None).await, &password()).await.unwrap();
}
