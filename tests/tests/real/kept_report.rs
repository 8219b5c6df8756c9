//! The report of a run in its repository: written by a Job, printed by whoever has the key, sealed or not, with no cluster.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use crds::job::{FailureReason, OBJECT_ENV, Report, Request};
use serde_json::{Value, json};
use tests::apiserver::repository;
use tests::shell::holdfast;

use super::pod::Pod;

/// A run that succeeded.
fn run() -> String {
    fs::read_to_string(repository().join("mover/src/incident/golden/succeeded.json")).unwrap()
}

/// Has `text` written as this revision of the report; the run comes in pieces.
fn write(pod: &Pod, text: &str, revision: u32) -> (Report, i32) {
    let path = format!("db-2026-11-23/uid-1/{revision}");
    let mut command = pod.command(&Request::WriteReport { repository: pod.access(), path });
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    for (n, piece) in [first, second].into_iter().enumerate() {
        command.env(format!("{OBJECT_ENV}{n}"), json!(piece).to_string());
    }
    pod.run_with(command)
}

fn said(pod: &Pod, args: &[&str]) -> (String, String, Option<i32>) {
    let output = pod.shell().command(&[&["report"], args].concat()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_report_of_a_run_lies_in_its_repository_and_is_printed_from_there() {
    let pod = Pod::with_directory();
    let Report::Probed(_) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    let (Report::ReportWritten { digest }, 0) = write(&pod, &run(), 1) else { panic!("{:?}", pod.report()) };
    // The same attempt again is no other report; with something else to tell it is no attempt of this number.
    assert_eq!(write(&pod, &run(), 1).0, Report::ReportWritten { digest: digest.clone() });
    let mut later: Value = serde_json::from_str(&run()).unwrap();
    later["spec"]["incident"]["rootCause"] = json!("a disk that lied");
    let Report::Failed(taken) = write(&pod, &later.to_string(), 1).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(taken.reason, FailureReason::MoverFailed, "{}", taken.message);

    let seal =
        Request::Seal { repository: pod.access(), seal: true, by: "run/breach".into(), reason: "INC".into() };
    assert!(matches!(pod.run(&seal).0, Report::Sealed { seal: Some(_) }));
    let (Report::ReportWritten { .. }, 0) = write(&pod, &later.to_string(), 2) else {
        panic!("{:?}", pod.report())
    };

    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().join("run.json");
    fs::write(&given, run()).unwrap();
    let rendered = |format: &str| {
        let output =
            Command::new(holdfast()).arg("report").arg(&given).args(["--format", format]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for format in ["markdown", "html"] {
        let first = said(&pod, &["db-2026-11-23", "--revision", "1", "--format", format]);
        assert_eq!(first, (rendered(format), String::new(), Some(0)));
        let newest = said(&pod, &["db-2026-11-23", "--format", format]).0;
        assert!(newest.contains("a disk that lied") && newest != first.0);
    }
    let html = directory.path().join("report.html");
    let args = ["db-2026-11-23", "--revision", "1", "--format", "html", "--write", html.to_str().unwrap()];
    assert_eq!(said(&pod, &args).2, Some(0));
    let sum = Command::new("sha256sum").arg(&html).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    assert_eq!(
        sum.split(' ').next().unwrap(),
        digest.trim_start_matches("sha256:"),
        "the digest of the status"
    );

    let listed: Value = serde_json::from_str(&said(&pod, &["--output", "json"]).0).unwrap();
    let revisions: Vec<&Value> =
        listed["reports"].as_array().unwrap().iter().map(|kept| &kept["revision"]).collect();
    assert_eq!(revisions, [&json!(1), &json!(2)]);
    let table = said(&pod, &[]).0;
    assert!(table.starts_with("RUN ") && table.lines().count() == 3, "{table}");
}

#[test]
fn what_the_repository_does_not_hold_is_refused_with_what_it_holds() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let (out, err, code) = said(&pod, &["db-2026-11-23"]);
    assert!(out.is_empty() && err.contains("holds no report of a run db-2026-11-23"), "{err}");
    assert_eq!(code, Some(2));
    write(&pod, &run(), 3);
    let err = said(&pod, &["db-2026-11-23", "--revision", "9"]).1;
    assert!(err.contains("holds no revision 9 of the report of db-2026-11-23, but 3"), "{err}");
    let neither = Command::new(holdfast()).arg("report").output().unwrap();
    assert_eq!(neither.status.code(), Some(2), "neither a run nor a repository");
    let mut refused = pod.access();
    refused.read_only = true;
    let request = Request::WriteReport { repository: refused, path: "db/uid/1".into() };
    let (reason, message, _) = pod.failure(&request);
    assert_eq!(reason, FailureReason::InvalidRequest, "{message}");
    assert!(message.contains("ReadOnly: no report can be written"), "{message}");
}
