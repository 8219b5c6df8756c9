//! Recoveries carried through a small cluster in memory, and killed at every write.

mod assessment;
mod attested;
mod audit;
mod binding;
mod checks;
mod cluster;
mod emergency;
mod everything;
mod force_stop;
mod gate;
mod isolation;
mod kept;
mod looked_at;
mod losses;
mod measure;
mod network;
mod nothing_left;
mod notice;
mod protect;
mod refuse;
mod reporting;
mod retry;
mod room;
mod rotate;
mod sandbox;
mod stage;
mod storage;
mod trusted;
mod undo;
mod validated;
mod verification;

use cluster::*;
use crds::condition::get;
use crds::job::{Failure, FailureReason, Report, Verified};
use crds::run::{RunPhase, StepPhase, Verdict};
use stage::*;

use super::*;
use crate::effect::JobState;
use crate::recovery::seen::NodeState;

fn phase(cluster: &Cluster) -> Option<RunPhase> {
    cluster.status().phase
}

fn reason(cluster: &Cluster, kind: &str) -> String {
    get(&cluster.status().conditions, kind).map(|c| c.reason.clone()).unwrap_or_default()
}

fn message(cluster: &Cluster, kind: &str) -> String {
    get(&cluster.status().conditions, kind).map(|c| c.message.clone()).unwrap_or_default()
}

/// The world after a recovery, without what depends on when the controller was killed.
fn world(cluster: &Cluster) -> String {
    let seen = &cluster.seen;
    let steps: Vec<_> = cluster.status().steps.iter().map(|s| (&s.name, s.phase, s.attempts)).collect();
    let claims: Vec<_> =
        seen.claims.values().map(|c| (&c.name, &c.labels, &c.annotations, c.bound)).collect();
    let mut volumes: Vec<_> =
        seen.volumes.values().map(|v| (&v.reclaim, &v.phase, v.claim.as_ref().map(|c| &c.name))).collect();
    // Their names tell in which order they were made.
    volumes.sort();
    format!(
        "{steps:?}\n{claims:?}\n{volumes:?}\n{:?}\n{:?}\n{:?}",
        seen.memory,
        cluster.status().fenced,
        seen.run.finalizer
    )
}

fn recovered(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    let seen = &cluster.seen;
    assert_ne!(seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
    assert_eq!(seen.claims[CLAIM].labels["app"], "chromadb");
    assert_eq!(seen.claims[&quarantine_claim()].volume.as_deref(), Some("pv-old"));
    assert!(!seen.claims.contains_key(&restore_claim()));
    assert_eq!(seen.volumes["pv-old"].reclaim, "Retain");
    assert!(
        seen.memory.is_none()
            && cluster.status().fenced.is_empty()
            && !seen.run.finalizer
            && seen.jobs.is_empty()
    );
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
    let mut deleted = cluster.log.claims_deleted.clone();
    deleted.sort();
    assert_eq!(deleted, [CLAIM.to_owned(), restore_claim()], "claims were swapped more than once");
}

/// To how many replicas anything was scaled, in this order.
fn replicas(cluster: &Cluster) -> Vec<i32> {
    cluster.log.scaled.iter().map(|(_, replicas)| *replicas).collect()
}

fn failed(reason: FailureReason) -> JobState {
    JobState::Ended(Report::Failed(Failure { reason, message: "2 of 3112 objects are missing".into() }))
}

#[test]
fn a_corrupted_database_is_recovered_and_the_old_volume_kept() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    recovered(&cluster);
    let status = cluster.status();
    assert_eq!(status.points[0].name, "p2");
    assert_eq!(reason(&cluster, "SourceResolved"), "LatestHealthy");
    assert_eq!(status.verdict, Some(Verdict::Passed));
    assert_eq!(replicas(&cluster), [0, 1]);
    assert_eq!(cluster.log.jobs.len(), 4);
    assert!(!cluster.seen.claims[CLAIM].annotations.contains_key("pv.kubernetes.io/bind-completed"));
    assert_eq!(cluster.seen.claims[CLAIM].annotations["team"], "search");
    let new = cluster.seen.claims[CLAIM].volume.clone().unwrap();
    assert_eq!(
        cluster.seen.volumes[&new].reclaim, "Delete",
        "the reclaim policy of the new volume is put back"
    );
    assert_eq!(status.quarantine[0].volume, "pv-old");
    assert!(status.steps.iter().all(|step| step.phase == StepPhase::Done), "{:#?}", status.steps);
}

