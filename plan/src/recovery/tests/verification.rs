//! Runs that verify points: nothing of the cluster is touched, and what came out stands on the points whatever becomes of the controller.

use crds::job::{PointVerified, PointsVerified};

use super::*;
use crate::recovery::seen::{PointSeen, PointState, Role};

/// What a mover says that finds all as captured, but for points whose id ends so.
pub(super) fn answer(points: &[String]) -> Report {
    let told = |id: &String| {
        let passed = !id.ends_with("-bad");
        let found = if passed {
            String::new()
        } else {
            "data/chroma.sqlite3: its hash is not the point's".to_owned()
        };
        PointVerified { point: id.clone(), passed, found }
    };
    Report::PointsVerified(PointsVerified { points: points.iter().map(told).collect(), stopped: None })
}

fn with(points: Vec<PointSeen>) -> Cluster {
    let mut seen = arxiv();
    seen.run.spec = serde_json::from_value(serde_json::json!({"scenario": "BackupVerification"})).unwrap();
    seen.components.iter_mut().for_each(|component| component.role = Role::Verified);
    seen.points = points;
    Cluster::of(seen)
}

fn numbered(count: u32) -> Vec<PointSeen> {
    let of = |number| {
        point(&format!("p{number}"), &format!("2026-11-{:02}T09:00:00Z", number + 1), PointState::Available)
    };
    let others = [("scholar", "s1"), ("mailer", "m1")]
        .map(|(policy, name)| files(policy, name, "2026-11-23T09:00:00Z"));
    (0..count).map(of).chain(others).collect()
}

fn whole() -> Cluster {
    with(numbered(3))
}

fn verified(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    assert_eq!(reason(cluster, "Complete"), "Verified");
    assert_eq!(cluster.status().verdict, Some(Verdict::Passed));
    untouched(cluster);
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
    for point in &cluster.seen.points {
        let known = point.verification.as_ref().unwrap();
        assert_eq!(
            (known.verdict, known.by.as_str()),
            (Verdict::Passed, format!("run/{}", cluster.seen.run.name).as_str())
        );
    }
}

fn untouched(cluster: &Cluster) {
    assert!(cluster.log.scaled.is_empty() && cluster.log.claims_deleted.is_empty());
    assert!(
        cluster.seen.memory.is_none() && !cluster.seen.run.finalizer && cluster.status().swaps.is_empty()
    );
    assert!(cluster.status().notices.is_none(), "nothing has happened that anybody waits for");
}

#[test]
fn points_of_every_component_are_verified_side_by_side_and_nothing_is_touched() {
    let mut cluster = whole();
    cluster.run(1000);
    verified(&cluster);
    let names: Vec<&str> = cluster.status().steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names[0], "Assess");
    assert_eq!(*names.last().unwrap(), "Report");
    assert!(names[1..names.len() - 1].iter().all(|name| name.starts_with("VerifyPoints/")), "{names:?}");
    assert_eq!(cluster.status().display.as_ref().unwrap().point.as_deref(), Some("5 points"));
    let newest = cluster.status().points.iter().find(|point| point.policy == "chromadb").unwrap();
    assert_eq!(newest.name, "p2", "its age is what counts");
}

#[test]
fn a_controller_killed_after_any_number_of_writes_stamps_every_point_once() {
    let mut whole = whole();
    whole.run(1000);
    for writes in 1..12 {
        let mut cluster = self::whole();
        cluster.run(writes);
        verified(&cluster);
        assert_eq!(world(&cluster), world(&whole), "killed after every {writes} writes");
    }
}

