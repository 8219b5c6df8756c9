//! Hooks on a real API server: what the chart lets their account run, and what the mover says of it. Where commands really run is a story
//! of the cluster (`capture-hooks`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    time::{Duration, Instant},
};

use crds::{
    Span,
    job::{FailureReason, Report, Request},
    names,
    policy::Hook,
};
use serde_json::{Value, json};
use tests::apiserver::Answer;

use super::{
    admission::server,
    cut::{account, command},
    pod::Pod,
};

/// A policy whose capture is at its first hook, and the account of its hooks.
struct Policy {
    namespace: String,
    account: String,
}

impl Policy {
    fn new() -> Policy {
        let namespace = server().namespace("hooks");
        let object = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb"}, "spec": {
            "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]}, "repositoryRef": {"name": "primary"}}});
        let _ =
            server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string()).success();
        let uid = format!("get hfpolicy chromadb -n {namespace} --output=jsonpath={{.metadata.uid}}");
        let account = names::hooker(&server().kubectl(&uid).success());
        let _ = server().kubectl(&format!("create serviceaccount {account} -n {namespace}")).success();
        let bound = format!(
            "create rolebinding {account} -n {namespace} --clusterrole=holdfast-hooks --serviceaccount={namespace}:{account}"
        );
        let _ = server().kubectl(&bound).success();
        for name in ["chromadb-0", "mover"] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
                "containers": [{"name": "chroma", "image": "localhost/none:1"}, {"name": "other", "image": "localhost/none:1"}]}});
            let _ =
                server().kubectl_reading(&format!("create -n {namespace} -f -"), &pod.to_string()).success();
        }
        Policy { namespace, account }
    }

    /// Writes what the controller would, and waits until the API server goes by it.
    fn at(&self, stage: &str) {
        let seen = server().kubectl(&format!("get hfpolicy chromadb -n {} --output=json", self.namespace));
        let mut object: Value = serde_json::from_str(&seen.success()).unwrap();
        let hook =
            |program: &str| json!({"command": [program, "all"], "container": "chroma", "timeout": "1m"});
        object["status"] = json!({"hooked": {
            "slot": "20261123-091500", "attempt": 1, "stage": stage, "since": "2026-11-23T09:15:00Z", "tries": 1,
            "pods": ["chromadb-0", "gone"], "hooks": {"before": hook("quiesce"), "after": hook("resume")}}});
        let replace = format!("replace -n {} --subresource=status -f -", self.namespace);
        let _ = server().kubectl_reading(&replace, &object.to_string()).success();
        let command = if stage == "After" { "resume" } else { "quiesce" };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.exec("chromadb-0", "chroma", &[command, "all"]);
            if is_let_through(&answer) == (stage != "Between") {
                return;
            }
            assert!(Instant::now() < deadline, "{stage}: it is not in force: {answer:?}");
        }
    }

    fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Answer {
        let Policy { namespace, account } = self;
        exec_as(
            &format!("--as=system:serviceaccount:{namespace}:{account}"),
            namespace,
            pod,
            container,
            command,
        )
    }
}

