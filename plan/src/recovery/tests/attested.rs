//! Checks that only a person can make.

use crds::run::Attestation;

use super::checks::{checks, line};
use super::*;

/// A recovery of a ChromaDB whose policy asks a person something.
fn asking() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.seen.components[0].checks = checks(serde_json::json!([
        {"name": "audit-read", "group": "Security", "manual": {"expected": "nobody from outside was in"}},
    ]));
    cluster
}

fn say(cluster: &mut Cluster, answer: &str) {
    let given: Attestation = serde_json::from_value(serde_json::json!({
        "check": "chromadb/audit-read", "answer": answer, "by": "eve@example.org", "comment": "read until 03:12",
    }))
    .unwrap();
    cluster.seen.run.spec.attestations = vec![given];
}

#[test]
fn what_only_a_person_can_know_holds_up_no_recovery_and_leaves_it_inconclusive() {
    let mut cluster = asking();
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert_eq!(cluster.status().verdict, Some(Verdict::Inconclusive));
    assert_eq!(reason(&cluster, "Validated"), "AllRequiredPassed");
    let check = line(&cluster, "chromadb/audit-read");
    assert_eq!(
        (check.verdict, check.expected.as_str()),
        (Verdict::Inconclusive, "nobody from outside was in")
    );
    assert_eq!(reason(&cluster, "Attested"), "AwaitingAttestation");
    let told = message(&cluster, "Attested");
    assert!(told.contains("kubectl patch hfrun") && told.contains("chromadb/audit-read"), "{told}");
}

#[test]
fn it_may_be_attested_before_the_end_and_after_it_and_counts_once() {
    for late in [false, true] {
        let mut cluster = asking();
        if late {
            cluster.run(1);
        }
        say(&mut cluster, "Approved");
        cluster.run(1);
        assert_eq!(cluster.status().verdict, Some(Verdict::Passed), "late {late}");
        assert_eq!(reason(&cluster, "Attested"), "Attested");
        assert_eq!(
            line(&cluster, "chromadb/audit-read").observed,
            "attested by eve@example.org: read until 03:12"
        );
        // Another word later changes nothing, and neither does taking it back.
        say(&mut cluster, "Rejected");
        cluster.run(1);
        cluster.seen.run.spec.attestations.clear();
        cluster.run(1);
        assert_eq!(cluster.status().verdict, Some(Verdict::Passed));
    }
}

#[test]
fn what_is_rejected_fails_the_run_or_afterwards_its_verdict() {
    for late in [false, true] {
        let mut cluster = asking();
        if late {
            cluster.run(1);
        }
        say(&mut cluster, "Rejected");
        cluster.run(1);
        assert_eq!(cluster.status().verdict, Some(Verdict::Failed), "late {late}");
        assert_eq!(reason(&cluster, "Validated"), "ValidationFailed");
        let told = message(&cluster, "Validated");
        assert!(
            told.contains("expected nobody from outside was in, observed rejected by eve@example.org")
                || late,
            "{told}"
        );
        assert!(told.contains("rejected by eve@example.org"), "{told}");
        assert_eq!(phase(&cluster), Some(if late { RunPhase::Succeeded } else { RunPhase::Failed }));
    }
}

#[test]
fn a_person_repairs_no_verdict_of_a_machine() {
    let mut cluster = asking();
    cluster.answers.insert("Validate", vec![failed(FailureReason::IntegrityMismatch)]);
    cluster.run(1);
    say(&mut cluster, "Approved");
    cluster.run(1);
    assert_ne!(cluster.status().verdict, Some(Verdict::Passed));
    assert_eq!(phase(&cluster), Some(RunPhase::Failed));
}

#[test]
fn a_look_after_the_end_changes_nothing_by_itself() {
    let mut cluster = asking();
    cluster.run(1);
    let before = cluster.status().clone();
    let planned = cluster.plan();
    assert_eq!((planned.status, planned.events), (before, Vec::new()));
}
