//! The chart's admission policies on a real API server, as users, workloads' controllers and Holdfast itself meet them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::apiserver::{Answer, ApiServer, repository, tool};

const CONTROLLER: &str = "system:serviceaccount:holdfast-system:holdfast-controller";
const STATEFULSETS: &str = "system:serviceaccount:kube-system:statefulset-controller";
const DEVELOPER: &str = "dev@yourorg.com";

pub(crate) fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    ApiServer::shared(&SERVER, prepare)
}

/// The chart as helm renders it, and a user with the rights of a namespace's admin.
fn prepare(server: &ApiServer) {
    let _ = server.kubectl("create namespace holdfast-system");
    let mut helm = Command::new(tool("helm").expect("helm is built"));
    helm.args(["template", "holdfast"]).arg(repository().join("charts/holdfast"));
    helm.args(["--namespace", "holdfast-system", "--set", "hooks.enabled=true"]);
    let chart = server.run(helm, "").success();
    let _ = server.kubectl_reading("apply --server-side -f -", &chart).success();
    let snapshots = tool("snapshot-crds").expect("the snapshots' definitions are there");
    let _ = server.kubectl(&format!("apply --server-side -f {}", snapshots.display())).success();
    let _ = server.kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
    let developer = format!("create clusterrolebinding dev --clusterrole=admin --user={DEVELOPER}");
    let _ = server.kubectl(&developer);
    await_enforcement(server);
}

/// A policy that was just made is not in force at once; the last one applied is waited for.
fn await_enforcement(server: &ApiServer) {
    let namespace = server.namespace("warm");
    let deadline = Instant::now() + Duration::from_secs(30);
    while create(server, &namespace, DEVELOPER, &run("elsewhere")).ok {
        let _ = server.kubectl(&format!("delete hfrun db-2026-11-23 -n {namespace}")).success();
        assert!(Instant::now() < deadline, "the admission policies did not come into force");
    }
    // The aggregated rights of admin come by a controller that this server does not run.
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "admin"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "persistentvolumeclaims", "configmaps"], "verbs": ["create", "update", "patch", "delete", "get"]},
            {"apiGroups": ["holdfast.dev"], "resources": ["recoveryruns"], "verbs": ["create", "get"]},
            {"apiGroups": ["holdfast.dev"], "resources": ["backuppolicies"], "verbs": ["recover"]}]});
    let _ = server.kubectl_reading("replace -f -", &rules.to_string()).success();
}

pub(crate) fn create(server: &ApiServer, namespace: &str, user: &str, object: &Value) -> Answer {
    server.kubectl_reading(&format!("create -n {namespace} --as={user} -f -"), &object.to_string())
}

fn run(confirm: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "db-2026-11-23"},
        "spec": {"scenario": "DatabaseCorruption", "target": {"inPlace": {"confirm": confirm}}}})
}

/// A run in the namespace that fences these claims, as the controller writes it.
fn fence(server: &ApiServer, namespace: &str, name: &str, claims: &[&str]) {
    let mut object = run(namespace);
    object["metadata"]["name"] = json!(name);
    let _ = create(server, namespace, DEVELOPER, &object).success();
    let _ = raise(server, namespace, name, CONTROLLER, claims).success();
}

