//! The audit of a breach by the real mover: a real ChromaDB in which somebody wrote, names from a real API server with the rights that the chart gives,
//! and a repository that is sealed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use crds::{
    job::{
        AuditRequest, Audited, AuditedComponent, CaptureSource, Captured, EVIDENCE_DIR, FailureReason,
        OBJECTS_DIR, Report, Request, SCRATCH_DIR,
    },
    names,
    run::{AuditFinding, AuditKind, AuditSeverity},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tests::chroma_server::ChromaServer;

use super::{
    admission::server,
    cut::{account, command},
    pod::{Pod, chroma},
};

fn records(ids: &[&str], document: &str) -> Value {
    let vector = |id: &&str| -> Vec<f32> { id.bytes().chain([0; 8]).take(8).map(f32::from).collect() };
    json!({"ids": ids, "embeddings": ids.iter().map(vector).collect::<Vec<_>>(),
        "documents": ids.iter().map(|id| format!("{document} of {id}")).collect::<Vec<_>>()})
}

/// What pods are given by ConfigMaps and Secrets.
fn mounted(pod: &Pod, files: &[(&str, &str)]) {
    for (path, value) in files {
        let path = pod.at(OBJECTS_DIR).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }
}

fn emptied(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}

fn preserved(pod: &Pod, attempt: &str) -> Captured {
    let Request::Capture { mut repository, source, .. } = pod.capture(attempt) else { panic!("no capture") };
    repository.evidence = true;
    let source = CaptureSource { ..source };
    emptied(&pod.at(SCRATCH_DIR));
    let request = Request::Preserve { repository, attempt: attempt.into(), source, stopped: true };
    match pod.run(&request) {
        (Report::Preserved(captured), 0) => *captured,
        other => panic!("{other:?}"),
    }
}

fn found(severity: AuditSeverity, kind: AuditKind, object: &str, message: &str) -> AuditFinding {
    AuditFinding { severity, kind, object: object.into(), message: message.into() }
}

fn asked(pod: &Pod, good: &str, captured: &str, since: Timestamp, data: bool) -> Request {
    Request::Audit(Box::new(AuditRequest {
        repository: pod.access(),
        document: "arxiv/breach/uid-1".into(),
        since,
        time: since,
        namespace: vec![found(
            AuditSeverity::High,
            AuditKind::Access,
            "RoleBinding helper",
            "lets User mallory read Secrets",
        )],
        left_out: 0,
        findings: Vec::new(),
        components: vec![AuditedComponent {
            policy: "chromadb".into(),
            point: good.into(),
            captured: captured.into(),
        }],
        known: vec!["Secret s3".into()],
        network_policies: Some(vec![
            json!({"kind": "NetworkPolicy", "metadata": {"name": "everything"}, "spec": {}}),
        ]),
        data,
    }))
}

fn audited(pod: &Pod, request: &Request) -> Audited {
    emptied(&pod.at(SCRATCH_DIR));
    match pod.run(request) {
        (Report::Audited(audited), 0) => *audited,
        other => panic!("{other:?}"),
    }
}

