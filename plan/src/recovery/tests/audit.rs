//! The step Audit: what somebody may have left is told in the status and stored, whatever can't be looked at holds up nothing, and what is left of it
//! when the run ends decides the verdict.

use crds::job::{AuditRequest, Audited, Request};
use crds::run::{Attestation, AuditCounts, AuditFinding, AuditKind, AuditSeverity, AuditStatus, DataChange};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::checks::line;
use super::isolation::{approved, over, rest, step};
use super::*;
use crate::audit::Seen;

const IMAGE: &str = "registry.example/x@sha256:00";

fn object(kind: &str, name: &str, created: &str) -> Value {
    let template = json!({"spec": {"containers": [{"name": "c", "image": IMAGE}]}});
    let spec = match kind {
        "CronJob" => json!({"jobTemplate": {"spec": {"template": template}}}),
        _ => json!({"template": template}),
    };
    json!({"kind": kind, "metadata": {"name": name, "uid": name, "creationTimestamp": created}, "spec": spec})
}

/// The arXiv system's namespace, in which nobody left anything.
pub(super) fn in_order() -> Seen {
    let before = "2026-11-01T08:00:00Z";
    Seen {
        namespace: "arxiv".into(),
        since: at("2026-11-23T09:05:00Z"),
        run: RUN_UID.into(),
        cluster_roles: Ok(vec![]),
        cluster_role_bindings: Ok(vec![]),
        roles: Ok(vec![]),
        role_bindings: Ok(vec![]),
        service_accounts: Ok(vec![]),
        workloads: Ok([
            ("StatefulSet", "chromadb"),
            ("Deployment", "scholar"),
            ("CronJob", "fetch"),
            ("Deployment", "mailer"),
        ]
        .map(|(kind, name)| object(kind, name, before))
        .into()),
        pods: Ok(vec![]),
    }
}

fn changed() -> AuditFinding {
    crate::audit::finding(
        AuditSeverity::Medium,
        AuditKind::ChangedObject,
        "ConfigMap scholar-config",
        "data.MODE differs from point p2",
    )
}

/// What a mover says that found something.
pub(super) fn answer() -> Report {
    let findings = vec![changed()];
    let data = DataChange { policy: "chromadb".into(), added: 20, removed: 1, altered: 2, collections: 1 };
    Report::Audited(Box::new(Audited {
        digest: Some("sha256:00".into()),
        counts: AuditCounts::of(&findings),
        findings,
        data: vec![data],
    }))
}

/// The same run, with a Deployment that nobody knows of.
fn left() -> Cluster {
    let mut cluster = approved();
    let miner = object("Deployment", "miner", "2026-11-23T09:10:00Z");
    cluster.seen.audit.as_mut().unwrap().workloads.as_mut().unwrap().push(miner);
    cluster
}

fn audit(cluster: &Cluster) -> &AuditStatus {
    cluster.status().audit.as_ref().unwrap()
}

fn attest(cluster: &mut Cluster) {
    let given: Attestation = serde_json::from_value(json!({
        "check": "audit-logs-reviewed", "answer": "Approved", "by": "security@yourorg.com",
    }))
    .unwrap();
    cluster.seen.run.spec.attestations = vec![given];
}

/// It is through, and all that was found is told.
fn told(cluster: &Cluster) {
    over(cluster);
    let audit = audit(cluster);
    assert_eq!((audit.counts.high, audit.counts.medium), (1, 1), "{audit:?}");
    assert_eq!(audit.findings.len(), 2);
    assert_eq!(audit.findings[0].object, "Deployment miner");
    assert_eq!(audit.findings[1], changed());
    assert_eq!((audit.data[0].added, audit.documents.len()), (20, 1));
    assert_eq!(audit.documents[0].name, format!("arxiv/db-1/{RUN_UID}"));
    let message = &step(cluster, "Audit").message;
    assert!(
        message.starts_with("1 high, 1 medium, 0 low, 0 not seen; Deployment miner: no policy knows"),
        "{message}"
    );
    assert!(message.ends_with("holdfast audit db-1"), "{message}");
}

