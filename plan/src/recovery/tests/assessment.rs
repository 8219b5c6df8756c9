//! What is seen before anything is touched, and that looking touches nothing.

use crds::job::{CheckResult, Diagnosed, EndpointSeen, Report};
use crds::run::{Assessed, Health};

use super::*;
use crate::recovery::assessment::{assess, summary};
use crate::recovery::seen::{NodeSeen, NodeUsage, PodLook, PointState, Surroundings, Warning};

fn node(name: &str, ready: Option<bool>, pressures: &[&str]) -> NodeSeen {
    let pressures = pressures.iter().map(|pressure| (*pressure).to_owned()).collect();
    NodeSeen { name: name.into(), ready, cordoned: false, pressures }
}

fn used(name: &str, cpu: &str) -> NodeUsage {
    NodeUsage {
        name: name.into(),
        cpu: cpu.into(),
        memory: "500Mi".into(),
        allocatable_cpu: "2".into(),
        allocatable_memory: "1000Mi".into(),
    }
}

fn healthy() -> Observed {
    let mut seen = arxiv();
    let pod = |name: &str| PodLook {
        name: name.into(),
        phase: "Running".into(),
        ready: true,
        restarts: 0,
        waiting: None,
        of_job: false,
    };
    seen.surroundings = Some(Surroundings {
        nodes: Some(vec![node("n1", Some(true), &[]), node("n2", Some(true), &[])]),
        pods: vec![pod("chromadb-0"), pod("scholar-0")],
        endpoints: [("chromadb".to_owned(), 1)].into(),
        warnings: Vec::new(),
        config_maps: [("scholar-config".to_owned(), true)].into(),
        secrets: vec!["scholar-env".into()],
        repositories: [("primary".to_owned(), Ok(()))].into(),
    });
    seen.usage = Some(Ok(vec![used("n1", "400m"), used("n2", "1200m")]));
    for (number, point) in seen.points.iter_mut().enumerate() {
        point.consistency_time = Some(seen.now - jiff::SignedDuration::from_mins(number as i64 + 1));
        point.state = PointState::Available;
    }
    seen
}

fn bad(seen: &Observed) -> Vec<String> {
    let lines = assess(seen, seen.now);
    let bad = lines.into_iter().filter(|line| line.state == Health::Bad);
    bad.map(|line| format!("{}: {}", line.subject, line.observed)).collect()
}

/// What is seen after this happened.
fn after(change: impl Fn(&mut Observed, &mut Surroundings)) -> Vec<String> {
    let mut seen = healthy();
    let mut around = seen.surroundings.take().unwrap();
    change(&mut seen, &mut around);
    seen.surroundings = Some(around);
    bad(&seen)
}

#[test]
fn where_all_is_well_nothing_is_bad_and_what_can_not_be_told_is_unknown() {
    let seen = healthy();
    assert_eq!(bad(&seen), Vec::<String>::new());
    let lines = assess(&seen, seen.now);
    let unknown: Vec<&str> =
        lines.iter().filter(|line| line.state == Health::Unknown).map(|line| line.subject.as_str()).collect();
    assert_eq!(unknown, ["resources/volumes", "secrets"]);
    for subject in [
        "nodes",
        "statefulset/chromadb",
        "deployment/scholar",
        "cronjob/fetch",
        "persistentvolumeclaim/scholar-state",
        "points/chromadb",
        "service/chromadb",
        "configmap/scholar-config",
        "recoveryrepository/primary",
        "resources/cpu",
        "resources/memory",
    ] {
        assert!(
            lines.iter().any(|line| line.subject == subject && line.state == Health::Good),
            "{subject}: {lines:?}"
        );
    }
    assert!(summary(&lines).ends_with("0 bad, 2 unknown"), "{}", summary(&lines));
}

