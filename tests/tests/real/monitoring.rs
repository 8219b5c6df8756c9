//! The alerts and the dashboard of the chart, by Prometheus' own tool: each alert fires when it should and says what to do, each panel shows something,
//! and none asks for a metric that there is not. Grafana itself is under a licence that keeps it out of here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tests::apiserver::{repository, tool};

use super::metrics::documented;

fn file(name: &str) -> PathBuf {
    repository().join("charts/holdfast/files/monitoring").join(name)
}

fn promtool(arguments: &[&str]) -> (bool, String) {
    let said = Command::new(tool("promtool").unwrap()).args(arguments).output().unwrap();
    let words = [said.stdout, said.stderr].map(|words| String::from_utf8_lossy(&words).into_owned()).concat();
    (said.status.success(), words)
}

/// A YAML or JSON document as helm understands it, from the chart with these values.
fn rendered(values: &str) -> String {
    let mut command = Command::new(tool("helm").unwrap());
    command.args(["template", "holdfast"]).arg(repository().join("charts/holdfast"));
    command.args(["--namespace", "holdfast-system", "--show-only", "templates/monitoring.yaml"]);
    let said = command.args(values.split_whitespace()).output().unwrap();
    String::from_utf8(said.stdout).unwrap() + &String::from_utf8_lossy(&said.stderr)
}

/// Names of metrics in an expression, without what a histogram's series end with.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named = words.filter(|word| word.starts_with("holdfast_"));
    named.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

fn rules() -> String {
    std::fs::read_to_string(file("alerts.yaml")).unwrap()
}

fn alerts() -> Vec<String> {
    let text = rules();
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn every_alert_fires_when_it_should_and_not_before_and_says_what_to_do() {
    let path = file("alerts.yaml");
    let (good, said) = promtool(&["check", "rules", path.to_str().unwrap()]);
    assert!(good, "{said}");
    let cases = repository().join("tests/tests/real/monitoring/alerts.yaml");
    let cases = std::fs::read_to_string(cases).unwrap();
    for alert in alerts() {
        let fires =
            cases.contains(&format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels"));
        assert!(fires, "no case in which {alert} fires");
    }
    let directory = tempfile::tempdir().unwrap();
    let played = directory.path().join("cases.yaml");
    std::fs::write(&played, cases.replace("RULES", path.to_str().unwrap())).unwrap();
    let (good, said) = promtool(&["test", "rules", played.to_str().unwrap()]);
    assert!(good, "{said}");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = std::fs::read_to_string(repository().join("docs/alerts.md")).unwrap();
    let sections: Vec<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(alerts(), in_order(&sections), "docs/alerts.md");
    let text = rules();
    for alert in alerts() {
        assert!(text.contains(&format!("runbook_url: docs/alerts.md#{}\n", alert.to_lowercase())), "{alert}");
    }
}

/// The sections in the order of the alerts; those without one at the end.
fn in_order(sections: &[String]) -> Vec<String> {
    let alerts = alerts();
    let mut found = sections.to_vec();
    found.sort_by_key(|section| alerts.iter().position(|alert| alert == section).unwrap_or(usize::MAX));
    found
}

#[test]
fn neither_alert_nor_panel_asks_for_a_metric_that_there_is_not() {
    let known = documented();
    let dashboard = std::fs::read_to_string(file("dashboard.json")).unwrap();
    let asked = metrics_in(&rules()).into_iter().chain(metrics_in(&dashboard));
    let asked: BTreeSet<String> = asked.filter(|name| !name.starts_with("holdfast_controller")).collect();
    assert!(asked.len() > 20, "{asked:?}");
    let missing: Vec<&String> = asked.iter().filter(|name| !known.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are no metrics");
}

/// Every expression of the dashboard, with its panel.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file("dashboard.json")).unwrap()).unwrap();
    let of = |panel: &Value| -> Vec<(String, String)> {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets
            .map(|target| (title.clone(), target["expr"].as_str().unwrap().replace("$namespace", ".*")))
            .collect()
    };
    dashboard["panels"].as_array().unwrap().iter().flat_map(of).collect()
}

/// One series of each metric for each word that a label can be, growing where it counts.
fn samples() -> Vec<Value> {
    let words: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("verdict", &["Passed", "Failed"][..]),
        ("result", &["succeeded", "failed"][..]),
        ("le", &["0.1", "+Inf"][..]),
    ]);
    let mut found = Vec::new();
    for (name, (kind, labels)) in documented() {
        let (name, labels) = match kind.as_str() {
            "histogram" => (format!("{name}_bucket"), labels.into_iter().chain(["le".to_owned()]).collect()),
            _ => (name, labels),
        };
        let mut series = vec![String::new()];
        for label in labels {
            let values = words.get(label.as_str()).copied().unwrap_or(&["x"]);
            let more = |known: &String| -> Vec<String> {
                values.iter().map(|value| format!("{known}{label}=\"{value}\",")).collect()
            };
            series = series.iter().flat_map(more).collect();
        }
        // A metric that has to be 0 for somebody to be told, and one that has to be 1.
        let zero = ["holdfast_policy_ready", "holdfast_repository_up"].contains(&name.as_str());
        let values = if kind == "gauge" { if zero { "0x60" } else { "1x60" } } else { "1+1x60" };
        let named = |labels: &String| json!({"series": format!("{name}{{{}}}", labels.trim_end_matches(',')), "values": values});
        found.extend(series.iter().map(named));
    }
    found
}

