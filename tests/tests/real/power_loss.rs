//! What the storage cuts while writers are held, at its worst: a device that is copied behind the back of its file system, as if the
//! power had failed at that instant. Nothing that was acknowledged before may be missing from any of the copies; and without the guard
//! something is, so these tests can fail.
//!
//! Devices are files on loop devices, mounted in a mount namespace that goes with the process, however it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{convert::Infallible, path::PathBuf, process::Command, sync::Arc, time::Duration};

use chroma::{
    check::{CheckOptions, CheckReport, check_dir, check_dir_with},
    guard::{FreezeError, Frozen, HeldLock, LockRequest, freeze},
};
use jiff::Timestamp;
use tempfile::TempDir;
use tests::{
    chroma_server::ChromaServer,
    writer::{Ledger, Load, Writer},
};

use super::chroma_capture::{captures, hold_against, lock_command, options};

/// For requests of a writer whose server syncs to a disk that others write to as well.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the ignored test of this name in a mount namespace of its own.
fn in_its_own_namespace(test: &str) {
    let program = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(["--ignored", "--exact", "--nocapture", &format!("power_loss::{test}")])
        .status()
        .unwrap();
    assert!(ran.success(), "{test} failed; it needs root, as the cluster does");
}

/// A file system of ext4 in a file.
struct Device {
    keep: TempDir,
}

impl Device {
    fn new() -> Device {
        let device = Device { keep: tempfile::tempdir().unwrap() };
        // Takes the space of what is written to it; the more captures, the more the writer has written by the last.
        let size = format!("{}M", 96 + 4 * captures());
        done(Command::new("truncate").args(["--size", &size]).arg(device.image()));
        done(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0"]).arg(device.image()));
        device.mount();
        device
    }

    fn image(&self) -> PathBuf {
        self.keep.path().join("image")
    }

    fn data(&self) -> PathBuf {
        self.keep.path().join("mounted")
    }

    fn mount(&self) {
        std::fs::create_dir_all(self.data()).unwrap();
        done(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.data()));
    }

    /// A device of which the file system knows nothing: what it has not written yet is not in there.
    fn cut(&self) -> Device {
        let cut = Device { keep: tempfile::tempdir().unwrap() };
        done(Command::new("cp").arg("--sparse=always").arg(self.image()).arg(cut.image()));
        cut
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A copy that was never mounted has no such directory.
        if self.data().exists() {
            let _ = Command::new("umount").arg("--quiet").arg(self.data()).status();
        }
    }
}

fn done(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}

/// Flushes of vectors often enough that some fall into a cut.
fn load(seed: u64) -> Load {
    Load {
        sync_threshold: 40,
        between: Duration::from_millis(2),
        per_request: 30,
        passing: true,
        ..Load::synthetic(seed, 3, 24)
    }
}

async fn frozen(device: &Arc<Device>) -> Frozen<Device> {
    let device = device.clone();
    let act = move || {
        let done = freeze(&options(&device.data()), &mut |_| {}, |_, _| Ok::<_, Infallible>(device.cut()));
        done.map_err(|error| match error {
            FreezeError::Guard(error) => error,
            FreezeError::Action(never) => match never {},
        })
    };
    tokio::task::spawn_blocking(act).await.unwrap().unwrap()
}

#[test]
fn every_cut_of_a_device_under_a_writer_holds_what_was_acknowledged() {
    in_its_own_namespace("cuts_with_the_guard");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in a mount namespace"]
async fn cuts_with_the_guard() {
    let device = Arc::new(Device::new());
    let (server, mut writer) = written_to(&device, 31).await;
    let mut kept = Vec::new();
    for _ in 0..captures() {
        kept.push(frozen(&device).await);
        writer.progress(30, PATIENCE).await.unwrap();
    }
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    let mut records = Vec::new();
    for cut in &kept {
        eprintln!("hold {} ms, attempts {}", cut.longest_hold_ms, cut.attempts);
        cut.made.mount();
        let data = cut.made.data();
        let report = check_dir(&data).unwrap();
        assert!(report.is_whole(), "{report:#?}");
        records.push(hold_against(&ledger, &data, cut.locked_at, cut.released_at).await.records());
    }
    assert!(records.windows(2).any(|pair| pair[0] != pair[1]), "nothing was written in between: {records:?}");
}

#[test]
fn without_the_sync_the_same_cuts_lose_vectors() {
    in_its_own_namespace("cuts_by_the_lock_alone");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in a mount namespace"]
async fn cuts_by_the_lock_alone() {
    let device = Arc::new(Device::new());
    let (server, mut writer) = written_to(&device, 32).await;
    let mut lost = 0;
    let mut cuts = Vec::new();
    for _ in 0..4 {
        writer.progress(30, PATIENCE).await.unwrap();
        cuts.push(locked(&device));
    }
    let ledger: Ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    for (cut, at) in &cuts {
        cut.mount();
        // What the file system had not written yet comes back rolled back, at best.
        let scratch = Some(cut.keep.path().join("scratch"));
        let report = check_dir_with(&cut.data(), &CheckOptions { scratch, ..CheckOptions::default() });
        let whole = report.as_ref().is_ok_and(CheckReport::is_whole);
        eprintln!("cut at {at}: whole {whole}, {report:?}");
        lost += u32::from(!whole);
    }
    assert!(lost > 0, "the lock alone was enough for {} requests: what is the sync for?", ledger.requests());
}

/// Cuts under the write lock, which is all that SQLite's own rules ask for.
fn locked(device: &Device) -> (Device, Timestamp) {
    let request = LockRequest {
        db: device.data().join("chroma.sqlite3"),
        wait: Duration::from_secs(20),
        deadline: Duration::from_secs(20),
    };
    let lock = HeldLock::acquire(&lock_command(), &request).unwrap();
    let at = lock.locked_at();
    let cut = device.cut();
    lock.release().unwrap();
    (cut, at)
}

async fn written_to(device: &Device, seed: u64) -> (ChromaServer, Writer) {
    let server = ChromaServer::start(&device.data()).await.unwrap();
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load(seed)).await.unwrap();
    writer.progress(60, PATIENCE).await.unwrap();
    (server, writer)
}