#[test]
fn what_was_found_is_told_when_everything_is_stopped_and_before_anything_is_changed_back() {
    let mut cluster = left();
    cluster.run(1000);
    told(&cluster);
    let names: Vec<&str> = cluster.status().steps.iter().map(|step| step.name.as_str()).collect();
    let at = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(at("Emergency/chromadb") < at("Stop") && at("Stop") + 1 == at("Audit"));
    assert!(at("Audit") < at("MarkPoints/chromadb") && at("Audit") < at("Restore/chromadb"));
}

#[test]
fn killed_after_any_number_of_writes_it_is_looked_for_once_and_told() {
    killed_after_any_number_of_writes(left, told);
}

#[test]
fn a_controller_of_the_next_term_tells_the_same() {
    killed_at_any_single_write(left, told, 80);
}

/// The Job of the step, at its first attempt.
fn asked(mut cluster: Cluster) -> crate::effect::MoverJob {
    cluster.answers.insert("Audit", vec![JobState::Running { waiting: None }]);
    for _ in 0..400 {
        let planned = cluster.plan();
        let job = planned.effects.iter().find_map(|effect| match effect {
            Effect::CreateJob { step: "Audit", job } => Some(job.as_ref().clone()),
            _ => None,
        });
        if let Some(job) = job {
            return job;
        }
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_millis(250);
    }
    panic!("no Job audits");
}

