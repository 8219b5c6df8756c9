//! Of everything that somebody could leave, exactly that is found; in a namespace in order nothing is.

use serde_json::{Value, json};

use super::*;

const BEFORE: &str = "2026-11-01T08:00:00Z";
const SINCE: &str = "2026-11-23T09:05:00.5Z";
const AFTER: &str = "2026-11-23T09:10:00Z";

fn object(kind: &str, name: &str, created: &str) -> Value {
    let fields = json!([{"manager": "kubectl-create", "operation": "Update", "time": created}]);
    json!({"kind": kind, "metadata": {"name": name, "uid": format!("uid-{kind}-{name}"), "namespace": "arxiv",
        "creationTimestamp": created, "managedFields": fields}})
}

fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("no fields") };
    for (key, value) in more {
        object[key] = value;
    }
    object
}

fn role(kind: &str, name: &str, rules: Value) -> Value {
    with(object(kind, name, BEFORE), json!({"rules": rules}))
}

fn rule(group: &str, resource: &str, verb: &str) -> Value {
    json!([{"apiGroups": [group], "resources": [resource], "verbs": [verb]}])
}

fn binding(kind: &str, name: &str, created: &str, role: (&str, &str), subject: Value) -> Value {
    let (role_kind, role_name) = role;
    with(
        object(kind, name, created),
        json!({"roleRef": {"kind": role_kind, "name": role_name}, "subjects": [subject]}),
    )
}

fn mallory() -> Value {
    json!({"kind": "User", "name": "mallory"})
}

