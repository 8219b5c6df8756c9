//! The lock of a live capture: nobody else gets it while the capture reads, it never outlives its parent or its deadline, and
//! a source that can't be captured safely is refused by name. No server: the locks are SQLite's and the kernel's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use chroma::guard::{
    CaptureOptions, Captured, GuardError, HeldLock, LockCommand, LockRequest, Moment, capture_live,
    capture_live_watched, inspect_source,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::rival::{Rival, Tries};

const SEGMENT: &str = "c03507a1-ab9b-417f-ab21-fa635468b284";

fn lock_process(mode: &str) -> LockCommand {
    LockCommand { program: env!("CARGO_BIN_EXE_lock_process").into(), args: vec![mode.into()] }
}

/// A data directory with a database of about `megabytes` and one file in a segment's directory.
fn data_dir(megabytes: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("chroma.sqlite3")).unwrap();
    connection.execute_batch("CREATE TABLE rows (content BLOB)").unwrap();
    for _ in 0..megabytes {
        connection.execute("INSERT INTO rows VALUES (randomblob(1000000))", []).unwrap();
    }
    fs::create_dir(dir.path().join(SEGMENT)).unwrap();
    fs::write(dir.path().join(SEGMENT).join("length.bin"), [7; 5000]).unwrap();
    dir
}

fn options(data: &Path) -> CaptureOptions {
    CaptureOptions::new(data, lock_process("hold"))
}

fn captures_against_a_rival(holder: &str) -> (Vec<Captured>, Tries) {
    let (data, mirror) = (data_dir(48), tempfile::tempdir().unwrap());
    let options = CaptureOptions { lock_command: lock_process(holder), ..options(data.path()) };
    let rival = Rival::start(data.path());
    let captured = (0..3)
        .map(|_| {
            let captured = capture_live_watched(&options, mirror.path(), &mut |moment| {
                // The descriptors of the read phase are closed by now: whatever that did to the lock shows from here on.
                if moment == Moment::Levelled {
                    rival.tries_more(20);
                }
            });
            captured.unwrap()
        })
        .collect();
    rival.tries_more(5);
    (captured, rival.stop())
}

#[test]
fn a_second_process_never_gets_the_write_lock_during_the_read_phase() {
    let (captured, tries) = captures_against_a_rival("hold");
    assert!(!tries.got.is_empty(), "a rival that never gets the lock proves nothing");
    for captured in &captured {
        let (failed, succeeded) = tries.within(captured.locked_at, captured.released_at);
        assert!(failed >= 10, "only {failed} tries fell into the hold of {} ms", captured.longest_hold_ms);
        assert_eq!(succeeded, 0, "of {failed} tries under the lock");
    }
}

/// What makes the test above worth something: it goes red when the holder closes any descriptor of the database.
#[test]
fn the_rival_does_get_the_lock_when_its_holder_closes_a_descriptor_of_the_database() {
    let (captured, tries) = captures_against_a_rival("hold-and-close-a-descriptor");
    let succeeded: usize =
        captured.iter().map(|captured| tries.within(captured.locked_at, captured.released_at).1).sum();
    assert!(succeeded > 0, "the seeded mistake went unseen");
}

fn request(data: &Path, deadline: Duration) -> LockRequest {
    LockRequest { db: data.join("chroma.sqlite3"), wait: Duration::from_secs(5), deadline }
}

fn can_lock_within(data: &Path, patience: Duration) -> bool {
    let connection = Connection::open(data.join("chroma.sqlite3")).unwrap();
    connection.busy_timeout(patience).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
}

#[test]
fn the_lock_goes_when_its_parent_is_killed() {
    let data = data_dir(1);
    let mut parent = Command::new(env!("CARGO_BIN_EXE_lock_process"))
        .arg("parent")
        .args(request(data.path(), Duration::from_secs(600)).to_args())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("holding "), "{said}");
    assert!(!can_lock_within(data.path(), Duration::ZERO));
    // SIGKILL: it gets no chance to tell its child.
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(can_lock_within(data.path(), Duration::from_secs(5)));
}

#[test]
fn the_lock_goes_at_its_deadline_and_the_parent_learns_of_it() {
    let data = data_dir(1);
    let lock =
        HeldLock::acquire(&lock_process("hold"), &request(data.path(), Duration::from_millis(100))).unwrap();
    assert!(can_lock_within(data.path(), Duration::from_secs(5)));
    let error = lock.release().unwrap_err();
    assert!(error.to_string().contains("deadline"), "{error}");
}

#[test]
fn a_lock_that_was_held_to_the_end_says_how_long() {
    let data = data_dir(1);
    let lock =
        HeldLock::acquire(&lock_process("hold"), &request(data.path(), Duration::from_secs(60))).unwrap();
    let released = lock.release().unwrap();
    assert!(released.released_at >= released.locked_at);
    assert!(can_lock_within(data.path(), Duration::from_secs(5)));
}

