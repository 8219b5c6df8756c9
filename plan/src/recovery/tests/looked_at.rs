//! Checks of policies that run a command in a pod, or look at the status of an object.

use crds::job::{Failure, FailureReason, Report, Request};
use crds::policy::{StatusKind, StatusRef};
use crds::run::CheckGroup;
use jiff::SignedDuration;
use serde_json::json;

use super::checks::{checks, line};
use super::*;
use crate::recovery::Effect;

fn exec() -> Cluster {
    let mut cluster = Cluster::new();
    let command = json!({"command": ["sh", "-c", "ls /data"], "container": "chroma"});
    cluster.seen.components[0].checks =
        checks(json!([{"name": "files", "group": "CoreServices", "exec": command, "timeout": "20s"}]));
    cluster.seen.components[0].ready_pods = vec!["chromadb-0".into(), "chromadb-1".into()];
    cluster
}

fn passed(cluster: &Cluster) {
    recovered(cluster);
    let check = line(cluster, "chromadb/files");
    assert_eq!((check.verdict, check.group), (Verdict::Passed, CheckGroup::CoreServices));
    assert_eq!(check.observed, "0 in pod chromadb-0");
}

#[test]
fn a_command_runs_once_in_one_ready_pod_and_stands_in_the_status_before_it_may() {
    let mut cluster = exec();
    let mut made = 0;
    for _ in 0..400 {
        let planned = cluster.plan();
        for effect in &planned.effects {
            let Effect::CreateJob { job, .. } = effect else { continue };
            let Request::Hook { pods, hook, needed, .. } = &job.request else { continue };
            made += 1;
            let known = &cluster.status().exec_checks[0];
            assert_eq!((&pods[..], &hook.command), (&[known.pod.clone()][..], &known.command));
            assert_eq!((known.pod.as_str(), hook.container.as_deref()), ("chromadb-0", Some("chroma")));
            assert!(*needed && hook.timeout == crds::Span::from_secs(20));
            assert!(job.keys.is_none() && job.service_account.is_some(), "a token and no key");
        }
        cluster.seen.run.status = planned.status;
        planned.effects.iter().for_each(|effect| cluster.apply(effect));
        cluster.settle();
    }
    assert_eq!(made, 1);
    passed(&cluster);
}

#[test]
fn whenever_the_controller_dies_the_command_runs_once() {
    killed_at_any_single_write(exec, passed, 20);
}

#[test]
fn what_a_command_comes_to_decides_and_what_was_not_seen_is_no_pass() {
    let failed =
        |reason, message: &str| JobState::Ended(Report::Failed(Failure { reason, message: message.into() }));
    for (answer, verdict, said) in [
        (
            failed(FailureReason::HookFailed, "hook ls: pod chromadb-0: exit code 3"),
            Verdict::Failed,
            "exit code 3",
        ),
        (failed(FailureReason::MoverFailed, "no token"), Verdict::Inconclusive, "no token"),
        (JobState::Silent { why: "evicted".into() }, Verdict::Inconclusive, "evicted"),
    ] {
        let mut cluster = exec();
        cluster.answers.insert("Exec", vec![answer]);
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        let check = line(&cluster, "chromadb/files");
        assert!(check.verdict == verdict && check.observed.contains(said), "{check:?}");
        let others = cluster.status().checks.iter().filter(|other| other.verdict == Verdict::Failed);
        assert!(others.into_iter().all(|other| other.name == "chromadb/files"), "exactly it fails");
    }
}

#[test]
fn where_nothing_may_or_can_run_that_is_said_and_no_job_is_made() {
    let mut forbidden = exec();
    forbidden.seen.hooks_allowed = false;
    let mut empty = exec();
    empty.seen.components[0].ready_pods.clear();
    for (mut cluster, verdict, said) in [
        (forbidden, Verdict::Inconclusive, "hooks.enabled=true"),
        (empty, Verdict::Failed, "it has no ready pod"),
    ] {
        cluster.run(1000);
        let check = line(&cluster, "chromadb/files");
        assert!(check.verdict == verdict && check.observed.contains(said), "{check:?}");
        assert!(cluster.status().exec_checks.is_empty() && cluster.log.jobs.len() == 4);
    }
}

fn reference() -> StatusRef {
    StatusRef { kind: StatusKind::Deployment, name: "scholar".into() }
}

fn status(ready: i64) -> Cluster {
    let mut cluster = Cluster::new();
    let expression = "object.status.readyReplicas == 2";
    let check = json!({"objectRef": {"kind": "Deployment", "name": "scholar"}, "expression": expression});
    cluster.seen.components[0].checks = checks(json!([{"name": "both", "status": check, "timeout": "30s"}]));
    cluster.seen.objects.insert(reference(), json!({"status": {"readyReplicas": ready}}));
    cluster
}

#[test]
fn a_status_is_waited_for_until_it_holds() {
    let mut cluster = status(1);
    for _ in 0..60 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert!(!ended(cluster.status()) && cluster.plan().next != crate::effect::Next::OnChange);
    cluster.seen.now += SignedDuration::from_secs(20);
    cluster.seen.objects.insert(reference(), json!({"status": {"readyReplicas": 2}}));
    cluster.run(1000);
    recovered(&cluster);
    let check = line(&cluster, "chromadb/both");
    assert_eq!((check.verdict, check.observed.as_str()), (Verdict::Passed, "it holds of Deployment scholar"));
    assert_eq!(check.expected, "object.status.readyReplicas == 2");
}

#[test]
fn one_that_never_holds_is_gone_or_can_not_be_judged_fails_after_its_time_and_says_why() {
    for (object, said) in [
        (Some(json!({"status": {"readyReplicas": 1}})), "it does not hold of Deployment scholar"),
        (Some(json!({"status": {}})), "Deployment scholar: "),
        (None, "no Deployment scholar"),
    ] {
        let mut cluster = status(1);
        cluster.seen.objects = object.into_iter().map(|object| (reference(), object)).collect();
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        let check = line(&cluster, "chromadb/both");
        assert!(check.verdict == Verdict::Failed && check.observed.starts_with(said), "{check:?}");
        let step = cluster.status().steps.iter().find(|step| step.name == "Validate/chromadb").unwrap();
        assert!(step.end.unwrap().duration_since(step.start.unwrap()) >= SignedDuration::from_secs(30));
    }
}
