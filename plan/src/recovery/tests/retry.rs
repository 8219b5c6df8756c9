//! When a mover that failed is started again.

use jiff::SignedDuration;

use super::*;
use crate::backoff;
use crate::effect::Next;

/// A cluster whose Restore Job of attempt `attempt` has just ended with `state`.
fn restore_ended(attempt: u32, state: &JobState) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Restore", vec![state.clone(); 3]);
    while cluster.log.jobs.iter().filter(|job| job.contains("-restore-")).count() < attempt as usize {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_millis(250);
    }
    cluster
}

fn restores(cluster: &Cluster) -> Vec<&String> {
    cluster.log.jobs.iter().filter(|job| job.contains("-restore-")).collect()
}

#[test]
fn a_transient_failure_waits_ever_longer_before_the_next_attempt() {
    for state in [failed(FailureReason::BucketUnreachable), JobState::Silent { why: "evicted".into() }] {
        let mut now = SignedDuration::ZERO;
        for attempt in 1..3 {
            let mut cluster = restore_ended(attempt, &state);
            let name = restores(&cluster).last().unwrap().to_string();
            let end = cluster.seen.jobs[&name].ended.unwrap();
            let wait = backoff::after(attempt, &name);
            assert!(wait > now, "{wait} after {now}");
            now = wait;
            // Whoever looks, and however often, comes to the same time.
            for share in [0, 1, 7, 10] {
                cluster.seen.now = end + wait * share / 10 - SignedDuration::from_millis(1);
                cluster.seen.epoch += 1;
                cluster.reconcile(1000);
                cluster.settle();
                assert_eq!(restores(&cluster).len(), attempt as usize, "{share}/10 of {wait}");
                let Next::At(at) = cluster.plan().next else { panic!("nothing would wake it") };
                assert!(at >= end + wait - SignedDuration::from_millis(1) && at <= end + wait, "{at}");
                let step = cluster.status().steps.iter().find(|s| s.name == "Restore/chromadb").unwrap();
                assert!(
                    step.message.contains(&format!("; attempt {} follows at", attempt + 1)),
                    "{}",
                    step.message
                );
            }
            cluster.seen.now = end + wait;
            for _ in 0..3 {
                cluster.reconcile(1000);
                cluster.settle();
            }
            assert_eq!(restores(&cluster).len(), attempt as usize + 1);
        }
    }
}

#[test]
fn after_the_last_attempt_and_when_nothing_would_change_it_fails_at_once() {
    for (attempt, reason_of) in [(3, FailureReason::BucketUnreachable), (1, FailureReason::KeyMismatch)] {
        let mut cluster = restore_ended(attempt, &failed(reason_of));
        for _ in 0..3 {
            cluster.reconcile(1000);
            cluster.settle();
        }
        assert_eq!(phase(&cluster), Some(RunPhase::Failed));
        assert_eq!(restores(&cluster).len(), attempt as usize);
    }
}

#[test]
fn a_job_that_does_not_say_when_it_ended_is_not_waited_for() {
    let mut cluster = restore_ended(1, &failed(FailureReason::BucketUnreachable));
    for job in cluster.seen.jobs.values_mut() {
        job.ended = None;
    }
    for _ in 0..3 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert_eq!(restores(&cluster).len(), 2);
}
