//! A complete failure: several components side by side, each as soon as what it depends on is back.

use super::*;
use crate::recovery::seen::{PointSeen, PointState, Role};

pub(super) fn step<'a>(cluster: &'a Cluster, name: &str) -> &'a crds::run::StepStatus {
    cluster.status().steps.iter().find(|step| step.name == name).unwrap()
}

pub(super) fn arxiv_cluster() -> Cluster {
    Cluster::of(arxiv())
}

/// Every volume was exchanged once, the old ones are kept, and nothing is left of the run.
fn all_recovered(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    let seen = &cluster.seen;
    for (claim, old) in
        [(CLAIM, "pv-old"), ("scholar-cache", "pv-scholar-cache"), ("scholar-state", "pv-scholar-state")]
    {
        assert_ne!(seen.claims[claim].volume.as_deref(), Some(old));
        let kept = crds::names::quarantine_claim(claim, RUN_UID);
        assert_eq!(seen.claims[&kept].volume.as_deref(), Some(old));
        assert_eq!(seen.volumes[old].reclaim, "Retain");
        assert!(!seen.claims.contains_key(&crds::names::restore_claim(claim, RUN_UID)));
    }
    assert!(seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 1 && w.ready == 1));
    assert!(seen.memory.is_none() && cluster.status().fenced.is_empty() && !seen.run.finalizer);
    assert!(seen.jobs.is_empty());
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
    assert_eq!(cluster.log.claims_deleted.len(), 6, "{:?}", cluster.log.claims_deleted);
}

#[test]
fn every_component_comes_back_with_all_its_volumes_and_waits_for_what_it_depends_on() {
    let mut cluster = arxiv_cluster();
    cluster.run(1000);
    all_recovered(&cluster);
    let (validated, started) = (step(&cluster, "Validate/chromadb").end, step(&cluster, "Start/scholar"));
    assert!(started.end > validated, "it was started before what it depends on was validated");
    assert!(step(&cluster, "Start/mailer").end < validated, "it waited for somebody it doesn't depend on");
    assert_eq!(step(&cluster, "Objects/mailer").phase, StepPhase::Done);
    for name in ["Quarantine", "Provision", "Restore", "VerifyOffline", "Swap"] {
        assert_eq!(step(&cluster, &format!("{name}/mailer")).phase, StepPhase::Skipped, "{name}");
    }
    let points: Vec<&str> = cluster.status().points.iter().map(|point| point.name.as_str()).collect();
    // The scholar's newest is younger than the database's: it may know of papers that this one has lost.
    assert!(points.contains(&"p2") && points.contains(&"s1") && points.contains(&"m1"), "{points:?}");
    let checks: Vec<&str> = cluster.status().checks.iter().map(|check| check.name.as_str()).collect();
    for check in ["chromadb/counts", "scholar/workloads-ready", "scholar/cronjobs-scheduled"] {
        assert!(checks.contains(&check), "{checks:?}");
    }
    assert_eq!(cluster.status().measured.len(), 3);
    assert_eq!(cluster.status().quarantine.len(), 3);
}

#[test]
fn a_controller_killed_after_any_number_of_writes_brings_all_of_them_back() {
    killed_after_any_number_of_writes(arxiv_cluster, all_recovered);
}

#[test]
fn a_controller_of_the_next_term_goes_on_after_a_kill_at_any_single_write() {
    killed_at_any_single_write(arxiv_cluster, all_recovered, 80);
}

