//! What is missing of a component is created from its point, by the real mover on a real API server, with the rights that the chart gives its
//! account: while its run is at that step, marked with the run, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use crds::{
    job::{
        CaptureSource, FailureReason, OBJECTS_DIR, RECREATE_DIR, Recreated, Report, Request, Revoked,
        RunMark, SOURCE_DIR, SourceContent,
    },
    names,
    reference::{RECREATED_BY, REPLICAS, STANDS_FOR},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::apiserver::Answer;

use super::{
    admission::server,
    cut::{account, command},
    pod::Pod,
};

const CLAIM: &str = "scholar-state";

/// A run in a namespace of its own, with the account that the controller would make for it.
struct Run {
    namespace: String,
    uid: String,
}

impl Run {
    fn new() -> Run {
        let namespace = server().namespace("recreate");
        let object = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "total"},
            "spec": {"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": namespace}}}});
        let _ =
            server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string()).success();
        let uid = format!("get hfrun total -n {namespace} --output=jsonpath={{.metadata.uid}}");
        let uid = server().kubectl(&uid).success();
        let account = names::recreator(&uid);
        let _ = server().kubectl(&format!("create serviceaccount {account} -n {namespace}")).success();
        let bound = format!(
            "create rolebinding {account} -n {namespace} --clusterrole=holdfast-recreate --serviceaccount={namespace}:{account}"
        );
        let _ = server().kubectl(&bound).success();
        Run { namespace, uid }
    }

    /// Writes what the controller would, and waits until the API server goes by it.
    fn objects(&self, phase: &str) {
        let seen = server().kubectl(&format!("get hfrun total -n {} --output=json", self.namespace));
        let mut object: Value = serde_json::from_str(&seen.success()).unwrap();
        object["status"] = json!({"steps": [
            {"name": "Objects/mailer", "policy": "mailer", "phase": "Done"},
            {"name": "Objects/scholar", "policy": "scholar", "phase": phase}]});
        let replace = format!("replace -n {} --subresource=status -f -", self.namespace);
        let _ = server().kubectl_reading(&replace, &object.to_string()).success();
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.create(&self.map("probe", &self.uid), true).ok != (phase == "Running") {
            assert!(Instant::now() < deadline, "{phase} is not in force");
        }
    }

    fn map(&self, name: &str, uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": {RECREATED_BY: uid}}})
    }

    /// As its account does.
    fn create(&self, object: &Value, dry: bool) -> Answer {
        let Run { namespace, uid } = self;
        let dry = if dry { "--dry-run=server" } else { "" };
        let who = format!("--as=system:serviceaccount:{namespace}:{}", names::recreator(uid));
        server().kubectl_reading(&format!("create {dry} -n {namespace} {who} -f -"), &object.to_string())
    }

    fn get(&self, what: &str) -> Value {
        let found = server().kubectl(&format!("get {what} -n {} --output=json", self.namespace)).success();
        serde_json::from_str(&found).unwrap()
    }

    fn mark(&self) -> RunMark {
        RunMark {
            namespace: self.namespace.clone(),
            name: "total".into(),
            uid: self.uid.clone(),
            spec_hash: "h".into(),
        }
    }

    fn request(&self, storage_class: Option<&str>) -> Request {
        Request::Recreate {
            namespace: self.namespace.clone(),
            run: self.uid.clone(),
            labels: BTreeMap::from([("holdfast.dev/run".to_owned(), "total".to_owned())]),
            storage_class: storage_class.map(str::to_owned),
            sandbox: None,
        }
    }
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "scholar", "namespace": "arxiv"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "scholar"}},
        "template": {"metadata": {"labels": {"app": "scholar"}}, "spec": {"containers": [{"name": "scholar", "image": "localhost/none:1"}]}}}})
}

/// A pod with a repository that holds a point of an application: a volume, a policy, and these objects.
fn captured(objects: &[Value]) -> (Pod, String) {
    let pod = Pod::with_directory();
    fs::create_dir_all(pod.at(RECREATE_DIR)).unwrap();
    fs::create_dir_all(pod.at(SOURCE_DIR).join(CLAIM)).unwrap();
    for (path, value) in
        [("ConfigMap/config/OFFLINE_MODE", "false"), ("Secret/env/.env", "TOKEN=of-nobody-else")]
    {
        let path = pod.at(OBJECTS_DIR).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
    pod.run(&pod.probe());
    let source = CaptureSource {
        policy: "scholar".into(),
        namespace: "arxiv".into(),
        claims: vec![CLAIM.into()],
        content: SourceContent::Application,
        max_writer_pause: SignedDuration::from_secs(5),
        policy_spec: json!({"component": {"application": {}, "workloads": [{"kind": "Deployment", "name": "scholar"}]},
            "repositoryRef": {"name": "primary"}}),
    };
    let request =
        Request::Capture { repository: pod.access(), attempt: "a".into(), source, turn: None, cut: None };
    let mut command = pod.command(&request);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": "arxiv", "labels": {"app": "scholar"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    for (n, object) in objects.iter().chain([&claim]).enumerate() {
        command.env(format!("HOLDFAST_OBJECT_{n}"), object.to_string());
    }
    match pod.run_with(command) {
        (Report::Captured(captured), 0) => (pod, captured.point.clone()),
        other => panic!("{other:?}"),
    }
}