fn raise(server: &ApiServer, namespace: &str, name: &str, user: &str, claims: &[&str]) -> Answer {
    let seen = server.kubectl(&format!("get hfrun {name} -n {namespace} -o json")).success();
    let mut object: Value = serde_json::from_str(&seen).expect("kubectl prints JSON");
    object["status"] = json!({"fenced": claims});
    let replace = format!("replace -n {namespace} --subresource=status --as={user} -f -");
    server.kubectl_reading(&replace, &object.to_string())
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

/// A namespace in which these claims are fenced, once the fence is in force: the API server learns of it by a watch.
fn fenced(claims: &[&str]) -> String {
    let namespace = server().namespace("fenced");
    fence(server(), &namespace, "db-2026-11-23", claims);
    assert!(comes_into_force(server(), &namespace), "the fence did not come into force");
    namespace
}

fn comes_into_force(server: &ApiServer, namespace: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    let trial = pod("trial", &["data-chromadb-0"]).to_string();
    while server.kubectl_reading(&format!("create -n {namespace} --dry-run=server -f -"), &trial).ok {
        if Instant::now() > deadline {
            return false;
        }
    }
    true
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
fn a_run_about_the_network_confirms_nothing_for_it_replaces_nothing() {
    let namespace = server().namespace("network");
    let mut network = run(&namespace);
    network["metadata"]["name"] = json!("net-2026-11-23");
    network["spec"] = json!({"scenario": "NetworkFailure"});
    let _ = create(server(), &namespace, DEVELOPER, &network).success();
    network["metadata"]["name"] = json!("net-targeted");
    network["spec"]["target"] = json!({"inPlace": {"confirm": namespace}});
    let said = create(server(), &namespace, DEVELOPER, &network).refusal();
    assert!(said.contains("NetworkFailure restores nothing; leave out point and target"), "{said}");
}

#[test]
fn a_pod_of_a_fenced_claim_is_refused_whoever_makes_it() {
    let namespace = fenced(&["data-chromadb-0", "other"]);
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
    let namespace = fenced(&["data-chromadb-0"]);
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
    let namespace = fenced(&["data-chromadb-0"]);
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
fn a_run_that_fences_nothing_yet_or_no_more_holds_nothing_up() {
    let namespace = server().namespace("lowered");
    fence(server(), &namespace, "begun", &[]);
    // The same server sees this one when it sees another that was written later.
    fence(server(), &namespace, "raised", &["data-chromadb-0"]);
    assert!(comes_into_force(server(), &namespace), "the fence did not come into force");
    let _ = create(server(), &namespace, DEVELOPER, &claim("later")).success();

    let _ = raise(server(), &namespace, "raised", CONTROLLER, &[]).success();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create(server(), &namespace, DEVELOPER, &claim("data-chromadb-0")).ok {
        assert!(Instant::now() < deadline, "the fence was not lifted");
    }
}

#[test]
fn who_may_only_ask_for_a_recovery_fences_nothing() {
    let namespace = server().namespace("owner");
    let mut forged = run(&namespace);
    forged["status"] = json!({"fenced": ["data-chromadb-0"]});
    let _ = create(server(), &namespace, DEVELOPER, &forged).success();
    let kept = server().kubectl(&format!("get hfrun db-2026-11-23 -n {namespace} -o jsonpath={{.status}}"));
    assert_eq!(kept.success().trim(), "", "a status came in with the object");
    let said = raise(server(), &namespace, "db-2026-11-23", DEVELOPER, &["data-chromadb-0"]).refusal();
    assert!(said.contains("recoveryruns/status"), "{said}");
}

/// Kubernetes grants no right on finalizers or on a suspension alone; the chart takes the rest away again.
#[test]
fn the_controller_changes_finalizers_and_suspensions_and_nothing_else() {
    let namespace = server().namespace("hands");
    let policy = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb"}, "spec": {
        "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]}, "repositoryRef": {"name": "primary"}}});
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/none:1"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "fetch"}, "spec": {
        "schedule": "0 0 29 2 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    let point = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": "chromadb-1"}, "spec": {
        "policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": "id-1"}});
    let map = |name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels},
        "data": {"OFFLINE_MODE": "false", "MODEL": "small"}})
    };
    let switch = map("switch", json!({"holdfast.dev/offline-switch": "true"}));
    let (plain, refused) =
        (map("plain", json!({})), map("refused", json!({"holdfast.dev/offline-switch": "false"})));
    for object in [&policy, &job, &run(&namespace), &point, &switch, &plain, &refused] {
        let _ = create(server(), &namespace, "system:admin --as-group=system:masters", object).success();
    }
    let patch = |what: &str, change: &Value| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), change.to_string()).unwrap();
        let path = file.path().display();
        let user = format!("--as={CONTROLLER} --as-group=system:masters");
        server().kubectl(&format!("patch {what} -n {namespace} {user} --type=merge --patch-file={path}"))
    };
    let finalizer = json!({"metadata": {"finalizers": ["holdfast.dev/stopped"]}});
    for allowed in [
        ("hfpolicy chromadb", &finalizer),
        ("hfrun db-2026-11-23", &finalizer),
        ("hfpoint chromadb-1", &json!({"metadata": {"finalizers": ["holdfast.dev/point"]}})),
        ("cronjob fetch", &json!({"spec": {"suspend": true}})),
        ("cronjob fetch", &json!({"spec": {"suspend": false}})),
        ("configmap switch", &json!({"data": {"OFFLINE_MODE": "true"}})),
        ("configmap switch", &json!({"data": {"OFFLINE_MODE": "false"}})),
    ] {
        let _ = patch(allowed.0, allowed.1).success();
    }
    let policy = "backuppolicies \"chromadb\"";
    let image = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "evil"}]}}}}}});
    for (what, change, named) in [
        ("hfpolicy chromadb", json!({"spec": {"mode": "Suspended"}}), policy),
        ("hfpolicy chromadb", json!({"spec": {"repositoryRef": {"name": "mine"}}}), policy),
        (
            "hfpolicy chromadb",
            json!({"metadata": {"annotations": {"holdfast.dev/requested-at": "2026-11-23T09:00:00Z"}}}),
            policy,
        ),
        (
            "hfrun db-2026-11-23",
            json!({"metadata": {"labels": {"a": "b"}}}),
            "recoveryruns \"db-2026-11-23\"",
        ),
        (
            "hfpoint chromadb-1",
            json!({"spec": {"deletionPolicy": "Delete"}}),
            "recoverypoints \"chromadb-1\"",
        ),
        ("cronjob fetch", json!({"spec": {"schedule": "* * * * *"}}), "CronJob \"fetch\""),
        ("cronjob fetch", json!({"spec": {"timeZone": "Etc/UTC"}}), "CronJob \"fetch\""),
        ("cronjob fetch", image, "CronJob \"fetch\""),
        ("configmap plain", json!({"data": {"OFFLINE_MODE": "true"}}), "ConfigMap \"plain\""),
        ("configmap refused", json!({"data": {"OFFLINE_MODE": "true"}}), "ConfigMap \"refused\""),
        (
            "configmap switch",
            json!({"data": {"OFFLINE_MODE": "true", "MODEL": "evil"}}),
            "ConfigMap \"switch\"",
        ),
        ("configmap switch", json!({"data": {"OFFLINE_MODE": null}}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"data": {"MORE": "x"}}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"data": {"MODEL": null, "MORE": "x"}}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"data": {"MODEL": "x".repeat(257)}}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"binaryData": {"MORE": "eA=="}}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"immutable": true}), "ConfigMap \"switch\""),
        ("configmap switch", json!({"metadata": {"labels": {"a": "b"}}}), "configmaps \"switch\""),
        (
            "configmap plain",
            json!({"metadata": {"labels": {"holdfast.dev/offline-switch": "true"}}}),
            "configmaps \"plain\"",
        ),
    ] {
        let said = patch(what, &change).refusal();
        assert!(said.contains("Holdfast changes n") && said.contains(named), "{change}: {said}");
    }
    // Anybody else may, as before.
    let change = json!({"spec": {"suspend": true}});
    let free = server().kubectl(&format!(
        "patch hfpolicy chromadb -n {namespace} --type=merge -p {{\"spec\":{{\"mode\":\"Suspended\"}}}}"
    ));
    let _ = free.success();
    let _ = patch("cronjob fetch", &change).success();
}