/// Recoveries whose controller is killed after every so many writes: each ends as `proof` demands, and all alike.
fn killed_after_any_number_of_writes(new: fn() -> Cluster, proof: fn(&Cluster)) {
    let mut whole = new();
    whole.run(1000);
    for writes in 1..40 {
        let mut cluster = new();
        cluster.run(writes);
        proof(&cluster);
        assert_eq!(world(&cluster), world(&whole), "killed after every {writes} writes");
    }
}

/// Recoveries killed at one write and taken over by the next term, for every write of more than `fewest`.
fn killed_at_any_single_write(new: fn() -> Cluster, proof: fn(&Cluster), fewest: usize) {
    for kill in 1.. {
        let mut cluster = new();
        let mut left = kill;
        while left > 0 && !ended(cluster.status()) {
            let wrote = cluster.reconcile(1);
            left -= wrote.min(left);
            cluster.settle();
            cluster.seen.now += jiff::SignedDuration::from_millis(250);
        }
        if left > 0 {
            assert!(kill > fewest, "it was over after {kill} writes");
            return;
        }
        // The old controller's last look, kept to be acted on too late.
        let mut late = cluster.seen.clone();
        cluster.seen.epoch = 2;
        cluster.run(1000);
        proof(&cluster);
        late.run.status.clone_from(cluster.status());
        assert!(plan(&late).effects.is_empty(), "a controller of an older term acts");
    }
}

#[test]
fn a_controller_killed_after_any_number_of_writes_reaches_the_same_end() {
    killed_after_any_number_of_writes(Cluster::new, recovered);
}

#[test]
fn a_controller_of_the_next_term_goes_on_after_a_kill_at_any_single_write() {
    let mut reference = Cluster::new();
    let mut total = 0;
    for _ in 0..600 {
        let wrote = reference.reconcile(1);
        total += wrote;
        if wrote == 0 && !reference.settle() && ended(reference.status()) {
            break;
        }
    }
    assert!(total > 40, "{total}");
    for kill in 1..=total {
        let mut cluster = Cluster::new();
        let mut left = kill;
        while left > 0 {
            let wrote = cluster.reconcile(1);
            left -= wrote.min(left);
            if wrote == 0 && !cluster.settle() {
                break;
            }
        }
        // The old controller's last look, kept to be acted on too late.
        let mut late = cluster.seen.clone();
        cluster.seen.epoch = 2;
        cluster.run(1000);
        recovered(&cluster);
        late.run.status.clone_from(cluster.status());
        assert!(plan(&late).effects.is_empty(), "a controller of an older term acts");
        assert_eq!(plan(&late).status, late.run.status);
    }
}

#[test]
fn whatever_is_killed_a_stateful_set_that_deletes_its_claims_loses_no_volume() {
    for writes in [1, 2, 3, 5, 8, 1000] {
        let mut cluster = Cluster::new();
        cluster.set_mut().deletes_claims = true;
        cluster.run(writes);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
        assert_eq!(cluster.seen.claims[&quarantine_claim()].volume.as_deref(), Some("pv-old"));
        assert_ne!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
        assert_eq!(cluster.log.claims_deleted, [restore_claim()]);
        let marks = &cluster.log.marks;
        let first = |mark: &str| marks.iter().position(|m| m == mark).unwrap();
        assert!(first("SetReclaimPolicy") < first("Scale") && first("AddFinalizer") < first("Scale"));
    }
}

#[test]
fn a_claim_that_its_stateful_set_deleted_is_put_back_when_the_recovery_fails() {
    let mut cluster = Cluster::new();
    cluster.set_mut().deletes_claims = true;
    cluster.answers.insert("Restore", vec![failed(FailureReason::PointUnreadable)]);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "PointUnreadable");
    assert_eq!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
    assert!(cluster.seen.claims[CLAIM].bound);
    assert_eq!(cluster.status().left_as.as_ref().unwrap().claims, "Original");
}

