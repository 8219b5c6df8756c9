use super::*;
use crds::Span;
use crds::job::{CaptureSource, RepositoryAccess, RepositoryPlace, Request, SourceContent};
use crds::reference::{NameRef, POLICY_LABEL};
use crds::repository::Addressing;
use jiff::SignedDuration;
use plan::effect::{Identity, Volume as Claim};
use serde_json::{Value, json};

fn access() -> RepositoryAccess {
    RepositoryAccess {
        place: RepositoryPlace::S3 {
            endpoint: Some("https://s3.example.com".into()),
            region: "us-east-1".into(),
            bucket: "yourorg-dr".into(),
            prefix: "arxiv/".into(),
            addressing: Addressing::Path,
        },
        expected_id: Some("repo-1".into()),
        read_only: false,
        sealed: false,
        evidence: false,
        lock: None,
    }
}

fn probe() -> MoverJob {
    MoverJob {
        name: "primary-probe-1-0000".into(),
        labels: BTreeMap::new(),
        request: Request::Probe { repository: access() },
        before: vec![],
        keys: Some(RepositoryKeys {
            credentials: Some(NameRef::new("s3")),
            key: NameRef::new("repository-key"),
            escrow: Some(NameRef::new("escrow-key")),
            ca: Some(NameRef::new("store-ca")),
        }),
        sources: BTreeMap::new(),
        service_account: None,
        objects: None,
        targets: BTreeMap::new(),
        place: Place::default(),
        identity: Identity::default(),
        deadline: Span::from_mins(5),
        namespace: None,
    }
}

fn objects() -> Wanted {
    let mut wanted = Wanted::default();
    wanted.config_maps.insert("chroma-config".into());
    wanted.secrets.insert("chroma-auth".into());
    wanted
}

fn capture() -> MoverJob {
    MoverJob {
        name: "chromadb-capture-20261123-091500-1-0000".into(),
        labels: BTreeMap::from([(POLICY_LABEL.to_owned(), "chromadb".to_owned())]),
        request: Request::Capture {
            repository: access(),
            attempt: "u-1/20261123-091500/1".into(),
            source: CaptureSource {
                policy: "chromadb".into(),
                namespace: "arxiv".into(),
                claims: vec!["data-chromadb-0".into()],
                content: SourceContent::ChromaDb {
                    data_path: String::new(),
                    image: "chromadb/chroma@sha256:5b7e".into(),
                },
                max_writer_pause: SignedDuration::from_secs(5),
                policy_spec: json!({"component": {"displayName": "costs $(AWS_SECRET_ACCESS_KEY)"}}),
            },
            turn: None,
            cut: None,
        },
        before: vec![],
        keys: Some(RepositoryKeys {
            credentials: Some(NameRef::new("s3")),
            key: NameRef::new("repository-key"),
            escrow: None,
            ca: None,
        }),
        sources: BTreeMap::from([(
            "data-chromadb-0".to_owned(),
            Claim { claim: "data-chromadb-0".into(), read_only: false },
        )]),
        service_account: None,
        objects: Some(Box::new(objects())),
        targets: BTreeMap::new(),
        place: Place {
            node: Some("node-1".into()),
            tolerations: vec![serde_json::from_value(json!({"key": "db", "operator": "Exists"})).unwrap()],
            ..Place::default()
        },
        identity: Identity {
            uid: Some(1000),
            gid: Some(1001),
            groups: vec![2000],
            selinux: serde_json::from_value(json!({"level": "s0:c1,c2"})).unwrap(),
        },
        deadline: Span::from_mins(30),
        namespace: None,
    }
}

