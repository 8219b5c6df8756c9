//! A breach: the namespace is isolated, and whatever happens in between, what allowed is back as it was when the isolation is lifted, and never
//! before a human says so.

use std::collections::BTreeMap;

use crds::job::IsolationProbed;
use crds::names;
use crds::reference::ISOLATION_LABEL;
use crds::run::{
    Answer, Decision, DesiredState, GateName, HeldConnection, Isolation, IsolationState, RunMode,
};
use jiff::SignedDuration;

use super::*;
use crate::recovery::seen::{NetworkPolicySeen, NetworkRecord, PointState, Role};

/// One effect on NetworkPolicies, as the API server and the chart's admission policies take it.
pub(super) fn apply(cluster: &mut Cluster, effect: &Effect) {
    assert!(cluster.seen.run.finalizer && cluster.seen.run.isolating, "the run could go and leave it so");
    let run = cluster.seen.run.clone();
    let known = run.status.isolation.clone().expect("an isolation of which nothing is known");
    if matches!(effect, Effect::CreatePolicy(_) | Effect::DeletePolicy { .. }) {
        assert!(cluster.seen.network.granted.is_some(), "without a right to it");
    }
    match effect {
        Effect::GrantIsolation { .. } => cluster.seen.network.granted = Some("granted".into()),
        Effect::RevokeIsolation { .. } => cluster.seen.network.granted = None,
        Effect::RecordPolicies { name, policies } => {
            let of = |number: &u32| names::isolation_record(&run.name, &run.uid, *number) == *name;
            let number = (1..20).find(of).expect("a record of another name");
            let uid = cluster.next("record");
            // Through its stored form, as the real one.
            let text = serde_json::to_string(policies).unwrap();
            let policies = serde_json::from_str(&text).unwrap();
            let record = NetworkRecord { name: name.clone(), uid, policies };
            cluster.seen.network.records.entry(number).or_insert(record);
        }
        Effect::ForgetPolicies { name, uid } => {
            assert_eq!(known.state, IsolationState::Lifted);
            cluster.seen.network.records.retain(|_, record| (&record.name, &record.uid) != (name, uid));
        }
        Effect::CreatePolicy(new) => {
            match new.labels.get(ISOLATION_LABEL) {
                Some(uid) => assert_eq!(*uid, run.uid),
                None => {
                    assert_eq!(known.state, IsolationState::Lifting, "{} is put back too early", new.name);
                    assert!(known.policies.contains(&new.name));
                }
            }
            if cluster.seen.network.policies.iter().any(|there| there.name == new.name) {
                return;
            }
            let (uid, resource_version) = (cluster.next("policy"), cluster.next("v"));
            cluster.seen.network.policies.push(NetworkPolicySeen {
                name: new.name.clone(),
                uid,
                resource_version,
                deleting: false,
                labels: new.labels.clone(),
                annotations: new.annotations.clone(),
                owners: new.owners.clone(),
                spec: new.spec.clone(),
            });
        }
        Effect::DeletePolicy { name, uid, resource_version } => {
            let same = |there: &NetworkPolicySeen| {
                (&there.name, &there.uid, &there.resource_version) == (name, uid, resource_version)
            };
            let Some(there) = cluster.seen.network.policies.iter().find(|there| same(there)) else { return };
            if !there.labels.contains_key(ISOLATION_LABEL) {
                assert!(known.state == IsolationState::Taking && known.policies.contains(name));
                let record = &cluster.seen.network.records[&known.records];
                assert!(record.policies.contains(there), "{name} is removed and stands in no record");
            } else {
                assert_eq!(known.state, IsolationState::Lifting);
            }
            cluster.seen.network.policies.retain(|there| !same(there));
        }
        _ => panic!("no effect on NetworkPolicies"),
    }
    let missing = known.policies.iter().any(|name| !has(cluster, name));
    assert!(!missing || has(cluster, &denying()), "the namespace was open while its policies were removed");
}

pub(super) fn has(cluster: &Cluster, name: &str) -> bool {
    cluster.seen.network.policies.iter().any(|there| there.name == name)
}

pub(super) fn denying() -> String {
    names::isolation_policy("deny", RUN_UID)
}

