//! One flipped bit, a truncation, a deletion, a swap: in every kind of object it is noticed, and the object is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::clocked::{Clock, Clocked};
use crate::support::{Bench, noise, password, request, same_tree, tree_of};
use engine::{Level, Prune, Repository, RestoreMode, backup, prune, restore, silent, verify_all};
use jiff::SignedDuration;

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.write("chroma.sqlite3", &noise(1, 300_000));
    bench.write("text", b"a compressible file a compressible file a compressible file");
    backup(&bench.repo, request(bench.source(), "a")).await.unwrap();
    bench.repo.put_mark("quarantine", "x", serde_json::json!(1)).await.unwrap();
    bench
}

/// And a second capture with units stored whole, as differences, and maps that follow others.
async fn bench_with_deltas() -> Bench {
    let bench = bench().await;
    bench.write("segment/data_level0.bin", &noise(2, 1676 * 200 + 5));
    backup(&bench.repo, request(bench.source(), "before")).await.unwrap();
    let mut db = noise(1, 300_000);
    db[5000] ^= 1;
    db[100_000..110_000].fill(3);
    bench.write("chroma.sqlite3", &db);
    let mut level0 = noise(2, 1676 * 200 + 5);
    level0[1676 * 50] ^= 1;
    level0.extend(noise(3, 1676));
    bench.write("segment/data_level0.bin", &level0);
    backup(&bench.repo, request(bench.source(), "b")).await.unwrap();
    bench
}

/// And what maintenance leaves while it waits: a lease that couldn't be deleted, and a list of condemned packs.
async fn bench_with_every_kind() -> Bench {
    let bench = bench_with_deltas().await;
    let clock = Arc::new(Clock::default());
    clock.pass(SignedDuration::from_hours(48));
    let store = Clocked::keeping(bench.store(), Arc::clone(&clock), "lease/");
    let repo = Repository::open(store, &password()).await.unwrap();
    let first = repo.find_by_attempt("a").await.unwrap().unwrap();
    let wanted = Prune {
        remove: [first.id].into(),
        wait: SignedDuration::from_hours(24),
        waste: 5,
        dry_run: false,
        now: clock.now(),
    };
    let pruned = prune(&repo, &wanted, silent()).await.unwrap();
    assert!(pruned.packs_condemned > 0, "{pruned:?}");
    bench
}

/// Objects by their name, without directories.
fn objects(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = tree_of(bench.store_path());
    found.retain(|path, _| bench.store_path().join(path).is_file());
    found
}

