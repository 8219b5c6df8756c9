//! Live captures of a real server under a real writer, each restored to another real server and held against the writer's
//! ledger: what was acknowledged before the lock is there, what was sent after the release is not, in between whole
//! requests only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use chroma::{
    check::check_dir,
    client::{Auth, Client, Scope},
    files,
    fingerprint::{Key, of_dir, of_server},
    guard::{CaptureOptions, Captured, LockCommand, capture_live},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use tempfile::TempDir;
use tests::{
    chroma_server::{ChromaServer, VERSION},
    writer::{Address, Ledger, Load, Server, Writer, truth},
};

/// How many captures one run makes; `HOLDFAST_CAPTURES` sets another number, for a night of it.
pub(crate) fn captures() -> usize {
    std::env::var("HOLDFAST_CAPTURES")
        .map_or(20, |count| count.parse().expect("HOLDFAST_CAPTURES is a number"))
}

/// The times at which the server rewrote a pickle last: each is the end of a flush.
fn flushes(mirror: &Path) -> Vec<SystemTime> {
    let pickles = fs::read_dir(mirror).unwrap().map(|entry| entry.unwrap().path().join(files::PICKLE));
    pickles.filter_map(|pickle| fs::metadata(pickle).ok()?.modified().ok()).collect()
}

pub(crate) fn lock_command() -> LockCommand {
    LockCommand { program: env!("CARGO_BIN_EXE_lock_process").into(), args: vec!["hold".into()] }
}

pub(crate) fn options(data: &Path) -> CaptureOptions {
    CaptureOptions::new(data, lock_command())
}

