//! The step Emergency: what can still be read is captured before it is put aside, and nothing that goes wrong with it holds up the recovery.

use crds::job::Report;
use jiff::SignedDuration;

use super::*;
use crate::recovery::seen::PointState;

fn complete_failure() -> Cluster {
    Cluster::of(arxiv())
}

fn step<'a>(cluster: &'a Cluster, policy: &str) -> &'a crds::run::StepStatus {
    let name = format!("Emergency/{policy}");
    cluster.status().steps.iter().find(|step| step.name == name).unwrap()
}

/// All of it is recovered, whatever became of the emergency captures.
fn back(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    assert!(cluster.seen.jobs.is_empty(), "{:?}", cluster.seen.jobs.keys());
    assert_eq!(
        cluster.status().points.iter().map(|point| point.name.as_str()).collect::<Vec<_>>(),
        ["p2", "s1", "m1"]
    );
    assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|workload| workload.replicas == 1));
}

/// The same, and each was captured once.
fn captured(cluster: &Cluster) {
    back(cluster);
    let emergencies: Vec<&str> = cluster
        .seen
        .points
        .iter()
        .filter(|point| point.state == PointState::Emergency)
        .map(|point| point.policy.as_str())
        .collect();
    assert_eq!(emergencies.len(), 3, "{emergencies:?}");
    for policy in ["chromadb", "scholar", "mailer"] {
        assert_eq!(step(cluster, policy).phase, StepPhase::Done);
        assert!(emergencies.contains(&policy));
    }
}

#[test]
fn every_component_is_captured_when_it_is_stopped_and_before_its_volumes_are_put_aside() {
    let mut cluster = complete_failure();
    cluster.run(1000);
    captured(&cluster);
    let names: Vec<&str> = cluster.status().steps.iter().map(|step| step.name.as_str()).collect();
    let at = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(at("Stop") < at("Emergency/scholar") && at("Emergency/scholar") + 1 == at("Quarantine/scholar"));
    let told = &step(&cluster, "scholar").message;
    assert!(
        told.starts_with("scholar-20261123-093120 holds 22 files, 5 objects and 0 files of evidence; it is an emergency capture; nothing wrote"),
        "{told}"
    );
}

#[test]
fn killed_after_any_number_of_writes_it_is_captured_once_and_comes_back() {
    killed_after_any_number_of_writes(complete_failure, captured);
}

#[test]
fn a_controller_of_the_next_term_captures_nothing_twice() {
    killed_at_any_single_write(complete_failure, captured, 60);
}

#[test]
fn whatever_fails_is_told_and_the_recovery_goes_on() {
    let silent = || JobState::Silent { why: "evicted".into() };
    for (answers, told) in [
        (
            vec![failed(FailureReason::KeyMismatch), failed(FailureReason::KeyMismatch)],
            "KeyMismatch: 2 of 3112",
        ),
        (vec![silent(), silent()], "without a report: evicted"),
        (
            vec![failed(FailureReason::BucketUnreachable), failed(FailureReason::BucketUnreachable)],
            "BucketUnreachable",
        ),
        (vec![JobState::Ended(Report::Marked), JobState::Ended(Report::Marked)], "no answer to this request"),
    ] {
        let mut cluster = complete_failure();
        cluster.answers.insert("Emergency/chromadb", answers);
        cluster.run(1);
        back(&cluster);
        let said = &step(&cluster, "chromadb").message;
        assert!(
            said.starts_with("nothing was captured, and the recovery goes on: ") && said.contains(told),
            "{told}: {said}"
        );
        assert!(step(&cluster, "scholar").message.contains("scholar-20261123-093120"));
    }
}

#[test]
fn where_volumes_are_the_trouble_the_rest_is_captured_without_them() {
    let mut cluster = complete_failure();
    cluster
        .answers
        .insert("Emergency/chromadb", vec![JobState::Silent { why: "it did not end in its time".into() }]);
    cluster.run(1000);
    captured(&cluster);
    let told = &step(&cluster, "chromadb").message;
    assert!(step(&cluster, "chromadb").attempts == 2 && told.contains("holds 0 files, 5 objects"), "{told}");
}

#[test]
fn a_repository_that_can_not_be_used_and_a_job_that_never_ends_hold_up_nothing() {
    let mut cluster = complete_failure();
    for seen in [&mut cluster.seen, &mut cluster.recorded] {
        seen.components[0].emergency.access = Err("repository vault is not ready".into());
    }
    cluster.run(1000);
    back(&cluster);
    assert!(step(&cluster, "chromadb").message.ends_with("goes on: repository vault is not ready"));
    assert!(!cluster.log.jobs.iter().any(|job| job.contains("emergency-chromadb")));

    let mut cluster = complete_failure();
    let stuck = JobState::Running { waiting: Some("pod x waits: Unschedulable".into()) };
    cluster.answers.insert("Emergency/chromadb", vec![stuck]);
    for _ in 0..600 {
        cluster.reconcile(1000);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_secs(30);
        if crate::recovery::ended(cluster.status()) {
            break;
        }
    }
    cluster.run(1000);
    back(&cluster);
    let step = step(&cluster, "chromadb");
    assert!(
        step.message.contains("it did not end within 1h, an eighth of what the run may take"),
        "{}",
        step.message
    );
    assert!(step.end.unwrap().duration_since(step.start.unwrap()) < SignedDuration::from_mins(63));
}

#[test]
fn where_nothing_was_left_there_is_nothing_to_capture() {
    let mut cluster = super::nothing_left::nothing_left();
    cluster.run(1000);
    for policy in ["chromadb", "scholar", "mailer"] {
        let step = step(&cluster, policy);
        assert_eq!(step.phase, StepPhase::Skipped, "{policy}: {}", step.message);
        assert!(step.message.starts_with("nothing of it was left when the run began"), "{}", step.message);
    }
    assert!(cluster.seen.points.iter().all(|point| point.state != PointState::Emergency));
}