/// The probes: ready when they have connected, and through when the network shows what it does.
pub(super) fn settle(cluster: &mut Cluster) {
    let closed = has(cluster, &denying())
        && cluster.seen.network.policies.iter().all(|there| there.labels.contains_key(ISOLATION_LABEL));
    let (now, enforces) = (cluster.seen.now, cluster.enforces);
    let probes = cluster.seen.jobs.iter_mut().filter(|(name, _)| name.contains("-isolate-"));
    for (_, job) in probes.filter(|(_, job)| matches!(job.state, JobState::Running { .. })) {
        if job.ready && closed {
            // What is not blocked is seen to be so only when the probe's patience is over.
            let patience = SignedDuration::from_secs(if enforces { 0 } else { 45 });
            (job.ended, job.state) =
                (Some(now + patience), JobState::Ended(said(&[if enforces { "" } else { API }])));
        }
        job.ready = true;
    }
}

const API: &str = "kubernetes:443";

fn said(open: &[&str]) -> Report {
    let open: Vec<String> =
        open.iter().filter(|name| !name.is_empty()).map(|name| (*name).to_owned()).collect();
    let connected = vec![API.to_owned(), "chromadb.arxiv.svc:8000".to_owned()];
    Report::IsolationProbed(IsolationProbed {
        connected,
        open,
        held: HeldConnection::Ended,
        message: String::new(),
    })
}

fn allowing(name: &str) -> NetworkPolicySeen {
    NetworkPolicySeen {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "7".into(),
        deleting: false,
        labels: BTreeMap::from([("team".into(), "search".into())]),
        annotations: BTreeMap::from([("why".into(), "the monitor".into())]),
        owners: Vec::new(),
        spec: serde_json::json!({"podSelector": {}, "ingress": [{}]}),
    }
}

/// The arXiv system, with somebody inside since quarter past nine.
pub(super) fn breached() -> Cluster {
    let mut seen = arxiv();
    seen.run.spec = spec(serde_json::json!({
        "scenario": "SecurityBreach", "policies": null,
        "incident": {"detectedAt": "2026-11-23T09:28:00Z", "suspectedSince": "2026-11-23T09:05:00Z"},
    }));
    seen.points.push(files("mailer", "m0", "2026-11-23T08:30:00Z"));
    seen.network.policies = vec![allowing("monitor"), allowing("public")];
    seen.audit = Some(super::audit::in_order());
    Cluster::of(seen)
}

fn decide(cluster: &mut Cluster, gate: GateName, answer: Answer) {
    let by = "security@yourorg.com".to_owned();
    let decision = Decision { gate, answer, by, plan_digest: None, comment: None };
    cluster.seen.run.spec.decisions.push(decision);
}

pub(super) fn approved() -> Cluster {
    let mut cluster = breached();
    for gate in [GateName::LiftIsolation, GateName::Unseal] {
        decide(&mut cluster, gate, Answer::Approved);
    }
    cluster
}

pub(super) fn step<'a>(cluster: &'a Cluster, name: &str) -> &'a crds::run::StepStatus {
    cluster.status().steps.iter().find(|step| step.name == name).unwrap()
}

/// The NetworkPolicies are what they were, by name, labels, annotations and spec, and nothing else is there.
fn as_they_were(cluster: &Cluster) {
    let told = |policies: &[NetworkPolicySeen]| {
        let each = policies
            .iter()
            .map(|p| (p.name.clone(), p.labels.clone(), p.annotations.clone(), p.spec.to_string()));
        let mut each: Vec<_> = each.collect();
        each.sort();
        each
    };
    assert_eq!(told(&cluster.seen.network.policies), told(&cluster.recorded.network.policies));
    assert!(cluster.seen.network.records.is_empty(), "a record is left");
    assert!(cluster.seen.network.granted.is_none(), "a right is left");
    assert!(!cluster.seen.run.finalizer && !cluster.seen.run.isolating);
}

pub(super) fn over(cluster: &Cluster) {
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    as_they_were(cluster);
    assert_eq!(reason(cluster, "Isolated"), "Lifted");
    let mut workloads = cluster.seen.components.iter().flat_map(|component| &component.workloads);
    assert!(workloads.all(|workload| workload.replicas == 1));
    assert_eq!(cluster.seen.claims[&quarantine_claim()].volume.as_deref(), Some("pv-old"));
    let points: Vec<&str> = cluster.status().points.iter().map(|point| point.name.as_str()).collect();
    assert!(points.contains(&"p2") && points.contains(&"s1") && points.contains(&"m0"), "{points:?}");
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
}

