//! What a scrape tells of objects, and that it tells nothing of those that are gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Metrics, Watched};

const NOW: &str = "2026-11-23T09:30:00Z";

fn kept<K>(objects: &[Value]) -> Store<K>
where
    K: Lookup<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    let (reader, mut writer) = store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object.clone()).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    reader
}

/// What is scraped: each series with its value.
fn scraped(policies: &[Value], repositories: &[Value], runs: &[Value]) -> BTreeMap<String, f64> {
    scraped_with(policies, repositories, runs, &[])
}

fn scraped_with(
    policies: &[Value],
    repositories: &[Value],
    runs: &[Value],
    drills: &[Value],
) -> BTreeMap<String, f64> {
    let metrics = Metrics::new();
    metrics.watch(Watched {
        policies: kept(policies),
        repositories: kept(repositories),
        runs: kept(runs),
        drills: kept(drills),
    });
    let text = metrics.encode(NOW.parse::<Timestamp>().unwrap()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let split = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() })
    });
    split.collect()
}

fn condition(kind: &str, status: &str, time: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": time})
}

fn policy(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy",
        "metadata": {"name": name, "namespace": "arxiv", "creationTimestamp": "2026-11-22T09:30:00Z"},
        "spec": {"component": {"displayName": "ChromaDB", "chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": name}]},
            "priority": "Critical", "objectives": {"rto": "2h", "rpo": "30m"}, "repositoryRef": {"name": "primary"}},
        "status": status
    })
}

fn run(name: &str, drill: Option<&str>, phase: &str, verdict: &str, end: &str, measured: Value) -> Value {
    let labels = drill.map_or(json!({}), |drill| json!({"holdfast.dev/drill": drill}));
    let ended = if end.is_empty() { json!([]) } else { json!([condition("Complete", "True", end)]) };
    json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun",
        "metadata": {"name": name, "namespace": "arxiv", "labels": labels, "creationTimestamp": "2026-11-23T08:30:00Z"},
        "spec": {"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": "arxiv"}}},
        "status": {"phase": phase, "verdict": verdict, "measured": measured, "conditions": ended, "steps": [{"name": "Assess", "phase": "Done"}]}
    })
}

fn measured(rpo: &str, rto: &str) -> Value {
    json!([{"policy": "chromadb", "rpo": rpo, "rto": rto, "breakdown": [], "notMeasured": []}])
}

#[test]
fn a_policy_has_its_objective_beside_what_it_really_has() {
    let status = json!({
        "lastPoint": {"name": "p2", "consistencyTime": "2026-11-23T09:15:00Z"},
        "lastVerifiedPoint": {"name": "p1", "consistencyTime": "2026-11-23T08:30:00Z"},
        "points": 7, "consecutiveFailures": 2, "captures": {"succeeded": 40, "failed": 3},
        "resolved": {"schedule": {"cron": "*/15 8-17 * * *", "timeZone": "UTC"}},
        "conditions": [condition("Ready", "True", NOW)]
    });
    let found = scraped(&[policy("chromadb", status)], &[], &[]);
    let of = |name: &str| found[&format!("holdfast_policy_{name}{{namespace=\"arxiv\",name=\"chromadb\"}}")];
    assert_eq!((of("rpo_objective_seconds"), of("rto_objective_seconds")), (1800.0, 7200.0));
    assert_eq!((of("recovery_point_age_seconds"), of("verified_point_age_seconds")), (900.0, 3600.0));
    assert_eq!(of("expected_interval_seconds"), (14.0 * 60.0 + 15.0) * 60.0, "it sees the night");
    assert_eq!((of("points"), of("capture_failures"), of("active"), of("ready")), (7.0, 2.0, 1.0, 1.0));
    let captures = |result: &str| {
        let labels = format!("namespace=\"arxiv\",name=\"chromadb\",result=\"{result}\"");
        found[&format!("holdfast_policy_captures_total{{{labels}}}")]
    };
    assert_eq!((captures("succeeded"), captures("failed")), (40.0, 3.0));
    let info = "holdfast_policy_info{namespace=\"arxiv\",name=\"chromadb\",component=\"ChromaDB\",priority=\"Critical\",repository=\"primary\"}";
    assert_eq!(found[info], 1.0);
}