fn extract(pod: &Pod, point: &str, run: &Run) -> Report {
    pod.run(&Request::Extract { repository: pod.access(), point: point.to_owned(), run: run.mark() }).0
}

fn recreate(pod: &Pod, run: &Run, request: &Request) -> Report {
    let token = format!("create token {} -n {}", names::recreator(&run.uid), run.namespace);
    let api = account(pod, &server().kubectl(&token).success());
    pod.run_with(command(pod, &api, request)).0
}

#[test]
fn what_is_missing_is_created_stopped_and_marked_and_what_exists_is_left_alone() {
    let (run, (pod, point)) = (Run::new(), captured(&[deployment(2)]));
    let own = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"OFFLINE_MODE": "true"}});
    let _ =
        server().kubectl_reading(&format!("create -n {} -f -", run.namespace), &own.to_string()).success();
    assert_eq!(extract(&pod, &point, &run), Report::Extracted { objects: 5 });
    run.objects("Running");
    let first = recreate(&pod, &run, &run.request(None));
    let created =
        ["Secret env", "PersistentVolumeClaim scholar-state", "Deployment scholar", "BackupPolicy scholar"];
    assert_eq!(
        first,
        Report::Recreated(Recreated {
            created: created.map(str::to_owned).into(),
            created_count: 4,
            existing: 1
        })
    );
    assert_eq!(run.get("configmap/config")["data"], json!({"OFFLINE_MODE": "true"}), "it was there");
    let secret = run.get("secret/env");
    assert_eq!(secret["data"], json!({".env": "VE9LRU49b2Ytbm9ib2R5LWVsc2U="}));
    assert_eq!(secret["metadata"]["annotations"], json!({RECREATED_BY: run.uid}));
    let scholar = run.get("deployment/scholar");
    assert_eq!(
        (&scholar["spec"]["replicas"], &scholar["metadata"]["annotations"][REPLICAS]),
        (&json!(0), &json!("2"))
    );
    assert_eq!(run.get("hfpolicy/scholar")["spec"]["repositoryRef"], json!({"name": "primary"}));
    let stand_in = run.get(&format!("pvc/{}", names::restore_claim(CLAIM, &run.uid)));
    assert_eq!(stand_in["metadata"]["labels"], json!({"holdfast.dev/run": "total"}));
    let told: Value =
        serde_json::from_str(stand_in["metadata"]["annotations"][STANDS_FOR].as_str().unwrap()).unwrap();
    assert_eq!(told["labels"], json!({"app": "scholar"}));
    let claims = run.get("pvc")["items"].as_array().unwrap().len();
    assert_eq!(claims, 1, "the claim's own name is given to it at the end");

    // A second attempt finds what the first has made.
    let again = recreate(&pod, &run, &run.request(None));
    assert_eq!(again, Report::Recreated(Recreated { created: vec![], created_count: 0, existing: 5 }));
}

#[test]
fn what_the_cluster_refuses_is_named_and_the_rest_is_created() {
    let wrong = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scholar", "namespace": "arxiv"},
        "spec": {"ports": [{"port": 70000}]}});
    let (run, (pod, point)) = (Run::new(), captured(&[wrong, deployment(1)]));
    assert_eq!(extract(&pod, &point, &run), Report::Extracted { objects: 6 });
    run.objects("Running");
    let Report::Failed(failure) = recreate(&pod, &run, &run.request(Some("fast"))) else { panic!() };
    assert_eq!(failure.reason, FailureReason::ObjectRefused);
    for words in ["Service scholar: ", "70000", "(5 others were created, 0 were there)", "holdfast objects"] {
        assert!(failure.message.contains(words), "{words}: {}", failure.message);
    }
    assert_eq!(run.get("deployment/scholar")["spec"]["replicas"], 0);
    let stand_in = run.get(&format!("pvc/{}", names::restore_claim(CLAIM, &run.uid)));
    assert_eq!(stand_in["spec"]["storageClassName"], "fast");
}

