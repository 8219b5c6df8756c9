//! What the engine demands of a store, asked of every store it has: the same questions to a directory, to SeaweedFS and to
//! versitygw, with and without checksums, and through the decorators that are used in earnest.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a store's clock is held against the real one")]

use std::sync::Arc;

use engine::Category;
use engine::store::{
    Checksums, ConditionalWrites, DirStore, ObjectLock, Patience, Put, S3Options, S3Store, Store, probe,
    steady,
};
use futures::future::join_all;
use tests::seaweedfs::{BUCKET, Identity, SeaweedFs, WRITER};
use tests::versitygw::{BUCKET as SECOND_BUCKET, ROOT, VersityGw};

/// Above this an object goes in parts; a pack stays below.
const IN_PARTS_ABOVE: u64 = 12 << 20;

/// A store of one's own, and what has to live as long as it.
struct Medium {
    store: Arc<dyn Store>,
    _dir: Option<tempfile::TempDir>,
}

async fn directory(_: &str) -> Medium {
    let dir = tempfile::tempdir().unwrap();
    Medium { store: Arc::new(DirStore::new(dir.path().join("store"))), _dir: Some(dir) }
}

async fn s3(endpoint: &str, bucket: &str, identity: &Identity, prefix: &str, checksums: Checksums) -> Medium {
    let prefix = format!("conformance/{prefix}/{checksums:?}").to_lowercase();
    let options = S3Options {
        checksums,
        multipart_above: IN_PARTS_ABOVE,
        part_size: 5 << 20,
        ..crate::s3::options(endpoint, identity, bucket, prefix)
    };
    Medium { store: Arc::new(S3Store::connect(options).await.unwrap()), _dir: None }
}

async fn seaweedfs(prefix: &str) -> Medium {
    s3(SeaweedFs::shared().endpoint(), BUCKET, &WRITER, prefix, Checksums::WhenRequired).await
}

async fn seaweedfs_with_checksums(prefix: &str) -> Medium {
    s3(SeaweedFs::shared().endpoint(), BUCKET, &WRITER, prefix, Checksums::WhenSupported).await
}

async fn seaweedfs_in_earnest(prefix: &str) -> Medium {
    let medium = seaweedfs(&format!("steady/{prefix}")).await;
    let fast = std::num::NonZeroU64::new(1 << 34);
    Medium { store: steady(medium.store, Patience::default(), fast).0, ..medium }
}

async fn versitygw(prefix: &str) -> Medium {
    let endpoint = VersityGw::shared().endpoint();
    s3(endpoint, SECOND_BUCKET, &ROOT, prefix, Checksums::WhenRequired).await
}

async fn versitygw_with_checksums(prefix: &str) -> Medium {
    let endpoint = VersityGw::shared().endpoint();
    s3(endpoint, SECOND_BUCKET, &ROOT, prefix, Checksums::WhenSupported).await
}

/// Makes one test a medium out of each question.
macro_rules! asked_of {
    ($medium:ident: $($question:ident)*) => {
        mod $medium {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $question() {
                let medium = super::$medium(stringify!($question)).await;
                super::$question(medium.store).await;
            })*
        }
    };
}

macro_rules! every_medium {
    ($($question:ident)*) => {
        asked_of!(directory: $($question)*);
        asked_of!(seaweedfs: $($question)*);
        asked_of!(seaweedfs_with_checksums: $($question)*);
        asked_of!(seaweedfs_in_earnest: $($question)*);
        asked_of!(versitygw: $($question)*);
        asked_of!(versitygw_with_checksums: $($question)*);
    };
}

every_medium! {
    what_is_absent_is_said_to_be_absent
    what_was_written_is_read_back_at_once
    a_conditional_write_never_replaces
    a_plain_write_replaces
    ranges_are_exact_and_a_short_object_is_corrupt
    a_list_is_complete_sorted_and_keeps_to_its_prefix
    of_eight_racing_writers_one_wins
    names_of_every_form_the_engine_uses_are_kept
    an_object_of_a_pack_s_size_survives
    what_is_too_large_for_one_request_is_one_object_all_the_same
    racers_with_large_objects_leave_one_that_is_whole
    every_failure_names_object_and_place
}

