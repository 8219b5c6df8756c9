//! Lost records, counted by the real mover: what a real ChromaDB had written after its point, in the volume that was replaced.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crds::job::{FailureReason, LossRequest, Report, Request, SCRATCH_DIR};
use crds::run::LostRecords;
use serde_json::{Value, json};
use tests::chroma_server::ChromaServer;

use super::pod::{CLAIM, Pod};

fn records(ids: &[String], document: &str) -> Value {
    let vector = |id: &String| -> Vec<f32> { id.bytes().chain([0; 8]).take(8).map(f32::from).collect() };
    json!({"ids": ids, "embeddings": ids.iter().map(vector).collect::<Vec<_>>(),
        "documents": ids.iter().map(|id| format!("{document} of {id}")).collect::<Vec<_>>()})
}

fn ids(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("p{number:03}")).collect()
}

fn asked(pod: &Pod, point: &str) -> Request {
    Request::CountLoss(Box::new(LossRequest {
        repository: pod.access(),
        document: "db-2026-11-23/uid-1/chromadb".into(),
        point: point.into(),
        claim: CLAIM.into(),
        data_path: String::new(),
    }))
}

fn counted(pod: &Pod, point: &str) -> LostRecords {
    let _ = fs::remove_dir_all(pod.at(SCRATCH_DIR));
    fs::create_dir_all(pod.at(SCRATCH_DIR)).unwrap();
    match pod.run(&asked(pod, point)) {
        (Report::LossCounted(counted), 0) => counted,
        other => panic!("{other:?}"),
    }
}

/// Every file and what is in it.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(
                files(&entry.path()).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)),
            ),
            false => drop(all.insert(name, fs::read(entry.path()).unwrap())),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_after_the_point_is_counted_and_listed_and_the_evidence_stays_as_it_is() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let papers = server.create("papers", "l2", 100).await.unwrap();
    server.post(&format!("collections/{papers}/add"), &records(&ids(0, 150), "abstract")).await.unwrap();
    let point = pod.captured("good").point;
    server.post(&format!("collections/{papers}/add"), &records(&ids(150, 400), "abstract")).await.unwrap();
    server.post(&format!("collections/{papers}/update"), &records(&ids(3, 5), "lies")).await.unwrap();
    server.post(&format!("collections/{papers}/delete"), &json!({"ids": ["p007"]})).await.unwrap();
    let new = server.create("new", "cosine", 1000).await.unwrap();
    server.post(&format!("collections/{new}/add"), &records(&["x0".into()], "new")).await.unwrap();
    server.stop().unwrap();
    // A crash in mid-transaction leaves one: rolled back in the copy, and there only.
    fs::write(pod.volume().join("chroma.sqlite3-journal"), [0; 512]).unwrap();
    let before = files(&pod.volume());

    let count = counted(&pod, &point);
    assert_eq!((count.added, count.altered, count.removed, count.collections), (251, 2, 1, 2));
    assert!(count.digest.as_ref().unwrap().starts_with("sha256:"));
    assert_eq!(files(&pod.volume()), before, "the replaced volume was changed");
    // Whoever asks again is told of the same document, without anything being compared anew.
    fs::write(pod.volume().join("chroma.sqlite3"), "no database any more").unwrap();
    assert_eq!(counted(&pod, &point), count);

    for run in ["db-2026-11-23", "uid-1"] {
        let listed = pod.shell().done(&["report", run, "--lost-records"]);
        let collections = listed["losses"][0]["collections"].as_array().unwrap();
        let of = |name: &str| collections.iter().find(|change| change["collection"] == name).unwrap();
        assert_eq!(of("papers")["ids"]["added"], json!(ids(150, 400)));
        assert_eq!(of("papers")["ids"]["altered"], json!(ids(3, 5)));
        assert_eq!(of("papers")["ids"]["removed"], json!(["p007"]));
        assert_eq!(of("new")["ids"]["added"], json!(["x0"]));
    }
    let (_, code) = pod.shell().answer(&["report", "another", "--lost-records"]);
    assert_eq!(code, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_too_damaged_is_said_to_be_and_counts_nothing() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let server = ChromaServer::start(&pod.volume()).await.unwrap();
    let papers = server.create("papers", "l2", 1000).await.unwrap();
    server.post(&format!("collections/{papers}/add"), &records(&ids(0, 20), "abstract")).await.unwrap();
    let point = pod.captured("good").point;
    server.stop().unwrap();
    assert_eq!(counted(&pod, &point).added, 0);
    let mut other = asked(&pod, &point);
    if let Request::CountLoss(asked) = &mut other {
        asked.document = "db-2026-11-24/uid-2/chromadb".into();
    }
    fs::write(pod.volume().join("chroma.sqlite3"), "no database any more").unwrap();
    let (reason, why, _) = pod.failure(&other);
    assert_eq!(reason, FailureReason::SourceUnreadable);
    assert!(why.contains("too damaged to count its records"), "{why}");
}
