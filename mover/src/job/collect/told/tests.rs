use jiff::SignedDuration;

use super::*;

fn workload_ref(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, name: name.into() }
}

fn of(kind: &str, owner: &str) -> Value {
    json!({"metadata": {"name": "p", "labels": {"pod-template-hash": "7f9"}, "ownerReferences": [{"kind": kind, "name": owner}]}})
}

fn asked<'a>(workloads: &'a [WorkloadRef], claims: &'a [String]) -> Asked<'a> {
    let day = SignedDuration::from_hours(24);
    Asked { namespace: "arxiv", workloads, claims, logs_since: day, within: day, missing: &[] }
}

#[test]
fn pods_of_a_component_are_known_by_who_made_them_also_when_it_is_gone() {
    let workloads = [
        workload_ref(WorkloadKind::StatefulSet, "chromadb"),
        workload_ref(WorkloadKind::Deployment, "scholar"),
        workload_ref(WorkloadKind::CronJob, "fetch"),
    ];
    for (kind, owner, is) in [
        ("StatefulSet", "chromadb", true),
        ("StatefulSet", "chromadb-2", false),
        ("ReplicaSet", "scholar-7f9", true),
        ("ReplicaSet", "scholar-web-7f9", false),
        ("Job", "fetch-29382", true),
        ("Job", "fetch-by-hand", false),
        ("Job", "fetch-", false),
        ("Job", "fetcher-29382", false),
    ] {
        assert_eq!(belongs(&of(kind, owner), &workloads, &[]), is, "{kind} {owner}");
    }
    let claims = ["data".to_owned()];
    let mut pod = json!({"metadata": {"name": "by-hand"}, "spec": {"volumes": [{"name": "a"}, {"persistentVolumeClaim": {"claimName": "data"}}]}});
    assert!(belongs(&pod, &[], &claims) && !belongs(&pod, &[], &["other".to_owned()]));
    pod["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "holdfast"});
    assert!(!belongs(&pod, &[], &claims), "a mover's own log");
}

#[test]
fn every_container_that_ever_ran_has_a_log_and_one_that_was_restarted_two() {
    let files = |statuses: Value| {
        let pod = json!({"metadata": {"name": "chromadb-0"}, "status": {"containerStatuses": statuses}});
        logs(&pod).iter().map(Log::file).collect::<Vec<_>>()
    };
    let running = json!([{"name": "chroma", "containerID": "containerd://1", "state": {"running": {}}}]);
    assert_eq!(files(running), ["logs/chromadb-0/chroma.log"]);
    let restarted = json!([{"name": "chroma", "containerID": "containerd://2", "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 137}}}]);
    assert_eq!(files(restarted), ["logs/chromadb-0/chroma.log", "logs/chromadb-0/chroma.previous.log"]);
    let backing_off = json!([{"name": "chroma", "containerID": "containerd://2",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]);
    assert_eq!(files(backing_off), ["logs/chromadb-0/chroma.previous.log"]);
    let never = json!([{"name": "chroma", "state": {"waiting": {"reason": "ContainerCreating"}}}]);
    assert!(files(never).is_empty());
    assert!(files(json!([{"name": "../../etc", "containerID": "x", "state": {}}])).is_empty());
    assert!(logs(&json!({"metadata": {"name": "pending"}})).is_empty());
}

#[test]
fn what_people_write_into_an_environment_is_not_told() {
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i", "env": [{"name": "PASSWORD", "value": "hunter2"}],
        "args": ["--token=hunter2"]}]});
    let pod = json!({"metadata": {"name": "p", "annotations": {"a": "hunter2"}}, "spec": spec, "status": {"phase": "Running"}});
    let set = json!({"metadata": {"name": "s"}, "spec": {"replicas": 2, "template": {"spec": spec}}, "status": {"readyReplicas": 1}});
    let cron = json!({"metadata": {"name": "c"}, "spec": {"suspend": true, "jobTemplate": {"spec": {"template": {"spec": spec}}}}});
    let listed = [(Kind::Pod, vec![pod]), (Kind::StatefulSet, vec![set]), (Kind::CronJob, vec![cron])];
    let read = Read { listed: listed.into(), ..Read::default() };
    let told = cluster(&read, &asked(&[], &[]), "2026-11-23T09:00:00Z".parse().unwrap());
    assert!(!told.to_string().contains("hunter2"), "{told}");
    assert_eq!(told["pods"][0]["status"]["phase"], "Running");
    assert_eq!(told["pods"][0]["ofComponent"], false);
    assert_eq!(
        told["statefulSets"][0]["spec"],
        json!({"replicas": 2, "containers": [{"name": "c", "image": "i"}]})
    );
    assert_eq!(told["cronJobs"][0]["spec"]["suspend"], true);
    assert!(
        told.get("services").is_none() && told.get("nodes").is_none(),
        "what was not read is not told as empty"
    );
}

#[test]
fn warnings_of_the_time_asked_for_are_told_the_newest_first() {
    let event = |reason: &str, time: &str| json!({"reason": reason, "message": "m", "lastTimestamp": time, "involvedObject": {"kind": "Pod", "name": "p"}});
    let events = vec![
        event("Old", "2026-11-21T08:59:59Z"),
        event("First", "2026-11-22T10:00:00Z"),
        event("Last", "2026-11-23T08:00:00Z"),
        json!({"reason": "New", "eventTime": "2026-11-23T08:30:00.123456Z", "involvedObject": {"kind": "Pod", "name": "p"}}),
        json!({"reason": "Timeless"}),
    ];
    let read = Read { listed: [(Kind::Event, events)].into(), ..Read::default() };
    let told = cluster(&read, &asked(&[], &[]), "2026-11-23T09:00:00Z".parse().unwrap());
    let reasons: Vec<&str> = list(&told["warnings"]).map(|event| text(&event["reason"])).collect();
    assert_eq!(reasons, ["New", "Last", "First"]);
    assert_eq!(told["warnings"][0]["object"], "Pod p");
}