#[test]
fn a_job_holds_what_was_captured_against_the_last_known_good_and_only_who_lists_names_has_a_token() {
    let job = asked(left());
    let Request::Audit(asked) = &job.request else { panic!("{:?}", job.request) };
    let AuditRequest {
        document, since, namespace, components, known, network_policies, data, findings, ..
    } = asked.as_ref();
    assert_eq!((document.as_str(), *since), (&*format!("arxiv/db-1/{RUN_UID}"), at("2026-11-23T09:05:00Z")));
    assert_eq!(namespace.len(), 1);
    assert!(*data && findings.is_empty(), "{findings:?}");
    let pairs: Vec<(&str, &str, &str)> =
        components.iter().map(|c| (c.policy.as_str(), c.point.as_str(), c.captured.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("chromadb", "id-p2", "id-kept-chromadb"),
            ("scholar", "id-s1", "id-kept-scholar"),
            ("mailer", "id-m0", "id-kept-mailer")
        ]
    );
    assert!(known.contains(&"Secret key".to_owned()) && known.contains(&"Secret s3".to_owned()), "{known:?}");
    let names: Vec<&str> =
        network_policies.as_ref().unwrap().iter().map(|p| p["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["monitor", "public"]);
    assert_eq!(job.before.len(), 1);
    assert!(job.before[0].asks_the_cluster() && !job.request.asks_the_cluster());
    assert_eq!(job.service_account.unwrap().role, crds::reference::AUDIT_ROLE);
    assert!(job.sources.is_empty() && job.targets.is_empty() && job.objects.is_none());
}

#[test]
fn what_can_not_be_held_against_anything_is_said() {
    let mut cluster = left();
    cluster.answers.insert("Emergency/scholar", vec![failed(FailureReason::KeyMismatch); 2]);
    let Request::Audit(asked) = asked(cluster).request else { panic!("another request") };
    let AuditRequest { components, findings, .. } = *asked;
    assert_eq!(components.len(), 2);
    assert_eq!(
        (findings[0].kind, findings[0].object.as_str()),
        (AuditKind::NotSeen, "what policy scholar captures")
    );
    assert!(findings[0].message.contains("was not captured"), "{findings:?}");
}

#[test]
fn whatever_fails_is_told_and_the_recovery_goes_on() {
    let silent = || JobState::Silent { why: "evicted".into() };
    for (answers, told) in [
        (
            vec![failed(FailureReason::KeyMismatch), failed(FailureReason::KeyMismatch)],
            "KeyMismatch: 2 of 3112",
        ),
        (vec![silent(), silent()], "evicted"),
        (vec![JobState::Ended(Report::Marked)], "answered Marked"),
    ] {
        let mut cluster = left();
        cluster.answers.insert("Audit", answers);
        cluster.run(1);
        over(&cluster);
        let audit = audit(&cluster);
        assert_eq!((audit.counts.high, audit.counts.unknown), (1, 1), "{audit:?}");
        let unseen = audit.findings.iter().find(|found| found.kind == AuditKind::NotSeen).unwrap();
        assert!(unseen.message.contains(told), "{told}: {unseen:?}");
        assert!(audit.documents.is_empty());
    }
    // The data may be the trouble: the second attempt does without.
    let mut cluster = left();
    cluster.answers.insert("Audit", vec![silent()]);
    cluster.run(1000);
    over(&cluster);
    assert_eq!((step(&cluster, "Audit").attempts, audit(&cluster).counts.unknown), (2, 0));
}

#[test]
fn a_job_that_never_ends_is_waited_for_an_eighth_of_the_time() {
    let mut cluster = left();
    cluster.answers.insert("Audit", vec![JobState::Running { waiting: Some("no node for it".into()) }; 2]);
    for _ in 0..300 {
        cluster.reconcile(1000);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_secs(10);
        if step_is_over(&cluster) {
            break;
        }
    }
    let step = step(&cluster, "Audit");
    assert_eq!(step.phase, StepPhase::Done);
    assert!(
        step.end.unwrap().duration_since(step.start.unwrap()) < SignedDuration::from_mins(17),
        "{step:?}"
    );
    let unseen = &audit(&cluster).findings.last().unwrap().message;
    assert!(unseen.contains("did not end within 15m"), "{unseen}");
    cluster.run(1000);
    over(&cluster);
}

fn step_is_over(cluster: &Cluster) -> bool {
    cluster.status().steps.iter().any(|step| step.name == "Audit" && step.end.is_some())
}

#[test]
fn a_right_that_is_left_when_the_run_ends_makes_exactly_that_line_fail() {
    let mut cluster = left();
    attest(&mut cluster);
    cluster.run(1);
    over(&cluster);
    let bad = cluster.status().checks.iter().filter(|check| check.verdict == Verdict::Failed);
    let bad: Vec<&str> = bad.map(|check| check.name.as_str()).collect();
    assert_eq!(bad, ["access-controls"]);
    assert!(
        line(&cluster, "access-controls").observed.starts_with("Deployment miner: no policy knows of it")
    );
    assert_eq!(
        (cluster.status().verdict, reason(&cluster, "Validated")),
        (Some(Verdict::Failed), "ValidationFailed".into())
    );
}

#[test]
fn what_was_removed_before_the_end_is_not_held_against_the_run_and_nobody_reads_logs_but_people() {
    let mut cluster = left();
    let rotation = json!([{"name": "token", "secretRef": {"name": "env"}, "generate": {"key": "TOKEN"}}]);
    cluster.seen.run.spec.credential_rotations = serde_json::from_value(rotation).unwrap();
    cluster.seen.run.spec.decisions.clear();
    rest(&mut cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision));
    assert_eq!(line(&cluster, "access-controls").verdict, Verdict::Failed);
    cluster.seen.audit = Some(in_order());
    cluster.seen.run.spec.decisions = approved().seen.run.spec.decisions;
    cluster.run(1);
    over(&cluster);
    assert_eq!(line(&cluster, "access-controls").verdict, Verdict::Passed);
    assert_eq!(line(&cluster, "audit-logs-reviewed").verdict, Verdict::Inconclusive);
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
    assert!(
        message(&cluster, "Attested").contains("audit-logs-reviewed"),
        "{}",
        message(&cluster, "Attested")
    );
    attest(&mut cluster);
    cluster.run(1);
    assert_eq!(cluster.status().verdict, Some(Verdict::Passed));
}

#[test]
fn what_can_not_be_listed_at_the_end_is_no_clean_answer_whatever_people_attest() {
    let mut cluster = approved();
    cluster.seen.audit.as_mut().unwrap().role_bindings = Err("the API server answers 403".into());
    attest(&mut cluster);
    cluster.run(1);
    over(&cluster);
    let line = line(&cluster, "access-controls");
    assert_eq!(line.verdict, Verdict::Inconclusive);
    assert_eq!(line.observed, "RoleBindings could not be listed: the API server answers 403");
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
}

#[test]
fn where_nobody_broke_in_both_lines_are_left_out_aloud() {
    let mut cluster = Cluster::new();
    cluster.run(1);
    recovered(&cluster);
    for name in ["access-controls", "audit-logs-reviewed"] {
        let line = line(&cluster, name);
        assert_eq!((line.verdict, line.observed.as_str()), (Verdict::Skipped, "only after a breach"));
    }
    assert_eq!(cluster.status().verdict, Some(Verdict::Passed));
}
