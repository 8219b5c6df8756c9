//! Retention by mover Jobs, on a real S3 server: first it is said what no rule keeps, then that goes and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;
use std::io::Write;

use crds::job::{ComponentRules, FailureReason, Judged, Pruned, Report, Request, SOURCE_DIR};
use crds::retention::Retention;

use super::pod::{Pod, ballast};

fn judge(pod: &Pod, policy: &str, last: u32, held: &[&str]) -> Vec<String> {
    let retention = Retention { last, daily: 0, weekly: 0, monthly: 0, ..Retention::default() };
    let request = Request::Judge {
        repository: pod.access(),
        rules: vec![ComponentRules { policy: policy.into(), retention, time_zone: "Europe/Berlin".into() }],
        held: held.iter().map(|id| (*id).to_owned()).collect(),
    };
    match pod.run(&request) {
        (Report::Judged(Judged { remove, more: false }), 0) => remove,
        other => panic!("{other:?}"),
    }
}

fn removal(pod: &Pod, remove: &[&str]) -> Request {
    let remove = remove.iter().map(|id| (*id).to_owned()).collect();
    Request::Prune { repository: pod.access(), remove }
}

fn prune(pod: &Pod, remove: &[&str]) -> Pruned {
    match pod.run(&removal(pod, remove)) {
        (Report::Pruned(pruned), 0) => pruned,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_rule_keeps_is_said_and_removed_and_what_is_left_restores() {
    let pod = Pod::with_s3("maintenance");
    let data = pod.at(SOURCE_DIR);
    ballast(&data, 1);
    pod.run(&pod.probe());
    let mut points = Vec::new();
    for attempt in ["a", "b", "c"] {
        let mut notes = OpenOptions::new().create(true).append(true).open(data.join("notes")).unwrap();
        writeln!(notes, "{attempt}").unwrap();
        points.push(pod.captured(attempt).point);
    }
    let [a, b, c] = points.as_slice() else { panic!("{points:?}") };

    assert_eq!(judge(&pod, "chromadb", 1, &[]), [a.as_str(), b]);
    assert_eq!(judge(&pod, "chromadb", 1, &[a]), [b.as_str()], "one is on hold");
    assert!(judge(&pod, "another", 1, &[]).is_empty(), "nobody judges this component");
    assert!(judge(&pod, "chromadb", 3, &[]).is_empty());

    let pruned = prune(&pod, &[a]);
    assert_eq!((pruned.left.len(), pruned.points, pruned.locked_until), (0, 2, None), "{pruned:?}");
    assert!(pruned.bytes > 0);
    assert_eq!(prune(&pod, &[a]).points, 2, "what is gone is no failure");
    assert_eq!(judge(&pod, "chromadb", 1, &[]), [b.as_str()]);

    // I3: whatever it is told, it leaves a component its last point.
    let (reason, message, _) = pod.failure(&removal(&pod, &[b, c]));
    assert_eq!(reason, FailureReason::InvalidRequest, "{message}");
    assert!(message.contains("the last point of chromadb"), "{message}");
    let (reason, message, _) = pod.failure(&removal(&pod, &["../points"]));
    assert_eq!(reason, FailureReason::InvalidRequest, "{message}");
    assert!(message.contains("no id of a point"), "{message}");

    let Report::Restored(restored) = pod.run(&pod.restore(c, "uid-1")).0 else {
        panic!("{:?}", pod.report())
    };
    assert_eq!(restored.files, 2);
    assert_eq!(std::fs::read_to_string(pod.at(crds::job::TARGET_DIR).join("notes")).unwrap(), "a\nb\nc\n");
}
