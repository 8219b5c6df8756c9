//! I1 and I7 under death at every store operation: whatever was committed before restores byte for byte, nothing that is
//! torn shows up as a point, and what the dead left behind stops nobody.

use std::sync::Arc;

use crate::support::faulty::{Dies, Faulty, Lie, Lying};
use crate::support::{Bench, at, noise, password, request, same_tree};
use engine::store::{DirStore, Store};
use engine::{Level, Repository, RestoreMode, backup, restore, silent, verify_all};

/// A bench with one point, and a source that has moved on since.
async fn bench_with_history() -> (Bench, std::path::PathBuf) {
    let bench = Bench::new().await;
    bench.write("chroma.sqlite3", &noise(1, 400_000));
    bench.write("segment/data_level0.bin", &noise(2, 300_000));
    backup(&bench.repo, request(bench.source(), "first")).await.unwrap();
    let first = bench.scratch("first");
    copy_tree(bench.source(), &first);
    let mut db = noise(1, 400_000);
    db[200_000..200_100].fill(7);
    bench.write("chroma.sqlite3", &db);
    bench.write("segment/new", &noise(3, 100_000));
    (bench, first)
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

async fn restores_to(bench: &Bench, attempt: &str, expected: &std::path::Path, name: &str) {
    let point = bench.repo.find_by_attempt(attempt).await.unwrap().expect("the point is there");
    let target = bench.scratch(name);
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(expected, &target);
    std::fs::remove_dir_all(target).unwrap();
}

#[tokio::test]
async fn i1_a_capture_killed_at_any_store_operation_leaves_earlier_points_whole_and_the_next_capture_works() {
    let (bench, _) = bench_with_history().await;
    let counting = Faulty::counting(bench.store());
    let repo = Repository::open(counting.clone(), &password()).await.unwrap();
    let opening = counting.count();
    backup(&repo, request(bench.source(), "counted")).await.unwrap();
    let operations = counting.count() - opening;
    assert!(operations > 10, "{operations} operations are too few to mean anything");

    let (bench, first) = bench_with_history().await;
    for n in 1..=operations {
        for dies in [Dies::Before, Dies::After] {
            let attempt = format!("dies at {n} {dies:?}");
            let faulty = Faulty::dying(bench.store(), opening + n, dies);
            let repo = Repository::open(faulty, &password()).await.unwrap();
            let died = backup(&repo, request(bench.source(), &attempt)).await;

            let catalogue = bench.repo.points().await.unwrap();
            assert_eq!(catalogue.unreadable, [], "{attempt}");
            if let Some(point) = bench.repo.find_by_attempt(&attempt).await.unwrap() {
                let report = engine::verify(&bench.repo, &point, Level::Full, silent()).await.unwrap();
                assert!(report.passed(), "{attempt}: {:?}", report.findings);
                let again = backup(&bench.repo, request(bench.source(), &attempt)).await.unwrap();
                assert!(again.already_committed, "{attempt}: a lost report must find the point again");
            } else {
                assert!(died.is_err(), "{attempt}: success without a point");
            }
        }
    }
    restores_to(&bench, "first", &first, "t1").await;
    backup(&bench.repo, request(bench.source(), "next")).await.unwrap();
    restores_to(&bench, "next", bench.source(), "t2").await;
    let report = verify_all(&bench.repo, Level::Full, silent()).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test]
async fn a_creation_killed_at_any_store_operation_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let counting = Faulty::counting(Arc::new(DirStore::new(dir.path().join("counted"))));
    Repository::init(counting.clone(), &password(), at(0)).await.unwrap();
    for n in 1..=counting.count() {
        for dies in [Dies::Before, Dies::After] {
            let store: Arc<dyn Store> = Arc::new(DirStore::new(dir.path().join(format!("{n}{dies:?}"))));
            let faulty = Faulty::dying(Arc::clone(&store), n, dies);
            Repository::init(faulty, &password(), at(0)).await.unwrap_err();
            let repo = Repository::open_or_init(Arc::clone(&store), &password(), at(1)).await.unwrap();
            assert_eq!(repo.slots().await.unwrap().len(), 1, "a slot left by the dead counts for nothing");
            Repository::open(store, &password()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn i7_a_restore_killed_at_any_store_operation_says_so_and_goes_on() {
    let (bench, first) = bench_with_history().await;
    let point = bench.repo.find_by_attempt("first").await.unwrap().unwrap();
    let counting = Faulty::counting(bench.store());
    let repo = Repository::open(counting.clone(), &password()).await.unwrap();
    let opening = counting.count();
    restore(&repo, &point, &bench.scratch("counted"), RestoreMode::EmptyTarget, silent()).await.unwrap();
    for n in 1..=counting.count() - opening {
        let target = bench.scratch(&format!("target {n}"));
        let repo = Repository::open(Faulty::dying(bench.store(), opening + n, Dies::Before), &password())
            .await
            .unwrap();
        restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
        if target.exists() {
            let refused =
                restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
            assert!(matches!(refused, engine::Error::TargetInterrupted { .. }), "{refused}");
        }
        restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
        same_tree(&first, &target);
    }
}

#[tokio::test]
async fn a_repeated_capture_after_a_death_sends_little_twice() {
    let bench = Bench::new().await;
    bench.write("big", &noise(1, 80 << 20));
    // A piece of the index stands after 8 packs of 6 MiB; all others are stored too, and no piece lists them.
    let faulty = Faulty::dying_before(bench.store(), 2, "put index/");
    let repo_dying = Repository::open(faulty, &password()).await.unwrap();
    backup(&repo_dying, request(bench.source(), "a")).await.unwrap_err();
    let second = backup(&bench.repo, request(bench.source(), "a")).await.unwrap();
    let stored = second.point.totals.bytes_stored;
    assert!(stored < 1 << 20, "{stored} bytes were sent again");
}

#[tokio::test]
async fn i1_a_store_that_acknowledges_what_it_does_not_keep_gets_no_point() {
    for lie in [Lie::Forgets, Lie::CutsShort] {
        let (bench, _) = bench_with_history().await;
        let honest = Lying::at(bench.store(), usize::MAX, lie);
        let repo = Repository::open(honest.clone(), &password()).await.unwrap();
        backup(&repo, request(bench.source(), "honest")).await.unwrap();
        let writes = honest.writes();
        assert!(writes >= 4, "data, maps, index, point: {writes}");
        for n in 1..=writes {
            let (bench, _) = bench_with_history().await;
            let repo = Repository::open(Lying::at(bench.store(), n, lie), &password()).await.unwrap();
            let refused = backup(&repo, request(bench.source(), "x")).await;
            assert!(refused.is_err(), "{lie:?} write {n}: told as a success");
            let points = bench.repo.points().await.unwrap().points;
            assert_eq!(points.len(), 1, "{lie:?} write {n}: only the earlier point may show");
            backup(&bench.repo, request(bench.source(), "next")).await.unwrap();
            restores_to(&bench, "next", bench.source(), "target").await;
        }
    }
}
