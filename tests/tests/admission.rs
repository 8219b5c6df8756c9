//! The chart's admission policies on a real API server, as users, workloads' controllers and Holdfast itself meet them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::apiserver::{Answer, ApiServer, repository, tool};

const CONTROLLER: &str = "system:serviceaccount:holdfast-system:holdfast-controller";
const STATEFULSETS: &str = "system:serviceaccount:kube-system:statefulset-controller";
const DEVELOPER: &str = "dev@yourorg.com";

fn server() -> &'static ApiServer {
    ApiServer::shared(|server| {
        let _ = server.kubectl("create namespace holdfast-system").success();
        let mut helm = Command::new(tool("helm").expect("helm is built"));
        helm.args(["template", "holdfast"]).arg(repository().join("charts/holdfast"));
        helm.args(["--namespace", "holdfast-system"]);
        let chart = server.run(helm, "").success();
        let _ = server.kubectl_reading("apply --server-side -f -", &chart).success();
        let _ = server.kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
        let developer = format!("create clusterrolebinding dev --clusterrole=admin --user={DEVELOPER}");
        let _ = server.kubectl(&developer).success();
        await_enforcement(server);
    })
}

/// A policy that was just made is not in force at once; the last one applied is waited for.
fn await_enforcement(server: &ApiServer) {
    let namespace = server.namespace("warm");
    let deadline = Instant::now() + Duration::from_secs(30);
    while create(server, &namespace, DEVELOPER, &fence("probe", ",none,")).ok {
        let _ = server.kubectl(&format!("delete configmap probe -n {namespace}")).success();
        assert!(Instant::now() < deadline, "the admission policies did not come into force");
    }
    // The aggregated rights of admin come by a controller that this server does not run.
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "admin"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "persistentvolumeclaims", "configmaps"], "verbs": ["create", "update", "patch", "delete", "get"]},
            {"apiGroups": ["holdfast.dev"], "resources": ["recoveryruns"], "verbs": ["create", "get"]}]});
    let _ = server.kubectl_reading("replace -f -", &rules.to_string()).success();
}

fn create(server: &ApiServer, namespace: &str, user: &str, object: &Value) -> Answer {
    server.kubectl_reading(&format!("create -n {namespace} --as={user} -f -"), &object.to_string())
}

fn run(confirm: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "db-2026-11-23"},
        "spec": {"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": confirm}}}})
}

fn fence(name: &str, claims: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"holdfast.dev/fence": "", "holdfast.dev/run": "db-2026-11-23"}},
        "data": {"claims": claims}})
}

fn pod(name: &str, claims: &[&str]) -> Value {
    let volumes: Vec<Value> = claims
        .iter()
        .enumerate()
        .map(|(number, claim)| json!({"name": format!("v{number}"), "persistentVolumeClaim": {"claimName": claim}}))
        .chain([json!({"name": "scratch", "emptyDir": {}})])
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "localhost/none:1"}], "volumes": volumes}})
}

fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A namespace in which `data-chromadb-0` is fenced, once the fence is in force: the API server learns of it by a watch.
fn fenced(claims: &str) -> String {
    let namespace = server().namespace("fenced");
    let _ = create(server(), &namespace, CONTROLLER, &fence("db-fence", claims)).success();
    let deadline = Instant::now() + Duration::from_secs(30);
    let trial = pod("trial", &["data-chromadb-0"]).to_string();
    while server().kubectl_reading(&format!("create -n {namespace} --dry-run=server -f -"), &trial).ok {
        assert!(Instant::now() < deadline, "the fence did not come into force");
    }
    namespace
}

#[test]
fn a_run_in_place_names_the_namespace_that_is_at_risk() {
    let namespace = server().namespace("confirm");
    let said = create(server(), &namespace, DEVELOPER, &run("arxiv")).refusal();
    let sentence = format!(
        "spec.target.inPlace.confirm: must be the namespace \"{namespace}\"; this run replaces the volumes of its workloads"
    );
    assert!(said.trim_end().ends_with(&sentence), "{said}");
    let _ = create(server(), &namespace, DEVELOPER, &run(&namespace)).success();
}

#[test]
fn a_pod_of_a_fenced_claim_is_refused_whoever_makes_it() {
    let namespace = fenced(",data-chromadb-0,other,");
    for user in [DEVELOPER, "system:admin", CONTROLLER] {
        let said = server().kubectl_reading(
            &format!("create -n {namespace} --as={user} --as-group=system:masters -f -"),
            &pod("chromadb-0", &["unrelated", "data-chromadb-0"]).to_string(),
        );
        let sentence = format!(
            "claim data-chromadb-0 belongs to RecoveryRun db-2026-11-23 until its volumes are exchanged; nothing has to be \
             done, try again when it has ended: kubectl get hfrun -n {namespace}"
        );
        let said = said.refusal();
        assert!(said.trim_end().ends_with(&sentence), "{user}: {said}");
    }
    let said = create(server(), &namespace, DEVELOPER, &pod("both", &["other", "data-chromadb-0"])).refusal();
    assert!(said.contains("claim other, data-chromadb-0 belongs to"), "{said}");
}