const PINNED: &str =
    "registry.example/scholar@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn pod_spec() -> Value {
    json!({"serviceAccountName": "scholar", "containers": [{"name": "scholar", "image": PINNED,
        "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]})
}

fn workload(kind: &str, name: &str, created: &str, spec: Value) -> Value {
    let spec = match kind {
        "Pod" => spec,
        "CronJob" => json!({"jobTemplate": {"spec": {"template": {"spec": spec}}}}),
        _ => json!({"template": {"metadata": {}, "spec": spec}}),
    };
    with(object(kind, name, created), json!({"spec": spec}))
}

fn owned(mut object: Value, kind: &str, name: &str) -> Value {
    object["metadata"]["ownerReferences"] =
        json!([{"kind": kind, "name": name, "uid": format!("uid-{kind}-{name}")}]);
    object
}

fn labelled(mut object: Value, at: &[&str], label: (&str, &str)) -> Value {
    let metadata = at.iter().fold(&mut object, |value, key| &mut value[*key]);
    metadata["metadata"]["labels"] = json!({label.0: label.1});
    object
}

/// A namespace in order, as a cluster shows it: what Kubernetes binds, what the owner granted that is of no use to an intruder, what a run was
/// granted, workloads with what they made, a mover.
fn clean() -> (Seen, Known) {
    let reads = json!([{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]}]);
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let bootstrapped = ("kubernetes.io/bootstrapping", "rbac-defaults");
    let group = json!({"kind": "Group", "name": "system:masters"});
    let admin =
        binding("ClusterRoleBinding", "cluster-admin", BEFORE, ("ClusterRole", "cluster-admin"), group);
    let account =
        |name: &str, namespace: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
    let isolates = account("holdfast-controller", "holdfast-system");
    let seen = Seen {
        namespace: "arxiv".into(),
        since: SINCE.parse().unwrap(),
        run: "run-1".into(),
        cluster_roles: Ok(vec![
            role("ClusterRole", "cluster-admin", everything),
            role("ClusterRole", "view", reads.clone()),
            role("ClusterRole", "holdfast-isolate", rule("networking.k8s.io", "networkpolicies", "delete")),
            role("ClusterRole", "holdfast-audit", rule("", "secrets", "list")),
            role("ClusterRole", "holdfast-rotate", rule("", "secrets", "patch")),
            role("ClusterRole", "holdfast-hooks", rule("", "pods/exec", "create")),
        ]),
        cluster_role_bindings: Ok(vec![labelled(admin, &[], bootstrapped)]),
        roles: Ok(vec![role("Role", "reader", reads)]),
        role_bindings: Ok(vec![
            binding("RoleBinding", "reader", AFTER, ("Role", "reader"), mallory()),
            binding("RoleBinding", "dangling", AFTER, ("Role", "gone"), mallory()),
            binding("RoleBinding", "hf-isolate-run-1", AFTER, ("ClusterRole", "holdfast-isolate"), isolates),
            binding(
                "RoleBinding",
                "hf-rotate-run-1",
                AFTER,
                ("ClusterRole", "holdfast-rotate"),
                account("hf-rotate-run-1", "arxiv"),
            ),
            binding(
                "RoleBinding",
                "hf-checks-run-1",
                AFTER,
                ("ClusterRole", "holdfast-hooks"),
                account("hf-checks-run-1", "arxiv"),
            ),
            binding(
                "RoleBinding",
                "hf-audit-job-1",
                AFTER,
                ("ClusterRole", "holdfast-audit"),
                account("hf-audit-run-1", "arxiv"),
            ),
        ]),
        service_accounts: Ok(vec![
            object("ServiceAccount", "default", BEFORE),
            object("ServiceAccount", "scholar", BEFORE),
            labelled(
                object("ServiceAccount", "hf-audit-run-1", AFTER),
                &[],
                ("app.kubernetes.io/managed-by", "holdfast"),
            ),
        ]),
        workloads: Ok(vec![
            workload("Deployment", "scholar", BEFORE, pod_spec()),
            owned(workload("ReplicaSet", "scholar-5d", AFTER, pod_spec()), "Deployment", "scholar"),
            workload("CronJob", "fetch", BEFORE, pod_spec()),
            owned(workload("Job", "fetch-1", AFTER, pod_spec()), "CronJob", "fetch"),
            labelled(
                workload("Job", "breach-emergency", AFTER, json!({"containers": [{"image": "mover:1"}]})),
                &["spec", "template"],
                ("holdfast.dev/mover", "true"),
            ),
        ]),
        pods: Ok(vec![
            owned(workload("Pod", "scholar-5d-x", AFTER, pod_spec()), "ReplicaSet", "scholar-5d"),
            labelled(
                workload("Pod", "breach-emergency-x", AFTER, json!({"containers": [{"image": "mover:1"}]})),
                &[],
                ("holdfast.dev/mover", "true"),
            ),
        ]),
    };
    let workloads = ["Deployment scholar", "CronJob fetch"].map(str::to_owned).into();
    (seen, Known { workloads })
}

fn add(listed: &mut Listed, object: Value) {
    listed.as_mut().unwrap().push(object);
}

/// What is found when this was done to a clean namespace.
fn after(done: impl FnOnce(&mut Seen)) -> Vec<(AuditSeverity, AuditKind, String, String)> {
    let (mut seen, known) = clean();
    done(&mut seen);
    look(&seen, &known).into_iter().map(|f| (f.severity, f.kind, f.object, f.message)).collect()
}

/// The only thing that is found.
fn only(done: impl FnOnce(&mut Seen)) -> (AuditSeverity, AuditKind, String, String) {
    let mut found = after(done);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn in_a_namespace_in_order_nothing_is_found() {
    assert_eq!(after(|_| {}), []);
}

use AuditKind::{Access, Image, NotSeen, Privilege, UnknownObject};
use AuditSeverity::{High, Low, Medium, Unknown};

#[test]
fn every_right_that_serves_an_intruder_is_found_when_it_was_granted_since() {
    for (group, resource, verb, words) in [
        ("", "secrets", "update", "write Secrets"),
        ("", "secrets", "list", "read Secrets"),
        ("", "pods", "create", "create pods"),
        ("apps", "deployments", "patch", "create pods by workloads"),
        ("batch", "cronjobs", "create", "create pods by workloads"),
        ("", "pods/exec", "create", "run commands in pods"),
        ("", "*/attach", "get", "run commands in pods"),
        ("", "pods/ephemeralcontainers", "patch", "put containers into pods"),
        ("", "serviceaccounts/token", "create", "make tokens of ServiceAccounts"),
        ("rbac.authorization.k8s.io", "rolebindings", "create", "grant rights"),
        ("rbac.authorization.k8s.io", "clusterroles", "escalate", "escalate rights"),
        ("rbac.authorization.k8s.io", "roles", "bind", "bind any role"),
        ("", "users", "impersonate", "impersonate others"),
        ("networking.k8s.io", "networkpolicies", "delete", "change NetworkPolicies"),
        ("*", "secrets", "delete", "write Secrets"),
        ("", "pods", "create", "create pods"),
    ] {
        let (severity, kind, object, message) = only(|seen| {
            add(&mut seen.roles, role("Role", "helper", rule(group, resource, verb)));
            add(
                &mut seen.role_bindings,
                binding("RoleBinding", "helper", AFTER, ("Role", "helper"), mallory()),
            );
        });
        assert_eq!((severity, kind, object.as_str()), (High, Access, "RoleBinding helper"));
        let expected = format!(
            "lets User mallory {words}, by Role helper; created at 2026-11-23T09:10:00Z by kubectl-create"
        );
        assert_eq!(message, expected, "{group}/{resource} {verb}");
    }
    let nothing = after(|seen| {
        add(&mut seen.roles, role("Role", "helper", rule("", "configmaps", "*")));
        add(&mut seen.role_bindings, binding("RoleBinding", "helper", AFTER, ("Role", "helper"), mallory()));
    });
    assert_eq!(nothing, []);
}

#[test]
fn what_was_granted_before_is_told_and_what_was_made_larger_since_is_worse() {
    let grants = |bound: &'static str, everything: Value| {
        move |seen: &mut Seen| {
            add(&mut seen.cluster_roles, everything);
            let helper = json!({"kind": "ServiceAccount", "namespace": "tools", "name": "helper"});
            let bound = binding("ClusterRoleBinding", "helper", bound, ("ClusterRole", "helper"), helper);
            add(&mut seen.cluster_role_bindings, bound);
        }
    };
    let everything = || role("ClusterRole", "helper", rule("*", "*", "*"));
    let (severity, _, object, message) = only(grants(BEFORE, everything()));
    assert_eq!((severity, object.as_str()), (Low, "ClusterRoleBinding helper"));
    assert_eq!(message, "lets ServiceAccount tools/helper do everything, by ClusterRole helper");

    let mut changed = everything();
    changed["metadata"]["managedFields"][0]["time"] = AFTER.into();
    let (severity, _, _, message) = only(grants(BEFORE, changed));
    assert_eq!(severity, High);
    assert!(
        message.ends_with("; ClusterRole helper was changed at 2026-11-23T09:10:00Z by kubectl-create"),
        "{message}"
    );

    // Of a Secret by its name alone.
    let mut named = role("ClusterRole", "helper", rule("", "secrets", "get"));
    named["rules"][0]["resourceNames"] = json!(["a", "b", "c", "d", "e"]);
    let (_, _, _, message) = only(grants(BEFORE, named));
    assert!(message.contains("read Secrets (a, b, c and 2 more)"), "{message}");
}

#[test]
fn whoever_everybody_is_may_nothing_and_what_kubernetes_binds_itself_is_told_only_when_it_was_touched() {
    let everybody = json!({"kind": "Group", "name": "system:authenticated"});
    let (severity, ..) = only(|seen| {
        add(&mut seen.roles, role("Role", "open", rule("", "secrets", "get")));
        add(&mut seen.role_bindings, binding("RoleBinding", "open", BEFORE, ("Role", "open"), everybody));
    });
    assert_eq!(severity, High);
    let touched = |manager: &'static str| {
        move |seen: &mut Seen| {
            let admin = &mut seen.cluster_role_bindings.as_mut().unwrap()[0];
            admin["subjects"].as_array_mut().unwrap().push(mallory());
            admin["metadata"]["managedFields"][0] = json!({"manager": manager, "time": AFTER});
        }
    };
    let (severity, _, _, message) = only(touched("curl"));
    assert_eq!(severity, High);
    assert!(message.starts_with("lets Group system:masters, User mallory do everything"), "{message}");
    assert_eq!(only(touched("kube-apiserver")).0, Medium);
}

#[test]
fn what_looks_like_ours_and_is_not_is_found() {
    let isolates = |name: &str, subject: Value| {
        let bound = binding("RoleBinding", name, AFTER, ("ClusterRole", "holdfast-isolate"), subject);
        only(|seen| add(&mut seen.role_bindings, bound))
    };
    assert_eq!(isolates("hf-isolate-run-1", mallory()).0, High);
    assert_eq!(
        isolates("hf-isolate-run-2", json!({"kind": "ServiceAccount", "name": "holdfast-controller"})).0,
        High
    );
    // Another run's account, and somebody else under the name of this one's.
    for (name, account) in [("hf-rotate-run-2", "hf-rotate-run-2"), ("hf-rotate-run-1", "mallory")] {
        let subject = json!({"kind": "ServiceAccount", "name": account});
        let bound = binding("RoleBinding", name, AFTER, ("ClusterRole", "holdfast-rotate"), subject);
        assert_eq!(only(|seen| add(&mut seen.role_bindings, bound)).0, High, "{name}");
    }
    // The label of everything that Holdfast makes is no excuse for a pod.
    let (severity, _, object, _) = only(|seen| {
        let pod = workload("Pod", "helper", AFTER, pod_spec());
        add(&mut seen.pods, labelled(pod, &[], ("app.kubernetes.io/managed-by", "holdfast")));
    });
    assert_eq!((severity, object.as_str()), (High, "Pod helper"));
}

#[test]
fn a_workload_or_a_pod_that_no_policy_knows_of_is_found() {
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob", "Job", "Pod"] {
        let unknown = |created: &'static str| {
            only(|seen| {
                let list = if kind == "Pod" { &mut seen.pods } else { &mut seen.workloads };
                add(list, workload(kind, "miner", created, pod_spec()));
            })
        };
        let (severity, found, object, message) = unknown(AFTER);
        assert_eq!((severity, found), (High, UnknownObject), "{kind}");
        assert_eq!(object, format!("{kind} miner"));
        assert_eq!(message, "no policy knows of it; created at 2026-11-23T09:10:00Z by kubectl-create");
        assert_eq!(unknown(BEFORE).0, Medium);
    }
    let (.., message) = only(|seen| {
        let pod = workload("Pod", "step-1", AFTER, pod_spec());
        add(&mut seen.pods, owned(pod, "Workflow", "steps"));
    });
    assert!(message.starts_with("no policy knows of it, made by Workflow steps; created"), "{message}");
}