fn built(job: &MoverJob) -> Value {
    let owner = OwnerReference {
        api_version: "holdfast.dev/v1alpha1".into(),
        kind: "BackupPolicy".into(),
        name: "chromadb".into(),
        uid: "u-1".into(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let config =
        MoverConfig { image: "holdfast:1".into(), pull_policy: None, pull_secrets: vec![], hooks: false };
    let objects = [json!({"kind": "Service", "spec": {"note": "$(AWS_SECRET_ACCESS_KEY)"}})];
    let beyond = [json!({"kind": "Node", "metadata": {"name": "node-1"}})];
    let handed = Handed {
        objects: if job.objects.is_some() { objects.to_vec() } else { vec![] },
        beyond: beyond.to_vec(),
    };
    serde_json::to_value(build("arxiv", Some(owner), &config, job, &handed)).unwrap()
}

#[test]
fn a_capture_job_is_exactly_this() {
    let mut job = built(&capture());
    let request = job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].take();
    let request = request.as_str().unwrap();
    assert!(
        !request.replace("$$(", "").contains("$("),
        "Kubernetes would put a credential in its place: {request}"
    );
    let back: Request = serde_json::from_str(&request.replace("$$(", "$(")).unwrap();
    assert_eq!(back, capture().request);

    let credential = |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s3", "key": name, "optional": true}}});
    let labels = json!({"app.kubernetes.io/managed-by": "holdfast", "holdfast.dev/mover": "true", "holdfast.dev/policy": "chromadb"});
    assert_eq!(
        job,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "chromadb-capture-20261123-091500-1-0000", "namespace": "arxiv", "labels": labels,
                "ownerReferences": [{"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "name": "chromadb", "uid": "u-1", "controller": true}]
            },
            "spec": {
                "backoffLimit": 0, "activeDeadlineSeconds": 1800,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
                        "terminationGracePeriodSeconds": 30,
                        "tolerations": [{"key": "db", "operator": "Exists"}],
                        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]}}},
                        "securityContext": {
                            "runAsUser": 1000, "runAsGroup": 1001, "runAsNonRoot": true, "supplementalGroups": [2000],
                            "seLinuxOptions": {"level": "s0:c1,c2"}, "seccompProfile": {"type": "RuntimeDefault"}
                        },
                        "containers": [{
                            "name": "mover", "image": "holdfast:1", "args": ["job"],
                            "env": [{"name": "HOLDFAST_REQUEST", "value": null},
                                    {"name": "HOLDFAST_OBJECT_0", "value": r#"{"kind":"Service","spec":{"note":"$$(AWS_SECRET_ACCESS_KEY)"}}"#},
                                    credential("AWS_ACCESS_KEY_ID"), credential("AWS_SECRET_ACCESS_KEY"), credential("AWS_SESSION_TOKEN")],
                            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                            "volumeMounts": [
                                {"name": "scratch", "mountPath": "/var/run/holdfast/scratch"},
                                {"name": "key", "mountPath": "/var/run/holdfast/key", "readOnly": true},
                                {"name": "source-0", "mountPath": "/var/run/holdfast/source/data-chromadb-0"},
                                {"name": "object-0", "mountPath": "/var/run/holdfast/objects/ConfigMap/chroma-config", "readOnly": true},
                                {"name": "object-1", "mountPath": "/var/run/holdfast/objects/Secret/chroma-auth", "readOnly": true}
                            ]
                        }],
                        "volumes": [
                            {"name": "scratch", "emptyDir": {}},
                            {"name": "key", "secret": {"secretName": "repository-key", "optional": true, "defaultMode": 0o444}},
                            {"name": "source-0", "persistentVolumeClaim": {"claimName": "data-chromadb-0"}},
                            {"name": "object-0", "configMap": {"name": "chroma-config", "optional": true}},
                            {"name": "object-1", "secret": {"secretName": "chroma-auth", "optional": true, "defaultMode": 0o444}}
                        ]
                    }
                }
            }
        })
    );
}

#[test]
fn a_probe_runs_as_nobody_anywhere_and_mounts_the_second_key_and_the_authorities_it_was_given() {
    let job = built(&probe());
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["affinity"], Value::Null);
    let volumes: Vec<&str> =
        pod["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(volumes, ["scratch", "key", "escrow", "ca"]);
    for volume in ["secret", "configMap"] {
        let optional = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|v| v.get(volume))
            .all(|v| v["optional"] == true);
        assert!(optional, "a missing {volume} must be said by the mover and not hold up its pod");
    }
}

