//! Points that are verified by a mover Job: restored into scratch space, held against their records, and stamped in the bucket by another Job.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crds::job::{
    PointTrust, PointVerified, PointsVerified, Report, RepositoryAccess, Request, SCRATCH_DIR, VerifiedPoint,
};
use crds::point::{TrustReason, TrustWord};
use crds::run::Verdict;
use jiff::SignedDuration;
use tests::chroma_server::ChromaServer;
use tests::writer::{Load, Writer};

use super::pod::Pod;

/// Every object of the repository.
fn objects(of: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(objects(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

fn verify(pod: &Pod, points: &[&str], within: SignedDuration) -> PointsVerified {
    let request = Request::VerifyPoints {
        repository: RepositoryAccess { read_only: true, ..pod.access() },
        points: points.iter().map(|id| (*id).to_owned()).collect(),
        within,
    };
    match pod.run(&request) {
        (Report::PointsVerified(verified), 0) => verified,
        other => panic!("{other:?}"),
    }
}

fn passed(verified: &PointsVerified) -> Vec<(&str, bool)> {
    verified.points.iter().map(|told: &PointVerified| (told.point.as_str(), told.passed)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_held_against_their_records_and_a_damaged_object_is_found_and_nothing_is_written() {
    let pod = Pod::with_directory();
    let Report::Probed(_) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    let repository = pod.root.path().join("repository");
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(11, 2, 16) };
    let mut writer = Writer::start(std::sync::Arc::new(server.url().to_owned()), load).await.unwrap();
    let (mut points, mut lies) = (Vec::new(), Vec::new());
    for attempt in ["a", "b", "c"] {
        writer.progress(10, std::time::Duration::from_secs(90)).await.unwrap();
        points.push(pod.captured(attempt).point);
        lies.push(objects(&repository));
    }
    drop(writer.stop().await.unwrap());
    server.stop().unwrap();
    let [a, b, c] = points.as_slice() else { panic!("{points:?}") };

    let hour = SignedDuration::from_hours(1);
    let good = verify(&pod, &[c, a, b], hour);
    assert_eq!(passed(&good), [c, a, b].map(|id| (id.as_str(), true)), "{good:?}");
    assert_eq!(objects(&repository), lies[2], "the repository was only read");
    let scratch = pod.at(SCRATCH_DIR).join("verify");
    assert!(!scratch.exists(), "what was restored is gone");
    // Without time the first is looked at all the same, and no other.
    assert_eq!(passed(&verify(&pod, &[c, a, b], SignedDuration::ZERO)), [(c.as_str(), true)]);

    // The largest object that only c brought, in its middle.
    let of_c = lies[2].difference(&lies[1]).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(of_c).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(of_c, &bytes).unwrap();
    let bad = verify(&pod, &[c, a, b], hour);
    assert_eq!(passed(&bad), [(c.as_str(), false), (a.as_str(), true), (b.as_str(), true)], "{bad:?}");
    assert!(!bad.points[0].found.is_empty() && bad.stopped.is_none(), "{bad:?}");
    // One that was removed is not what was captured either.
    let gone = verify(&pod, &[&"f".repeat(32), a], hour);
    assert_eq!(passed(&gone)[1], (a.as_str(), true));
    assert!(!gone.points[0].passed, "{gone:?}");

    stamped(&pod, a, c);
    let told = verify(&pod, &[c, a], hour);
    assert_eq!(passed(&told), [(a.as_str(), true)], "what is quarantined in the bucket is asked no more");
}

/// What came out is written down in the bucket, so that a rebuilt catalogue has it and nobody restores what failed.
fn stamped(pod: &Pod, good: &str, bad: &str) {
    let (by, at) = ("run/weekly-20261129-090000".to_owned(), "2026-11-29T09:01:00Z".parse().unwrap());
    let failed = PointTrust {
        point: bad.into(),
        word: TrustWord::Quarantined,
        reason: TrustReason::VerificationFailed,
        by: by.clone(),
    };
    let request = Request::Mark {
        repository: pod.access(),
        hold: vec![],
        release: vec![],
        trust: vec![failed],
        verified: vec![VerifiedPoint { point: good.into(), by: by.clone(), at }],
    };
    for _ in 0..2 {
        assert_eq!(pod.run(&request), (Report::Marked, 0));
    }
    let (report, _) = pod.run(&Request::Catalogue { repository: pod.access(), known: vec![] });
    let Report::Catalogued(found) = report else { panic!("{report:?}") };
    let of = |id: &str| found.points.iter().find(|point| point.captured.point == id).unwrap();
    let verification = of(good).verification.as_ref().unwrap();
    assert_eq!((verification.verdict, &verification.by, verification.time), (Verdict::Passed, &by, at));
    assert!(verification.recorded && of(bad).verification.is_none());
    assert_eq!(of(bad).trust.as_ref().unwrap().reason, TrustReason::VerificationFailed);
    let (reason, message, _) = pod.failure(&pod.restore(bad, "u-1"));
    assert_eq!(reason, crds::job::FailureReason::PointQuarantined, "{message}");
}