#[test]
fn everything_that_reaches_for_the_node_is_found() {
    let pod = |change: &dyn Fn(&mut Value)| {
        let mut spec = pod_spec();
        change(&mut spec);
        only(|seen| {
            let workloads = seen.workloads.as_mut().unwrap();
            workloads[0] = workload("Deployment", "scholar", BEFORE, spec);
            // What it made is gone: it was stopped.
            workloads.remove(1);
            seen.pods.as_mut().unwrap().remove(0);
        })
    };
    type Case<'a> = (&'a dyn Fn(&mut Value), &'a str);
    let cases: [Case<'_>; 7] = [
        (&|spec| spec["hostNetwork"] = true.into(), "shares the node's network"),
        (&|spec| spec["hostPID"] = true.into(), "sees the node's processes"),
        (&|spec| spec["hostIPC"] = true.into(), "shares the node's memory"),
        (
            &|spec| spec["volumes"] = json!([{"name": "root", "hostPath": {"path": "/"}}]),
            "mounts / of the node",
        ),
        (
            &|spec| spec["containers"][0]["securityContext"]["privileged"] = true.into(),
            "container scholar is privileged",
        ),
        (
            &|spec| spec["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["SYS_ADMIN"]),
            "container scholar has SYS_ADMIN added",
        ),
        (
            &|spec| spec["containers"][0]["securityContext"]["procMount"] = "Unmasked".into(),
            "container scholar sees all of /proc",
        ),
    ];
    for (change, words) in cases {
        let found = pod(change);
        assert_eq!(found, (Medium, Privilege, "Deployment scholar".into(), words.to_owned()));
    }
    let root = pod(&|spec| spec["containers"][0]["securityContext"]["runAsUser"] = 0.into());
    assert_eq!(root, (Low, Privilege, "Deployment scholar".into(), "scholar as root (runAsUser: 0)".into()));
    let root = pod(&|spec| {
        spec["securityContext"] = json!({"runAsUser": 0});
        spec["containers"][0]["securityContext"] = json!({});
    });
    assert_eq!(root.0, Low);
    let loose = pod(&|spec| spec["initContainers"] = json!([{"name": "init", "image": "busybox:1"}]));
    assert_eq!(loose, (Low, Image, "Deployment scholar".into(), "not pinned by digest: busybox:1".into()));

    let found = after(|seen| {
        let mut spec = pod_spec();
        spec["containers"][0]["securityContext"]["privileged"] = true.into();
        add(&mut seen.pods, workload("Pod", "miner", AFTER, spec));
    });
    let told: Vec<_> = found.iter().map(|(severity, kind, ..)| (*severity, *kind)).collect();
    assert_eq!(told, [(High, Privilege), (High, UnknownObject)]);
}

#[test]
fn a_pod_is_not_its_workloads_because_it_says_so() {
    let stray = |change: &dyn Fn(&mut Value)| {
        let mut spec = pod_spec();
        change(&mut spec);
        after(|seen| {
            let pod = workload("Pod", "scholar-5d-y", AFTER, spec);
            add(&mut seen.pods, owned(pod, "ReplicaSet", "scholar-5d"));
        })
    };
    let other = PINNED.replace("scholar@", "miner@");
    let found = stray(&|spec| spec["containers"][0]["image"] = other.clone().into());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (High, Image));
    assert!(found[0].3.starts_with("runs or may do what its workload does not say: "), "{}", found[0].3);
    // What somebody puts into a pod that runs.
    let debug = json!([{"name": "debugger", "image": other.clone()}]);
    assert_eq!(stray(&|spec| spec["ephemeralContainers"] = debug.clone()).len(), 1);
    let kinds: Vec<_> = stray(&|spec| spec["hostPID"] = true.into()).iter().map(|found| found.1).collect();
    assert_eq!(kinds, [Privilege, Image]);
}

