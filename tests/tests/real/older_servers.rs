//! Older releases of ChromaDB, each with a schema or a file layout of its own: live captures under a writer, held against its ledger
//! by a server of the same release and by the newest one, which migrates them for good.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{sync::Arc, time::Duration};

use chroma::{
    check::check_dir,
    files,
    fingerprint::{Key, of_dir},
    versions::Passage,
};
use rusqlite::Connection;
use tests::{
    chroma_server::{ChromaServer, VERSION},
    writer::{Load, Settings, Writer},
};

use super::chroma_capture::{capture, copy, hold_against_release};

/// A few captures of a server of this release.
async fn captured(release: &str, levels: (u32, u32, u32), settings: Settings) {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start_release(release, data.path()).await.unwrap();
    let load = Load {
        sync_threshold: 40,
        between: Duration::from_millis(5),
        per_request: 30,
        // Before 1.0 a collection and its segments are made by two transactions, and a server that finds the one without the others can't
        // read it: what was being made at the cut is of no use, acknowledged or not.
        passing: settings == Settings::Configuration,
        settings,
        ..Load::synthetic(23, 2, 24)
    };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    let mirror = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    for _ in 0..4 {
        writer.progress(40, Duration::from_secs(60)).await.unwrap();
        let captured = capture(data.path(), mirror.path()).await;
        let copied = tempfile::tempdir().unwrap();
        copy(mirror.path(), copied.path());
        kept.push((captured, copied));
    }
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    let newest = tempfile::tempdir().unwrap();
    ChromaServer::start(newest.path()).await.unwrap().stop().unwrap();
    let newest = check_dir(newest.path()).unwrap().levels.unwrap();
    for (captured, mirror) in &kept {
        let report = check_dir(mirror.path()).unwrap();
        assert!(report.is_whole(), "{release}: {captured:?}\n{report:#?}");
        let of = report.levels.unwrap();
        assert_eq!((of.embeddings_queue, of.metadb, of.sysdb), levels, "{release}");
        assert_eq!(
            (of.passage_to(newest), newest.passage_to(of)),
            (Passage::OneWay, Passage::DowngradeRefused)
        );
        let before = of_dir(mirror.path(), &Key::new([42; 32])).unwrap();
        let (from, to) = (captured.locked_at, captured.released_at);
        let same = hold_against_release(release, &ledger, mirror.path(), from, to).await;
        if release.starts_with("0.4") {
            ChromaServer::migrate(mirror.path()).await.unwrap();
        }
        let migrated = hold_against_release(VERSION, &ledger, mirror.path(), from, to).await;
        assert_eq!(same.records(), migrated.records());
        let after = of_dir(mirror.path(), &Key::new([42; 32])).unwrap();
        assert_eq!(before.len(), after.len());
        assert!(
            before.iter().zip(&after).all(|(a, b)| a.same_content(b)),
            "{release}: {before:?}, {after:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn release_1_0_20_whose_vector_files_are_made_for_ten_thousand_elements() {
    captured("1.0.20", (2, 5, 9), Settings::Configuration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_1_4_1_whose_schema_is_older() {
    captured("1.4.1", (2, 5, 10), Settings::Configuration).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_0_6_3_which_is_a_python_program() {
    captured("0.6.3", (2, 4, 9), Settings::Metadata).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_0_5_23_which_lists_no_databases() {
    captured("0.5.23", (2, 4, 9), Settings::Metadata).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_0_4_24_which_speaks_the_first_api_and_never_purges_its_log() {
    captured("0.4.24", (1, 3, 4), Settings::Metadata).await;
}

/// What 0.4 leaves of a deleted record: its row in the log, for ever, and its text in the full-text index. Neither is damage, and the place
/// of the vectors in the log stands in the pickle alone.
#[tokio::test(flavor = "multi_thread")]
async fn release_0_4_24_leaves_deleted_text_and_the_whole_log_and_that_is_no_damage() {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start_release("0.4.24", data.path()).await.unwrap();
    let load = Load {
        sync_threshold: 40,
        between: Duration::from_millis(2),
        per_request: 30,
        settings: Settings::Metadata,
        ..Load::synthetic(29, 1, 24)
    };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(60, Duration::from_secs(60)).await.unwrap();
    let ledger = writer.stop().await.unwrap();
    let mirror = tempfile::tempdir().unwrap();
    let captured = capture(data.path(), mirror.path()).await;
    server.stop().unwrap();

    let database = Connection::open(mirror.path().join(files::DATABASE)).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let records = number("SELECT COUNT(*) FROM embeddings");
    let texts = number("SELECT COUNT(*) FROM embedding_fulltext_search");
    assert!(texts > records, "{texts} texts, {records} records");
    let rows = number("SELECT COUNT(*) FROM embeddings_queue");
    assert_eq!(rows, number("SELECT MAX(seq_id) FROM embeddings_queue"), "the log was purged");
    let of_vectors =
        "SELECT COUNT(*) FROM max_seq_id JOIN segments ON id = segment_id WHERE scope = 'VECTOR'";
    assert_eq!(number(of_vectors), 0);
    drop(database);

    let report = check_dir(mirror.path()).unwrap();
    assert!(report.is_whole() && report.integrity_checked, "{report:#?}");
    let (pending, rows) = (report.pending, rows as u64);
    assert!(pending > 0 && pending < rows, "{pending} of {rows} rows pending");
    let (from, to) = (captured.locked_at, captured.released_at);
    hold_against_release("0.4.24", &ledger, mirror.path(), from, to).await;
}