/// A user of the namespace with these rules.
pub(crate) fn user(namespace: &str, name: &str, rules: &Value) -> String {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules});
    let _ = create(server(), namespace, "system:admin --as-group=system:masters", &role).success();
    let user = format!("{name}@yourorg.com");
    let bound = format!("create rolebinding {name} -n {namespace} --role={name} --user={user}");
    let _ = server().kubectl(&bound).success();
    user
}

pub(crate) fn right(resource: &str, verbs: &[&str], names: &[String]) -> Value {
    json!({"apiGroups": ["holdfast.dev"], "resources": [resource], "verbs": verbs, "resourceNames": names})
}

/// A run in `namespace` of these policies, or of all.
fn run_of(namespace: &str, name: &str, policies: Option<&[String]>) -> Value {
    let mut object = run(namespace);
    object["metadata"]["name"] = json!(name);
    if let Some(policies) = policies {
        let named: Vec<Value> = policies.iter().map(|name| json!({"name": name})).collect();
        object["spec"]["policies"] = named.into();
    }
    object
}

#[test]
fn i9_who_asks_for_a_recovery_needs_the_verb_recover_on_each_of_its_policies() {
    let namespace = server().namespace("rights");
    let many: Vec<String> = (0..16).map(|n| format!("policy-{n}")).collect();
    let runs = right("recoveryruns", &["create"], &[]);
    let nobody = user(&namespace, "nobody", &json!([runs]));
    let some = user(&namespace, "some", &json!([runs, right("backuppolicies", &["recover"], &many)]));
    let elsewhere = server().namespace("rights-elsewhere");
    let stranger = user(&namespace, "stranger", &json!([runs]));
    let _ = user(&elsewhere, "stranger", &json!([right("backuppolicies", &["recover"], &[])]));

    let asks = |user: &str, run: &Value| create(server(), &namespace, user, run);
    let one = run_of(&namespace, "one", Some(&many[..1]));
    for user in [&nobody, &stranger] {
        let said = asks(user, &one).refusal();
        let sentence = format!(
            "{user} lacks the verb recover on backuppolicies.holdfast.dev \"policy-0\" in {namespace}; ask for the ClusterRole holdfast-recover"
        );
        assert!(said.trim_end().ends_with(&sentence), "{said}");
        let said = asks(user, &run_of(&namespace, "all", None)).refusal();
        assert!(said.contains("lacks the verb recover on backuppolicies.holdfast.dev in"), "{said}");
    }
    let _ = asks(&some, &one).success();
    let _ = asks(&some, &run_of(&namespace, "many", Some(&many))).success();
    let said = asks(&some, &run_of(&namespace, "all", None)).refusal();
    assert!(said.contains("name those that it has it on in spec.policies"), "{said}");
    // The last one is looked up like the first.
    let mut other = many[1..].to_vec();
    other.push("foreign".into());
    let said = asks(&some, &run_of(&namespace, "foreign", Some(&other))).refusal();
    assert!(said.contains("backuppolicies.holdfast.dev \"foreign\""), "{said}");
    // More than can be looked up are refused, not let through.
    let mut more = many.clone();
    more.push("foreign".into());
    let said = asks(&some, &run_of(&namespace, "more", Some(&more))).refusal();
    assert!(said.contains("more than 16"), "{said}");
    let _ = asks(DEVELOPER, &run_of(&namespace, "more", Some(&more))).success();
}

