//! A namespace of the arXiv system, with something in it that nobody thought of.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn policy(name: &str, component: Value, claims: Option<Value>) -> BackupPolicy {
    let status = claims.map(|claims| json!({"resolved": {"schedule": {"cron": "* * * * *", "timeZone": "UTC"}, "claims": claims}}));
    read(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": name, "namespace": "arxiv"},
        "spec": {"component": component, "repositoryRef": {"name": "primary"}}, "status": status
    }))
}

fn pod(claim: Option<&str>, secret: Option<&str>) -> Value {
    let volumes: Vec<Value> = claim
        .map(|claim| json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}}))
        .into_iter()
        .collect();
    let from: Vec<Value> = secret.map(|name| json!({"secretRef": {"name": name}})).into_iter().collect();
    json!({"metadata": {}, "spec": {"volumes": volumes, "containers": [{"name": "c", "envFrom": from}]}})
}

fn deployment(meta: Value, template: Value) -> Workload {
    Workload::Deployment(read(json!({"metadata": meta, "spec": {"selector": {}, "template": template}})))
}

fn set(name: &str) -> Workload {
    Workload::StatefulSet(read(
        json!({"metadata": {"name": name}, "spec": {"selector": {}, "serviceName": name, "template": pod(None, Some("chromadb-auth")),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}}),
    ))
}

fn claim(name: &str) -> ObjectMeta {
    read(json!({"name": name}))
}

