use super::*;

fn asked(labels: &BTreeMap<String, String>) -> Asked<'_> {
    Asked { namespace: "arxiv", run: "u-1", labels, storage_class: None, sandbox: None }
}

fn policy() -> Value {
    json!({"kind": "BackupPolicy", "metadata": {"name": "scholar"}, "spec": {"component": {"workloads": [
        {"kind": "Deployment", "name": "scholar"}, {"kind": "CronJob", "name": "fetch"}]}}})
}

#[test]
fn workloads_of_the_component_are_created_stopped_and_remember_how_they_ran() {
    let labels = BTreeMap::new();
    let create = |object: Value| anew(&object, &workloads(&[policy()]), &asked(&labels));
    let of = |kind: &str, name: &str, spec: Value| json!({"kind": kind, "metadata": {"name": name, "namespace": "elsewhere"}, "spec": spec});
    let deployment = create(of("Deployment", "scholar", json!({"replicas": 3})));
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["metadata"]["namespace"]),
        (&json!(0), &json!("arxiv"))
    );
    assert_eq!(deployment["metadata"]["annotations"], json!({RECREATED_BY: "u-1", REPLICAS: "3"}));
    let unsaid = create(of("Deployment", "scholar", json!({})));
    assert_eq!(unsaid["metadata"]["annotations"][REPLICAS], "1");
    for (suspend, ran) in [(json!(null), "1"), (json!(false), "1"), (json!(true), "0")] {
        let cron = create(of("CronJob", "fetch", json!({"suspend": suspend})));
        assert_eq!(
            (&cron["spec"]["suspend"], &cron["metadata"]["annotations"][REPLICAS]),
            (&json!(true), &json!(ran))
        );
    }
    let other = create(of("Deployment", "beside", json!({"replicas": 2})));
    assert_eq!(
        (&other["spec"]["replicas"], &other["metadata"]["annotations"]),
        (&json!(2), &json!({RECREATED_BY: "u-1"}))
    );
}

#[test]
fn a_lost_claim_has_a_stand_in_that_asks_for_the_same_and_says_what_it_stands_for() {
    let labels = BTreeMap::from([("holdfast.dev/run".to_owned(), "total".to_owned())]);
    let lost = json!({"kind": "PersistentVolumeClaim",
        "metadata": {"name": "state", "labels": {"app": "scholar"}, "annotations": {"team": "search"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "standard", "volumeName": "pv-lost", "dataSource": {"name": "x"}}});
    let claim = stand_in(&lost, &asked(&labels));
    assert_eq!(claim["metadata"]["name"], json!(names::restore_claim("state", "u-1")));
    assert_eq!(claim["metadata"]["labels"], json!({"holdfast.dev/run": "total"}));
    assert_eq!(
        claim["spec"],
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "standard"})
    );
    let stands_for: Value =
        serde_json::from_str(claim["metadata"]["annotations"][STANDS_FOR].as_str().unwrap()).unwrap();
    assert_eq!(stands_for, json!({"labels": {"app": "scholar"}, "annotations": {"team": "search"}}));
    let elsewhere = Asked { storage_class: Some("fast"), ..asked(&labels) };
    assert_eq!(stand_in(&lost, &elsewhere)["spec"]["storageClassName"], "fast");
}
