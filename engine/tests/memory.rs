//! Memory does not grow with the volume. Alone in its binary: the peak is that of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "engine/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufWriter, Write};

use engine::{Layout, Level, RestoreMode, backup, restore, silent, verify};
use support::{Bench, noise, request};

/// Peak resident memory so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// Captures, restores and verifies so many MiB for each layout; returns the peak after it.
async fn round(megabytes: u64) -> u64 {
    let bench = Bench::new().await;
    for (name, seed) in [("chroma.sqlite3", 1), ("stream", 2)] {
        let mut file = BufWriter::new(File::create(bench.source().join(name)).unwrap());
        for part in 0..megabytes {
            file.write_all(&noise(seed * 1000 + part, 1 << 20)).unwrap();
        }
        file.flush().unwrap();
    }
    let mut wanted = request(bench.source(), "a");
    wanted.layout = std::sync::Arc::new(|path, _| match path.to_str() {
        Some("stream") => Layout::Stream,
        _ => Layout::Pages { size: 4096 },
    });
    let point = backup(&bench.repo, wanted).await.unwrap().point;
    let captured = peak();
    restore(&bench.repo, &point, &bench.scratch("target"), RestoreMode::EmptyTarget, silent()).await.unwrap();
    let restored = peak();
    assert!(verify(&bench.repo, &point, Level::Full, silent()).await.unwrap().passed());
    println!("{megabytes} MiB twice: captured {captured}, restored {restored}, verified {} MiB peak", peak());
    peak()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures its whole process: started by the test below"]
async fn measured() {
    let (small, large) = (round(30).await, round(120).await);
    assert!(large < 80, "{large} MiB");
    // What the heap keeps varies by some MiB; that of a volume 90 MiB larger would not.
    assert!(large < small + 24, "four times the volume took {large} instead of {small} MiB");
}

/// One heap for all threads, as the shipped program sets it (`one_heap` in `mover/src/main.rs`).
#[test]
fn capture_restore_and_verification_take_no_more_memory_for_a_larger_volume() {
    let measured = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "measured", "--ignored", "--nocapture"])
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&measured.stdout);
    println!("{said}");
    assert!(measured.status.success(), "{said}\n{}", String::from_utf8_lossy(&measured.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
