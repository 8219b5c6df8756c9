//! The command line without any cluster: the contract that scripts depend on, with the real program and a real ChromaDB.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc, time::Duration};

use tests::{
    chroma_server::ChromaServer,
    shell::{Shell, key},
    writer::{Load, Server, Writer, truth},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_live_chroma_is_captured_and_recovered_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let shell = Shell { url: format!("file://{}", path("repository")), password: key() };
    assert_eq!(shell.answer(&["points"]).1, 6, "there is no repository yet");
    shell.done(&["repo", "init"]);
    assert_eq!(shell.done(&["repo", "probe"])["conditionalWrites"], true);

    std::fs::create_dir(path("data")).unwrap();
    let server = ChromaServer::start(Path::new(&path("data"))).await.unwrap();
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(7, 2, 16) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(40, Duration::from_secs(90)).await.unwrap();
    let source = path("data");
    let backup = ["backup", "--source", &source, "--component", "chromadb", "--tag", "why=test"];
    let first = shell.done(&backup);
    writer.progress(20, Duration::from_secs(90)).await.unwrap();
    let second = shell.done(&backup);
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    for field in ["bytes", "bytesStored", "files", "durationMs", "writerPauseMs", "records"] {
        assert!(first[field].is_u64(), "{field}: {first}");
    }

    let points = shell.done(&["points"])["points"].clone();
    assert_eq!(
        (points[0]["point"].clone(), points[1]["point"].clone()),
        (first["point"].clone(), second["point"].clone())
    );
    assert_eq!(
        (points[1]["healthy"].clone(), points[1]["tags"]["why"].clone()),
        (true.into(), "test".into())
    );
    let as_of = format!("asof:{}", points[0]["consistencyTime"].as_str().unwrap());
    let (restored, latest) = (path("restored"), path("latest"));
    let earlier = shell.done(&["restore", "--point", &as_of, "--target", &restored]);
    assert_eq!(earlier["point"], first["point"]);
    let newest = shell.done(&["restore", "--point", "latest", "--target", &latest]);
    assert_eq!(newest["point"], second["point"]);
    assert_eq!(shell.answer(&["restore", "--point", "latest", "--target", &restored]).1, 10);
    let onto = ["restore", "--point", "latest", "--target", &restored, "--onto-existing"];
    assert!(shell.done(&onto)["bytesWritten"].as_u64() > Some(0));
    assert_eq!(shell.done(&onto)["bytesWritten"], 0, "what is right already isn't written again");
    assert_eq!(shell.done(&["verify", "--level", "full"])["passed"], true);
    assert_eq!(shell.done(&["check", &restored])["findings"], serde_json::json!([]));

    let again = ChromaServer::start(Path::new(&restored)).await.unwrap();
    let served = Server::new(Arc::new(again.url().to_owned())).unwrap();
    let consistent_at = points[1]["consistencyTime"].as_str().unwrap().parse().unwrap();
    let held = jiff::SignedDuration::from_millis(second["writerPauseMs"].as_i64().unwrap() + 1);
    truth::hold(&served, &ledger, consistent_at, consistent_at + held).await.unwrap();
    again.stop().unwrap();

    std::fs::remove_file(format!("{restored}/chroma.sqlite3")).unwrap();
    assert_eq!(shell.answer(&["check", &restored]).1, 7);
    // The server is stopped: capturing works all the same, and what did not change is not stored again.
    shell.done(&backup);
    let unchanged = shell.done(&backup);
    assert!(unchanged["bytesStored"].as_u64() < Some(20_000), "{unchanged}");

    let wrong = Shell { password: "not the key of this repository".into(), url: shell.url.clone() };
    let (refused, code) = wrong.answer(&["points"]);
    assert_eq!((refused["reason"].clone(), code), ("KeyMismatch".into(), 3));
    assert_eq!(wrong.run(&["restore", "--point", "newest", "--target", &latest]).status.code(), Some(2));
}