#[test]
fn a_mover_that_ends_silently_is_tried_again_and_never_two_at_once() {
    let mut cluster = Cluster::new();
    let silent = || JobState::Silent { why: "evicted".into() };
    cluster.answers.insert("Restore", vec![silent(), failed(FailureReason::BucketUnreachable)]);
    cluster.run(1);
    recovered(&cluster);
    let restore = cluster.status().steps.iter().find(|step| step.name == "Restore/chromadb").unwrap();
    assert_eq!(restore.attempts, 3);
    let mut cluster = Cluster::new();
    cluster.answers.insert("Restore", vec![silent(), silent(), silent()]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "StepFailed");
    assert_eq!(cluster.status().left_as.as_ref().unwrap().workloads, "Stopped");
    assert!(cluster.status().next_actions.iter().any(|action| action.name.starts_with("older-point")));
}

#[test]
fn what_the_integrity_check_says_never_holds_a_recovery_up() {
    for answer in [JobState::Silent { why: "out of memory".into() }, failed(FailureReason::SourceUnreadable)]
    {
        let mut cluster = Cluster::new();
        cluster.answers.insert("CheckIntegrity", vec![answer]);
        cluster.run(1000);
        recovered(&cluster);
    }
}

#[test]
fn a_restored_volume_that_differs_from_the_point_is_never_swapped_in() {
    let mut cluster = Cluster::new();
    let differs = Verified {
        files_equal: 15,
        files: 16,
        collections_equal: 3,
        collections: 3,
        free_percent: None,
        findings: Vec::new(),
    };
    cluster.answers.insert("VerifyOffline", vec![JobState::Ended(Report::Verified(differs))]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "IntegrityMismatch");
    assert!(cluster.log.claims_deleted.is_empty());
    assert_eq!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
}

#[test]
fn a_fence_that_does_not_hold_lets_no_claim_be_deleted() {
    let mut cluster = Cluster::new();
    cluster.fence_works = false;
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "IsolationNotEnforced");
    assert!(cluster.log.claims_deleted.is_empty());
    assert!(cluster.seen.memory.is_none() && cluster.status().fenced.is_empty());
}

#[test]
fn a_rival_that_scales_up_at_any_moment_finds_a_whole_claim() {
    for when in 0..120 {
        let mut cluster = Cluster::new();
        for round in 0..600 {
            if round == when && !ended(cluster.status()) {
                cluster.set_mut().replicas = 1;
            }
            let wrote = cluster.reconcile(1);
            let moved = cluster.settle();
            if wrote == 0 && !moved && round > when && ended(cluster.status()) {
                break;
            }
        }
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{when}: {:#?}", cluster.status().steps);
        assert_ne!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
        assert!(cluster.log.scaled.iter().all(|(_, replicas)| *replicas <= 1));
    }
}

#[test]
fn a_volume_that_changes_hands_during_the_swap_is_not_touched() {
    let mut cluster = Cluster::new();
    while cluster.status().swaps.is_empty() {
        cluster.reconcile(1);
        cluster.settle();
    }
    let new = cluster.status().swaps[0].new_volume.clone();
    let owner = cluster.seen.volumes.get_mut(&new).unwrap().claim.as_mut().unwrap();
    (owner.namespace, owner.uid) = ("other".into(), Some("their-uid".into()));
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Failed));
    assert!(cluster.log.claims_deleted.is_empty());
}

#[test]
fn a_pod_on_a_node_that_does_not_answer_is_never_taken_for_gone() {
    let mut cluster = Cluster::new();
    cluster.seen.pods[0].lost_on = Some("node-2".into());
    for _ in 0..50 {
        cluster.reconcile(100);
        cluster.settle();
    }
    assert_eq!(reason(&cluster, "Stopped"), "PodUnknown");
    assert!(message(&cluster, "Stopped").contains("node-2"));
    assert!(cluster.log.jobs.is_empty());
    cluster.seen.pods.clear();
    cluster.seen.nodes.insert("node-2".into(), NodeState::Gone);
    cluster.run(1000);
    recovered(&cluster);
}

