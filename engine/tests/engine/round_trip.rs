//! A repository in a directory, used as the mover uses it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::{Bench, at, attributes, noise, password, request, same_tree, tree_of};
use engine::{Category, Error, Layout, Password, Repository, RestoreMode, backup, restore, silent};

fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn what_was_captured_comes_back_byte_for_byte_with_its_attributes() {
    let bench = Bench::new().await;
    bench.write("chroma.sqlite3", &noise(1, 900_000));
    bench.write("segment/data_level0.bin", &noise(2, 5 << 20));
    bench.write("segment/empty", b"");
    bench.write("zeros", &vec![0; 3 << 20]);
    fs::create_dir(bench.source().join("an empty directory")).unwrap();
    symlink("../elsewhere", bench.source().join("link")).unwrap();
    fs::set_permissions(bench.source().join("segment/empty"), fs::Permissions::from_mode(0o4710)).unwrap();

    let committed = spawnable(backup(&bench.repo, request(bench.source(), "a"))).await.unwrap();
    assert_eq!(committed.verified.digest(), committed.point.digest);
    assert_eq!(committed.point.totals.files, 4);
    assert_eq!(committed.point.totals.directories, 3);
    assert!(!committed.already_committed);

    let target = bench.scratch("target");
    let work = restore(&bench.repo, &committed.point, &target, RestoreMode::EmptyTarget, silent());
    let summary = spawnable(work).await.unwrap();
    same_tree(bench.source(), &target);
    assert_eq!((summary.files, summary.symlinks, summary.directories), (4, 1, 3));
    assert!(fs::metadata(target.join("zeros")).unwrap().blocks() < 100, "zeros are a hole");
}

#[tokio::test]
async fn an_unchanged_capture_stores_next_to_nothing() {
    let bench = Bench::new().await;
    bench.write("big", &noise(1, 20 << 20));
    backup(&bench.repo, request(bench.source(), "a")).await.unwrap();
    let before = bench.stored_bytes();
    let second = backup(&bench.repo, request(bench.source(), "b")).await.unwrap();
    let point = fs::metadata(bench.store_path().join(second.point.id.object())).unwrap().len();
    assert_eq!(bench.stored_bytes() - before, point, "only the point is new");
    assert!(point < 1500, "the point has {point} bytes");
    assert_eq!(second.point.totals.bytes_stored, 0);
}

#[tokio::test]
async fn an_attempt_commits_once_and_is_found_again() {
    let bench = Bench::new().await;
    bench.write("f", b"one");
    let first = backup(&bench.repo, request(bench.source(), "job-1")).await.unwrap();
    bench.write("f", b"two");
    let again = backup(&bench.repo, request(bench.source(), "job-1")).await.unwrap();
    assert!(again.already_committed);
    assert_eq!(again.point, first.point);
    assert_eq!(bench.repo.points().await.unwrap().points.len(), 1);
    assert_eq!(bench.repo.find_by_attempt("job-1").await.unwrap(), Some(first.point));
    assert_eq!(bench.repo.find_by_attempt("job-2").await.unwrap(), None);
}

#[tokio::test]
async fn twins_of_one_attempt_make_one_point() {
    let bench = Bench::new().await;
    bench.write("f", &noise(5, 100_000));
    let (a, b) = tokio::join!(
        backup(&bench.repo, request(bench.source(), "twin")),
        backup(&bench.repo, request(bench.source(), "twin"))
    );
    assert_eq!(a.unwrap().point, b.unwrap().point);
    assert_eq!(bench.repo.points().await.unwrap().points.len(), 1);
}