/// Goes on until nothing moves but the clock, which moves.
pub(super) fn rest(cluster: &mut Cluster) {
    let mut still = 0;
    for _ in 0..2000 {
        let wrote = cluster.reconcile(1000);
        still = if wrote == 0 && !cluster.settle() { still + 1 } else { 0 };
        cluster.seen.now += SignedDuration::from_millis(250);
        // Longer than a probe is waited for.
        if still > 400 {
            return;
        }
    }
    panic!("it never rests: {:#?}", cluster.status().steps);
}

#[test]
fn what_was_inside_is_kept_out_until_somebody_lifts_the_isolation() {
    let mut cluster = breached();
    rest(&mut cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision), "{:#?}", cluster.status().steps);
    assert!(message(&cluster, "Ready").starts_with("gate LiftIsolation, required by scenario"));
    assert_eq!(reason(&cluster, "Isolated"), "ProbeBlocked");
    assert!(message(&cluster, "Isolated").contains("2 NetworkPolicies recorded and removed"));
    let names: Vec<&str> = cluster.seen.network.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["deny", "movers", "inside"].map(|purpose| names::isolation_policy(purpose, RUN_UID)));
    // It works already, and was proved, inside.
    assert_eq!(step(&cluster, "Validate/chromadb").phase, StepPhase::Done);
    assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 1));
    // Nobody is late who takes days to say that it is over.
    cluster.seen.now += SignedDuration::from_hours(72);
    rest(&mut cluster);
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision));
    decide(&mut cluster, GateName::LiftIsolation, Answer::Approved);
    rest(&mut cluster);
    assert!(message(&cluster, "Ready").starts_with("gate Unseal, required by scenario"));
    assert!(has(&cluster, "public") && !has(&cluster, &denying()));
    decide(&mut cluster, GateName::Unseal, Answer::Approved);
    cluster.run(1000);
    over(&cluster);
    // What was written since lies in quarantine, so nothing of it is lost; how far it was taken back is told.
    let measured = &cluster.status().measured[0];
    assert_eq!((measured.rpo.as_deref(), measured.rewind.as_deref()), (Some("0s"), Some("27m57s")));
    assert_eq!(reason(&cluster, "ObjectivesMet"), "Met");
}

#[test]
fn nothing_is_scaled_or_removed_before_the_probe_has_connected() {
    let mut cluster = approved();
    cluster.run(1);
    over(&cluster);
    let first = |mark: &str| cluster.log.marks.iter().position(|known| known == mark).unwrap();
    assert!(first("CreateJob/Isolate") < first("RecordPolicies"));
    assert!(first("RecordPolicies") < first("CreatePolicy") && first("CreatePolicy") < first("DeletePolicy"));
    assert!(first("DeletePolicy") < first("Scale"));
}

#[test]
fn a_controller_killed_after_any_number_of_writes_gives_everything_back() {
    killed_after_any_number_of_writes(approved, over);
}

#[test]
fn a_controller_of_the_next_term_gives_everything_back_after_a_kill_at_any_single_write() {
    killed_at_any_single_write(approved, over, 80);
}

