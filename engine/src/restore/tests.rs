//! What only somebody who holds the keys could forge: a tree that lies. The blocks are sound, so nothing but the checks
//! of the restore itself stands between it and the user.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{RestoreMode, restore};
use crate::block::{Alone, BlockId, Effort, RawBlock};
use crate::error::{Category, Error};
use crate::index::IndexPiece;
use crate::layout::Layout;
use crate::pack::OpenPack;
use crate::point::{Point, PointAttributes};
use crate::progress::silent;
use crate::store::DirStore;
use crate::tree::{Content, Entry, Extent, Node, write_entries};
use crate::units::map::Map;
use crate::{Backup, Password, Repository, backup};

async fn forged(change: impl FnOnce(&mut Entry)) -> (tempfile::TempDir, Repository, Point) {
    forged_tree(|entries| change(entries.last_mut().unwrap())).await
}

/// A point whose entries, the root and the file `f`, were changed.
async fn forged_tree(change: impl FnOnce(&mut Vec<Entry>)) -> (tempfile::TempDir, Repository, Point) {
    forged_with(Layout::Stream, |entries, _| {
        change(entries);
        None
    })
    .await
}

/// A point whose tree was changed, and perhaps the map of its file of pages.
async fn forged_with(
    layout: Layout,
    change: impl FnOnce(&mut Vec<Entry>, Option<Map>) -> Option<Map>,
) -> (tempfile::TempDir, Repository, Point) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("f"), crate::noise(1, 3 << 20)).unwrap();
    let password = Password::new("correct horse battery staple").unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let store = Arc::new(DirStore::new(dir.path().join("store")));
    let repo = Repository::init(store, &password, now).await.unwrap();
    let attributes = PointAttributes {
        component: "c".into(),
        consistency_time: now,
        started: now,
        tags: BTreeMap::new(),
        body: serde_json::Value::Null,
        attempt: None,
    };
    let layout = Arc::new(move |_: &std::path::Path, _: &std::path::Path| layout.clone());
    let request = Backup { source, layout, attributes, progress: silent(), aside: None };
    let mut point = backup(&repo, request).await.unwrap().point;

    let index = Arc::new(crate::index::Index::load(&repo).await.unwrap());
    let reader = crate::read::Reader { repo: repo.clone(), index };
    let mut entries = reader.entries(&point, &point.tree[0]).await.unwrap();
    let mut map = None;
    if let Node::File { content: Content::Units(units), .. } = &entries.last().unwrap().node {
        map = Map::read(&reader.metas(&units.maps, "f").await.unwrap()[0]);
    }
    let mut pack = OpenPack::new();
    if let Some(map) = change(&mut entries, map) {
        let block = RawBlock::new(repo.keys(), Alone::Meta, Effort::Usual, map.write());
        match &mut entries.last_mut().unwrap().node {
            Node::File { content: Content::Units(units), .. } => units.maps = vec![block.id],
            other => panic!("not a file of units: {other:?}"),
        }
        pack.push(&block.seal(repo.keys()));
    }
    let bytes = write_entries(&entries);
    let tree = RawBlock::new(repo.keys(), Alone::Meta, Effort::Usual, bytes);
    let id = tree.id;
    pack.push(&tree.seal(repo.keys()));
    let durable = pack.close(repo.keys()).unwrap().upload(repo.store()).await.unwrap();
    let mut piece = IndexPiece::default();
    piece.record(&durable);
    piece.write(&repo).await.unwrap();
    point.tree = vec![id];
    (dir, repo, point)
}

fn extents(entry: &mut Entry) -> &mut Vec<Extent> {
    match &mut entry.node {
        Node::File { content: Content::Blocks(extents), .. } => extents,
        other => panic!("not a small file: {other:?}"),
    }
}

#[tokio::test]
async fn i7_blocks_in_the_wrong_order_are_noticed_by_the_hash_of_the_file() {
    let (dir, repo, point) = forged(|entry| extents(entry).reverse()).await;
    let target = dir.path().join("target");
    for mode in [RestoreMode::EmptyTarget, RestoreMode::OntoExisting] {
        let refused = restore(&repo, &point, &target, mode, silent()).await.unwrap_err();
        assert!(matches!(&refused, Error::HashMismatch { .. }), "{refused}");
        assert!(target.join(super::MARKER).exists(), "the target is marked unfinished");
    }
    let report = crate::verify(&repo, &point, crate::Level::Full, silent()).await.unwrap();
    assert!(report.findings[0].what.contains("f does not have the bytes"), "{:?}", report.findings);
}

#[tokio::test]
async fn i7_a_lost_block_is_noticed_before_the_target_is_touched() {
    let (dir, repo, point) = forged(|entry| extents(entry).truncate(1)).await;
    let target = dir.path().join("target");
    let refused = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
    assert_eq!(refused.category(), Category::Corrupt);
    assert!(!target.exists());
}

