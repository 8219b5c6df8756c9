//! StorageFailure: what can be read is preserved, and is what is restored where it is whole.

use std::collections::BTreeSet;

use crds::job::{Captured, Checked, FailureReason, Finding, Report, RepositoryPlace, Torn};
use crds::point::PointPhase;
use crds::run::StepStatus;

use super::*;
use crate::recovery::seen::{Access, PointState};

const OTHER: &str = "other-disk";

fn failing(extra: serde_json::Value) -> crds::run::RecoveryRunSpec {
    let mut value = serde_json::json!({
        "scenario": "StorageFailure", "policies": null,
        "target": {"inPlace": {"confirm": "arxiv", "storageClassName": OTHER}},
    });
    for (key, more) in extra.as_object().unwrap() {
        value[key] = more.clone();
    }
    spec(value)
}

/// All of the arXiv system on a disk that fails; every byte of it is read.
fn disk() -> Cluster {
    let mut seen = arxiv();
    seen.run.spec = failing(serde_json::json!({}));
    Cluster::of(seen)
}

fn says(captured: Captured) -> JobState {
    JobState::Ended(Report::Preserved(Box::new(captured)))
}

/// The same, but for some bytes of the ChromaDB.
fn holes() -> Cluster {
    let mut cluster = disk();
    cluster.answers.insert("Preserve/chromadb", vec![says(holed("chromadb"))]);
    let findings = vec![Finding { subject: "chroma.sqlite3".into(), message: "malformed".into() }];
    let unchecked = Some("4096 bytes in 1 ranges could not be read and were not checked".into());
    let broken = Checked { findings, finding_count: 1, unchecked, ..whole() };
    cluster.answers.insert("CheckIntegrity/chromadb", vec![JobState::Ended(Report::Checked(broken))]);
    cluster
}

fn step(cluster: &Cluster, name: &str) -> StepStatus {
    cluster.status().steps.iter().find(|step| step.name == name).expect(name).clone()
}

fn restored(cluster: &Cluster, policy: &str) -> String {
    cluster.status().points.iter().find(|point| point.policy == policy).unwrap().name.clone()
}

fn on_other_storage(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    for claim in [CLAIM, SCHOLAR_CLAIMS[0], SCHOLAR_CLAIMS[1]] {
        let seen = &cluster.seen.claims[claim];
        assert_eq!(seen.class.as_deref(), Some(OTHER), "{claim}");
        assert!(!seen.volume.as_ref().unwrap().starts_with("pv-old"), "{claim}");
    }
    // What fails is kept as it is.
    assert_eq!(cluster.seen.claims[&quarantine_claim()].volume.as_deref(), Some("pv-old"));
    assert_eq!(cluster.seen.volumes["pv-old"].reclaim, "Retain");
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
    let recorded = cluster.seen.points.iter().filter(|point| point.state == PointState::Emergency).count();
    assert_eq!(recorded, 2, "each preserved point is recorded once, and the mailer has no volume");
    assert!(cluster.seen.jobs.is_empty() && cluster.status().fenced.is_empty());
}

fn all_of_it(cluster: &Cluster) {
    on_other_storage(cluster);
    assert_eq!(restored(cluster, "chromadb"), "chromadb-20261123-093120");
    assert_eq!(restored(cluster, "scholar"), "scholar-20261123-093120");
}

fn the_database_goes_back(cluster: &Cluster) {
    on_other_storage(cluster);
    assert_eq!(restored(cluster, "chromadb"), "p2");
    assert_eq!(restored(cluster, "scholar"), "scholar-20261123-093120");
}

