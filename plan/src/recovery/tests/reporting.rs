//! The report of a run in its repository: written after the end, again when there is more to tell, and never in the way.

use crds::condition::is_true;
use crds::job::{Failure, FailureReason};
use crds::run::Incident;
use jiff::SignedDuration;

use super::*;

fn written(cluster: &Cluster) -> Option<u32> {
    cluster.status().report.as_ref().and_then(|report| report.written.as_ref()).map(|report| report.revision)
}

/// Reconciles until nothing happens any more, however long the waits.
fn rest(cluster: &mut Cluster) {
    let mut idle = 0;
    while idle < 40 {
        let wrote = cluster.reconcile(1000);
        idle = if cluster.settle() || wrote > 0 { 0 } else { idle + 1 };
        cluster.seen.now += SignedDuration::from_secs(30);
    }
}

fn failed(reason: FailureReason) -> JobState {
    JobState::Ended(Report::Failed(Failure { reason, message: "no route to the bucket".into() }))
}

#[test]
fn a_run_that_has_ended_is_reported_and_that_is_told() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    recovered(&cluster);
    assert_eq!((written(&cluster), cluster.log.reports.len()), (Some(1), 1));
    let report = cluster.status().report.clone().unwrap();
    assert_eq!(report.repository, "primary");
    let path = format!("db-1/{RUN_UID}/1");
    let written = report.written.unwrap();
    assert_eq!((written.path, written.digest), (path.clone(), format!("sha256:{path}")));
    assert_eq!(
        (reason(&cluster, "Reported").as_str(), is_true(&cluster.status().conditions, "Reported")),
        ("Written", true)
    );
    assert!(message(&cluster, "Reported").contains("holdfast report db-1 --repo URL"));
    assert!(cluster.seen.jobs.is_empty(), "its Job is left");
    rest(&mut cluster);
    assert_eq!(cluster.log.reports.len(), 1, "it was written again although nothing has changed");
}

#[test]
fn what_is_known_later_is_another_revision() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    for (revision, cause) in [(2, "a torn flush"), (3, "a disk that lied")] {
        cluster.seen.run.spec.incident =
            Some(Incident { root_cause: Some(cause.into()), ..Incident::default() });
        rest(&mut cluster);
        assert_eq!((written(&cluster), cluster.log.reports.len()), (Some(revision), revision as usize));
    }
    // How long something is kept is no news.
    cluster.seen.epoch += 1;
    rest(&mut cluster);
    assert_eq!(written(&cluster), Some(3));
}

#[test]
fn a_run_that_failed_is_reported_too_and_one_that_touched_nothing_is_not() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Restore", vec![failed(FailureReason::PointUnreadable)]);
    cluster.run(1000);
    assert_eq!((phase(&cluster), written(&cluster)), (Some(RunPhase::Failed), Some(1)));

    let mut refused = Cluster::new();
    refused.seen.points.clear();
    refused.run(1000);
    let mut dry = Cluster::new();
    dry.seen.run.spec.mode = RunMode::DryRun;
    dry.run(1000);
    for cluster in [refused, dry] {
        assert_eq!((cluster.status().report.as_ref(), cluster.log.reports.len()), (None, 0));
    }
}

#[test]
fn a_bucket_out_of_reach_is_tried_again_told_and_changes_nothing_of_what_came_out() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Report", vec![failed(FailureReason::BucketUnreachable); 2]);
    cluster.run(1000);
    assert_eq!(
        (phase(&cluster), cluster.status().verdict),
        (Some(RunPhase::Succeeded), Some(Verdict::Passed))
    );
    assert_eq!((reason(&cluster, "Reported").as_str(), written(&cluster)), ("RepositoryUnavailable", None));
    assert!(
        message(&cluster, "Reported").contains("kubectl get hfrun db-1 -n arxiv -o json | holdfast report -")
    );
    rest(&mut cluster);
    assert_eq!((written(&cluster), cluster.log.reports.len()), (Some(3), 3));
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));

    // For ever: it gives up, and tries anew when there is something else to tell.
    let mut cluster = Cluster::new();
    cluster.answers.insert("Report", vec![failed(FailureReason::BucketUnreachable); 6]);
    cluster.run(1000);
    rest(&mut cluster);
    assert_eq!((written(&cluster), cluster.log.reports.len()), (None, 6));
    assert!(cluster.seen.jobs.is_empty());
    cluster.seen.run.spec.incident = Some(Incident { impact: Some("none".into()), ..Incident::default() });
    rest(&mut cluster);
    assert_eq!((written(&cluster), reason(&cluster, "Reported").as_str()), (Some(7), "Written"));
}

#[test]
fn what_no_second_try_would_mend_is_not_tried_again_and_silence_is() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Report", vec![failed(FailureReason::InvalidRequest)]);
    cluster.run(1000);
    rest(&mut cluster);
    assert_eq!((written(&cluster), cluster.log.reports.len()), (None, 1));

    let mut cluster = Cluster::new();
    cluster.answers.insert("Report", vec![JobState::Silent { why: "its node is gone".into() }]);
    cluster.run(1000);
    rest(&mut cluster);
    assert_eq!((written(&cluster), cluster.log.reports.len()), (Some(2), 2));
}

#[test]
fn a_repository_that_cant_be_used_is_waited_for_for_a_day() {
    let mut cluster = Cluster::new();
    let access = cluster.seen.components[0].access.clone();
    while !crate::recovery::ended(cluster.status()) {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_millis(250);
    }
    for component in &mut cluster.seen.components {
        component.access = Err("repository primary is not ready".into());
        component.emergency.access = component.access.clone();
    }
    rest(&mut cluster);
    assert!(message(&cluster, "Reported").contains("repository primary is not ready"));
    assert!(cluster.log.reports.is_empty());
    assert!(!matches!(cluster.plan().next, crate::effect::Next::OnChange), "nobody looks again");
    let mut later = cluster.clone();
    later.seen.components[0].access = access;
    rest(&mut later);
    // The first was written before the lost records could be counted.
    assert_eq!(written(&later), Some(2));
    cluster.seen.now += SignedDuration::from_hours(25);
    assert!(cluster.plan().effects.is_empty());
}

#[test]
fn i5_killed_after_any_write_no_report_is_written_twice() {
    for writes in 1..8 {
        let mut cluster = Cluster::new();
        cluster.run(writes);
        rest(&mut cluster);
        assert_eq!((written(&cluster), cluster.log.reports.len()), (Some(1), 1), "{writes}");
    }
}
