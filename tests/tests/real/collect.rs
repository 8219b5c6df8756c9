//! What a mover collects for an emergency capture, on a real API server and with the rights that the chart gives its account. Nothing runs
//! there: logs that were really written are a story of the cluster (`emergency-capture`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use crds::{
    job::{Collected, EVIDENCE_DIR, Report, Request, SOURCE_DIR},
    names,
    reference::{WorkloadKind, WorkloadRef},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    admission::server,
    cut::{account, command},
    pod::{CLAIM, Pod},
};

/// A mover in a namespace of its own, with a pod of the component that has run, one that has not, and one of somebody else.
struct Mover {
    pod: Pod,
    namespace: String,
    account: String,
    api: String,
}

impl Mover {
    fn new() -> Mover {
        let (pod, namespace) = (Pod::with_directory(), server().namespace("collect"));
        fs::create_dir_all(pod.at(SOURCE_DIR).join(CLAIM)).unwrap();
        fs::create_dir_all(pod.at(EVIDENCE_DIR)).unwrap();
        let account_name = names::collector("u-1");
        let _ = server().kubectl(&format!("create serviceaccount {account_name} -n {namespace}")).success();
        let token = server().kubectl(&format!("create token {account_name} -n {namespace}")).success();
        let api = account(&pod, &token);
        Mover { pod, namespace, account: account_name, api }
    }

    /// As the controller binds it.
    fn bind(&self) {
        let Mover { namespace, account, .. } = self;
        let bound = format!(
            "create rolebinding {} -n {namespace} --clusterrole=holdfast-collect --serviceaccount={namespace}:{account}",
            names::collector("j-1")
        );
        let _ = server().kubectl(&bound).success();
    }

    fn create(&self, object: &Value) {
        let create = format!("create -n {} -f -", self.namespace);
        let _ = server().kubectl_reading(&create, &object.to_string()).success();
    }

    /// A pod, and what a kubelet would say of it.
    fn pod(&self, name: &str, owner: Option<&str>, status: Value) {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": "node-1",
            "containers": [{"name": "chroma", "image": "localhost/none:1", "env": [{"name": "PASSWORD", "value": "hunter2"}]}]}});
        if let Some(owner) = owner {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": "set-1"}]);
        }
        self.create(&pod);
        pod["status"] = status;
        let replace = format!("replace -n {} --subresource=status -f -", self.namespace);
        let _ = server().kubectl_reading(&replace, &pod.to_string()).success();
    }

    fn request(&self, within: i64) -> Request {
        Request::Collect {
            namespace: self.namespace.clone(),
            workloads: vec![WorkloadRef { kind: WorkloadKind::StatefulSet, name: "chromadb".into() }],
            claims: vec![CLAIM.into()],
            logs_since: SignedDuration::from_hours(24),
            within: SignedDuration::from_secs(within),
            missing: vec![],
        }
    }

    fn command(&self, within: i64) -> Command {
        let mut command = command(&self.pod, &self.api, &self.request(within));
        let node = json!({"kind": "Node", "metadata": {"name": "node-1"},
            "status": {"conditions": [{"type": "DiskPressure", "status": "True"}]}});
        command.env("HOLDFAST_OBJECT_0", node.to_string());
        let more = json!({"kind": "NotCollected", "what": "volumes", "why": "403"});
        command.env("HOLDFAST_OBJECT_1", more.to_string());
        command
    }

    fn collected(&self, within: i64) -> Collected {
        match self.pod.run_with(self.command(within)) {
            (Report::Collected(collected), 0) => collected,
            other => panic!("{other:?}"),
        }
    }

    fn read(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.pod.at(EVIDENCE_DIR).join(file)).unwrap()).unwrap()
    }
}

fn names_of(objects: &Value) -> Vec<&str> {
    objects.as_array().unwrap().iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect()
}