#[test]
fn a_point_that_is_not_what_was_captured_fails_its_component_and_is_chosen_no_more() {
    let mut points = numbered(2);
    points.push(point("bad", "2026-11-22T09:00:00Z", PointState::Available));
    points.last_mut().unwrap().id = "id-bad".into();
    for writes in [1, 2, 3, 1000] {
        let mut cluster = with(points.clone());
        cluster.run(writes);
        assert_eq!(phase(&cluster), Some(RunPhase::Failed));
        assert_eq!(reason(&cluster, "Failed"), "VerificationFailed");
        assert!(
            message(&cluster, "Failed").contains("bad: data/chroma.sqlite3"),
            "{}",
            message(&cluster, "Failed")
        );
        untouched(&cluster);
        let bad = cluster.seen.points.iter().find(|point| point.name == "bad").unwrap();
        assert_eq!(bad.state, PointState::Quarantined("VerificationFailed".into()));
        let others = cluster.seen.points.iter().filter(|point| point.name != "bad");
        assert!(
            others
                .into_iter()
                .all(|point| point.verification.as_ref().is_some_and(|v| v.verdict == Verdict::Passed))
        );
        let newest = cluster.status().points.iter().find(|point| point.policy == "chromadb").unwrap();
        assert_eq!(newest.name, "p1", "the newest that passed");
    }
}

#[test]
fn the_newest_comes_first_then_what_never_was_verified_then_what_was_longest_ago() {
    let mut points = numbered(20);
    let known = |time: &str| {
        Some(crds::point::Verification {
            verdict: Verdict::Passed,
            time: at(time),
            by: "run/x".into(),
            recorded: true,
        })
    };
    for (index, point) in points.iter_mut().enumerate().take(20) {
        // All but two were verified, the newest of them longest ago.
        if ![3, 7].contains(&index) {
            point.verification = known(&format!("2026-10-{:02}T09:00:00Z", 28 - index));
        }
    }
    points.push(point("mistrusted", "2026-11-22T10:00:00Z", PointState::Quarantined("ByUser".into())));
    points.push(PointSeen {
        repository: "other".into(),
        ..point("elsewhere", "2026-11-22T11:00:00Z", PointState::Available)
    });
    let cluster = with(points);
    let component = cluster.seen.component("chromadb").unwrap();
    let chosen: Vec<&str> = super::super::verification::chosen(&cluster.seen, component)
        .iter()
        .map(|point| point.name.as_str())
        .collect();
    assert_eq!(chosen.len(), crds::job::MAX_VERIFIED);
    assert_eq!(chosen[..4], ["p19", "p7", "p3", "p18"]);
    assert!(!chosen.contains(&"mistrusted") && !chosen.contains(&"elsewhere"));
}

#[test]
fn without_a_point_there_is_nothing_to_verify_and_what_the_cluster_does_not_let_is_no_fault_of_the_data() {
    let mut cluster = with(vec![files("scholar", "s1", "2026-11-23T09:00:00Z")]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "NoHealthyPoint");

    let mut cluster = whole();
    cluster.answers.insert("VerifyPoints/chromadb", vec![failed(FailureReason::MoverFailed); 3]);
    cluster.run(1000);
    assert_eq!(
        (phase(&cluster), reason(&cluster, "Failed").as_str()),
        (Some(RunPhase::Failed), "StepFailed")
    );

    let mut cluster = whole();
    let stopped = Report::PointsVerified(PointsVerified {
        points: vec![PointVerified { point: "id-p2".into(), passed: true, found: String::new() }],
        stopped: Some("ScratchFull: the disk is full".into()),
    });
    cluster.answers.insert("VerifyPoints/chromadb", vec![JobState::Ended(stopped)]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "StepFailed");
    let p2 = cluster.seen.points.iter().find(|point| point.name == "p2").unwrap();
    assert!(p2.verification.is_some(), "what was seen is worth knowing");
}

#[test]
fn a_verification_waits_for_no_other_run_and_asks_for_read_access_alone() {
    let mut cluster = whole();
    cluster.seen.others.push(crate::recovery::seen::OtherRun {
        name: "earlier".into(),
        created: at("2026-11-23T09:00:00Z"),
        policies: vec!["chromadb".into()],
        begun: true,
        network: false,
    });
    let mut asked = 0;
    while !ended(cluster.status()) {
        for effect in plan(&cluster.seen).effects {
            if let Effect::CreateJob { job, .. } = effect
                && let crds::job::Request::VerifyPoints { repository, points, .. } = &job.request
            {
                assert!(repository.read_only && !points.is_empty());
                assert!(job.targets.is_empty() && job.sources.is_empty() && job.service_account.is_none());
                asked += 1;
            }
        }
        let _ = cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += jiff::SignedDuration::from_millis(250);
    }
    assert!(asked >= 2, "{asked}");
    verified(&cluster);
}
