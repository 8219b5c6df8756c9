//! `lastKnownGood`: what the store received before a time, by its own clock.

use super::everything::{arxiv_cluster, step};
use super::*;
use crate::recovery::choice::{choose, describe};
use crate::recovery::seen::{Observed, PointSeen, PointState};

const SUSPECTED: &str = "2026-11-23T08:59:00Z";

fn asked(point: serde_json::Value, suspected: Option<&str>) -> crds::run::RecoveryRunSpec {
    let mut incident = serde_json::json!({"detectedAt": "2026-11-23T09:28:00Z"});
    if let Some(since) = suspected {
        incident["suspectedSince"] = since.into();
    }
    spec(serde_json::json!({"point": {"lastKnownGood": point}, "incident": incident}))
}

fn stored(name: &str, said: &str, stored: Option<&str>, state: PointState) -> PointSeen {
    PointSeen { stored_at: stored.map(at), ..point(name, said, state) }
}

/// Every world of three points, whatever their writers said, whenever they were stored, whatever is known of them.
fn worlds(mut look: impl FnMut(&Observed)) {
    let said = ["2026-11-22T00:00:00Z", "2026-11-23T08:50:00Z", "2026-11-24T00:00:00Z"];
    let kept = [
        None,
        Some("2026-11-23T08:40:00Z"),
        Some("2026-11-23T08:58:59Z"),
        Some(SUSPECTED),
        Some("2026-11-23T09:10:00Z"),
    ];
    let states = [
        PointState::Available,
        PointState::Quarantined("ByUser".into()),
        PointState::Unknown,
        PointState::ByName("OfflineCheckFailed".into()),
    ];
    let mut each = Vec::new();
    for said in said {
        for kept in kept {
            each.extend(states.iter().map(|state| (said, kept, state.clone())));
        }
    }
    let mut seen = corrupted();
    seen.run.spec = asked(serde_json::json!({}), Some(SUSPECTED));
    for one in &each {
        for other in &each {
            for third in &each {
                let of = |name: &str, (said, kept, state): &(&str, Option<&str>, PointState)| {
                    stored(name, said, *kept, state.clone())
                };
                seen.points = vec![of("a", one), of("b", other), of("c", third)];
                look(&seen);
            }
        }
    }
}

#[test]
fn what_was_stored_later_is_never_chosen_nor_what_is_quarantined_whatever_a_writer_says_of_its_time() {
    let before = at(SUSPECTED);
    worlds(|seen| {
        let good = |point: &&PointSeen| {
            point.state == PointState::Available && point.stored_at.is_some_and(|stored| stored < before)
        };
        let newest = seen.points.iter().filter(good).filter_map(|point| point.stored_at).max();
        let chosen = choose(seen, &seen.components[0]);
        assert_eq!(
            chosen.as_ref().ok().and_then(|choice| choice.point.stored_at),
            newest,
            "{:?}",
            seen.points
        );
        match chosen {
            Ok(choice) => {
                assert!(good(&&choice.point));
                assert_eq!(choice.reason, "LastKnownGood");
                let passed = |name: &str| choice.passed_over.iter().any(|(passed, _)| passed == name);
                let younger = seen.points.iter().filter(|point| point.state != PointState::Unknown);
                for point in younger.filter(|point| point.stored_at.is_none_or(|stored| stored >= before)) {
                    assert!(passed(&point.name), "{} goes without a word: {choice:?}", point.name);
                }
            }
            Err((reason, message)) => {
                assert_eq!(reason, "NoHealthyPoint");
                assert!(
                    message.contains("before 2026-11-23T08:59:00Z") && message.contains("in a new run"),
                    "{message}"
                );
            }
        }
    });
}

#[test]
fn a_run_goes_back_behind_the_break_in_and_says_what_it_passed_over() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec = asked(serde_json::json!({}), Some(SUSPECTED));
    // The intruder's clock says that it is from before.
    cluster.seen.points.push(stored(
        "forged",
        "2026-11-23T08:58:00Z",
        Some("2026-11-23T09:20:00Z"),
        PointState::Available,
    ));
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    assert_eq!(cluster.status().points[0].name, "p1");
    assert_eq!(reason(&cluster, "SourceResolved"), "LastKnownGood");
    let told = message(&cluster, "SourceResolved");
    assert!(
        told.starts_with(
            "p1; passed over forged (stored at 2026-11-23T09:20:00Z, not before 2026-11-23T08:59:00Z), p3 ("
        ),
        "{told}"
    );
}

#[test]
fn a_time_of_its_own_goes_before_that_of_the_incident_and_a_dry_run_foretells_the_same_point() {
    for mode in ["Run", "DryRun"] {
        let mut cluster = Cluster::new();
        cluster.seen.run.spec = asked(serde_json::json!({"before": "2026-11-23T09:01:00Z"}), Some(SUSPECTED));
        cluster.seen.run.spec.mode = serde_json::from_value(mode.into()).unwrap();
        cluster.run(1000);
        let told = &step(&cluster, "SelectPoint/chromadb").message;
        assert!(told.contains("p2; passed over p3 (stored at 2026-11-23T09:15:22Z"), "{mode}: {told}");
    }
}

