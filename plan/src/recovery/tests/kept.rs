//! How long a replaced volume is kept, and that nothing but its time, a good end and a newer point lets it go.

use jiff::SignedDuration;

use super::*;
use crate::recovery::seen::PointState;

/// After a recovery of which the database was captured again.
fn recovered_and_captured() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    cluster.seen.points.retain(|point| point.name != "fresh-chromadb");
    let now = cluster.seen.now + SignedDuration::from_mins(5);
    cluster.seen.points.push(point("p4", &now.to_string(), PointState::Available));
    cluster
}

/// Some looks at a time after the end.
fn after(cluster: &mut Cluster, later: SignedDuration, writes: usize) {
    cluster.seen.now += later;
    for _ in 0..20 {
        cluster.reconcile(writes);
        cluster.settle();
    }
}

fn is_kept(cluster: &Cluster) -> bool {
    cluster.seen.claims.contains_key(&quarantine_claim()) && cluster.seen.volumes.contains_key("pv-old")
}

#[test]
fn it_is_kept_for_as_long_as_the_policy_says_and_then_deleted_with_its_claim_whenever_the_controller_dies() {
    for writes in [1, 1000] {
        let mut cluster = recovered_and_captured();
        after(&mut cluster, SignedDuration::from_hours(335), writes);
        assert!(is_kept(&cluster));
        let kept = &cluster.status().quarantine[0];
        assert_eq!((kept.size.as_str(), kept.released), ("20Gi", None));
        assert!(kept.keep_until.is_some());
        assert_eq!(cluster.plan().next, crate::effect::Next::At(kept.keep_until.unwrap()));
        after(&mut cluster, SignedDuration::from_hours(2), writes);
        assert!(!is_kept(&cluster));
        let serving = cluster.seen.claims[CLAIM].volume.clone().unwrap();
        assert!(cluster.seen.volumes.contains_key(&serving) && cluster.seen.claims[CLAIM].bound);
        assert!(cluster.status().quarantine[0].released.is_some());
        assert_eq!(cluster.log.marks.iter().filter(|mark| *mark == "ReleaseClaim").count(), 1);
    }
}

#[test]
fn the_capture_that_ended_the_run_is_the_newer_point() {
    let mut cluster = Cluster::new();
    cluster.run(1000);
    after(&mut cluster, SignedDuration::from_hours(337), 1000);
    assert!(!is_kept(&cluster));
    // One of before what serves was validated protects nothing of it.
    let mut cluster = Cluster::new();
    cluster.run(1000);
    let early = cluster.seen.points.iter_mut().find(|point| point.name == "fresh-chromadb").unwrap();
    early.consistency_time =
        cluster.seen.run.status.steps.iter().find(|s| s.name == "Validate/chromadb").unwrap().end;
    after(&mut cluster, SignedDuration::from_hours(337), 1000);
    assert!(is_kept(&cluster));
}

#[test]
fn a_run_says_for_itself_how_long() {
    let mut cluster = recovered_and_captured();
    cluster.seen.run.spec.quarantine_for = Some(crds::Span::from_hours(1));
    cluster.seen.run.status.quarantine[0].keep_until = None;
    after(&mut cluster, SignedDuration::from_hours(2), 1000);
    assert!(!is_kept(&cluster));
}

#[test]
fn whatever_else_is_not_as_it_should_be_keeps_it_and_is_said() {
    type Change = fn(&mut Cluster);
    let cases: [(Change, &str); 4] = [
        (
            |c| c.seen.points.retain(|p| p.name != "p4"),
            "policy chromadb has no Available point that is newer than the recovery",
        ),
        (|c| c.seen.points[3].state = PointState::Quarantined("x".into()), "has no Available point"),
        (|c| c.seen.pods.push(pod("looker", &[&quarantine_claim()])), "pod looker mounts it"),
        (
            |c| {
                let owner = c.seen.volumes.get_mut("pv-old").unwrap().claim.as_mut().unwrap();
                owner.uid = Some("another".into());
            },
            "nothing is touched",
        ),
    ];
    for (change, why) in cases {
        let mut cluster = recovered_and_captured();
        change(&mut cluster);
        after(&mut cluster, SignedDuration::from_hours(400), 1000);
        assert!(is_kept(&cluster), "{why}");
        let told = cluster.status().quarantine[0].kept_because.clone().unwrap_or_default();
        assert!(told.contains(why), "{told}");
        assert_eq!(cluster.seen.volumes["pv-old"].reclaim, "Retain");
    }
}

#[test]
fn of_a_run_that_failed_everything_is_kept_until_somebody_deletes_it() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Validate", vec![failed(FailureReason::IntegrityMismatch)]);
    cluster.run(1000);
    let now = cluster.seen.now + SignedDuration::from_mins(5);
    cluster.seen.points.push(point("p4", &now.to_string(), PointState::Available));
    after(&mut cluster, SignedDuration::from_hours(9999), 1000);
    assert!(is_kept(&cluster));
    assert_eq!(cluster.status().quarantine[0].keep_until, None);
}

#[test]
fn what_somebody_deleted_by_hand_is_told_to_be_gone() {
    let mut cluster = recovered_and_captured();
    cluster.seen.claims.remove(&quarantine_claim());
    after(&mut cluster, SignedDuration::from_hours(400), 1000);
    assert!(cluster.status().quarantine[0].released.is_some());
    assert!(cluster.seen.volumes.contains_key("pv-old"), "its volume was not ours to delete then");
}
