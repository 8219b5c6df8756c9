//! The kinds on a real API server: what it accepts, what it fills in, and the sentence a user reads when it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod checks;
mod drills;
mod rotations;
mod runs;
mod tables;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tests::apiserver::{ApiServer, repository};

/// A server that knows the kinds.
pub fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    ApiServer::shared(&SERVER, |server| {
        let definitions = repository().join("crds/yaml");
        let _ = server.kubectl(&format!("apply --server-side -f {}", definitions.display())).success();
        let _ = server.kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
    })
}

fn object(kind: &str, spec: Value) -> Value {
    let meta = json!({"name": "subject"});
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec})
}

/// The smallest object of each kind that is accepted.
fn smallest(kind: &str) -> Value {
    object(
        kind,
        match kind {
            "RecoveryRepository" => json!({
                "s3": {"bucket": "yourorg-dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
                "encryption": {"keySecretRef": {"name": "repository-key"}},
            }),
            "BackupPolicy" => json!({
                "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
                "repositoryRef": {"name": "primary"},
            }),
            "RecoveryPoint" => {
                json!({"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": "4be1c07a"})
            }
            "RecoveryRun" => {
                json!({"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": "arxiv"}}})
            }
            "DrDrill" => json!({"test": "DatabaseRecovery", "schedule": {"cron": "0 5 1 * *"}}),
            other => panic!("no such kind: {other}"),
        },
    )
}

/// `patch` merged into `target` as a JSON merge patch does: null removes.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            let _ = target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], change);
        }
    }
}

fn with(kind: &str, spec: &Value) -> String {
    let mut object = smallest(kind);
    merge(&mut object["spec"], spec);
    object.to_string()
}

/// The refusals in what kubectl printed, as (field, sentence); what the API server puts between them is left out.
fn refusals(said: &str) -> Vec<(String, String)> {
    said.lines()
        .filter_map(|line| {
            let line =
                line.strip_prefix("* ").or_else(|| line.split_once(" is invalid: ").map(|(_, rest)| rest))?;
            let (field, rest) = line.split_once(": Invalid value: \"")?;
            let (_, sentence) = rest.split_once("\": ")?;
            Some((field.to_owned(), sentence.to_owned()))
        })
        .collect()
}

struct Refusal {
    kind: &'static str,
    /// Merged into the spec of the smallest object.
    input: Value,
    field: &'static str,
    sentence: &'static str,
}

