//! Who may have drills, and what the controller may do for them, on a real API server with the chart's admission policies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use serde_json::{Value, json};

use crate::admission::{create, server};

const CONTROLLER: &str = "system:serviceaccount:holdfast-system:holdfast-controller";
const PLAIN: &str = "plain@yourorg.com";

fn drill(policies: Option<&[&str]>) -> Value {
    let mut drill = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "DrDrill", "metadata": {"name": "db"},
        "spec": {"test": "DatabaseRecovery", "schedule": {"cron": "0 5 1 * *"}}});
    if let Some(policies) = policies {
        drill["spec"]["policies"] = policies.iter().map(|name| json!({"name": name})).collect();
    }
    drill
}

/// Somebody who may write drills, and has the verb recover on one policy.
fn allowed(namespace: &str) {
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "drills"},
        "rules": [{"apiGroups": ["holdfast.dev"], "resources": ["drdrills"], "verbs": ["create", "update", "patch", "get"]},
            {"apiGroups": ["holdfast.dev"], "resources": ["backuppolicies"], "resourceNames": ["chromadb"], "verbs": ["recover"]}]});
    let _ = server().kubectl_reading(&format!("create -n {namespace} -f -"), &rules.to_string()).success();
    let binding = format!("create rolebinding drills -n {namespace} --role=drills --user={PLAIN}");
    let _ = server().kubectl(&binding).success();
}

#[test]
fn i9_who_has_a_drill_needs_the_verb_recover_on_each_of_its_policies() {
    let namespace = server().namespace("drills");
    allowed(&namespace);
    let said = create(server(), &namespace, PLAIN, &drill(None)).refusal();
    assert!(said.contains("lacks the verb recover on backuppolicies.holdfast.dev in"), "{said}");
    let said = create(server(), &namespace, PLAIN, &drill(Some(&["chromadb", "email"]))).refusal();
    assert!(said.contains("lacks the verb recover on backuppolicies.holdfast.dev \"email\""), "{said}");
    let _ = create(server(), &namespace, PLAIN, &drill(Some(&["chromadb"]))).success();

    // What it may not have it may not change somebody's into, nor have run now.
    let patch = |what: &Value| {
        let arguments =
            format!("patch hfdrill db -n {namespace} --as={PLAIN} --type=merge --patch-file=/dev/stdin");
        server().kubectl_reading(&arguments, &what.to_string())
    };
    let said = patch(&json!({"spec": {"policies": [{"name": "email"}]}})).refusal();
    assert!(said.contains("lacks the verb recover"), "{said}");
    let now = json!({"metadata": {"annotations": {"holdfast.dev/requested-at": "2026-11-23T09:40:00Z"}}});
    let _ = patch(&now).success();
    let _ = server()
        .kubectl_reading(
            &format!("patch hfdrill db -n {namespace} --type=merge --patch-file=/dev/stdin"),
            &json!({"spec": {"policies": [{"name": "email"}]}}).to_string(),
        )
        .success();
    let later = json!({"metadata": {"annotations": {"holdfast.dev/requested-at": "2026-11-24T09:40:00Z"}}});
    let said = patch(&later).refusal();
    assert!(said.contains("lacks the verb recover"), "{said}");
    // Neither label nor finalizer starts anything.
    let _ = patch(&json!({"metadata": {"labels": {"team": "search"}}})).success();
}

fn run(name: &str, target: &Value, owner: Option<&str>) -> Value {
    let mut run = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun",
        "metadata": {"name": name, "labels": {"holdfast.dev/drill": "db"}},
        "spec": {"scenario": "DatabaseCorruption", "target": target}});
    if let Some(uid) = owner {
        run["metadata"]["ownerReferences"] = json!([{"apiVersion": "holdfast.dev/v1alpha1", "kind": "DrDrill", "name": "db",
            "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
    }
    run
}

#[test]
fn i10_the_controller_creates_runs_of_drills_in_sandboxes_and_no_others() {
    let namespace = server().namespace("children");
    let uid = uuid(&namespace);
    let sandbox = json!({"sandbox": {}});
    let as_controller = |run: &Value| create(server(), &namespace, CONTROLLER, run);
    let _ = as_controller(&run("db-1", &sandbox, Some(&uid))).success();
    let in_place = json!({"inPlace": {"confirm": namespace}});
    // What verifies points restores nothing into the cluster.
    let mut verifies = run("db-v", &Value::Null, Some(&uid));
    verifies["spec"] = json!({"scenario": "BackupVerification"});
    let _ = as_controller(&verifies).success();
    let said = as_controller(&run("db-2", &in_place, Some(&uid))).refusal();
    assert!(said.contains("outside of a sandbox: spec.target.sandbox is missing"), "{said}");
    let said = as_controller(&run("db-2", &sandbox, None)).refusal();
    assert!(said.contains("Holdfast creates no RecoveryRun \"db-2\""), "{said}");
    let mut unlabelled = run("db-2", &sandbox, Some(&uid));
    unlabelled["metadata"]["labels"] = Value::Null;
    assert!(as_controller(&unlabelled).refusal().contains("no label holdfast.dev/drill"));
}

#[test]
fn the_controller_deletes_runs_of_drills_and_no_others() {
    let namespace = server().namespace("removed");
    let uid = uuid(&namespace);
    let arguments = format!("create -n {namespace} -f -");
    for made in [run("db-1", &json!({"sandbox": {}}), Some(&uid)), run("db-2", &json!({"sandbox": {}}), None)]
    {
        let _ = server().kubectl_reading(&arguments, &made.to_string()).success();
    }
    let delete =
        |name: &str| server().kubectl(&format!("delete hfrun {name} -n {namespace} --as={CONTROLLER}"));
    let _ = delete("db-1").success();
    let said = delete("db-2").refusal();
    assert!(said.contains("Holdfast deletes no RecoveryRun \"db-2\""), "{said}");
    let _ = server().kubectl(&format!("delete hfrun db-2 -n {namespace}")).success();
}

#[test]
fn the_controller_writes_the_status_of_a_drill_and_nothing_else_of_it() {
    let namespace = server().namespace("status");
    let _ = uuid(&namespace);
    let seen = server().kubectl(&format!("get hfdrill db -n {namespace} -o json")).success();
    let mut object: Value = serde_json::from_str(&seen).unwrap();
    object["status"] = json!({"running": {"run": "db-1", "started": "2026-11-23T09:40:00Z"}});
    let replace = format!("replace -n {namespace} --subresource=status --as={CONTROLLER} -f -");
    let _ = server().kubectl_reading(&replace, &object.to_string()).success();
    let patch =
        format!("patch hfdrill db -n {namespace} --as={CONTROLLER} --type=merge --patch-file=/dev/stdin");
    let said =
        server().kubectl_reading(&patch, &json!({"spec": {"mode": "Suspended"}}).to_string()).refusal();
    assert!(said.contains("cannot patch resource"), "{said}");
}

/// The uid of a drill that is made there.
fn uuid(namespace: &str) -> String {
    let _ =
        server().kubectl_reading(&format!("create -n {namespace} -f -"), &drill(None).to_string()).success();
    server().kubectl(&format!("get hfdrill db -n {namespace} -o jsonpath={{.metadata.uid}}")).success()
}
