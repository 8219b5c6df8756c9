//! Who may open or close a namespace that a breach isolates, on a real API server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::apiserver::Answer;

use super::admission::server;

const CONTROLLER: &str = "system:serviceaccount:holdfast-system:holdfast-controller";
const JOBS: &str = "system:serviceaccount:kube-system:job-controller";
const DEVELOPER: &str = "dev@yourorg.com";
const ADMIN: &str = "system:admin --as-group=system:masters";
const RUN: &str = "breach";

fn create(namespace: &str, user: &str, object: &Value) -> Answer {
    server().kubectl_reading(&format!("create -n {namespace} --as={user} -f -"), &object.to_string())
}

fn delete(namespace: &str, user: &str, name: &str) -> Answer {
    server().kubectl(&format!("delete networkpolicy {name} -n {namespace} --as={user} --wait=false"))
}

fn run(name: &str, namespace: &str, extra: &Value) -> Value {
    let mut spec = json!({"scenario": "SecurityBreach", "target": {"inPlace": {"confirm": namespace}},
        "incident": {"suspectedSince": "2026-11-21T03:00:00Z"}});
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": name}, "spec": spec})
}

fn policy(name: &str, labels: Value, spec: &Value) -> Value {
    let metadata = json!({"name": name, "labels": labels});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
}

fn allowing(name: &str) -> Value {
    policy(name, json!({"team": "search"}), &json!({"podSelector": {}, "ingress": [{}]}))
}

/// A change of a run by the controller.
fn patch(namespace: &str, what: &str, user: &str, change: &Value) -> Answer {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), change.to_string()).unwrap();
    let path = file.path().display();
    server().kubectl(&format!("patch {what} -n {namespace} --as={user} --type=merge --patch-file={path}"))
}

/// A namespace with a policy that allows and one that nobody has recorded, and a breach that isolates it; returns it with the run's uid.
fn breached() -> (String, String) {
    let namespace = server().namespace("breach");
    for name in ["public", "unrecorded"] {
        let _ = create(&namespace, ADMIN, &allowing(name)).success();
    }
    let _ = create(&namespace, ADMIN, &run(RUN, &namespace, &json!({}))).success();
    let held = json!({"metadata": {"finalizers": ["holdfast.dev/swap"], "labels": {"holdfast.dev/isolating": "true"}}});
    let _ = patch(&namespace, &format!("hfrun {RUN}"), CONTROLLER, &held).success();
    let uid = server().kubectl(&format!("get hfrun {RUN} -n {namespace} -o jsonpath={{.metadata.uid}}"));
    let uid = uid.success().trim().to_owned();
    // A run that was just marked is not known to the API server's admission at once.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create(&namespace, CONTROLLER, &binding(&uid, RUN)).ok {
        assert!(Instant::now() < deadline, "nothing is granted for a breach");
    }
    (namespace, uid)
}

