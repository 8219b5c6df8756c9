//! A mover, or the process that holds its lock, killed in every phase of a capture: no lock stays, no point is made of what was not
//! read under one, and the next capture works in whatever was left.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

use crds::job::{Captured, Report};
use rustix::process::{Pid, Signal, kill_process};

use super::pod::{Pod, ballast, chroma};

/// What a capture says when a phase begins, in their order.
const PHASES: [&str; 8] = [
    "without a lock",
    "mirror is near; asking for the write lock",
    "write lock held, writers wait",
    "no flush is under way; reading",
    "mirror is level",
    "write lock released",
    "check what was cut",
    "fingerprint the collections",
];

/// A database that takes a while to compare.
fn prepared() -> Pod {
    let pod = Pod::with_directory();
    ballast(&pod.volume(), 48);
    pod.run(&pod.probe());
    pod
}

#[test]
fn a_mover_killed_in_any_phase_leaves_no_lock_and_no_point_and_the_next_capture_works() {
    let pod = prepared();
    for (number, phase) in PHASES.iter().enumerate() {
        let attempt = format!("killed-{number}");
        let (mut child, _output) = pod.capture_until(&attempt, phase);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pod.can_lock(), "the lock outlived a mover that was killed at: {phase}");
        assert_eq!(pod.confirm(&attempt), Report::NotCommitted, "killed at: {phase}");
        // In the scratch space as the killed one left it, which a pod of several captures does.
        let captured = pod.captured(&format!("next-{number}"));
        assert_eq!(chroma(&captured).attempts, 1, "after a kill at: {phase}");
    }
}

/// The process that holds the lock of a capture: its only child.
fn holder(mover: &Child) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", mover.id()));
    let every = children.ok().into_iter().chain(threads(mover));
    let pid = every.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).next()?;
    Pid::from_raw(pid.parse().ok()?)
}

/// The children of each thread: it is whoever started one that has it.
fn threads(mover: &Child) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", mover.id())).into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect()
}

#[test]
fn when_the_process_that_holds_the_lock_is_killed_what_was_read_meanwhile_is_thrown_away() {
    let pod = prepared();
    let mut torn = 0;
    for (number, phase) in PHASES[2..5].iter().enumerate() {
        let (mut child, mut output) = pod.capture_until(&format!("holder-{number}"), phase);
        let deadline = Instant::now() + Duration::from_secs(5);
        // It may have let go by itself by now: then there was nothing to kill, and nothing is torn.
        let killed = loop {
            match holder(&child) {
                Some(pid) => break kill_process(pid, Signal::KILL).is_ok(),
                None if Instant::now() > deadline || child.try_wait().unwrap().is_some() => break false,
                None => {}
            }
        };
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        let Report::Captured(captured) = pod.report() else { panic!("{:?}", pod.report()) };
        let Captured { findings, .. } = captured.as_ref();
        assert!(!findings.is_empty(), "no ChromaDB, and said to be none");
        if killed && chroma(&captured).attempts > 1 {
            assert!(rest.contains("capture was torn"), "{rest}");
            torn += 1;
        }
        assert!(pod.can_lock());
    }
    assert!(torn > 0, "no kill hit a lock that was held");
}
