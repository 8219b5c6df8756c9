//! Pods on a node that does not answer: nothing is restored in their place before they are known to be gone, and nobody is asked for nothing.

use crds::run::{Answer, Decision, GateName};
use jiff::SignedDuration;

use super::*;
use crate::effect::Next;
use crate::workload::PodSeen;

const NODE: &str = "node-2";

fn lost() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.seen.pods[0].lost_on = Some(NODE.into());
    cluster.seen.nodes.insert(NODE.into(), NodeState::Silent);
    cluster
}

/// Reconciles until it waits, after this long.
fn rest(cluster: &mut Cluster, later: SignedDuration, writes: usize) {
    cluster.seen.now += later;
    for _ in 0..120 {
        cluster.reconcile(writes);
        cluster.settle();
    }
}

fn asked() -> Cluster {
    let mut cluster = lost();
    rest(&mut cluster, SignedDuration::ZERO, 1000);
    rest(&mut cluster, SignedDuration::from_mins(3), 1000);
    cluster
}

fn gate(cluster: &Cluster) -> Option<(Option<Answer>, String)> {
    let gate = cluster.status().gates.iter().find(|gate| gate.name == GateName::ForceStop)?;
    Some((gate.answer, gate.required_by.clone()))
}

fn decide(cluster: &mut Cluster, answer: Answer) {
    let by = "tech-lead@yourorg.com".to_owned();
    let decision = Decision { gate: GateName::ForceStop, answer, by, plan_digest: None, comment: None };
    cluster.seen.run.spec.decisions = vec![decision];
}

/// The volume that the pod may write is not looked at, and nothing takes its place.
fn untouched(cluster: &Cluster) {
    assert!(cluster.log.jobs.is_empty() && cluster.log.claims_deleted.is_empty(), "{:?}", cluster.log);
    assert_eq!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"));
}

fn removed(cluster: &mut Cluster) {
    cluster.seen.pods.retain(|pod| pod.lost_on.is_none());
}

#[test]
fn a_node_that_stays_silent_is_asked_about_after_a_while_with_all_that_has_to_be_known() {
    let mut cluster = lost();
    rest(&mut cluster, SignedDuration::ZERO, 1000);
    assert!(gate(&cluster).is_none(), "most come back by themselves");
    assert_eq!(reason(&cluster, "Stopped"), "PodUnknown");
    let Next::At(_) = cluster.plan().next else { panic!("nothing tells when a node changes") };
    let cluster = asked();
    untouched(&cluster);
    assert_eq!(gate(&cluster), Some((None, "scenario".to_owned())));
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision));
    let said = message(&cluster, "Ready");
    for part in [
        "gate ForceStop",
        "pod chromadb-0 is on node node-2",
        "mounts pv-old",
        "kubectl taint node node-2 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
        "kubectl patch hfrun db-1 -n arxiv",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let known = &cluster.status().lost_pods[0];
    assert_eq!((known.pod.as_str(), known.node.as_str()), ("chromadb-0", NODE));
}

#[test]
fn a_node_that_comes_back_ends_the_question() {
    for early in [true, false] {
        let mut cluster = if early { lost() } else { asked() };
        rest(&mut cluster, SignedDuration::ZERO, 1000);
        // It answers, and its kubelet has yet to end the pod.
        cluster.seen.nodes.insert(NODE.into(), NodeState::Answers);
        cluster.seen.pods[0].lost_on = None;
        cluster.reconcile(1000);
        untouched(&cluster);
        cluster.run(1000);
        recovered(&cluster);
        assert!(gate(&cluster).is_none(), "nobody has to decide any more");
    }
}

#[test]
fn what_says_that_the_machine_is_off_lets_the_run_go_on_only_when_the_pods_are_gone() {
    for state in [NodeState::OutOfService, NodeState::Gone] {
        let mut cluster = asked();
        cluster.seen.nodes.insert(NODE.into(), state);
        rest(&mut cluster, SignedDuration::from_secs(15), 1000);
        untouched(&cluster);
        removed(&mut cluster);
        cluster.run(1000);
        recovered(&cluster);
    }
}

