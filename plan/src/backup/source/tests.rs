use super::*;
use crds::reference::WorkloadKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use serde_json::json;

pub(super) fn spec(chroma: serde_json::Value) -> BackupPolicySpec {
    serde_json::from_value(json!({
        "component": {"chromaDB": chroma, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
        "repositoryRef": {"name": "primary"}
    }))
    .unwrap()
}

pub(super) fn set() -> StatefulSet {
    serde_json::from_value(json!({
        "metadata": {"name": "chromadb", "namespace": "arxiv"},
        "spec": {
            "serviceName": "chromadb", "selector": {"matchLabels": {"app": "chromadb"}},
            "template": {"metadata": {"labels": {"app": "chromadb"}}, "spec": {"containers": [
                {"name": "sidecar", "image": "log"},
                {"name": "chroma", "image": "chromadb/chroma:1.5.0", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
            ]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]
        }
    }))
    .unwrap()
}

fn deployment() -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "chromadb"},
        "spec": {
            "selector": {"matchLabels": {"app": "chromadb"}},
            "template": {"spec": {
                "containers": [{"name": "chroma", "volumeMounts": [{"name": "db", "mountPath": "/srv", "subPath": "chroma"}]}],
                "volumes": [{"name": "db", "persistentVolumeClaim": {"claimName": "chroma-disk"}},
                            {"name": "tmp", "emptyDir": {}}]
            }}
        }
    }))
    .unwrap()
}

fn reference() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() }
}

fn located(chroma: serde_json::Value, set: StatefulSet) -> Result<Located, Problem> {
    locate(&spec(chroma), &[(reference(), Some(Workload::StatefulSet(Box::new(set))))])
}

pub(super) fn claim() -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": "data-chromadb-0"},
        "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}
    }))
    .unwrap()
}

pub(super) fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "chromadb-0", "labels": {"app": "chromadb", "pod-index": "0"}},
        "spec": {
            "nodeName": "node-1",
            "securityContext": {"fsGroup": 2000, "supplementalGroups": [3000]},
            "tolerations": [{"key": "db", "operator": "Exists"}],
            "containers": [
                {"name": "sidecar"},
                {"name": "chroma", "ports": [{"name": "http", "containerPort": 8000}],
                 "securityContext": {"runAsUser": 1000, "runAsGroup": 1001, "seLinuxOptions": {"level": "s0:c1,c2"}}}
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-chromadb-0"}}]
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "chroma", "image": "docker.io/chromadb/chroma:1.5.0", "ready": true, "restartCount": 0,
                 "imageID": "docker.io/chromadb/chroma@sha256:5b7e11aa"}
            ]
        }
    }))
    .unwrap()
}

fn service(name: &str, cluster_ip: &str, port: i32, target: serde_json::Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"clusterIP": cluster_ip, "selector": {"app": "chromadb"},
                 "ports": [{"name": "metrics", "port": 9090}, {"name": "api", "port": port, "targetPort": target}]}
    }))
    .unwrap()
}

fn resolved(
    claim: Option<&PersistentVolumeClaim>,
    pods: &[Pod],
    services: &[Service],
) -> Result<Source, Problem> {
    resolved_by(json!({"live": {}}), claim, pods, services)
}

fn resolved_by(
    capture: serde_json::Value,
    claim: Option<&PersistentVolumeClaim>,
    pods: &[Pod],
    services: &[Service],
) -> Result<Source, Problem> {
    let mut spec = spec(json!({}));
    spec.capture = serde_json::from_value(capture).unwrap();
    let reference = WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() };
    let workloads = [(reference, Some(Workload::StatefulSet(Box::new(set()))))];
    let claims: Vec<PersistentVolumeClaim> = claim.into_iter().cloned().collect();
    let around = Around { workloads: &workloads, claims: &claims, pods, services };
    resolve(&spec, located(json!({}), set()).unwrap(), around)
}

