//! Commands of checks on a real API server: what the chart lets the account of a run's checks run, and what the mover says of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use crds::Span;
use crds::job::{FailureReason, Report, Request};
use crds::names;
use crds::policy::Hook;
use serde_json::{Value, json};
use tests::apiserver::Answer;

use super::admission::server;
use super::cut::{account, command};
use super::pod::Pod;

/// A run that validates, and the account of its checks.
struct Run {
    namespace: String,
    account: String,
}

impl Run {
    fn new() -> Self {
        let namespace = server().namespace("exec");
        let create = |object: &Value| {
            let made = server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string());
            let _ = made.success();
        };
        create(
            &json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "total"},
            "spec": {"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": namespace}}}}),
        );
        let uid = format!("get hfrun total -n {namespace} --output=jsonpath={{.metadata.uid}}");
        let account = names::checker(&server().kubectl(&uid).success());
        let _ = server().kubectl(&format!("create serviceaccount {account} -n {namespace}")).success();
        let bound = format!(
            "create rolebinding {account} -n {namespace} --clusterrole=holdfast-hooks --serviceaccount={namespace}:{account}"
        );
        let _ = server().kubectl(&bound).success();
        for name in ["scholar-0", "mover"] {
            create(
                &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
                {"name": "web", "image": "localhost/none:1"}, {"name": "other", "image": "localhost/none:1"}]}}),
            );
        }
        Self { namespace, account }
    }

    /// Writes what the controller would, and waits until the API server goes by it.
    fn at(&self, phase: &str) {
        let seen = server().kubectl(&format!("get hfrun total -n {} --output=json", self.namespace));
        let mut object: Value = serde_json::from_str(&seen.success()).unwrap();
        object["status"] = json!({"steps": [{"name": "Validate/scholar", "policy": "scholar", "phase": phase}],
            "execChecks": [{"check": "scholar/answers", "pod": "scholar-0", "container": "web", "command": ["ask", "all"]},
                {"check": "scholar/gone", "pod": "gone", "container": "web", "command": ["ask", "all"]}]});
        let replace = format!("replace -n {} --subresource=status -f -", self.namespace);
        let _ = server().kubectl_reading(&replace, &object.to_string()).success();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.exec("scholar-0", "web", &["ask", "all"]);
            if is_let_through(&answer) == (phase == "Running") {
                return;
            }
            assert!(Instant::now() < deadline, "{phase}: it is not in force: {answer:?}");
        }
    }

    fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Answer {
        let Self { namespace, account } = self;
        let command: Vec<String> = command.iter().map(|word| format!("command={word}")).collect();
        let query = format!("container={container}&stderr=true&{}", command.join("&"));
        server().kubectl(&format!(
            "get --as=system:serviceaccount:{namespace}:{account} --raw /api/v1/namespaces/{namespace}/pods/{pod}/exec?{query}"
        ))
    }
}

/// Nothing runs on this server, so what is let through fails later: it has no node.
fn is_let_through(answer: &Answer) -> bool {
    answer.err.contains("does not have a host assigned")
}

#[test]
fn a_check_runs_what_stands_in_its_run_where_it_stands_while_the_run_validates() {
    let run = Run::new();
    let refused = |answer: &Answer| answer.err.contains("no command of a check of RecoveryRun \"total\"");
    assert!(refused(&run.exec("scholar-0", "web", &["ask", "all"])), "nothing stands in its status");
    run.at("Running");
    for (pod, container, command) in [
        ("scholar-0", "web", &["ask"][..]),
        ("scholar-0", "web", &["ask", "all", "more"]),
        ("scholar-0", "web", &["cat", "/etc/shadow"]),
        ("scholar-0", "other", &["ask", "all"]),
        ("mover", "web", &["ask", "all"]),
    ] {
        let answer = run.exec(pod, container, command);
        assert!(refused(&answer), "{pod} {container} {command:?}: {answer:?}");
    }
    run.at("Done");
    assert!(refused(&run.exec("scholar-0", "web", &["ask", "all"])), "it is over");
}

#[test]
fn a_pod_that_is_gone_fails_the_check_and_so_does_what_is_refused() {
    let run = Run::new();
    run.at("Running");
    let pod = Pod::with_directory();
    let token = format!("create token {} -n {}", run.account, run.namespace);
    let api = account(&pod, &server().kubectl(&token).success());
    let said = |name: &str| {
        let hook = Hook {
            command: vec!["ask".into(), "all".into()],
            container: Some("web".into()),
            timeout: Span::from_secs(30),
        };
        let request = Request::Hook {
            namespace: run.namespace.clone(),
            pods: vec![name.to_owned()],
            hook,
            all_or_none: true,
            needed: true,
        };
        let Report::Failed(failure) = pod.run_with(command(&pod, &api, &request)).0 else { panic!("{name}") };
        assert_eq!(failure.reason, FailureReason::HookFailed);
        failure.message
    };
    assert!(said("gone").contains("pod gone: it is gone"));
    assert!(said("mover").contains("the Kubernetes API answers 403"));
}
