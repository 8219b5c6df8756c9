//! Runs about the network: offline mode is entered and left, and whatever happens in between, what was taken is given back as it was.

use crds::job::{Diagnosed, EndpointSeen};
use crds::policy::{Endpoint, OfflineMode, Restart};
use crds::reference::{NameRef, WorkloadKind};
use crds::run::{DesiredState, EndpointState, OfflineState, RunMode, Scenario};
use jiff::SignedDuration;

use super::*;
use crate::recovery::seen::{OtherRun, Role, SwitchSeen};

/// What a mover says that sees all answer, or none.
pub(super) fn seen(endpoints: &[Endpoint], answers: bool) -> Report {
    let message = if answers { "connected in 8ms" } else { "the name does not resolve: try again" };
    let one = EndpointSeen { answers, addresses: Vec::new(), message: message.into() };
    Report::Diagnosed(Diagnosed {
        endpoints: vec![one; endpoints.len()],
        interfaces: vec!["eth0 up 10.244.0.12".into()],
        routes: vec!["default via 10.244.0.1 dev eth0".into()],
    })
}

fn mode(restart: Restart) -> OfflineMode {
    serde_json::from_value(serde_json::json!({
        "endpoints": [{"host": "export.arxiv.org", "port": 443}, {"host": "api.arxiv.org", "port": 443}],
        "switch": {"configMapRef": {"name": "scholar-config"}, "key": "OFFLINE_MODE", "online": "false", "offline": "true"},
        "suspend": [{"kind": "CronJob", "name": "fetch"}], "restart": restart,
    }))
    .unwrap()
}

fn silent(times: usize) -> Vec<JobState> {
    vec![JobState::Ended(seen(&mode(Restart::NotRequired).endpoints, false)); times]
}

fn good() -> JobState {
    JobState::Ended(seen(&mode(Restart::NotRequired).endpoints, true))
}

