//! Rehearsals: everything restored into a sandbox that is proved to be isolated, nothing of production touched, and nothing left behind.

use crds::job::{IsolationProbed, Request};
use crds::reference::{QUARANTINE_LABEL, SANDBOX_LABEL};
use crds::run::{DesiredState, HeldConnection, Isolation, SandboxState};
use jiff::SignedDuration;

use super::*;
use crate::effect::MoverJob;
use crate::recovery::effect::NewClaim;
use crate::recovery::seen::{ClaimSeen, Component, NamespaceSeen};

const HOME: &str = "arxiv-drill-";

/// A namespace in order, and a run that rehearses all of it.
fn rehearsal() -> Cluster {
    of(serde_json::json!({"sandbox": {}}))
}

fn of(target: serde_json::Value) -> Cluster {
    let mut seen = arxiv();
    seen.run.spec = spec(serde_json::json!({
        "scenario": "CompleteFailure", "policies": null, "target": target,
        "incident": {"detectedAt": "2026-11-23T09:31:12Z"},
    }));
    for component in &mut seen.components {
        component.workloads.retain(|seen| seen.workload.kind != crds::reference::WorkloadKind::CronJob);
        // Production wants approval; nobody is asked for a rehearsal.
        component.approval = true;
    }
    let mut cluster = Cluster::of(seen);
    let seen = &mut cluster.seen;
    seen.sandbox.production = std::mem::take(&mut seen.services);
    (seen.claims, seen.volumes, seen.pods) = Default::default();
    for component in &mut seen.components {
        *component = Component {
            missing: component.workloads.drain(..).map(|seen| seen.workload).collect(),
            source: Err(format!("{} is not there", component.policy)),
            ..component.clone()
        };
    }
    cluster
}

pub(super) fn may_go(claim: &ClaimSeen) -> bool {
    claim.labels.contains_key(QUARANTINE_LABEL) || claim.labels.contains_key(crds::reference::RUN_LABEL)
}

/// Claims that are restored into are made where the movers are, those of workloads where these are.
pub(super) fn placed(cluster: &Cluster, claim: &NewClaim) {
    let restored = claim.name.contains("-restore-") || claim.labels.contains_key(QUARANTINE_LABEL);
    let wanted = if restored { "arxiv".to_owned() } else { cluster.seen.home() };
    assert_eq!(claim.namespace, wanted, "claim {}", claim.name);
}

/// What runs in a sandbox has neither key nor token, and nothing of a rehearsal may write into the repository.
pub(super) fn no_key_inside(home: String, job: &MoverJob) {
    if job.namespace.is_some() {
        assert_eq!(job.namespace, Some(home.clone()));
        assert!(job.keys.is_none() && job.service_account.is_none() && job.objects.is_none(), "{}", job.name);
        assert!(matches!(job.request, Request::ProbeIsolation { .. } | Request::Diagnose { .. }));
    }
    if home.starts_with(HOME) && !matches!(job.request, Request::WriteReport { .. }) {
        let mut opened = job.requests().filter_map(Request::repository);
        assert!(opened.all(|access| access.read_only), "{} could write", job.name);
    }
}