/// The right to isolate, as the controller gives it itself for a run.
fn binding(uid: &str, run: &str) -> Value {
    let metadata = json!({"name": format!("hf-isolate-{uid}"), "ownerReferences": [
        {"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "name": run, "uid": uid}]});
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "holdfast-isolate"},
        "subjects": [{"kind": "ServiceAccount", "name": "holdfast-controller", "namespace": "holdfast-system"}]})
}

/// Writes how far the isolation is, and waits until the API server's admission has heard of it.
fn reach(namespace: &str, state: &str) {
    let seen = server().kubectl(&format!("get hfrun {RUN} -n {namespace} -o json")).success();
    let mut object: Value = serde_json::from_str(&seen).unwrap();
    object["status"] = json!({"epoch": 0, "conditions": [],
        "isolation": {"state": state, "records": 1, "policies": ["public"], "control": true}});
    let replace = format!("replace -n {namespace} --subresource=status --as={CONTROLLER} -f -");
    let _ = server().kubectl_reading(&replace, &object.to_string()).success();
    let open = state == "Lifted";
    let trial = allowing("trial").to_string();
    let deadline = Instant::now() + Duration::from_secs(30);
    let tried = || {
        server()
            .kubectl_reading(&format!("create -n {namespace} --dry-run=server --as={ADMIN} -f -"), &trial)
            .ok
    };
    // What is asked next is about the state before where this one differs from that in nothing that can be tried.
    while tried() != open {
        assert!(Instant::now() < deadline, "the admission policies did not hear of {state}");
    }
    let recorded = allowing("public").to_string();
    let back = || {
        let dry = format!("create -n {namespace} --dry-run=server --as={CONTROLLER} -f -");
        !server().kubectl_reading(&dry, &recorded).err.contains("neither to isolate")
    };
    while back() != (state == "Lifting") && state != "Lifted" {
        assert!(Instant::now() < deadline, "the admission policies did not hear of {state}");
    }
}

/// What isolates, in the shapes that the controller writes.
fn isolating(uid: &str) -> [Value; 3] {
    let labels = json!({"holdfast.dev/isolation": uid});
    let both = json!(["Ingress", "Egress"]);
    let here = json!([{"podSelector": {}}]);
    let dns = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    [
        policy(
            &format!("holdfast-deny-{uid}"),
            labels.clone(),
            &json!({"podSelector": {}, "policyTypes": both}),
        ),
        policy(
            &format!("holdfast-movers-{uid}"),
            labels.clone(),
            &json!({"podSelector": {"matchLabels": {"holdfast.dev/mover": "true"}}, "policyTypes": both,
                "egress": [{"to": here}, {"ports": dns}, {"ports": [{"port": 443, "protocol": "TCP"}]}]}),
        ),
        policy(
            &format!("holdfast-inside-{uid}"),
            labels,
            &json!({"podSelector": {}, "policyTypes": both, "ingress": [{"from": here}],
                "egress": [{"to": here}, {"ports": dns}]}),
        ),
    ]
}

#[test]
fn where_no_breach_is_under_way_the_controller_touches_no_network_policy() {
    let namespace = server().namespace("peace");
    let _ = create(&namespace, ADMIN, &allowing("public")).success();
    // A breach that isolates nothing makes it none, and gives no right.
    let _ = create(&namespace, ADMIN, &run("idle", &namespace, &json!({}))).success();
    let uid =
        server().kubectl(&format!("get hfrun idle -n {namespace} -o jsonpath={{.metadata.uid}}")).success();
    for object in [allowing("new"), isolating(uid.trim())[0].clone()] {
        let said = create(&namespace, CONTROLLER, &object).refusal();
        assert!(said.contains("cannot create resource \"networkpolicies\""), "{said}");
    }
    let said = delete(&namespace, CONTROLLER, "public").refusal();
    assert!(said.contains("cannot delete resource \"networkpolicies\""), "{said}");
    let deadline = Instant::now() + Duration::from_secs(30);
    let dry = format!("create -n {namespace} --dry-run=server --as={CONTROLLER} -f -");
    let granted = binding(uid.trim(), "idle").to_string();
    let said = loop {
        let said = server().kubectl_reading(&dry, &granted);
        if !said.ok {
            break said.err;
        }
        assert!(Instant::now() < deadline, "a breach that isolates nothing gives the right to");
    };
    assert!(said.contains("RecoveryRun \"idle\" isolates nothing"), "{said}");
    let _ = delete(&namespace, ADMIN, "public").success();
}

#[test]
fn the_right_to_isolate_is_the_controllers_own_and_goes_with_the_run() {
    let (namespace, uid) = breached();
    let mut stolen = binding(&uid, RUN);
    stolen["metadata"]["name"] = json!("hf-isolate-stolen");
    let said = create(&namespace, CONTROLLER, &stolen).refusal();
    assert!(said.contains("holdfast-isolate to itself for a run"), "{said}");
    let mut given = binding(&uid, RUN);
    given["subjects"][0]["name"] = json!("default");
    let said = create(&namespace, CONTROLLER, &given).refusal();
    assert!(said.contains("holdfast-isolate to itself for a run"), "{said}");
    let mut other = binding(&uid, RUN);
    (other["metadata"]["name"], other["roleRef"]["name"]) = (json!("theirs"), json!("view"));
    let _ = create(&namespace, ADMIN, &other).success();
    let take =
        |name: &str| server().kubectl(&format!("delete rolebinding {name} -n {namespace} --as={CONTROLLER}"));
    let said = take("theirs").refusal();
    assert!(said.contains("Holdfast deletes no RoleBinding but the one"), "{said}");
    let _ = take(&format!("hf-isolate-{uid}")).success();
}

#[test]
fn in_a_breach_the_controller_removes_what_is_recorded_and_puts_that_back_each_in_its_turn() {
    let (namespace, uid) = breached();
    reach(&namespace, "Taking");
    for object in isolating(&uid) {
        let _ = create(&namespace, CONTROLLER, &object).success();
    }
    let said = delete(&namespace, CONTROLLER, "unrecorded").refusal();
    assert!(said.contains("neither because it stands in the record of RecoveryRun \"breach\""), "{said}");
    let said = delete(&namespace, CONTROLLER, &format!("holdfast-deny-{uid}")).refusal();
    assert!(said.contains("nor to lift its isolation"), "{said}");
    let _ = delete(&namespace, CONTROLLER, "public").success();
    reach(&namespace, "Isolated");
    for object in [allowing("public"), allowing("new")] {
        let said = create(&namespace, CONTROLLER, &object).refusal();
        assert!(
            said.contains("neither to isolate nor because RecoveryRun \"breach\" had removed it"),
            "{said}"
        );
    }
    reach(&namespace, "Lifting");
    let said = create(&namespace, CONTROLLER, &allowing("new")).refusal();
    assert!(said.contains("neither to isolate"), "{said}");
    let _ = create(&namespace, CONTROLLER, &allowing("public")).success();
    let _ = delete(&namespace, CONTROLLER, &format!("holdfast-deny-{uid}")).success();
}

#[test]
fn what_the_controller_calls_isolation_opens_nothing() {
    let (namespace, uid) = breached();
    reach(&namespace, "Taking");
    let labels = json!({"holdfast.dev/isolation": uid});
    let both = json!(["Ingress", "Egress"]);
    let movers = json!({"matchLabels": {"holdfast.dev/mover": "true"}});
    for spec in [
        json!({"podSelector": {}, "policyTypes": both, "ingress": [{}]}),
        json!({"podSelector": {}, "policyTypes": both, "egress": [{}]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        json!({"podSelector": {}, "policyTypes": both, "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}),
        json!({"podSelector": {}, "policyTypes": both, "ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]}),
        json!({"podSelector": {}, "policyTypes": both, "egress": [{"ports": [{"port": 443}]}]}),
        json!({"podSelector": {}, "policyTypes": both, "egress": [{"ports": [{"protocol": "TCP"}]}]}),
        json!({"podSelector": movers, "policyTypes": both, "ingress": [{}]}),
        json!({"podSelector": {"matchLabels": {"app": "miner"}}, "policyTypes": both, "egress": [{}]}),
    ] {
        let said = create(&namespace, CONTROLLER, &policy("opens", labels.clone(), &spec)).refusal();
        assert!(said.contains("neither to isolate"), "{spec}: {said}");
    }
    // In the name of another run neither.
    let said = create(&namespace, CONTROLLER, &isolating("other-uid")[0]).refusal();
    assert!(said.contains("neither to isolate"), "{said}");
}

#[test]
fn nobody_else_changes_the_network_policies_of_an_isolated_namespace() {
    let (namespace, _) = breached();
    reach(&namespace, "Isolated");
    let sentence = format!("namespace {namespace} is isolated by RecoveryRun breach");
    let change = json!({"spec": {"ingress": []}});
    for said in [
        create(&namespace, ADMIN, &allowing("mine")),
        delete(&namespace, ADMIN, "unrecorded"),
        patch(&namespace, "networkpolicy unrecorded", ADMIN, &change),
    ] {
        let said = said.refusal();
        assert!(said.contains(&sentence) && said.contains("gate LiftIsolation"), "{said}");
    }
    // The namespace may go with all that is in it, and elsewhere nothing has changed.
    let collector = "system:serviceaccount:kube-system:namespace-controller --as-group=system:masters";
    let _ = delete(&namespace, collector, "unrecorded").success();
    let elsewhere = server().namespace("elsewhere");
    let _ = create(&elsewhere, ADMIN, &allowing("mine")).success();
    // Whoever keeps what was removed elsewhere puts it back when the record is lost.
    let _ = delete(&namespace, collector, "public").success();
    reach(&namespace, "Lifting");
    let _ = create(&namespace, ADMIN, &allowing("public")).success();
}

#[test]
fn a_namespace_that_is_deleted_goes_with_its_network_policies_whoever_collects_them() {
    let (namespace, _) = breached();
    reach(&namespace, "Isolated");
    let _ = server().kubectl(&format!("delete namespace {namespace} --wait=false")).success();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !delete(&namespace, ADMIN, "unrecorded").ok {
        assert!(Instant::now() < deadline, "what denies keeps the namespace from going");
    }
}

#[test]
fn the_mark_of_a_run_that_isolates_is_the_controllers_alone_and_only_of_a_breach() {
    let (namespace, _) = breached();
    let label = |value: Value| json!({"metadata": {"labels": {"holdfast.dev/isolating": value}}});
    let said = patch(&namespace, &format!("hfrun {RUN}"), ADMIN, &label(Value::Null)).refusal();
    assert!(said.contains("holdfast.dev/isolating is set by Holdfast"), "{said}");
    let mut marked = run("marked", &namespace, &json!({}));
    marked["metadata"]["labels"] = json!({"holdfast.dev/isolating": "true"});
    let said = create(&namespace, ADMIN, &marked).refusal();
    assert!(said.contains("by nobody else"), "{said}");
    let other = json!({"scenario": "CompleteFailure"});
    let _ = create(&namespace, ADMIN, &run("other", &namespace, &other)).success();
    let said = patch(&namespace, "hfrun other", CONTROLLER, &label(json!("true"))).refusal();
    assert!(said.contains("changes no labels"), "{said}");
    let said =
        patch(&namespace, &format!("hfrun {RUN}"), CONTROLLER, &json!({"metadata": {"labels": {"a": "b"}}}));
    assert!(said.refusal().contains("changes no labels"));
    let _ = patch(&namespace, &format!("hfrun {RUN}"), ADMIN, &json!({"metadata": {"labels": {"a": "b"}}}))
        .success();
    let _ = patch(&namespace, &format!("hfrun {RUN}"), CONTROLLER, &label(Value::Null)).success();
}

#[test]
fn only_a_mover_of_holdfast_is_let_through_an_isolation() {
    let namespace = server().namespace("movers");
    let labels = json!({"holdfast.dev/mover": "true"});
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/none:1"}]});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": spec});
    let job = |name: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": spec}}})
    };
    let replicas = "system:serviceaccount:kube-system:replicaset-controller";
    for said in [
        create(&namespace, DEVELOPER, &pod),
        create(&namespace, replicas, &pod),
        create(&namespace, ADMIN, &job("theirs")),
    ] {
        let said = said.refusal();
        assert!(said.contains("only the movers of Holdfast carry it"), "{said}");
    }
    let _ = create(&namespace, CONTROLLER, &job("ours")).success();
    let _ = create(&namespace, JOBS, &pod).success();
    // A plain one can't be made one.
    let mut plain = pod.clone();
    plain["metadata"] = json!({"name": "plain"});
    let _ = create(&namespace, DEVELOPER, &plain).success();
    let said = patch(&namespace, "pod plain", DEVELOPER, &json!({"metadata": {"labels": labels}})).refusal();
    assert!(said.contains("only the movers of Holdfast carry it"), "{said}");
    let _ = patch(&namespace, "pod p", ADMIN, &json!({"metadata": {"labels": {"a": "b"}}})).success();
}

#[test]
fn a_breach_says_since_when_and_never_restores_the_latest() {
    let namespace = server().namespace("asked");
    let refused = |extra: Value| create(&namespace, ADMIN, &run("refused", &namespace, &extra)).refusal();
    let said = refused(json!({"incident": {"summary": "a stranger"}}));
    assert!(
        said.contains("spec.incident.suspectedSince") && said.contains("Give the time of the first sign"),
        "{said}"
    );
    let said = refused(json!({"point": {"latest": {}}}));
    assert!(
        said.contains("latest may hold the intruder's changes; use lastKnownGood: {} or named"),
        "{said}"
    );
    for (name, extra) in [
        ("good", json!({"point": {"lastKnownGood": {}}})),
        ("named", json!({"point": {"named": {"name": "chromadb-1"}}})),
        ("dry", json!({"mode": "DryRun"})),
        ("assess", json!({"mode": "Assess", "incident": null})),
    ] {
        let _ = create(&namespace, ADMIN, &run(name, &namespace, &extra)).success();
    }
    let change = json!({"spec": {"incident": {"suspectedSince": "2026-11-22T03:00:00Z"}}});
    let said = patch(&namespace, "hfrun good", ADMIN, &change).refusal();
    assert!(said.contains("incident.suspectedSince can't be changed"), "{said}");
}
