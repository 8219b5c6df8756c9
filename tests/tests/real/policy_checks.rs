//! Checks that policies add, made by the real mover: of the indices of a real ChromaDB, and of a mail server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chroma::hnsw::Header;
use crds::job::{CheckResult, Report, Request, TestMail};
use crds::policy::ChromaQuery;
use crds::run::Verdict;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tests::chroma_server::ChromaServer;

use super::arxiv::Service;
use super::pod::Pod;

const RECORDS: usize = 200;

/// Vectors that are spread, and the same every time.
fn records(from: usize, to: usize) -> Value {
    let mut state = from as u64 + 1;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let vectors: Vec<Vec<f32>> = (from..to).map(|_| (0..8).map(|_| number()).collect()).collect();
    json!({"ids": (from..to).map(|n| format!("p{n:03}")).collect::<Vec<_>>(), "embeddings": vectors})
}

fn asked(pod: &Pod, point: &str, url: &str) -> Request {
    let query = ChromaQuery { samples_per_collection: 20, min_recall_percent: 95 };
    Request::Validate {
        repository: pod.access(),
        point: point.into(),
        url: url.into(),
        auth: None,
        revoked: None,
        counts: vec![],
        queries: vec![("known-neighbours".into(), query)],
        answers: vec![],
        mails: vec![],
        endpoints: vec![],
    }
}

fn lines(pod: &Pod, request: &Request) -> Vec<CheckResult> {
    match pod.run(request).0 {
        Report::Validated { checks } => checks,
        other => panic!("{other:?}"),
    }
}

fn line<'a>(checks: &'a [CheckResult], name: &str) -> &'a CheckResult {
    checks.iter().find(|check| check.name == name).expect(name)
}

/// The directories of the indices.
fn indices(data: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.join("data_level0.bin").exists()).collect()
}

/// Every record stays, and nothing leads to it any more.
fn lose_links(index: &Path) {
    let header = Header::read(&index.join("header.bin")).unwrap();
    let file = OpenOptions::new().write(true).open(index.join("data_level0.bin")).unwrap();
    for number in 0..header.elements {
        file.write_all_at(&[0, 0], number * header.stride).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_no_longer_leads_to_its_records_fails_the_check_and_nothing_else_sees_it() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    for space in ["l2", "cosine", "ip"] {
        let collection = server.create(&format!("papers-{space}"), space, 50).await.unwrap();
        for from in (0..RECORDS).step_by(50) {
            server.post(&format!("collections/{collection}/add"), &records(from, from + 50)).await.unwrap();
        }
    }
    let point = pod.captured("good").point;
    let checks = lines(&pod, &asked(&pod, &point, server.url()));
    let found = line(&checks, "known-neighbours");
    assert_eq!((found.verdict, found.expected.as_str()), (Verdict::Passed, "recall >= 95%"), "{found:?}");
    assert!(found.observed.ends_with("% of 60"), "{found:?}");
    server.stop().unwrap();

    // One of three: what the others find does not make it good.
    lose_links(&indices(&pod.volume())[0]);
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let checks = lines(&pod, &asked(&pod, &point, server.url()));
    let lost = line(&checks, "known-neighbours");
    assert_eq!(lost.verdict, Verdict::Failed, "{checks:?}");
    assert!(
        lost.observed.contains("in papers-") && lost.observed.contains("build its index anew"),
        "{lost:?}"
    );
    for name in ["collections-accessible", "counts", "corruption"] {
        assert_eq!(line(&checks, name).verdict, Verdict::Passed, "{checks:?}");
    }
    server.stop().unwrap();
}

fn mailed(port: u16, to: &str, patience: i64) -> Request {
    let mail = TestMail {
        name: "sends".into(),
        host: "127.0.0.1".into(),
        port,
        from: "holdfast@arxiv".into(),
        to: to.into(),
        by: "RecoveryRun arxiv/db-2026-11-23".into(),
        patience: SignedDuration::from_secs(patience),
    };
    Request::Check { answers: vec![], mails: vec![mail], endpoints: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_is_sent_once_and_a_server_that_takes_none_fails_the_check() {
    let pod = Pod::with_directory();
    let home = tempfile::tempdir().unwrap();
    let [port] = tests::ports::free().unwrap();
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/SMTP_PORT"), port.to_string()).unwrap();
    let nobody = lines(&pod, &mailed(port, "dr-test@yourorg.com", 2));
    assert_eq!(line(&nobody, "sends").verdict, Verdict::Failed, "{nobody:?}");
    assert!(line(&nobody, "sends").observed.contains("can't be connected to"), "{nobody:?}");

    let sink = Service::start("e2e/src/arxiv/sink.py", home.path()).await;
    let sent = lines(&pod, &mailed(port, "dr-test@yourorg.com", 20));
    assert_eq!(
        (line(&sent, "sends").verdict, line(&sent, "sends").observed.as_str()),
        (Verdict::Passed, "250 kept")
    );
    let mails = sink.get("mails").await;
    let [mail] = mails.as_array().unwrap().as_slice() else { panic!("{mails}") };
    assert_eq!(mail["to"], "<dr-test@yourorg.com>");
    assert_eq!(mail["subject"], "[Holdfast test] check sends of RecoveryRun arxiv/db-2026-11-23");

    assert_eq!(sink.post("refusing", json!(true)).await, 200);
    let refused = lines(&pod, &mailed(port, "dr-test@yourorg.com", 2));
    assert_eq!(
        (line(&refused, "sends").verdict, line(&refused, "sends").observed.as_str()),
        (Verdict::Failed, "MAIL: 451 not now")
    );
    assert_eq!(sink.get("mails").await.as_array().unwrap().len(), 1);
}