pub(crate) async fn capture(data: &Path, mirror: &Path) -> Captured {
    let (options, mirror) = (options(data), mirror.to_owned());
    tokio::task::spawn_blocking(move || capture_live(&options, &mirror)).await.unwrap().unwrap()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

/// Gives a copy to a server of its own and holds it against the ledger and against its own files.
pub(crate) async fn hold_against(
    ledger: &Ledger,
    mirror: &Path,
    locked_at: Timestamp,
    released_at: Timestamp,
) -> truth::Found {
    hold_against_release(VERSION, ledger, mirror, locked_at, released_at).await
}

/// The same with a server of another release.
pub(crate) async fn hold_against_release(
    release: &str,
    ledger: &Ledger,
    mirror: &Path,
    locked_at: Timestamp,
    released_at: Timestamp,
) -> truth::Found {
    let key = Key::new([42; 32]);
    let offline = of_dir(mirror, &key).unwrap();
    let server = ChromaServer::start_release(release, mirror).await.unwrap();
    let served = Server::new(Arc::new(server.url().to_owned())).unwrap();
    let found = truth::hold(&served, ledger, locked_at, released_at).await.unwrap();
    let client = Client::new(server.url(), Auth::None, Duration::from_secs(30)).unwrap();
    let scopes = [Scope::new("default_tenant", "default_database")];
    let online = of_server(&client, &key, &scopes).await.unwrap();
    assert_eq!(offline.len(), online.len());
    for (offline, online) in offline.iter().zip(&online) {
        assert!(offline.same_content(online), "files {offline:?}\nserver {online:?}");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_capture_under_a_writer_holds_what_was_acknowledged_and_nothing_that_was_sent_later() {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start(data.path()).await.unwrap();
    let load = Load {
        sync_threshold: 40,
        between: Duration::from_millis(2),
        per_request: 30,
        passing: true,
        ..Load::synthetic(11, 3, 24)
    };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(60, Duration::from_secs(60)).await.unwrap();

    // One mirror that is kept, as a long-lived capture pod does, copied away after each capture.
    let mirror = tempfile::tempdir().unwrap();
    let mut kept: Vec<(Captured, TempDir)> = Vec::new();
    let mut flushed = BTreeSet::new();
    for _ in 0..captures() {
        let captured = capture(data.path(), mirror.path()).await;
        let report = check_dir(mirror.path()).unwrap();
        assert!(report.is_whole(), "{captured:?}\n{report:#?}");
        flushed.extend(flushes(mirror.path()));
        let copied = tempfile::tempdir().unwrap();
        copy(mirror.path(), copied.path());
        kept.push((captured, copied));
        // Some requests later, so that each capture has its own to lose or to invent.
        writer.progress(30, Duration::from_secs(60)).await.unwrap();
    }
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();

    let mut records = Vec::new();
    for (captured, mirror) in &kept {
        eprintln!(
            "hold {} ms, attempts {}, {} bytes compared, {} written under the lock, torn {:?}",
            captured.longest_hold_ms,
            captured.attempts,
            captured.compared_under_lock,
            captured.written_under_lock,
            captured.torn_because
        );
        let (from, to) = (captured.locked_at, captured.released_at);
        records.push(hold_against(&ledger, mirror.path(), from, to).await.records());
    }
    eprintln!("{} flushes seen", flushed.len());
    assert!(flushed.len() >= 3, "too few flushes to fall into a capture: {flushed:?}");
    assert!(records.windows(2).any(|pair| pair[0] != pair[1]), "nothing was written in between: {records:?}");
}

/// Where the server is that was started last.
#[derive(Debug, Default)]
struct Moving(Mutex<String>);

impl Moving {
    fn to(&self, server: &ChromaServer) {
        *self.0.lock().unwrap() = server.url().to_owned();
    }
}

impl Address for Moving {
    fn url(&self) -> BoxFuture<'_, anyhow::Result<String>> {
        let url = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(url) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_capture_of_a_server_that_was_stopped_under_a_writer_holds_what_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let address = Arc::new(Moving::default());
    let mut server = ChromaServer::start(data.path()).await.unwrap();
    address.to(&server);
    let load = Load {
        sync_threshold: 40,
        between: Duration::from_millis(2),
        per_request: 30,
        ..Load::synthetic(29, 3, 24)
    };
    let mut writer = Writer::start(address.clone(), load).await.unwrap();
    let mirror = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    for _ in 0..captures() {
        writer.progress(30, Duration::from_secs(60)).await.unwrap();
        // In the middle of requests, which get no answer then.
        server.stop().unwrap();
        let captured = capture(data.path(), mirror.path()).await;
        assert_eq!((captured.attempts, captured.written_under_lock), (1, 0), "nobody writes");
        let copied = tempfile::tempdir().unwrap();
        copy(mirror.path(), copied.path());
        kept.push((captured, copied));
        server = ChromaServer::start(data.path()).await.unwrap();
        address.to(&server);
    }
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    let mut records = Vec::new();
    for (captured, mirror) in &kept {
        let report = check_dir(mirror.path()).unwrap();
        assert!(report.is_whole(), "{captured:?}\n{report:#?}");
        let (from, to) = (captured.locked_at, captured.released_at);
        records.push(hold_against(&ledger, mirror.path(), from, to).await.records());
    }
    assert!(records.windows(2).any(|pair| pair[0] != pair[1]), "nothing was written in between: {records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_without_a_server_works_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = ChromaServer::start(data.path()).await.unwrap();
    let mut writer =
        Writer::start(Arc::new(server.url().to_owned()), Load::synthetic(5, 2, 16)).await.unwrap();
    writer.progress(20, Duration::from_secs(60)).await.unwrap();
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();

    let mirror = tempfile::tempdir().unwrap();
    let captured = capture(data.path(), mirror.path()).await;
    assert_eq!((captured.attempts, captured.written_under_lock), (1, 0));
    hold_against(&ledger, mirror.path(), captured.locked_at, captured.released_at).await;
}

/// ChromaDB's own vacuum purges the log, rewrites the whole database and records that it did. It wants the server to be stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_before_a_vacuum_is_brought_up_to_what_is_there_after_it() {
    let data = tempfile::tempdir().unwrap();
    let mirror = tempfile::tempdir().unwrap();
    let load = Load { sync_threshold: 40, per_request: 30, passing: true, ..Load::synthetic(17, 2, 24) };
    let server = ChromaServer::start(data.path()).await.unwrap();
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load.clone()).await.unwrap();
    writer.progress(60, Duration::from_secs(60)).await.unwrap();
    capture(data.path(), mirror.path()).await;
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();

    let before = fs::metadata(data.path().join(files::DATABASE)).unwrap().len();
    let vacuum = std::process::Command::new(tests::chroma_server::program().unwrap())
        .args(["vacuum", "--force", "--path"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(vacuum.status.success(), "{vacuum:?}");
    let after = fs::metadata(data.path().join(files::DATABASE)).unwrap().len();
    assert!(after < before, "the vacuum has rewritten nothing: {before} bytes, then {after}");

    let server = ChromaServer::start(data.path()).await.unwrap();
    let captured = capture(data.path(), mirror.path()).await;
    server.stop().unwrap();
    assert!(check_dir(mirror.path()).unwrap().is_whole());
    hold_against(&ledger, mirror.path(), captured.locked_at, captured.released_at).await;
}
