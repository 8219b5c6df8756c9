use serde_json::json;

use super::super::tests::{claim, pod, set, spec};
use super::*;
use crds::reference::WorkloadKind;

fn chromadb(there: bool) -> Vec<(WorkloadRef, Option<Workload>)> {
    let reference = WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() };
    vec![(reference, there.then(|| Workload::StatefulSet(Box::new(set()))))]
}

fn look(there: bool, known: &[String], claims: &[PersistentVolumeClaim], pods: &[Pod]) -> Readable {
    let workloads = chromadb(there);
    let around = Around { workloads: &workloads, claims, pods, services: &[] };
    readable(&spec(json!({})), known, around)
}

#[test]
fn a_running_server_is_read_beside_it_and_as_it_and_a_stopped_one_wherever_it_may_run() {
    let seen = look(true, &[], &[claim()], &[pod()]);
    assert_eq!((seen.claims.as_slice(), seen.written), (["data-chromadb-0".to_owned()].as_slice(), true));
    assert_eq!((seen.place.node.as_deref(), seen.identity.uid), (Some("node-1"), Some(1000)));
    let (path, image) = seen.chroma_db.unwrap();
    assert_eq!((path.as_str(), image.as_str()), ("", "docker.io/chromadb/chroma@sha256:5b7e11aa"));
    assert!(seen.left_out.is_empty());
    let mut broken = pod();
    broken.status.as_mut().unwrap().conditions = None;
    assert_eq!(
        look(true, &[], &[claim()], &[broken]).claims.len(),
        1,
        "one that is not ready has it as well"
    );
    let stopped = look(true, &[], &[claim()], &[]);
    assert!(!stopped.written && stopped.place.node.is_none() && stopped.claims.len() == 1, "{stopped:?}");
}

#[test]
fn of_a_workload_that_is_gone_the_claims_are_read_that_were_known() {
    let known = ["data-chromadb-0".to_owned()];
    let seen = look(false, &known, &[claim()], &[]);
    assert_eq!((seen.claims.as_slice(), &seen.chroma_db), (known.as_slice(), &None));
    assert_eq!(seen.left_out, ["StatefulSet chromadb does not exist"]);
    let nothing = look(false, &[], &[], &[]);
    assert!(nothing.claims.is_empty() && nothing.left_out.len() == 1, "{nothing:?}");
}

#[test]
fn a_claim_that_no_other_pod_can_have_is_left_out_with_a_sentence() {
    let of = |change: serde_json::Value| {
        let mut value = serde_json::to_value(claim()).unwrap();
        for (at, new) in change.as_object().unwrap() {
            *value.pointer_mut(at).unwrap() = new.clone();
        }
        serde_json::from_value::<PersistentVolumeClaim>(value).unwrap()
    };
    let mut deleting = serde_json::to_value(claim()).unwrap();
    deleting["metadata"]["deletionTimestamp"] = json!("2026-11-23T09:00:00Z");
    let mut block = serde_json::to_value(claim()).unwrap();
    block["spec"]["volumeMode"] = json!("Block");
    for (claims, said) in [
        (vec![], "claim data-chromadb-0 does not exist"),
        (vec![serde_json::from_value(deleting).unwrap()], "claim data-chromadb-0 is being deleted"),
        (vec![of(json!({"/status/phase": "Pending"}))], "claim data-chromadb-0 is Pending"),
        (vec![serde_json::from_value(block).unwrap()], "raw block device"),
        (vec![of(json!({"/spec/accessModes": ["ReadWriteOncePod"]}))], "pod chromadb-0 has it"),
    ] {
        let seen = look(true, &[], &claims, &[pod()]);
        assert!(seen.claims.is_empty() && seen.chroma_db.is_none(), "{said}: {seen:?}");
        assert!(seen.left_out.len() == 1 && seen.left_out[0].contains(said), "{said}: {:?}", seen.left_out);
    }
    let exclusive = of(json!({"/spec/accessModes": ["ReadWriteOncePod"]}));
    assert_eq!(look(true, &[], &[exclusive], &[]).claims.len(), 1, "nobody has it");
}

#[test]
fn volumes_on_two_nodes_are_read_on_the_first() {
    let spec: BackupPolicySpec = serde_json::from_value(json!({
        "component": {"application": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]}, "repositoryRef": {"name": "primary"}
    }))
    .unwrap();
    let named = |name: &str| {
        let mut value = serde_json::to_value(claim()).unwrap();
        value["metadata"]["name"] = json!(name);
        serde_json::from_value::<PersistentVolumeClaim>(value).unwrap()
    };
    let on = |claim: &str, node: &str| {
        let mut value = serde_json::to_value(pod()).unwrap();
        value["spec"]["nodeName"] = json!(node);
        value["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!(claim);
        serde_json::from_value::<Pod>(value).unwrap()
    };
    let workloads = chromadb(true);
    let claims = [named("data-chromadb-0"), named("data-chromadb-1")];
    let pods = [on("data-chromadb-0", "node-1"), on("data-chromadb-1", "node-2")];
    let seen =
        readable(&spec, &[], Around { workloads: &workloads, claims: &claims, pods: &pods, services: &[] });
    assert_eq!(
        (seen.claims.as_slice(), seen.place.node.as_deref()),
        (["data-chromadb-0".to_owned()].as_slice(), Some("node-1"))
    );
    assert!(seen.left_out[0].contains("data-chromadb-1 is mounted on node node-2"), "{:?}", seen.left_out);
}