#[test]
fn what_the_cluster_says_is_collected_and_every_log_that_can_not_be_read_is_named() {
    let mover = Mover::new();
    mover.bind();
    let ran = json!({"phase": "Running", "containerStatuses": [{"name": "chroma", "image": "i", "imageID": "i@sha256:1",
        "ready": true, "restartCount": 1, "containerID": "containerd://2", "state": {"running": {"startedAt": "2026-11-23T09:00:00Z"}},
        "lastState": {"terminated": {"exitCode": 137, "containerID": "containerd://1", "reason": "OOMKilled"}}}]});
    mover.pod("chromadb-0", Some("chromadb"), ran.clone());
    mover.pod("chromadb-1", Some("chromadb"), json!({"phase": "Pending"}));
    mover.pod("theirs", None, ran);
    mover.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chromadb"}, "spec": {"ports": [{"port": 8000}]}}));
    let event = |name: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "type": kind, "reason": "BackOff", "message": "again",
            "lastTimestamp": jiff_now(), "involvedObject": {"kind": "Pod", "name": "chromadb-0", "namespace": mover.namespace}})
    };
    mover.create(&event("a-warning", "Warning"));
    mover.create(&event("nothing", "Normal"));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env"}, "stringData": {"KEY": "hunter2"}});
    mover.create(&secret);

    let collected = mover.collected(120);
    let told = mover.read("cluster.json");
    assert_eq!(names_of(&told["pods"]), ["chromadb-0", "chromadb-1", "theirs"]);
    assert_eq!(
        told["pods"][0]["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"],
        "OOMKilled"
    );
    assert_eq!(
        (&told["pods"][0]["ofComponent"], &told["pods"][2]["ofComponent"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(names_of(&told["services"]), ["chromadb"]);
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(told["warnings"][0]["object"], "Pod chromadb-0");
    assert_eq!(told["nodes"][0]["status"]["conditions"][0]["type"], "DiskPressure");
    assert!(told["server"]["gitVersion"].as_str().unwrap().starts_with("v1."), "{}", told["server"]);
    assert!(told["disks"][0]["bytes"].as_u64().unwrap() > told["disks"][0]["freeBytes"].as_u64().unwrap());
    assert!(!told.to_string().contains("hunter2"));

    // There is no kubelet behind it: both logs of the pod that ran, nothing of the others.
    let failures = mover.read("failures.json");
    let whats: Vec<&str> =
        failures.as_array().unwrap().iter().map(|failure| failure["what"].as_str().unwrap()).collect();
    assert_eq!(
        whats,
        ["volumes", "logs/chromadb-0/chroma.log", "logs/chromadb-0/chroma.previous.log"],
        "{failures}"
    );
    assert_eq!((collected.logs, collected.failure_count), (0, 3));
    assert!(collected.failures[1].contains("the API server answers"), "{collected:?}");
}

fn jiff_now() -> String {
    #[expect(clippy::disallowed_methods, reason = "the API server's warnings are of the last day")]
    jiff::Timestamp::now().to_string()
}

#[test]
fn without_rights_and_without_a_server_it_says_so_and_is_no_failure() {
    let mover = Mover::new();
    let collected = mover.collected(3);
    assert!(collected.failure_count >= 10, "{collected:?}");
    assert!(collected.failures.iter().any(|failure| failure.starts_with("pods: ")), "{collected:?}");
    assert_eq!(names_of(&mover.read("cluster.json")["nodes"]), ["node-1"]);
    assert!(mover.read("failures.json").as_array().unwrap().len() >= 10);

    fs::remove_file(mover.pod.at("/var/run/secrets/kubernetes.io/serviceaccount/token")).unwrap();
    let collected = mover.collected(5);
    assert!(collected.failure_count >= 1 && collected.logs == 0, "{collected:?}");
}

#[test]
fn the_account_reads_no_secret_no_map_and_nothing_of_another_namespace_or_of_the_cluster() {
    let mover = Mover::new();
    mover.bind();
    let who = format!("--as=system:serviceaccount:{}:{}", mover.namespace, mover.account);
    let may = |what: &str, namespace: &str| {
        let asked = format!("auth can-i {what} -n {namespace} {who}");
        server().kubectl(&asked).out.trim() == "yes"
    };
    for what in ["list pods", "get pods --subresource=log", "list events", "list jobs.batch"] {
        assert!(may(what, &mover.namespace), "{what}");
        assert!(!may(what, "default"), "{what}");
    }
    for what in [
        "list secrets",
        "get secrets",
        "list configmaps",
        "get configmaps",
        "create pods",
        "delete pods",
        "create pods --subresource=exec",
        "list nodes",
        "list persistentvolumes",
        "patch deployments.apps",
        "get serviceaccounts",
        "list hfpolicy",
    ] {
        assert!(!may(what, &mover.namespace), "{what}");
    }
}