#[tokio::test]
async fn a_path_that_leads_out_of_the_target_is_refused() {
    let (dir, repo, point) = forged(|entry| entry.path = "../escaped".into()).await;
    let target = dir.path().join("target");
    let refused = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
    assert!(refused.to_string().contains("leads out of it"), "{refused}");
    assert!(!dir.path().join("escaped").exists());
}

#[tokio::test]
async fn a_tree_that_leads_through_links_is_refused_before_the_target_is_touched() {
    type Change = fn(&mut Vec<Entry>);
    let wrong: [(&str, Change); 5] = [
        ("is in no directory of it", |entries| {
            // Through a symbolic link, which the restore itself would have made.
            let link = Node::Symlink { to: "/tmp".into() };
            let file = entries.pop().unwrap();
            entries.push(Entry::bare("a", link));
            entries.push(Entry { path: "a/escaped".into(), ..file });
        }),
        ("no file before it", |entries| {
            entries.push(Entry::bare("g", Node::Link { to: "nothing".into() }));
        }),
        ("no file before it", |entries| {
            entries.push(Entry::bare("g", Node::Link { to: "../outside".into() }));
        }),
        ("no file before it", |entries| {
            entries.push(Entry::bare("g", Node::Symlink { to: "f".into() }));
            entries.push(Entry::bare("h", Node::Link { to: "g".into() }));
        }),
        ("not in its place", |entries| {
            let again = entries.last().unwrap().clone();
            entries.push(again);
        }),
    ];
    for (told, change) in wrong {
        let (dir, repo, point) = forged_tree(change).await;
        let target = dir.path().join("target");
        for mode in [RestoreMode::EmptyTarget, RestoreMode::OntoExisting] {
            let refused = restore(&repo, &point, &target, mode, silent()).await.unwrap_err();
            assert_eq!(refused.category(), Category::Corrupt);
            assert!(refused.to_string().contains(told), "{told}: {refused}");
            assert!(!target.exists(), "{told}");
        }
        let report = crate::verify(&repo, &point, crate::Level::Manifest, silent()).await.unwrap();
        assert!(report.findings.iter().any(|f| f.what.contains(told)), "{told}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn an_attribute_that_cannot_be_set_is_counted_and_named_and_the_rest_is_restored() {
    let (dir, repo, point) = forged(|entry| {
        let xattr = |name: &str| crate::Xattr { name: name.into(), value: b"x".to_vec() };
        entry.xattrs = vec![xattr("nobody.knows"), xattr("nor.this")];
    })
    .await;
    let target = dir.path().join("target");
    for mode in [RestoreMode::EmptyTarget, RestoreMode::OntoExisting] {
        let done = restore(&repo, &point, &target, mode, silent()).await.unwrap();
        assert_eq!((done.files, done.xattrs_left), (1, 2));
        let told = done.warnings().join("");
        assert!(told.starts_with("2 extended attributes could not be set"), "{told}");
        assert!(told.contains("nobody.knows of f: "), "{told}");
    }
}

#[tokio::test]
async fn maps_that_lead_nowhere_are_refused_by_name_before_the_target_is_touched() {
    type Change = fn(&mut Map);
    let broken: [(&str, Change); 6] = [
        ("outside of block", |map| map.fulls[0].position = 60),
        ("leaves out a unit", |map| {
            map.fulls[0].unit += 1;
            map.fulls[0].count -= 1;
            map.hashes.pop();
        }),
        ("which is missing", |map| (map.depth, map.previous) = (1, Some(BlockId([0; 32])))),
        ("unit that the segment doesn't have", |map| {
            map.fulls.last_mut().unwrap().unit = 5000;
        }),
        ("makes no sense", |map| map.hashes.truncate(1)),
        ("which is missing", |map| map.frames[0] = BlockId([0; 32])),
    ];
    for (told, change) in broken {
        let (dir, repo, point) = forged_with(Layout::Pages { size: 4096 }, |_, map| {
            let mut map = map.unwrap();
            change(&mut map);
            Some(map)
        })
        .await;
        let target = dir.path().join("target");
        let refused = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
        assert_eq!(refused.category(), Category::Corrupt, "{refused}");
        assert!(refused.to_string().contains(told), "{told}: {refused}");
        assert!(!target.exists(), "{told}");
        let report = crate::verify(&repo, &point, crate::Level::Manifest, silent()).await.unwrap();
        assert!(!report.findings.is_empty(), "{told}");
    }
}

#[tokio::test]
async fn i7_units_in_the_wrong_place_are_noticed_by_the_hash_of_the_file() {
    let (dir, repo, point) = forged_with(Layout::Pages { size: 4096 }, |_, map| {
        let mut map = map.unwrap();
        map.frames.swap(0, 1);
        Some(map)
    })
    .await;
    let target = dir.path().join("target");
    let refused = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap_err();
    assert!(matches!(&refused, Error::HashMismatch { .. }), "{refused}");
    let report = crate::verify(&repo, &point, crate::Level::Full, silent()).await.unwrap();
    assert!(report.findings[0].what.contains("f does not have the bytes"), "{:?}", report.findings);
}