fn refused_on_creation() -> Vec<Refusal> {
    let case = |kind, input, field, sentence| Refusal { kind, input, field, sentence };
    let http = json!({"serviceRef": {"name": "scholar"}});
    let floor = json!({"collection": "papers", "atLeast": 1});
    let check = |name: &str, more: Value| {
        let mut check = json!({"name": name});
        merge(&mut check, &more);
        json!({"checks": [check]})
    };
    vec![
        case(
            "BackupPolicy",
            check("a", json!({"http": http, "chromaCount": floor})),
            "spec.checks[0]",
            "set exactly one of http, chromaCount, chromaQuery, smtp, job, exec, status, manual",
        ),
        case(
            "BackupPolicy",
            check("a", json!({"job": {"cronJobRef": {"name": "check"}}, "manual": {"expected": "it is so"}})),
            "spec.checks[0]",
            "set exactly one of http, chromaCount, chromaQuery, smtp, job, exec, status, manual",
        ),
        case(
            "BackupPolicy",
            check(
                "a",
                json!({"status": {"objectRef": {"kind": "Pod", "name": "p"}, "expression": "object.status.conditions.all(a, object.x.map(b, b))"}}),
            ),
            "spec.checks[0].status.expression",
            "use one of all, exists, exists_one, map and filter, once",
        ),
        case(
            "BackupPolicy",
            check("counts", json!({"http": http})),
            "spec.checks[0].name",
            "is the name of a check that every recovery makes; choose another",
        ),
        case(
            "BackupPolicy",
            check("Papers", json!({"http": http})),
            "spec.checks[0].name",
            "write lower-case letters, digits and dashes, as in papers-floor",
        ),
        case(
            "BackupPolicy",
            check("a", json!({"http": http, "timeout": "11m"})),
            "spec.checks[0].timeout",
            "write 1s to 10m",
        ),
        case(
            "BackupPolicy",
            check("a", json!({"http": {"serviceRef": {"name": "scholar"}, "path": "healthz"}})),
            "spec.checks[0].http.path",
            "write a path, as in /healthz",
        ),
        case(
            "BackupPolicy",
            json!({"emergency": {"logsSince": "721h"}}),
            "spec.emergency.logsSince",
            "logs of more than 720h don't fit into an emergency capture",
        ),
        case(
            "RecoveryRepository",
            json!({"s3": {"endpoint": "s3.example.com"}}),
            "spec.s3.endpoint",
            r#""s3.example.com" is no URL; write it with its scheme: "https://s3.example.com""#,
        ),
        case(
            "RecoveryRepository",
            json!({"s3": {"prefix": "/arxiv"}}),
            "spec.s3.prefix",
            r#"write it as a folder: "arxiv/", ending in a slash and not beginning with one"#,
        ),
        case(
            "RecoveryRepository",
            json!({"volume": {"claimRef": {"name": "disk"}}}),
            "spec",
            "set exactly one of s3, volume: where points are kept",
        ),
        case(
            "RecoveryRepository",
            json!({"s3": null}),
            "spec",
            "set exactly one of s3, volume: where points are kept",
        ),
        case(
            "RecoveryRepository",
            json!({"s3": null, "volume": {"claimRef": {"name": "disk"}}, "objectLock": {"mode": "Governance", "retainFor": "1h"}}),
            "spec.objectLock.mode",
            "a volume has no Object Lock; use s3 with a bucket that was made with it, or leave out objectLock",
        ),
        case(
            "RecoveryRepository",
            json!({"encryption": {"escrow": {}}}),
            "spec.encryption.escrow",
            "set exactly one of acknowledged, keySecretRef",
        ),
        case(
            "RecoveryRepository",
            json!({"encryption": {"escrow": {"keySecretRef": {"name": "k"}, "acknowledged": {"fingerprint": "7c1f-09aa-52d3"}}}}),
            "spec.encryption.escrow",
            "set exactly one of acknowledged, keySecretRef",
        ),
        case(
            "RecoveryRepository",
            json!({"objectLock": {"mode": "Governance", "retainFor": "30d"}}),
            "spec.objectLock.retainFor",
            r#""30d" is no duration; write hours, minutes, seconds: 720h, 1h30m"#,
        ),
        case(
            "RecoveryRepository",
            json!({"objectLock": {"mode": "Compliance"}}),
            "spec.objectLock.retainFor",
            "required with mode Compliance: say for how long what a point needs is kept, as in 720h",
        ),
        case(
            "RecoveryRepository",
            json!({"objectLock": {"retainFor": "720h"}}),
            "spec.objectLock.mode",
            "None locks nothing for retainFor; write Governance (those with a special right may delete) or Compliance (nobody may)",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": null}}),
            "spec.component",
            "set exactly one of chromaDB, application; a ChromaDB treated as an application would be captured torn",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {}}),
            "spec.capture",
            "set one of live: {}, snapshot: {} and offline: {}",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {"live": {}, "offline": {}}}),
            "spec.capture",
            "set one of live: {}, snapshot: {} and offline: {}",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {"live": {}, "snapshot": {}}}),
            "spec.capture",
            "set one of live: {}, snapshot: {} and offline: {}",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {"live": null, "offline": {}, "hooks": {"before": {"command": ["sync"]}}}}),
            "spec.capture",
            "hooks run in pods, and an offline capture has none: its workloads are stopped",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {"live": {}, "hooks": {}}}),
            "spec.capture.hooks",
            "set before, after or both",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": {"dataPath": "data"}}}),
            "spec.component.chromaDB.dataPath",
            "write an absolute path in the container, as in /data",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": {"auth": {}}}}),
            "spec.component.chromaDB.auth",
            "set exactly one of tokenSecretRef, basicSecretRef",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": {"auth": {"tokenSecretRef": {"name": "a"}, "basicSecretRef": {"name": "a"}}}}}),
            "spec.component.chromaDB.auth",
            "set exactly one of tokenSecretRef, basicSecretRef",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": {"auth": {"basicSecretRef": {"name": "a"}, "tokenHeader": "X-Chroma-Token"}}}}),
            "spec.component.chromaDB.auth.tokenHeader",
            "says where a token goes, and there is none; set tokenSecretRef or leave it out",
        ),
        case(
            "BackupPolicy",
            json!({"component": {"chromaDB": {"auth": {"tokenSecretRef": {"name": "a"}, "tokenHeader": "Authorization"}}}}),
            "spec.component.chromaDB.auth.tokenHeader",
            "write the name of a header, as in X-Chroma-Token; leave it out for Authorization",
        ),
        case(
            "BackupPolicy",
            json!({"objectives": {"rpo": "30min"}}),
            "spec.objectives.rpo",
            r#""30min" is no duration; write hours, minutes, seconds: 720h, 1h30m"#,
        ),
        case(
            "BackupPolicy",
            json!({"objectives": {"rto": "30d"}}),
            "spec.objectives.rto",
            r#""30d" is no duration; write hours, minutes, seconds: 720h, 1h30m"#,
        ),
        case(
            "BackupPolicy",
            json!({"retention": {}}),
            "spec.retention",
            "set at least one of last, hourly, daily, weekly, monthly, yearly, maxAge; leave retention out for last: 24, daily: 7, weekly: 4, monthly: 3",
        ),
        case(
            "BackupPolicy",
            json!({"capture": {"live": {"maxWriterPause": "0s"}}}),
            "spec.capture.live.maxWriterPause",
            r#""0s" is no duration; write hours, minutes, seconds: 720h, 1h30m"#,
        ),
        case(
            "BackupPolicy",
            json!({"schedule": {"cron": "0 0 4 * * 0"}}),
            "spec.schedule.cron",
            r#"six fields; leave out the seconds: "0 4 * * 0""#,
        ),
        case(
            "BackupPolicy",
            json!({"schedule": {"cron": "every hour"}}),
            "spec.schedule.cron",
            r#"write five fields: minute, hour, day of month, month, day of week, as in "*/15 * * * *""#,
        ),
        case(
            "BackupPolicy",
            json!({"offline": {"endpoints": [{"host": "export.arxiv.org", "port": 443}]}}),
            "spec.offline",
            "set switch, suspend or both; without them offline mode changes nothing",
        ),
        case(
            "BackupPolicy",
            json!({"offline": {"endpoints": [{"host": "export.arxiv.org", "port": 443}], "restart": "Required",
                "suspend": [{"kind": "CronJob", "name": "fetch"}]}}),
            "spec.offline.restart",
            "Required restarts what reads the switch, and there is none; set switch or leave it out",
        ),
        case(
            "BackupPolicy",
            json!({"offline": {"endpoints": [{"host": "https://export.arxiv.org", "port": 443}],
                "suspend": [{"kind": "CronJob", "name": "fetch"}]}}),
            "spec.offline.endpoints[0].host",
            "write a DNS name or an IPv4 address without scheme, port or path, as in export.arxiv.org",
        ),
        case(
            "BackupPolicy",
            json!({"offline": {"endpoints": [{"host": "export.arxiv.org", "port": 443}],
                "suspend": [{"kind": "StatefulSet", "name": "chromadb"}]}}),
            "spec.offline.suspend",
            "a StatefulSet may lose its claims when it is scaled to zero; name CronJobs and Deployments",
        ),
        case(
            "BackupPolicy",
            json!({"offline": {"endpoints": [{"host": "export.arxiv.org", "port": 443}],
                "switch": {"configMapRef": {"name": "config"}, "key": "OFFLINE_MODE", "online": "true", "offline": "true"}}}),
            "spec.offline.switch.offline",
            "the same as online, so nothing would be switched; write the value that means offline",
        ),
    ]
}