/// A scholar with an offline mode, beside a ChromaDB that has none, and what its movers see, one look after the other; then all answers.
fn outage(restart: Restart, looks: Vec<JobState>) -> Cluster {
    let mut seen = arxiv();
    seen.run.spec = serde_json::from_value(serde_json::json!({"scenario": "NetworkFailure"})).unwrap();
    seen.policies.iter_mut().for_each(|policy| policy.offline = policy.name == "scholar");
    seen.components.retain(|component| component.policy == "scholar");
    let scholar = &mut seen.components[0];
    (scholar.role, scholar.offline) = (Role::Offline, Some(mode(restart)));
    seen.offline.workloads = scholar.workloads.clone();
    let values = [("OFFLINE_MODE", "false"), ("OTHER", "kept")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let map = SwitchSeen { resource_version: "1".into(), labelled: true, values: values.into() };
    seen.offline.switches.insert("scholar-config".into(), map);
    let mut cluster = Cluster::of(seen);
    cluster.answers.insert("Diagnose/scholar", looks);
    cluster
}

/// Gives the scholar an offline mode, in what its points hold as well.
pub(super) fn offline_scholar(cluster: &mut Cluster) {
    cluster.seen.policies.iter_mut().for_each(|policy| policy.offline = policy.name == "scholar");
    for world in [&mut cluster.seen, &mut cluster.recorded] {
        world.components.retain(|component| component.policy != "mailer");
        world.components[1].offline = Some(mode(Restart::Required));
    }
    let recorded = &cluster.recorded.components[1].workloads;
    cluster.seen.offline.workloads = recorded.clone();
    let values = [("OFFLINE_MODE".to_owned(), "false".to_owned())];
    let map = SwitchSeen { resource_version: "1".into(), labelled: true, values: values.into() };
    cluster.seen.offline.switches.insert("scholar-config".into(), map);
}

/// Silent at first, it comes back once in between.
fn flapping() -> Vec<JobState> {
    let mut looks = silent(2);
    looks.push(good());
    looks.extend(silent(1));
    looks
}

fn value(cluster: &Cluster) -> &str {
    &cluster.seen.offline.switches["scholar-config"].values["OFFLINE_MODE"]
}

fn replicas_of(cluster: &Cluster, name: &str) -> i32 {
    let mut all = cluster.seen.components.iter().flat_map(|component| &component.workloads);
    all.find(|seen| seen.workload.name == name).unwrap().replicas
}

/// What the scholar works with, if it reads the switch at its start.
fn reads_now(cluster: &Cluster) -> &str {
    cluster.read.get("scholar-0").map_or("false", String::as_str)
}

/// One round of the controller and of the cluster's own. Where nothing moves, it is as late as the plan wants to look again.
fn round(cluster: &mut Cluster, writes: usize) -> bool {
    let wrote = cluster.reconcile(writes);
    let moved = cluster.settle();
    if value(cluster) == "true" {
        let known = &cluster.status().offline[0];
        assert_eq!(known.switch.as_ref().unwrap().before, "false", "taken before it was remembered");
        assert!(cluster.seen.run.finalizer || ended(cluster.status()));
        let reads = !known.readers.is_empty() && known.state == OfflineState::Offline;
        assert!(!reads || reads_now(cluster) == "true", "it was not restarted");
    }
    if wrote == 0 && !moved {
        if ended(cluster.status()) {
            return false;
        }
        match cluster.plan().next {
            Next::At(at) => cluster.seen.now = at.max(cluster.seen.now),
            Next::OnChange => panic!("nobody looks again: {:#?}", cluster.status().steps),
        }
    }
    cluster.seen.now += SignedDuration::from_millis(250);
    true
}

fn play(cluster: &mut Cluster, writes: usize) {
    for _ in 0..3000 {
        if !round(cluster, writes) {
            return;
        }
    }
    panic!("no end: {:#?}", cluster.status());
}

/// As it was before the run.
fn given_back(cluster: &Cluster) {
    assert_eq!(value(cluster), "false");
    assert_eq!(cluster.seen.offline.switches["scholar-config"].values["OTHER"], "kept");
    assert_eq!((replicas_of(cluster, "fetch"), replicas_of(cluster, "scholar")), (1, 1));
    assert!(!cluster.seen.run.finalizer && cluster.seen.jobs.is_empty());
    assert_eq!(reads_now(cluster), "false", "it was not restarted");
}

const RESTARTS: [Restart; 2] = [Restart::NotRequired, Restart::Required];

#[test]
fn where_everything_answers_nothing_is_changed() {
    let mut cluster = outage(Restart::Required, Vec::new());
    play(&mut cluster, 1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    given_back(&cluster);
    assert_eq!(reason(&cluster, "OfflineMode"), "NotNeeded");
    assert!(cluster.log.scaled.is_empty() && cluster.log.jobs.len() == 1);
    let steps: Vec<_> = cluster.status().steps.iter().map(|step| (step.name.as_str(), step.phase)).collect();
    let (done, skipped) = (StepPhase::Done, StepPhase::Skipped);
    assert_eq!(
        steps,
        [
            ("Assess", done),
            ("Diagnose/scholar", done),
            ("EnterOffline/scholar", skipped),
            ("Watch/scholar", skipped),
            ("LeaveOffline/scholar", skipped),
            ("Report", done)
        ]
    );
    assert!(
        cluster.status().steps[0].message.contains("without an offline mode: chromadb, mailer"),
        "{:?}",
        cluster.status().steps[0]
    );
    assert!(cluster.status().measured.is_empty());
}

#[test]
fn a_component_works_offline_until_all_that_it_needs_answers_twice_in_a_row() {
    for restart in RESTARTS {
        let mut cluster = outage(restart, flapping());
        // Time goes on with each write.
        play(&mut cluster, 1);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
        given_back(&cluster);
        let status = cluster.status();
        let watch = status.steps.iter().find(|step| step.name == "Watch/scholar").unwrap();
        assert_eq!(watch.attempts, 5, "silent, once there, silent, twice there");
        assert!(watch.message.contains("all 2 endpoints answer, twice in a row"), "{}", watch.message);
        let known = &status.offline[0];
        assert_eq!(known.state, OfflineState::Online);
        assert!(known.endpoints.iter().all(|endpoint| endpoint.state == EndpointState::Answers));
        assert_eq!(reason(&cluster, "OfflineMode"), "Left");
        let switched: Vec<&String> =
            cluster.log.marks.iter().filter(|mark| mark.starts_with("OFFLINE")).collect();
        assert_eq!(switched, ["OFFLINE_MODE=true", "OFFLINE_MODE=false"]);
        let scaled = |name: &str| -> Vec<i32> {
            cluster.log.scaled.iter().filter(|(n, _)| n == name).map(|(_, replicas)| *replicas).collect()
        };
        assert_eq!(scaled("fetch"), [0, 1]);
        let both = [0, 1, 0, 1];
        assert_eq!(scaled("scholar"), if restart == Restart::Required { &both[..] } else { &[] });
        // Until it works offline, not until the network is back; and nothing of points.
        let measured = &status.measured[0];
        assert_eq!((measured.rpo.as_ref(), status.display.as_ref().unwrap().rpo.as_ref()), (None, None));
        let objectives = status.objectives.as_ref().unwrap();
        assert_eq!((objectives.scenario.rpo, objectives.scenario.rto), (None, crds::Span::from_hours(1)));
        assert_eq!(reason(&cluster, "ObjectivesMet"), "Met");
        let sum: i64 = measured.breakdown.iter().map(|part| part.millis).sum();
        assert!(
            sum < 60_000 && measured.breakdown.iter().any(|part| part.part == "diagnose"),
            "{measured:?}"
        );
        assert!(
            message(&cluster, "Ready").contains("scholar was offline for"),
            "{}",
            message(&cluster, "Ready")
        );
    }
}

#[test]
fn a_pause_between_two_looks_grows_and_is_bounded() {
    let mut cluster = outage(Restart::NotRequired, silent(12));
    let mut made = Vec::new();
    while round(&mut cluster, 1000) {
        made.resize(cluster.log.jobs.len(), cluster.seen.now);
    }
    let pauses: Vec<i64> = made[1..].windows(2).map(|two| two[1].duration_since(two[0]).as_secs()).collect();
    assert_eq!(pauses[..4], [15, 30, 60, 120], "{pauses:?}");
    assert!(pauses.iter().all(|pause| (15..=122).contains(pause)), "{pauses:?}");
}

#[test]
fn i5_killed_after_any_number_of_writes_it_reaches_the_same_end() {
    for restart in RESTARTS {
        for writes in 1..25 {
            let mut cluster = outage(restart, flapping());
            play(&mut cluster, writes);
            assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{writes}");
            given_back(&cluster);
            let mut jobs = cluster.log.jobs.clone();
            jobs.sort();
            jobs.dedup();
            assert_eq!((jobs.len(), cluster.log.jobs.len()), (6, 6), "a Job ran twice");
            assert_eq!(cluster.log.marks.iter().filter(|mark| *mark == "SetSwitch").count(), 2);
        }
    }
}

/// A cluster for every moment of a run, each a write later than the one before.
fn moments(restart: Restart) -> Vec<Cluster> {
    let mut cluster = outage(restart, flapping());
    let mut all = vec![cluster.clone()];
    while round(&mut cluster, 1) {
        all.push(cluster.clone());
    }
    assert!(all.len() > 30, "{}", all.len());
    all
}

#[test]
fn i6_a_controller_of_the_next_term_goes_on_and_one_of_an_older_term_does_nothing() {
    for restart in RESTARTS {
        for mut cluster in moments(restart) {
            let mut late = cluster.seen.clone();
            cluster.seen.epoch = 2;
            play(&mut cluster, 1000);
            assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
            given_back(&cluster);
            late.run.status.clone_from(cluster.status());
            assert!(plan(&late).effects.is_empty(), "a controller of an older term acts");
        }
    }
}

#[test]
fn cancelled_at_any_moment_it_gives_everything_back() {
    for restart in RESTARTS {
        let mut ends = std::collections::BTreeSet::new();
        for mut cluster in moments(restart) {
            cluster.seen.run.spec.desired_state = DesiredState::Cancelled;
            play(&mut cluster, 1);
            given_back(&cluster);
            ends.insert(format!("{:?}", phase(&cluster).unwrap()));
            assert!(cluster.status().offline.iter().all(|known| known.restart.is_none()));
            assert_ne!(reason(&cluster, "OfflineMode"), "Entered");
        }
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["Cancelled", "Succeeded"]);
    }
}

#[test]
fn deleted_at_any_moment_it_goes_only_when_everything_is_given_back() {
    for restart in RESTARTS {
        for mut cluster in moments(restart) {
            let jobs = cluster.log.jobs.len();
            cluster.seen.run.deleting = true;
            for _ in 0..60 {
                if !cluster.seen.run.finalizer {
                    break;
                }
                cluster.reconcile(1);
                cluster.settle();
            }
            assert!(!cluster.seen.run.finalizer, "the run stays for ever");
            cluster.settle();
            assert_eq!((value(&cluster), cluster.log.jobs.len()), ("false", jobs));
            assert_eq!(reads_now(&cluster), "false", "it was not restarted");
            assert_eq!((replicas_of(&cluster, "fetch"), replicas_of(&cluster, "scholar")), (1, 1));
        }
    }
}

#[test]
fn what_somebody_else_sets_meanwhile_is_left_as_it_is() {
    for restart in RESTARTS {
        for mut cluster in moments(restart) {
            let before = ended(cluster.status());
            let map = cluster.seen.offline.switches.get_mut("scholar-config").unwrap();
            map.values.insert("OFFLINE_MODE".into(), "maintenance".into());
            map.resource_version = "theirs".into();
            play(&mut cluster, 1);
            assert_eq!(value(&cluster), "maintenance");
            assert_eq!((replicas_of(&cluster, "fetch"), replicas_of(&cluster, "scholar")), (1, 1));
            let known = cluster.status().offline.first();
            if known.is_some_and(|known| known.switch.is_some()) && !before {
                let leave =
                    cluster.status().steps.iter().find(|step| step.name.starts_with("Leave")).unwrap();
                let said = leave.message.contains("was changed by somebody meanwhile");
                assert!(said || leave.message.contains("again"), "{}", leave.message);
            }
        }
    }
}

#[test]
fn past_its_deadline_it_stays_offline_and_says_how_it_is_left() {
    for restart in RESTARTS {
        for mut cluster in moments(restart) {
            if ended(cluster.status()) {
                continue;
            }
            cluster.seen.now += SignedDuration::from_hours(25);
            let begun =
                cluster.status().offline.first().is_some_and(|known| known.state == OfflineState::Offline);
            play(&mut cluster, 1);
            assert_eq!(replicas_of(&cluster, "scholar"), 1, "it was left stopped");
            if begun && phase(&cluster) == Some(RunPhase::Failed) {
                assert_eq!(reason(&cluster, "Failed"), "DeadlineExceeded");
                assert_eq!((value(&cluster), replicas_of(&cluster, "fetch")), ("true", 0));
                assert_eq!(reason(&cluster, "OfflineMode"), "Entered");
                assert!(
                    message(&cluster, "Failed").contains("Still offline"),
                    "{}",
                    message(&cluster, "Failed")
                );
                let typed: Vec<&str> =
                    cluster.status().next_actions.iter().map(|a| a.command.as_str()).collect();
                assert_eq!(
                    typed[..2],
                    [
                        r#"kubectl patch configmap scholar-config -n arxiv --type=merge -p '{"data":{"OFFLINE_MODE":"false"}}'"#,
                        r#"kubectl patch cronjob fetch -n arxiv -p '{"spec":{"suspend":false}}'"#
                    ]
                );
                assert!(!cluster.seen.run.finalizer, "it is over");
            }
        }
    }
}

#[test]
fn a_day_passes_before_a_long_outage_is_a_failure() {
    let mut cluster = outage(Restart::NotRequired, silent(300));
    let begun = cluster.seen.now;
    play(&mut cluster, 1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    assert!(cluster.seen.now.duration_since(begun).as_hours() >= 9);
    given_back(&cluster);
}

#[test]
fn where_nobody_can_look_offline_mode_is_entered_as_it_was_declared() {
    let mut looks = vec![JobState::Silent { why: "the image can't be pulled".into() }; 3];
    looks.extend(silent(1));
    looks.push(JobState::Silent { why: "evicted".into() });
    looks.push(failed(FailureReason::InvalidRequest));
    let mut cluster = outage(Restart::NotRequired, looks);
    play(&mut cluster, 1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let diagnose = &cluster.status().steps[1];
    assert!(diagnose.message.contains("nothing could be seen"), "{}", diagnose.message);
    assert!(cluster.status().offline[0].entered.is_some());
    given_back(&cluster);
}

#[test]
fn a_switch_that_is_none_is_not_touched_and_said() {
    type Change = fn(&mut Observed);
    let cases: [(&str, Change); 4] = [
        ("does not carry the label", |seen| {
            seen.offline.switches.get_mut("scholar-config").unwrap().labelled = false;
        }),
        ("does not exist", |seen| seen.offline.switches.clear()),
        ("is neither \"false\" nor \"true\"", |seen| {
            let map = seen.offline.switches.get_mut("scholar-config").unwrap();
            map.values.insert("OFFLINE_MODE".into(), "no".into());
        }),
        ("has no key OFFLINE_MODE", |seen| {
            seen.offline.switches.get_mut("scholar-config").unwrap().values.remove("OFFLINE_MODE");
        }),
    ];
    for (said, change) in cases {
        let mut cluster = outage(Restart::Required, silent(3));
        change(&mut cluster.seen);
        for _ in 0..60 {
            cluster.reconcile(1000);
            cluster.settle();
        }
        assert_eq!(reason(&cluster, "Failed"), "OfflineSwitchUnusable");
        assert!(message(&cluster, "Failed").contains(said), "{}", message(&cluster, "Failed"));
        assert!(cluster.log.scaled.is_empty() && !cluster.log.marks.contains(&"SetSwitch".to_owned()));
    }
    // Whoever set it by hand sets it back.
    let mut cluster = outage(Restart::Required, silent(3));
    let map = cluster.seen.offline.switches.get_mut("scholar-config").unwrap();
    map.values.insert("OFFLINE_MODE".into(), "true".into());
    for _ in 0..600 {
        cluster.reconcile(1000);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_secs(1);
    }
    assert_eq!((phase(&cluster), value(&cluster)), (Some(RunPhase::Succeeded), "true"));
    assert_eq!((replicas_of(&cluster, "fetch"), replicas_of(&cluster, "scholar")), (1, 1));
}

#[test]
fn a_restart_that_would_lose_claims_is_refused_before_anything_is_changed() {
    let mut cluster = outage(Restart::Required, silent(3));
    let scholar = &mut cluster.seen.components[0].workloads[0];
    (scholar.deletes_claims, scholar.workload.kind) = (true, WorkloadKind::StatefulSet);
    for _ in 0..60 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert!(message(&cluster, "Failed").contains("whenScaled"), "{}", message(&cluster, "Failed"));
    assert_eq!(value(&cluster), "false");
    assert!(cluster.log.scaled.is_empty());
}

#[test]
fn a_component_that_does_not_get_ready_without_the_network_is_watched_all_the_same() {
    let mut cluster = outage(Restart::Required, flapping());
    while cluster.status().offline.first().is_none_or(|known| known.restart.is_none()) {
        round(&mut cluster, 1);
    }
    let mut rounds = 0;
    while cluster.status().offline[0].state == OfflineState::Entering {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.offline.workloads.iter_mut().for_each(|workload| workload.ready = 0);
        cluster.seen.now += SignedDuration::from_secs(5);
        rounds += 1;
    }
    assert!((60..80).contains(&rounds), "{rounds}");
    let enter = cluster.status().steps.iter().find(|step| step.name == "EnterOffline/scholar").unwrap();
    assert!(enter.message.contains("scholar was started and is not ready"), "{}", enter.message);
    play(&mut cluster, 1);
    given_back(&cluster);
}

#[test]
fn a_pod_that_never_goes_keeps_neither_the_component_stopped_nor_the_run() {
    let mut cluster = outage(Restart::Required, silent(500));
    while cluster.status().offline.first().is_none_or(|known| known.state != OfflineState::Offline) {
        round(&mut cluster, 1);
    }
    cluster.seen.run.deleting = true;
    for _ in 0..100 {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.offline.workloads.iter_mut().for_each(|workload| workload.pods = Some(1));
        cluster.seen.now += SignedDuration::from_secs(5);
    }
    assert!(!cluster.seen.run.finalizer, "the run stays for ever");
    assert_eq!((value(&cluster), replicas_of(&cluster, "scholar")), ("false", 1));
}

#[test]
fn beside_a_recovery_of_the_component_nothing_of_it_is_started() {
    let rival = |network| OtherRun {
        name: "db-2".into(),
        created: at("2026-11-23T09:40:00Z"),
        policies: vec!["scholar".into()],
        begun: true,
        network,
    };
    let mut cluster = outage(Restart::NotRequired, flapping());
    while cluster
        .status()
        .steps
        .iter()
        .all(|step| step.name != "Watch/scholar" || step.phase != StepPhase::Running)
    {
        round(&mut cluster, 1);
    }
    cluster.seen.others = vec![rival(false)];
    for _ in 0..2000 {
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += SignedDuration::from_secs(1);
    }
    let leave = cluster.status().steps.iter().find(|step| step.name == "LeaveOffline/scholar").unwrap();
    assert!(leave.message.contains("waits until db-2 has ended"), "{leave:?}");
    assert_eq!((value(&cluster), replicas_of(&cluster, "fetch")), ("true", 0));
    cluster.seen.others.clear();
    play(&mut cluster, 1);
    given_back(&cluster);

    // And it keeps no recovery waiting, but another of its kind.
    let mut recovery = Cluster::new();
    recovery.seen.others = vec![OtherRun { policies: vec!["chromadb".into()], ..rival(true) }];
    recovery.run(1000);
    recovered(&recovery);
    let mut second = outage(Restart::NotRequired, Vec::new());
    second.seen.others = vec![rival(true)];
    second.reconcile(1000);
    assert_eq!(reason(&second, "Reconciling"), "WaitingForRun");
}

#[test]
fn what_has_no_offline_mode_is_not_concerned() {
    let mut cluster = outage(Restart::NotRequired, Vec::new());
    cluster.seen.components.clear();
    cluster.seen.run.spec.policies = Some(vec![NameRef::new("chromadb")]);
    cluster.reconcile(1000);
    assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
    assert!(message(&cluster, "Failed").contains("no component has an offline mode: chromadb"));

    let spec = |policies: serde_json::Value| -> crds::run::RecoveryRunSpec {
        serde_json::from_value(
            serde_json::json!({"scenario": Scenario::NetworkFailure, "policies": policies}),
        )
        .unwrap()
    };
    let policies = outage(Restart::NotRequired, Vec::new()).seen.policies;
    for asked in [serde_json::Value::Null, serde_json::json!([{"name": "chromadb"}, {"name": "scholar"}])] {
        let members = scope((&spec(asked), &[]), &policies, &[]);
        assert_eq!(members, [Member { policy: "scholar".into(), role: Role::Offline }]);
    }
}

#[test]
fn a_dry_run_says_what_would_be_changed_and_changes_nothing() {
    let mut cluster = outage(Restart::Required, silent(1));
    cluster.seen.run.spec.mode = RunMode::DryRun;
    cluster.reconcile(1000);
    assert_eq!(phase(&cluster), Some(RunPhase::Planned));
    let enter = cluster.status().steps.iter().find(|step| step.name == "EnterOffline/scholar").unwrap();
    assert_eq!(
        enter.message,
        "unless all answer, set OFFLINE_MODE of ConfigMap scholar-config to \"true\", suspend CronJob fetch, restart what reads it; undo: give back"
    );
    assert!(cluster.log.marks.is_empty());
}
