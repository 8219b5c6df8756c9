//! Pages that are rewritten out of one another, as a full-text index rewrites its own: what is new in them is stored, every
//! version comes back, and neither a prune nor damage takes anything that a patch needs.

use std::path::Path;
use std::sync::Arc;

use crate::support::clocked::{Clock, Clocked};
use crate::support::{Bench, noise, password, request, same_tree, tree_of};
use engine::store::{Counting, Traffic};
use engine::{Error, Level, Point, Prune, Repository, RestoreMode, backup, prune, restore, silent, verify};
use jiff::SignedDuration;

const PAGE: usize = 4096;
const PIECE: usize = 256;

/// As many pages as bytes, each made of pieces of the page that another stood in: nothing is new but the order.
fn rewritten(db: &[u8], from: usize, pages: usize, by: usize) -> Vec<u8> {
    let mut after = db.to_vec();
    let pieces = pages * PAGE / PIECE;
    for piece in 0..pieces {
        // A stride that has no divisor in common with a power of two visits all.
        let other = (piece * (2 * by + 1) + by * 7) % pieces;
        let (to, source) = (from * PAGE + piece * PIECE, from * PAGE + other * PIECE);
        after[to..to + PIECE].copy_from_slice(&db[source..source + PIECE]);
    }
    after
}

async fn captured(bench: &Bench, db: &[u8], name: &str) -> Point {
    bench.write("chroma.sqlite3", db);
    backup(&bench.repo, request(bench.source(), name)).await.unwrap().point
}