/// Without the look at the pod that kubectl takes first, for which the account has no right.
fn exec_as(who: &str, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Answer {
    let command: Vec<String> = command.iter().map(|word| format!("command={word}")).collect();
    let query = format!("container={container}&stderr=true&{}", command.join("&"));
    server().kubectl(&format!("get {who} --raw /api/v1/namespaces/{namespace}/pods/{pod}/exec?{query}"))
}

/// Nothing runs on this server, so what is let through fails later: it has no node.
fn is_let_through(answer: &Answer) -> bool {
    answer.err.contains("does not have a host assigned")
}

#[test]
fn a_hook_runs_its_own_command_in_its_own_pods_while_it_is_its_turn() {
    let policy = Policy::new();
    let run = |pod: &str, container: &str, command: &[&str]| policy.exec(pod, container, command);
    let refused = |answer: &Answer| answer.err.contains("no hook of a capture of BackupPolicy \"chromadb\"");
    assert!(refused(&run("chromadb-0", "chroma", &["quiesce", "all"])), "no capture is under way");

    policy.at("Before");
    let answer = run("chromadb-0", "chroma", &["quiesce", "all"]);
    assert!(is_let_through(&answer), "{answer:?}");
    for (pod, container, command) in [
        ("chromadb-0", "chroma", &["resume", "all"][..]),
        ("chromadb-0", "chroma", &["quiesce"]),
        ("chromadb-0", "chroma", &["quiesce", "all", "more"]),
        ("chromadb-0", "chroma", &["cat", "/etc/shadow"]),
        ("chromadb-0", "other", &["quiesce", "all"]),
        ("mover", "chroma", &["quiesce", "all"]),
    ] {
        let answer = run(pod, container, command);
        assert!(refused(&answer), "{pod} {container} {command:?}: {answer:?}");
    }
    policy.at("Between");
    assert!(refused(&run("chromadb-0", "chroma", &["quiesce", "all"])));
    policy.at("After");
    assert!(refused(&run("chromadb-0", "chroma", &["quiesce", "all"])));
    assert!(is_let_through(&run("chromadb-0", "chroma", &["resume", "all"])));
}

#[test]
fn nobody_elses_commands_are_looked_at_and_no_account_borrows_anothers_hooks() {
    let (policy, other) = (Policy::new(), Policy::new());
    policy.at("Before");
    // Bound where it is a stranger: no policy there answers for it, and none has begun.
    let Policy { namespace, account } = &policy;
    let bound = format!(
        "create rolebinding stranger -n {namespace} --clusterrole=holdfast-hooks --serviceaccount={}:{}",
        other.namespace, other.account
    );
    let _ = server().kubectl(&bound).success();
    let stranger = format!("--as=system:serviceaccount:{}:{}", other.namespace, other.account);
    let said = exec_as(&stranger, namespace, "chromadb-0", "chroma", &["quiesce", "all"]);
    assert!(!is_let_through(&said), "{said:?}");
    assert!(account != &other.account);
    assert!(is_let_through(&exec_as("", namespace, "chromadb-0", "chroma", &["anything"])));
}

fn asked(namespace: &str, pods: &[&str], program: &str) -> Request {
    Request::Hook {
        namespace: namespace.into(),
        pods: pods.iter().map(|&pod| pod.to_owned()).collect(),
        hook: Hook {
            command: vec![program.into(), "all".into()],
            container: Some("chroma".into()),
            timeout: Span::from_secs(30),
        },
        all_or_none: false,
        needed: false,
    }
}

#[test]
fn a_pod_that_is_gone_needs_no_command_and_what_is_refused_is_told() {
    let policy = Policy::new();
    let pod = Pod::with_directory();
    let token = format!("create token {} -n {}", policy.account, policy.namespace);
    let api = account(&pod, &server().kubectl(&token).success());
    let run = |request: &Request| pod.run_with(command(&pod, &api, request)).0;
    policy.at("Before");
    assert_eq!(run(&asked(&policy.namespace, &["gone"], "quiesce")), Report::Ran);

    let Report::Failed(failure) = run(&asked(&policy.namespace, &["mover", "chromadb-0"], "quiesce")) else {
        panic!()
    };
    assert_eq!(failure.reason, FailureReason::HookFailed);
    for part in [
        "hook quiesce: pod mover: the Kubernetes API answers 403",
        "no hook of a capture of BackupPolicy \"chromadb\"",
        "; pod chromadb-0: ",
        &format!("kubectl exec -n {} POD", policy.namespace),
    ] {
        assert!(failure.message.contains(part), "{part}: {}", failure.message);
    }
    fs::remove_file(pod.at("/var/run/secrets/kubernetes.io/serviceaccount/token")).unwrap();
    assert!(matches!(run(&asked(&policy.namespace, &["gone"], "quiesce")), Report::Failed(_)));
}