fn refused_on_change() -> Vec<Refusal> {
    let unreachable = "can't be changed, points would be out of reach; make a second RecoveryRepository";
    let new_run = "a RecoveryRun can't be changed, except desiredState, decisions, attestations and incident texts; create a new run";
    let point = "a RecoveryPoint can't be changed, except hold, trust and deletionPolicy; it records what the repository holds";
    let case = |kind, input, field, sentence| Refusal { kind, input, field, sentence };
    vec![
        case("RecoveryRepository", json!({"s3": {"bucket": "another"}}), "spec.s3.bucket", unreachable),
        case("RecoveryRepository", json!({"s3": {"prefix": "other/"}}), "spec.s3.prefix", unreachable),
        case(
            "RecoveryRepository",
            json!({"s3": null, "volume": {"claimRef": {"name": "disk"}}}),
            "spec",
            "s3 and volume can't be exchanged, points would be out of reach; make a second RecoveryRepository",
        ),
        case(
            "RecoveryRepository",
            json!({"encryption": {"keySecretRef": {"name": "another"}}}),
            "spec.encryption.keySecretRef",
            unreachable,
        ),
        case("RecoveryPoint", json!({"id": "another"}), "spec", point),
        case("RecoveryPoint", json!({"policy": "another"}), "spec", point),
        case("RecoveryRun", json!({"target": {"inPlace": {"confirm": "other"}}}), "spec", new_run),
        case("RecoveryRun", json!({"target": {"inPlace": {"storageClassName": "fast"}}}), "spec", new_run),
        case("RecoveryRun", json!({"mode": "DryRun"}), "spec", new_run),
        case("RecoveryRun", json!({"policies": [{"name": "chromadb"}]}), "spec", new_run),
        case("RecoveryRun", json!({"point": {"latest": null, "named": {"name": "p"}}}), "spec", new_run),
        case("RecoveryRun", json!({"deadline": "8h"}), "spec", new_run),
        case("RecoveryRun", json!({"gates": [{"name": "Start"}]}), "spec", new_run),
        case(
            "RecoveryRun",
            json!({"desiredState": "Running"}),
            "spec",
            "a cancelled run stays cancelled; create a new run",
        ),
        case(
            "RecoveryRun",
            json!({"incident": {"detectedAt": "2026-11-23T09:28:00Z"}}),
            "spec",
            "incident.detectedAt can't be changed, both clocks start there; create a new run",
        ),
        case(
            "RecoveryRun",
            json!({"incident": {"suspectedSince": "2026-11-23T09:28:00Z"}}),
            "spec",
            "incident.suspectedSince can't be changed, points were judged by it; create a new run",
        ),
    ]
}