#[test]
fn a_database_that_stays_locked_is_reported_with_the_time_that_was_tried() {
    let data = data_dir(1);
    let _held =
        HeldLock::acquire(&lock_process("hold"), &request(data.path(), Duration::from_secs(60))).unwrap();
    let options = CaptureOptions { lock_wait: Duration::from_millis(50), ..options(data.path()) };
    let error = capture_live(&options, tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(
        matches!(&error, GuardError::LockUnavailable { waited, .. } if waited.as_millis() == 50),
        "{error}"
    );
    assert!(!error.is_permanent());
}

#[test]
fn a_holder_that_does_not_exist_or_does_not_speak_is_an_error() {
    let data = data_dir(1);
    for program in ["/nonexistent/holder", "/bin/true"] {
        let lock_command = LockCommand { program: program.into(), args: vec![] };
        let options = CaptureOptions { lock_command, ..options(data.path()) };
        let error = capture_live(&options, tempfile::tempdir().unwrap().path()).unwrap_err();
        assert_eq!(error.category(), "LockProcess", "{error}");
    }
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["chroma.sqlite3".into(), Path::new(SEGMENT).join("length.bin")];
    names.iter().filter_map(|name| Some((name.clone(), fs::read(dir.join(name)).ok()?))).collect()
}

#[test]
fn the_mirror_equals_the_source_and_a_second_capture_writes_only_what_changed() {
    let (data, mirror) = (data_dir(4), tempfile::tempdir().unwrap());
    let first = capture_live(&options(data.path()), mirror.path()).unwrap();
    assert!(contents(data.path()) == contents(mirror.path()));
    assert_eq!(first.attempts, 1);
    assert_eq!(first.written_under_lock, 0, "nobody wrote, so the mirror was near already");

    fs::remove_dir_all(data.path().join(SEGMENT)).unwrap();
    fs::write(mirror.path().join("chroma.sqlite3-journal"), "left by somebody").unwrap();
    Connection::open(data.path().join("chroma.sqlite3"))
        .unwrap()
        .execute("UPDATE rows SET content = randomblob(1000000) WHERE rowid = 2", [])
        .unwrap();
    capture_live(&options(data.path()), mirror.path()).unwrap();
    assert!(contents(data.path()) == contents(mirror.path()));
    assert!(!mirror.path().join(SEGMENT).exists());
    assert!(!mirror.path().join("chroma.sqlite3-journal").exists());
}

#[test]
fn what_is_not_chromas_is_captured_too_and_sockets_are_named() {
    let (data, mirror) = (data_dir(1), tempfile::tempdir().unwrap());
    fs::create_dir(data.path().join("auth")).unwrap();
    fs::write(data.path().join("auth/server.htpasswd"), "user:hash").unwrap();
    std::os::unix::fs::symlink("auth", data.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(data.path().join("socket")).unwrap();
    let captured = capture_live(&options(data.path()), mirror.path()).unwrap();
    assert_eq!(fs::read(mirror.path().join("auth/server.htpasswd")).unwrap(), b"user:hash");
    assert_eq!(fs::read_link(mirror.path().join("link")).unwrap(), Path::new("auth"));
    assert_eq!(captured.skipped, ["socket"]);
}

/// Captures in three attempts, with `interfere` at that moment of each: what a thread beside it would do only if it got its turn.
fn interfered(
    options: &CaptureOptions,
    mirror: &Path,
    at: Moment,
    interfere: impl FnMut(),
) -> Result<Captured, GuardError> {
    let options = CaptureOptions { attempts: 3.try_into().unwrap(), ..options.clone() };
    let mut interfere = interfere;
    capture_live_watched(&options, mirror, &mut |moment| {
        if moment == at {
            interfere();
        }
    })
}

#[test]
fn a_segment_that_appears_under_the_lock_makes_the_attempt_torn() {
    let (data, mirror) = (data_dir(1), tempfile::tempdir().unwrap());
    let mut number = 0;
    let error = interfered(&options(data.path()), mirror.path(), Moment::Settled, || {
        number += 1;
        fs::create_dir(data.path().join(format!("{number:08x}-ab9b-417f-ab21-fa635468b284"))).unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(error, GuardError::Torn { attempts: 3, .. }), "{error}");
    let captured = capture_live(&options(data.path()), mirror.path()).unwrap();
    assert_eq!(captured.attempts, 1, "and it goes on once that ends: {:?}", captured.torn_because);
}

/// On a filesystem whose locks don't reach the server, the server writes on: its database shows it.
#[test]
fn a_lock_that_keeps_no_writer_out_makes_the_attempt_torn() {
    let (data, mirror) = (data_dir(1), tempfile::tempdir().unwrap());
    let options = CaptureOptions { lock_command: lock_process("pretend"), ..options(data.path()) };
    let server = Connection::open(data.path().join("chroma.sqlite3")).unwrap();
    let error = interfered(&options, mirror.path(), Moment::Settled, || {
        server.execute("UPDATE rows SET content = randomblob(1000) WHERE rowid = 1", []).unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, GuardError::Torn { last, .. } if last.contains("chroma.sqlite3")), "{error}");
}

#[test]
fn a_segment_that_keeps_changing_is_torn_and_not_waited_for() {
    let (data, mirror) = (data_dir(1), tempfile::tempdir().unwrap());
    let options = CaptureOptions {
        max_writer_pause: Duration::from_secs(1),
        // Whatever is written in this test is written within that time.
        quiet: Duration::from_secs(600),
        ..options(data.path())
    };
    let error = interfered(&options, mirror.path(), Moment::Locked, || {
        fs::write(data.path().join(SEGMENT).join("length.bin"), [8; 5000]).unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, GuardError::Torn { last, .. } if last.contains("length.bin")), "{error}");
}

/// A server that is short of processor time may be seconds between two files of a flush. The lock is not held meanwhile.
#[test]
fn a_flush_that_stands_still_halfway_is_waited_for_without_the_lock() {
    let (data, mirror) = (data_dir(1), tempfile::tempdir().unwrap());
    let header = data.path().join(SEGMENT).join("header.bin");
    // Three elements, and no pickle that names them.
    let mut halfway = [0; 100];
    halfway[20] = 3;
    fs::write(&header, halfway).unwrap();
    let captured = thread::scope(|scope| {
        let mut finishing = false;
        capture_live_watched(&options(data.path()), mirror.path(), &mut |moment| {
            if moment == Moment::FlushAwaited && !std::mem::replace(&mut finishing, true) {
                scope.spawn(|| {
                    thread::sleep(Duration::from_secs(2));
                    fs::remove_file(&header).unwrap();
                });
            }
        })
        .unwrap()
    });
    assert_eq!(captured.suspect_segments, Vec::<String>::new(), "{:?}", captured.torn_because);
    assert_eq!(captured.attempts, 2, "{:?}", captured.torn_because);
}

#[test]
fn a_capture_that_would_keep_writers_waiting_too_long_gives_up_and_says_what_it_needs() {
    let (data, mirror) = (data_dir(48), tempfile::tempdir().unwrap());
    let allowed = Duration::from_millis(2);
    let options = CaptureOptions { max_writer_pause: allowed, ..options(data.path()) };
    let error = capture_live(&options, mirror.path()).unwrap_err();
    assert!(matches!(error, GuardError::WriterPauseExceeded { needed, .. } if needed > allowed), "{error}");
    assert!(error.to_string().contains("Snapshot"));
    assert!(can_lock_within(data.path(), Duration::from_secs(5)));
}

#[test]
fn a_directory_without_a_database_is_refused_with_what_is_there() {
    let (data, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(data.path().join("index_data")).unwrap();
    let error = capture_live(&options(data.path()), mirror.path()).unwrap_err();
    assert_eq!(error.category(), "NotChroma");
    assert!(error.to_string().contains("index_data"), "{error}");
    assert!(error.is_permanent());
}

#[test]
fn a_database_in_wal_mode_or_none_at_all_is_refused() {
    let data = data_dir(1);
    let db = data.path().join("chroma.sqlite3");
    let mode: String =
        Connection::open(&db).unwrap().query_row("PRAGMA journal_mode = wal", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(inspect_source(data.path(), false).unwrap_err().category(), "JournalMode");
    fs::write(&db, [0; 4096]).unwrap();
    assert_eq!(inspect_source(data.path(), false).unwrap_err().category(), "NotSqlite");
}

#[test]
fn a_journal_that_a_crash_left_is_refused() {
    let (running, crashed) = (data_dir(1), tempfile::tempdir().unwrap());
    let connection = Connection::open(running.path().join("chroma.sqlite3")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; UPDATE rows SET content = randomblob(100)").unwrap();
    // What a machine that loses power now would leave behind.
    for name in ["chroma.sqlite3", "chroma.sqlite3-journal"] {
        fs::copy(running.path().join(name), crashed.path().join(name)).unwrap();
    }
    let error = inspect_source(crashed.path(), false).unwrap_err();
    assert_eq!(error.category(), "HotJournal", "{error}");
}

#[test]
fn a_mirror_inside_the_source_is_refused() {
    let data = data_dir(1);
    let error = capture_live(&options(data.path()), &data.path().join("mirror")).unwrap_err();
    assert_eq!(error.category(), "MirrorOverlaps");
}
