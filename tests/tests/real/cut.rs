//! A mover that has snapshots cut, on a real API server; the storage is the test's. Under the lock it copies what is there, as a storage
//! that cuts does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use crds::{
    job::{FailureReason, HeldDatabase, Report, Request, SOURCE_DIR, Snapshots, TREE_OBJECTS, TREE_VOLUMES},
    policy::Cut,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use tests::{
    apiserver::ApiServer,
    chroma_server::ChromaServer,
    writer::{Load, Writer},
};

use super::{
    admission::server,
    chroma_capture::hold_against,
    pod::{CLAIM, Pod},
};

/// A mover in a namespace of its own, with the rights that the chart and the controller give it.
struct Mover {
    pod: Pod,
    namespace: String,
    api: String,
}

impl Mover {
    fn new(allowed: bool) -> Mover {
        let (server, pod) = (server(), Pod::with_directory());
        let namespace = server.namespace("cut");
        let _ = server.kubectl(&format!("create serviceaccount mover -n {namespace}")).success();
        if allowed {
            let bound = format!(
                "create rolebinding mover -n {namespace} --clusterrole=holdfast-snapshots --serviceaccount={namespace}:mover"
            );
            let _ = server.kubectl(&bound).success();
        }
        let token = server.kubectl(&format!("create token mover -n {namespace}")).success();
        let api = account(&pod, &token);
        Mover { pod, namespace, api }
    }

    fn command(&self, request: &Request) -> Command {
        command(&self.pod, &self.api, request)
    }

    fn cut(&self, name: &str, held: bool, pause: SignedDuration) -> Request {
        let snapshots = Snapshots {
            namespace: self.namespace.clone(),
            class: "quick".into(),
            names: BTreeMap::from([(CLAIM.to_owned(), name.to_owned())]),
            labels: BTreeMap::from([("holdfast.dev/policy".to_owned(), "chromadb".to_owned())]),
            owner: OwnerReference {
                api_version: "holdfast.dev/v1alpha1".into(),
                kind: "BackupPolicy".into(),
                name: "chromadb".into(),
                uid: "u-1".into(),
                ..OwnerReference::default()
            },
        };
        let held = held.then(|| HeldDatabase {
            claim: CLAIM.into(),
            data_path: String::new(),
            max_writer_pause: pause,
        });
        Request::Cut { snapshots, chroma_db: held, patience: pause }
    }

    /// The storage: once the snapshot is asked for, it does this, and then says that.
    fn storage(&self, name: &str, act: impl FnOnce() + Send + 'static, status: Value) -> JoinHandle<()> {
        let (server, namespace, name): (&ApiServer, _, _) =
            (server(), self.namespace.clone(), name.to_owned());
        std::thread::spawn(move || {
            let snapshot = format!("volumesnapshot/{name} -n {namespace}");
            let _ = server.kubectl(&format!("wait --for=create {snapshot} --timeout=60s")).success();
            act();
            let patch = tempfile::NamedTempFile::new().unwrap();
            fs::write(patch.path(), json!({"status": status}).to_string()).unwrap();
            let (how, file) = ("--subresource=status --type=merge", patch.path().display());
            let _ = server.kubectl(&format!("patch {snapshot} {how} --patch-file={file}")).success();
        })
    }

    fn failure(&self, request: &Request) -> (FailureReason, String) {
        match self.pod.run_with(self.command(request)).0 {
            Report::Failed(failure) => (failure.reason, failure.message),
            other => panic!("{other:?} is no failure"),
        }
    }
}

