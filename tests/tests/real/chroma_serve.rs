//! A copy of a directory served by a server of our own: what it dies of, hangs over or answers with an error is found, what it hides
//! is found by what a point recorded, and the directory stays as it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{fs, time::Duration};

use chroma::{
    check::Problem,
    files,
    fingerprint::OfflineError,
    hnsw::Header,
    serve::{ServeError, ServeOptions, Served, serve},
};
use tests::{
    chroma_server::program,
    shell::{Shell, key as password},
};

use crate::chroma_check::{Copy, key, level0_at};

/// Serves it, and makes sure that this changed nothing.
async fn served(copy: &Copy) -> Result<Served, ServeError> {
    let before = copy.contents();
    let scratch = tempfile::tempdir().unwrap();
    let mut options = ServeOptions::new(program().unwrap(), scratch.path().to_owned());
    // It starts in less than one, and a test that waits for a server that hangs waits for as long as this.
    options.patience = Duration::from_secs(10);
    let served = serve(copy.dir.path(), &key(), &options).await;
    assert!(before == copy.contents(), "serving changed the directory");
    served
}

async fn finds(copy: &Copy, problem: Problem) -> Served {
    let served = served(copy).await.unwrap();
    let found = served.findings.findings.iter().find(|finding| finding.problem == problem);
    let finding = found.unwrap_or_else(|| panic!("no {problem:?} in {served:#?}"));
    assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_is_served_to_the_last_record() {
    let served = served(&Copy::new()).await.unwrap();
    assert!(served.findings.is_empty(), "{served:#?}");
    assert_eq!(served.records, served.collections.iter().map(|c| c.count).sum::<u64>());
    assert_eq!((served.sought, served.found, served.migrated), (20, 20, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_kills_the_server_is_found_by_it() {
    let copy = Copy::new();
    copy.put(files::LEVEL0, level0_at(9, 0), &500u16.to_le_bytes());
    let served = finds(&copy, Problem::NotServing).await;
    assert!(served.records < served.collections[0].count, "{served:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_over_which_the_server_hangs_ends_in_time_and_leaves_no_server() {
    let copy = Copy::new();
    let count = Header::read(&copy.segment.join(files::HEADER)).unwrap().elements;
    copy.put(files::HEADER, 20, &(count - 8).to_le_bytes());
    finds(&copy, Problem::NotServing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_answered_with_an_error_is_named_with_what_the_server_said() {
    let copy = Copy::new();
    fs::remove_file(copy.segment.join(files::PICKLE)).unwrap();
    let served = finds(&copy, Problem::NotServing).await;
    let finding = &served.findings.findings[0];
    assert_eq!(finding.collection.as_deref(), Some("default_tenant/default_database/papers"));
    assert!(finding.what.contains("500"), "{finding:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_no_server_opens_is_no_answer_but_an_error() {
    let copy = Copy::new();
    fs::write(copy.dir.path().join(files::DATABASE), "not SQLite").unwrap();
    assert!(matches!(served(&copy).await, Err(ServeError::Files(OfflineError::Open(_)))));
    let missing = ServeOptions::new("/nowhere/chroma".into(), tempfile::tempdir().unwrap().path().to_owned());
    let refused = serve(Copy::new().dir.path(), &key(), &missing).await.unwrap_err();
    assert!(matches!(refused, ServeError::Program { .. } | ServeError::Copy { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_past_the_records_are_found_by_looking_for_them() {
    let copy = Copy::new();
    let elements = Header::read(&copy.segment.join(files::HEADER)).unwrap().elements;
    for record in 0..elements {
        // No links at all: in range, so that no structure tells.
        copy.put(files::LEVEL0, level0_at(record, 0), &0u16.to_le_bytes());
    }
    let served = finds(&copy, Problem::QueryMisses).await;
    assert!(served.found < served.sought, "{served:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_hides_is_found_by_the_point() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell { url: format!("file://{}", dir.path().join("r").display()), password: password() };
    shell.done(&["repo", "init"]);
    let copy = Copy::new();
    let path = copy.dir.path().to_str().unwrap();
    let point = shell.done(&["backup", "--source", path, "--component", "chromadb"]);
    let (chroma, id) = (program().unwrap().display().to_string(), point["point"].as_str().unwrap());
    let serving = ["check", path, "--level", "serve", "--server", &chroma];
    let expecting = [&serving[..], &["--repo", &shell.url, "--expect", id]].concat();
    let held = shell.done(&expecting);
    assert_eq!((&held["passed"], &held["expected"]["point"]), (&true.into(), &id.into()));
    assert_eq!(held["served"]["records"], point["records"]);

    copy.flip(files::LEVEL0, level0_at(50, 4 + 4 * 32), 1);
    let hidden = shell.done(&serving);
    assert_eq!(hidden["served"]["records"], point["records"], "a server says nothing");
    let (found, code) = shell.answer(&expecting);
    assert_eq!(code, 7);
    let difference = &found["expected"]["differences"][0];
    assert_eq!(difference["subject"], "default_tenant/default_database/papers");
    assert!(difference["message"].as_str().unwrap().contains("digest"), "{difference}");
    let offline = ["check", path, "--repo", &shell.url, "--expect", "latest"];
    assert_eq!(shell.answer(&offline).1, 7, "without a server as well");
}
