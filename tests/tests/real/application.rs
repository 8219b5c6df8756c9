//! An application's volumes and objects, captured by the real mover while something writes: every database of one instant, files that
//! stand still as they are, and what can't be captured so is named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crds::job::{
    CaptureSource, Captured, CapturedFiles, Content, FailureReason, OBJECTS_DIR, Report, Request, RunMark,
    SCRATCH_DIR, SOURCE_DIR, SourceContent, TARGET_DIR,
};
use jiff::SignedDuration;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::pod::{Pod, ballast};

const CLAIMS: [&str; 2] = ["scholar-data", "scholar-cache"];

fn volume(pod: &Pod, claim: &str) -> PathBuf {
    pod.at(SOURCE_DIR).join(claim)
}

fn request(pod: &Pod, attempt: &str) -> Request {
    let source = CaptureSource {
        policy: "scholar".into(),
        namespace: "arxiv".into(),
        claims: CLAIMS.map(str::to_owned).into(),
        content: SourceContent::Application,
        max_writer_pause: SignedDuration::from_secs(5),
        policy_spec: json!({"component": {"application": {}}}),
    };
    Request::Capture { repository: pod.access(), attempt: attempt.into(), source, turn: None, cut: None }
}

/// A pod with both volumes, an empty scratch space, and a repository.
fn prepared() -> Pod {
    let pod = Pod::with_directory();
    for claim in CLAIMS {
        fs::create_dir_all(volume(&pod, claim)).unwrap();
    }
    pod.run(&pod.probe());
    pod
}

/// A capture by a new pod, whose scratch space is empty.
fn capture(pod: &Pod, attempt: &str) -> Captured {
    let scratch = pod.at(SCRATCH_DIR);
    fs::remove_dir_all(&scratch).unwrap();
    fs::create_dir(&scratch).unwrap();
    match pod.run(&request(pod, attempt)) {
        (Report::Captured(captured), 0) => *captured,
        other => panic!("{other:?}"),
    }
}

fn files(captured: &Captured) -> &CapturedFiles {
    match &captured.content {
        Content::Application(files) => files,
        Content::ChromaDb(chroma) => panic!("{chroma:?}"),
    }
}

/// Everything of the point, each volume in a directory of its name.
fn restored(pod: &Pod, captured: &Captured) -> PathBuf {
    let target = pod.root.path().join(format!("restored-{}", captured.point));
    pod.shell().done(&["restore", "--point", &captured.point, "--target", target.to_str().unwrap()]);
    target
}

const ACCOUNTS: i64 = 40;
const TOTAL: i64 = ACCOUNTS * 1000;

/// Moves money between accounts and keeps a ledger in another table: whatever commits leaves the total as it was.
struct Bank {
    stop: Arc<AtomicBool>,
    /// The last transfer that was acknowledged.
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Bank {
    fn open(db: &Path, mode: &str) -> Self {
        let connection = Connection::open(db).unwrap();
        let now: String =
            connection.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0)).unwrap();
        assert_eq!(now, mode);
        connection
            .execute_batch(&format!(
                "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, note BLOB);
                 CREATE TABLE transfers (n INTEGER PRIMARY KEY, amount INTEGER, note BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS})
                 INSERT INTO accounts SELECT i, 1000, randomblob(3000) FROM n;"
            ))
            .unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, told) = (stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            for n in 1..1_000_000_u64 {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (from, to) = (n as i64 % ACCOUNTS + 1, (n as i64 * 7 + 3) % ACCOUNTS + 1);
                connection
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE;
                         UPDATE accounts SET balance = balance - 1, note = randomblob(3000) WHERE id = {from};
                         INSERT INTO transfers VALUES ({n}, 1, randomblob(500));
                         UPDATE accounts SET balance = balance + 1 WHERE id = {to};
                         COMMIT;"
                    ))
                    .unwrap();
                told.store(n, Ordering::Relaxed);
                // SQLite's lock is not fair: whoever never pauses keeps it.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, acknowledged, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// What a copy of a bank holds: the last transfer. All of it is of one instant.
fn audited(db: &Path) -> u64 {
    let connection = Connection::open(db).unwrap();
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    assert_eq!(one("SELECT sum(balance) FROM accounts"), TOTAL, "money was made or lost");
    let (count, last) =
        (one("SELECT count(*) FROM transfers"), one("SELECT coalesce(max(n), 0) FROM transfers"));
    assert_eq!(count, last, "a transfer is missing in between");
    u64::try_from(last).unwrap()
}

