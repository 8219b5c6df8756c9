//! What a running controller tells at `/metrics`, held against what the docs say and against what Prometheus' own tool takes for good metrics.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::apiserver::{ApiServer, repository, tool};
use tests::controller::Controller;

/// A metric: its type, and the names of its labels.
type Metric = (String, BTreeSet<String>);

/// Every metric that the docs have.
pub fn documented() -> BTreeMap<String, Metric> {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `holdfast_"));
    let read = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels =
            cells[2].split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        (format!("holdfast_{}", cells[0].trim_matches('`')), (cells[1].to_owned(), labels.collect()))
    });
    read.collect()
}

/// Every metric that was scraped.
fn told(text: &str) -> BTreeMap<String, Metric> {
    let mut types = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            // A counter's samples have an ending of their own in this form.
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            types.insert(name, kind.to_owned());
        }
    }
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let endings = ["_bucket", "_sum", "_count"];
        let family =
            endings.iter().find_map(|ending| name.strip_suffix(ending)).filter(|n| types.contains_key(*n));
        let name = family.unwrap_or(name);
        let kind = types.get(name).unwrap_or_else(|| panic!("{name} has no type"));
        let entry = found.entry(name.to_owned()).or_insert_with(|| (kind.clone(), BTreeSet::new()));
        let names = labels.split("=\"").filter_map(|part| part.rsplit([',', '"']).next());
        let names = names.filter(|label| !label.is_empty() && !label.contains('}') && *label != "le");
        entry.1.extend(names.map(str::to_owned));
    }
    found
}

/// One of each kind, with what it takes for every series.
fn objects() -> Vec<(Value, Value)> {
    let object = |kind: &str, name: &str, spec: Value, status: Value| {
        let head = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": kind, "metadata": {"name": name}});
        let (mut made, mut stated) = (head.clone(), head);
        made["spec"] = spec;
        stated["status"] = status;
        (made, stated)
    };
    let condition = |kind: &str| {
        let at = "2026-11-23T09:39:00Z";
        json!({"type": kind, "status": "True", "reason": "Recovered", "message": "", "lastTransitionTime": at})
    };
    let repository = object(
        "RecoveryRepository",
        "primary",
        json!({"volume": {"claimRef": {"name": "disk"}}, "encryption": {"keySecretRef": {"name": "key"}}}),
        json!({"usage": {"points": 1, "bytes": 1024, "size": "1Ki", "counted": {"time": "2026-11-23T09:39:00Z", "points": 1, "bytes": 1024}},
            "conditions": [condition("MaintenanceHealthy")]}),
    );
    let policy = object(
        "BackupPolicy",
        "chromadb",
        json!({"component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
            "priority": "Critical", "objectives": {"rto": "2h", "rpo": "30m"}, "repositoryRef": {"name": "primary"}}),
        json!({"captures": {"succeeded": 40, "failed": 3, "months": [{"month": "2026-11", "succeeded": 40, "failed": 3}]}}),
    );
    let point = object(
        "RecoveryPoint",
        "chromadb-20261123-091503",
        json!({"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": "4be1c07a"}),
        json!({"phase": "Available", "consistencyTime": "2026-11-23T09:15:03Z",
            "verification": {"verdict": "Passed", "time": "2026-11-23T09:39:00Z", "by": "run/monthly-1"}}),
    );
    // A controller of a later term carries them, so this one leaves them as they are.
    let run = |name: &str, status: Value| {
        let mut later = json!({"epoch": 1_000_000_000_000_i64});
        later.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        let spec = json!({"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": "arxiv"}}});
        object("RecoveryRun", name, spec, later)
    };
    let recovered = json!({
        "phase": "Succeeded", "verdict": "Passed", "conditions": [condition("Complete")],
        "measured": [{"policy": "chromadb", "rpo": "14m57s", "rto": "8m43s", "breakdown": [{"part": "restore", "millis": 523_250}], "notMeasured": []}],
        "objectives": {"scenario": {"rpo": "30m", "rpoVerdict": "Met", "rto": "2h", "rtoVerdict": "Met"},
            "policies": [{"policy": "chromadb", "rpo": "30m", "rpoVerdict": "Met", "rto": "2h", "rtoVerdict": "Met"}]}
    });
    let waiting = json!({"phase": "AwaitingDecision", "gates": [{"name": "Start", "requiredBy": "run", "since": "2026-11-23T09:39:00Z"}]});
    let mut drill = run("monthly-1", recovered.clone());
    drill.0["metadata"]["labels"] = json!({"holdfast.dev/drill": "monthly"});
    let result = json!({"run": "monthly-1", "verdict": "Passed", "reason": "Passed", "message": "", "started": "2026-11-23T09:30:00Z", "time": "2026-11-23T09:39:00Z"});
    let monthly = object(
        "DrDrill",
        "monthly",
        json!({"test": "DatabaseRecovery", "schedule": {"cron": "0 3 1 * *"}, "mode": "Suspended"}),
        json!({"results": [result], "lastPassed": "2026-11-23T09:30:00Z"}),
    );
    vec![repository, policy, point, monthly, run("db-2026-11-23", recovered), run("waits", waiting), drill]
}

