use super::*;
use serde_json::{Value, json};

fn job(conditions: Value) -> Job {
    serde_json::from_value(
        json!({"metadata": {"name": "j", "uid": "u"}, "status": {"conditions": conditions}}),
    )
    .unwrap()
}

fn running() -> Job {
    job(json!([]))
}

fn ended(kind: &str) -> Job {
    job(
        json!([{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]),
    )
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "j-x"}, "status": status})).unwrap()
}

fn said(message: &str, code: i32) -> Pod {
    pod(
        json!({"containerStatuses": [{"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": "Error", "message": message}}}]}),
    )
}

#[test]
fn a_job_says_when_it_ended_and_only_then() {
    let with = |status: &str| {
        job(json!([
            {"type": "FailureTarget", "status": "True", "lastTransitionTime": "2026-11-23T09:31:00Z"},
            {"type": "Failed", "status": status, "lastTransitionTime": "2026-11-23T09:31:02Z"},
        ]))
    };
    assert_eq!(ended_at(&with("True")), Some("2026-11-23T09:31:02Z".parse().unwrap()));
    assert_eq!(ended_at(&with("False")), None);
    assert_eq!(ended_at(&running()), None);
}

#[test]
fn a_report_is_believed_only_after_the_job_has_ended() {
    let report = said(r#"{"outcome":"notCommitted"}"#, 0);
    assert_eq!(state(&running(), std::slice::from_ref(&report)), JobState::Running { waiting: None });
    for kind in ["Complete", "Failed"] {
        assert_eq!(
            state(&ended(kind), std::slice::from_ref(&report)),
            JobState::Ended(Report::NotCommitted),
            "{kind}"
        );
    }
    // FailureTarget comes while pods still run.
    assert_eq!(state(&ended("FailureTarget"), &[report]), JobState::Running { waiting: None });
}

#[test]
fn a_job_that_ended_without_a_readable_report_says_why_as_far_as_known_and_never_what_came_out() {
    let silent = |job: &Job, pods: &[Pod]| match state(job, pods) {
        JobState::Silent { why } => why,
        other => panic!("{other:?}"),
    };
    assert!(silent(&ended("Failed"), &[said("panicked at", 101)]).contains("code 101"));
    assert!(
        silent(&ended("Complete"), &[said("", 0)]).contains("code 0"),
        "an exit code of 0 proves nothing"
    );
    assert!(silent(&ended("Failed"), &[]).contains("its pod is gone"));
    let evicted = pod(json!({"reason": "Evicted", "message": "The node was low on resource: memory."}));
    assert!(silent(&ended("Failed"), &[evicted]).contains("Evicted: The node was low on resource: memory."));
    let late = job(json!([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]));
    assert_eq!(silent(&late, &[]), "it did not end in its time");
    let killed = pod(
        json!({"containerStatuses": [{"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
    );
    assert!(silent(&ended("Failed"), &[killed]).contains("OOMKilled"));
}

#[test]
fn a_pod_that_cannot_start_is_told_and_one_that_is_starting_is_not() {
    let waiting = |status| match state(&running(), &[pod(status)]) {
        JobState::Running { waiting } => waiting,
        other => panic!("{other:?}"),
    };
    let container = |reason: &str| {
        json!({"containerStatuses": [{"name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "can't pull"}}}]})
    };
    assert_eq!(waiting(container("ContainerCreating")), None);
    assert_eq!(
        waiting(container("ImagePullBackOff")).unwrap(),
        "pod j-x waits: ImagePullBackOff: can't pull"
    );
    let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    assert_eq!(waiting(unscheduled).unwrap(), "pod j-x waits: Unschedulable: 0/1 nodes");
}

#[test]
fn captures_in_a_row_are_heard_one_by_one_while_their_pod_runs() {
    let container = |state: Value| json!({"name": "m", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let ended =
        |message: &str, code: i32| container(json!({"terminated": {"exitCode": code, "message": message}}));
    let pod_with = |second: Value| {
        pod(json!({
            "initContainerStatuses": [ended(r#"{"outcome":"leftOut"}"#, 0), second, container(json!({"waiting": {}}))],
            "containerStatuses": [container(json!({"waiting": {"reason": "PodInitializing"}}))]}))
    };
    let running = pod_with(container(json!({"running": {}})));
    assert_eq!(turns(std::slice::from_ref(&running)), [Some(Report::LeftOut), None, None, None]);
    assert_eq!(state(&job(json!([])), &[running]), JobState::Running { waiting: None });

    // One that fails for good ends the pod, and its Report is the Job's.
    let failed = pod_with(ended(r#"{"outcome":"failed","reason":"KeyMissing","message":"gone"}"#, 3));
    let JobState::Ended(Report::Failed(failure)) = state(&super::tests::ended("Failed"), &[failed]) else {
        panic!()
    };
    assert_eq!(failure.message, "gone");
    // One that was killed leaves nothing but the question.
    let killed = pod_with(ended("", 137));
    assert_eq!(turns(std::slice::from_ref(&killed))[1], None);
    assert!(
        matches!(state(&super::tests::ended("Failed"), &[killed]), JobState::Silent { why } if why.contains("code 137"))
    );
    let stuck =
        pod_with(container(json!({"waiting": {"reason": "ImagePullBackOff", "message": "can't pull"}})));
    assert!(matches!(state(&job(json!([])), &[stuck]), JobState::Running { waiting: Some(_) }));
}
