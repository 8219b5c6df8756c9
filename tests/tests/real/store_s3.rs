//! What only an S3 server can refuse, and the whole thread of the engine on a real one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::store::{Patience, S3Options, S3Store, Store, probe, steady};
use engine::{
    Backup, Category, Level, Password, Repository, RestoreMode, backup, restore, silent, verify_all,
};
use jiff::Timestamp;
use tests::seaweedfs::{BUCKET, Identity, READER, SeaweedFs, WRITER};
use tests::versitygw::{ROOT, VersityGw};

fn options(prefix: &str, identity: &Identity) -> S3Options {
    crate::s3::options(SeaweedFs::shared().endpoint(), identity, BUCKET, prefix)
}

async fn connect(options: S3Options) -> Arc<dyn Store> {
    steady(Arc::new(S3Store::connect(options).await.unwrap()), Patience::default(), None).0
}

fn password() -> Password {
    Password::new("correct horse battery staple").unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn capture(source: &Path, attempt: &str) -> Backup {
    let mut capture = crate::s3::capture(source, attempt, now());
    capture.attributes.body = serde_json::json!({"collections": 3});
    capture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_goes_through_a_real_bucket_and_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::create_dir_all(source.join("segment")).unwrap();
    let bytes: Vec<u8> = (0..30_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
    fs::write(source.join("chroma.sqlite3"), &bytes).unwrap();
    fs::write(source.join("segment/header.bin"), b"header").unwrap();

    let store = connect(options("thread", &WRITER)).await;
    let repo = Repository::open_or_init(Arc::clone(&store), &password(), now()).await.unwrap();
    let committed = backup(&repo, capture(&source, "job-1")).await.unwrap();
    assert_eq!(committed.verified.files(), 2);

    let reader = connect(options("thread", &READER)).await;
    let repo = Repository::open(reader, &password()).await.unwrap();
    let point = repo.find_by_attempt("job-1").await.unwrap().expect("it was committed");
    assert_eq!(point.digest, committed.point.digest);
    let summary = restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64 + 6);
    assert!(fs::read(target.join("chroma.sqlite3")).unwrap() == bytes);
    assert_eq!(fs::read(target.join("segment/header.bin")).unwrap(), b"header");
    assert_eq!(verify_all(&repo, Level::Full, silent()).await.unwrap().findings, []);

    let refused = backup(&repo, capture(&source, "job-2")).await.unwrap_err();
    assert_eq!(refused.category(), Category::AccessDenied, "{refused}");
}

#[tokio::test]
async fn a_bucket_that_may_only_be_read_denies_a_write_and_says_so() {
    let store = connect(options("read-only", &READER)).await;
    let refused = store.put_if_absent("x", b"x".to_vec().into()).await.unwrap_err();
    assert_eq!(refused.category, Category::AccessDenied);
    let message = refused.to_string();
    assert!(
        message.contains("write x") && message.contains(BUCKET) && message.contains("credentials"),
        "{message}"
    );
    assert_eq!(probe(&store).await.unwrap_err().category, Category::AccessDenied);
    let refused = Repository::init(store, &password(), now()).await.unwrap_err();
    assert_eq!(refused.category(), Category::AccessDenied, "{refused}");
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_shown_nowhere() {
    let wrong = Identity { access_key: WRITER.access_key, secret_key: "not-the-secret-at-all" };
    let store = connect(options("wrong-secret", &wrong)).await;
    for refused in [
        store.get("x", None).await.unwrap_err(),
        store.put_if_absent("x", b"x".to_vec().into()).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.head("x").await.unwrap_err(),
    ] {
        assert_eq!(refused.category, Category::AccessDenied, "{refused}");
        assert!(!format!("{refused} {refused:?} {store:?}").contains("not-the-secret"), "{refused}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_told_from_a_missing_object() {
    let missing = S3Options { bucket: "no-such-bucket".into(), ..options("x", &WRITER) };
    let store = connect(missing).await;
    // This server denies a write before it looks for the bucket; opening, which comes first, reads.
    for refused in [store.get("config", None).await.unwrap_err(), store.list("").await.unwrap_err()] {
        assert_eq!(refused.category, Category::BucketMissing, "{refused}");
        assert!(refused.to_string().contains("no-such-bucket"), "{refused}");
    }
    let refused = Repository::open(store, &password()).await.unwrap_err();
    assert_eq!(refused.category(), Category::BucketMissing, "{refused}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_unreachable_soon_and_named() {
    // Bound, then dropped: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = connect(S3Options { endpoint: Some(endpoint.clone()), ..options("x", &WRITER) }).await;
    let begun = Instant::now();
    let refused = store.get("config", None).await.unwrap_err();
    assert_eq!(refused.category, Category::Unreachable, "{refused}");
    assert!(!refused.category.is_permanent());
    assert!(refused.to_string().contains(&endpoint), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_ca_bundle_that_is_none_is_refused_before_anything_is_sent() {
    for bundle in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = S3Store::connect(S3Options {
            endpoint: Some("https://127.0.0.1:1".into()),
            ca_bundle: Some(bundle.as_bytes().to_vec()),
            ..options("x", &WRITER)
        })
        .await
        .unwrap_err();
        assert_eq!(refused.category, Category::Input, "{refused}");
        assert!(refused.to_string().contains("CA bundle"), "{refused}");
    }
}

/// Stands between the engine and the server and cuts answers short: of what the server says on each of the first so many
/// connections only so many bytes pass. The server behind it is the real one, and has done what it was asked by then.
async fn cutting(connections: usize, after: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = SeaweedFs::shared().endpoint().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        let mut accepted = 0;
        while let Ok((client, _)) = listener.accept().await {
            accepted += 1;
            let mut left = if accepted <= connections { after } else { usize::MAX };
            let server = tokio::net::TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let asking =
                    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let passed = read.min(left);
                    left -= passed;
                    if to_client.write_all(&buffer[..passed]).await.is_err() || passed < read {
                        break;
                    }
                }
                asking.abort();
            });
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_asked_for_again_and_never_taken_for_whole() {
    let bytes = vec![7; 1 << 20];
    connect(options("cut", &WRITER)).await.put_if_absent("big", bytes.clone().into()).await.unwrap();
    let endpoint = cutting(2, 100_000).await;
    let store = connect(S3Options { endpoint: Some(endpoint), ..options("cut", &WRITER) }).await;
    assert!(store.get("big", None).await.unwrap() == bytes);

    let endpoint = cutting(usize::MAX, 100_000).await;
    let store = connect(S3Options { endpoint: Some(endpoint), ..options("cut", &WRITER) }).await;
    for range in [None, Some(0..500_000)] {
        let refused = store.get("big", range).await.unwrap_err();
        assert_eq!(refused.category, Category::Unreachable, "{refused}");
        assert!(refused.to_string().contains("broke off"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_counts_as_written() {
    // The request arrives whole, and not one byte of the answer comes back: the retry meets its own first try.
    let endpoint = cutting(1, 0).await;
    let store = connect(S3Options { endpoint: Some(endpoint), ..options("lost", &WRITER) }).await;
    let put = store.put_if_absent("once", b"ours".to_vec().into()).await.unwrap();
    assert_eq!(put, engine::store::Put::Created);
    let honest = connect(options("lost", &WRITER)).await;
    assert_eq!(honest.get("once", None).await.unwrap(), b"ours".as_slice());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_private_authority_is_trusted_with_its_certificate_and_not_without() {
    let server = VersityGw::start(true).unwrap();
    let options = |ca_bundle| S3Options {
        endpoint: Some(server.endpoint().to_owned()),
        ca_bundle,
        ..options("tls", &ROOT)
    };
    let trusting = connect(options(Some(server.authority().unwrap()))).await;
    trusting.put_if_absent("x", b"by TLS".to_vec().into()).await.unwrap();
    assert_eq!(trusting.get("x", None).await.unwrap(), b"by TLS".as_slice());

    let another = VersityGw::start(true).unwrap().authority().unwrap();
    for bundle in [None, Some(another)] {
        let refused = connect(options(bundle)).await.get("x", None).await.unwrap_err();
        assert_eq!(refused.category, Category::Input, "it is final: {refused}");
        let message = refused.to_string();
        assert!(message.contains("certificate") && message.contains("CA bundle"), "{message}");
        assert!(!message.contains("tried"), "asked again for nothing: {message}");
    }
}
