//! What the engine demands of a store, asked of every store it has: the same questions to a directory and to SeaweedFS.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a store's clock is held against the real one")]

use std::sync::Arc;

use engine::Category;
use engine::store::{
    Checksums, ConditionalWrites, DirStore, Put, S3Credentials, S3Options, S3Store, Store, probe,
};
use futures::future::join_all;
use tests::seaweedfs::{BUCKET, SeaweedFs, WRITER};

/// A store of one's own, and what has to live as long as it.
struct Medium {
    store: Arc<dyn Store>,
    _dir: Option<tempfile::TempDir>,
}

async fn directory(_: &str) -> Medium {
    let dir = tempfile::tempdir().unwrap();
    Medium { store: Arc::new(DirStore::new(dir.path().join("store"))), _dir: Some(dir) }
}

async fn s3(prefix: &str, checksums: Checksums) -> Medium {
    let options = S3Options {
        endpoint: Some(SeaweedFs::shared().endpoint().to_owned()),
        credentials: Some(S3Credentials {
            access_key_id: WRITER.access_key.into(),
            secret_access_key: WRITER.secret_key.to_owned().into(),
            session_token: None,
        }),
        checksums,
        ..S3Options::new(BUCKET, format!("conformance/{prefix}/{checksums:?}").to_lowercase())
    };
    Medium { store: Arc::new(S3Store::connect(options).await.unwrap()), _dir: None }
}

async fn seaweedfs(prefix: &str) -> Medium {
    s3(prefix, Checksums::WhenRequired).await
}

async fn seaweedfs_with_checksums(prefix: &str) -> Medium {
    s3(prefix, Checksums::WhenSupported).await
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
    an_object_of_a_pack_s_size_survives
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
    assert_eq!(store.list("").await.unwrap(), [], "the probe leaves nothing behind");
}

async fn an_object_of_a_pack_s_size_survives(store: Arc<dyn Store>) {
    let bytes: Vec<u8> = (0..10_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
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