#[test]
fn no_mover_ever_gets_a_cpu_limit_or_a_token_and_a_capture_never_an_fs_group() {
    for job in [probe(), capture()] {
        let built = built(&job);
        let pod = &built["spec"]["template"]["spec"];
        assert_eq!(pod["containers"][0]["resources"]["limits"], Value::Null);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["fsGroup"], Value::Null);
    }
}

#[test]
fn a_repository_on_a_volume_is_mounted_by_whoever_has_its_key_and_needs_no_credentials() {
    let place = |read_only: bool| RepositoryAccess {
        place: RepositoryPlace::Volume { claim: "emergency-storage".into() },
        read_only,
        ..access()
    };
    let mut probe = probe();
    probe.request = Request::Probe { repository: place(false) };
    let mut capture = capture();
    if let Request::Capture { repository, .. } = &mut capture.request {
        *repository = place(true);
    }
    for job in [&mut probe, &mut capture] {
        job.keys.as_mut().unwrap().credentials = None;
    }
    let pod = |job: &MoverJob| built(job)["spec"]["template"]["spec"].clone();
    let mounted = |pod: &Value| {
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap().clone();
        mounts.into_iter().find(|mount| mount["name"] == "repository").unwrap()
    };
    // The root of the volume is root's: the kubelet gives it to the group that all its movers are in, and to no other file's.
    let (probe, capture) = (pod(&probe), pod(&capture));
    assert_eq!(mounted(&probe), json!({"name": "repository", "mountPath": "/var/run/holdfast/repository"}));
    assert_eq!(mounted(&capture)["readOnly"], true);
    let security = &probe["securityContext"];
    assert_eq!(
        (&security["fsGroup"], &security["fsGroupChangePolicy"]),
        (&json!(65532), &json!("OnRootMismatch"))
    );
    let security = &capture["securityContext"];
    assert_eq!(
        (&security["fsGroup"], &security["supplementalGroups"]),
        (&Value::Null, &json!([2000, 65532]))
    );
    for pod in [&probe, &capture] {
        let claims = pod["volumes"].as_array().unwrap().iter();
        let claims: Vec<&Value> =
            claims.map(|volume| &volume["persistentVolumeClaim"]["claimName"]).collect();
        assert!(claims.contains(&&json!("emergency-storage")), "{claims:?}");
        assert!(!pod.to_string().contains("AWS_SECRET_ACCESS_KEY\","), "{pod}");
    }
}

