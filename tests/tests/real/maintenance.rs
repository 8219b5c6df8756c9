//! Retention by mover Jobs, on a real S3 server: first it is said what no rule keeps, then that goes and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;
use std::io::Write;

use crds::job::{
    Captured, ComponentRules, FailureReason, HeldPoint, Judged, PointTrust, Pruned, Report, Request,
};
use crds::point::{TrustReason, TrustWord};
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

/// Captures so many times, something else each time.
fn captures(pod: &Pod, attempts: &[&str]) -> Vec<Captured> {
    let data = pod.volume();
    ballast(&data, 1);
    pod.run(&pod.probe());
    let capture = |attempt: &&str| {
        let mut notes = OpenOptions::new().create(true).append(true).open(data.join("notes")).unwrap();
        writeln!(notes, "{attempt}").unwrap();
        pod.captured(attempt)
    };
    attempts.iter().map(capture).collect()
}

#[test]
fn what_lies_in_the_bucket_is_listed_as_it_was_captured_the_newest_first() {
    let pod = Pod::with_s3("catalogue");
    let captured = captures(&pod, &["a", "b", "c"]);
    // The store's clock is that of this machine: each was received after it was cut, and before the next one was.
    let stored: Vec<i64> = captured
        .iter()
        .map(|of| {
            let stored = of.stored_at.expect("the store says when it received a point");
            assert_eq!(stored.subsec_nanosecond(), 0);
            stored.as_second()
        })
        .collect();
    let cut: Vec<i64> = captured.iter().map(|of| of.consistency_time.as_second()).collect();
    assert!((0..3).all(|n| cut[n] <= stored[n]) && (0..2).all(|n| stored[n] <= cut[n + 1]), "{captured:?}");
    let listed = |known: &[&Captured]| {
        let known = known.iter().map(|captured| captured.point.clone()).collect();
        let (report, code) = pod.run(&Request::Catalogue { repository: pod.access(), known });
        let (Report::Catalogued(found), 0) = (report, code) else { panic!("{:?}", pod.report()) };
        assert!(!found.more && found.points.iter().all(|of| of.policy == "chromadb"), "{found:?}");
        assert!(found.points.iter().all(|of| of.image == "chroma@sha256:5b7e11aa"), "{found:?}");
        found.points.into_iter().map(|of| of.captured).collect::<Vec<_>>()
    };
    let newest_first: Vec<Captured> = captured.iter().rev().cloned().collect();
    // A Report that lists several has room for one finding of each.
    let short = |of: &[Captured]| {
        let mut of = of.to_vec();
        of.iter_mut().for_each(|captured| captured.findings.truncate(1));
        of
    };
    assert_eq!(listed(&[]), short(&newest_first));
    assert_eq!(listed(&[&captured[1]]), short(&[captured[2].clone(), captured[0].clone()]));
    assert!(listed(&captured.iter().collect::<Vec<_>>()).is_empty());
}

#[test]
fn what_is_held_in_the_bucket_stays_whoever_judges_and_prunes_and_is_found_with_its_hold() {
    let pod = Pod::with_s3("holds");
    let points: Vec<String> = captures(&pod, &["a", "b", "c"]).into_iter().map(|of| of.point).collect();
    let [a, b, _] = points.as_slice() else { panic!("{points:?}") };
    let told = |hold: &[(&str, &str)], release: &[&str]| {
        let held =
            |(point, reason): &(&str, &str)| HeldPoint { point: (*point).into(), reason: (*reason).into() };
        let request = Request::Mark {
            repository: pod.access(),
            hold: hold.iter().map(held).collect(),
            release: release.iter().map(|id| (*id).to_owned()).collect(),
            trust: vec![],
            verified: vec![],
        };
        assert_eq!(pod.run(&request), (Report::Marked, 0));
    };
    told(&[(a, "INC-2041")], &[]);
    assert_eq!(judge(&pod, "chromadb", 1, &[]), [b.as_str()], "though the judge was not told");
    let pruned = prune(&pod, &[a]);
    assert_eq!((pruned.left.as_slice(), pruned.points), (&[a.clone()][..], 3), "though it was told to");
    let (report, _) = pod.run(&Request::Catalogue { repository: pod.access(), known: vec![] });
    let Report::Catalogued(found) = report else { panic!("{report:?}") };
    let holds: Vec<_> = found.points.iter().map(|of| of.hold.as_deref()).collect();
    assert_eq!(holds, [None, None, Some("INC-2041")]);
    told(&[], &[a]);
    told(&[], &[a]);
    assert_eq!(judge(&pod, "chromadb", 1, &[]), [a.as_str(), b]);
    assert_eq!(prune(&pod, &[a]).points, 2);
}

/// Says something of the trust of a point.
fn judged(pod: &Pod, point: &str, word: TrustWord, reason: TrustReason) {
    let said = PointTrust { point: point.into(), word, reason, by: "run/breach".into() };
    let request = Request::Mark {
        repository: pod.access(),
        hold: vec![],
        release: vec![],
        trust: vec![said],
        verified: vec![],
    };
    assert_eq!(pod.run(&request), (Report::Marked, 0));
}