#[test]
fn other_pods_are_let_through_a_fence() {
    let namespace = fenced(",data-chromadb-0,");
    for (name, claims) in [
        ("without-claims", &[][..]),
        ("another-claim", &["data-chromadb-1"]),
        ("part-of-the-name", &["data-chromadb"]),
        ("longer-name", &["data-chromadb-0-quarantine"]),
    ] {
        let _ = create(server(), &namespace, DEVELOPER, &pod(name, claims)).success();
    }
    let elsewhere = server().namespace("elsewhere");
    let _ = create(server(), &elsewhere, DEVELOPER, &pod("chromadb-0", &["data-chromadb-0"])).success();
}

#[test]
fn only_holdfast_makes_a_claim_of_a_fenced_name() {
    let namespace = fenced(",data-chromadb-0,");
    for user in [DEVELOPER, STATEFULSETS] {
        let said = server().kubectl_reading(
            &format!("create -n {namespace} --as={user} --as-group=system:masters -f -"),
            &claim("data-chromadb-0").to_string(),
        );
        let said = said.refusal();
        assert!(
            said.contains("claim data-chromadb-0 belongs to RecoveryRun db-2026-11-23"),
            "{user}: {said}"
        );
    }
    let _ = create(server(), &namespace, DEVELOPER, &claim("data-chromadb-1")).success();
    let _ = create(server(), &namespace, CONTROLLER, &claim("data-chromadb-0")).success();
}

#[test]
fn a_fence_that_names_nothing_yet_or_was_lifted_holds_nothing_up() {
    let namespace = server().namespace("lowered");
    let mut silent = fence("remembers", "");
    let _ = silent["data"].as_object_mut().unwrap().remove("claims");
    let _ = create(server(), &namespace, CONTROLLER, &silent).success();
    let _ = create(server(), &namespace, CONTROLLER, &fence("empty", ",")).success();
    // The same server sees these two when it sees a third one that was made later.
    let _ = create(server(), &namespace, CONTROLLER, &fence("raised", ",later,")).success();
    let deadline = Instant::now() + Duration::from_secs(30);
    while create(server(), &namespace, DEVELOPER, &claim("later")).ok {
        let _ = server().kubectl(&format!("delete pvc later -n {namespace} --wait=false")).success();
        assert!(Instant::now() < deadline, "the fence did not come into force");
    }
    let _ = create(server(), &namespace, DEVELOPER, &pod("chromadb-0", &["data-chromadb-0"])).success();
    let _ = create(server(), &namespace, DEVELOPER, &claim("data-chromadb-0")).success();

    // Lifted by a person, because the controller is gone for good.
    let _ = server().kubectl(&format!("delete configmap raised -n {namespace} --as={DEVELOPER}")).success();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create(server(), &namespace, DEVELOPER, &claim("later")).ok {
        assert!(Instant::now() < deadline, "the fence was not lifted");
    }
}

#[test]
fn only_holdfast_fences() {
    let namespace = server().namespace("owner");
    let said = create(server(), &namespace, DEVELOPER, &fence("forged", ",data-chromadb-0,")).refusal();
    let sentence = "ConfigMap forged: only Holdfast sets or changes the label holdfast.dev/fence and what it fences; leave \
                    the label out, or delete the ConfigMap to lift a fence whose run will never end";
    assert!(said.trim_end().ends_with(sentence), "{said}");

    let plain = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}});
    let _ = create(server(), &namespace, DEVELOPER, &plain).success();
    let edit = |name: &str, change: &str, user: &str| {
        server().kubectl(&format!(
            "{change} configmap {name} -n {namespace} --as={user} --overwrite holdfast.dev/fence-"
        ))
    };
    let label = format!("label configmap plain -n {namespace} --as={DEVELOPER} holdfast.dev/fence=x");
    assert!(server().kubectl(&label).refusal().contains("ConfigMap plain: only Holdfast"));
    let _ =
        server().kubectl(&format!("label configmap plain -n {namespace} --as={DEVELOPER} mine=x")).success();

    let _ = create(server(), &namespace, CONTROLLER, &fence("real", ",data-chromadb-0,")).success();
    assert!(edit("real", "label", DEVELOPER).refusal().contains("ConfigMap real: only Holdfast"));
    assert!(
        edit("real", "label", "system:admin").refusal().contains("system:admin"),
        "no rights, no admission"
    );
    let admin = format!("label configmap real -n {namespace} holdfast.dev/fence-");
    assert!(
        server().kubectl(&admin).refusal().contains("ConfigMap real: only Holdfast"),
        "not even an administrator"
    );
    let _ = edit("real", "label", CONTROLLER).success();
}
