//! The `holdfast` program: the Job that moves data for the controller, the process that holds a database's lock during a
//! capture, and the command line for the day the cluster is gone. It is the only place that knows both the repository and
//! ChromaDB; it decides nothing about schedules, retention or recovery.

mod access;
mod application;
mod audit;
mod body;
mod capture;
mod cli;
mod cluster;
mod content;
mod environment;
mod exit;
mod failure;
mod holds;
mod incident;
mod job;
mod losses;
mod objects;
mod places;
mod preserve;
mod recorded;
mod report;
mod retention;
mod review;
mod seal;
mod snapshots;
mod telling;
mod trust;
mod verified;
mod void;
mod words;

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;

use chroma::guard::{LockRequest, hold_lock};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use environment::Environment;
use exit::Exit;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything else: the lock's process must open no file but the database.
    if args.next().is_some_and(|first| first == capture::HOLD_LOCK) {
        return hold(args).into();
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    log_to_stderr();
    one_heap();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: the program can't start its threads: {e}");
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(cli::run(cli, Environment::read()));
    // Work that blocks, such as a capture that was interrupted, ends with the process and with it the lock.
    runtime.shutdown_background();
    exit.into()
}

/// Makes all threads share one heap, and lets it keep what was freed. glibc gives each thread its own, and what a thread freed another
/// can't have: a restore of 240 MB held 88 MB where it holds 38 so. It also gives large pieces back to the kernel at once and
/// gets them again, page by page: 63,000 page faults of that restore where 8,000 are enough, a quarter of its CPU time.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "the allocator has no other switch but the environment that a program is started with"
)]
fn one_heap() {
    // Larger than what is worked with at once, a segment of at most 16 MiB or a dictionary of 12.
    const PIECE: i32 = 32 << 20;
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, PIECE), (libc::M_TRIM_THRESHOLD, 4 * PIECE)]
    {
        // SAFETY: it sets a number inside the allocator, which locks it; it takes no pointer.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(not(target_env = "gnu"))]
fn one_heap() {}

/// The child that holds the write lock, until its parent says so or is gone.
fn hold(args: impl Iterator<Item = OsString>) -> Exit {
    let Some(request) = LockRequest::from_args(args) else {
        eprintln!("error: `{}` is for the program's own use", capture::HOLD_LOCK);
        return Exit::Usage;
    };
    match hold_lock(&request, environment::now, stdin(), stdout()) {
        Ok(_) => Exit::Done,
        Err(e) => {
            eprintln!("error: {}", failure::sentence(&e));
            Exit::Failed
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,holdfast=info,engine=info,chroma=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .init();
}