#[test]
fn what_is_written_in_crds_yaml_and_in_the_chart_is_what_the_types_say() {
    for (name, generated) in crds::generate::definitions().unwrap() {
        for directory in ["crds/yaml", "charts/holdfast/files/crds"] {
            let path = repository().join(directory).join(&name);
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(written == generated, "{} is stale: run make generate", path.display());
        }
    }
}

#[test]
fn the_smallest_object_of_every_kind_is_accepted() {
    for kind in ["RecoveryRepository", "BackupPolicy", "RecoveryPoint", "RecoveryRun", "DrDrill"] {
        let _ =
            server().kubectl_reading("create --dry-run=server -f -", &smallest(kind).to_string()).success();
    }
    let since = json!({"detectedAt": "2026-11-23T09:28:00Z", "suspectedSince": "2026-11-23T09:28:00Z"});
    for spec in [
        incident(),
        json!({"point": {"lastKnownGood": {"before": "2026-11-23T09:00:00Z"}}}),
        json!({"point": {"lastKnownGood": {}}, "incident": since}),
    ] {
        let told = server()
            .kubectl_reading("create --dry-run=server --validate=strict -f -", &with("RecoveryRun", &spec));
        let _ = told.success();
    }
}

#[test]
fn a_wrong_object_is_refused_with_the_field_and_the_remedy() {
    let of_runs = runs::refused_on_creation()
        .into_iter()
        .chain(rotations::refused_on_creation())
        .chain(drills::refused_on_creation())
        .chain(checks::refused_on_creation());
    for case in refused_on_creation().into_iter().chain(of_runs) {
        let answer = server().kubectl_reading("create --dry-run=server -f -", &with(case.kind, &case.input));
        let said = answer.refusal();
        let expected = (case.field.to_owned(), case.sentence.to_owned());
        assert!(refusals(&said).contains(&expected), "{} {}: {said}", case.kind, case.input);
    }
}