#[test]
fn what_came_in_the_very_second_of_the_time_may_be_from_after_it() {
    let mut seen = corrupted();
    let same_second = Some("2026-11-23T08:59:00Z");
    seen.points = vec![stored("p", "2026-11-23T08:58:00Z", same_second, PointState::Available)];
    for (before, chosen) in [("08:59:00.9", false), ("08:59:00", false), ("08:59:01", true)] {
        let before = format!("2026-11-23T{before}Z");
        seen.run.spec = asked(serde_json::json!({"before": before}), None);
        assert_eq!(choose(&seen, &seen.components[0]).is_ok(), chosen, "{before}");
    }
}

#[test]
fn without_a_time_or_with_one_that_is_to_come_nothing_is_touched() {
    for (spec, told) in [
        (asked(serde_json::json!({}), None), "incident.suspectedSince"),
        (asked(serde_json::json!({}), Some("2027-01-01T00:00:00Z")), "is in the future"),
    ] {
        let mut cluster = Cluster::new();
        cluster.seen.run.spec = spec;
        cluster.run(1);
        assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
        assert!(message(&cluster, "Failed").contains(told), "{}", message(&cluster, "Failed"));
        assert!(cluster.log.marks.is_empty());
    }
}

#[test]
fn of_many_that_are_passed_over_some_are_named_and_all_are_counted() {
    let mut seen = corrupted();
    seen.run.spec = asked(serde_json::json!({}), Some(SUSPECTED));
    for n in 0..400 {
        let name = format!("late-{n:03}");
        seen.points.push(stored(
            &name,
            "2026-11-23T09:20:00Z",
            Some("2026-11-23T09:20:00Z"),
            PointState::Available,
        ));
    }
    let told = describe(&choose(&seen, &seen.components[0]).unwrap());
    assert!(told.starts_with("p1; passed over late-399 (") && told.ends_with(" and 398 more"), "{told}");
    assert!(told.len() < 600, "{told}");
}

#[test]
fn what_depends_on_a_database_is_not_newer_than_it_and_both_are_from_before() {
    let mut cluster = arxiv_cluster();
    cluster.seen.run.spec = asked(serde_json::json!({}), Some(SUSPECTED));
    (cluster.seen.run.spec.scenario, cluster.seen.run.spec.policies) =
        (crds::run::Scenario::CompleteFailure, None);
    let of_scholar = |name: &str, time: &str| files("scholar", name, time);
    cluster.seen.points.retain(|point| point.policy != "scholar");
    cluster.seen.points.extend([
        of_scholar("older", "2026-11-23T08:40:00Z"),
        of_scholar("newer", "2026-11-23T08:50:00Z"),
        of_scholar("later", "2026-11-23T09:05:00Z"),
        files("mailer", "m0", "2026-11-23T08:50:00Z"),
    ]);
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let name =
        |policy: &str| cluster.status().points.iter().find(|p| p.policy == policy).unwrap().name.clone();
    assert_eq!((name("chromadb"), name("scholar")), ("p1".to_owned(), "older".to_owned()));
}

#[test]
fn what_is_damaged_and_trusted_all_the_same_is_restored_by_its_name_alone() {
    let by_name = PointState::ByName("OfflineCheckFailed".into());
    for choice in [
        serde_json::json!({"latest": {}}),
        serde_json::json!({"asOf": {"time": "2026-11-23T09:20:00Z"}}),
        serde_json::json!({"lastKnownGood": {"before": "2026-11-23T09:20:00Z"}}),
    ] {
        let mut seen = corrupted();
        seen.points[0].state = by_name.clone();
        seen.run.spec = spec(serde_json::json!({"point": choice}));
        assert_eq!(choose(&seen, &seen.components[0]).unwrap().point.name, "p2");
    }
    let mut cluster = Cluster::new();
    cluster.seen.points[0].state = by_name;
    cluster.seen.run.spec = spec(serde_json::json!({"point": {"named": {"name": "p3"}}}));
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert_eq!(cluster.status().points[0].name, "p3");
}

#[test]
fn a_quarantined_point_is_refused_by_its_name_with_what_to_type() {
    let mut cluster = Cluster::new();
    cluster.seen.points[0].state = PointState::Quarantined("SuspectedBreach".into());
    cluster.seen.run.spec = spec(serde_json::json!({"point": {"named": {"name": "p3"}}}));
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "PointQuarantined");
    let told = message(&cluster, "Failed");
    assert!(told.contains("SuspectedBreach") && told.contains("kubectl patch hfpoint p3"), "{told}");
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn what_only_the_bucket_knows_to_be_quarantined_is_refused_by_the_mover_before_anything_is_replaced() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Restore", vec![failed(FailureReason::PointQuarantined)]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "PointQuarantined");
    assert!(cluster.log.claims_deleted.is_empty());
}
