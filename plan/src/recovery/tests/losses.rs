//! Lost records are counted after the end, once, and nothing of what came out waits for it or changes with it.

use crds::job::{LossRequest, Request};
use crds::run::{CountedIn, DataLoss, LostRecords, Scenario};
use jiff::SignedDuration;

use super::*;

pub(super) fn answer(asked: &LossRequest) -> Report {
    Report::LossCounted(LostRecords {
        added: 300,
        altered: 11,
        removed: 5,
        collections: 2,
        rounded: 0,
        digest: Some(format!("sha256:{}", asked.document)),
    })
}

fn loss(cluster: &Cluster) -> DataLoss {
    cluster.status().measured[0].data_loss.clone().unwrap()
}

/// Looks that go on for a day after the end.
fn a_day(cluster: &mut Cluster, writes: usize) {
    for _ in 0..200 {
        cluster.reconcile(writes);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_mins(10);
    }
}

fn counts(cluster: &Cluster) -> usize {
    cluster.log.counts.len()
}

#[test]
fn i5_records_are_counted_in_the_replaced_volume_once_whenever_the_controller_dies() {
    let mut whole = None;
    for writes in [1, 2, 3, 1000] {
        let mut cluster = Cluster::new();
        cluster.run(writes);
        recovered(&cluster);
        let told = loss(&cluster);
        assert_eq!(
            (told.records, told.counted_in, &told.unknown),
            (Some(311), Some(CountedIn::Quarantine), &None)
        );
        assert_eq!(told.count.clone().unwrap().digest.unwrap(), "sha256:db-1/run-uid-1/chromadb");
        assert_eq!(told.from, at("2026-11-23T09:00:03Z"));
        let stop = cluster.status().steps.iter().find(|step| step.name == "Stop").unwrap();
        assert_eq!(told.to, stop.end);
        assert_eq!(counts(&cluster), 1);
        assert!(whole.replace(told.count.clone()).is_none_or(|before| before == told.count));
    }
}

#[test]
fn the_end_does_not_wait_for_it_and_the_volume_is_only_read_where_it_may_be() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("CountLoss", vec![JobState::Running { waiting: None }]);
    for _ in 0..600 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert!(cluster.log.reports.is_empty(), "the report is written with the numbers");
    cluster.seen.now += SignedDuration::from_mins(11);
    for _ in 0..20 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert_eq!(
        (phase(&cluster), cluster.status().verdict),
        (Some(RunPhase::Succeeded), Some(Verdict::Passed))
    );
    assert_eq!(loss(&cluster).records, None);
    assert_eq!(cluster.log.reports.len(), 1, "it is written without the numbers where they take long");
    let measured = cluster.status().measured[0].clone();
    // It is kept although the time of the volume is over, and nothing else of the result changes when it ends.
    let name = cluster.log.counts[0].clone();
    let job = cluster.seen.jobs.get_mut(&name).unwrap();
    let request = LossRequest {
        repository: access().access,
        document: "db-1/run-uid-1/chromadb".into(),
        point: "id-p2".into(),
        claim: quarantine_claim(),
        data_path: String::new(),
    };
    job.state = JobState::Ended(answer(&request));
    cluster.run(1);
    assert_eq!(loss(&cluster).records, Some(311));
    assert_eq!(cluster.log.reports.len(), 2, "and with them once they are there");
    let after = cluster.status().measured[0].clone();
    assert_eq!((after.rto, after.rpo, after.breakdown), (measured.rto, measured.rpo, measured.breakdown));
}

#[test]
fn the_mover_has_the_replaced_volume_to_read_and_no_other() {
    let mut cluster = Cluster::new();
    let mut seen = None;
    for _ in 0..400 {
        let effects = cluster.plan().effects;
        seen = seen.or_else(|| {
            effects.into_iter().find_map(|effect| match effect {
                Effect::CreateJob { job, .. } if matches!(job.request, Request::CountLoss(_)) => Some(job),
                _ => None,
            })
        });
        cluster.reconcile(1);
        cluster.settle();
    }
    let job = seen.unwrap();
    assert!(job.targets.is_empty() && job.service_account.is_none());
    let sources: Vec<_> =
        job.sources.values().map(|volume| (volume.claim.clone(), volume.read_only)).collect();
    assert_eq!(sources, [(quarantine_claim(), true)]);
    assert!(matches!(&job.request, Request::CountLoss(asked) if asked.point == "id-p2"));
}

#[test]
fn what_can_not_be_counted_is_unknown_with_a_reason_and_fails_nothing() {
    let silent = || JobState::Silent { why: "evicted".into() };
    let cases = [
        (vec![failed(FailureReason::SourceUnreadable)], "SourceUnreadable", 1),
        (vec![silent(), silent(), silent()], "ended without a report: evicted", 3),
        (vec![failed(FailureReason::Throttled), silent(), failed(FailureReason::Throttled)], "Throttled", 3),
        (vec![JobState::Ended(Report::Ran)], "the mover answered Ran", 1),
    ];
    for (answers, why, attempts) in cases {
        let mut cluster = Cluster::new();
        cluster.answers.insert("CountLoss", answers);
        cluster.run(1);
        a_day(&mut cluster, 1);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
        let told = loss(&cluster);
        assert!(
            told.records.is_none() && told.unknown.as_ref().is_some_and(|told| told.contains(why)),
            "{told:?}"
        );
        assert_eq!(counts(&cluster), attempts, "{why}");
        assert!(cluster.seen.jobs.is_empty());
    }
}

#[test]
fn a_volume_that_is_gone_and_a_repository_that_stays_away_are_said() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("CountLoss", vec![JobState::Silent { why: "evicted".into() }]);
    while !ended(cluster.status()) {
        cluster.reconcile(1);
        cluster.settle();
    }
    let mut away = cluster.clone();
    cluster.seen.claims.remove(&quarantine_claim());
    a_day(&mut cluster, 1000);
    assert!(loss(&cluster).unknown.unwrap().contains("is not kept any more"));

    away.seen.components[0].access = Err("repository primary can't be reached".into());
    a_day(&mut away, 1000);
    assert!(loss(&away).unknown.unwrap().contains("repository primary can't be reached"));
}

#[test]
fn where_nothing_is_counted_that_is_said_from_the_beginning() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec.scenario = Scenario::CompleteFailure;
    cluster.run(1000);
    let told = loss(&cluster);
    assert!(told.unknown.unwrap().contains("after a DatabaseCorruption only") && told.to.is_some());
    assert_eq!(counts(&cluster), 0);
}
