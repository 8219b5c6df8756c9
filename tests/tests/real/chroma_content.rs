//! What the files of a real server contain, read without it, held against what the server itself answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{path::Path, time::Duration};

use chroma::{
    check::check_dir,
    client::{Auth, Client, Scope},
    files,
    fingerprint::{CollectionFingerprint, Key, of_dir, of_server},
    layout::{Layout, choose},
};
use serde_json::{Value, json};
use tests::{chroma_server::ChromaServer, writer::Random};

fn key() -> Key {
    Key::new([9; 32])
}

fn client(server: &ChromaServer) -> Client {
    Client::new(server.url(), Auth::None, Duration::from_secs(30)).unwrap()
}

fn vectors(random: &mut Random, count: usize, dimension: usize) -> Vec<Vec<f32>> {
    (0..count).map(|_| (0..dimension).map(|_| random.unit() * 4.0 - 2.0).collect()).collect()
}

fn ids(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| format!("id-{number}")).collect()
}

/// Every kind of content that the API takes, and every kind of change to it.
async fn fill(server: &ChromaServer, id: &str, dimension: usize, seed: u64) {
    let mut random = Random::new(seed);
    let metadata = |number: usize, random: &mut Random| -> Value {
        match number % 6 {
            0 => Value::Null,
            1 => json!({}),
            2 => {
                json!({"text": "döc 日本 \u{0} \"", "empty": "", "whole": 9_007_199_254_740_993_i64, "flag": true})
            }
            3 => json!({"tenth": 0.1, "one": 1.0, "huge": 1e300, "tiny": 5e-324, "minus zero": -0.0}),
            4 => json!({"long": f64::from(random.unit()) * 1e-7 + 1.0 / 3.0, "flag": false, "whole": -1}),
            _ => json!({"texts": ["p", "q"], "wholes": [1, 2], "floats": [0.1, 1.0], "flags": [true, false]}),
        }
    };
    let document =
        |number: usize| (number % 4 != 3).then(|| format!("document {number} ü {}", "x".repeat(number % 50)));
    for from in (0..180).step_by(45) {
        let body = json!({
            "ids": ids(from, 45),
            "embeddings": vectors(&mut random, 45, dimension),
            "documents": (from..from + 45).map(document).collect::<Vec<_>>(),
            "uris": (from..from + 45).map(|n| (n % 5 == 0).then(|| format!("file:///{n}"))).collect::<Vec<_>>(),
            "metadatas": (from..from + 45).map(|n| metadata(n, &mut random)).collect::<Vec<_>>(),
        });
        server.post(&format!("collections/{id}/add"), &body).await.unwrap();
    }
    let changes = [
        (
            "update",
            json!({"ids": ids(10, 5), "metadatas": [{"text": null, "new": 2.5}, null, {}, {"flag": false}, {"tenth": "now text"}]}),
        ),
        ("update", json!({"ids": ids(20, 2), "embeddings": vectors(&mut random, 2, dimension)})),
        ("update", json!({"ids": ["nobody"], "embeddings": vectors(&mut random, 1, dimension)})),
        (
            "upsert",
            json!({"ids": ["id-30", "fresh"], "embeddings": vectors(&mut random, 2, dimension), "metadatas": [{"texts": ["z"], "wholes": null}, {"k": "v"}]}),
        ),
        (
            "upsert",
            json!({"ids": ids(35, 1), "embeddings": vectors(&mut random, 1, dimension), "documents": ["changed"], "metadatas": [{"floats": 1.5}]}),
        ),
        (
            "add",
            json!({"ids": ["id-40"], "embeddings": vectors(&mut random, 1, dimension), "documents": ["ignored: it exists"]}),
        ),
        ("delete", json!({"ids": ids(50, 7)})),
        (
            "add",
            json!({"ids": ["id-52"], "embeddings": vectors(&mut random, 1, dimension), "metadatas": [{"again": true}]}),
        ),
        ("delete", json!({"ids": ["fresh"]})),
    ];
    for (verb, body) in changes {
        server.post(&format!("collections/{id}/{verb}"), &body).await.unwrap();
    }
}