#[test]
fn a_policy_without_a_point_is_infinitely_old_and_one_that_is_gone_leaves_nothing() {
    let found = scraped(&[policy("chromadb", Value::Null)], &[], &[]);
    let of = |name: &str| found[&format!("holdfast_policy_{name}{{namespace=\"arxiv\",name=\"chromadb\"}}")];
    assert_eq!(of("recovery_point_age_seconds"), f64::INFINITY);
    assert_eq!(of("verified_point_age_seconds"), f64::INFINITY);
    let gone = scraped(&[], &[], &[]);
    assert!(gone.keys().all(|series| !series.contains("arxiv")), "{gone:?}");
}

#[test]
fn one_of_captures_in_a_row_expects_them_as_often() {
    let resolved = json!({"resolved": {"schedule": {"cron": "@every 30s", "timeZone": "UTC"}}});
    let found = scraped(&[policy("chromadb", resolved)], &[], &[]);
    let interval = "holdfast_policy_expected_interval_seconds{namespace=\"arxiv\",name=\"chromadb\"}";
    assert_eq!(found[interval], 30.0);
}

#[test]
fn a_repository_says_why_nothing_is_removed_from_it() {
    let repository = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository",
        "metadata": {"name": "primary", "namespace": "arxiv"},
        "spec": {"volume": {"claimRef": {"name": "disk"}}, "encryption": {"keySecretRef": {"name": "key"}}},
        "status": {"mode": "Sealed", "coverage": {"counts": [{"kind": "Secret", "count": 0}, {"kind": "Deployment", "count": 2}]}, "usage": {"points": 3, "bytes": 1024, "size": "1Ki"},
            "conditions": [condition("Ready", "True", NOW), condition("MaintenanceHealthy", "False", NOW)]}
    });
    let shrunken = json!({"conditions": [condition("AnomalyDetected", "True", NOW)]});
    let found = scraped(&[policy("chromadb", shrunken)], &[repository], &[]);
    let of = |name: &str, more: &str| {
        found[&format!("holdfast_{name}{{namespace=\"arxiv\",name=\"primary\"{more}}}")]
    };
    assert_eq!((of("repository_up", ""), of("repository_maintenance_healthy", "")), (1.0, 0.0));
    assert_eq!((of("repository_points", ""), of("repository_size_bytes", "")), (3.0, 1024.0));
    let uncovered =
        |kind: &str| found[&format!("holdfast_namespace_uncovered{{namespace=\"arxiv\",kind=\"{kind}\"}}")];
    assert_eq!((uncovered("Deployment"), uncovered("Secret")), (2.0, 0.0));
    let held = |reason: &str| of("repository_deletions_held", &format!(",reason=\"{reason}\""));
    assert_eq!((held("Sealed"), held("AnomalyDetected"), held("ReadOnly")), (1.0, 1.0, 0.0));
}

#[test]
fn incidents_count_and_drills_do_not() {
    let runs = [
        run("r1", None, "Succeeded", "Passed", "2026-11-23T09:00:00Z", measured("20m", "10m")),
        run("r2", None, "Succeeded", "Inconclusive", "2026-11-23T09:10:00Z", measured("0s", "20m")),
        run("r3", None, "Failed", "Failed", "2026-11-23T09:20:00Z", json!([])),
        run("r4", None, "Running", "Passed", "", json!([])),
        run("d1", Some("monthly"), "Succeeded", "Passed", "2026-11-22T09:00:00Z", measured("20m", "9h")),
        run("d2", Some("monthly"), "Failed", "Failed", "2026-11-23T09:00:00Z", json!([])),
    ];
    let found = scraped(&[], &[], &runs);
    let of = |name: &str| found[&format!("holdfast_namespace_{name}}}")];
    assert_eq!(of("incidents{namespace=\"arxiv\",result=\"recovered\""), 2.0);
    assert_eq!(of("incidents{namespace=\"arxiv\",result=\"failed\""), 1.0);
    assert_eq!(of("data_loss_incidents{namespace=\"arxiv\""), 1.0);
    assert_eq!(of("mean_time_to_recovery_seconds{namespace=\"arxiv\""), 900.0);
    let labels =
        "namespace=\"arxiv\",run=\"r1\",scenario=\"DatabaseCorruption\",drill=\"\",policy=\"chromadb\"";
    assert_eq!(found[&format!("holdfast_run_rto_seconds{{{labels}}}")], 600.0);
    assert_eq!(found[&format!("holdfast_run_rpo_seconds{{{labels}}}")], 1200.0);
}