#[test]
fn a_disk_of_which_all_can_be_read_loses_nothing() {
    let mut cluster = disk();
    cluster.run(1000);
    all_of_it(&cluster);
    let told = step(&cluster, "SelectPoint/chromadb").message;
    assert!(told.ends_with("nothing is broken in it, nothing is lost"), "{told}");
    let measured = |policy: &str| cluster.status().measured.iter().find(|m| m.policy == policy).unwrap();
    assert_eq!(measured("chromadb").rpo.as_deref(), Some("0s"));
    assert!(step(&cluster, "Preserve/mailer").phase == StepPhase::Skipped);
    // An application without a volume has its newest ordinary point.
    assert_eq!(restored(&cluster, "mailer"), "m1");
    let marks = &cluster.log.marks;
    let first = |mark: &str| marks.iter().position(|m| m == mark).unwrap();
    assert!(first("Scale") < first("CreateJob/Preserve"), "it is read after the stop: {marks:?}");
    assert!(first("CreateJob/Preserve") < first("CreateClaim"));
}

#[test]
fn what_can_not_be_read_is_told_and_the_newest_healthy_point_restored_with_what_that_costs() {
    let mut cluster = holes();
    cluster.run(1000);
    the_database_goes_back(&cluster);
    let told = step(&cluster, "Preserve/chromadb").message;
    assert!(
        told.contains(
            "4096 bytes in 1 ranges could not be read, the first 4096 at 8192 of data/chroma.sqlite3"
        ),
        "{told}"
    );
    let told = step(&cluster, "CheckIntegrity/chromadb").message;
    assert_eq!(
        told,
        "chroma.sqlite3: malformed; 4096 bytes in 1 ranges could not be read and were not checked"
    );
    let told = step(&cluster, "SelectPoint/chromadb").message;
    assert_eq!(
        told,
        "p2; passed over p3 (Quarantined: OfflineCheckFailed); what was written since 2026-11-23T09:00:03Z is lost; what was preserved stays as \
         evidence in chromadb-20261123-093120 (4096 bytes of it could not be read, 0 files or objects are missing)"
    );
    let kept = cluster.status().preserved.iter().find(|kept| kept.policy == "chromadb").unwrap();
    assert_eq!((kept.complete, kept.whole, kept.unreadable_bytes), (false, Some(false), 4096));
    // Its dependent is restored as it was, and may know of what the database has lost.
    let told = step(&cluster, "SelectPoint/scholar").message;
    assert!(told.contains("nothing is lost"), "{told}");
}