/// What verify finds, or the refusal to open, as one text.
async fn told(bench: &Bench) -> String {
    let repo = match Repository::open(bench.store(), &password()).await {
        Ok(repo) => repo,
        Err(e) => return e.to_string(),
    };
    match verify_all(&repo, Level::Full, silent()).await {
        Ok(report) => report.findings.iter().map(|f| format!("{}: {}\n", f.object, f.what)).collect(),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn a_sound_repository_has_no_findings() {
    assert_eq!(told(&bench_with_every_kind().await).await, "");
}

#[tokio::test]
async fn one_flipped_bit_anywhere_is_noticed_and_the_object_named() {
    let bench = bench_with_every_kind().await;
    let mut kinds = std::collections::BTreeSet::new();
    for (path, bytes) in objects(&bench) {
        let name = path.to_string_lossy().into_owned();
        kinds.insert(name.split('/').next().unwrap().to_owned());
        // Every part of an object is met: the head, the middle, the end, and steps between.
        // Of small objects every block: hardly one is shorter than this.
        let step = if bytes.len() < 3000 { 60 } else { (bytes.len() / 12).max(1) };
        for at in (0..bytes.len()).step_by(step).chain([5, 6, 7, bytes.len() - 1, bytes.len() - 5]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(bench.store_path().join(&path), &damaged).unwrap();
            let told = told(&bench).await;
            assert!(told.contains(&name), "bit in byte {at} of {name}: {told:?}");
        }
        fs::write(bench.store_path().join(&path), &bytes).unwrap();
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["condemned", "config", "index", "keys", "lease", "marks", "packs", "points"]
    );
    assert_eq!(told(&bench).await, "");
}

#[tokio::test]
async fn a_truncated_or_emptied_object_is_noticed_and_named() {
    let bench = bench_with_every_kind().await;
    for (path, bytes) in objects(&bench) {
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(bench.store_path().join(&path), &bytes[..length]).unwrap();
            let told = told(&bench).await;
            assert!(told.contains(path.to_str().unwrap()), "{path:?} cut at {length}: {told:?}");
        }
        fs::write(bench.store_path().join(&path), &bytes).unwrap();
    }
}

#[tokio::test]
async fn a_missing_pack_is_named_by_every_level_and_stops_a_restore_before_it_touches_the_target() {
    let bench = bench_with_deltas().await;
    let point = bench.repo.find_by_attempt("b").await.unwrap().unwrap();
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    fs::write(target.join("mine"), b"mine").unwrap();
    let before = tree_of(&target);
    for (path, bytes) in objects(&bench).into_iter().filter(|(path, _)| path.starts_with("packs")) {
        fs::remove_file(bench.store_path().join(&path)).unwrap();
        for level in [Level::Manifest, Level::Sample, Level::Full] {
            let report = engine::verify(&bench.repo, &point, level, silent()).await.unwrap();
            let named = report.findings.iter().any(|f| f.object == path.to_str().unwrap());
            assert!(named, "{level:?}: {:?}", report.findings);
        }
        let refused =
            restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap_err();
        assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
        assert_eq!(tree_of(&target), before);
        fs::write(bench.store_path().join(&path), bytes).unwrap();
    }
}

#[tokio::test]
async fn a_restore_from_a_damaged_pack_fails_and_names_it() {
    let bench = bench().await;
    let point = bench.repo.points().await.unwrap().points.remove(0);
    for (number, (path, bytes)) in
        objects(&bench).into_iter().filter(|(p, _)| p.starts_with("packs")).enumerate()
    {
        let mut damaged = bytes.clone();
        damaged[100] ^= 1;
        fs::write(bench.store_path().join(&path), &damaged).unwrap();
        let target = bench.scratch(&format!("target{number}"));
        let failed =
            restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
        assert!(failed.to_string().contains(path.to_str().unwrap()), "{failed}");
        assert_eq!(failed.category(), engine::Category::Corrupt);
        fs::write(bench.store_path().join(&path), bytes).unwrap();
    }
}

#[tokio::test]
async fn a_point_put_in_the_place_of_another_is_noticed() {
    let bench = bench().await;
    bench.write("text", b"another");
    backup(&bench.repo, request(bench.source(), "b")).await.unwrap();
    let points: Vec<_> = objects(&bench).into_iter().filter(|(path, _)| path.starts_with("points")).collect();
    fs::write(bench.store_path().join(&points[0].0), &points[1].1).unwrap();
    let catalogue = bench.repo.points().await.unwrap();
    assert_eq!(catalogue.points.len(), 1, "the other point still shows");
    assert_eq!(catalogue.unreadable[0].0, points[0].0.to_str().unwrap());
}

#[tokio::test]
async fn a_lost_index_is_read_from_the_packs_when_damaged_and_refilled_by_the_next_capture_when_gone() {
    let bench = bench().await;
    let point = bench.repo.points().await.unwrap().points.remove(0);
    let (path, bytes) = objects(&bench).into_iter().find(|(path, _)| path.starts_with("index")).unwrap();
    fs::write(bench.store_path().join(&path), &bytes[..bytes.len() - 1]).unwrap();
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    fs::remove_file(bench.store_path().join(&path)).unwrap();
    backup(&bench.repo, request(bench.source(), "b")).await.unwrap();
    restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    same_tree(bench.source(), &target);
}

#[tokio::test]
async fn a_capture_stores_anew_what_was_deleted_from_under_the_index() {
    let bench = bench().await;
    for (path, _) in objects(&bench).into_iter().filter(|(path, _)| path.starts_with("packs")) {
        fs::remove_file(bench.store_path().join(path)).unwrap();
    }
    let point = backup(&bench.repo, request(bench.source(), "b")).await.unwrap().point;
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(bench.source(), &target);
}