#[test]
fn a_drill_tells_its_last_result_the_last_ten_and_how_old_its_evidence_may_be() {
    let result = |run: &str, verdict: &str| json!({"run": run, "verdict": verdict, "reason": "R", "message": "", "started": NOW, "time": NOW});
    let drill = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "DrDrill",
        "metadata": {"name": "monthly", "namespace": "arxiv", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"test": "DatabaseRecovery", "schedule": {"cron": "0 3 1 * *"}, "mode": "Suspended"},
        "status": {"results": [result("m3", "Inconclusive"), result("m2", "Passed"), result("m1", "Passed")],
            "lastPassed": "2026-11-22T09:00:00Z", "consecutiveFailures": 1,
            "resolved": {"schedule": {"cron": "0 3 1 * *", "timeZone": "UTC"}, "maxStaleness": "1116h"}}
    });
    let found = scraped_with(&[], &[], &[], &[drill]);
    let of = |name: &str, more: &str| {
        found[&format!("holdfast_drill_{name}{{namespace=\"arxiv\",drill=\"monthly\"{more}}}")]
    };
    assert_eq!(of("info", ",test=\"DatabaseRecovery\""), 1.0);
    assert_eq!(
        (of("active", ""), of("failures", ""), of("max_staleness_seconds", "")),
        (0.0, 1.0, 4_017_600.0)
    );
    let last = |verdict: &str| of("last_result", &format!(",verdict=\"{verdict}\""));
    assert_eq!((last("Inconclusive"), last("Passed"), last("Failed"), last("Skipped")), (1.0, 0.0, 0.0, 0.0));
    assert_eq!(of("results", ",verdict=\"Passed\""), 2.0);
    let passed = "2026-11-22T09:00:00Z".parse::<Timestamp>().unwrap().as_second() as f64;
    assert_eq!(of("last_pass_timestamp_seconds", ""), passed);
}

#[test]
fn no_run_has_a_verdict_before_its_end_and_one_that_waits_says_where() {
    let mut waiting = run("r1", None, "AwaitingDecision", "Passed", "", json!([]));
    waiting["status"]["gates"] = json!([{"name": "Start", "requiredBy": "run", "since": NOW, "answer": "Approved"}, {"name": "LiftIsolation", "requiredBy": "run", "since": NOW}]);
    let mut left = run("r2", None, "Failed", "Failed", NOW, json!([]));
    left["status"]["gates"] = json!([{"name": "LiftIsolation", "requiredBy": "run", "since": NOW}]);
    left["status"]["leftAs"] =
        json!({"workloads": "Stopped", "data": "Untouched", "claims": "Original", "isolation": "Isolated"});
    let mut over = left.clone();
    over["metadata"]["name"] = "r3".into();
    over["status"]["leftAs"]["isolation"] = "Lifted".into();
    let found = scraped(&[], &[], &[waiting, left, over]);
    let series = |name: &str| -> Vec<&String> {
        found.keys().filter(|series| series.starts_with(&format!("holdfast_run_{name}"))).collect()
    };
    let labels =
        |run: &str| format!("{{namespace=\"arxiv\",run=\"{run}\",scenario=\"DatabaseCorruption\",drill=\"\"");
    let gate = |run: &str| format!("holdfast_run_awaiting_decision{},gate=\"LiftIsolation\"}}", labels(run));
    assert_eq!(series("awaiting_decision"), [&gate("r1"), &gate("r2")]);
    assert_eq!(series("verdict").len(), 2, "those that have ended");
    assert_eq!(
        found[&format!("holdfast_run_duration_seconds{},phase=\"AwaitingDecision\"}}", labels("r1"))],
        3600.0
    );
}

#[test]
fn of_many_ended_runs_the_newest_are_told() {
    let runs: Vec<Value> = (10..40)
        .map(|n| {
            let end = format!("2026-11-22T09:{n}:00Z");
            run(&format!("r{n}"), None, "Succeeded", "Passed", &end, measured("20m", "10m"))
        })
        .chain([run("now", None, "Running", "Passed", "", json!([]))])
        .chain([run("d", Some("weekly"), "Succeeded", "Passed", "2026-11-01T09:00:00Z", json!([]))])
        .collect();
    let found = scraped(&[], &[], &runs);
    let told: Vec<&str> = found
        .keys()
        .filter_map(|series| series.strip_prefix("holdfast_run_duration_seconds{namespace=\"arxiv\",run=\""))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(told, ["d", "now", "r32", "r33", "r34", "r35", "r36", "r37", "r38", "r39"]);
    let incidents = "holdfast_namespace_incidents{namespace=\"arxiv\",result=\"recovered\"}";
    assert_eq!(found[incidents], 30.0, "all of them count");
}