async fn put(store: &dyn Store, name: &str, bytes: &[u8]) -> Put {
    store.put_if_absent(name, bytes.to_vec().into()).await.unwrap()
}

async fn what_is_absent_is_said_to_be_absent(store: Arc<dyn Store>) {
    put(store.as_ref(), "a/present", b"x").await;
    assert!(store.get("a/absent", None).await.unwrap_err().is_not_found());
    assert!(store.get("a/absent", Some(0..4)).await.unwrap_err().is_not_found());
    assert!(store.head("a/absent").await.unwrap_err().is_not_found());
    assert_eq!(store.list("nothing/").await.unwrap(), []);
    store.delete("a/absent").await.unwrap();
    store.delete("a/present").await.unwrap();
    assert!(store.head("a/present").await.unwrap_err().is_not_found());
}

async fn what_was_written_is_read_back_at_once(store: Arc<dyn Store>) {
    for (name, bytes) in [("empty", b"".to_vec()), ("a/b/c", b"bytes".to_vec()), ("0f-1.x", vec![0; 70_000])]
    {
        assert_eq!(put(store.as_ref(), name, &bytes).await, Put::Created);
        assert_eq!(store.get(name, None).await.unwrap(), bytes);
        let head = store.head(name).await.unwrap();
        assert_eq!((head.name.as_str(), head.size), (name, bytes.len() as u64));
        let age = jiff::Timestamp::now().duration_since(head.modified.expect("a store knows when"));
        assert!(age.as_secs().abs() < 120, "stored {age:?} ago");
    }
    assert_eq!(store.list("").await.unwrap().len(), 3);
}

async fn a_conditional_write_never_replaces(store: Arc<dyn Store>) {
    assert_eq!(put(store.as_ref(), "once", b"first").await, Put::Created);
    assert_eq!(put(store.as_ref(), "once", b"second").await, Put::Exists);
    assert_eq!(store.get("once", None).await.unwrap(), b"first".as_slice());
}

async fn a_plain_write_replaces(store: Arc<dyn Store>) {
    store.put("lease", b"first".to_vec().into()).await.unwrap();
    store.put("lease", b"second".to_vec().into()).await.unwrap();
    assert_eq!(store.get("lease", None).await.unwrap(), b"second".as_slice());
}

async fn ranges_are_exact_and_a_short_object_is_corrupt(store: Arc<dyn Store>) {
    put(store.as_ref(), "digits", b"0123456789").await;
    for (range, expected) in [(0..10, "0123456789"), (0..1, "0"), (3..6, "345"), (9..10, "9"), (4..4, "")] {
        assert_eq!(store.get("digits", Some(range)).await.unwrap(), expected.as_bytes());
    }
    for range in [8..12, 10..11, 100..200] {
        let refused = store.get("digits", Some(range.clone())).await.unwrap_err();
        assert_eq!(refused.category, Category::Corrupt, "{range:?}: {refused}");
    }
}

async fn a_list_is_complete_sorted_and_keeps_to_its_prefix(store: Arc<dyn Store>) {
    let names: Vec<String> = (0..1_100).map(|n| format!("many/{:02x}/{n:04}", n % 7)).collect();
    for some in names.chunks(16) {
        join_all(some.iter().map(|name| put(store.as_ref(), name, b"x"))).await;
    }
    put(store.as_ref(), "many-more/1", b"x").await;
    let mut expected = names;
    expected.sort();
    let listed: Vec<String> = store.list("many/").await.unwrap().into_iter().map(|o| o.name).collect();
    assert_eq!(listed, expected);
    assert_eq!(store.list("").await.unwrap().len(), 1_101);
}