#[tokio::test]
async fn several_captures_into_one_repository_at_once_all_hold() {
    let bench = Bench::new().await;
    bench.write("f", &noise(5, 3 << 20));
    let captures = (0..4).map(|n| {
        let name = format!("c{n}");
        let repo = bench.repo.clone();
        let source = bench.source().to_owned();
        async move { backup(&repo, request(&source, &name)).await.unwrap() }
    });
    for committed in futures::future::join_all(captures).await {
        let target = bench.scratch(&committed.point.id.to_string());
        restore(&bench.repo, &committed.point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
        same_tree(bench.source(), &target);
    }
}

#[tokio::test]
async fn points_are_sorted_by_their_consistency_time_and_carry_what_the_caller_said() {
    let bench = Bench::new().await;
    bench.write("f", b"x");
    for (attempt, second) in [("late", 300), ("early", 100), ("middle", 200)] {
        let mut wanted = request(bench.source(), attempt);
        wanted.attributes.consistency_time = at(second);
        wanted.attributes.body = serde_json::json!({"collections": [{"name": "papers", "mean": 0.1}]});
        backup(&bench.repo, wanted).await.unwrap();
    }
    let points = bench.repo.points().await.unwrap().points;
    let attempts: Vec<_> = points.iter().map(|p| p.attributes.attempt.clone().unwrap()).collect();
    assert_eq!(attempts, ["early", "middle", "late"]);
    assert_eq!(points[0].attributes.body["collections"][0]["mean"], 0.1);
    assert!(points[0].stored_at.is_some());
    assert_eq!(bench.repo.point(points[1].id).await.unwrap(), points[1]);
}

#[tokio::test]
async fn a_restore_onto_what_exists_writes_only_what_differs_and_removes_what_is_foreign() {
    let bench = Bench::new().await;
    let db = noise(1, 4 << 20);
    bench.write("chroma.sqlite3", &db);
    bench.write("dir/kept", b"kept");
    symlink("dir", bench.source().join("link")).unwrap();
    let mut wanted = request(bench.source(), "a");
    wanted.layout = std::sync::Arc::new(|_, _| Layout::Pages { size: 4096 });
    let point = backup(&bench.repo, wanted).await.unwrap().point;
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();

    let outside = bench.scratch("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"precious").unwrap();
    let mut other = db.clone();
    other[1_000_000] ^= 1;
    other.extend_from_slice(b"a longer file");
    fs::write(target.join("chroma.sqlite3"), &other).unwrap();
    fs::write(target.join("chroma.sqlite3-journal"), b"stale").unwrap();
    fs::remove_dir_all(target.join("dir")).unwrap();
    symlink(&outside, target.join("dir")).unwrap();
    fs::remove_file(target.join("link")).unwrap();
    fs::create_dir_all(target.join("link/deep")).unwrap();

    let summary = restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    assert_eq!(tree_of(&outside).len(), 2, "nothing outside of the target was touched");
    assert_eq!(summary.bytes_written, 4096 + 4);
    assert_eq!(summary.removed, 2, "the journal and what was in the place of the link");
    fs::create_dir(target.join("lost+found")).unwrap();
    let summary = restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    assert_eq!((summary.bytes_written, summary.files_unchanged, summary.removed), (0, 2, 0));
    assert!(target.join("lost+found").is_dir());
}

#[tokio::test]
async fn a_hard_link_out_of_the_target_does_not_change_with_it() {
    let bench = Bench::new().await;
    bench.write("f", b"right");
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let target = bench.scratch("target");
    fs::create_dir(&target).unwrap();
    let outside = bench.scratch("outside");
    fs::write(&outside, b"wrong").unwrap();
    fs::hard_link(&outside, target.join("f")).unwrap();
    restore(&bench.repo, &point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
    assert_eq!(fs::read(target.join("f")).unwrap(), b"right");
    assert_eq!(fs::read(&outside).unwrap(), b"wrong");
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_and_left_alone() {
    let bench = Bench::new().await;
    bench.write("f", b"x");
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let target = bench.scratch("target");
    fs::create_dir_all(target.join("lost+found")).unwrap();
    fs::write(target.join("mine"), b"mine").unwrap();
    let refused =
        restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
    assert!(matches!(&refused, Error::TargetNotEmpty { example, .. } if example == "mine"), "{refused}");
    fs::remove_file(target.join("mine")).unwrap();
    restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
}

#[tokio::test]
async fn sockets_and_fifos_are_left_out_and_named() {
    let bench = Bench::new().await;
    let _socket = std::os::unix::net::UnixListener::bind(bench.source().join("socket")).unwrap();
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    assert_eq!(point.totals.skipped, 1);
    assert_eq!((point.skipped[0].path.as_str(), point.skipped[0].kind.as_str()), ("socket", "socket"));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_leaves_no_point() {
    let bench = Bench::new().await;
    bench.write("a", b"before");
    let mut wanted = request(bench.source(), "a");
    // The chooser runs after the file was opened: what it does here is what another process could do.
    wanted.layout = std::sync::Arc::new(|_, path| {
        fs::write(path, b"after!").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        Layout::Stream
    });
    let refused = backup(&bench.repo, wanted).await.unwrap_err();
    assert!(matches!(refused, Error::SourceChanged { .. }), "{refused}");
    assert!(refused.to_string().contains("its size or times moved"), "{refused}");
    let mut wanted = request(bench.source(), "replaced");
    wanted.layout = std::sync::Arc::new(|_, path| {
        let other = path.with_extension("other");
        fs::write(&other, b"after!").unwrap();
        fs::rename(other, path).unwrap();
        Layout::Stream
    });
    let refused = backup(&bench.repo, wanted).await.unwrap_err();
    assert!(refused.to_string().contains("another file took its place"), "{refused}");
    let mut wanted = request(bench.source(), "b");
    wanted.layout = std::sync::Arc::new(|_, path| {
        fs::remove_file(path).unwrap();
        Layout::Stream
    });
    let refused = backup(&bench.repo, wanted).await.unwrap_err();
    assert_eq!(refused.category(), Category::Source, "{refused}");
    assert!(
        refused.to_string().contains("a of the source changed while it was read (it vanished)"),
        "{refused}"
    );
    assert!(bench.repo.points().await.unwrap().points.is_empty());
}

#[tokio::test]
async fn marks_are_written_once_and_tell_what_they_say() {
    let bench = Bench::new().await;
    let repo = &bench.repo;
    let verdict = serde_json::json!({"verdict": "Passed"});
    assert_eq!(
        repo.put_mark("verified", "point x", verdict.clone()).await.unwrap(),
        engine::PutMark::Created
    );
    let again = repo.put_mark("verified", "point x", serde_json::json!(2)).await.unwrap();
    assert!(
        matches!(again, engine::PutMark::Exists(mark) if mark.value == verdict && mark.name == "point x")
    );
    repo.put_mark("verified", "a", serde_json::json!(null)).await.unwrap();
    let names: Vec<_> = repo.marks("verified").await.unwrap().into_iter().map(|m| m.name).collect();
    assert_eq!(names, ["a", "point x"]);
    assert!(repo.marks("quarantine").await.unwrap().is_empty());
    assert!(repo.put_mark("No/Kind", "x", verdict).await.is_err());
    assert_eq!(repo.mark("verified", "b").await.unwrap(), None);
}

#[tokio::test]
async fn nothing_of_the_user_shows_in_names_or_bytes_of_objects() {
    let bench = Bench::new().await;
    bench.write("secret-project.sqlite3", b"quarterly figures are secret-project");
    let mut wanted = request(bench.source(), "attempt-of-secret-project");
    wanted.attributes.component = "secret-project".into();
    backup(&bench.repo, wanted).await.unwrap();
    bench.repo.put_mark("quarantine", "secret-project", serde_json::json!("secret-project")).await.unwrap();
    for (path, bytes) in tree_of(bench.store_path()) {
        assert!(!path.to_string_lossy().contains("secret"), "{path:?}");
        let found = bytes.windows(14).any(|w| w == b"secret-project");
        assert!(!found, "{path:?} shows it");
    }
}

#[tokio::test]
async fn a_second_slot_opens_the_same_repository_and_is_listed() {
    let bench = Bench::new().await;
    bench.write("f", b"x");
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let escrow = Password::generate();
    let slot = bench.repo.add_key_slot(&escrow, "escrow", at(50)).await.unwrap();
    let other = Repository::open(bench.store(), &escrow).await.unwrap();
    assert_eq!(other.id(), bench.repo.id());
    assert_eq!(other.digest_key(), bench.repo.digest_key());
    assert_eq!(other.points().await.unwrap().points, [point]);
    assert_eq!(other.fingerprint(), escrow.fingerprint());
    assert_ne!(other.fingerprint(), bench.repo.fingerprint());
    let slots = bench.repo.slots().await.unwrap();
    assert_eq!(slots.len(), 2);
    assert_eq!(slots[0].fingerprint, password().fingerprint());
    assert_eq!(slots[1], slot);
}

#[tokio::test]
async fn attributes_of_the_caller_are_not_touched() {
    let bench = Bench::new().await;
    let wanted = request(bench.source(), "a");
    let given = wanted.attributes.clone();
    assert_eq!(given, attributes("a"));
    let point = backup(&bench.repo, wanted).await.unwrap().point;
    assert_eq!(point.attributes, given);
}

#[tokio::test]
async fn owners_are_restored_where_that_is_permitted_and_told_where_not() {
    let bench = Bench::new().await;
    bench.write("f", b"x");
    let chowned = std::os::unix::fs::chown(bench.source().join("f"), Some(12_345), Some(54_321)).is_ok();
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let target = bench.scratch("target");
    let summary = restore(&bench.repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    assert_eq!(summary.owners_left, 0, "who may give a file away may also restore it so: {chowned}");
    same_tree(bench.source(), &target);
}

mod any_tree {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Thing {
        File { seed: u64, length: usize, mode: u32, layout: Layout },
        Directory,
        Link(String),
    }

    fn thing() -> impl Strategy<Value = Thing> {
        let layout = prop_oneof![
            Just(Layout::Stream),
            Just(Layout::Pages { size: 4096 }),
            (1u32..3_000, 1u32..3_000, 1u32..3_000)
                .prop_map(|(a, b, c)| Layout::Records { stride: a + b + c, columns: vec![a, b, c] }),
        ];
        let length = prop_oneof![Just(0), 1usize..5_000, 60_000usize..70_000, 500_000usize..900_000];
        prop_oneof![
            4 => (any::<u64>(), length, 0u32..0o1000, layout).prop_map(|(seed, length, mode, layout)| {
                Thing::File { seed, length, mode: mode | 0o400, layout }
            }),
            1 => Just(Thing::Directory),
            1 => "[a-z./]{1,12}".prop_map(Thing::Link),
        ]
    }

    fn build(
        root: &std::path::Path,
        things: &[(Vec<u8>, Thing)],
    ) -> std::collections::HashMap<std::path::PathBuf, Layout> {
        use std::os::unix::ffi::OsStrExt;
        let mut layouts = std::collections::HashMap::new();
        for (name, thing) in things {
            let name = std::ffi::OsStr::from_bytes(name);
            let path = root.join(name);
            if name == "lost+found" || fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match thing {
                Thing::Directory => fs::create_dir(&path).unwrap(),
                Thing::Link(to) => symlink(to, &path).unwrap(),
                Thing::File { seed, length, mode, layout } => {
                    fs::write(&path, noise(*seed % 5, *length)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                    layouts.insert(name.into(), layout.clone());
                }
            }
        }
        layouts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn comes_back_byte_for_byte_also_onto_any_other_tree(
            first in prop::collection::vec((prop::collection::vec(1u8..255, 1..6), thing()), 0..8),
            second in prop::collection::vec((prop::collection::vec(1u8..255, 1..2), thing()), 0..8),
        ) {
            let usable = |things: Vec<(Vec<u8>, Thing)>| -> Vec<_> {
                things.into_iter().filter(|(name, _)| !name.contains(&b'/') && name[0] != b'.').collect()
            };
            let (first, second) = (usable(first), usable(second));
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let bench = Bench::new().await;
                let mut points = Vec::new();
                for (number, things) in [&first, &second].into_iter().enumerate() {
                    let source = bench.scratch(&format!("source{number}"));
                    fs::create_dir(&source).unwrap();
                    let layouts = build(&source, things);
                    let mut wanted = request(&source, &format!("{number}"));
                    wanted.layout = std::sync::Arc::new(move |path, _| layouts[path].clone());
                    points.push((source, backup(&bench.repo, wanted).await.unwrap().point));
                }
                let target = bench.scratch("target");
                restore(&bench.repo, &points[0].1, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
                same_tree(&points[0].0, &target);
                for (source, point) in [&points[1], &points[0]] {
                    restore(&bench.repo, point, &target, RestoreMode::OntoExisting, silent()).await.unwrap();
                    same_tree(source, &target);
                }
            });
        }
    }
}