/// A run after each of its writes.
fn after_each_write(mut cluster: Cluster) -> Vec<Cluster> {
    let mut all = vec![cluster.clone()];
    let mut still = 0;
    while still < 10 && !ended(cluster.status()) {
        let wrote = cluster.reconcile(1);
        let moved = cluster.settle();
        still = if wrote == 0 && !moved { still + 1 } else { 0 };
        cluster.seen.now += SignedDuration::from_millis(250);
        all.push(cluster.clone());
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

#[test]
fn cancelled_after_any_write_a_breach_gives_everything_back_or_goes_on_to_its_gate() {
    let mut ends = std::collections::BTreeSet::new();
    for mut cluster in after_each_write(approved()) {
        cluster.seen.run.spec.desired_state = DesiredState::Cancelled;
        cluster.run(1);
        as_they_were(&cluster);
        assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 1));
        ends.insert(phase(&cluster).map(|phase| format!("{phase:?}")));
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[test]
fn deleted_after_any_write_a_breach_gives_everything_back() {
    for mut cluster in after_each_write(breached()) {
        cluster.seen.run.deleting = true;
        let mut still = 0;
        while still < 3 {
            let wrote = cluster.reconcile(1);
            still = if wrote == 0 && !cluster.settle() { still + 1 } else { 0 };
        }
        as_they_were(&cluster);
    }
}

#[test]
fn a_network_that_enforces_nothing_is_found_out_and_nothing_is_started_in_it_unasked() {
    let mut cluster = approved();
    cluster.enforces = false;
    rest(&mut cluster);
    assert_eq!(reason(&cluster, "Isolated"), "NotEnforced");
    assert!(message(&cluster, "Isolated").contains("kubernetes:443 still connects"));
    assert_eq!(phase(&cluster), Some(RunPhase::AwaitingDecision));
    assert!(message(&cluster, "Ready").contains("gate StartUnisolated"));
    assert_eq!(step(&cluster, "Swap/chromadb").phase, StepPhase::Done);
    assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 0));
    let mut refused = cluster.clone();
    decide(&mut cluster, GateName::StartUnisolated, Answer::Approved);
    cluster.run(1000);
    over(&cluster);

    decide(&mut refused, GateName::StartUnisolated, Answer::Rejected);
    refused.seen.run.spec.decisions.retain(|decision| decision.gate != GateName::LiftIsolation);
    refused.run(1000);
    assert_eq!(reason(&refused, "Failed"), "DecisionRejected");
    assert!(refused.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 0));
    assert!(has(&refused, &denying()) && refused.seen.run.finalizer);
}

#[test]
fn a_probe_that_connects_to_nothing_or_does_not_run_proves_nothing_and_holds_nothing_up() {
    let nothing = IsolationProbed {
        connected: Vec::new(),
        open: Vec::new(),
        held: HeldConnection::Unknown,
        message: "no route to host".into(),
    };
    for answer in [
        JobState::Ended(Report::IsolationProbed(nothing)),
        JobState::Silent { why: "evicted".into() },
        failed(FailureReason::MoverFailed),
    ] {
        let mut cluster = approved();
        cluster.answers.insert("Isolate", vec![answer]);
        rest(&mut cluster);
        assert_eq!(reason(&cluster, "Isolated"), "ControlFailed");
        assert!(message(&cluster, "Ready").contains("gate StartUnisolated"));
        assert!(has(&cluster, &denying()) && !has(&cluster, "public"));
    }
    // One that never gets ready is waited for, and not for ever.
    let mut cluster = approved();
    for _ in 0..400 {
        cluster.reconcile(1000);
        cluster.seen.jobs.values_mut().for_each(|job| job.ready = false);
        cluster.seen.now += SignedDuration::from_millis(250);
    }
    assert_eq!(reason(&cluster, "Isolated"), "ControlFailed");
}

#[test]
fn a_probe_that_is_lost_or_was_too_early_is_followed_by_another() {
    for lost in [JobState::Silent { why: "evicted".into() }, JobState::Ended(said(&[API]))] {
        let mut cluster = approved();
        while cluster.status().isolation.as_ref().and_then(|known| known.since).is_none() {
            cluster.reconcile(1);
            let probe = cluster.seen.jobs.values_mut().next();
            if let Some(probe) = probe {
                probe.ready = true;
            }
        }
        let now = cluster.seen.now;
        let probe = cluster.seen.jobs.values_mut().next().unwrap();
        (probe.ended, probe.state) = (Some(now), lost);
        cluster.run(1000);
        over(&cluster);
        assert_eq!(step(&cluster, "Isolate").attempts, 2);
        assert_eq!(cluster.status().isolation.as_ref().unwrap().result, Some(Isolation::ProbeBlocked));
    }
}

#[test]
fn without_its_record_nothing_is_opened() {
    let mut cluster = breached();
    rest(&mut cluster);
    cluster.seen.network.records.clear();
    decide(&mut cluster, GateName::LiftIsolation, Answer::Approved);
    rest(&mut cluster);
    assert!(has(&cluster, &denying()) && cluster.seen.run.finalizer);
    assert_eq!(reason(&cluster, "Isolated"), "RecordLost");
    assert!(message(&cluster, "Isolated").contains("monitor, public"));
    // Somebody has them elsewhere.
    decide(&mut cluster, GateName::Unseal, Answer::Approved);
    cluster.seen.network.policies.extend([allowing("monitor"), allowing("public")]);
    cluster.run(1000);
    over(&cluster);
}

