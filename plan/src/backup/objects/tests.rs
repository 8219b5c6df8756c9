use super::*;

fn workload(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, name: name.into() }
}

fn deployment() -> Workload {
    Workload::Deployment(Box::new(
        serde_json::from_value(json!({"metadata": {"name": "scholar"}, "spec": {
            "selector": {"matchLabels": {"app": "scholar"}},
            "template": {"metadata": {"labels": {"app": "scholar", "tier": "ingest"}}, "spec": {
                "imagePullSecrets": [{"name": "registry"}],
                "initContainers": [{"name": "init", "envFrom": [{"configMapRef": {"name": "init-config"}}]}],
                "containers": [{"name": "scholar",
                    "envFrom": [{"secretRef": {"name": "env"}}],
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one-key", "key": "a"}}},
                            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "one-secret", "key": "b"}}}]}],
                "volumes": [
                    {"name": "config", "configMap": {"name": "files"}},
                    {"name": "secret", "secret": {"secretName": "dotenv"}},
                    {"name": "both", "projected": {"sources": [
                        {"configMap": {"name": "projected-config"}}, {"secret": {"name": "projected-secret"}},
                        {"configMap": {"name": "kube-root-ca.crt"}}]}}]}}}}))
        .unwrap(),
    ))
}

fn wanted(objects: Value) -> Wanted {
    let component: Component = serde_json::from_value(json!({
        "application": {}, "objects": objects,
        "workloads": [{"kind": "Deployment", "name": "scholar"}, {"kind": "CronJob", "name": "fetch"}]}))
    .unwrap();
    let workloads = [
        (workload(WorkloadKind::Deployment, "scholar"), Some(deployment())),
        (workload(WorkloadKind::CronJob, "fetch"), None),
    ];
    Wanted::of(&component, &workloads, &["scholar-data".to_owned()])
}

fn named(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": name, "namespace": "arxiv"}, "spec": spec})
}

fn chosen(wanted: &Wanted, kind: ObjectKind, listed: &[Value]) -> Vec<String> {
    let chosen = wanted.chosen(kind, listed);
    chosen.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whatever_a_pod_template_refers_to_is_mounted() {
    let found = wanted(
        json!({"named": [{"kind": "Secret", "name": "extra"}, {"kind": "ConfigMap", "name": "more"}]}),
    );
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found.config_maps), ["files", "init-config", "more", "one-key", "projected-config"]);
    assert_eq!(
        names(&found.secrets),
        ["dotenv", "env", "extra", "one-secret", "projected-secret", "registry"]
    );
    let without = wanted(json!({"secrets": "None", "named": [{"kind": "Secret", "name": "extra"}]}));
    assert!(without.secrets.is_empty() && !without.config_maps.is_empty());
}

#[test]
fn workloads_and_claims_belong_by_name_and_nothing_else_of_their_kinds_does() {
    let wanted = wanted(json!({}));
    let both = |mine: &str| [named(mine, json!({})), named("other", json!({}))];
    assert_eq!(chosen(&wanted, ObjectKind::Deployment, &both("scholar")), ["scholar"]);
    assert_eq!(chosen(&wanted, ObjectKind::CronJob, &both("fetch")), ["fetch"]);
    assert_eq!(chosen(&wanted, ObjectKind::PersistentVolumeClaim, &both("scholar-data")), ["scholar-data"]);
    assert!(chosen(&wanted, ObjectKind::StatefulSet, &both("scholar")).is_empty());
}