pub(super) fn apply(cluster: &mut Cluster, effect: &Effect) {
    let home = cluster.seen.home();
    match effect {
        Effect::CreateSandbox { name } => {
            assert_eq!(*name, home);
            assert!(cluster.seen.run.finalizer, "the run could go and leave it behind");
            assert_eq!(cluster.status().sandbox.as_ref().map(|known| known.namespace.clone()), Some(home));
            let uid = cluster.next("namespace");
            let made = NamespaceSeen { uid, ours: true, deleting: false };
            cluster.seen.sandbox.namespace.get_or_insert(made);
        }
        Effect::FurnishSandbox { .. } => cluster.seen.sandbox.furnished = true,
        Effect::CreatePolicy(policy) => {
            assert_eq!(policy.labels.get(SANDBOX_LABEL), Some(&cluster.seen.run.uid));
            cluster.seen.sandbox.denies.push(policy.name.clone());
        }
        Effect::DeleteSandbox { name, uid } if *name == home => {
            let there = cluster.seen.sandbox.namespace.as_mut().unwrap();
            assert!(there.ours && there.uid == *uid, "somebody else's namespace is deleted");
            there.deleting = true;
        }
        Effect::DeleteSandbox { name, uid } => {
            let known = (name.clone(), uid.clone());
            assert!(cluster.seen.sandbox.leftovers.contains(&known), "{name}");
            cluster.seen.sandbox.leftovers.retain(|left| *left != known);
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn settle(cluster: &mut Cluster) {
    let (now, enforces) = (cluster.seen.now, cluster.enforces);
    let closed = cluster.seen.sandbox.denies.len() == 2;
    let probes = cluster.seen.jobs.iter_mut().filter(|(name, _)| name.contains("-sandbox-"));
    for (_, job) in probes.filter(|(_, job)| matches!(job.state, JobState::Running { waiting: None })) {
        if job.ready && closed {
            let patience = SignedDuration::from_secs(if enforces { 0 } else { 45 });
            let connected = vec!["chromadb.arxiv.svc:8000".to_owned()];
            let open = if enforces { Vec::new() } else { connected.clone() };
            let said =
                IsolationProbed { connected, open, held: HeldConnection::Ended, message: String::new() };
            (job.ended, job.state) = (Some(now + patience), JobState::Ended(Report::IsolationProbed(said)));
        }
        job.ready = true;
    }
    let seen = &mut cluster.seen;
    if seen.sandbox.namespace.as_ref().is_some_and(|there| there.deleting) {
        // All of it goes, and with each claim its volume as its reclaim policy says.
        let home = seen.home();
        let inside: Vec<String> =
            seen.claims.keys().filter(|name| !name.contains("-restore-")).cloned().collect();
        for name in inside {
            let claim = seen.claims.remove(&name).unwrap();
            let Some(volume) = claim.volume.as_ref().and_then(|name| seen.volumes.get(name)).cloned() else {
                continue;
            };
            assert_eq!(volume.reclaim, "Delete", "volume {} stays for ever", volume.name);
            seen.volumes.remove(&volume.name);
        }
        let stuck = seen.volumes.values().filter(|volume| {
            volume.claim.as_ref().is_some_and(|owner| owner.namespace == home && owner.uid.is_none())
        });
        assert_eq!(stuck.count(), 0, "a volume is reserved for a claim that nobody makes");
        seen.pods.retain(|pod| pod.name.ends_with("-pod") && !pod.name.contains("-sandbox-"));
        seen.jobs.retain(|name, _| !name.contains("-sandbox-"));
        for component in &mut seen.components {
            component.workloads.clear();
        }
        (seen.sandbox.namespace, seen.sandbox.furnished) = (None, false);
        seen.sandbox.denies.clear();
    }
    // Released volumes that may go do.
    let claims = &seen.claims;
    let held = |volume: &crate::recovery::seen::VolumeSeen| {
        let owner = volume.claim.as_ref().and_then(|owner| owner.uid.clone());
        owner.is_none() || claims.values().any(|claim| Some(&claim.uid) == owner.as_ref())
    };
    if seen.run.spec.sandbox().is_some() {
        let gone: Vec<String> = seen
            .volumes
            .values()
            .filter(|volume| volume.reclaim == "Delete" && !held(volume))
            .map(|volume| volume.name.clone())
            .collect();
        gone.iter().for_each(|name| drop(seen.volumes.remove(name)));
    }
}

fn state(cluster: &Cluster) -> Option<SandboxState> {
    cluster.status().sandbox.as_ref().map(|known| known.state)
}

/// Nothing is left of it but what the run tells.
fn swept(cluster: &Cluster) {
    let seen = &cluster.seen;
    assert_eq!(state(cluster), Some(SandboxState::Cleaned));
    assert_eq!(reason(cluster, "SandboxCleaned"), "Cleaned");
    assert!(seen.sandbox.namespace.is_none() && seen.claims.is_empty(), "{:?}", seen.claims.keys());
    assert!(seen.volumes.is_empty(), "{:?}", seen.volumes);
    assert!(!seen.run.finalizer && seen.memory.is_none());
}

/// It passed, and everything in it was what a recovery would have made.
fn passed(cluster: &Cluster) {
    let status = cluster.status();
    assert_eq!(phase(cluster), Some(RunPhase::Succeeded), "{}", message(cluster, "Ready"));
    assert_eq!(status.verdict, Some(Verdict::Passed), "{:#?}", status.checks);
    swept(cluster);
    assert_eq!(status.sandbox.as_ref().unwrap().isolation, Some(Isolation::ProbeBlocked));
    assert!(status.fenced.is_empty() && status.quarantine.is_empty() && status.fresh_captures.is_empty());
    assert!(cluster.seen.executed.is_none(), "a rehearsal takes no name for ever");
    assert_eq!(status.measured.len(), 3);
    assert!(!cluster.log.marks.iter().any(|mark| mark == "GrantIsolation" || mark == "CreateExecuted"));
    assert!(cluster.log.scaled.iter().all(|(_, replicas)| *replicas > 0), "something was stopped");
    let mut jobs = cluster.log.jobs.clone();
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), cluster.log.jobs.len(), "a Job ran twice: {:?}", cluster.log.jobs);
}

#[test]
fn a_rehearsal_restores_all_into_its_sandbox_and_leaves_nothing_behind() {
    let mut cluster = rehearsal();
    cluster.run(1000);
    passed(&cluster);
    let names: Vec<&str> = cluster.status().steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names[..4], ["Assess", "Sandbox", "SelectPoint/chromadb", "Objects/chromadb"]);
    assert!(
        !names.iter().any(|name| name.starts_with("Protect") || name.starts_with("Emergency")),
        "{names:?}"
    );
    assert!(cluster.log.marks.iter().any(|mark| mark == "DeleteSandbox"));
    assert_eq!(cluster.log.scaled.len(), 3, "{:?}", cluster.log.scaled);
    assert_eq!(cluster.status().stopped.iter().filter(|owed| owed.replicas == 1).count(), 3);
    let measured = &cluster.status().measured[0];
    assert_eq!((measured.policy.as_str(), measured.rpo.as_deref()), ("chromadb", Some("31m9s")));
    assert!(measured.not_measured.iter().any(|what| what.contains("people decide")));
}