/// Lists the names of a namespace in which there are an unknown Secret, a token and what is known, with the rights of the chart.
fn inventory(pod: &Pod, bound: bool) -> Report {
    let namespace = server().namespace("audit");
    let who = names::auditor("uid-1");
    let _ = server().kubectl(&format!("create serviceaccount {who} -n {namespace}")).success();
    let token = server().kubectl(&format!("create token {who} -n {namespace}")).success();
    if bound {
        let _ = server()
            .kubectl(&format!(
                "create rolebinding {} -n {namespace} --clusterrole=holdfast-audit --serviceaccount={namespace}:{who}",
                names::auditor("j-1")
            ))
            .success();
    }
    for secret in ["env", "s3", "stolen"] {
        let apply = format!("apply -n {namespace} -f -");
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"KEY": "hunter2"}});
        // By kubectl, which keeps what was applied in an annotation.
        let _ = server().kubectl_reading(&apply, &object.to_string()).success();
    }
    let token_of = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "forever", "annotations": {"kubernetes.io/service-account.name": "default"}}});
    let create = format!("create -n {namespace} -f -");
    let _ = server().kubectl_reading(&create, &token_of.to_string()).success();
    let _ = server().kubectl(&format!("create configmap config -n {namespace}")).success();
    fs::create_dir_all(pod.at(EVIDENCE_DIR)).unwrap();
    let api = account(pod, &token);
    let within = SignedDuration::from_secs(if bound { 60 } else { 2 });
    let (report, code) = pod.run_with(command(pod, &api, &Request::Inventory { namespace, within }));
    assert_eq!(code, 0, "{report:?}");
    let left = fs::read_to_string(pod.at(EVIDENCE_DIR).join("inventory.json")).unwrap();
    // Neither as it is nor as Secrets hold it.
    assert!(!left.contains("hunter2") && !left.contains("aHVudGVyMg"), "{left}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_wrote_changed_and_left_is_named_and_kept_in_a_sealed_repository() {
    let pod = Pod::with_s3("audit");
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let papers = server.create("papers", "l2", 1000).await.unwrap();
    let ids: Vec<String> = (0..30).map(|number| format!("p{number:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    server.post(&format!("collections/{papers}/add"), &records(&ids, "abstract")).await.unwrap();
    mounted(&pod, &[("Secret/env/TOKEN", "s3cret"), ("ConfigMap/config/MODE", "online")]);
    let good = pod.captured("good");

    let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    server.post(&format!("collections/{papers}/delete"), &json!({"ids": ["p00"]})).await.unwrap();
    server.post(&format!("collections/{papers}/update"), &records(&["p01"], "lies")).await.unwrap();
    server.post(&format!("collections/{papers}/add"), &records(&["p30", "p31"], "abstract")).await.unwrap();
    let intruder = server.create("intruder", "cosine", 1000).await.unwrap();
    server.post(&format!("collections/{intruder}/add"), &records(&["x0", "x1", "x2"], "mine")).await.unwrap();
    server.stop().unwrap();
    mounted(
        &pod,
        &[("Secret/env/TOKEN", "0wned"), ("Secret/env/MORE", "0wned"), ("ConfigMap/config/MODE", "offline")],
    );
    let repository = pod.access();
    let (by, reason) = ("run/breach".to_owned(), "SecurityBreach".to_owned());
    assert!(matches!(
        pod.run(&Request::Seal { repository, seal: true, by, reason }).0,
        Report::Sealed { .. }
    ));
    let captured = preserved(&pod, "evidence");
    assert_eq!(chroma(&captured).collection_count, 2);

    let Report::Inventoried { names } = inventory(&pod, true) else { panic!("{:?}", pod.report()) };
    assert!(names >= 5, "{names}");
    let audit = audited(&pod, &asked(&pod, &good.point, &captured.point, since, true));
    let told: Vec<(AuditSeverity, AuditKind, &str)> =
        audit.findings.iter().map(|f| (f.severity, f.kind, f.object.as_str())).collect();
    let papers = "collection default_tenant/default_database/papers of chromadb";
    let intruder = "collection default_tenant/default_database/intruder of chromadb";
    use AuditKind::{ChangedData, ChangedObject, UnknownObject};
    use AuditSeverity::{High, Medium};
    assert_eq!(
        told,
        [
            (High, UnknownObject, "Secret forever"),
            (High, ChangedObject, "Secret env"),
            (Medium, UnknownObject, "NetworkPolicy everything"),
            (Medium, UnknownObject, "Secret stolen"),
            (Medium, ChangedObject, "ConfigMap config"),
            (Medium, ChangedData, intruder),
            (Medium, ChangedData, papers),
        ],
        "{audit:?}"
    );
    let message = |object: &str| audit.findings.iter().find(|f| f.object == object).unwrap().message.clone();
    assert_eq!(message("Secret env"), format!("data.MORE, data.TOKEN differ from point {}", good.point));
    assert!(message(papers).starts_with("2 records added, 1 removed, 1 altered since point"), "{audit:?}");
    assert!(message(intruder).ends_with("has no such collection; 3 records"), "{audit:?}");
    assert_eq!((audit.counts.high, audit.counts.medium, audit.counts.unknown), (2, 5, 0));
    let data = &audit.data[0];
    assert_eq!((data.added, data.removed, data.altered, data.collections), (5, 1, 1, 2));

    // Whoever asks again is told of the same document, whatever is asked.
    let again = audited(&pod, &asked(&pod, &good.point, &captured.point, since, false));
    assert_eq!(again, audit);
    assert!(audit.digest.unwrap().starts_with("sha256:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_prints_the_audit_and_compares_points_record_by_record() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let (_, code) = pod.shell().answer(&["audit"]);
    assert_eq!(code, 6, "there is none");
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let papers = server.create("papers", "l2", 1000).await.unwrap();
    server.post(&format!("collections/{papers}/add"), &records(&["a", "b"], "abstract")).await.unwrap();
    let good = pod.captured("good");
    server.post(&format!("collections/{papers}/add"), &records(&["c"], "abstract")).await.unwrap();
    server.post(&format!("collections/{papers}/delete"), &json!({"ids": ["a"]})).await.unwrap();
    emptied(&pod.at(SCRATCH_DIR));
    let later = pod.captured("later");
    server.stop().unwrap();
    let captured = preserved(&pod, "evidence");
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    let audit = audited(&pod, &asked(&pod, &good.point, &captured.point, since, true));

    let printed = pod.shell().done(&["audit", "breach"]);
    assert_eq!(printed["run"], "arxiv/breach/uid-1");
    assert_eq!(printed["namespace"][0]["object"], "RoleBinding helper");
    let ids = &printed["components"][0]["collections"][0]["ids"];
    assert_eq!(*ids, json!({"added": ["c"], "removed": ["a"]}));
    assert_eq!(audit.data[0].added, 1);
    let (_, code) = pod.shell().answer(&["audit", "another"]);
    assert_eq!(code, 6);

    let compared = pod.shell().done(&["audit", "--point", &good.point, "--against", &later.point]);
    assert_eq!(compared["from"], good.point);
    assert_eq!(compared["collections"][0]["ids"], json!({"added": ["c"], "removed": ["a"]}));
    let same = pod.shell().done(&["audit", "--point", &later.point, "--against", &captured.point]);
    assert_eq!(same["collections"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_compared_is_told_and_is_no_failure() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let papers = server.create("papers", "l2", 1000).await.unwrap();
    server.post(&format!("collections/{papers}/add"), &records(&["a"], "abstract")).await.unwrap();
    let good = pod.captured("good");
    server.stop().unwrap();
    fs::write(pod.volume().join("chroma.sqlite3"), "no database any more").unwrap();
    let captured = preserved(&pod, "evidence");
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    // Without a right to it no name is listed, which is told too.
    let Report::Inventoried { names: 0 } = inventory(&pod, false) else { panic!("{:?}", pod.report()) };
    let audit = audited(&pod, &asked(&pod, &good.point, &captured.point, since, true));
    let unseen: Vec<&str> =
        audit.findings.iter().filter(|f| f.kind == AuditKind::NotSeen).map(|f| f.object.as_str()).collect();
    assert_eq!(unseen, ["ConfigMaps", "Secrets", "the data of policy chromadb"], "{audit:?}");

    // A point that is not there is told of; a repository that is not there is a failure.
    let gone = "00000000000000000000000000000000";
    let mut other = asked(&pod, gone, gone, since, true);
    if let Request::Audit(asked) = &mut other {
        asked.document = "arxiv/breach/uid-2".into();
    }
    let audit = audited(&pod, &other);
    assert!(audit.findings.iter().any(|f| f.object == "what policy chromadb captures"), "{audit:?}");
    fs::remove_dir_all(pod.root.path().join("repository")).unwrap();
    let (reason, ..) = pod.failure(&asked(&pod, gone, gone, since, true));
    assert_eq!(reason, FailureReason::RepositoryMissing);
}

#[test]
fn the_account_lists_names_in_its_namespace_and_may_nothing_else() {
    let namespace = server().namespace("audit-rights");
    let who = names::auditor("uid-1");
    let _ = server().kubectl(&format!("create serviceaccount {who} -n {namespace}")).success();
    let bind = format!(
        "create rolebinding {} -n {namespace} --clusterrole=holdfast-audit --serviceaccount={namespace}:{who}",
        names::auditor("j-1")
    );
    let _ = server().kubectl(&bind).success();
    let may = |what: &str, namespace: &str| {
        let asked = format!("auth can-i {what} -n {namespace} --as=system:serviceaccount:{namespace}:{who}");
        server().kubectl(&asked).out.trim() == "yes"
    };
    for what in ["list secrets", "list configmaps"] {
        assert!(may(what, &namespace) && !may(what, "default"), "{what}");
    }
    for what in
        ["get secrets", "watch secrets", "create secrets", "delete secrets", "list pods", "create pods"]
    {
        assert!(!may(what, &namespace), "{what}");
    }
}