#[test]
fn a_component_that_fails_ends_only_what_depends_on_it() {
    let mut cluster = arxiv_cluster();
    cluster.answers.insert("Restore/chromadb", vec![failed(FailureReason::PointUnreadable)]);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "PointUnreadable");
    let told = message(&cluster, "Failed");
    for words in [
        "Restore/chromadb: 2 of 3112 objects are missing",
        "Start/scholar: it depends on chromadb, which could not be recovered",
        "chromadb: Nothing was replaced: data-chromadb-0 is the old volume, the workloads are stopped",
        "scholar: scholar-cache, scholar-state is the restored volume",
        "Recovered: mailer",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(step(&cluster, "Validate/mailer").phase, StepPhase::Done);
    assert_eq!(cluster.seen.components[2].workloads[0].replicas, 1);
    let left = cluster.status().left_as.clone().unwrap();
    assert_eq!((left.workloads.as_str(), left.claims.as_str()), ("Stopped", "Mixed"));
    let measured: Vec<&str> = cluster.status().measured.iter().map(|m| m.policy.as_str()).collect();
    assert_eq!(measured, ["mailer"]);
    let actions: Vec<&str> = cluster.status().next_actions.iter().map(|a| a.name.as_str()).collect();
    assert!(actions.starts_with(&["older-point-chromadb"]), "{actions:?}");
}

#[test]
fn a_point_that_is_younger_than_what_its_component_depends_on_is_taken_only_for_want_of_another() {
    let mut cluster = arxiv_cluster();
    cluster.seen.points.retain(|point| point.name != "s1");
    cluster.run(1000);
    all_recovered(&cluster);
    let told = &step(&cluster, "SelectPoint/scholar").message;
    assert!(told.contains("s2; 19m57s younger than the point of chromadb"), "{told}");
}

#[test]
fn a_point_of_another_kind_is_passed_over() {
    let mut cluster = arxiv_cluster();
    cluster.seen.points.push(PointSeen {
        policy: "scholar".into(),
        ..point("wrong", "2026-11-23T08:55:00Z", PointState::Available)
    });
    cluster.run(1000);
    all_recovered(&cluster);
    let told = &step(&cluster, "SelectPoint/scholar").message;
    assert_eq!(told, "s1; passed over wrong (Quarantined: it holds a ChromaDB)");
}

#[test]
fn a_corruption_stops_and_starts_what_depends_on_the_database_and_replaces_nothing_of_it() {
    let mut cluster = arxiv_cluster();
    cluster.seen.run.spec = spec(serde_json::json!({"policies": null}));
    cluster.seen.components.truncate(2);
    cluster.seen.components[1].role = Role::Dependent;
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let of_scholar: Vec<&str> = cluster
        .status()
        .steps
        .iter()
        .filter(|step| step.policy.as_deref() == Some("scholar"))
        .map(|step| step.name.as_str())
        .collect();
    assert_eq!(of_scholar, ["Start/scholar", "Validate/scholar"]);
    for claim in SCHOLAR_CLAIMS {
        assert_eq!(cluster.seen.claims[claim].uid, format!("{claim}-old"));
        assert_eq!(cluster.seen.volumes[&format!("pv-{claim}")].reclaim, "Delete");
    }
    let scaled: Vec<(&str, i32)> =
        cluster.log.scaled.iter().map(|(name, replicas)| (name.as_str(), *replicas)).collect();
    let position = |what| scaled.iter().position(|done| *done == what).unwrap();
    assert!(position(("scholar", 0)) < position(("chromadb", 1)), "{scaled:?}");
    assert!(position(("chromadb", 1)) < position(("scholar", 1)), "{scaled:?}");
}