fn every_capture_of_a_busy_bank_is_of_one_instant(mode: &str) {
    let pod = prepared();
    let db = volume(&pod, CLAIMS[0]).join("state").join("bank.db");
    fs::create_dir(db.parent().unwrap()).unwrap();
    let bank = Bank::open(&db, mode);
    let mut seen = Vec::new();
    for n in 0..6 {
        let before = bank.acknowledged();
        let captured = capture(&pod, &format!("{mode}-{n}"));
        let after = bank.acknowledged() + 1;
        assert_eq!((files(&captured).databases, files(&captured).unstable_count), (1, 0), "{captured:?}");
        assert!(captured.findings.is_empty(), "{captured:?}");
        let restored = restored(&pod, &captured).join(CLAIMS[0]).join("state/bank.db");
        let last = audited(&restored);
        assert!((before..=after).contains(&last), "transfer {last} is not of {before} to {after}");
        seen.push(last);
    }
    bank.stop();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "nothing was written between captures: {seen:?}");
}

#[test]
fn a_busy_database_with_a_rollback_journal_is_captured_at_one_instant() {
    every_capture_of_a_busy_bank_is_of_one_instant("delete");
}

#[test]
fn a_busy_database_with_a_wal_is_captured_at_one_instant() {
    every_capture_of_a_busy_bank_is_of_one_instant("wal");
}

/// The WAL of a database that nobody has open stays where it is: a capture moves nothing into the database.
#[test]
fn what_a_crashed_writer_left_is_captured_as_it_lies() {
    let pod = prepared();
    let source = volume(&pod, CLAIMS[0]);
    let (wal, hot) = (source.join("wal.db"), source.join("hot.db"));
    crashed(&wal, "wal");
    crashed(&hot, "delete");
    let left = |dir: &Path| {
        let file = |name: &str| fs::read(dir.join(name)).unwrap();
        ["wal.db", "wal.db-wal", "hot.db", "hot.db-journal"].map(file)
    };
    let before = left(&source);
    let captured = capture(&pod, "crashed");
    assert_eq!((files(&captured).databases, captured.findings.len()), (2, 0), "{captured:?}");
    assert!(before == left(&source), "the source was changed");
    let restored = restored(&pod, &captured).join(CLAIMS[0]);
    assert!(before == left(&restored), "something else was captured");
    let rows = |db: &str| {
        let connection = Connection::open(restored.join(db)).unwrap();
        connection.query_row("SELECT group_concat(x) FROM t", [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!((rows("wal.db"), rows("hot.db")), ("1,2".into(), "1".into()));
}

/// A database whose writer is gone: with a WAL after a commit, with a journal in the midst of a transaction.
fn crashed(db: &Path, mode: &str) {
    let made = db.with_extension("made");
    let connection = Connection::open(&made).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode={mode}; PRAGMA cache_size=1; CREATE TABLE t (x, y BLOB);
             INSERT INTO t VALUES (1, zeroblob(100000));"
        ))
        .unwrap();
    match mode {
        "wal" => connection.execute_batch("INSERT INTO t VALUES (2, NULL)").unwrap(),
        // More than the cache holds, so that the journal is synced and pages of the database are overwritten.
        _ => connection.execute_batch("BEGIN; UPDATE t SET x = 3, y = randomblob(100000)").unwrap(),
    }
    let beside = |of: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", of.display()));
    for suffix in ["", "-wal", "-journal"] {
        let from = beside(&made, suffix);
        if from.exists() {
            fs::copy(&from, beside(db, suffix)).unwrap();
        }
    }
    drop(connection);
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let _ = fs::remove_file(beside(&made, suffix));
    }
}