#[test]
fn what_is_made_or_changed_while_policies_are_removed_is_recorded_as_well() {
    let mut late = 0;
    for writes in 1..40 {
        let mut cluster = approved();
        for _ in 0..writes {
            cluster.reconcile(1);
            cluster.settle();
        }
        let taking = cluster
            .status()
            .isolation
            .as_ref()
            .is_none_or(|known| matches!(known.state, IsolationState::Probing | IsolationState::Taking));
        if !taking {
            break;
        }
        cluster.seen.network.policies.push(allowing("late"));
        cluster.recorded.network.policies.push(allowing("late"));
        if let Some(public) = cluster.seen.network.policies.iter_mut().find(|there| there.name == "public") {
            (public.resource_version, public.spec["ingress"]) = ("8".into(), serde_json::json!([]));
            let recorded = cluster.recorded.network.policies.iter_mut().find(|known| known.name == "public");
            recorded.unwrap().spec["ingress"] = serde_json::json!([]);
        }
        cluster.run(1);
        over(&cluster);
        late += 1;
    }
    assert!(late > 5, "{late}");
}

#[test]
fn a_breach_that_can_not_be_recovered_stays_isolated_and_stopped_until_a_human_says_otherwise() {
    let mut cluster = breached();
    cluster.answers.insert("Restore/chromadb", vec![failed(FailureReason::PointUnreadable)]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "PointUnreadable");
    assert!(message(&cluster, "Failed").contains("Namespace arxiv stays isolated"));
    assert!(has(&cluster, &denying()) && cluster.seen.run.finalizer && cluster.seen.run.isolating);
    assert_eq!(cluster.status().left_as.as_ref().unwrap().isolation.as_deref(), Some("Isolated"));
    let lift = cluster.status().next_actions.iter().find(|action| action.name == "lift-isolation").unwrap();
    assert!(lift.command.contains("LiftIsolation"), "{lift:?}");
    assert_eq!(cluster.seen.components[0].workloads[0].replicas, 0);
    let (mut approved, mut deleted) = (cluster.clone(), cluster);
    decide(&mut approved, GateName::LiftIsolation, Answer::Approved);
    deleted.seen.run.deleting = true;
    for mut cluster in [approved, deleted] {
        while cluster.reconcile(1) > 0 || cluster.settle() {}
        as_they_were(&cluster);
        assert_eq!(cluster.seen.components[0].workloads[0].replicas, 0);
    }
}

#[test]
fn a_rejected_lift_leaves_the_namespace_isolated_with_its_workloads_running_inside() {
    let mut cluster = breached();
    decide(&mut cluster, GateName::LiftIsolation, Answer::Rejected);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "DecisionRejected");
    assert!(has(&cluster, &denying()) && !has(&cluster, "public"));
    assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 1));
}

#[test]
fn a_namespace_that_is_being_deleted_is_not_held_up_by_its_isolation() {
    let mut cluster = breached();
    rest(&mut cluster);
    (cluster.seen.run.deleting, cluster.seen.namespace_terminating) = (true, true);
    cluster.reconcile(100);
    assert!(!cluster.seen.run.finalizer);
}