#[test]
fn components_that_wait_for_each_other_are_refused_before_anything_is_touched() {
    let mut cluster = arxiv_cluster();
    cluster.seen.components[0].depends_on = vec!["scholar".into()];
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
    let told = message(&cluster, "Failed");
    assert!(told.starts_with("chromadb -> scholar -> chromadb: each waits for the next"), "{told}");
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn a_run_that_is_cancelled_at_any_moment_starts_all_of_them_again() {
    let mut told = std::collections::BTreeSet::new();
    for when in 0..400 {
        let mut cluster = arxiv_cluster();
        for _ in 0..when {
            if cluster.reconcile(1) == 0 && !cluster.settle() {
                break;
            }
        }
        let before = ended(cluster.status());
        cluster.seen.run.spec.desired_state = crds::run::DesiredState::Cancelled;
        cluster.run(1);
        if before {
            break;
        }
        let workloads = cluster.seen.components.iter().flat_map(|component| &component.workloads);
        assert!(workloads.into_iter().all(|workload| workload.replicas == 1), "{when}");
        assert!(cluster.seen.claims.values().all(|claim| claim.bound && !claim.deleting), "{when}");
        assert!(cluster.status().fenced.is_empty() && !cluster.seen.run.finalizer);
        told.insert(reason(&cluster, "Cancelled"));
    }
    assert!(told.contains("Cancelled") && told.contains("Undone"), "{told:?}");
}

#[test]
fn an_application_in_a_corruption_is_refused_with_the_scenario_that_fits() {
    let mut cluster = arxiv_cluster();
    cluster.seen.run.spec = spec(serde_json::json!({"policies": [{"name": "scholar"}]}));
    cluster.seen.components.remove(0);
    cluster.run(1);
    assert!(message(&cluster, "Failed").contains("scenario: CompleteFailure"));
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn a_workload_of_two_components_is_started_when_the_volumes_of_both_are_in_place() {
    let mut seen = arxiv();
    let shared = seen.components[2].workloads[0].clone();
    seen.components[0].workloads.push(shared);
    let mut cluster = Cluster::of(seen);
    let silent = || JobState::Silent { why: "evicted".into() };
    cluster.answers.insert("Restore/chromadb", vec![silent(), silent()]);
    let mut started = None;
    for _ in 0..600 {
        let before = cluster.log.scaled.len();
        cluster.reconcile(1);
        let up = |(name, replicas): &(String, i32)| name == "mailer" && *replicas == 1;
        if started.is_none() && cluster.log.scaled[before..].iter().any(up) {
            started = Some(step(&cluster, "Swap/chromadb").phase);
        }
        cluster.settle();
        cluster.seen.now += jiff::SignedDuration::from_secs(1);
    }
    assert_eq!(started, Some(StepPhase::Done), "it ran on a volume that was about to be replaced");
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
}

#[test]
fn more_components_or_claims_than_a_status_holds_are_refused_before_anything_is_touched() {
    let many = |components: usize, claims: usize| {
        let mut seen = arxiv();
        let mailer = seen.components.remove(2);
        seen.components.truncate(1);
        seen.components.extend((0..components).map(|n| {
            let mut more = mailer.clone();
            more.policy = format!("mailer-{n}");
            more.source.as_mut().unwrap().claims = (0..claims).map(|c| format!("claim-{n}-{c}")).collect();
            more
        }));
        let mut cluster = Cluster::of(seen);
        cluster.run(1);
        assert!(cluster.log.marks.is_empty());
        message(&cluster, "Failed")
    };
    assert!(many(32, 0).contains("about 33 components, and one can be about 32 at most"));
    assert!(many(30, 9).contains("about 271 claims, and one can be about 256 at most"));
}

#[test]
fn a_pod_of_which_nothing_is_known_holds_up_its_own_component_alone() {
    let mut cluster = arxiv_cluster();
    let lost = cluster.seen.pods.iter_mut().find(|pod| pod.name == "scholar-0").unwrap();
    lost.lost_on = Some("node-2".into());
    for _ in 0..200 {
        cluster.reconcile(100);
        cluster.settle();
    }
    for name in ["Validate/chromadb", "Validate/mailer"] {
        assert_eq!(step(&cluster, name).phase, StepPhase::Done, "{name}");
    }
    let parked = step(&cluster, "Quarantine/scholar");
    assert!(parked.phase == StepPhase::Running && parked.message.contains("node-2"), "{parked:?}");
    assert_eq!(reason(&cluster, "Stopped"), "PodUnknown");
    assert_eq!(cluster.seen.claims["scholar-state"].uid, "scholar-state-old");
    cluster.seen.pods.retain(|pod| pod.name != "scholar-0");
    cluster.seen.nodes.insert("node-2".into(), crate::recovery::seen::NodeState::Answers);
    cluster.run(1000);
    all_recovered(&cluster);
    assert_eq!(reason(&cluster, "Stopped"), "AllGone");
}
