//! Repositories that a release wrote, kept as they were: every later version reads them and restores the same, and says of
//! damage to any object which one it is. A format version gets its folder once (`make golden`) and it is never written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::clocked::{Clock, Clocked};
use crate::support::{Bench, at, noise, password, request, tree_of};
use engine::{
    Error, FORMAT, Level, Password, Prune, Repository, RestoreMode, backup, prune, restore, silent,
    verify_all,
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What a person typed; the other key that opens them is [`password`].
const TYPED: &str = "tall ships cross a quiet harbour";
const PAGE: usize = 4096;

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/format-{format}"))
}

/// What each point restores to, by the attempt that made it: facts by path, bytes that are not printable as `%XX`.
type Expected = BTreeMap<String, BTreeMap<String, String>>;

/// One way to damage the repository, and the objects that are named for it.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Damage {
    object: String,
    how: How,
    named: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
enum How {
    /// The lowest bit of this byte is another.
    Flipped(usize),
    /// Only so many bytes are left.
    Cut(usize),
    Gone,
}

fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'%' | 0..=0x20 | 0x7f.. => format!("%{byte:02X}"),
        plain => char::from(*plain).to_string(),
    };
    bytes.iter().map(escape).collect()
}

/// Kind, permissions, time, content, other name, and attributes of everything below. Owners are the machine's, not ours.
fn facts(root: &Path) -> BTreeMap<String, String> {
    let names = crate::support::names_of(root);
    let mut found = BTreeMap::new();
    for (path, bytes) in tree_of(root) {
        let meta = fs::symlink_metadata(root.join(&path)).unwrap();
        let mut line = format!("{:o} {}.{:09}", meta.mode(), meta.mtime(), meta.mtime_nsec());
        if meta.is_symlink() {
            line += &format!(" to={}", escaped(&bytes));
        } else if meta.is_file() {
            line += &format!(" size={} blake3={}", bytes.len(), blake3::hash(&bytes).to_hex());
            if names[&path] != path {
                line += &format!(" same-as={}", escaped(names[&path].as_os_str().as_bytes()));
            }
        }
        for (name, value) in crate::attributes::of(&root.join(&path)) {
            line += &format!(" {}={}", escaped(name.as_bytes()), escaped(&value));
        }
        found.insert(escaped(path.as_os_str().as_bytes()), line);
    }
    found
}

/// The repository of a format in a directory of its own, as a test may change it.
async fn golden(format: u32) -> Bench {
    let bench = Bench::with_xattrs().await;
    fs::remove_dir_all(bench.store_path()).unwrap();
    copy(&folder(format).join("repository"), bench.store_path());
    bench
}

fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn read<T: for<'de> Deserialize<'de>>(format: u32, name: &str) -> T {
    let path = folder(format).join(name);
    let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

async fn restored(bench: &Bench, key: &Password) -> Expected {
    let repo = Repository::open(bench.store(), key).await.unwrap();
    let catalogue = repo.points().await.unwrap();
    assert_eq!(catalogue.unreadable, []);
    let mut seen = Expected::new();
    for point in catalogue.points {
        let target = bench.scratch("target");
        restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
        let attempt = point.attributes.attempt.clone().unwrap();
        seen.insert(attempt, facts(&target));
        fs::remove_dir_all(target).unwrap();
    }
    seen
}

/// The objects that a full verification names, or why it can't be opened.
async fn named(bench: &Bench) -> BTreeSet<String> {
    let report = async {
        let repo = Repository::open(bench.store(), &password()).await?;
        verify_all(&repo, Level::Full, silent()).await
    };
    match report.await {
        Ok(report) => {
            let all = report.findings.into_iter().chain(report.tampered);
            all.map(|finding| finding.object).collect()
        }
        Err(Error::Damaged { object, .. }) => [object].into(),
        Err(other) => [format!("{:?}", other.category())].into(),
    }
}

fn damage(bench: &Bench, object: &str, how: How) {
    let path = bench.store_path().join(object);
    let mut bytes = fs::read(&path).unwrap();
    match how {
        How::Flipped(at) => bytes[at] ^= 1,
        How::Cut(length) => bytes.truncate(length),
        How::Gone => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_format_restores_what_it_restored_when_it_was_written() {
    for format in 1..=FORMAT {
        let expected: Expected = read(format, "expected.json");
        assert!(expected.len() > 2);
        let bench = golden(format).await;
        for key in [password(), Password::new(TYPED).unwrap()] {
            let seen = restored(&bench, &key).await;
            assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (attempt, expected) in &expected {
                assert_eq!(&seen[attempt], expected, "point {attempt} of format {format}");
            }
        }
        assert_eq!(named(&bench).await, BTreeSet::new());
    }
}

#[tokio::test]
async fn a_new_point_goes_on_from_the_points_of_every_format() {
    for format in 1..=FORMAT {
        let bench = golden(format).await;
        let repo = Repository::open(bench.store(), &password()).await.unwrap();
        let newest = repo.points().await.unwrap().points.pop().unwrap();
        let target = bench.scratch("target");
        restore(&repo, &newest, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
        let mut wanted = request(&target, "goes on");
        wanted.attributes.consistency_time = newest.attributes.consistency_time;
        let next = backup(&repo, wanted).await.unwrap().point;
        assert!(next.totals.bytes_stored < 4_000, "what the format holds is stored anew: {:?}", next.totals);
    }
}

#[tokio::test]
async fn damage_to_any_object_of_every_format_is_named() {
    for format in 1..=FORMAT {
        let damages: Vec<Damage> = read(format, "damage.json");
        let kinds: BTreeSet<&str> =
            damages.iter().filter_map(|damage| damage.object.split('/').next()).collect();
        let all = ["condemned", "config", "index", "keys", "lease", "marks", "packs", "points"];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
        for Damage { object, how, named: expected } in damages {
            let bench = golden(format).await;
            damage(&bench, &object, how);
            assert_eq!(named(&bench).await, expected, "format {format}, {object}: {how:?}");
        }
    }
}

/// A tree that has one of everything.
fn write_everything(bench: &Bench, db: &[u8], level0: &[u8]) {
    bench.write("chroma.sqlite3", db);
    bench.write("segment/data_level0.bin", level0);
    bench.write("text", b"a compressible file a compressible file a compressible file");
    bench.write("empty", b"");
    let source = bench.source();
    fs::hard_link(source.join("text"), source.join("segment/another name")).unwrap();
    std::os::unix::fs::symlink("segment/data_level0.bin", source.join("symbolic")).unwrap();
    fs::write(source.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff")), b"x").unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 1 << 19).unwrap();
    fs::set_permissions(source.join("empty"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(crate::attributes::set(&source.join("empty"), "user.origin", b"\x00\xff"));
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    for path in tree_of(source).into_keys() {
        if !source.join(&path).is_symlink() {
            File::open(source.join(path)).unwrap().set_modified(then).unwrap();
        }
    }
}

/// Writes the golden repository of the current format. Run once, when a format is new.
#[tokio::test]
#[ignore = "writes what the others read; make golden runs it"]
async fn a_golden_repository_is_written() {
    let place = folder(FORMAT);
    assert!(!place.exists(), "{} is there: what a release wrote is never written anew", place.display());
    let bench = Bench::with_xattrs().await;
    let clock = Arc::new(Clock::default());
    let store = Clocked::keeping(bench.store(), Arc::clone(&clock), "lease/");
    let repo = Repository::open(store, &password()).await.unwrap();
    repo.add_key_slot(&Password::new(TYPED).unwrap(), "typed", clock.now()).await.unwrap();
    repo.put_mark("quarantine", "a point", serde_json::json!({"because": "of a test"})).await.unwrap();

    let (mut db, mut level0) = (noise(1, 70 * PAGE), noise(2, 1676 * 20 + 5));
    let mut expected = Expected::new();
    let mut sizes = Vec::new();
    for (minute, attempt) in (0..).zip(["whole", "differences", "patches", "rows"]) {
        match attempt {
            "differences" => {
                db[5000] ^= 1;
                level0[1676 * 7] ^= 1;
            }
            // Every page anew out of pieces of the others.
            "patches" => {
                let before = db.clone();
                for (piece, to) in db.chunks_exact_mut(256).enumerate() {
                    let from = (piece * 31 + 7) % (before.len() / 256);
                    to.copy_from_slice(&before[from * 256..(from + 1) * 256]);
                }
            }
            "rows" => level0.extend(noise(3, 1676 * 2)),
            _ => {}
        }
        let _ = fs::remove_dir_all(bench.source());
        write_everything(&bench, &db, &level0);
        if attempt == "differences" {
            bench.write("in no other point", &noise(4, 30_000));
        }
        let mut wanted = request(bench.source(), attempt);
        wanted.attributes.consistency_time = at(minute * 60);
        let point = backup(&repo, wanted).await.unwrap().point;
        sizes.push(point.totals.bytes_stored);
        expected.insert(attempt.to_owned(), facts(bench.source()));
    }
    assert!(sizes[2] < 60_000, "no patches: {sizes:?}");
    // One point goes, so that there are condemned packs and the lease of whoever condemned them.
    let gone = repo.find_by_attempt("differences").await.unwrap().unwrap();
    clock.pass(SignedDuration::from_hours(48));
    let wanted = Prune {
        remove: [gone.id].into(),
        wait: SignedDuration::from_hours(24),
        waste: 1,
        dry_run: false,
        now: clock.now(),
    };
    let pruned = prune(&repo, &wanted, silent()).await.unwrap();
    assert!(pruned.packs_condemned > 0, "{pruned:?}");
    expected.remove("differences");

    fs::create_dir_all(&place).unwrap();
    copy(bench.store_path(), &place.join("repository"));
    write(&place, "expected.json", &expected);
    write(&place, "damage.json", &damages().await);
}

fn write(place: &Path, name: &str, value: &impl Serialize) {
    fs::write(place.join(name), serde_json::to_vec_pretty(value).unwrap()).unwrap();
}

/// Each object with a bit flipped at three places, cut, and gone.
async fn damages() -> Vec<Damage> {
    let mut damages = Vec::new();
    let begun = golden(FORMAT).await;
    for (path, bytes) in tree_of(begun.store_path()) {
        if !begun.store_path().join(&path).is_file() {
            continue;
        }
        let object = path.to_str().unwrap().to_owned();
        let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
        for how in [How::Flipped(0), How::Flipped(middle), How::Flipped(last), How::Cut(middle), How::Gone] {
            let bench = golden(FORMAT).await;
            damage(&bench, &object, how);
            damages.push(Damage { object: object.clone(), how, named: named(&bench).await });
        }
    }
    damages
}