async fn of_eight_racing_writers_one_wins(store: Arc<dyn Store>) {
    let report = probe(&store).await.unwrap();
    assert_eq!(report.conditional_writes, ConditionalWrites::Hold);
    assert!(report.ranged_reads && report.lists_at_once && report.may_delete, "{report:?}");
    // SeaweedFS doesn't let a mere writer ask.
    assert_ne!(report.object_lock, ObjectLock::Enabled, "none of these buckets locks");
    assert_eq!(store.list("").await.unwrap(), [], "the probe leaves nothing behind");
}

async fn names_of_every_form_the_engine_uses_are_kept(store: Arc<dyn Store>) {
    let long = format!("marks/{}/{}", "k".repeat(40), "f".repeat(153));
    let mut names = vec!["config", "keys/00ff", "packs/0a/0a1b-2", "probe/1.x", long.as_str()];
    assert_eq!(long.len(), 200);
    for name in &names {
        assert_eq!(put(store.as_ref(), name, name.as_bytes()).await, Put::Created);
    }
    for name in &names {
        assert_eq!(store.get(name, None).await.unwrap(), name.as_bytes());
    }
    names.sort_unstable();
    let listed: Vec<String> = store.list("").await.unwrap().into_iter().map(|o| o.name).collect();
    assert_eq!(listed, names);
}

/// Bytes that repeat nowhere near.
fn bytes(length: u32, seed: u32) -> Vec<u8> {
    (0..length).map(|n| ((n ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn what_is_too_large_for_one_request_is_one_object_all_the_same(store: Arc<dyn Store>) {
    let (first, second) = (bytes((13 << 20) + 1, 1), bytes((16 << 20) + 3, 2));
    assert_eq!(put(store.as_ref(), "large", &first).await, Put::Created);
    assert_eq!(put(store.as_ref(), "large", &second).await, Put::Exists, "the condition holds for parts too");
    assert_eq!(store.head("large").await.unwrap().size, first.len() as u64);
    assert!(store.get("large", None).await.unwrap() == first);
    let cut = 5 << 20;
    let over_the_cut = store.get("large", Some(cut - 10..cut + 10)).await.unwrap();
    assert_eq!(over_the_cut, first[(5 << 20) - 10..(5 << 20) + 10]);
    store.put("large", second.clone().into()).await.unwrap();
    assert!(store.get("large", None).await.unwrap() == second);
    let listed: Vec<_> = store.list("").await.unwrap().into_iter().map(|o| (o.name, o.size)).collect();
    assert_eq!(listed, [("large".to_owned(), second.len() as u64)], "parts are not objects");
}

/// No more is promised of what goes in parts: SeaweedFS was seen to let two of three win.
async fn racers_with_large_objects_leave_one_that_is_whole(store: Arc<dyn Store>) {
    let bodies: Vec<Vec<u8>> = (0..3).map(|seed| bytes((12 << 20) + 7, seed << 8)).collect();
    let raced = join_all(bodies.iter().map(|body| put(store.as_ref(), "raced", body))).await;
    let winners: Vec<_> = (0..3).filter(|n| raced[*n] == Put::Created).collect();
    let there = store.get("raced", None).await.unwrap();
    assert!(winners.iter().any(|n| there == bodies[*n]), "of {raced:?} none who won stands there whole");
}

async fn an_object_of_a_pack_s_size_survives(store: Arc<dyn Store>) {
    let bytes = bytes(10 << 20, 0);
    put(store.as_ref(), "pack", &bytes).await;
    assert!(store.get("pack", None).await.unwrap() == bytes);
    let middle = store.get("pack", Some(5_000_000..5_000_100)).await.unwrap();
    assert_eq!(middle, bytes[5_000_000..5_000_100]);
}

async fn every_failure_names_object_and_place(store: Arc<dyn Store>) {
    put(store.as_ref(), "present", b"x").await;
    let refused = store.get("points/absent", None).await.unwrap_err().to_string();
    assert!(refused.contains("points/absent") && refused.contains(&store.place()), "{refused}");
}
