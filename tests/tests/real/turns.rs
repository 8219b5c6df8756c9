//! Captures in a row as one pod takes them: the same mounts and scratch space, one process after the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the turns of real processes are by the real clock")]

use std::{fs, sync::Arc, time::Duration};

use crds::job::{Captured, FailureReason, OBJECTS_DIR, Report, Request, SCRATCH_DIR, Turn};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tests::{
    chroma_server::ChromaServer,
    writer::{Load, Server, Writer, truth},
};

use super::pod::{Pod, ballast, chroma};

fn turn(at: Timestamp, full_check: bool) -> Turn {
    Turn { at, until: at + SignedDuration::from_hours(1), full_check }
}

fn capture(pod: &Pod, attempt: &str, turn: Turn) -> Request {
    match pod.capture(attempt) {
        Request::Capture { repository, attempt, source, .. } => {
            Request::Capture { repository, attempt, source, turn: Some(turn), cut: None }
        }
        other => other,
    }
}

fn captured(pod: &Pod, attempt: &str, turn: Turn) -> Captured {
    match pod.run(&capture(pod, attempt, turn)) {
        (Report::Captured(captured), 0) => *captured,
        other => panic!("{other:?}"),
    }
}

/// What `holdfast points` says of a point.
fn told(pod: &Pod, captured: &Captured) -> Value {
    let all = pod.shell().done(&["points"]);
    let mut points = all["points"].as_array().unwrap().iter();
    points.find(|point| point["point"] == captured.point.as_str()).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_of_its_own_instant_from_a_mirror_that_stays_and_says_what_was_last_checked_in_full() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(11, 2, 16) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(40, Duration::from_secs(90)).await.unwrap();
    let mut taken = Vec::new();
    for (number, full) in [false, true, false].into_iter().enumerate() {
        writer.progress(10, Duration::from_secs(90)).await.unwrap();
        let mut request =
            pod.command(&capture(&pod, &format!("turn-{number}"), turn(Timestamp::now(), full)));
        if number == 0 {
            // What the first is given stays in the scratch space for all.
            let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chromadb"}});
            request.env("HOLDFAST_OBJECT_0", object.to_string());
        }
        let (Report::Captured(captured), 0) = pod.run_with(request) else { panic!("{:?}", pod.report()) };
        assert_eq!((captured.objects, captured.findings.len()), (2, 0), "{captured:?}");
        taken.push(*captured);
    }
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    let checked = |captured: &Captured| told(&pod, captured)["integrityCheckedAt"].clone();
    let of = |captured: &Captured| json!(captured.consistency_time);
    assert_eq!(
        taken.iter().map(checked).collect::<Vec<_>>(),
        [Value::Null, of(&taken[1]), of(&taken[1])],
        "the last one was not checked in full itself"
    );
    for captured in &taken {
        let target = pod.root.path().join(&captured.point);
        pod.shell().done(&["restore", "--point", &captured.point, "--target", target.to_str().unwrap()]);
        let restored = ChromaServer::start(&target).await.unwrap();
        let served = Server::new(Arc::new(restored.url().to_owned())).unwrap();
        truth::hold(&served, &ledger, captured.consistency_time, chroma(captured).released_at).await.unwrap();
    }
}

#[test]
fn damage_that_was_found_once_is_looked_for_in_every_state_that_follows() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    // An SQLite database that is no ChromaDB is whole for SQLite, and damaged for the check.
    ballast(&pod.volume(), 1);
    let first = captured(&pod, "full", turn(Timestamp::now(), true));
    let second = captured(&pod, "quick", turn(Timestamp::now(), false));
    for captured in [&first, &second] {
        assert!(!captured.findings.is_empty());
        assert_eq!(told(&pod, captured).get("integrityCheckedAt"), None);
    }
    assert!(pod.at(SCRATCH_DIR).join("last-full-check.json").exists());
}

#[test]
fn a_turn_is_waited_for_left_out_when_it_is_over_and_its_failure_for_now_ends_no_pod() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    ballast(&pod.volume(), 1);
    let now = Timestamp::now();
    let late = Turn { at: now - SignedDuration::from_secs(60), until: now, full_check: false };
    let mut first = pod.command(&capture(&pod, "late", late));
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chromadb"}});
    first.env("HOLDFAST_OBJECT_0", object.to_string());
    assert_eq!(pod.run_with(first), (Report::LeftOut, 0));
    let due = Timestamp::now() + SignedDuration::from_secs(3);
    let waited = captured(&pod, "early", turn(due, false));
    assert!(waited.consistency_time >= due, "{waited:?}");
    assert_eq!(waited.objects, 2, "also when the first, which alone was sent them, was left out");

    let mut hasty = capture(&pod, "hasty", turn(now, false));
    if let Request::Capture { source, .. } = &mut hasty {
        source.max_writer_pause = SignedDuration::ZERO;
    }
    let (Report::Failed(failure), code) = pod.run(&hasty) else { panic!("{:?}", pod.report()) };
    assert!(failure.reason.is_transient() && code == 0, "the next one may fare better: {failure:?}");
    fs::remove_file(pod.volume().join("chroma.sqlite3")).unwrap();
    let (reason, _, code) = pod.failure(&capture(&pod, "empty", turn(now, false)));
    assert_eq!((reason, code), (FailureReason::ChromaDBNotFound, 8), "no other would");
}

#[test]
fn a_secret_that_goes_meanwhile_is_in_no_point_after_that() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    ballast(&pod.volume(), 1);
    let secret = pod.at(OBJECTS_DIR).join("Secret/env");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join(".env"), "TOKEN=1").unwrap();
    assert_eq!(captured(&pod, "with", turn(Timestamp::now(), false)).objects, 2);
    fs::remove_file(secret.join(".env")).unwrap();
    assert_eq!(captured(&pod, "without", turn(Timestamp::now(), false)).objects, 1);
}