#[test]
fn a_validation_that_fails_leaves_the_restored_volume_in_place_and_says_so() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Validate", vec![failed(FailureReason::IntegrityMismatch)]);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
    let left = cluster.status().left_as.clone().unwrap();
    assert_eq!(
        (left.workloads.as_str(), left.data.as_str(), left.claims.as_str()),
        ("Running", "Restored", "Swapped")
    );
    assert!(!cluster.status().next_actions.is_empty());
}

#[test]
fn past_its_deadline_a_run_ends_but_never_between_two_volumes() {
    let mut ends = std::collections::BTreeSet::new();
    for when in 0..150 {
        let mut cluster = Cluster::new();
        for _ in 0..when {
            if cluster.reconcile(1) == 0 && !cluster.settle() {
                break;
            }
        }
        cluster.seen.now += jiff::SignedDuration::from_hours(5);
        cluster.run(1);
        let claim = &cluster.seen.claims[CLAIM];
        assert!(claim.bound && !claim.deleting, "{when}");
        assert!(
            cluster.seen.memory.is_none()
                && cluster.status().fenced.is_empty()
                && !cluster.seen.run.finalizer
        );
        let left = cluster.status().left_as.as_ref().map(|left| left.claims.clone());
        assert_ne!(left.as_deref(), Some("Between"));
        ends.insert(left);
    }
    assert!(ends.contains(&Some("Original".into())) && ends.contains(&Some("Swapped".into())), "{ends:?}");
}

#[test]
fn a_run_that_is_deleted_goes_only_with_whole_claims_and_starts_nothing() {
    for deletes in [false, true] {
        for when in 0..150 {
            let mut cluster = Cluster::new();
            cluster.set_mut().deletes_claims = deletes;
            for _ in 0..when {
                if cluster.reconcile(1) == 0 && !cluster.settle() {
                    break;
                }
            }
            let jobs = cluster.log.jobs.len();
            let done = ended(cluster.status());
            cluster.seen.run.deleting = true;
            for _ in 0..200 {
                if !cluster.seen.run.finalizer {
                    break;
                }
                cluster.reconcile(1);
                cluster.settle();
            }
            assert!(!cluster.seen.run.finalizer, "{when}: the run stays for ever");
            let claim = cluster.seen.claims.get(CLAIM);
            assert!(claim.is_some_and(|claim| claim.bound && !claim.deleting), "{when} {deletes}: no claim");
            assert_eq!(cluster.log.jobs.len(), jobs, "something was started");
            assert!(done || cluster.status().fenced.is_empty());
        }
    }
}

#[test]
fn a_deleted_namespace_is_not_held_up_by_a_swap() {
    let mut cluster = Cluster::new();
    while cluster.log.claims_deleted.is_empty() {
        cluster.reconcile(1);
        cluster.settle();
    }
    cluster.seen.run.deleting = true;
    cluster.seen.namespace_terminating = true;
    cluster.reconcile(100);
    assert!(!cluster.seen.run.finalizer);
    assert!(cluster.seen.volumes.values().all(|volume| volume.reclaim == "Retain"));
}

#[test]
fn a_database_that_was_stopped_before_is_restored_but_not_called_validated() {
    let mut cluster = Cluster::new();
    (cluster.set_mut().replicas, cluster.set_mut().ready) = (0, 0);
    cluster.seen.pods.clear();
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
    assert!(cluster.log.scaled.is_empty());
}

#[test]
fn a_plan_that_changes_the_status_has_no_effects() {
    let mut cluster = Cluster::new();
    for _ in 0..400 {
        let Plan { effects, status, .. } = cluster.plan();
        assert!(status == *cluster.status() || effects.is_empty());
        // Planning is stable: what is stored plans itself again.
        cluster.seen.run.status = status;
        let again = cluster.plan();
        if again.status != *cluster.status() {
            continue;
        }
        for effect in again.effects {
            cluster.apply(&effect);
        }
        cluster.settle();
    }
    recovered(&cluster);
}