#[test]
fn what_is_quarantined_in_the_bucket_is_restored_and_removed_by_nobody_until_somebody_trusts_it() {
    let pod = Pod::with_s3("trust");
    let points: Vec<String> = captures(&pod, &["a", "b", "c"]).into_iter().map(|of| of.point).collect();
    let [a, b, c] = points.as_slice() else { panic!("{points:?}") };
    for point in [b, c] {
        judged(&pod, point, TrustWord::Quarantined, TrustReason::SuspectedBreach);
    }
    // What was captured here is no whole ChromaDB, so a is no good one; the others are evidence.
    assert_eq!(judge(&pod, "chromadb", 1, &[]), [a.as_str()]);
    assert_eq!(prune(&pod, &[b]).left, [b.as_str()]);
    let marks = || {
        let (report, _) = pod.run(&Request::Catalogue { repository: pod.access(), known: vec![] });
        let Report::Catalogued(found) = report else { panic!("{report:?}") };
        let mut of: Vec<_> = found.points.into_iter().map(|of| (of.captured.point, of.trust)).collect();
        of.sort_by_key(|(id, _)| points.iter().position(|point| point == id));
        of.into_iter()
            .map(|(_, trust)| trust.map(|mark| (mark.word, mark.reason, mark.by)))
            .collect::<Vec<_>>()
    };
    let breach = || Some((TrustWord::Quarantined, TrustReason::SuspectedBreach, "run/breach".to_owned()));
    assert_eq!(marks(), [None, breach(), breach()]);

    let (reason, message, code) = pod.failure(&pod.restore(c, "u-1"));
    assert_eq!((reason, code), (FailureReason::PointQuarantined, 16), "{message}");
    assert!(
        message.contains("SuspectedBreach, by run/breach") && message.contains("holdfast export"),
        "{message}"
    );
    assert!(std::fs::read_dir(pod.target()).map_or(0, Iterator::count) == 0, "something was restored");
    assert!(matches!(pod.run(&pod.restore(a, "u-1")).0, Report::Restored(_)));
    std::fs::remove_dir_all(pod.target()).unwrap();
    std::fs::create_dir(pod.target()).unwrap();

    judged(&pod, c, TrustWord::Trusted, TrustReason::ByUser);
    assert!(matches!(pod.run(&pod.restore(c, "u-1")).0, Report::Restored(_)));
    assert_eq!(prune(&pod, &[b]).left, [b.as_str()], "it is evidence still");
}

#[test]
fn a_sealed_repository_removes_nothing_takes_evidence_alone_and_is_unsealed_by_a_later_mark() {
    let pod = Pod::with_s3("sealed");
    let points: Vec<String> = captures(&pod, &["a", "b"]).into_iter().map(|of| of.point).collect();
    let [a, b] = points.as_slice() else { panic!("{points:?}") };
    let seal = |seal| {
        let (by, reason) = ("run/breach".into(), "INC-2041".into());
        match pod.run(&Request::Seal { repository: pod.access(), seal, by, reason }) {
            (Report::Sealed { seal }, 0) => seal,
            other => panic!("{other:?}"),
        }
    };
    let probed = || match pod.run(&pod.probe()) {
        (Report::Probed(probed), 0) => probed,
        other => panic!("{other:?}"),
    };
    assert_eq!(probed().seal, None);
    let sealed = seal(true).expect("it is sealed");
    assert_eq!((sealed.by.as_str(), sealed.reason.as_str()), ("run/breach", "INC-2041"));
    let found = probed();
    assert_eq!(
        (found.seal.as_ref(), found.conditional_writes),
        (Some(&sealed), None),
        "nothing is tried by writing"
    );

    let (reason, message, code) = pod.failure(&removal(&pod, &[a]));
    assert_eq!((reason, code), (FailureReason::Sealed, 17), "{message}");
    let (reason, message, _) = pod.failure(&pod.capture("c"));
    assert!(reason == FailureReason::Sealed && message.contains("run/breach"), "{message}");
    let as_evidence = |mut request: Request| {
        let Request::Capture { repository, .. } = &mut request else { panic!("{request:?}") };
        repository.evidence = true;
        request
    };
    assert!(matches!(pod.run(&as_evidence(pod.capture("c"))).0, Report::Captured(_)));
    assert!(matches!(pod.run(&pod.restore(b, "u-1")).0, Report::Restored(_)));
    judged(&pod, a, TrustWord::Quarantined, TrustReason::SuspectedBreach);

    assert_eq!((seal(false), probed().seal), (None, None));
    assert!(prune(&pod, &[b]).left.is_empty());
    // By its spec alone.
    let mut by_spec = pod.capture("d");
    let Request::Capture { repository, .. } = &mut by_spec else { panic!("{by_spec:?}") };
    repository.sealed = true;
    assert_eq!(pod.failure(&by_spec).0, FailureReason::Sealed);
    let mut removal = removal(&pod, &[a]);
    let Request::Prune { repository, .. } = &mut removal else { panic!("{removal:?}") };
    repository.sealed = true;
    assert_eq!(pod.failure(&removal).0, FailureReason::Sealed);
}

#[test]
fn what_no_rule_keeps_is_said_and_removed_and_what_is_left_restores() {
    let pod = Pod::with_s3("maintenance");
    let points: Vec<String> = captures(&pod, &["a", "b", "c"]).into_iter().map(|of| of.point).collect();
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
    assert_eq!(std::fs::read_to_string(pod.target().join("notes")).unwrap(), "a\nb\nc\n");
}