#[test]
fn a_second_breach_waits_until_the_isolation_of_the_first_is_lifted() {
    let mut cluster = breached();
    let mut left = allowing("holdfast-deny-other");
    left.labels.insert(ISOLATION_LABEL.into(), "other".into());
    left.annotations.insert(crds::reference::RUN_LABEL.into(), "breach-0".into());
    cluster.seen.network.policies.push(left);
    cluster.reconcile(100);
    assert_eq!(reason(&cluster, "Reconciling"), "WaitingForRun");
    assert!(message(&cluster, "Reconciling").contains("still isolated by RecoveryRun breach-0"));
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn nothing_from_after_the_suspected_time_is_restored() {
    let mut cluster = approved();
    cluster.seen.points.push(point("late", "2026-11-23T09:05:00Z", PointState::Available));
    cluster.run(1000);
    over(&cluster);
    assert_eq!(reason(&cluster, "SourceResolved"), "LastKnownGood");
    // And by nobody later: whatever was stored since is quarantined, also what its capture had found damaged.
    let quarantined = cluster
        .seen
        .points
        .iter()
        .filter(|point| point.state == PointState::Quarantined("SuspectedBreach".into()));
    let mut quarantined: Vec<&str> = quarantined.map(|point| point.name.as_str()).collect();
    quarantined.sort_unstable();
    assert_eq!(quarantined, ["late", "m1", "p3", "s2"]);
    assert!(step(&cluster, "MarkPoints/chromadb").message.starts_with("2 points quarantined: p3, late"));
    // Without one from before nothing is touched.
    let mut cluster = approved();
    cluster.seen.points.retain(|point| point.policy != "mailer");
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "NoHealthyPoint");
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn a_repository_that_can_not_be_told_holds_nothing_up() {
    let mut cluster = approved();
    cluster.answers.insert("Seal", vec![failed(FailureReason::AccessDenied)]);
    cluster.answers.insert("MarkPoints/mailer", vec![failed(FailureReason::AccessDenied)]);
    cluster.run(1000);
    over(&cluster);
    assert_eq!(step(&cluster, "Seal").phase, StepPhase::Skipped);
    assert!(step(&cluster, "Seal").message.starts_with("is not sealed: primary: 2 of 3112"));
    // Nothing was sealed, so nobody is asked to unseal it.
    assert_eq!(step(&cluster, "Unseal").phase, StepPhase::Skipped);
    assert!(cluster.status().gates.iter().all(|gate| gate.name != GateName::Unseal));
    let told = &step(&cluster, "MarkPoints/mailer").message;
    assert!(told.contains("it counts in this cluster alone"), "{told}");
}

#[test]
fn every_repository_is_sealed_by_a_job_of_its_own_and_unsealed_once_somebody_says_so() {
    let mut cluster = approved();
    cluster.seen.run.spec.decisions.retain(|decision| decision.gate != GateName::Unseal);
    let other = &mut cluster.seen.components[2];
    other.repository = "other".into();
    cluster
        .seen
        .points
        .iter_mut()
        .filter(|p| p.policy == "mailer")
        .for_each(|p| p.repository = "other".into());
    rest(&mut cluster);
    assert!(step(&cluster, "Seal").message.starts_with("other, primary: nothing is removed"));
    decide(&mut cluster, GateName::Unseal, Answer::Rejected);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "DecisionRejected");
    let told = message(&cluster, "Failed");
    assert!(told.contains("Repository other, primary stays sealed: holdfast repo unseal"), "{told}");
    as_they_were(&cluster);
}

#[test]
fn a_time_of_suspicion_that_has_not_come_is_refused() {
    let mut cluster = approved();
    let incident = cluster.seen.run.spec.incident.as_mut().unwrap();
    incident.suspected_since = Some(at("2026-11-24T00:00:00Z"));
    cluster.run(1000);
    assert!(message(&cluster, "Failed").contains("suspectedSince 2026-11-24T00:00:00Z is in the future"));
}

#[test]
fn components_that_are_not_asked_for_are_stopped_and_started_with_the_others() {
    let mut cluster = approved();
    cluster
        .seen
        .components
        .iter_mut()
        .filter(|c| c.policy != "chromadb")
        .for_each(|c| c.role = Role::Dependent);
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert!(cluster.log.scaled.contains(&("mailer".to_owned(), 0)));
    assert!(cluster.log.scaled.contains(&("mailer".to_owned(), 1)));
    assert_eq!(cluster.seen.claims["scholar-state"].uid, "scholar-state-old");
}

#[test]
fn a_dry_run_of_a_breach_says_what_would_be_removed_and_touches_nothing() {
    let mut cluster = breached();
    cluster.seen.run.spec.mode = RunMode::DryRun;
    cluster.run(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Planned));
    assert!(step(&cluster, "Isolate").message.contains("record and remove NetworkPolicy monitor, public"));
    assert!(step(&cluster, "LiftIsolation").message.contains("gate LiftIsolation"));
    assert!(step(&cluster, "Seal").message.starts_with("seal primary"));
    assert!(step(&cluster, "MarkPoints/scholar").message.contains("s2"));
    assert!(cluster.log.marks.is_empty());
}

#[test]
fn pods_that_no_policy_binds_are_named() {
    let mut cluster = breached();
    cluster.seen.network.host_network = vec!["agent-x".into()];
    cluster.seen.network.strangers = (0..6).map(|n| format!("miner-{n}")).collect();
    rest(&mut cluster);
    let told = message(&cluster, "Isolated");
    assert!(told.contains("pod agent-x shares its node's network"), "{told}");
    assert!(told.contains("miner-0, miner-1, miner-2, miner-3 and 2 more belongs to no component"), "{told}");
}