#[test]
fn whatever_preserving_comes_to_the_recovery_goes_on() {
    let torn = || {
        let mut captured = preserved("chromadb");
        captured.emergency.as_mut().unwrap().torn = Torn::Yes;
        says(captured)
    };
    let silent = || JobState::Silent { why: "evicted".into() };
    type Answers = Vec<(&'static str, Vec<JobState>)>;
    let cases: Vec<(Answers, &str)> = vec![
        (vec![("Preserve/chromadb", vec![failed(FailureReason::AccessDenied)])], "nothing was preserved"),
        (
            vec![("Preserve/chromadb", vec![failed(FailureReason::ScratchFull), silent()])],
            "nothing was preserved",
        ),
        (vec![("Preserve/chromadb", vec![JobState::Ended(Report::Marked)])], "unexpected answer Marked"),
        (vec![("Preserve/chromadb", vec![torn()])], "files changed while they were read"),
    ];
    for (answers, told) in cases {
        let mut cluster = disk();
        cluster.answers.extend(answers);
        cluster.run(1);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
        assert_eq!(restored(&cluster, "chromadb"), "p2", "{told}");
        let preserving = step(&cluster, "Preserve/chromadb");
        assert!(preserving.phase == StepPhase::Done && preserving.message.contains(told), "{preserving:?}");
    }
    for answer in [silent(), failed(FailureReason::PointUnreadable)] {
        let mut cluster = disk();
        cluster.answers.insert("CheckIntegrity/chromadb", vec![answer]);
        cluster.run(1000);
        the_database_goes_back(&cluster);
        assert!(step(&cluster, "CheckIntegrity/chromadb").message.starts_with("not checked: "));
    }
    // Once it failed for a moment: the second attempt commits what the first may have committed already.
    let mut cluster = disk();
    cluster.answers.insert("Preserve/chromadb", vec![failed(FailureReason::BucketUnreachable)]);
    cluster.run(1000);
    all_of_it(&cluster);
}

#[test]
fn without_any_healthy_point_what_was_preserved_is_restored_if_it_is_whole() {
    let lost = |mut cluster: Cluster| {
        cluster.seen.points.retain(|point| point.policy != "chromadb");
        cluster.run(1);
        cluster
    };
    let cluster = lost(disk());
    all_of_it(&cluster);
    let cluster = lost(holes());
    assert_eq!(phase(&cluster), Some(RunPhase::Failed));
    assert_eq!(step(&cluster, "Validate/scholar").phase, StepPhase::Waiting, "it depends on the database");
    let failed = step(&cluster, "SelectPoint/chromadb");
    assert_eq!(failed.reason.as_deref(), Some("NoHealthyPoint"));
    assert!(failed.message.contains("stays as evidence in chromadb-20261123-093120"), "{}", failed.message);
    assert_eq!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
}

#[test]
fn a_point_that_was_asked_for_is_restored_whatever_was_preserved() {
    let mut cluster = disk();
    cluster.seen.run.spec = failing(serde_json::json!({"point": {"asOf": {"time": "2026-11-23T09:10:00Z"}}}));
    cluster
        .seen
        .points
        .iter_mut()
        .filter(|p| p.name == "m1")
        .for_each(|p| p.consistency_time = Some(at("2026-11-23T09:05:00Z")));
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert_eq!(
        (restored(&cluster, "chromadb").as_str(), restored(&cluster, "scholar").as_str()),
        ("p2", "s1")
    );
    assert_eq!(cluster.status().preserved.len(), 2, "it is preserved all the same");
    assert!(step(&cluster, "SelectPoint/chromadb").message.contains("another point was asked for"));
}

#[test]
fn a_run_without_other_storage_is_refused_before_anything_is_touched() {
    for (target, told) in [
        (serde_json::json!({"inPlace": {"confirm": "arxiv"}}), "names another StorageClass"),
        (
            serde_json::json!({"inPlace": {"confirm": "arxiv", "storageClassName": "standard"}}),
            "which claim data-chromadb-0 is of",
        ),
    ] {
        let mut cluster = disk();
        cluster.seen.run.spec = failing(serde_json::json!({"target": target}));
        cluster.run(1);
        assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
        assert!(message(&cluster, "Failed").contains(told), "{}", message(&cluster, "Failed"));
        assert!(cluster.log.marks.is_empty());
    }
}

#[test]
fn a_repository_out_of_reach_is_waited_for_and_not_for_ever() {
    let mut cluster = disk();
    while cluster.status().steps.iter().all(|step| !step.name.starts_with("Preserve") || step.start.is_none())
    {
        cluster.reconcile(1);
        cluster.settle();
    }
    for component in &mut cluster.seen.components {
        component.emergency.access = Err("repository primary is not ready".into());
    }
    for _ in 0..30 {
        cluster.reconcile(100);
        cluster.settle();
    }
    let waiting = step(&cluster, "Preserve/chromadb");
    assert_eq!(
        (waiting.phase, waiting.message.as_str()),
        (StepPhase::Running, "repository primary is not ready")
    );
    // A quarter of the six hours that a run may take.
    cluster.seen.now += jiff::SignedDuration::from_mins(91);
    for _ in 0..30 {
        cluster.reconcile(100);
        cluster.settle();
    }
    assert!(step(&cluster, "Preserve/chromadb").message.starts_with("nothing was preserved"));
    for component in &mut cluster.seen.components {
        component.emergency.access = Ok(access());
    }
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
}

#[test]
fn killed_after_any_number_of_writes_and_at_any_single_one_both_choices_come_out_alike() {
    killed_after_any_number_of_writes(disk, all_of_it);
    killed_after_any_number_of_writes(holes, the_database_goes_back);
    killed_at_any_single_write(disk, all_of_it, 100);
    killed_at_any_single_write(holes, the_database_goes_back, 100);
}

#[test]
fn a_run_that_is_cancelled_while_it_preserves_starts_everything_again_and_keeps_what_it_has() {
    let mut reasons = BTreeSet::new();
    for when in 0..150 {
        let mut cluster = holes();
        for _ in 0..when {
            if cluster.reconcile(1) == 0 && !cluster.settle() {
                break;
            }
        }
        if ended(cluster.status()) {
            break;
        }
        cluster.seen.run.spec.desired_state = crds::run::DesiredState::Cancelled;
        cluster.run(1);
        let workloads = cluster.seen.components.iter().flat_map(|component| &component.workloads);
        assert!(workloads.into_iter().all(|workload| workload.replicas == 1), "{when}");
        assert!(cluster.status().fenced.is_empty() && !cluster.seen.run.finalizer);
        reasons.insert(reason(&cluster, "Cancelled"));
    }
    assert!(reasons.contains("Cancelled"), "{reasons:?}");
}

#[test]
fn the_recorded_point_is_quarantined_and_says_what_could_not_be_read() {
    let mut cluster = holes();
    for _ in 0..600 {
        let plan = cluster.plan();
        let recording = plan.effects.iter().find_map(|effect| match effect {
            Effect::RecordPoint(new) if new.spec.policy == "chromadb" => Some(new.clone()),
            _ => None,
        });
        if let Some(new) = recording {
            assert_eq!(new.status.phase, Some(PointPhase::Quarantined));
            assert_eq!(new.status.origin, Some(crds::policy::Origin::Run));
            assert_eq!(new.status.emergency.unwrap().unreadable[0].offset, 8192);
            return;
        }
        cluster.reconcile(1);
        cluster.settle();
    }
    panic!("no point is recorded");
}

#[test]
fn what_is_preserved_elsewhere_is_checked_and_restored_from_there() {
    let mut cluster = disk();
    let vault = |access: &Access| Access {
        access: crds::job::RepositoryAccess {
            place: RepositoryPlace::Volume { claim: "vault".into() },
            ..access.access.clone()
        },
        ..access.clone()
    };
    for component in &mut cluster.seen.components {
        component.emergency.repository = "vault".into();
        component.emergency.access = component.access.as_ref().map(vault).map_err(Clone::clone);
    }
    // Of the scholar something is lost, so a point of its own repository is restored.
    cluster.answers.insert("Preserve/scholar", vec![says(holed("scholar"))]);
    let mut buckets = BTreeSet::new();
    for _ in 0..600 {
        let planned = cluster.plan();
        for effect in &planned.effects {
            let Effect::CreateJob { step, job } = effect else { continue };
            // The report is of the whole run.
            let Some(policy) = job.labels.get(crds::reference::POLICY_LABEL) else { continue };
            buckets.extend(job.request.repository().map(|access| {
                let place = match &access.place {
                    RepositoryPlace::S3 { bucket, .. } => bucket,
                    RepositoryPlace::Volume { claim } => claim,
                };
                format!("{step}/{policy} {place}")
            }));
        }
        cluster.seen.run.status = planned.status;
        planned.effects.iter().for_each(|effect| cluster.apply(effect));
        cluster.settle();
    }
    on_other_storage(&cluster);
    for (step, chroma, scholar) in
        [("Preserve", "vault", "vault"), ("Restore", "vault", "dr"), ("VerifyOffline", "vault", "dr")]
    {
        for (policy, bucket) in [("chromadb", chroma), ("scholar", scholar)] {
            assert!(buckets.contains(&format!("{step}/{policy} {bucket}")), "{step}/{policy}: {buckets:?}");
        }
    }
}

#[test]
fn who_asks_for_the_last_known_good_gets_that() {
    let mut cluster = disk();
    cluster.seen.run.spec =
        failing(serde_json::json!({"point": {"lastKnownGood": {"before": "2026-11-23T09:26:00Z"}}}));
    cluster.run(1000);
    assert_ne!(restored(&cluster, "chromadb"), "chromadb-20261123-093120", "what was preserved is younger");
    assert_eq!(reason(&cluster, "SourceResolved"), "LastKnownGood");
}