#[test]
fn killed_after_any_number_of_writes_it_passes_and_leaves_nothing_all_the_same() {
    killed_after_any_number_of_writes(rehearsal, passed);
}

#[test]
fn a_controller_of_the_next_term_goes_on_after_a_kill_at_any_single_write() {
    killed_at_any_single_write(rehearsal, passed, 60);
}

#[test]
fn without_a_proof_no_workload_is_started_and_nothing_is_called_failed_or_passed() {
    let open = || {
        let mut cluster = rehearsal();
        cluster.enforces = false;
        cluster
    };
    let blind = || {
        let mut cluster = rehearsal();
        let silent = || JobState::Silent { why: "ImagePullBackOff".into() };
        cluster.answers.insert("Isolate", vec![silent(), silent(), silent()]);
        cluster
    };
    for (mut cluster, why) in [(open(), "NotEnforced"), (blind(), "ControlFailed")] {
        cluster.run(1);
        let status = cluster.status();
        assert_eq!(phase(&cluster), Some(RunPhase::Failed));
        assert_eq!(status.verdict, Some(Verdict::Inconclusive));
        assert_eq!(
            (reason(&cluster, "Failed"), reason(&cluster, "Isolated")),
            ("IsolationNotEnforced".into(), why.into())
        );
        assert!(
            message(&cluster, "Failed").ends_with("Production is not touched"),
            "{}",
            message(&cluster, "Failed")
        );
        assert!(cluster.log.scaled.is_empty());
        assert!(!cluster.log.jobs.iter().any(|job| job.contains("-objects-")), "{:?}", cluster.log.jobs);
        assert!(status.left_as.is_none() && status.next_actions.is_empty());
        swept(&cluster);
    }
}

/// A ChromaDB that answers, and has fewer records than its point.
fn short_of_records() -> JobState {
    let counts = crds::job::CheckResult {
        name: "counts".into(),
        verdict: Verdict::Failed,
        expected: "1200".into(),
        observed: "1199".into(),
    };
    JobState::Ended(Report::Validated { checks: vec![counts] })
}