fn chroma() -> BackupPolicy {
    let component = json!({"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]});
    policy("chromadb", component, Some(json!(["data-chromadb-0"])))
}

/// ChromaDB alone, all of it covered.
fn namespace() -> Seen {
    Seen {
        policies: vec![chroma()],
        repositories: vec![],
        workloads: vec![set("chromadb")],
        claims: vec![claim("data-chromadb-0")],
    }
}

fn found(seen: &Seen) -> Vec<(CoveredKind, String)> {
    of(seen).unwrap().uncovered.into_iter().map(|object| (object.kind, object.name)).collect()
}

#[test]
fn what_is_covered_is_not_named_and_a_namespace_without_a_policy_is_not_looked_at() {
    let seen = namespace();
    assert_eq!(found(&seen), []);
    let counts = of(&seen).unwrap().counts;
    assert!(counts.iter().all(|of| of.count == 0) && counts.len() == 5, "{counts:?}");
    assert_eq!(of(&Seen { policies: vec![], ..seen }), None);
}

#[test]
fn a_workload_that_somebody_added_is_named_with_its_claim_and_its_secret() {
    let mut seen = namespace();
    seen.workloads.push(deployment(json!({"name": "dashboard"}), pod(Some("plots"), Some("grafana"))));
    seen.claims.push(claim("plots"));
    assert_eq!(
        found(&seen),
        [
            (CoveredKind::Deployment, "dashboard".into()),
            (CoveredKind::PersistentVolumeClaim, "plots".into()),
            (CoveredKind::Secret, "grafana".into())
        ]
    );
    let told = told(&of(&seen).unwrap());
    assert!(
        told.starts_with(
            "no policy covers Deployment dashboard, PersistentVolumeClaim plots, Secret grafana: "
        ),
        "{told}"
    );
    assert!(told.contains("holdfast.dev/left-out"), "{told}");
}

#[test]
fn a_claim_that_no_workload_mounts_and_a_second_replicas_claim_are_named() {
    let mut seen = namespace();
    seen.claims.extend([claim("data-chromadb-1"), claim("old-exports")]);
    let names: Vec<String> = found(&seen).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["data-chromadb-1", "old-exports"], "nobody captures what lies on them");
}

#[test]
fn by_name_and_by_label_a_policy_covers_objects_and_not_what_lies_on_claims() {
    let mut seen = namespace();
    seen.workloads.push(deployment(
        json!({"name": "api", "labels": {"part-of": "scholar"}}),
        pod(Some("cache"), Some("api-key")),
    ));
    seen.workloads
        .push(Workload::CronJob(read(json!({"metadata": {"name": "fetch"}, "spec": {"schedule": "@daily",
        "jobTemplate": {"spec": {"template": pod(None, Some("arxiv-token"))}}}}))));
    seen.claims.push(claim("cache"));
    let component = json!({"application": {}, "workloads": [{"kind": "Deployment", "name": "worker"}],
        "objects": {"selector": {"matchLabels": {"part-of": "scholar"}}, "named": [{"kind": "CronJob", "name": "fetch"}]}});
    seen.policies.push(policy("scholar", component, Some(json!([]))));
    assert_eq!(found(&seen), [(CoveredKind::PersistentVolumeClaim, "cache".into())]);
}

#[test]
fn a_secret_that_one_policy_has_is_covered_whoever_refers_to_it() {
    let mut seen = namespace();
    seen.workloads.push(deployment(json!({"name": "tool"}), pod(None, Some("chromadb-auth"))));
    assert_eq!(found(&seen), [(CoveredKind::Deployment, "tool".into())]);
    seen.workloads.push(deployment(json!({"name": "mailer"}), pod(None, Some("smtp"))));
    let component = json!({"application": {}, "workloads": [{"kind": "Deployment", "name": "tool"}], "objects": {"named": [{"kind": "Secret", "name": "smtp"}]}});
    seen.policies.push(policy("tool", component, Some(json!([]))));
    assert_eq!(found(&seen), [(CoveredKind::Deployment, "mailer".into())]);
}

#[test]
fn a_policy_that_has_not_looked_yet_raises_no_alarm_about_its_claims() {
    let mut seen = namespace();
    seen.policies[0].status = None;
    seen.claims.push(claim("data-chromadb-old"));
    assert_eq!(found(&seen), [(CoveredKind::PersistentVolumeClaim, "data-chromadb-old".into())]);
}

#[test]
fn what_is_left_out_on_purpose_is_not_named_nor_what_hangs_on_it_nor_what_holdfast_has_made() {
    let mut seen = namespace();
    let why = json!({"holdfast.dev/left-out": "rebuilt from Git"});
    seen.workloads.push(deployment(
        json!({"name": "cache", "annotations": why}),
        pod(Some("scratch"), Some("cache-auth")),
    ));
    seen.claims.push(claim("scratch"));
    seen.claims.push(read(json!({"name": "tmp", "annotations": why})));
    seen.claims.push(read(json!({"name": "q", "labels": {"holdfast.dev/quarantine": "r"}})));
    seen.claims.push(read(json!({"name": "clone", "labels": {"app.kubernetes.io/managed-by": "holdfast"}})));
    seen.claims.push(claim("emergency-storage"));
    seen.repositories.push(read(json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository", "metadata": {"name": "disk"},
        "spec": {"volume": {"claimRef": {"name": "emergency-storage"}}, "encryption": {"keySecretRef": {"name": "key"}}}})));
    assert_eq!(found(&seen), []);
    seen.claims.push(read(json!({"name": "no-reason", "annotations": {"holdfast.dev/left-out": " "}})));
    assert_eq!(found(&seen), [(CoveredKind::PersistentVolumeClaim, "no-reason".into())]);
}

#[test]
fn all_are_counted_and_64_are_named() {
    let mut seen = namespace();
    seen.claims.extend((0..300).map(|n| claim(&format!("c{n:03}"))));
    let coverage = of(&seen).unwrap();
    assert_eq!(coverage.uncovered.len(), 64);
    let claims = coverage.counts.iter().find(|of| of.kind == CoveredKind::PersistentVolumeClaim).unwrap();
    assert_eq!(claims.count, 300);
    assert!(
        told(&coverage).contains("PersistentVolumeClaim c007, and more in status.coverage: "),
        "{}",
        told(&coverage)
    );
}