#[test]
fn services_and_network_policies_belong_when_they_select_the_pods() {
    let wanted = wanted(json!({}));
    let service = |name: &str, selector: Value| named(name, json!({"selector": selector}));
    let services = [
        service("front", json!({"app": "scholar"})),
        service("both", json!({"app": "scholar", "tier": "ingest"})),
        service("other", json!({"app": "scholar", "tier": "web"})),
        service("endpoints-by-hand", json!({})),
        named("external", json!({})),
    ];
    assert_eq!(chosen(&wanted, ObjectKind::Service, &services), ["front", "both"]);

    let policy = |name: &str, selector: Value| named(name, json!({"podSelector": selector}));
    let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let policies = [
        policy("all", json!({})),
        policy("labels", json!({"matchLabels": {"tier": "ingest"}})),
        policy("in", expression("app", "In", json!(["x", "scholar"]))),
        policy("not-in", expression("app", "NotIn", json!(["x"]))),
        policy("absent-not-in", expression("zone", "NotIn", json!(["x"]))),
        policy("exists", expression("app", "Exists", json!(null))),
        policy("not-exists", expression("zone", "DoesNotExist", json!(null))),
    ];
    assert_eq!(chosen(&wanted, ObjectKind::NetworkPolicy, &policies).len(), policies.len());
    let others = [
        policy("labels", json!({"matchLabels": {"tier": "web"}})),
        policy("in", expression("app", "In", json!(["x"]))),
        policy("not-in", expression("app", "NotIn", json!(["scholar"]))),
        policy("exists", expression("zone", "Exists", json!(null))),
        policy("not-exists", expression("app", "DoesNotExist", json!(null))),
        policy("unknown", expression("app", "Near", json!(["scholar"]))),
    ];
    assert!(chosen(&wanted, ObjectKind::NetworkPolicy, &others).is_empty());
}

#[test]
fn more_belong_by_label_or_by_name_when_the_policy_says_so() {
    let wanted = wanted(json!({
        "selector": {"matchLabels": {"part-of": "scholar"}}, "named": [{"kind": "Service", "name": "alias"}]}));
    let labelled = |name: &str, labels: Value| {
        let mut object = named(name, json!({}));
        object["metadata"]["labels"] = labels;
        object
    };
    let services = [
        named("alias", json!({})),
        labelled("metrics", json!({"part-of": "scholar", "x": "y"})),
        labelled("other", json!({"part-of": "quant"})),
        named("plain", json!({})),
    ];
    assert_eq!(chosen(&wanted, ObjectKind::Service, &services), ["alias", "metrics"]);
    assert_eq!(chosen(&wanted, ObjectKind::StatefulSet, &services), ["metrics"]);
}

#[test]
fn what_the_cluster_made_of_an_object_is_left_out_and_fields_that_nobody_knows_stay() {
    let wanted = wanted(json!({}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "front", "namespace": "arxiv", "uid": "u", "resourceVersion": "7", "managedFields": [], "generation": 2,
            "creationTimestamp": "2026-11-23T09:00:00Z", "ownerReferences": [], "finalizers": ["x"], "labels": {"a": "b"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "keep": "me"}},
        "spec": {"selector": {"app": "scholar"}, "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "trafficDistribution": "New"},
        "status": {"loadBalancer": {}}});
    assert_eq!(
        wanted.chosen(ObjectKind::Service, std::slice::from_ref(&service)),
        [json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "front", "namespace": "arxiv", "labels": {"a": "b"}, "annotations": {"keep": "me"}},
            "spec": {"selector": {"app": "scholar"}, "trafficDistribution": "New"}})]
    );
    let mut headless = service;
    headless["spec"]["clusterIP"] = "None".into();
    assert_eq!(wanted.chosen(ObjectKind::Service, &[headless])[0]["spec"]["clusterIP"], "None");

    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "scholar-data", "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n"}},
        "spec": {"volumeName": "pv-1", "storageClassName": "fast"}});
    assert_eq!(
        wanted.chosen(ObjectKind::PersistentVolumeClaim, &[claim]),
        [json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "scholar-data"},
            "spec": {"storageClassName": "fast"}})]
    );
}

#[test]
fn what_is_stopped_for_the_capture_is_kept_as_it_runs() {
    let mut wanted = wanted(json!({}));
    let stopped = |kind, name: &str, replicas| StoppedWorkload { workload: workload(kind, name), replicas };
    wanted.stopped =
        vec![stopped(WorkloadKind::Deployment, "scholar", 3), stopped(WorkloadKind::CronJob, "fetch", 1)];
    let kept = |kind, object: Value| wanted.chosen(kind, &[object])[0]["spec"].clone();
    assert_eq!(kept(ObjectKind::Deployment, named("scholar", json!({"replicas": 0})))["replicas"], 3);
    assert_eq!(kept(ObjectKind::CronJob, named("fetch", json!({"suspend": true})))["suspend"], false);
}