#[test]
fn i9_who_decides_writes_their_own_name_and_needs_the_verb_approve() {
    let namespace = server().namespace("decides");
    let runs = right("recoveryruns", &["get", "create", "update", "patch"], &[]);
    let recover = right("backuppolicies", &["recover"], &[]);
    let writer = user(&namespace, "writer", &json!([runs, recover]));
    let lead = user(&namespace, "lead", &json!([runs, recover, right("recoveryruns", &["approve"], &[])]));
    let with = |by: &str, summary: &str| {
        let mut object = run(&namespace);
        object["spec"]["gates"] = json!([{"name": "Start"}]);
        object["spec"]["incident"] = json!({"summary": summary});
        object["spec"]["decisions"] = json!([{"gate": "Start", "answer": "Approved", "by": by}]);
        object
    };
    let lacks = format!(
        "{writer} lacks the verb approve on recoveryruns.holdfast.dev in {namespace}; ask for the ClusterRole holdfast-approve"
    );
    let said = create(server(), &namespace, &writer, &with(&writer, "")).refusal();
    assert!(said.trim_end().ends_with(&lacks), "nobody approves their own run without the right: {said}");
    let mut plain = with(&writer, "");
    plain["spec"].as_object_mut().unwrap().remove("decisions");
    let _ = create(server(), &namespace, &writer, &plain).success();
    let apply = |user: &str, object: &Value| {
        server().kubectl_reading(&format!("replace -n {namespace} --as={user} -f -"), &object.to_string())
    };
    let said = apply(&writer, &with(&writer, "")).refusal();
    assert!(said.trim_end().ends_with(&lacks), "{said}");
    let said = apply(&lead, &with(&writer, "")).refusal();
    let sentence = format!("spec.decisions[Start].by: must be your own user name \"{lead}\"");
    assert!(said.trim_end().ends_with(&sentence), "{said}");
    let _ = apply(&lead, &with(&lead, "")).success();
    // Whoever writes the incident's texts later sends the decision along, and may not touch it.
    let _ = apply(&writer, &with(&lead, "pages were overwritten")).success();
    let mut rejected = with(&lead, "");
    rejected["spec"]["decisions"][0]["answer"] = json!("Rejected");
    assert!(!apply(&writer, &rejected).ok, "somebody else changed what the lead had said");
    // What a person knows of a manual check is guarded alike.
    let attested = |by: &str, answer: &str| {
        let mut object = with(&lead, "");
        object["spec"]["attestations"] =
            json!([{"check": "chromadb/audit-read", "answer": answer, "by": by}]);
        object
    };
    let said = apply(&writer, &attested(&writer, "Approved")).refusal();
    assert!(said.trim_end().ends_with(&lacks), "{said}");
    let said = apply(&lead, &attested(&writer, "Approved")).refusal();
    let sentence =
        format!("spec.attestations[chromadb/audit-read].by: must be your own user name \"{lead}\"");
    assert!(said.trim_end().ends_with(&sentence), "{said}");
    let _ = apply(&lead, &attested(&lead, "Approved")).success();
    assert!(!apply(&writer, &attested(&lead, "Rejected")).ok, "somebody else changed what the lead knew");
}