/// Who writes a file and then refers to it in a database finds the file in every capture, wherever the walk meets which.
#[test]
fn what_a_database_refers_to_is_in_the_point() {
    let pod = prepared();
    let (state, files) = (volume(&pod, CLAIMS[0]), volume(&pod, CLAIMS[1]).join("papers"));
    fs::create_dir(&files).unwrap();
    let connection = Connection::open(state.join("z.db")).unwrap();
    connection.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE papers (n INTEGER PRIMARY KEY)").unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    // Something to be copied meanwhile.
    fs::write(state.join("ballast"), vec![b'x'; 32 << 20]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let writing = std::thread::spawn(move || {
        for n in 0..20_000 {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            fs::write(files.join(n.to_string()), n.to_string()).unwrap();
            connection.execute("INSERT INTO papers VALUES (?1)", [n]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    for n in 0..3 {
        let captured = capture(&pod, &format!("refers-{n}"));
        let restored = restored(&pod, &captured);
        let copy = Connection::open(restored.join(CLAIMS[0]).join("z.db")).unwrap();
        let last: i64 =
            copy.query_row("SELECT coalesce(max(n), -1) FROM papers", [], |row| row.get(0)).unwrap();
        for n in 0..=last {
            let file = restored.join(CLAIMS[1]).join("papers").join(n.to_string());
            assert!(fs::read_to_string(&file).is_ok_and(|text| text == n.to_string()), "{n} of {last}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
}

#[test]
fn files_keep_their_permissions_and_those_that_never_stand_still_are_named() {
    let pod = prepared();
    let source = volume(&pod, CLAIMS[1]);
    fs::create_dir_all(source.join("papers/2026")).unwrap();
    fs::create_dir(source.join("lost+found")).unwrap();
    fs::write(source.join("papers/2026/one.json"), "{}").unwrap();
    fs::set_permissions(source.join("papers/2026/one.json"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("2026/one.json", source.join("papers/latest")).unwrap();
    // Long enough to be read that whoever appends to it does so meanwhile.
    fs::write(source.join("busy.log"), vec![b'x'; 64 << 20]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, log) = (stop.clone(), source.join("busy.log"));
    let appending = std::thread::spawn(move || {
        let mut log = fs::File::options().append(true).open(log).unwrap();
        for _ in 0..60_000 {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            log.write_all(b"line\n").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let captured = capture(&pod, "files");
    stop.store(true, Ordering::Relaxed);
    appending.join().unwrap();
    assert_eq!(files(&captured).unstable, ["scholar-cache/busy.log"], "{captured:?}");
    assert_eq!((files(&captured).volumes, files(&captured).unstable_count), (2, 1));
    assert!(captured.findings.is_empty(), "it is no damage");
    let restored = restored(&pod, &captured);
    assert!(restored.join(CLAIMS[0]).is_dir(), "an empty volume is one, too");
    let papers = restored.join(CLAIMS[1]).join("papers");
    assert_eq!(fs::read_to_string(papers.join("latest")).unwrap(), "{}");
    assert_eq!(fs::metadata(papers.join("2026/one.json")).unwrap().mode() & 0o777, 0o640);
    assert!(!restored.join(CLAIMS[1]).join("lost+found").exists());
    let only = pod.root.path().join("only");
    let one =
        ["restore", "--point", &captured.point, "--volume", CLAIMS[1], "--target", only.to_str().unwrap()];
    pod.shell().done(&one);
    assert!(only.join("papers/2026/one.json").exists());
    let unknown = ["restore", "--point", &captured.point, "--volume", "x", "--target", "/nonexistent/target"];
    let (refused, code) = pod.shell().answer(&unknown);
    assert_eq!(code, 2, "{refused}");
}

#[test]
fn both_volumes_are_restored_by_one_job_and_held_against_the_point() {
    let pod = prepared();
    fs::create_dir(volume(&pod, CLAIMS[0]).join("papers")).unwrap();
    fs::write(volume(&pod, CLAIMS[0]).join("papers/one.json"), "{}").unwrap();
    fs::write(volume(&pod, CLAIMS[1]).join("index"), "1 2 3").unwrap();
    let captured = capture(&pod, "both");
    let claims = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let run =
        RunMark { namespace: "arxiv".into(), name: "all".into(), uid: "u".into(), spec_hash: "h".into() };
    let restore = |names: &[&str]| Request::Restore {
        repository: pod.access(),
        point: captured.point.clone(),
        claims: claims(names),
        run: run.clone(),
    };
    let verify = || Request::VerifyOffline {
        repository: pod.access(),
        point: captured.point.clone(),
        claims: claims(&CLAIMS),
        data_path: None,
    };
    let target = |claim: &str| pod.at(TARGET_DIR).join(claim);
    CLAIMS.iter().for_each(|claim| fs::create_dir_all(target(claim)).unwrap());
    let Report::Restored(restored) = pod.run(&restore(&CLAIMS)).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(restored.files, captured.files - captured.objects);
    assert_eq!(fs::read_to_string(target(CLAIMS[0]).join("papers/one.json")).unwrap(), "{}");
    assert_eq!(fs::read_to_string(target(CLAIMS[1]).join("index")).unwrap(), "1 2 3");
    let Report::Verified(verified) = pod.run(&verify()).0 else { panic!("{:?}", pod.report()) };
    assert_eq!((verified.files_equal, verified.findings.len()), (verified.files, 0), "{verified:?}");

    fs::write(target(CLAIMS[1]).join("index"), "1 2 4").unwrap();
    let Report::Verified(verified) = pod.run(&verify()).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(verified.findings[0].subject, "scholar-cache/index", "{verified:?}");
    assert_eq!(verified.files_equal, verified.files - 1);

    let (reason, message, _) = pod.failure(&restore(&["scholar-data", "scholar-new"]));
    assert_eq!(reason, FailureReason::InvalidRequest);
    assert!(message.contains("has no volume scholar-new; it has: "), "{message}");
    let (reason, message, _) = pod.failure(&restore(&["../elsewhere"]));
    assert_eq!(reason, FailureReason::InvalidRequest, "{message}");
}

#[test]
fn a_damaged_database_is_captured_and_the_point_says_so_and_a_chromadb_is_refused() {
    let pod = prepared();
    let db = volume(&pod, CLAIMS[0]).join("state.db");
    let connection = Connection::open(&db).unwrap();
    connection.execute_batch("CREATE TABLE t (x); CREATE INDEX i ON t (x)").unwrap();
    for n in 0..2000 {
        connection.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
    }
    drop(connection);
    let mut bytes = fs::read(&db).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xAA);
    fs::write(&db, bytes).unwrap();
    let captured = capture(&pod, "damaged");
    assert_eq!(captured.findings[0].subject, "scholar-data/state.db", "{captured:?}");
    let (refused, code) = pod.shell().answer(&["restore", "--point", "latest", "--target", "/nonexistent/x"]);
    assert_eq!(code, 6, "no point is healthy: {refused}");

    fs::create_dir(volume(&pod, CLAIMS[1]).join("db")).unwrap();
    ballast(&volume(&pod, CLAIMS[1]).join("db"), 1);
    let (reason, message, code) = pod.failure(&request(&pod, "chroma"));
    assert_eq!((reason, code), (FailureReason::ChromaDBFound, 8));
    assert!(
        message.contains("claim scholar-cache holds a ChromaDB database (db/chroma.sqlite3)"),
        "{message}"
    );
}

#[test]
fn objects_are_part_of_the_point_and_come_back_in_the_order_they_are_applied() {
    let pod = prepared();
    for (path, value) in [("ConfigMap/config/OFFLINE_MODE", "false"), ("Secret/env/.env", "TOKEN=hunter22")] {
        let path = pod.at(OBJECTS_DIR).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
    fs::create_dir_all(pod.at(OBJECTS_DIR).join("Secret/missing")).unwrap();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scholar", "namespace": "arxiv"}, "spec": {"replicas": 1}});
    let mut command = pod.command(&request(&pod, "objects"));
    command.env("HOLDFAST_OBJECT_0", deployment.to_string());
    let (Report::Captured(captured), 0) = pod.run_with(command) else { panic!("{:?}", pod.report()) };
    assert_eq!((captured.objects, captured.files), (4, 4), "{captured:?}");

    let list = |args: &[&str]| {
        let all = [&["objects", "--point", &captured.point], args].concat();
        let output = pod.shell().command(&all).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap()["items"].clone(), said)
    };
    let (items, said) = list(&[]);
    let kinds: Vec<_> = items.as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "Secret", "Deployment", "BackupPolicy"]);
    assert_eq!(items[2], deployment);
    assert_eq!(items[1]["data"], json!({".env": "VE9LRU49aHVudGVyMjI="}));
    assert!(said.contains("warning: Secret missing"), "{said}");
    let (chosen, _) = list(&["--kind", "ConfigMap", "--namespace", "elsewhere"]);
    assert_eq!(chosen[0]["metadata"], json!({"name": "config", "namespace": "elsewhere"}));
    assert_eq!(chosen.as_array().unwrap().len(), 1);
}
