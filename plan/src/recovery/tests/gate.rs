//! Runs that wait for a human, and runs that a human ends while they do.

use crds::run::{Answer, Decision, DesiredState, Gate, GateName};

use super::*;

fn gated() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.seen.run.spec.gates = vec![Gate { name: GateName::Start }];
    cluster
}

fn decide(cluster: &mut Cluster, answer: Answer, digest: Option<String>) {
    let by = "tech-lead@yourorg.com".to_owned();
    let decision = Decision { gate: GateName::Start, answer, by, plan_digest: digest, comment: None };
    cluster.seen.run.spec.decisions = vec![decision];
}

fn digest(cluster: &Cluster) -> String {
    cluster.status().plan.clone().unwrap().digest
}

/// Reconciles until nothing happens any more: it waits for somebody.
fn rest(cluster: &mut Cluster) {
    for _ in 0..60 {
        let wrote = cluster.reconcile(1000);
        if !cluster.settle() && wrote == 0 {
            return;
        }
    }
    panic!("it never rests: {:#?}", cluster.status().steps);
}

/// Nothing but the mark of its name was made, and all that ran runs.
fn untouched(cluster: &Cluster) {
    assert!(cluster.log.scaled.is_empty() && cluster.log.jobs.is_empty());
    assert_eq!(cluster.seen.volumes["pv-old"].reclaim, "Delete");
    assert!(!cluster.seen.run.finalizer);
}

#[test]
fn a_run_waits_at_its_gate_untouched_and_goes_on_when_somebody_approves() {
    let mut cluster = gated();
    rest(&mut cluster);
    untouched(&cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision));
    for kind in ["Ready", "Reconciling", "GatesPassed"] {
        assert_eq!(reason(&cluster, kind), "AwaitingDecision", "{kind}");
    }
    let told = message(&cluster, "Ready");
    assert!(told.contains("required by run") && told.contains(&digest(&cluster)), "{told}");
    assert!(told.contains("kubectl patch hfrun db-1 -n arxiv"), "{told}");

    let read = digest(&cluster);
    decide(&mut cluster, Answer::Approved, Some(read));
    cluster.run(1000);
    recovered(&cluster);
    let gate = &cluster.status().gates[0];
    assert_eq!((gate.answer, gate.by.as_deref()), (Some(Answer::Approved), Some("tech-lead@yourorg.com")));
    assert_eq!(reason(&cluster, "GatesPassed"), "Decided");
}

#[test]
fn what_a_human_took_to_decide_is_a_part_of_the_recovery_time() {
    let mut cluster = gated();
    rest(&mut cluster);
    cluster.seen.now += jiff::SignedDuration::from_secs(600);
    decide(&mut cluster, Answer::Approved, None);
    cluster.run(1000);
    recovered(&cluster);
    let parts = &cluster.status().measured[0].breakdown;
    let decision = parts.iter().find(|part| part.part == "decision").unwrap();
    assert!(decision.millis >= 600_000, "{parts:?}");
}

#[test]
fn a_policy_asks_for_it_too_and_a_decision_on_another_plan_is_none() {
    let mut cluster = Cluster::new();
    cluster.seen.components[0].approval = true;
    decide(&mut cluster, Answer::Approved, Some("sha256:another".into()));
    rest(&mut cluster);
    untouched(&cluster);
    assert_eq!(cluster.status().gates[0].required_by, "policy/chromadb");
    assert!(message(&cluster, "Ready").starts_with("the decision that was given is on another plan"));
}

#[test]
fn a_rejected_plan_ends_the_run_and_a_decision_stands_whatever_the_spec_says_later() {
    let mut cluster = gated();
    decide(&mut cluster, Answer::Rejected, None);
    cluster.run(1000);
    untouched(&cluster);
    assert_eq!(
        (phase(&cluster), reason(&cluster, "Failed").as_str()),
        (Some(RunPhase::Cancelled), "Rejected")
    );
    assert!(message(&cluster, "Failed").contains("tech-lead@yourorg.com rejected the plan"));
    decide(&mut cluster, Answer::Approved, None);
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Cancelled));

    // Withdrawn after it was acted upon.
    let mut cluster = gated();
    decide(&mut cluster, Answer::Approved, None);
    for _ in 0..6 {
        cluster.reconcile(1);
    }
    cluster.seen.run.spec.decisions.clear();
    cluster.run(1000);
    recovered(&cluster);
}

#[test]
fn nobody_who_decides_is_a_decision_at_the_deadline() {
    let mut cluster = gated();
    rest(&mut cluster);
    cluster.seen.now += jiff::SignedDuration::from_hours(5);
    cluster.run(1000);
    untouched(&cluster);
    assert_eq!(
        (phase(&cluster), reason(&cluster, "Failed").as_str()),
        (Some(RunPhase::Failed), "DeadlineExceeded")
    );
}

#[test]
fn one_that_waits_for_something_is_cancelled_like_any_other() {
    let mut cluster = gated();
    rest(&mut cluster);
    cluster.seen.run.spec.desired_state = DesiredState::Cancelled;
    cluster.run(1000);
    untouched(&cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::Cancelled));

    let mut cluster = Cluster::new();
    cluster.seen.components[0].stopped = true;
    rest(&mut cluster);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForCapture");
    cluster.seen.run.spec.desired_state = DesiredState::Cancelled;
    cluster.run(1000);
    untouched(&cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::Cancelled));
}