#[test]
fn i9_who_keeps_something_in_a_repository_needs_the_verb_use_on_it() {
    let namespace = server().namespace("use");
    let policy = |repository: &str| {
        json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb"}, "spec": {
            "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]}, "repositoryRef": {"name": repository}}})
    };
    let policies = right("backuppolicies", &["create", "get", "update", "patch"], &[]);
    let mine = right("recoveryrepositories", &["use"], &["mine".to_owned()]);
    let writer = user(&namespace, "writer", &json!([policies, mine]));
    let said = create(server(), &namespace, &writer, &policy("theirs")).refusal();
    let sentence = format!(
        "{writer} lacks the verb use on recoveryrepositories.holdfast.dev \"theirs\" in {namespace}; ask for the ClusterRole holdfast-edit"
    );
    assert!(said.trim_end().ends_with(&sentence), "{said}");
    let _ = create(server(), &namespace, &writer, &policy("mine")).success();
    let change = |patch: &str| {
        server()
            .kubectl(&format!("patch hfpolicy chromadb -n {namespace} --as={writer} --type=merge -p {patch}"))
    };
    let said = change("{\"spec\":{\"repositoryRef\":{\"name\":\"theirs\"}}}").refusal();
    assert!(said.contains("lacks the verb use"), "{said}");
    // What names the same repository as before is nobody's business: the controller puts finalizers on it.
    let _ = server().kubectl(&format!(
        "patch hfpolicy chromadb -n {namespace} --type=merge -p {{\"spec\":{{\"repositoryRef\":{{\"name\":\"theirs\"}}}}}}"
    )).success();
    let _ = change("{\"spec\":{\"mode\":\"Suspended\"}}").success();
    // So does who sends emergency captures there.
    let vault =
        |name: &str| format!("{{\"spec\":{{\"emergency\":{{\"repositoryRef\":{{\"name\":\"{name}\"}}}}}}}}");
    let said = change(&vault("vault")).refusal();
    let sentence = format!(
        "lacks the verb use on recoveryrepositories.holdfast.dev \"vault\" (spec.emergency.repositoryRef) in {namespace}"
    );
    assert!(said.contains(&sentence), "{said}");
    let _ = change(&vault("mine")).success();
    let _ = change("{\"spec\":{\"emergency\":{\"logsSince\":\"2h\"}}}").success();
}