#[test]
fn every_panel_shows_something() {
    let panels = panels();
    assert!(panels.len() > 20, "{panels:?}");
    // Nothing is expected of each, so whatever it shows is told.
    let asked: Vec<Value> = panels
        .iter()
        .map(|(_, expression)| json!({"expr": expression, "eval_time": "30m", "exp_samples": []}))
        .collect();
    let cases = json!({"tests": [{"interval": "1m", "input_series": samples(), "promql_expr_test": asked}]});
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("panels.yaml");
    // JSON is YAML.
    std::fs::write(&path, cases.to_string()).unwrap();
    let (_, said) = promtool(&["test", "rules", path.to_str().unwrap()]);
    for (title, expression) in &panels {
        let shown = said.contains(&format!("expr: {expression:?}, time: 30m"));
        assert!(shown, "panel {title:?} shows nothing: {expression}\n{said}");
    }
    assert!(!said.contains("parse error"), "{said}");
}

#[test]
fn the_chart_installs_what_was_tested_where_it_is_asked_for() {
    let nothing = rendered("");
    assert!(nothing.contains("could not find template"), "{nothing}");
    let all = rendered(
        "--set metrics.serviceMonitor.enabled=true --set metrics.prometheusRule.enabled=true --set metrics.dashboard.enabled=true \
         --set metrics.prometheusRule.labels.release=monitoring",
    );
    for line in rules().lines().chain(std::fs::read_to_string(file("dashboard.json")).unwrap().lines()) {
        assert!(all.contains(line), "{line} is missing");
    }
    for line in [
        "kind: ServiceMonitor",
        "honorLabels: true",
        "kind: PrometheusRule",
        "    release: monitoring",
        "grafana_dashboard: \"1\"",
    ] {
        assert!(all.contains(line), "{line}: {all}");
    }
    let own = rendered(
        "--set metrics.prometheusRule.enabled=true --set metrics.prometheusRule.verifiedWithinDays=35 \
         --set metrics.prometheusRule.runbooks=https://wiki.yourorg.com/alerts",
    );
    assert!(own.contains("> (35 * 86400)") && !own.contains("(8 * 86400)"), "{own}");
    assert!(own.contains("runbook_url: https://wiki.yourorg.com/alerts#holdfastrpomissed"), "{own}");
    assert!(!own.contains("docs/alerts.md#"), "{own}");
}