async fn comes_back(bench: &Bench, point: &Point, db: &[u8], name: &str) {
    let target = bench.scratch(name);
    restore(&bench.repo, point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    assert!(std::fs::read(target.join("chroma.sqlite3")).unwrap() == db, "{name} differs");
    std::fs::remove_dir_all(target).unwrap();
}

#[tokio::test]
async fn pages_rewritten_out_of_one_another_cost_what_is_new_in_them() {
    let bench = Bench::new().await;
    // Over more than one segment, so that a page's bytes come from another's.
    let db = noise(1, 2000 * PAGE);
    let first = captured(&bench, &db, "0").await;
    let mut after = rewritten(&db, 900, 512, 1);
    // And pages that are new in the file.
    after.extend_from_slice(&rewritten(&db, 900, 512, 2)[1000 * PAGE..1064 * PAGE]);
    let second = captured(&bench, &after, "1").await;
    let stored = second.totals.bytes_stored;
    assert!(stored < 200_000, "576 pages of nothing new took {stored} bytes");
    comes_back(&bench, &first, &db, "first").await;
    comes_back(&bench, &second, &after, "second").await;
    assert!(verify(&bench.repo, &second, Level::Full, silent()).await.unwrap().passed());
    assert!(verify(&bench.repo, &second, Level::Sample, silent()).await.unwrap().passed());

    let target = bench.scratch("onto");
    restore(&bench.repo, &first, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    restore(&bench.repo, &second, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    let again = restore(&bench.repo, &second, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    assert_eq!(again.bytes_written, 0);
}

#[tokio::test]
async fn what_a_target_has_of_the_version_before_is_not_read_again() {
    let bench = Bench::new().await;
    let db = noise(1, 2000 * PAGE);
    let first = captured(&bench, &db, "0").await;
    // Pages put together out of others, for which a dictionary is needed, and here and there a page of which little changed.
    let mut after = rewritten(&db, 900, 512, 1);
    (0..800).step_by(16).for_each(|page| after[page * PAGE + 100] ^= 1);
    let second = captured(&bench, &after, "1").await;
    assert!(second.totals.bytes_stored < 200_000);

    let target = bench.scratch("onto");
    restore(&bench.repo, &first, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    let traffic = Arc::new(Traffic::default());
    let store = Arc::new(Counting::new(bench.store(), Arc::clone(&traffic)));
    let repo = Repository::open(store, &password()).await.unwrap();
    restore(&repo, &second, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    let read = traffic.tally().bytes_received;
    assert!(read < 500_000, "{read} bytes were read, of which the new point has at most 200,000");
}

#[tokio::test]
async fn a_history_of_rewritings_needs_few_dictionaries_and_every_version_comes_back() {
    let bench = Bench::new().await;
    let mut db = noise(1, 1400 * PAGE);
    let mut history = vec![(captured(&bench, &db, "0").await, db.clone())];
    for generation in 1..=9 {
        // Other pages each time, some of them for the second time, and a shrunken and a grown file between.
        db = rewritten(&db, generation * 80, 128, generation);
        db[generation * 5000] ^= 1;
        match generation {
            4 => db.truncate(1100 * PAGE + 17),
            6 => db.extend(noise(9, 300 * PAGE)),
            _ => {}
        }
        history.push((captured(&bench, &db, &generation.to_string()).await, db.clone()));
    }
    for (number, (point, db)) in history.iter().enumerate() {
        comes_back(&bench, point, db, &format!("version {number}")).await;
        assert!(verify(&bench.repo, point, Level::Full, silent()).await.unwrap().passed(), "{number}");
    }
}

#[tokio::test]
async fn i3_what_a_patch_was_compressed_against_outlives_the_points_before_it() {
    let mut bench = Bench::new().await;
    let clock = Arc::new(Clock::default());
    bench.repo =
        Repository::open(Clocked::new(bench.store(), Arc::clone(&clock)), &password()).await.unwrap();
    let day = SignedDuration::from_hours(24);
    let mut db = noise(1, 1200 * PAGE);
    let mut gone = vec![captured(&bench, &db, "0").await.id];
    clock.pass(day);
    db = rewritten(&db, 300, 256, 1);
    gone.push(captured(&bench, &db, "1").await.id);
    clock.pass(day);
    // The patch of the first rewriting is needed still, its dictionary is no part of the file any more.
    db[..200 * PAGE].copy_from_slice(&noise(5, 200 * PAGE));
    let mut kept = rewritten(&db, 700, 256, 3);
    let point = captured(&bench, &kept, "2").await;
    for _ in 0..4 {
        clock.pass(day);
        let remove = gone.drain(..).collect();
        let wanted = Prune { remove, wait: day, waste: 10, dry_run: false, now: clock.now() };
        prune(&bench.repo, &wanted, silent()).await.unwrap();
    }
    assert_eq!(bench.repo.points().await.unwrap().points.len(), 1);
    comes_back(&bench, &point, &kept, "kept").await;
    assert!(verify(&bench.repo, &point, Level::Full, silent()).await.unwrap().passed());
    kept[0] ^= 1;
    let next = captured(&bench, &kept, "3").await;
    comes_back(&bench, &next, &kept, "next").await;
}

/// The pack with data that was written last, and the one before.
fn packs_of_data(store: &Path) -> Vec<std::path::PathBuf> {
    let mut packs: Vec<_> = tree_of(store)
        .into_iter()
        .filter(|(path, bytes)| path.starts_with("packs") && bytes.len() > 60_000)
        .map(|(path, _)| store.join(path))
        .collect();
    packs.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    packs
}

#[tokio::test]
async fn damage_to_a_dictionary_or_to_a_patch_is_named_and_the_next_capture_goes_without() {
    for damaged in ["dictionary", "patch"] {
        let bench = Bench::new().await;
        let db = noise(1, 600 * PAGE);
        captured(&bench, &db, "0").await;
        // Little is new, so that a patch is made; enough that its pack can be told from those of maps.
        let mut after = rewritten(&db, 100, 256, 1);
        for page in 100..356 {
            after[page * PAGE..page * PAGE + 300].copy_from_slice(&noise(page as u64, 300));
        }
        let point = captured(&bench, &after, "1").await;
        let packs = packs_of_data(bench.store_path());
        assert_eq!(packs.len(), 2);
        let pack = &packs[usize::from(damaged == "patch")];
        let mut bytes = std::fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(pack, bytes).unwrap();

        let object = pack.strip_prefix(bench.store_path()).unwrap().to_str().unwrap();
        let target = bench.scratch("target");
        let refused = restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await;
        assert!(matches!(&refused, Err(Error::Damaged { object: o, .. }) if o == object), "{refused:?}");
        let seen = verify(&bench.repo, &point, Level::Full, silent()).await.unwrap();
        assert_eq!(seen.findings.iter().map(|f| &*f.object).collect::<Vec<_>>(), [object], "{damaged}");

        std::fs::remove_file(pack).unwrap();
        after[0] ^= 1;
        let next = captured(&bench, &after, "2").await;
        comes_back(&bench, &next, &after, "next").await;
    }
}
