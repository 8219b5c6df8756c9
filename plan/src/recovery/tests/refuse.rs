//! What is refused, waited for or only planned, and that nothing is touched meanwhile.

use crds::job::FailureReason;
use crds::run::{RunPhase, StepPhase};

use super::*;
use crate::recovery::seen::{OtherRun, PointState};

#[test]
fn a_dry_run_has_no_effect_whatever_it_sees() {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec = spec(serde_json::json!({"mode": "DryRun"}));
    let before = cluster.seen.clone();
    for _ in 0..5 {
        let planned = cluster.plan();
        assert!(planned.effects.is_empty());
        cluster.seen.run.status = planned.status;
        cluster.seen.now += jiff::SignedDuration::from_secs(3600);
    }
    cluster.seen.run.status.conditions.clear();
    assert!(cluster.log.marks.is_empty());
    assert_eq!((&cluster.seen.claims, &cluster.seen.volumes), (&before.claims, &before.volumes));
    assert_eq!(cluster.status().phase, Some(RunPhase::Planned));
    assert!(
        cluster
            .status()
            .steps
            .iter()
            .all(|step| step.phase == StepPhase::Waiting && !step.message.is_empty())
    );
    assert!(
        cluster.status().steps.iter().any(|step| step.message.contains("p2; passed over p3 (Quarantined"))
    );
}

#[test]
fn a_claim_that_names_the_volume_of_another_tenant_leads_nowhere() {
    let mut cluster = Cluster::new();
    let owner = cluster.seen.volumes.get_mut("pv-old").unwrap().claim.as_mut().unwrap();
    (owner.namespace, owner.name, owner.uid) = ("other".into(), "theirs".into(), Some("their-uid".into()));
    let before = cluster.seen.volumes.clone();
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Failed));
    assert!(message(&cluster, "Failed").contains("belongs to claim other/theirs"));
    assert_eq!(cluster.seen.volumes, before);
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn a_run_of_a_name_that_was_carried_out_touches_nothing() {
    let mut cluster = Cluster::new();
    cluster.seen.executed =
        Some(seen::Executed { uid: "another".into(), time: "2026-11-23T09:36:45Z".into() });
    cluster.run(1000);
    assert!(cluster.log.marks.is_empty());
    for kind in ["Failed", "Stalled"] {
        assert_eq!(reason(&cluster, kind), "AlreadyExecuted");
    }
    assert_eq!(
        message(&cluster, "Failed"),
        "run db-1 was carried out on 2026-11-23T09:36:45Z; a new recovery needs a new name"
    );
}

#[test]
fn a_run_that_only_the_bucket_remembers_puts_everything_back_as_it_was() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("Restore", vec![failed(FailureReason::AlreadyExecuted)]);
    cluster.run(1);
    assert_eq!(reason(&cluster, "Failed"), "AlreadyExecuted");
    assert_eq!(replicas(&cluster), [0, 1]);
    assert_eq!(cluster.seen.claims[CLAIM].uid, "claim-old");
    assert_eq!(cluster.status().left_as.as_ref().unwrap().workloads, "Running");
}

#[test]
fn what_can_not_come_true_is_refused_before_anything_is_touched() {
    type Spoil = fn(&mut Cluster);
    let named = |name: &str| spec(serde_json::json!({"point": {"named": {"name": name}}}));
    let cases: Vec<(&str, Spoil, Option<crds::run::RecoveryRunSpec>)> = vec![
        (
            "ConfirmMismatch",
            |_| {},
            Some(spec(serde_json::json!({"target": {"inPlace": {"confirm": "prod"}}}))),
        ),
        ("PointNotFound", |_| {}, Some(named("nowhere"))),
        ("PointQuarantined", |_| {}, Some(named("p3"))),
        ("PointNotFound", |c| c.seen.points[1].policy = "other".into(), Some(named("p2"))),
        ("PointNotFound", |c| c.seen.points[1].repository = "offsite".into(), Some(named("p2"))),
        ("PointNotFound", |c| c.seen.points[1].state = PointState::Unknown, Some(named("p2"))),
        ("NoHealthyPoint", |c| c.seen.points.truncate(1), None),
        (
            "NoHealthyPoint",
            |_| {},
            Some(spec(serde_json::json!({"point": {"asOf": {"time": "2026-11-22T00:00:00Z"}}}))),
        ),
        (
            "InvalidSpec",
            |_| {},
            Some(spec(serde_json::json!({"incident": {"detectedAt": "2027-01-01T00:00:00Z"}}))),
        ),
        ("InvalidSpec", |_| {}, Some(spec(serde_json::json!({"policies": [{"name": "ghost"}]})))),
        ("TargetTerminating", |c| c.seen.namespace_terminating = true, None),
        ("StepFailed", |c| c.seen.claims.clear(), None),
        ("StepFailed", |c| c.seen.claims.get_mut(CLAIM).unwrap().bound = false, None),
        ("StepFailed", |c| c.seen.volumes.clear(), None),
    ];
    for (expected, spoil, spec) in cases {
        let mut cluster = Cluster::new();
        if let Some(spec) = spec {
            cluster.seen.run.spec = spec;
        }
        spoil(&mut cluster);
        cluster.run(1);
        assert_eq!(reason(&cluster, "Failed"), expected, "{}", message(&cluster, "Failed"));
        assert_eq!(reason(&cluster, "Stalled"), expected);
        assert!(cluster.log.marks.is_empty(), "{expected}: {:?}", cluster.log.marks);
        assert!(message(&cluster, "Failed").len() > 30);
    }
}