#[test]
fn a_pod_that_was_removed_by_force_is_not_taken_for_gone_before_somebody_says_so() {
    for early in [true, false] {
        let mut cluster = lost();
        if !early {
            rest(&mut cluster, SignedDuration::from_mins(3), 1000);
        }
        // The run has seen it by now.
        while cluster.status().lost_pods.is_empty() {
            cluster.reconcile(1);
            cluster.settle();
        }
        removed(&mut cluster);
        rest(&mut cluster, SignedDuration::from_mins(3), 1000);
        untouched(&cluster);
        assert!(
            message(&cluster, "Ready").contains("was removed by force"),
            "{}",
            message(&cluster, "Ready")
        );
        decide(&mut cluster, Answer::Approved);
        cluster.run(1000);
        recovered(&cluster);
        assert_eq!(gate(&cluster).unwrap().0, Some(Answer::Approved));
    }
}

#[test]
fn approved_it_still_waits_for_a_pod_that_is_there() {
    let mut cluster = asked();
    decide(&mut cluster, Answer::Approved);
    rest(&mut cluster, SignedDuration::from_mins(3), 1000);
    untouched(&cluster);
    assert!(message(&cluster, "Ready").contains("waiting until its pods are removed"));
    removed(&mut cluster);
    cluster.run(1000);
    recovered(&cluster);
}

#[test]
fn rejected_it_ends_the_component_untouched_and_says_by_whom() {
    let mut cluster = asked();
    decide(&mut cluster, Answer::Rejected);
    cluster.run(1000);
    untouched(&cluster);
    assert_eq!(reason(&cluster, "Failed"), "DecisionRejected");
    assert!(message(&cluster, "Failed").contains("tech-lead@yourorg.com rejected to go on without a pod"));
}

#[test]
fn components_whose_pods_are_gone_do_not_wait_for_one_whose_pod_is_not() {
    let mut seen = arxiv();
    seen.pods.iter_mut().find(|pod| pod.name == "scholar-0").unwrap().lost_on = Some(NODE.into());
    seen.nodes.insert(NODE.into(), NodeState::Silent);
    let mut cluster = Cluster::of(seen);
    rest(&mut cluster, SignedDuration::ZERO, 1000);
    rest(&mut cluster, SignedDuration::from_mins(3), 1000);
    let phase_of = |name: &str| cluster.status().steps.iter().find(|step| step.name == name).unwrap().phase;
    assert_eq!(phase_of("Validate/chromadb"), StepPhase::Done);
    assert_eq!(phase_of("Quarantine/scholar"), StepPhase::Running);
    assert_eq!(gate(&cluster), Some((None, "scenario".to_owned())));
}

/// A run of which the controller is killed, with a node that goes down for good and somebody who says so.
fn forced(writes: usize) -> Cluster {
    let mut cluster = lost();
    rest(&mut cluster, SignedDuration::from_secs(1), writes);
    rest(&mut cluster, SignedDuration::from_mins(3), writes);
    untouched(&cluster);
    removed(&mut cluster);
    rest(&mut cluster, SignedDuration::from_secs(1), writes);
    untouched(&cluster);
    decide(&mut cluster, Answer::Approved);
    cluster.run(writes);
    cluster
}

#[test]
fn whenever_the_controller_dies_nothing_is_restored_before_it_was_said() {
    let whole = world(&forced(1000));
    for writes in 1..30 {
        let cluster = forced(writes);
        recovered(&cluster);
        assert_eq!(world(&cluster), whole, "killed after every {writes} writes");
    }
}

#[test]
fn a_pod_that_the_status_has_no_room_for_is_not_taken_for_gone_either() {
    let mut cluster = lost();
    let pod = cluster.seen.pods[0].clone();
    cluster.seen.pods.splice(0..0, (0..64).map(|n| PodSeen { name: format!("a-{n:02}"), ..pod.clone() }));
    cluster.seen.nodes.insert(NODE.into(), NodeState::OutOfService);
    rest(&mut cluster, SignedDuration::ZERO, 1000);
    assert_eq!(cluster.status().lost_pods.len(), 64);
    // Those that it knows of are gone, as the taint says; the other one is still there.
    cluster.seen.pods.retain(|pod| !pod.name.starts_with("a-"));
    rest(&mut cluster, SignedDuration::from_mins(3), 1000);
    untouched(&cluster);
    let held = cluster.status().steps.iter().any(|step| step.message.contains("as 64 others are"));
    assert!(held, "{:#?}", cluster.status().steps);
}