#[test]
fn what_must_not_change_is_refused_with_the_field_and_the_remedy() {
    let namespace = server().namespace("immutable");
    for kind in ["RecoveryRepository", "RecoveryPoint", "RecoveryRun", "DrDrill"] {
        let _ = server()
            .kubectl_reading(&format!("create -n {namespace} -f -"), &smallest(kind).to_string())
            .success();
    }
    for change in [
        json!({"hold": {"reason": "INC-2041"}}),
        json!({"hold": null}),
        json!({"trust": "Quarantined"}),
        json!({"trust": "Trusted"}),
        json!({"trust": "Auto"}),
        json!({"deletionPolicy": "Delete"}),
        json!({"deletionPolicy": "Retain"}),
    ] {
        let _ = patched(&namespace, "RecoveryPoint", &json!({"spec": change}).to_string()).success();
    }
    for case in refused_on_change().into_iter().chain([drills::refused_on_change()]) {
        if case.sentence.starts_with("a cancelled run") {
            let cancelled = json!({"spec": {"desiredState": "Cancelled"}}).to_string();
            let _ = patched(&namespace, "RecoveryRun", &cancelled).success();
        }
        let mut object = smallest(case.kind);
        let patch = json!({"spec": case.input}).to_string();
        object["metadata"]["namespace"] = json!(namespace);
        let said = patched(&namespace, case.kind, &patch).refusal();
        let expected = (case.field.to_owned(), case.sentence.to_owned());
        assert!(refusals(&said).contains(&expected), "{} {}: {said}", case.kind, case.input);
    }
}

fn patched(namespace: &str, kind: &str, patch: &str) -> tests::apiserver::Answer {
    // The patch comes by a file: arguments are separated by blanks here.
    let arguments = format!("patch {kind} subject -n {namespace} --type=merge --patch-file=/dev/stdin");
    server().kubectl_reading(&arguments, patch)
}

/// All that people may write of an incident.
fn incident() -> Value {
    json!({"incident": {
        "summary": "pages overwritten", "severity": "Critical", "impact": "search answers 500", "usersAffected": 120,
        "dataLossRisk": "Unknown", "coordinator": "admin@yourorg.com", "commander": "ops@yourorg.com", "technicalLead": "tech-lead@yourorg.com",
        "rootCause": "a stray dd", "contributingFactors": vec!["a root shell"; 16], "prevention": ["read-only mounts"],
        "lessons": {"workedWell": ["the gate"], "toImprove": ["paging"]},
        "processImprovements": ["page sooner"], "updatedProcedures": ["r".repeat(1024)],
    }})
}

#[test]
fn incident_texts_may_follow_and_what_is_not_identity_may_change() {
    let namespace = server().namespace("mutable");
    for kind in ["RecoveryRepository", "BackupPolicy", "RecoveryRun"] {
        let _ = server()
            .kubectl_reading(&format!("create -n {namespace} -f -"), &smallest(kind).to_string())
            .success();
    }
    for (kind, patch) in [
        ("RecoveryRun", json!({"incident": {"summary": "pages overwritten", "rootCause": "a stray dd"}})),
        ("RecoveryRun", incident()),
        (
            "RecoveryRun",
            json!({"incident": {"severity": null, "prevention": ["another"], "lessons": {"toImprove": null}}}),
        ),
        ("RecoveryRun", json!({"incident": null})),
        ("RecoveryRepository", json!({"s3": {"endpoint": "https://s3.new.example.com", "region": "eu"}})),
        ("RecoveryRepository", json!({"mode": "ReadOnly"})),
        ("RecoveryRepository", json!({"mode": "Sealed"})),
        (
            "BackupPolicy",
            json!({"mode": "Suspended", "objectives": {"rpo": "5m"}, "schedule": {"cron": "*/2 * * * *"}}),
        ),
    ] {
        let _ = patched(&namespace, kind, &json!({"spec": patch}).to_string()).success();
    }
}

/// Text that a rule's message can't do without: the message itself, or the longest literal of its expression.
fn gist(rule: &Value) -> String {
    match rule["message"].as_str() {
        Some(message) => message.to_owned(),
        None => {
            let expression =
                rule["messageExpression"].as_str().expect("every rule has a message or an expression");
            expression.split('\'').max_by_key(|part| part.len()).expect("split yields a part").to_owned()
        }
    }
}