#[test]
fn a_workload_that_runs_as_root_is_captured_as_root_without_capabilities() {
    let mut job = capture();
    job.identity = Identity { uid: Some(0), gid: Some(0), ..Identity::default() };
    let pod = built(&job)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["securityContext"]["runAsUser"], 0);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], false);
    assert_eq!(pod["containers"][0]["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
}

#[test]
fn captures_in_a_row_are_containers_that_kubernetes_runs_one_after_the_other_on_the_same_volumes() {
    let mut job = capture();
    job.before = vec![job.request.clone(), probe().request];
    let pod = built(&job)["spec"]["template"]["spec"].clone();
    let (before, last) = (pod["initContainers"].as_array().unwrap(), &pod["containers"][0]);
    let names: Vec<&str> = before.iter().map(|container| container["name"].as_str().unwrap()).collect();
    assert_eq!((names.as_slice(), &last["name"]), (["mover-0", "mover-1"].as_slice(), &json!("mover")));
    let request = |container: &Value| {
        let text = container["env"][0]["value"].as_str().unwrap().replace("$$(", "$(");
        serde_json::from_str::<Request>(&text).unwrap()
    };
    assert_eq!((request(&before[0]), request(&before[1])), (job.before[0].clone(), job.before[1].clone()));
    assert_eq!(request(last), job.request);
    for container in before {
        assert_eq!(container["volumeMounts"], last["volumeMounts"]);
        assert_eq!(container["securityContext"], last["securityContext"]);
        assert_eq!(container["resources"], last["resources"]);
        // A sidecar would run beside the next one.
        assert_eq!(container["restartPolicy"], Value::Null);
    }
    let objects = |container: &Value| {
        container["env"].as_array().unwrap().iter().any(|variable| variable["name"] == "HOLDFAST_OBJECT_0")
    };
    assert!(objects(&before[0]) && !objects(&before[1]) && !objects(last), "the first leaves them to all");
}

#[test]
fn whoever_collects_has_a_token_and_neither_key_nor_secret_and_whoever_stores_it_has_these_and_no_token() {
    let mut job = capture();
    let spans = [SignedDuration::from_hours(24), SignedDuration::from_mins(5)];
    job.before = vec![Request::Collect {
        namespace: "arxiv".into(),
        workloads: vec![],
        claims: vec![],
        logs_since: spans[0],
        within: spans[1],
        missing: vec![],
    }];
    let account = plan::effect::Account {
        name: "hf-collect-u-1".into(),
        role: crds::reference::COLLECT_ROLE,
        bound: plan::effect::Bound::WithItsJob,
    };
    job.service_account = Some(account);
    let pod = built(&job)["spec"]["template"]["spec"].clone();
    assert_eq!(pod["serviceAccountName"], "hf-collect-u-1");
    let has = |container: &Value| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().map(|mount| mount["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (collects, stores) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert_eq!(has(collects), ["scratch", "token", "evidence", "source-0"]);
    assert_eq!(has(stores), ["scratch", "key", "evidence", "source-0", "object-0", "object-1"]);
    let env = |container: &Value| container["env"].to_string();
    assert!(!env(collects).contains("AWS_SECRET_ACCESS_KEY\""), "{collects}");
    assert!(collects["env"][1]["value"].as_str().unwrap().contains("node-1"));
    assert!(stores["env"][1]["value"].as_str().unwrap().contains("Service"), "{stores}");
}

#[test]
fn whoever_asks_a_server_gets_its_credential_from_the_secret_and_only_names_are_written() {
    let env = |auth: Value| {
        let request = Request::Validate {
            repository: access(),
            point: "4be1c07a".into(),
            url: "http://chromadb.arxiv.svc:8000".into(),
            auth: Some(serde_json::from_value(auth).unwrap()),
            revoked: None,
            counts: vec![],
            answers: vec![],
            endpoints: vec![],
        };
        let job = MoverJob { request, sources: BTreeMap::new(), objects: None, ..capture() };
        let job = built(&job);
        let all = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        let of = |variable: &&Value| variable["name"].as_str().unwrap().starts_with("HOLDFAST_SERVER_");
        Value::from(all.iter().filter(of).cloned().collect::<Vec<_>>())
    };
    let from = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "chromadb-auth", "key": key, "optional": true}}});
    assert_eq!(
        env(json!({"tokenSecretRef": {"name": "chromadb-auth"}})),
        json!([from("HOLDFAST_SERVER_TOKEN", "token")])
    );
    assert_eq!(
        env(
            json!({"tokenSecretRef": {"name": "chromadb-auth", "key": "admin"}, "tokenHeader": "X-Chroma-Token"})
        ),
        json!([from("HOLDFAST_SERVER_TOKEN", "admin")])
    );
    assert_eq!(
        env(json!({"basicSecretRef": {"name": "chromadb-auth"}})),
        json!([from("HOLDFAST_SERVER_USER", "username"), from("HOLDFAST_SERVER_PASSWORD", "password")])
    );
    let none = built(&capture())["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    assert!(!none.contains("HOLDFAST_SERVER_"), "a capture asks no server");
}