fn assert_same(offline: &[CollectionFingerprint], online: &[CollectionFingerprint]) {
    assert_eq!(offline.len(), online.len());
    for (offline, online) in offline.iter().zip(online) {
        assert!(offline.same_content(online), "files {offline:#?}\nserver {online:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fingerprints_from_files_and_from_a_server_agree_for_every_space_and_kind_of_value() {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start(data.path()).await.unwrap();
    server.post_anywhere("tenants", &json!({"name": "other"})).await.unwrap();
    server.post_anywhere("tenants/other/databases", &json!({"name": "second-database"})).await.unwrap();
    let path = "tenants/other/databases/second-database/collections";
    server.post_anywhere(path, &json!({"name": "empty"})).await.unwrap();
    // A threshold of 50 flushes most of it, one of 100,000 nothing: then the log alone has the vectors.
    for (number, (space, threshold, dimension)) in [
        ("cosine", 50, 37),
        ("cosine", 100_000, 64),
        ("l2", 50, 5),
        ("l2", 100_000, 16),
        ("ip", 50, 384),
        ("ip", 100_000, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let id = server.create(&format!("{space}-{threshold}"), space, threshold).await.unwrap();
        fill(&server, &id, dimension, number as u64).await;
    }
    let client = client(&server);
    let mut scopes = client.databases("default_tenant").await.unwrap();
    scopes.extend(client.databases("other").await.unwrap());
    assert_eq!(scopes.last(), Some(&Scope::new("other", "second-database")));

    // Nothing was read yet, so in 1.x the database's own side lags behind the log too. Nobody writes, so it may be copied.
    let unread = tempfile::tempdir().unwrap();
    copy(data.path(), unread.path());
    let lagging = of_dir(unread.path(), &key()).unwrap();
    let online = of_server(&client, &key(), &scopes).await.unwrap();
    assert_eq!(online.len(), 7);
    assert!(online.iter().filter(|found| found.collection != "empty").all(|found| found.count == 174));
    assert_same(&lagging, &online);
    assert!(lagging.iter().any(|found| found.normalised_here > 0));

    server.stop().unwrap();
    assert_same(&of_dir(data.path(), &key()).unwrap(), &online);
    let report = check_dir(data.path()).unwrap();
    assert!(report.is_whole(), "{report:#?}");

    // And once more from a server that starts on these files and replays the log itself.
    let again = ChromaServer::start(data.path()).await.unwrap();
    assert_same(&online, &of_server(&self::client(&again), &key(), &scopes).await.unwrap());

    let other_key = of_dir(unread.path(), &Key::new([1; 32])).unwrap();
    assert!(!other_key[0].same_content(&online[0]), "the key makes no difference");
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_when_every_collection_counts_reads_and_answers_a_query() {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start(data.path()).await.unwrap();
    let id = server.create("papers", "l2", 50).await.unwrap();
    fill(&server, &id, 8, 1).await;
    server.create("nothing yet".replace(' ', "-").as_str(), "l2", 50).await.unwrap();
    let scopes = [Scope::new("default_tenant", "default_database")];
    let ready = client(&server).ready(&scopes, Duration::from_secs(30)).await.unwrap();
    assert_eq!(ready.collections.len(), 2);
    let papers = ready.collections.iter().find(|ready| ready.collection.name == "papers").unwrap();
    assert_eq!((papers.count, papers.read.is_some()), (174, true));
    assert_eq!(papers.read, papers.nearest, "a vector is nearest to itself");
    server.stop().unwrap();

    // Layouts, on files that a server wrote.
    assert_eq!(choose(&data.path().join(files::DATABASE)).unwrap(), Layout::Pages { size: 4096 });
    let segment = std::fs::read_dir(data.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join(files::PICKLE).exists())
        .unwrap();
    let level0 = choose(&segment.join(files::LEVEL0)).unwrap();
    assert_eq!(level0, Layout::Records { stride: 172, columns: vec![132, 32, 8] });
    assert_eq!(choose(&segment.join(files::PICKLE)).unwrap(), Layout::Stream);

    // Without its vector files the server still starts, beats and counts: only reading a vector tells.
    std::fs::remove_dir_all(&segment).unwrap();
    let broken = ChromaServer::start(data.path()).await.unwrap();
    client(&broken).heartbeat().await.unwrap();
    let error = client(&broken).ready(&scopes, Duration::from_secs(30)).await.unwrap_err();
    assert!(error.to_string().contains("papers"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_worth_another_try() {
    let client = Client::new("http://127.0.0.1:1", Auth::None, Duration::from_secs(2)).unwrap();
    let error = client.heartbeat().await.unwrap_err();
    assert_eq!((error.category(), error.is_permanent()), ("Unreachable", false));
}
