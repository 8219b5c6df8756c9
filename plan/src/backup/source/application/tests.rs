use crds::reference::{WorkloadKind, WorkloadRef};
use serde_json::{Value, json};

use super::*;

fn spec(application: Value, capture: Value) -> BackupPolicySpec {
    serde_json::from_value(json!({
        "component": {"application": application, "workloads": [
            {"kind": "StatefulSet", "name": "monitor"}, {"kind": "Deployment", "name": "web"}, {"kind": "CronJob", "name": "fetch"}]},
        "capture": capture, "repositoryRef": {"name": "primary"}}))
    .unwrap()
}

/// A StatefulSet with a claim a pod, a Deployment with one that is shared with a CronJob.
fn workloads() -> Vec<(WorkloadRef, Option<Workload>)> {
    let of = |kind, name: &str| WorkloadRef { kind, name: name.into() };
    let shared = json!({"securityContext": {"runAsUser": 700}, "nodeSelector": {"disk": "fast"},
        "containers": [{"name": "c", "volumeMounts": [{"name": "papers", "mountPath": "/papers"}]}],
        "volumes": [{"name": "papers", "persistentVolumeClaim": {"claimName": "papers"}}, {"name": "tmp", "emptyDir": {}}]});
    let set = json!({"metadata": {"name": "monitor"}, "spec": {
        "serviceName": "monitor", "selector": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        "template": {"spec": {"securityContext": {"runAsUser": 500, "runAsGroup": 501},
            "containers": [{"name": "m", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}});
    let deployment =
        json!({"metadata": {"name": "web"}, "spec": {"selector": {}, "template": {"spec": shared}}});
    let job = json!({"metadata": {"name": "fetch"}, "spec": {
        "schedule": "0 * * * *", "jobTemplate": {"spec": {"template": {"spec": shared}}}}});
    vec![
        (
            of(WorkloadKind::StatefulSet, "monitor"),
            Some(Workload::StatefulSet(Box::new(serde_json::from_value(set).unwrap()))),
        ),
        (
            of(WorkloadKind::Deployment, "web"),
            Some(Workload::Deployment(Box::new(serde_json::from_value(deployment).unwrap()))),
        ),
        (
            of(WorkloadKind::CronJob, "fetch"),
            Some(Workload::CronJob(Box::new(serde_json::from_value(job).unwrap()))),
        ),
    ]
}

fn claim(name: &str, mode: &str) -> PersistentVolumeClaim {
    serde_json::from_value(
        json!({"metadata": {"name": name}, "spec": {"accessModes": [mode]}, "status": {"phase": "Bound"}}),
    )
    .unwrap()
}

fn claims() -> Vec<PersistentVolumeClaim> {
    ["data-monitor-0", "data-monitor-1", "data-monitor-x", "data-monitors-0", "papers"]
        .map(|name| claim(name, "ReadWriteOnce"))
        .into()
}

fn pod(name: &str, node: &str, claim: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"nodeName": node,
        "containers": [{"name": "c", "securityContext": {"runAsUser": 600}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}, "status": {"phase": "Running"}}))
    .unwrap()
}

fn found(spec: &BackupPolicySpec, claims: &[PersistentVolumeClaim], pods: &[Pod]) -> Result<Source, Problem> {
    application(spec, Around { workloads: &workloads(), claims, pods, services: &[] })
}

#[test]
fn every_claim_of_every_workload_is_captured_of_a_stateful_set_one_a_pod() {
    let source = found(&spec(json!({}), json!({"live": {}})), &claims(), &[]).unwrap();
    assert_eq!(source.claims, ["data-monitor-0", "data-monitor-1", "papers"]);
    assert_eq!((source.content, source.pod), (Content::Application, None), "nothing has to run");
    assert_eq!(source.identity.uid, Some(500), "as the template of the first that has one");
    let narrowed = spec(json!({"volumes": [{"name": "papers"}]}), json!({"live": {}}));
    let narrowed = found(&narrowed, &claims(), &[]).unwrap();
    assert_eq!(
        (narrowed.claims.as_slice(), narrowed.identity.uid),
        (["papers".to_owned()].as_slice(), Some(700))
    );
    assert_eq!(narrowed.place.node_selector["disk"], "fast");
}

#[test]
fn it_is_captured_beside_a_pod_that_mounts_a_claim_and_as_that_runs() {
    let live = spec(json!({}), json!({"live": {}}));
    let mut ended = pod("ended", "node-9", "papers");
    ended.status.as_mut().unwrap().phase = Some("Succeeded".into());
    let stranger = pod("stranger", "node-9", "elsewhere");
    let source = found(&live, &claims(), &[ended, stranger, pod("web-1", "node-2", "papers")]).unwrap();
    assert_eq!((source.pod.as_deref(), source.place.node.as_deref()), (Some("web-1"), Some("node-2")));
    assert_eq!(source.identity.uid, Some(600));
    let offline = spec(json!({}), json!({"offline": {}}));
    let source = found(&offline, &claims(), &[pod("web-1", "node-2", "papers")]).unwrap();
    assert_eq!((source.pod, source.place.node), (None, None), "the workloads are stopped by then");
}

#[test]
fn volumes_on_two_nodes_are_refused_unless_many_nodes_may_have_them() {
    let live = spec(json!({}), json!({"live": {}}));
    let pods = [pod("monitor-0", "node-1", "data-monitor-0"), pod("web-1", "node-2", "papers")];
    assert_eq!(found(&live, &claims(), &pods).unwrap_err().reason, "VolumesOnSeveralNodes");
    let mut shared = claims();
    shared[4] = claim("papers", "ReadWriteMany");
    assert_eq!(found(&live, &shared, &pods).unwrap().place.node.as_deref(), Some("node-1"));
}

#[test]
fn what_is_missing_or_can_not_be_mounted_is_named() {
    let live = || spec(json!({}), json!({"live": {}}));
    let reason = |spec: &BackupPolicySpec, claims: &[PersistentVolumeClaim], pods: &[Pod]| {
        found(spec, claims, pods).unwrap_err().reason
    };
    assert_eq!(reason(&live(), &claims()[..4], &[]), "ClaimNotFound");
    assert_eq!(reason(&live(), &claims()[1..], &[]), "ClaimNotFound");
    let unknown = spec(json!({"volumes": [{"name": "tmp"}]}), json!({"live": {}}));
    assert_eq!(reason(&unknown, &claims(), &[]), "ClaimNotFound");
    let mut exclusive = claims();
    exclusive[4] = claim("papers", "ReadWriteOncePod");
    assert_eq!(reason(&live(), &exclusive, &[]), "VolumeExclusive");
    assert!(found(&spec(json!({}), json!({"offline": {}})), &exclusive, &[]).is_ok());
    let mut block = claims();
    block[4].spec.as_mut().unwrap().volume_mode = Some("Block".into());
    assert_eq!(reason(&live(), &block, &[]), "BlockVolume");
    let mut sandboxed = pod("web-1", "node-1", "papers");
    sandboxed.spec.as_mut().unwrap().runtime_class_name = Some("kata-qemu".into());
    assert_eq!(reason(&live(), &claims(), &[sandboxed]), "LocksNotShared");
    let mut gone = workloads();
    gone[1].1 = None;
    let around = Around { workloads: &gone, claims: &claims(), pods: &[], services: &[] };
    assert_eq!(application(&live(), around).unwrap_err().reason, "WorkloadNotFound");
}

#[test]
fn an_application_without_claims_consists_of_its_objects_and_is_read_by_nobody_in_particular() {
    let mut only = spec(json!({}), json!({"live": {}}));
    only.component.workloads.retain(|workload| workload.name == "email");
    let around = Around { workloads: &[], claims: &[], pods: &[], services: &[] };
    let source = application(&only, around).unwrap();
    assert!(source.claims.is_empty() && source.identity == Identity::default());
}
