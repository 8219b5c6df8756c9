//! Histories of captures: what changed is stored near its own size, and every generation comes back byte for byte.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{Bench, noise, request, same_tree, tree_of};
use engine::{Layout, Level, Point, RestoreMode, backup, restore, silent, verify};

const PAGES: usize = 2000;

async fn comes_back(bench: &Bench, point: &Point, expected: &Path, name: &str) {
    let target = bench.scratch(name);
    restore(&bench.repo, point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(expected, &target);
    std::fs::remove_dir_all(target).unwrap();
}

fn snapshot(bench: &Bench, name: &str) -> PathBuf {
    let to = bench.scratch(name);
    let done = std::process::Command::new("cp").arg("-a").arg(bench.source()).arg(&to).status().unwrap();
    assert!(done.success());
    to
}

#[tokio::test]
async fn fifty_increments_of_two_pages_are_small_and_each_comes_back() {
    let bench = Bench::new().await;
    let mut db = noise(1, PAGES * 4096);
    bench.write("chroma.sqlite3", &db);
    bench.write("segment/data_level0.bin", &noise(2, 1676 * 3000));
    let mut history = vec![(backup(&bench.repo, request(bench.source(), "0")).await.unwrap().point, None)];
    for generation in 1..=50usize {
        let before = (bench.stored_bytes(), tree_of(bench.store_path()).len());
        // One page that always changes and drifts away from its first version, and one here and there.
        for (page, with) in [(7, generation), (generation * 37 % PAGES, 1)] {
            let at = page * 4096 + generation * 60;
            db[at..at + 60].copy_from_slice(&noise(with as u64 + 9, 60));
        }
        bench.write("chroma.sqlite3", &db);
        let point =
            backup(&bench.repo, request(bench.source(), &generation.to_string())).await.unwrap().point;
        let added = bench.stored_bytes() - before.0;
        assert!(added < 20_000, "increment {generation} added {added} bytes");
        let objects = tree_of(bench.store_path()).len() - before.1;
        // Data, maps, an index and the point, with at most a directory for each pack.
        assert!(objects <= 6, "increment {generation} added {objects} objects");
        let kept = (generation % 17 == 0 || generation == 50)
            .then(|| snapshot(&bench, &format!("kept{generation}")));
        history.push((point, kept));
    }
    for (point, kept) in &history {
        if let Some(kept) = kept {
            comes_back(&bench, point, kept, "target").await;
        }
    }
    let last = &history[50].0;
    assert!(verify(&bench.repo, last, Level::Full, silent()).await.unwrap().passed());
    let target = bench.scratch("onto");
    restore(&bench.repo, &history[0].0, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    let summary = restore(&bench.repo, last, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    assert_eq!(summary.bytes_written, 51 * 4096, "only the pages that differ are written");
}

#[tokio::test]
async fn links_that_change_do_not_drag_vectors_along() {
    let bench = Bench::new().await;
    let mut level0 = noise(2, 1676 * 6000);
    bench.write("data_level0.bin", &level0);
    backup(&bench.repo, request(bench.source(), "0")).await.unwrap();
    // Four bytes in each fourth record.
    for record in (0..6000).step_by(4) {
        level0[record * 1676 + 40..][..4].copy_from_slice(&[1, 2, 3, 4]);
    }
    bench.write("data_level0.bin", &level0);
    let point = backup(&bench.repo, request(bench.source(), "1")).await.unwrap().point;
    let stored = point.totals.bytes_stored;
    assert!(stored < 40_000, "1,500 links of four bytes took {stored} bytes");
    comes_back(&bench, &point, bench.source(), "target").await;
}

#[tokio::test]
async fn what_a_version_before_lost_is_stored_anew() {
    for class in ["data", "maps"] {
        let bench = Bench::new().await;
        let mut db = noise(1, PAGES * 4096);
        bench.write("chroma.sqlite3", &db);
        backup(&bench.repo, request(bench.source(), "0")).await.unwrap();
        let mut packs: Vec<_> = tree_of(bench.store_path())
            .into_iter()
            .filter(|(path, bytes)| path.starts_with("packs") && !bytes.is_empty())
            .map(|(path, bytes)| (bytes.len(), path))
            .collect();
        packs.sort();
        // The maps lie in a pack of their own, by far the smallest.
        let lost = if class == "maps" { packs.remove(0) } else { packs.pop().unwrap() };
        std::fs::remove_file(bench.store_path().join(lost.1)).unwrap();
        db[9000] ^= 1;
        bench.write("chroma.sqlite3", &db);
        let point = backup(&bench.repo, request(bench.source(), "1")).await.unwrap().point;
        comes_back(&bench, &point, bench.source(), "target").await;
    }
}

#[tokio::test]
async fn a_damaged_base_is_no_obstacle_for_what_changed() {
    let bench = Bench::new().await;
    let mut db = noise(1, 64 * 4096);
    bench.write("chroma.sqlite3", &db);
    backup(&bench.repo, request(bench.source(), "0")).await.unwrap();
    let data = tree_of(bench.store_path()).into_iter().find(|(_, bytes)| bytes.len() > 200_000).unwrap();
    let mut damaged = data.1.clone();
    damaged[1000] ^= 1;
    std::fs::write(bench.store_path().join(&data.0), damaged).unwrap();
    for page in 0..64 {
        db[page * 4096] ^= 1;
    }
    bench.write("chroma.sqlite3", &db);
    let point = backup(&bench.repo, request(bench.source(), "1")).await.unwrap().point;
    comes_back(&bench, &point, bench.source(), "target").await;
}

mod any_history {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Edit {
        /// Bytes at a place, as a share of the length.
        Change {
            at: f64,
            seed: u64,
            length: usize,
        },
        Grow {
            seed: u64,
            length: usize,
        },
        Shrink {
            to: f64,
        },
        Zero {
            at: f64,
            length: usize,
        },
        Lay(Layout),
        Nothing,
    }

    fn layout() -> impl Strategy<Value = Layout> {
        prop_oneof![
            Just(Layout::Stream),
            Just(Layout::Pages { size: 4096 }),
            Just(Layout::Pages { size: 512 }),
            Just(Layout::Records { stride: 1676, columns: vec![132, 1536, 8] }),
            (1u32..900, 1u32..9000).prop_map(|(a, b)| Layout::Records { stride: a + b, columns: vec![a, b] }),
        ]
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            6 => (0.0..1.0, 0u64..9, prop_oneof![1usize..9, 1usize..20_000])
                .prop_map(|(at, seed, length)| Edit::Change { at, seed, length }),
            2 => (0u64..9, prop_oneof![1usize..9, 1usize..300_000]).prop_map(|(seed, length)| Edit::Grow { seed, length }),
            2 => (0.0..1.0).prop_map(|to| Edit::Shrink { to }),
            1 => (0.0..1.0, 1usize..100_000).prop_map(|(at, length)| Edit::Zero { at, length }),
            1 => layout().prop_map(Edit::Lay),
            1 => Just(Edit::Nothing),
        ]
    }

    fn apply(edit: &Edit, bytes: &mut Vec<u8>, layout: &mut Layout) {
        let place = |share: f64, length: usize| (share * length as f64) as usize;
        match edit {
            Edit::Change { at, seed, length } => {
                let at = place(*at, bytes.len());
                let end = bytes.len().min(at + length);
                bytes[at..end].copy_from_slice(&noise(*seed, end - at));
            }
            Edit::Grow { seed, length } => bytes.extend(noise(*seed, *length)),
            Edit::Shrink { to } => bytes.truncate(place(*to, bytes.len())),
            Edit::Zero { at, length } => {
                let at = place(*at, bytes.len());
                let end = bytes.len().min(at + length);
                bytes[at..end].fill(0);
            }
            Edit::Lay(other) => *layout = other.clone(),
            Edit::Nothing => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn comes_back_identical_at_every_generation(
            first in layout(), length in prop_oneof![0usize..50_000, 4_100_000usize..6_000_000],
            edits in prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..24),
        ) {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let bench = Bench::new().await;
                let (mut bytes, mut layout) = (noise(1, length), first);
                let mut generations: HashMap<usize, (Point, Vec<u8>)> = HashMap::new();
                for (number, edits) in [vec![]].iter().chain(&edits).enumerate() {
                    edits.iter().for_each(|edit| apply(edit, &mut bytes, &mut layout));
                    bench.write("f", &bytes);
                    let mut wanted = request(bench.source(), &number.to_string());
                    let asked = layout.clone();
                    wanted.layout = Arc::new(move |_, _| asked.clone());
                    let point = backup(&bench.repo, wanted).await.unwrap().point;
                    generations.insert(number, (point, bytes.clone()));
                }
                let onto = bench.scratch("onto");
                for (number, (point, bytes)) in generations {
                    let target = bench.scratch(&format!("target{number}"));
                    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
                    assert!(std::fs::read(target.join("f")).unwrap() == bytes, "generation {number}");
                    std::fs::remove_dir_all(target).unwrap();
                    restore(&bench.repo, &point, &onto, RestoreMode::OntoExisting, silent()).await.unwrap();
                    assert!(std::fs::read(onto.join("f")).unwrap() == bytes, "generation {number} onto another");
                }
            });
        }
    }
}