/// Mounts the token of a service account as Kubernetes does. Returns where the API server is.
pub(crate) fn account(pod: &Pod, token: &str) -> String {
    let config: Value =
        serde_json::from_str(&server().kubectl("config view --raw --output=json").success()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let account = pod.at("/var/run/secrets/kubernetes.io/serviceaccount");
    fs::create_dir_all(&account).unwrap();
    fs::write(account.join("token"), token).unwrap();
    let ca = BASE64_STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
    fs::write(account.join("ca.crt"), ca).unwrap();
    cluster["server"].as_str().unwrap().trim_start_matches("https://").to_owned()
}

/// The mover with that account.
pub(crate) fn command(pod: &Pod, api: &str, request: &Request) -> Command {
    let (host, port) = api.rsplit_once(':').unwrap();
    let mut command = pod.command(request);
    command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
    command
}

/// It is cut, and can't be read yet.
fn when_cut() -> Value {
    json!({"readyToUse": false, "creationTime": "2026-11-23T09:00:00Z"})
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    assert!(Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_under_a_writer_is_captured_from_its_clone_with_the_time_of_the_cut() {
    let mover = Arc::new(Mover::new(true));
    let data = mover.pod.volume();
    mover.pod.run(&mover.pod.probe());
    let server = ChromaServer::start(&data).await.unwrap();
    let mut writer = Writer::start(
        Arc::new(server.url().to_owned()),
        Load { sync_threshold: 40, ..Load::synthetic(41, 2, 16) },
    )
    .await
    .unwrap();
    writer.progress(60, Duration::from_secs(60)).await.unwrap();
    let clone = mover.pod.at(TREE_VOLUMES).join(CLAIM);
    let storage = {
        let (data, clone) = (data.clone(), clone.clone());
        mover.storage("whole", move || copy(&data, &clone), when_cut())
    };
    let asked = mover.clone();
    let cut = tokio::task::spawn_blocking(move || {
        asked.pod.run_with(asked.command(&asked.cut("whole", true, SignedDuration::from_secs(30))))
    });
    let (Report::Cut(cut), 0) = cut.await.unwrap() else { panic!("no cut") };
    storage.join().unwrap();
    writer.progress(20, Duration::from_secs(60)).await.unwrap();
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    assert!(cut.held_ms > 0 && !cut.filesystem.is_empty(), "{cut:?}");
    is_ours(&mover.namespace);

    // The volume itself is not there any more: everything comes from the clone.
    fs::remove_dir_all(mover.pod.at(SOURCE_DIR)).unwrap();
    fs::create_dir_all(mover.pod.at(TREE_OBJECTS)).unwrap();
    let captured = mover.captured_from(&cut);
    assert_eq!(captured.consistency_time, cut.at);
    assert_eq!(captured.longest_hold, SignedDuration::from_millis(cut.held_ms.try_into().unwrap()));
    assert!(captured.findings.is_empty() && captured.objects == 1, "{captured:?}");
    assert!(!mover.pod.at("/var/run/holdfast/scratch").join("mirror").exists(), "nothing is copied");
    let target = mover.pod.root.path().join("restored");
    let into = target.to_string_lossy();
    mover.pod.shell().run(&["restore", "--point", &captured.point, "--target", &into]);
    hold_against(&ledger, &target, cut.at, cut.until).await;
}

impl Mover {
    fn captured_from(&self, cut: &Cut) -> crds::job::Captured {
        let Request::Capture { repository, attempt, source, .. } = self.pod.capture("from-clone") else {
            panic!("a capture")
        };
        let request = Request::Capture { repository, attempt, source, turn: None, cut: Some(cut.clone()) };
        match self.pod.run(&request) {
            (Report::Captured(captured), 0) => *captured,
            other => panic!("{other:?}"),
        }
    }
}

/// The snapshot is of the claim and the class, and goes with the policy.
fn is_ours(namespace: &str) {
    let made = server().kubectl(&format!("get volumesnapshot whole -n {namespace} --output=json")).success();
    let made: Value = serde_json::from_str(&made).unwrap();
    let spec = json!({"volumeSnapshotClassName": "quick", "source": {"persistentVolumeClaimName": CLAIM}});
    assert_eq!(made["spec"], spec);
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(made["metadata"]["labels"]["holdfast.dev/policy"], "chromadb");
}

/// A database without a server, which is enough to be locked.
fn with_database(allowed: bool) -> Mover {
    let mover = Mover::new(allowed);
    super::pod::ballast(&mover.pod.volume(), 1);
    mover
}

#[test]
fn a_storage_that_fails_or_takes_too_long_lets_the_writers_go_and_is_told_in_its_own_words() {
    let mover = with_database(true);
    let error = json!({"error": {"message": "the pool is full"}});
    let storage = mover.storage("full", || {}, error);
    let (reason, message) = mover.failure(&mover.cut("full", true, SignedDuration::from_secs(30)));
    storage.join().unwrap();
    assert_eq!(reason, FailureReason::SnapshotFailed);
    assert!(message.contains("VolumeSnapshot full") && message.contains("the pool is full"), "{message}");
    assert!(mover.pod.can_lock());

    let (reason, message) = mover.failure(&mover.cut("slow", true, SignedDuration::from_secs(2)));
    assert_eq!(reason, FailureReason::SnapshotFailed);
    assert!(message.contains("VolumeSnapshotClass quick did not cut VolumeSnapshot slow"), "{message}");
    assert!(mover.pod.can_lock());
}

#[test]
fn a_snapshot_that_is_refused_costs_no_second_attempt() {
    let mover = with_database(false);
    let (reason, message) = mover.failure(&mover.cut("forbidden", true, SignedDuration::from_secs(20)));
    assert_eq!(reason, FailureReason::SnapshotRefused);
    assert!(message.contains("403") && message.contains("mover"), "{message}");
    assert!(mover.pod.can_lock());
}

#[test]
fn the_role_of_the_mover_reads_and_deletes_nothing() {
    let mover = Mover::new(true);
    let may = |verb: &str, what: &str| {
        let namespace = &mover.namespace;
        let asked =
            format!("auth can-i {verb} {what} -n {namespace} --as=system:serviceaccount:{namespace}:mover");
        server().kubectl(&asked).out.trim() == "yes"
    };
    assert!(may("create", "volumesnapshots.snapshot.storage.k8s.io"));
    for (verb, what) in [
        ("delete", "volumesnapshots.snapshot.storage.k8s.io"),
        ("patch", "volumesnapshots.snapshot.storage.k8s.io"),
        ("get", "secrets"),
        ("list", "pods"),
        ("create", "pods"),
        ("get", "persistentvolumeclaims"),
    ] {
        assert!(!may(verb, what), "a mover can {verb} {what}");
    }
}

#[test]
fn a_mover_killed_while_it_waits_for_the_storage_holds_nobody_any_longer() {
    let mover = with_database(true);
    let request = mover.cut("killed", true, SignedDuration::from_secs(60));
    let mut child: Child = mover.command(&request).spawn().unwrap();
    let asked = format!("wait --for=create volumesnapshot/killed -n {} --timeout=60s", mover.namespace);
    let _ = server().kubectl(&asked).success();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(mover.pod.can_lock());
}

#[test]
fn volumes_of_an_application_are_cut_without_being_mounted() {
    let mover = Mover::new(true);
    fs::remove_dir_all(mover.pod.at(SOURCE_DIR)).unwrap();
    let storage = mover.storage("application", || {}, when_cut());
    let (report, code) =
        mover.pod.run_with(mover.command(&mover.cut("application", false, SignedDuration::from_secs(60))));
    storage.join().unwrap();
    let (Report::Cut(cut), 0) = (report, code) else { panic!("no cut") };
    assert!(cut.held_ms == 0 && cut.at <= cut.until, "{cut:?}");
}