fn apply(server: &ApiServer, namespace: &str) {
    for (made, stated) in objects() {
        let _ = server.kubectl_reading(&format!("-n {namespace} create -f -"), &made.to_string()).success();
        let status =
            format!("-n {namespace} apply --server-side --subresource=status --field-manager=test -f -");
        let _ = server.kubectl_reading(&status, &stated.to_string()).success();
    }
}

/// What Prometheus' own tool says about metrics.
fn linted(text: &str) -> (bool, String) {
    // It reads the older form, in which the type stands at a counter's whole name.
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::new();
    for line in text.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF") {
        let of = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "));
        let name = of.and_then(|rest| rest.split(' ').next()).filter(|name| counters.contains(name));
        let line =
            name.map_or_else(|| line.to_owned(), |name| line.replacen(name, &format!("{name}_total"), 1));
        older.push_str(&line);
        older.push('\n');
    }
    let mut tool = Command::new(tool("promtool").unwrap())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].map(|words| String::from_utf8_lossy(&words).into_owned()).concat();
    (said.status.success(), words)
}

#[test]
fn a_running_controller_tells_what_the_docs_say_and_nothing_of_what_is_gone() {
    let server = ApiServer::start().unwrap();
    let definitions = repository().join("crds/yaml");
    let _ = server.kubectl(&format!("apply --server-side -f {}", definitions.display())).success();
    let _ = server.kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
    let (system, namespace) = (server.namespace("system"), server.namespace("arxiv"));
    apply(&server, &namespace);
    let uncovered = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "dashboard"}, "spec": {
        "selector": {"matchLabels": {"app": "dashboard"}}, "template": {"metadata": {"labels": {"app": "dashboard"}},
        "spec": {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "grafana"}}]}]}}}});
    let _ = server.kubectl_reading(&format!("-n {namespace} create -f -"), &uncovered.to_string()).success();
    let controller = Controller::start(&server, &system).unwrap();
    let age =
        format!("holdfast_policy_verified_point_age_seconds{{namespace=\"{namespace}\",name=\"chromadb\"}}");
    let complete = |text: &str| {
        let known = |line: &str| line.starts_with(&age) && !line.ends_with("+Inf");
        text.lines().any(known)
            && text.contains("holdfast_namespace_uncovered{")
            && text.contains("holdfast_drill_max_staleness_seconds{")
            && text.contains("holdfast_policy_expected_interval_seconds{")
            && text.contains("holdfast_reconciliation_errors_total{kind=\"RecoveryRun\"")
    };
    let text = controller.wait(complete).unwrap();
    let (documented, told) = (documented(), told(&text));
    assert!(documented.len() > 30, "{documented:?}");
    for (name, metric) in &told {
        assert_eq!(documented.get(name), Some(metric), "docs/metrics.md has this of {name}");
    }
    let missing: Vec<&String> = documented.keys().filter(|name| !told.contains_key(*name)).collect();
    assert!(missing.is_empty(), "documented, and not told: {missing:?}\n{text}");
    let (good, said) = linted(&text);
    assert!(good && said.trim().is_empty(), "{said}");

    // The numbers are those of the objects, counters over the start of a controller included.
    let labels = format!("namespace=\"{namespace}\",name=\"chromadb\",result=\"succeeded\"");
    assert!(text.contains(&format!("holdfast_policy_captures_total{{{labels}}} 40\n")), "{text}");
    assert!(text.contains("policy=\"chromadb\"} 523.25\n"), "{text}");
    for kind in ["Deployment", "Secret"] {
        let series = format!("holdfast_namespace_uncovered{{namespace=\"{namespace}\",kind=\"{kind}\"}} 1\n");
        assert!(text.contains(&series), "{text}");
    }
    let message = "jsonpath={.status.conditions[?(@.type==\"CoverageComplete\")].message}";
    let said = server.kubectl(&format!("-n {namespace} get hfrepo primary -o {message}")).success();
    assert!(said.starts_with("no policy covers Deployment dashboard, Secret grafana: "), "{said}");
    drop(controller);

    let _ = server.kubectl(&format!("-n {namespace} delete hfrun --all --wait=false")).success();
    let again = Controller::start(&server, &system).unwrap();
    let counter = format!("holdfast_policy_captures_total{{{labels}}} 40\n");
    let text = again.wait(|text| text.contains(&counter)).unwrap();
    assert!(!text.contains("holdfast_run_"), "{text}");
    let _ = server.kubectl(&format!("-n {namespace} delete hfpolicy chromadb --wait=false")).success();
    let text = again.wait(|text| !text.contains("holdfast_policy_")).unwrap();
    assert!(text.contains("holdfast_repository_up"), "{text}");
}

#[test]
fn a_bad_metric_is_found_out() {
    let (good, said) = linted("# TYPE holdfast_TooMany gauge\nholdfast_TooMany 1\n# EOF\n");
    assert!(!good && said.contains("no help text"), "{said}");
}