#[test]
fn a_run_waits_for_an_older_one_and_for_the_repository_and_then_goes_on() {
    let mut cluster = Cluster::new();
    let rival = |name: &str, created: &str, begun| OtherRun {
        name: name.into(),
        created: at(created),
        policies: vec!["chromadb".into()],
        begun,
        network: false,
    };
    cluster.seen.others = vec![rival("db-0", "2026-11-23T09:31:12Z", false)];
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRun");
    cluster.seen.others = vec![rival("db-2", "2026-11-23T09:31:13Z", true)];
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRun");
    cluster.seen.others = vec![rival("db-2", "2026-11-23T09:31:13Z", false)];
    cluster.seen.components[0].stopped = true;
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForCapture");
    cluster.seen.components[0].stopped = false;
    cluster.seen.components[0].access = Err("repository primary is not ready (BucketUnreachable)".into());
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRepository");
    assert_eq!(phase(&cluster), Some(RunPhase::Pending));
    assert!(cluster.log.marks.is_empty());
    cluster.seen.components[0].access = Ok(access());
    cluster.run(1000);
    recovered(&cluster);
}

/// The volume that is replaced holds data of these levels.
fn checked_as(migrations: &str) -> crate::effect::JobState {
    let checked = crds::job::Checked { migrations: Some(migrations.into()), ..whole() };
    crate::effect::JobState::Ended(crds::job::Report::Checked(checked))
}

#[test]
fn data_of_a_newer_chromadb_is_not_given_to_an_older_one_and_production_runs_on() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("CheckIntegrity", vec![checked_as("2/5/9")]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "DowngradeRefused");
    let told = message(&cluster, "Failed");
    assert!(told.contains("2/6/10") && told.contains("2/5/9") && told.contains("spec.point"), "{told}");
    assert!(cluster.log.claims_deleted.is_empty());
    assert_eq!(replicas(&cluster), [0, 1], "what was stopped runs again");
}

#[test]
fn data_of_an_older_chromadb_is_migrated_by_a_newer_one_and_the_run_says_that_this_is_one_way() {
    let mut cluster = Cluster::new();
    cluster.answers.insert("CheckIntegrity", vec![checked_as("2/6/11")]);
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    assert!(message(&cluster, "SourceResolved").contains("one-way"));
    assert_eq!(cluster.status().levels[0].migrations, "2/6/11");
}

#[test]
fn a_storage_class_that_does_not_exist_is_refused_with_those_that_do_before_anything_is_stopped() {
    let named = |classes: Option<&[&str]>| {
        let mut cluster = Cluster::new();
        let target =
            serde_json::json!({"target": {"inPlace": {"confirm": "arxiv", "storageClassName": "fast"}}});
        cluster.seen.run.spec = spec(target);
        cluster.seen.storage_classes =
            classes.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        cluster.run(1000);
        cluster
    };
    for (classes, have) in [(&["standard", "slow"][..], "there are: standard, slow"), (&[], "there is none")]
    {
        let cluster = named(Some(classes));
        assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
        let said = message(&cluster, "Failed");
        assert!(said.contains("storageClassName is fast") && said.contains(have), "{said}");
        assert!(cluster.log.marks.is_empty(), "{:?}", cluster.log.marks);
    }
    recovered(&named(Some(&["standard", "fast"])));
    recovered(&named(None));
}