#[test]
fn one_that_fails_is_kept_for_inspection_as_long_as_it_says_and_then_removed() {
    let mut cluster = of(serde_json::json!({"sandbox": {"keepOnFailure": "24h"}}));
    cluster.answers.insert("Validate/chromadb", vec![short_of_records()]);
    for _ in 0..400 {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!(
        (state(&cluster), reason(&cluster, "SandboxCleaned")),
        (Some(SandboxState::Kept), "KeptForInspection".into())
    );
    let told = message(&cluster, "SandboxCleaned");
    assert!(told.contains("remove it now: kubectl delete hfrun db-1 -n arxiv"), "{told}");
    assert!(cluster.seen.run.finalizer && cluster.seen.sandbox.namespace.is_some());
    assert!(cluster.seen.pods.iter().any(|pod| pod.name == "chromadb-0"), "there is nothing to look at");
    let early = cluster.clone();
    cluster.seen.now += SignedDuration::from_hours(24);
    cluster.run(1);
    assert_eq!(cluster.status().verdict, Some(Verdict::Failed));
    swept(&cluster);

    let mut by_hand = early.clone();
    by_hand.seen.sandbox.namespace.as_mut().unwrap().deleting = true;
    by_hand.run(1);
    swept(&by_hand);

    let mut cluster = early;
    cluster.seen.run.deleting = true;
    for _ in 0..100 {
        cluster.reconcile(1);
        cluster.settle();
    }
    swept(&cluster);
}

#[test]
fn cancelled_or_deleted_or_out_of_time_after_any_write_it_leaves_nothing() {
    for how in ["cancelled", "deleted", "late"] {
        for when in (0..170).step_by(if how == "late" { 3 } else { 1 }) {
            let mut cluster = rehearsal();
            for _ in 0..when {
                if cluster.reconcile(1) == 0 && !cluster.settle() {
                    break;
                }
            }
            let ended = ended(cluster.status());
            match how {
                "cancelled" => cluster.seen.run.spec.desired_state = DesiredState::Cancelled,
                "deleted" => cluster.seen.run.deleting = true,
                _ => cluster.seen.now += SignedDuration::from_hours(9),
            }
            for _ in 0..400 {
                let still = cluster.reconcile(1) == 0 && !cluster.settle();
                if still && !cluster.seen.run.finalizer {
                    break;
                }
                cluster.seen.now += SignedDuration::from_millis(250);
            }
            assert!(!cluster.seen.run.finalizer, "{how} {when}: the run stays for ever");
            let seen = &cluster.seen;
            assert!(seen.sandbox.namespace.is_none(), "{how} {when}");
            assert!(
                seen.claims.is_empty() && seen.volumes.is_empty(),
                "{how} {when}: {:?} {:?}",
                seen.claims.keys(),
                seen.volumes
            );
            if how == "cancelled" && !ended {
                assert_eq!(phase(&cluster), Some(RunPhase::Cancelled), "{when}");
            }
        }
    }
}

#[test]
fn what_runs_left_behind_is_swept_at_the_next_start_and_a_namespace_of_somebody_else_is_let_be() {
    let mut cluster = rehearsal();
    cluster.seen.sandbox.leftovers = vec![("arxiv-drill-old".into(), "uid-old".into())];
    cluster.run(1);
    passed(&cluster);
    assert!(cluster.seen.sandbox.leftovers.is_empty());

    let mut cluster = rehearsal();
    let theirs = NamespaceSeen { uid: "theirs".into(), ours: false, deleting: false };
    cluster.seen.sandbox.namespace = Some(theirs.clone());
    for _ in 0..200 {
        cluster.reconcile(1);
        cluster.settle();
    }
    assert_eq!(cluster.seen.sandbox.namespace, Some(theirs));
    assert!(
        message(&cluster, "Failed").contains("was not made by this run"),
        "{}",
        message(&cluster, "Failed")
    );
    assert_eq!(state(&cluster), Some(SandboxState::Cleaned));
}

#[test]
fn a_removal_that_takes_too_long_is_told_with_what_is_left_and_goes_on() {
    let mut cluster = rehearsal();
    while state(&cluster) != Some(SandboxState::Removing) {
        cluster.reconcile(1);
        cluster.settle();
    }
    for _ in 0..20 {
        cluster.reconcile(1);
    }
    cluster.seen.now += SignedDuration::from_mins(6);
    cluster.reconcile(20);
    assert_eq!(reason(&cluster, "SandboxCleaned"), "CleanupFailed");
    let told = message(&cluster, "SandboxCleaned");
    assert!(told.contains("namespace arxiv-drill-") && told.contains("after 5 minutes"), "{told}");
    cluster.run(1);
    passed(&cluster);
}

#[test]
fn who_is_rehearsed_comes_with_what_it_needs_and_nobody_else() {
    use crate::recovery::{Member, scope};
    let seen = arxiv();
    let of = |policies: serde_json::Value| {
        let spec = spec(serde_json::json!({
            "scenario": "CompleteFailure", "policies": policies, "target": {"sandbox": {}},
        }));
        let members = scope((&spec, &[]), &seen.policies, &[]);
        members.into_iter().map(|Member { policy, role }| (policy, role)).collect::<Vec<_>>()
    };
    use crate::recovery::seen::Role::Restored;
    assert_eq!(
        of(serde_json::json!([{"name": "scholar"}])),
        [("chromadb".to_owned(), Restored), ("scholar".to_owned(), Restored)]
    );
    assert_eq!(of(serde_json::json!([{"name": "chromadb"}])), [("chromadb".to_owned(), Restored)]);
    assert_eq!(of(serde_json::Value::Null).len(), 3);
}

#[test]
fn checks_that_need_production_or_a_person_are_left_out_and_said_to_be() {
    let mut cluster = rehearsal();
    let check = |value: serde_json::Value| serde_json::from_value(value).unwrap();
    let checks = vec![
        check(serde_json::json!({"name": "read", "manual": {"expected": "somebody read it"}})),
        check(serde_json::json!({"name": "pipeline", "job": {"cronJobRef": {"name": "selftest"}}})),
        check(
            serde_json::json!({"name": "answers", "http": {"serviceRef": {"name": "scholar"}, "path": "/"}}),
        ),
    ];
    cluster.recorded.components[1].checks = checks.clone();
    cluster.seen.components[1].checks = checks;
    cluster.seen.services.insert("scholar".into(), vec![80]);
    cluster.run(1);
    passed(&cluster);
    let verdict =
        |name: &str| cluster.status().checks.iter().find(|line| line.name == name).map(|line| line.verdict);
    assert_eq!(verdict("scholar/read"), Some(Verdict::Skipped));
    assert_eq!(verdict("scholar/pipeline"), Some(Verdict::Skipped));
    assert_eq!(verdict("scholar/answers"), Some(Verdict::Passed));
    let asked = cluster.status().checks.iter().find(|line| line.name == "scholar/answers").unwrap();
    assert!(
        asked.observed.contains(&format!("http://scholar.{}.svc:80/", cluster.seen.home())),
        "{}",
        asked.observed
    );
}

#[test]
fn an_outage_is_rehearsed_with_offline_mode_entered_validated_in_and_left() {
    let cluster = |answers: bool| {
        let mut cluster = of(serde_json::json!({"sandbox": {}}));
        cluster.seen.run.spec = serde_json::from_value(serde_json::json!({
            "scenario": "NetworkFailure", "target": {"sandbox": {}},
        }))
        .unwrap();
        network::offline_scholar(&mut cluster);
        let endpoints = cluster.seen.components[1].offline.as_ref().unwrap().endpoints.clone();
        cluster.answers.insert("Diagnose/scholar", vec![JobState::Ended(network::seen(&endpoints, answers))]);
        cluster
    };
    let mut outage = cluster(false);
    outage.run(1);
    assert_eq!(outage.status().verdict, Some(Verdict::Passed), "{}", message(&outage, "Ready"));
    swept(&outage);
    let names: Vec<&str> = outage.status().steps.iter().map(|step| step.name.as_str()).collect();
    let at = |name: &str| names.iter().position(|known| *known == name);
    assert!(at("Start/scholar") < at("EnterOffline/scholar"), "{names:?}");
    assert!(at("EnterOffline/scholar") < at("Validate/scholar"), "{names:?}");
    assert!(at("Validate/scholar") < at("LeaveOffline/scholar"), "{names:?}");
    assert!(
        at("Validate/chromadb").is_some()
            && at("Diagnose/chromadb").is_none()
            && at("Start/mailer").is_none()
    );
    let set: Vec<&String> =
        outage.log.marks.iter().filter(|mark| mark.starts_with("OFFLINE_MODE=")).collect();
    assert_eq!(set, ["OFFLINE_MODE=true", "OFFLINE_MODE=false"]);

    let mut leak = cluster(true);
    leak.run(1);
    assert_eq!(leak.status().verdict, Some(Verdict::Inconclusive));
    assert_eq!(reason(&leak, "Failed"), "IsolationNotEnforced");
    swept(&leak);
}
