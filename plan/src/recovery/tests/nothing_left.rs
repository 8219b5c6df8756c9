//! A complete failure of which nothing is left but the bucket: namespace, repository and run are all that there is.

use super::*;
use crate::recovery::seen::Component;

/// The namespace after it was deleted and made anew: the points are recorded again, nothing else.
pub(super) fn nothing_left() -> Cluster {
    let mut cluster = Cluster::of(arxiv());
    let seen = &mut cluster.seen;
    (seen.claims, seen.volumes, seen.pods, seen.policies) =
        (Default::default(), Default::default(), Vec::new(), Vec::new());
    for component in &mut seen.components {
        *component = Component {
            forgotten: true,
            depends_on: Vec::new(),
            workloads: Vec::new(),
            source: Err(format!("BackupPolicy {} does not exist in namespace arxiv", component.policy)),
            ..component.clone()
        };
    }
    cluster
}

/// Everything runs again, on volumes that hold the points.
fn back(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    let seen = &cluster.seen;
    for claim in [CLAIM, "scholar-cache", "scholar-state"] {
        let (now, before) = (&seen.claims[claim], &cluster.recorded.claims[claim]);
        assert!(now.bound && !now.deleting, "{claim}");
        assert_eq!((&now.labels, &now.size), (&before.labels, &before.size));
        assert_eq!(now.annotations.get("team").map(String::as_str), Some("search"));
    }
    assert_eq!(seen.claims.len(), 3, "{:?}", seen.claims.keys());
    assert_eq!(seen.volumes.len(), 3);
    assert!(seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 1 && w.ready == 1));
    assert!(seen.memory.is_none() && cluster.status().fenced.is_empty() && !seen.run.finalizer);
    assert!(cluster.status().quarantine.is_empty());
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
}

#[test]
fn a_deleted_namespace_comes_back_from_the_bucket_alone() {
    let mut cluster = nothing_left();
    cluster.run(1000);
    back(&cluster);
    let stopped: Vec<(&str, i32)> =
        cluster.status().stopped.iter().map(|s| (s.workload.name.as_str(), s.replicas)).collect();
    assert_eq!(stopped, [("chromadb", 1), ("scholar", 1), ("fetch", 1), ("mailer", 1)]);
    let names: Vec<&str> = cluster.status().steps.iter().take(8).map(|step| step.name.as_str()).collect();
    assert_eq!(names[..3], ["Assess", "SelectPoint/chromadb", "Objects/chromadb"]);
    assert_eq!(names[7], "Stop", "what is created is there before anything is stopped");
    assert_eq!(
        cluster.status().steps.iter().find(|step| step.name == "Objects/scholar").unwrap().message,
        "created Secret env and 8 more; 1 were there"
    );
}

#[test]
fn killed_after_any_number_of_writes_it_comes_back_all_the_same() {
    killed_after_any_number_of_writes(nothing_left, back);
}

#[test]
fn a_controller_of_the_next_term_goes_on_after_a_kill_at_any_single_write() {
    killed_at_any_single_write(nothing_left, back, 60);
}

#[test]
fn what_is_there_is_kept_and_only_what_is_missing_is_created() {
    let mut cluster = Cluster::of(arxiv());
    let seen = &mut cluster.seen;
    seen.claims.remove("scholar-cache");
    seen.volumes.remove("pv-scholar-cache");
    seen.pods.retain(|pod| pod.name != "scholar-0");
    let gone = seen.components[1].workloads.remove(0);
    seen.components[1].missing.push(gone.workload);
    seen.components[1].source = Err("Deployment scholar does not exist in this namespace".into());
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let quarantined: Vec<&str> =
        cluster.status().quarantine.iter().map(|kept| kept.volume.as_str()).collect();
    assert_eq!(quarantined.len(), 2);
    assert!(quarantined.contains(&"pv-old") && quarantined.contains(&"pv-scholar-state"), "{quarantined:?}");
    assert!(cluster.seen.claims["scholar-cache"].bound);
    assert!(cluster.seen.components[1].workloads.iter().all(|workload| workload.replicas == 1));
}

#[test]
fn a_run_waits_until_all_that_the_repository_holds_is_recorded() {
    let mut cluster = nothing_left();
    let components = std::mem::take(&mut cluster.seen.components);
    let why = "what repository primary holds is not all recorded yet (Rebuilding)";
    let seen = &mut cluster.seen;
    seen.repositories[0].catalogued = Err(why.into());
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRepository");
    assert!(message(&cluster, "Reconciling").contains("not all recorded yet"));
    // Half of it is recorded: what comes next may be of a component that nobody knows yet.
    cluster.seen.components = components[..1].to_vec();
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRepository");
    assert!(cluster.log.marks.is_empty());
    cluster.seen.components = components;
    cluster.seen.repositories[0].catalogued = Ok(());
    cluster.run(1000);
    back(&cluster);
}

#[test]
fn an_empty_repository_brings_nothing_back_and_the_run_says_so() {
    let mut cluster = nothing_left();
    (cluster.seen.components, cluster.seen.points) = (Vec::new(), Vec::new());
    cluster.run(1000);
    let told = message(&cluster, "Failed");
    assert!(told.contains("no BackupPolicy, and no RecoveryRepository of it holds a point"), "{told}");
}

#[test]
fn a_component_whose_objects_the_cluster_refuses_fails_alone() {
    let mut cluster = nothing_left();
    cluster.answers.insert("Objects/mailer", vec![failed(FailureReason::ObjectRefused)]);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "StepFailed");
    let told = message(&cluster, "Failed");
    assert!(
        told.contains("Objects/mailer: ObjectRefused") && told.contains("Recovered: chromadb, scholar"),
        "{told}"
    );
    assert!(cluster.seen.claims[CLAIM].bound && cluster.seen.components[0].workloads[0].replicas == 1);
}

#[test]
fn a_claim_that_somebody_makes_in_between_is_not_taken_for_the_lost_one() {
    let mut cluster = nothing_left();
    while cluster.status().swaps.is_empty() {
        cluster.reconcile(1);
        cluster.settle();
    }
    let theirs = crate::recovery::seen::ClaimSeen {
        name: CLAIM.into(),
        uid: "theirs".into(),
        ..cluster.recorded.claims[CLAIM].clone()
    };
    cluster.seen.claims.insert(CLAIM.into(), theirs);
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Failed));
    assert_eq!(cluster.seen.claims[CLAIM].uid, "theirs");
    assert!(
        message(&cluster, "Failed").contains("was made by somebody else"),
        "{}",
        message(&cluster, "Failed")
    );
}

#[test]
fn a_point_without_objects_will_do_where_nothing_is_missing_and_not_where_something_is() {
    use crds::job::Recreated;
    let none = || {
        let none = Recreated { created: Vec::new(), created_count: 0, existing: 0 };
        vec![JobState::Ended(Report::Recreated(none))]
    };
    let mut cluster = Cluster::of(arxiv());
    cluster.answers.insert("Objects/mailer", none());
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));

    let mut seen = arxiv();
    let gone = seen.components[2].workloads.remove(0);
    seen.components[2].missing.push(gone.workload);
    let mut cluster = Cluster::of(seen);
    cluster.creates = false;
    cluster.answers.insert("Objects/mailer", none());
    cluster.run(1);
    let told = message(&cluster, "Failed");
    assert!(
        told.contains("Deployment mailer of policy mailer does not exist")
            && told.contains("(the point holds no objects)"),
        "{told}"
    );
}