/// RBAC says which role the controller may bind; the chart says to whom.
#[test]
fn the_controller_binds_its_roles_to_an_account_beside_the_binding_and_nothing_else() {
    let namespace = server().namespace("grants");
    let binding = |role: &str, subject: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "chromadb-snapshots"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject]})
    };
    let account =
        |name: &str, namespace: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let user = format!("{CONTROLLER} --as-group=system:masters");
    let user_of_nobody =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "chromadb-snapshots"});
    let for_a_job = |role: &str, name: &str, subject: Value| {
        let mut of_a_job = binding(role, subject);
        of_a_job["metadata"] = json!({"name": name, "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "chromadb-emergency-1", "uid": "j-1"}]});
        of_a_job
    };
    let of_a_job = |name: &str, subject: Value| for_a_job("holdfast-collect", name, subject);
    for refused in [
        binding("cluster-admin", account("chromadb-snapshots", &namespace)),
        binding("holdfast-snapshots", account("default", &namespace)),
        binding("holdfast-snapshots", account("chromadb-snapshots", "elsewhere")),
        binding("holdfast-snapshots", user_of_nobody),
        // That of hooks to an account whose commands nobody would look at.
        binding("holdfast-hooks", account("chromadb-snapshots", &namespace)),
        binding("holdfast-recreate", account("chromadb-snapshots", &namespace)),
        binding("holdfast-rotate", account("chromadb-snapshots", &namespace)),
        binding("holdfast-collect", account("chromadb-snapshots", &namespace)),
        of_a_job("hf-collect-j-1", account("default", &namespace)),
        of_a_job("hf-collect-j-1", account("hf-collect-u-1", "elsewhere")),
        // One that outlives the Job.
        of_a_job("hf-collect-j-2", account("hf-collect-u-1", &namespace)),
        // The one that sees names of Secrets: by no other name, to no other account, and for no longer than its Job.
        binding("holdfast-audit", account("chromadb-snapshots", &namespace)),
        for_a_job("holdfast-audit", "hf-audit-j-2", account("hf-audit-u-1", &namespace)),
        for_a_job("holdfast-audit", "hf-audit-j-1", account("hf-collect-u-1", &namespace)),
        for_a_job("holdfast-audit", "hf-audit-j-1", account("hf-audit-u-1", "elsewhere")),
        for_a_job("holdfast-collect", "hf-collect-j-1", account("hf-audit-u-1", &namespace)),
    ] {
        let said = create(server(), &namespace, &user, &refused).refusal();
        assert!(
            said.contains(
                "Holdfast binds ClusterRoles holdfast-snapshots, holdfast-recreate, holdfast-rotate and holdfast-hooks"
            ),
            "{refused}: {said}"
        );
    }
    let right = binding("holdfast-snapshots", account("chromadb-snapshots", &namespace));
    let _ = create(server(), &namespace, &user, &right).success();
    let mut of_checks = binding("holdfast-hooks", account("hf-checks-u-1", &namespace));
    of_checks["metadata"] = json!({"name": "hf-checks-u-1", "ownerReferences": [
        {"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "name": "total", "uid": "u-1"}]});
    let _ = create(server(), &namespace, &user, &of_checks).success();
    of_checks["metadata"]["name"] = json!("hf-checks-u-2");
    let said = create(server(), &namespace, &user, &of_checks).refusal();
    assert!(said.contains("nothing else (RoleBinding \"hf-checks-u-2\")"), "{said}");
    for what in ["recreate", "rotate"] {
        let name = format!("hf-{what}-u-1");
        let mut of_a_run = binding(&format!("holdfast-{what}"), account(&name, &namespace));
        of_a_run["metadata"] = json!({"name": name, "ownerReferences": [
            {"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "name": "total", "uid": "u-1"}]});
        let _ = create(server(), &namespace, &user, &of_a_run).success();
    }
    let looks = of_a_job("hf-collect-j-1", account("hf-collect-u-1", &namespace));
    let _ = create(server(), &namespace, &user, &looks).success();
    let lists = for_a_job("holdfast-audit", "hf-audit-j-1", account("hf-audit-u-1", &namespace));
    let _ = create(server(), &namespace, &user, &lists).success();
    // Without more rights than the chart gives, another role is refused before anybody asks about subjects.
    let said =
        create(server(), &namespace, CONTROLLER, &binding("edit", account("mine", &namespace))).refusal();
    assert!(said.contains("is attempting to grant RBAC permissions") || said.contains("orbidden"), "{said}");
}

/// A policy whose parameters are missing must not answer for whoever it isn't about.
#[test]
fn where_there_is_neither_a_policy_nor_a_run_everybody_creates_and_execs_as_before() {
    let namespace = server().namespace("bystander");
    for object in [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"},
            "spec": {"containers": [{"name": "a", "image": "localhost/none:1"}]}}),
    ] {
        let made = server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string());
        let _ = made.success();
    }
    let exec = format!("get --raw /api/v1/namespaces/{namespace}/pods/theirs/exec?command=true&stderr=true");
    let said = server().kubectl(&exec).err;
    assert!(said.contains("does not have a host assigned"), "{said}");
}

#[test]
fn the_fence_holds_again_after_the_policies_were_removed_and_made_anew() {
    // A server of its own: for a moment the others' fences would be down.
    let server = ApiServer::start().expect("an API server starts");
    prepare(&server);
    let before = server.namespace("before");
    fence(&server, &before, "db-2026-11-23", &["data-chromadb-0"]);
    assert!(comes_into_force(&server, &before), "the fence did not come into force");

    let objects = "validatingadmissionpolicies,validatingadmissionpolicybindings";
    let _ = server.kubectl(&format!("delete {objects} --all")).success();
    let free = server.namespace("free");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create(&server, &free, DEVELOPER, &run("elsewhere")).ok {
        assert!(Instant::now() < deadline, "the policies are still in force");
    }
    prepare(&server);
    let after = server.namespace("after");
    fence(&server, &after, "db-2026-11-23", &["data-chromadb-0"]);
    assert!(comes_into_force(&server, &after), "the fence is blind after an uninstall and an install");
}

/// A namespace as the controller makes it for a rehearsal of the run with this uid.
fn sandbox(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"holdfast.dev/sandbox": uid, "app.kubernetes.io/managed-by": "holdfast"}}})
}

fn cluster_wide(verb: &str, user: &str, object: &Value) -> Answer {
    server().kubectl_reading(&format!("{verb} --as={user} -f -"), &object.to_string())
}

#[test]
fn the_controller_makes_and_removes_sandboxes_and_no_other_namespace() {
    let theirs = server().namespace("theirs");
    let said =
        server().kubectl(&format!("delete namespace {theirs} --as={CONTROLLER} --wait=false")).refusal();
    assert!(said.contains("Holdfast makes and removes no namespace but sandboxes of its own"), "{said}");
    let mut plain = sandbox(&format!("{theirs}-plain"), "u-1");
    plain["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "holdfast"});
    let said = cluster_wide("create", CONTROLLER, &plain).refusal();
    assert!(said.contains("makes and removes no namespace but sandboxes"), "{said}");
    let name = format!("{theirs}-drill-1");
    let _ = cluster_wide("create", CONTROLLER, &sandbox(&name, "u-1")).success();
    let _ = server().kubectl(&format!("delete namespace {name} --as={CONTROLLER} --wait=false")).success();
}

#[test]
fn nobody_else_calls_a_namespace_a_sandbox() {
    let theirs = server().namespace("unmarked");
    let marked = server().kubectl(&format!("label namespace {theirs} holdfast.dev/sandbox=u-1"));
    let said = marked.refusal();
    assert!(said.contains("nobody else sets it"), "{said}");
    let said = server()
        .kubectl_reading("create -f -", &sandbox(&format!("{theirs}-drill"), "u-1").to_string())
        .refusal();
    assert!(said.contains("marks a namespace that Holdfast has made for a rehearsal"), "{said}");
    let _ = server().kubectl(&format!("label namespace {theirs} team=search")).success();
}

#[test]
fn in_a_sandbox_rights_are_given_to_its_run_and_to_the_controller_alone() {
    let theirs = server().namespace("rights");
    let (name, uid) = (format!("{theirs}-drill-2"), "9c3f0000-0000-4000-8000-000000000002");
    let _ = cluster_wide("create", CONTROLLER, &sandbox(&name, uid)).success();
    let binding = |of: &str, role: &str, (account, namespace): (&str, &str)| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": of},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]})
    };
    let mover = format!("hf-recreate-{uid}");
    let own = ("holdfast-controller", "holdfast-system");
    let give = |namespace: &str, binding: &Value| create(server(), namespace, CONTROLLER, binding);
    let sandboxer = binding(&format!("hf-sandbox-{uid}"), "holdfast-sandbox", own);
    let recreator = binding(&mover, "holdfast-recreate", (&mover, &theirs));
    // In a namespace that is none, and to anybody else.
    for (namespace, wrong) in [
        (&theirs, sandboxer.clone()),
        (&theirs, recreator.clone()),
        (&name, binding(&format!("hf-sandbox-{uid}"), "holdfast-sandbox", ("thief", "holdfast-system"))),
        (&name, binding("hf-recreate-other", "holdfast-recreate", ("hf-recreate-other", &theirs))),
        (&name, binding(&format!("hf-sandbox-{uid}"), "holdfast-isolate", own)),
    ] {
        let said = give(namespace, &wrong).refusal();
        assert!(said.contains("nothing else (RoleBinding"), "{said}");
    }
    let _ = give(&name, &sandboxer).success();
    let _ = give(&name, &recreator).success();
    // What its mover may make it makes there, and not in a sandbox of another run.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env"}});
    let as_mover = format!("system:serviceaccount:{theirs}:{mover}");
    let _ = create(server(), &name, &as_mover, &secret).success();
    let other = format!("{theirs}-drill-3");
    let _ = cluster_wide("create", CONTROLLER, &sandbox(&other, "9c3f0000-0000-4000-8000-000000000003"))
        .success();
    let wide = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "by-mistake"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "holdfast-recreate"},
        "subjects": [{"kind": "ServiceAccount", "name": mover, "namespace": theirs}]});
    let _ = server().kubectl_reading(&format!("create -n {other} -f -"), &wide.to_string()).success();
    let said = create(server(), &other, &as_mover, &secret).refusal();
    assert!(said.contains("does nothing outside its own namespace"), "{said}");
    for namespace in [&name, &other] {
        let _ = server()
            .kubectl(&format!("delete namespace {namespace} --as={CONTROLLER} --wait=false"))
            .success();
    }
}