#[test]
fn a_run_of_a_name_that_was_carried_out_reads_no_object() {
    let (run, (pod, point)) = (Run::new(), captured(&[]));
    assert_eq!(extract(&pod, &point, &run), Report::Extracted { objects: 4 });
    let another = RunMark { uid: "another".into(), ..run.mark() };
    let (reason, message, _) =
        pod.failure(&Request::Extract { repository: pod.access(), point, run: another });
    assert_eq!(reason, FailureReason::AlreadyExecuted, "{message}");
}

#[test]
fn what_was_revoked_comes_back_from_no_point_and_what_exists_is_left_alone() {
    let (run, (pod, point)) = (Run::new(), captured(&[deployment(1)]));
    let mounted = |secret: &str, key: &str, value: &str| {
        let path = pod.at(OBJECTS_DIR).join("Secret").join(secret);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(key), value).unwrap();
    };
    let marks = || {
        let found = fs::read_dir(pod.root.path().join("repository/marks/revoked"));
        found.map_or(0, Iterator::count)
    };
    let keeper = names::revoked("a-breach");
    mounted(&keeper, &names::revoked_key("env", ".env"), "TOKEN=of-nobody-else");
    let values = [("env", ".env"), ("env", "lost")];
    let revoke = Request::Revoke {
        repository: pod.access(),
        keeper,
        values: values.map(|(secret, key)| Revoked { secret: secret.into(), key: key.into() }).into(),
        by: "run/breach".into(),
    };
    // A provider that has changed nothing has made nothing void.
    assert_eq!(pod.run(&revoke), (Report::Marked, 0));
    assert_eq!(marks(), 0);
    mounted("env", ".env", "TOKEN=another");
    for _ in 0..2 {
        assert_eq!(pod.run(&revoke), (Report::Marked, 0));
        assert_eq!(marks(), 1);
    }
    assert_eq!(extract(&pod, &point, &run), Report::Extracted { objects: 5 });
    run.objects("Running");
    let Report::Failed(failure) = recreate(&pod, &run, &run.request(None)) else { panic!() };
    assert_eq!(failure.reason, FailureReason::CredentialRevoked);
    for words in
        ["Secret env is missing", "(.env, by run/breach)", "create Secret env with the values that count now"]
    {
        assert!(failure.message.contains(words), "{words}: {}", failure.message);
    }
    assert!(!failure.message.contains("of-nobody-else"));
    let none =
        server().kubectl(&format!("get secrets,deployments,hfpolicy,pvc -n {} --output=name", run.namespace));
    assert_eq!(none.success().trim(), "", "something was created");

    let own = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env"}, "stringData": {".env": "TOKEN=another"}});
    let _ =
        server().kubectl_reading(&format!("create -n {} -f -", run.namespace), &own.to_string()).success();
    let Report::Recreated(done) = recreate(&pod, &run, &run.request(None)) else { panic!() };
    assert_eq!((done.created_count, done.existing), (4, 1));
    assert_eq!(run.get("secret/env")["data"], json!({".env": "VE9LRU49YW5vdGhlcg=="}));
}

#[test]
fn the_account_creates_nothing_outside_its_step_its_run_and_its_mark() {
    let (run, other) = (Run::new(), Run::new());
    let refused = |answer: &Answer| answer.err.contains("RecoveryRun \"total\" is not at its step Objects");
    let marked = run.map("a", &run.uid);
    assert!(refused(&run.create(&marked, true)), "no step was begun");
    run.objects("Running");
    assert!(run.create(&marked, true).ok);
    let unmarked = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    assert!(refused(&run.create(&unmarked, true)));
    assert!(refused(&run.create(&run.map("a", &other.uid), true)));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "annotations": {RECREATED_BY: run.uid}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "localhost/none:1"}]}}}});
    assert!(run.create(&job, true).err.contains("forbidden"), "it has no right on Jobs");
    let who = format!("--as=system:serviceaccount:{}:{}", run.namespace, names::recreator(&run.uid));
    let read = server().kubectl(&format!("get secrets -n {} {who}", run.namespace));
    assert!(read.err.contains("forbidden"), "{read:?}");

    // Bound where it is a stranger, with a run or without: none there answers for it.
    other.objects("Running");
    for elsewhere in [other.namespace.clone(), server().namespace("bystander")] {
        let bound = format!(
            "create rolebinding stranger -n {elsewhere} --clusterrole=holdfast-recreate --serviceaccount={}:{}",
            run.namespace,
            names::recreator(&run.uid)
        );
        let _ = server().kubectl(&bound).success();
        let create = format!("create --dry-run=server -n {elsewhere} {who} -f -");
        let said = server().kubectl_reading(&create, &marked.to_string());
        assert!(said.err.contains("does nothing outside its own namespace"), "{said:?}");
    }

    run.objects("Done");
    assert!(refused(&run.create(&marked, true)), "its step has ended");
}