#[test]
fn the_claim_of_a_stateful_set_is_found_from_its_template() {
    let found = located(json!({}), set()).unwrap();
    assert_eq!(found.claim, "data-chromadb-0");
    assert_eq!((found.container.as_str(), found.data_path.as_str()), ("chroma", ""));
    let mut later = set();
    later.spec.as_mut().unwrap().ordinals = serde_json::from_value(json!({"start": 3})).unwrap();
    assert_eq!(located(json!({}), later).unwrap().claim, "data-chromadb-3");
}

#[test]
fn the_claim_of_a_deployment_is_the_one_its_volume_names_and_a_sub_path_counts() {
    let reference = WorkloadRef { kind: WorkloadKind::Deployment, name: "chromadb".into() };
    let workload = Workload::Deployment(Box::new(deployment()));
    let found = locate(&spec(json!({"dataPath": "/srv/db"})), &[(reference, Some(workload))]).unwrap();
    assert_eq!(found.claim, "chroma-disk");
    assert_eq!(found.data_path, "chroma/db");
}

#[test]
fn what_is_not_there_or_not_unique_is_said_with_the_field_that_settles_it() {
    let missing = locate(&spec(json!({})), &[(reference(), None)]).unwrap_err();
    assert_eq!(missing.reason, "WorkloadNotFound");
    assert!(missing.message.contains("spec.component.workloads"));

    let mut two = set();
    two.spec
        .as_mut()
        .unwrap()
        .volume_claim_templates
        .as_mut()
        .unwrap()
        .push(serde_json::from_value(json!({"metadata": {"name": "logs"}, "spec": {}})).unwrap());
    let several = located(json!({}), two.clone()).unwrap_err();
    assert!(several.message.contains("spec.component.chromaDB.volume"), "{several:?}");
    assert_eq!(located(json!({"volume": "data"}), two).unwrap().claim, "data-chromadb-0");

    let none = located(json!({"volume": "nope"}), set()).unwrap_err();
    assert_eq!(none.reason, "ClaimNotFound");
    let outside = located(json!({"dataPath": "/database"}), set()).unwrap_err();
    assert!(outside.message.contains("mounted at /data"), "{outside:?}");
}

#[test]
fn a_capture_runs_beside_the_pod_as_the_user_and_groups_of_the_pod() {
    let source = resolved(Some(&claim()), &[pod()], &[]).unwrap();
    assert_eq!((source.pod.as_deref(), source.place.node.as_deref()), (Some("chromadb-0"), Some("node-1")));
    assert_eq!(source.image(), "docker.io/chromadb/chroma@sha256:5b7e11aa");
    assert_eq!((source.identity.uid, source.identity.gid), (Some(1000), Some(1001)));
    assert_eq!(source.identity.groups, [2000, 3000]);
    assert_eq!(source.identity.selinux.as_ref().unwrap().level.as_deref(), Some("s0:c1,c2"));
    assert_eq!(source.place.tolerations.len(), 1);
    assert_eq!(source.service(), Ok(None));
}

#[test]
fn what_the_kubelet_saw_wins_over_what_was_asked_for() {
    let mut pod = pod();
    pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].user = serde_json::from_value(
        json!({"linux": {"uid": 10001, "gid": 10002, "supplementalGroups": [10002, 7]}}),
    )
    .unwrap();
    let identity = resolved(Some(&claim()), &[pod], &[]).unwrap().identity;
    assert_eq!((identity.uid, identity.gid), (Some(10001), Some(10002)));
    // The group that the volume belongs to first.
    assert_eq!(identity.groups, [2000, 7, 3000]);
}

#[test]
fn an_image_without_a_pullable_digest_is_named_by_its_tag() {
    let mut pod = pod();
    pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].image_id = "sha256:5b7e11aa".into();
    assert_eq!(resolved(Some(&claim()), &[pod], &[]).unwrap().image(), "docker.io/chromadb/chroma:1.5.0");
}