#[test]
fn accounts_that_nothing_known_runs_as_are_told() {
    let account = |created: &'static str| {
        only(|seen| add(&mut seen.service_accounts, object("ServiceAccount", "helper", created)))
    };
    let (severity, kind, object, message) = account(AFTER);
    assert_eq!((severity, kind, object.as_str()), (Medium, UnknownObject, "ServiceAccount helper"));
    assert!(message.ends_with("; created at 2026-11-23T09:10:00Z by kubectl-create"), "{message}");
    assert_eq!(account(BEFORE).0, Low);
}

#[test]
fn what_can_not_be_listed_is_told_and_the_rest_is_looked_at() {
    let why = || Err("the API server answers 403".to_owned());
    type Case = (&'static str, fn(&mut Seen) -> &mut Listed);
    let cases: [Case; 7] = [
        ("ClusterRoles", |seen| &mut seen.cluster_roles),
        ("ClusterRoleBindings", |seen| &mut seen.cluster_role_bindings),
        ("Roles", |seen| &mut seen.roles),
        ("RoleBindings", |seen| &mut seen.role_bindings),
        ("ServiceAccounts", |seen| &mut seen.service_accounts),
        ("workloads", |seen| &mut seen.workloads),
        ("pods", |seen| &mut seen.pods),
    ];
    for (what, list) in cases {
        let found = after(|seen| *list(seen) = why());
        let unseen: Vec<_> = found.iter().filter(|found| found.1 == NotSeen).collect();
        assert_eq!(unseen, [&(Unknown, NotSeen, what.to_owned(), "the API server answers 403".to_owned())]);
    }
    let (mut seen, known) = clean();
    for (_, list) in cases {
        *list(&mut seen) = why();
    }
    assert_eq!(look(&seen, &known).len(), 7);
}

#[test]
fn findings_have_their_bounds_and_the_worst_stands_first() {
    let found = after(|seen| {
        let image = "ä".repeat(9000);
        let spec =
            json!({"containers": [{"name": "c", "image": image, "securityContext": {"privileged": true}}]});
        add(&mut seen.pods, workload("Pod", "miner", AFTER, spec));
    });
    assert!(found.windows(2).all(|two| two[0].0 <= two[1].0));
    assert!(found.iter().all(|found| found.2.len() <= 320 && found.3.len() <= 512));
}
