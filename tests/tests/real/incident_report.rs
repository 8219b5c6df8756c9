//! `holdfast report` as a person types it: a run from a file, from standard input and from a real API server, in both formats, and what
//! it answers to anything else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tests::{
    apiserver::{repository, tool},
    shell::holdfast,
};

use super::crds::server;

/// A run that succeeded.
fn fixture() -> PathBuf {
    repository().join("mover/src/incident/golden/succeeded.json")
}

fn report(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(holdfast());
    command.arg("report").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_run_from_standard_input_or_a_file_is_told_in_both_formats() {
    let run = fs::read_to_string(fixture()).unwrap();
    let markdown = report(&["-"], &run);
    assert_eq!(markdown.status.code(), Some(0), "{markdown:?}");
    let (text, quiet) = said(&markdown);
    for section in [
        "# Incident report: db-2026-11-23",
        "## 1. Incident timeline",
        "## 3. Recovery effectiveness",
        "8m43s",
    ] {
        assert!(text.contains(section), "{section}");
    }
    assert_eq!(quiet, "", "standard output is all there is");
    assert_eq!(said(&report(&[fixture().to_str().unwrap()], "")).0, text);

    let html = said(&report(&["-", "--format", "html"], &run)).0;
    assert!(html.starts_with("<!doctype html>") && html.contains("<svg") && html.ends_with("</html>\n"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    fs::write(&file, "an older one").unwrap();
    let args = ["-", "--format", "html", "--write", file.to_str().unwrap(), "--output", "json"];
    let written: Value = serde_json::from_str(&said(&report(&args, &run)).0).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), html);
    assert_eq!((&written["run"], &written["bytes"]), (&json!("db-2026-11-23"), &json!(html.len())));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    // What is no file stays what it is.
    assert_eq!(report(&["-", "--write", "/dev/null"], &run).status.code(), Some(0));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn what_is_no_run_with_a_status_is_refused_with_the_remedy() {
    let run: Value = serde_json::from_str(&fs::read_to_string(fixture()).unwrap()).unwrap();
    let mut young = run.clone();
    young.as_object_mut().unwrap().remove("status");
    let mut policy = run.clone();
    policy["kind"] = json!("BackupPolicy");
    let list = |items: &[&Value]| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    for (input, code, sentence) in [
        ("kind: RecoveryRun\n".to_owned(), 2, "standard input is no JSON"),
        (String::new(), 2, "standard input is empty"),
        (policy.to_string(), 2, "is a BackupPolicy of holdfast.dev/v1alpha1 and should be a RecoveryRun"),
        (
            list(&[&run]),
            2,
            "is a List of one object, and a report is of one run by its name: kubectl get hfrun db-2026-11-23 -o json",
        ),
        (list(&[&run, &young]), 2, "is a List of 2 objects (db-2026-11-23, db-2026-11-23)"),
        (list(&[]), 2, "is an empty List"),
        (young.to_string(), 1, "RecoveryRun db-2026-11-23 has no status yet"),
    ] {
        for format in ["markdown", "html"] {
            let refused = report(&["-", "--format", format, "--output", "json"], &input);
            let (out, err) = said(&refused);
            assert_eq!(refused.status.code(), Some(code), "{err}");
            assert_eq!(out, "", "nothing that looks like a report");
            assert!(err.starts_with("error: ") && err.contains(sentence), "{sentence}: {err}");
            let last: Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
            assert_eq!(last["exitCode"], code);
        }
    }
    let missing = report(&["/no/such/run.json"], "");
    assert_eq!(missing.status.code(), Some(8));
    assert!(said(&missing).1.contains("/no/such/run.json can't be read"), "{missing:?}");
    let unwritable = report(&["-", "--write", "/no/such/place/report.md"], &run.to_string());
    assert_eq!(unwritable.status.code(), Some(10));
    assert!(said(&unwritable).1.contains("/no/such/place/report.md"), "{unwritable:?}");
    assert_eq!(report(&["-", "--format", "pdf"], "").status.code(), Some(2));
}

/// The commands that a report names, in their order.
fn commands(markdown: &str) -> Vec<String> {
    let blocks = markdown.split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("\n```").unwrap().0.to_owned()).collect()
}

#[test]
fn what_the_report_asks_for_can_be_written_after_the_end_by_the_command_that_it_names() {
    let namespace = server().namespace("report");
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tool("kubectl").unwrap(), directory.path().join("kubectl")).unwrap();
    std::os::unix::fs::symlink(holdfast(), directory.path().join("holdfast")).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let shell = |line: &str, input: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", &path);
        server().run(command, input)
    };
    let ended: Value = serde_json::from_str(&fs::read_to_string(fixture()).unwrap()).unwrap();
    let mut run = ended.clone();
    run["metadata"] = json!({"name": "db-2026-11-23", "namespace": namespace});
    run["spec"]["target"]["inPlace"]["confirm"] = json!(namespace);
    let _ = shell("kubectl create -f -", &run.to_string()).success();
    let get = format!("kubectl get hfrun db-2026-11-23 -n {namespace} -o json | holdfast report -");
    let young = shell(&get, "").refusal();
    assert!(young.contains("has no status yet") && young.contains(&namespace), "{young}");
    let status = json!({"status": ended["status"]}).to_string();
    let patch = format!(
        "kubectl patch hfrun db-2026-11-23 -n {namespace} --subresource=status --type=merge --patch-file=/dev/stdin"
    );
    let _ = shell(&patch, &status).success();

    let open = shell(&get, "").success();
    let named = commands(&open);
    let patch = named.iter().find(|command| command.starts_with("kubectl patch")).unwrap();
    assert!(open.contains("spec.incident.lessons.toImprove") && patch.contains("toImprove"), "{patch}");
    let _ = shell(&patch.replace("\"...\"", "\"Paging took twelve minutes\""), "").success();
    let again = named.iter().find(|command| command.ends_with("holdfast report -")).unwrap();
    let complete = shell(again, "").success();
    assert!(
        complete.contains("- Paging took twelve minutes") && !complete.contains("Not written yet"),
        "{complete}"
    );
    assert!(complete.contains("- The damaged volume was kept"), "what stood there before stays");
}