#[test]
fn a_rehearsal_makes_nothing_in_production_but_the_claims_that_it_restores_into() {
    let namespace = server().namespace("rehearsal");
    let object = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "drill"},
        "spec": {"scenario": "DatabaseCorruption", "target": {"sandbox": {}}}});
    let _ = server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string()).success();
    let get =
        |path: &str| server().kubectl(&format!("get hfrun drill -n {namespace} --output={path}")).success();
    let uid = get("jsonpath={.metadata.uid}");
    let mut object: Value = serde_json::from_str(&get("json")).expect("kubectl prints JSON");
    object["status"] =
        json!({"steps": [{"name": "Objects/chromadb", "policy": "chromadb", "phase": "Running"}]});
    let replace = format!("replace -n {namespace} --subresource=status -f -");
    let _ = server().kubectl_reading(&replace, &object.to_string()).success();
    let account = format!("hf-recreate-{uid}");
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "holdfast-recreate"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]});
    let _ = server().kubectl_reading(&format!("create -n {namespace} -f -"), &bound.to_string()).success();
    let as_mover = format!("system:serviceaccount:{namespace}:{account}");
    let marked = |mut object: Value| {
        object["metadata"]["annotations"] = json!({"holdfast.dev/recreated-by": uid});
        object
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !create(server(), &namespace, &as_mover, &marked(claim("data-restore"))).ok {
        assert!(Instant::now() < deadline, "the claim is not taken");
    }
    let secret = marked(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env"}}));
    let said = create(server(), &namespace, &as_mover, &secret).refusal();
    assert!(said.contains("is not at its step Objects, or this is not marked"), "{said}");
}