#[test]
fn everything_that_is_wrong_has_a_line_of_its_own() {
    type Change = fn(&mut Observed, &mut Surroundings);
    let cases: [(Change, &str); 17] = [
        (|s, _| s.usage = Some(Ok(vec![used("n1", "1700m")])), "resources/cpu: 85% of n1"),
        (|_, a| a.nodes = Some(vec![node("n1", Some(false), &[])]), "node/n1: NotReady"),
        (
            |_, a| a.nodes = Some(vec![node("n1", None, &[])]),
            "node/n1: it does not answer: what its pods do is unknown",
        ),
        (|_, a| a.nodes = Some(vec![node("n1", Some(true), &["DiskPressure"])]), "node/n1: DiskPressure"),
        (|s, _| s.components[0].workloads[0].ready = 0, "statefulset/chromadb: 0 of 1 ready"),
        (
            |s, _| {
                let gone = s.components[1].workloads.remove(0);
                s.components[1].missing.push(gone.workload);
            },
            "deployment/scholar: it does not exist",
        ),
        (
            |s, _| {
                s.claims.remove("scholar-state");
            },
            "persistentvolumeclaim/scholar-state: it does not exist",
        ),
        (
            |s, _| s.claims.get_mut(CLAIM).unwrap().bound = false,
            "persistentvolumeclaim/data-chromadb-0: it is bound to no volume",
        ),
        (|s, _| s.points.clear(), "points/chromadb: none is Available: nothing could be restored"),
        (
            |s, _| {
                let old = s.now - jiff::SignedDuration::from_mins(31);
                s.points.iter_mut().for_each(|point| point.consistency_time = Some(old));
            },
            "points/chromadb: p3 is 31m old, RPO 30m",
        ),
        (
            |_, a| a.pods[0].waiting = Some("CrashLoopBackOff: back-off 10s".into()),
            "pod/chromadb-0: CrashLoopBackOff: back-off 10s",
        ),
        (
            |_, a| (a.pods[0].ready, a.pods[0].restarts) = (false, 3),
            "pod/chromadb-0: Running, not ready, 3 restarts",
        ),
        (|_, a| a.pods[0].phase = "Failed".into(), "pod/chromadb-0: Failed"),
        (
            |_, a| {
                a.endpoints.insert("chromadb".into(), 0);
            },
            "service/chromadb: 0 ready endpoints",
        ),
        (
            |_, a| {
                a.config_maps.insert("scholar-config".into(), false);
            },
            "configmap/scholar-config: it does not exist",
        ),
        (
            |_, a| {
                a.repositories.insert("primary".into(), Err("BucketUnreachable: no answer".into()));
            },
            "recoveryrepository/primary: BucketUnreachable: no answer",
        ),
        (
            |s, a| {
                a.warnings.push(Warning {
                    object: "pod/chromadb-0".into(),
                    reason: "BackOff".into(),
                    message: "back-off restarting failed container".into(),
                    last: s.now - jiff::SignedDuration::from_secs(90),
                });
            },
            "event/pod/chromadb-0/BackOff: 1m30s ago: back-off restarting failed container",
        ),
    ];
    for (change, told) in cases {
        let lines = after(change);
        assert!(lines.iter().any(|line| line == told), "{told}: {lines:?}");
    }
    let lost = after(|s, _| s.components[2].forgotten = true);
    assert!(lost[0].starts_with("backuppolicy/mailer: it does not exist"), "{lost:?}");
}

#[test]
fn what_can_not_be_listed_is_unknown_and_no_more_lines_than_fit_are_told_the_worst_first() {
    let mut seen = healthy();
    let around = seen.surroundings.as_mut().unwrap();
    around.nodes = None;
    around.config_maps = (0..200).map(|n| (format!("c{n}"), n == 7)).collect();
    let lines = assess(&seen, seen.now);
    assert_eq!(lines.len(), 64);
    assert!(lines[..63].iter().all(|line| line.state == Health::Bad), "{lines:?}");
    assert_eq!((lines[63].subject.as_str(), lines[63].state), ("more", Health::Unknown));
    let mut subjects: Vec<&str> = lines.iter().map(|line| line.subject.as_str()).collect();
    subjects.dedup();
    assert_eq!(subjects.len(), 64);
}

fn assessing() -> Cluster {
    let mut seen = healthy();
    seen.run.spec =
        spec(serde_json::json!({"scenario": "CompleteFailure", "mode": "Assess", "policies": null}));
    Cluster::of(seen)
}

#[test]
fn a_run_that_only_looks_asks_the_databases_and_touches_nothing_whenever_it_is_killed() {
    for writes in [1, 2, 1000] {
        let mut cluster = assessing();
        let before = cluster.seen.clone();
        cluster.run(writes);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
        assert_eq!(reason(&cluster, "Complete"), "Assessed");
        assert_eq!(cluster.log.marks, ["CreateJob/Assess", "CreateJob/Assess", "DeleteJob", "DeleteJob"]);
        let seen = &cluster.seen;
        assert_eq!(
            (&seen.claims, &seen.volumes, &seen.executed),
            (&before.claims, &before.volumes, &before.executed)
        );
        let asked =
            cluster.status().assessment.iter().find(|line| line.subject == "chromadb/chromadb").unwrap();
        assert_eq!(asked.state, Health::Good);
        assert!(asked.observed.contains("http://chromadb.arxiv.svc:8000/api/v2/heartbeat"), "{asked:?}");
    }
}