#[test]
fn a_source_that_cannot_be_captured_live_says_why() {
    let reason =
        |claim: Option<&PersistentVolumeClaim>, pods: &[Pod]| resolved(claim, pods, &[]).unwrap_err().reason;
    assert_eq!(reason(None, &[pod()]), "ClaimNotFound");
    let mut pending = claim();
    pending.status.as_mut().unwrap().phase = Some("Pending".into());
    assert_eq!(reason(Some(&pending), &[]), "ClaimPending");
    let mut exclusive = claim();
    exclusive.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteOncePod".into()]);
    assert_eq!(reason(Some(&exclusive), &[pod()]), "VolumeExclusive");
    assert_eq!(reason(Some(&claim()), &[]), "PodNotRunning");
    let mut unready = pod();
    unready.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
    assert_eq!(reason(Some(&claim()), &[unready]), "PodNotRunning");
    let mut going = pod();
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(reason(Some(&claim()), &[going]), "PodNotRunning");
    let mut stranger = pod();
    stranger.spec.as_mut().unwrap().volumes = None;
    assert_eq!(reason(Some(&claim()), &[stranger]), "PodNotRunning");
    let mut sandboxed = pod();
    sandboxed.spec.as_mut().unwrap().runtime_class_name = Some("gVisor-default".into());
    assert_eq!(reason(Some(&claim()), &[sandboxed]), "LocksNotShared");
}

#[test]
fn an_offline_capture_needs_the_claim_and_nothing_else_to_be_there() {
    let offline = |claim: Option<&PersistentVolumeClaim>, pods: &[Pod]| {
        resolved_by(json!({"offline": {}}), claim, pods, &[])
    };
    let mut exclusive = claim();
    exclusive.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteOncePod".into()]);
    let stopped = offline(Some(&exclusive), &[]).unwrap();
    assert_eq!((&stopped.pod, &stopped.place.node), (&None, &None), "it runs wherever the volume can be");
    assert_eq!(stopped.image(), "chromadb/chroma:1.5.0");
    assert_eq!((stopped.identity.uid, stopped.identity.gid), (Some(0), Some(0)), "as the image does");
    // A server that does not come up is captured as well, and what its pod tells is taken over.
    let mut unready = pod();
    unready.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
    unready.spec.as_mut().unwrap().runtime_class_name = Some("gVisor-default".into());
    let broken = offline(Some(&exclusive), &[unready]).unwrap();
    assert_eq!((&broken.pod, &broken.place.node), (&None, &None));
    assert_eq!(broken.image(), "docker.io/chromadb/chroma@sha256:5b7e11aa");
    assert_eq!(broken.identity.uid, Some(1000));
    assert_eq!(offline(None, &[pod()]).unwrap_err().reason, "ClaimNotFound");
}

#[test]
fn the_service_is_the_only_one_that_leads_to_the_pod_and_headless_ones_stand_back() {
    let services = |all: &[Service]| {
        let source = resolved(Some(&claim()), &[pod()], all).unwrap();
        source.service().map(Option::<&Address>::cloned).map_err(Clone::clone)
    };
    let client = service("chromadb", "198.19.0.20", 80, json!("http"));
    let headless = service("chromadb-headless", "None", 8000, json!(8000));
    let address = |service: &str, port| Ok(Some(Address { service: service.into(), port }));
    assert_eq!(services(&[headless.clone(), client.clone()]), address("chromadb", 80));
    assert_eq!(services(std::slice::from_ref(&headless)), address("chromadb-headless", 8000));
    let second = service("other", "198.19.0.21", 8001, json!(8000));
    let ambiguous = services(&[client.clone(), second]).unwrap_err();
    assert_eq!(ambiguous.reason, "ServiceAmbiguous");
    assert!(ambiguous.message.contains("spec.component.chromaDB.serviceRef"));
    let mut elsewhere = client;
    elsewhere.spec.as_mut().unwrap().selector = serde_json::from_value(json!({"app": "email"})).unwrap();
    assert_eq!(services(&[elsewhere]), Ok(None));
}