fn rules(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Array(list) if name == "x-kubernetes-validations" => {
                        found.extend(list.iter().map(gist))
                    }
                    Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
                    Value::Array(_) | Value::Object(_) => rules(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| rules(value, found)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_rule_is_without_a_case_above() {
    use kube::CustomResourceExt;
    let definitions = [
        crds::RecoveryRepository::crd(),
        crds::BackupPolicy::crd(),
        crds::RecoveryPoint::crd(),
        crds::RecoveryRun::crd(),
        crds::DrDrill::crd(),
    ];
    let mut found = BTreeSet::new();
    for definition in definitions {
        rules(&serde_json::to_value(definition).unwrap(), &mut found);
    }
    assert!(found.len() > 10, "only {} rules found: the search is broken", found.len());
    let cases: Vec<_> = refused_on_creation()
        .into_iter()
        .chain(runs::refused_on_creation())
        .chain(rotations::refused_on_creation())
        .chain(checks::refused_on_creation())
        .chain(drills::refused_on_creation())
        .chain(refused_on_change())
        .chain([drills::refused_on_change()])
        .collect();
    let untested: Vec<_> =
        found.iter().filter(|gist| !cases.iter().any(|case| case.sentence.contains(*gist))).collect();
    assert!(untested.is_empty(), "no case shows what a user reads for: {untested:#?}");
}

#[test]
fn a_value_outside_an_enumeration_or_a_pattern_is_refused_by_name() {
    for (kind, input, sentence) in [
        (
            "BackupPolicy",
            json!({"priority": "Urgent"}),
            r#"spec.priority: Unsupported value: "Urgent": supported values: "Critical", "High", "Medium", "Low""#,
        ),
        (
            "RecoveryRun",
            json!({"scenario": "Flood"}),
            r#"spec.scenario: Unsupported value: "Flood": supported values: "CompleteFailure", "DatabaseCorruption", "StorageFailure", "NetworkFailure", "SecurityBreach""#,
        ),
        (
            "RecoveryRepository",
            json!({"encryption": {"escrow": {"acknowledged": {"fingerprint": "yes I have it!"}}}}),
            "spec.encryption.escrow.acknowledged.fingerprint: Invalid value: \"yes I have it!\"",
        ),
        (
            "BackupPolicy",
            json!({"component": {"workloads": []}}),
            "spec.component.workloads: Invalid value: 0",
        ),
        (
            "BackupPolicy",
            json!({"repositoryRef": {"name": ""}}),
            "spec.repositoryRef.name: Invalid value: \"\"",
        ),
        (
            "RecoveryRun",
            json!({"target": {"inPlace": {"confirm": null}}}),
            "spec.target.inPlace.confirm: Required value",
        ),
        (
            "RecoveryRun",
            json!({"incident": {"severity": "Urgent"}}),
            r#"spec.incident.severity: Unsupported value: "Urgent": supported values: "Critical", "High", "Medium", "Low""#,
        ),
        (
            "RecoveryRun",
            json!({"incident": {"dataLossRisk": "Maybe"}}),
            r#"spec.incident.dataLossRisk: Unsupported value: "Maybe": supported values: "Yes", "No", "Unknown""#,
        ),
        // What YAML makes of a bare Yes.
        (
            "RecoveryRun",
            json!({"incident": {"dataLossRisk": true}}),
            r#"spec.incident.dataLossRisk: Invalid value: "boolean""#,
        ),
        (
            "RecoveryRun",
            json!({"incident": {"usersAffected": -1}}),
            "spec.incident.usersAffected: Invalid value: -1",
        ),
        (
            "RecoveryRun",
            json!({"incident": {"prevention": vec!["p"; 17]}}),
            "spec.incident.prevention: Too many: 17: must have at most 16 items",
        ),
        (
            "RecoveryRun",
            json!({"incident": {"lessons": {"workedWell": vec!["w"; 17]}}}),
            "spec.incident.lessons.workedWell: Too many: 17: must have at most 16 items",
        ),
        (
            "RecoveryRun",
            json!({"incident": {"contributingFactors": ["f".repeat(1025)]}}),
            "spec.incident.contributingFactors[0]: Too long",
        ),
    ] {
        let said = server().kubectl_reading("create --dry-run=server -f -", &with(kind, &input)).refusal();
        assert!(said.contains(sentence), "{kind} {input}: {said}");
    }
}

#[test]
fn an_unknown_field_is_refused_by_its_path() {
    for (kind, input, field) in [
        ("BackupPolicy", json!({"objectives": {"rp0": "1h"}}), "spec.objectives.rp0"),
        (
            "BackupPolicy",
            json!({"component": {"chromaDB": {"portt": 8000}}}),
            "spec.component.chromaDB.portt",
        ),
        ("RecoveryRepository", json!({"s3": {"pathStyle": true}}), "spec.s3.pathStyle"),
        ("RecoveryRun", json!({"point": {"latest": {"healthy": true}}}), "spec.point.latest.healthy"),
        ("RecoveryRun", json!({"approval": "Required"}), "spec.approval"),
        ("RecoveryPoint", json!({"pin": true}), "spec.pin"),
    ] {
        let said =
            server().kubectl_reading("create --dry-run=server --validate=strict -f -", &with(kind, &input));
        let said = said.refusal();
        assert!(said.contains(&format!("unknown field \"{field}\"")), "{kind} {input}: {said}");
    }
}

#[test]
fn defaults_stand_in_the_object_and_a_choice_made_is_left_alone() {
    let defaulted = |kind: &str, input: &Value| -> Value {
        let answer = server().kubectl_reading("create --dry-run=server -o json -f -", &with(kind, input));
        serde_json::from_str::<Value>(&answer.success()).unwrap()["spec"].clone()
    };
    let policy = defaulted("BackupPolicy", &json!({}));
    assert_eq!(policy["priority"], "Medium");
    assert_eq!(policy["objectives"], json!({"rto": "4h", "rpo": "1h"}));
    assert_eq!(policy["capture"], json!({"live": {"maxWriterPause": "5s"}, "maxShrinkPercent": 20}));
    let kept = json!({"last": 24, "hourly": 0, "daily": 7, "weekly": 4, "monthly": 3, "yearly": 0, "minimum": 1, "verified": 1});
    assert_eq!(policy["retention"], kept);
    // What is not named in a choice of one's own is no rule.
    let chosen = defaulted("BackupPolicy", &json!({"retention": {"daily": 30}}));
    let kept = json!({"last": 0, "hourly": 0, "daily": 30, "weekly": 0, "monthly": 0, "yearly": 0, "minimum": 1, "verified": 1});
    assert_eq!(chosen["retention"], kept);
    assert_eq!(policy["mode"], "Active");
    assert_eq!(policy["component"]["chromaDB"]["port"], 8000);
    let auth = json!({"tokenSecretRef": {"name": "chromadb-auth"}, "tokenHeader": "X-Chroma-Token"});
    let asking = defaulted("BackupPolicy", &json!({"component": {"chromaDB": {"auth": auth}}}));
    assert_eq!(asking["component"]["chromaDB"]["auth"]["tokenSecretRef"]["key"], "token");
    assert_eq!(policy.get("schedule"), None, "an omitted schedule is derived, never written");

    let scheduled = defaulted(
        "BackupPolicy",
        &json!({"schedule": {"cron": "*/30 * * * *"}, "objectives": {"rpo": "2h"}}),
    );
    assert_eq!(scheduled["schedule"]["timeZone"], "UTC");
    assert_eq!(scheduled["objectives"], json!({"rto": "4h", "rpo": "2h"}));

    let repository = defaulted("RecoveryRepository", &json!({}));
    assert_eq!(repository["mode"], "ReadWrite");
    assert_eq!(repository["s3"]["addressing"], "Path");
    assert_eq!(repository["s3"]["region"], "us-east-1");
    assert_eq!(repository["s3"]["prefix"], "");

    let run = defaulted("RecoveryRun", &json!({}));
    assert_eq!(run["mode"], "Run");
    // Omitted it is latest, but of a network failure, which has none.
    assert_eq!(run["point"], Value::Null);
    let drill = defaulted("DrDrill", &json!({}));
    assert_eq!(drill["mode"], "Active");
    assert_eq!(drill["history"], json!({"passed": 5, "failed": 10}));
    assert_eq!(drill["schedule"]["timeZone"], "UTC");
    assert_eq!(drill.get("maxStaleness"), None, "what follows from the schedule is derived, never written");
    let named = defaulted("RecoveryRun", &json!({"point": {"named": {"name": "p"}}}));
    assert_eq!(named["point"], json!({"named": {"name": "p"}}));
}

#[test]
fn points_are_found_by_their_policy() {
    let namespace = server().namespace("selectable");
    let _ = server()
        .kubectl_reading(&format!("create -n {namespace} -f -"), &smallest("RecoveryPoint").to_string())
        .success();
    let get = |policy: &str| {
        server()
            .kubectl(&format!("get hfpoint -n {namespace} -o name --field-selector=spec.policy={policy}"))
            .success()
    };
    assert_eq!(get("chromadb").trim(), "recoverypoint.holdfast.dev/subject");
    assert_eq!(get("other"), "");
}