/// An assessment with what a mover saw of the network.
fn outside(
    answer: Option<JobState>,
    metrics: Result<Vec<NodeUsage>, String>,
) -> Vec<(String, Health, String)> {
    let mut cluster = assessing();
    cluster.seen.usage = Some(metrics);
    let endpoints = serde_json::json!({"endpoints": [{"host": "export.arxiv.org", "port": 443}]});
    cluster.seen.components[1].offline = Some(serde_json::from_value(endpoints.clone()).unwrap());
    cluster.seen.components[2].offline = Some(serde_json::from_value(endpoints).unwrap());
    if let Some(answer) = answer {
        cluster.answers.insert("Diagnose", vec![answer]);
    }
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    let of = ["dns", "endpoint/", "network/", "resources/"];
    let lines = cluster.status().assessment.iter();
    let lines = lines.filter(|line| of.iter().any(|prefix| line.subject.starts_with(prefix)));
    lines.map(|line| (line.subject.clone(), line.state, line.observed.clone())).collect()
}

#[test]
fn what_a_mover_sees_of_the_network_has_its_lines_and_what_it_does_not_see_is_unknown() {
    let seen = |answers: bool, addresses: &[&str]| EndpointSeen {
        answers,
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        message: "connection refused".into(),
    };
    let diagnosed = |endpoints: Vec<EndpointSeen>| {
        let (interfaces, routes) = (vec!["eth0 up 10.244.0.12".to_owned()], Vec::new());
        JobState::Ended(Report::Diagnosed(Diagnosed { endpoints, interfaces, routes }))
    };
    let unread = || Err("metrics.k8s.io is not installed".to_owned());
    let lines = outside(Some(diagnosed(vec![seen(false, &["10.96.0.1"]), seen(false, &[])])), unread());
    for (subject, state, observed) in [
        ("dns", Health::Good, "kubernetes.default.svc resolves to 10.96.0.1"),
        ("endpoint/export.arxiv.org:443", Health::Bad, "connection refused"),
        ("network/interfaces", Health::Good, "eth0 up 10.244.0.12"),
        ("network/routes", Health::Unknown, "none was told"),
        ("resources/cpu", Health::Unknown, "metrics.k8s.io is not installed"),
    ] {
        let found = lines.iter().filter(|line| line.0 == subject).collect::<Vec<_>>();
        assert_eq!(found, [&(subject.to_owned(), state, observed.to_owned())], "{lines:?}");
    }
    let lines = outside(Some(diagnosed(vec![seen(false, &[])])), unread());
    let state = |subject: &str| lines.iter().find(|line| line.0 == subject).map(|line| line.1);
    assert_eq!(
        (state("dns"), state("endpoint/export.arxiv.org:443")),
        (Some(Health::Bad), Some(Health::Unknown))
    );
    let lines = outside(Some(JobState::Silent { why: "no node for it".into() }), unread());
    let dns = lines.iter().find(|line| line.0 == "dns").unwrap();
    assert!(dns.1 == Health::Unknown && dns.2.contains("no node for it"), "{dns:?}");
}

#[test]
fn a_database_that_does_not_answer_is_bad_and_one_that_could_not_be_asked_is_unknown() {
    let silent = CheckResult {
        name: "chromadb/chromadb".into(),
        verdict: Verdict::Failed,
        expected: "200".into(),
        observed: "connection refused".into(),
    };
    let line = |answer: JobState| -> Assessed {
        let mut cluster = assessing();
        cluster.answers.insert("Validate", vec![answer]);
        cluster.run(1);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
        let of = |line: &&Assessed| line.subject.starts_with("chromadb");
        cluster.status().assessment.iter().find(of).unwrap().clone()
    };
    let bad = line(JobState::Ended(Report::Validated { checks: vec![silent] }));
    assert_eq!((bad.state, bad.observed.as_str()), (Health::Bad, "heartbeat: connection refused"));
    let unknown = line(JobState::Silent { why: "its image can't be pulled".into() });
    assert_eq!(unknown.state, Health::Unknown);
    assert!(unknown.observed.contains("image can't be pulled"), "{unknown:?}");
}

#[test]
fn every_recovery_begins_with_what_the_cluster_tells() {
    let mut seen = healthy();
    seen.surroundings.as_mut().unwrap().pods[0].waiting = Some("CrashLoopBackOff: back-off 10s".into());
    let mut cluster = Cluster::of(seen);
    cluster.run(1000);
    let assess = cluster.status().steps.iter().find(|step| step.name == "Assess").unwrap();
    assert!(assess.message.contains("pod/chromadb-0: CrashLoopBackOff"), "{}", assess.message);
    assert!(cluster.status().assessment[0].subject == "pod/chromadb-0");
}