#[test]
fn whoever_replaces_credentials_has_a_token_no_key_and_of_secrets_what_was_prepared() {
    let request = Request::Rotate {
        namespace: "arxiv".into(),
        run: "u-1".into(),
        keeper: "hf-revoked-u-1".into(),
        owner: OwnerReference::default(),
        rotations: vec![],
    };
    let prepared = Wanted::of_secrets(["mail-new".to_owned()].into());
    let account = plan::effect::Account {
        name: "hf-rotate-u-1".into(),
        role: crds::reference::ROTATE_ROLE,
        bound: plan::effect::Bound::WithItsOwner,
    };
    let job = MoverJob {
        request,
        keys: None,
        sources: BTreeMap::new(),
        objects: Some(Box::new(prepared)),
        service_account: Some(account),
        ..capture()
    };
    let job = built(&job);
    let pod = &job["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mounts: Vec<&str> = mounts.iter().map(|mount| mount["name"].as_str().unwrap()).collect();
    assert_eq!(mounts, ["scratch", "token", "object-0"]);
    let secrets: Vec<&Value> =
        pod["volumes"].as_array().unwrap().iter().filter(|v| v["secret"].is_object()).collect();
    assert_eq!((secrets.len(), &secrets[0]["secret"]["secretName"]), (1, &json!("mail-new")));
}

#[test]
fn what_a_credential_was_comes_from_the_secret_that_keeps_it() {
    let request = |revoked: Option<&str>| Request::Validate {
        repository: access(),
        point: "4be1c07a".into(),
        url: "http://chromadb.arxiv.svc:8000".into(),
        auth: Some(serde_json::from_value(json!({"basicSecretRef": {"name": "auth"}})).unwrap()),
        revoked: revoked.map(str::to_owned),
        counts: vec![],
        answers: vec![],
        endpoints: vec![],
    };
    let env = |revoked| {
        let job =
            MoverJob { request: request(revoked), sources: BTreeMap::new(), objects: None, ..capture() };
        let job = built(&job);
        let all = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        let of = |variable: &Value| variable["name"].as_str().unwrap().starts_with("HOLDFAST_REVOKED_");
        Value::from(all.into_iter().filter(of).collect::<Vec<_>>())
    };
    assert_eq!(env(None), json!([]));
    let from = |name: &str, key: &str| {
        let key = crds::names::revoked_key("auth", key);
        json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "hf-revoked-u-1", "key": key, "optional": true}}})
    };
    assert_eq!(
        env(Some("hf-revoked-u-1")),
        json!([from("HOLDFAST_REVOKED_USER", "username"), from("HOLDFAST_REVOKED_PASSWORD", "password")])
    );
}

#[test]
fn whoever_lists_names_for_an_audit_has_a_token_alone_and_whoever_audits_has_the_key_and_none() {
    let mut job = MoverJob { sources: BTreeMap::new(), objects: None, ..capture() };
    job.before = vec![Request::Inventory { namespace: "arxiv".into(), within: SignedDuration::from_mins(2) }];
    job.request = Request::Audit(Box::new(crds::job::AuditRequest {
        repository: access(),
        document: "arxiv/breach/u-1".into(),
        since: "2026-11-23T09:05:00Z".parse().unwrap(),
        time: "2026-11-23T09:31:00Z".parse().unwrap(),
        namespace: vec![],
        left_out: 0,
        findings: vec![],
        components: vec![],
        known: vec![],
        network_policies: None,
        data: true,
    }));
    job.service_account = Some(plan::effect::Account {
        name: "hf-audit-u-1".into(),
        role: crds::reference::AUDIT_ROLE,
        bound: plan::effect::Bound::WithItsJob,
    });
    let pod = built(&job)["spec"]["template"]["spec"].clone();
    let has = |container: &Value| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().map(|mount| mount["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (lists, audits) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert_eq!(has(lists), ["scratch", "token", "evidence"]);
    assert_eq!(has(audits), ["scratch", "key", "evidence"]);
    assert!(!lists["env"].to_string().contains("AWS_SECRET_ACCESS_KEY"), "{lists}");
    assert!(audits["env"].to_string().contains("AWS_SECRET_ACCESS_KEY"), "{audits}");
}
