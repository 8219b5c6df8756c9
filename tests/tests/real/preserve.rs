//! An emergency capture by the real mover, of volumes whose disk answers reads with EIO: everything else is kept, byte by byte, and what is
//! not is named exactly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use crds::job::{
    CaptureSource, Captured, Checked, EVIDENCE_DIR, OBJECTS_DIR, Report, Request, SCRATCH_DIR, SOURCE_DIR,
    SourceContent, Torn, UnreadableRange,
};
use rusqlite::Connection;
use tests::{
    broken_disk::{Bad, BrokenDisk},
    chroma_server::ChromaServer,
    writer::{Load, Writer},
};

use super::pod::{CLAIM, Pod, ballast};

fn preserving(pod: &Pod, attempt: &str, content: SourceContent, stopped: bool) -> Request {
    let Request::Capture { repository, source, .. } = pod.capture(attempt) else { panic!("no capture") };
    let source = CaptureSource { content, ..source };
    Request::Preserve { repository, attempt: attempt.into(), source, stopped }
}

fn chroma() -> SourceContent {
    SourceContent::ChromaDb { data_path: String::new(), image: "chroma@sha256:5b7e11aa".into() }
}

fn preserved(pod: &Pod, request: &Request) -> Captured {
    let scratch = pod.at(SCRATCH_DIR);
    fs::remove_dir_all(&scratch).unwrap();
    fs::create_dir(&scratch).unwrap();
    match pod.run(request) {
        (Report::Preserved(captured), 0) => *captured,
        other => panic!("{other:?}"),
    }
}

/// Bytes that are never zero, so that a hole is seen.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 255) as u8 + 1).collect()
}

/// What the CLI restores of a point, into a directory that goes with what is returned first.
fn restored(
    pod: &Pod,
    point: &str,
    arguments: &[&str],
) -> (tempfile::TempDir, std::path::PathBuf, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("restored");
    let path = at.display().to_string();
    let mut all = vec!["restore", "--point", point, "--target", &path];
    all.extend(arguments);
    let (done, code) = pod.shell().answer(&all);
    assert_eq!(code, 0, "{done}");
    (dir, at, done)
}

fn ledger(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn everything_but_the_bad_blocks_of_a_disk_is_kept_and_these_are_named_exactly() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let behind = tempfile::tempdir().unwrap();
    let at = |path: &str| behind.path().join(path);
    fs::create_dir_all(at("papers/lost")).unwrap();
    fs::create_dir_all(at("papers/deep")).unwrap();
    fs::write(at("large"), content((3 << 20) + 77)).unwrap();
    fs::write(at("whole"), content(700_000)).unwrap();
    fs::write(at("dead"), content(10_000)).unwrap();
    fs::write(at("papers/deep/end"), content(8195)).unwrap();
    fs::write(at("papers/lost/never-seen"), "x").unwrap();
    std::os::unix::fs::symlink("deep/end", at("papers/link")).unwrap();
    let before = ledger(behind.path());
    let bad = vec![
        Bad::Bytes("large".into(), 1 << 20, 1),
        Bad::Bytes("large".into(), 2_000_000, 9000),
        Bad::Bytes("dead".into(), 0, 10_000),
        Bad::Bytes("papers/deep/end".into(), 8193, 1),
        Bad::Directory("papers/lost".into()),
    ];
    let disk = BrokenDisk::mount(behind.path(), &pod.volume(), bad).unwrap();
    for (path, text) in
        [("objects/Secret/env/TOKEN", "s3cret"), ("evidence/logs/app-0/app.log", "the last words")]
    {
        let path = path.replace("objects", OBJECTS_DIR).replace("evidence", EVIDENCE_DIR);
        let path = pod.at(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let captured = preserved(&pod, &preserving(&pod, "emergency-1", SourceContent::Application, true));
    let emergency = captured.emergency.clone().unwrap();
    let range =
        |file: &str, offset, length| UnreadableRange { file: format!("{CLAIM}/{file}"), offset, length };
    let expected = [
        range("dead", 0, 10_000),
        range("large", 1 << 20, 4096),
        range("large", 1_998_848, 12_288),
        range("papers/deep/end", 8192, 3),
    ];
    assert_eq!(emergency.unreadable, expected);
    assert_eq!((emergency.unreadable_count, emergency.unreadable_bytes), (4, 10_000 + 4096 + 12_288 + 3));
    assert_eq!((emergency.missed_count, emergency.torn, emergency.evidence), (1, Torn::No, 1));
    assert!(
        emergency.missed[0].starts_with(&format!("{CLAIM}/papers/lost: can't be listed")),
        "{emergency:?}"
    );
    assert!(!emergency.is_complete() && captured.objects == 2, "{captured:?}");

    // The same by its attempt, and from the bucket alone.
    assert_eq!(pod.confirm("emergency-1"), Report::Preserved(Box::new(captured.clone())));
    let known = Request::Catalogue { repository: pod.access(), known: Vec::new() };
    let Report::Catalogued(catalogued) = pod.run(&known).0 else { panic!("{:?}", pod.report()) };
    let found = catalogued.points[0].captured.emergency.as_ref().unwrap();
    assert_eq!((found.unreadable_count, found.torn), (4, Torn::No));

    let (_dir, restored_to, done) = restored(&pod, &captured.point, &[]);
    assert_eq!(done["unreadable"].as_array().unwrap().len(), 4, "{done}");
    for file in ["large", "whole", "dead", "papers/deep/end"] {
        let mut truth = fs::read(at(file)).unwrap();
        for hole in expected.iter().filter(|hole| hole.file == format!("{CLAIM}/{file}")) {
            truth[hole.offset as usize..(hole.offset + hole.length) as usize].fill(0);
        }
        assert!(fs::read(restored_to.join(file)).unwrap() == truth, "{file}");
    }
    assert_eq!(fs::read_link(restored_to.join("papers/link")).unwrap(), Path::new("deep/end"));
    assert!(restored_to.join("papers/lost").is_dir());
    let (_other, evidence, _) = restored(&pod, &captured.point, &["--evidence"]);
    assert_eq!(fs::read(evidence.join("logs/app-0/app.log")).unwrap(), b"the last words");
    let list: serde_json::Value =
        serde_json::from_slice(&fs::read(evidence.join("unreadable.json")).unwrap()).unwrap();
    assert_eq!(list["unreadable"].as_array().unwrap().len(), 4, "{list}");
    drop(disk);
    assert!(ledger(behind.path()) == before, "the disk was only read");
}

#[test]
fn a_whole_database_of_a_stopped_server_is_kept_as_an_emergency_capture_that_latest_never_chooses() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    ballast(&pod.volume(), 2);
    let good = pod.captured("capture-1");
    let captured = preserved(&pod, &preserving(&pod, "emergency-1", chroma(), true));
    assert!(captured.emergency.as_ref().unwrap().is_complete(), "{captured:?}");
    let live = preserved(&pod, &preserving(&pod, "emergency-2", chroma(), false));
    assert_eq!(live.emergency.unwrap().torn, Torn::Unknown);
    let shell = pod.shell();
    let (points, _) = shell.answer(&["points"]);
    let of =
        |id: &str| points["points"].as_array().unwrap().iter().find(|p| p["point"] == id).unwrap().clone();
    assert_eq!(of(&captured.point)["emergency"]["unreadableBytes"], 0);
    assert!(of(&good.point)["emergency"].is_null());
    // The only other point was found damaged: there is nothing for latest, however much was preserved.
    let target = pod.root.path().join("latest").display().to_string();
    let (refused, code) = shell.answer(&["restore", "--point", "latest", "--target", &target]);
    assert_ne!(code, 0, "{refused}");
    // No rule counts or removes it.
    let (judged, code) = shell.answer(&["prune", "--keep-last", "1", "--dry-run"]);
    assert_eq!(code, 0, "{judged}");
    let kept = |id: &str| {
        let all = judged["points"].as_array().unwrap();
        all.iter().find(|p| p["point"] == id).unwrap()["kept"].clone()
    };
    assert_eq!(kept(&captured.point), serde_json::json!(["emergency"]));
    assert!(kept(&good.point).as_array().unwrap().iter().any(|why| why == "newest"), "{judged}");
    let (removed, code) = shell.answer(&["prune", "--remove", &captured.point]);
    assert_eq!(code, 0, "{removed}");
    let (points, _) = shell.answer(&["points"]);
    assert_eq!(points["points"].as_array().unwrap().len(), 2, "by hand it goes");
}

#[test]
fn a_volume_of_which_nothing_can_be_read_is_preserved_as_just_that() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let behind = tempfile::tempdir().unwrap();
    let disk =
        BrokenDisk::mount(behind.path(), &pod.at(SOURCE_DIR).join(CLAIM), vec![Bad::Directory("".into())])
            .unwrap();
    let captured = preserved(&pod, &preserving(&pod, "emergency-1", chroma(), true));
    let emergency = captured.emergency.unwrap();
    assert_eq!((emergency.missed_count, emergency.unreadable_count), (1, 0));
    assert!(emergency.missed[0].starts_with(CLAIM), "{emergency:?}");
    assert!(!captured.findings.is_empty());
    drop(disk);
}

fn checked(pod: &Pod, point: &str) -> Checked {
    let data_path = Some(String::new());
    let request = Request::CheckPreserved { repository: pod.access(), point: point.into(), data_path };
    match pod.run(&request) {
        (Report::Checked(checked), 0) => checked,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_preserved_of_a_chroma_is_checked_repaired_in_a_copy_and_restored_as_any_point() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    let data = pod.volume();
    let server = ChromaServer::start(&data).await.unwrap();
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(7, 2, 16) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(60, Duration::from_secs(90)).await.unwrap();
    writer.stop().await.unwrap();
    server.stop().unwrap();
    let before = ledger(&data);
    let whole = preserved(&pod, &preserving(&pod, "emergency-1", chroma(), true));
    assert!(whole.emergency.as_ref().unwrap().is_complete() && whole.findings.is_empty(), "{whole:?}");
    assert!(whole.chroma().unwrap().records > 0);
    let seen = checked(&pod, &whole.point);
    assert_eq!((seen.finding_count, seen.unchecked, seen.repair), (0, None, None));
    assert_eq!(seen.migrations.as_deref(), Some("2/6/10"));
    assert!(matches!(pod.run(&pod.restore(&whole.point, "uid-1")).0, Report::Restored(_)));
    let Report::Verified(verified) = pod.run(&pod.verify(&whole.point)).0 else {
        panic!("{:?}", pod.report())
    };
    assert!(verified.findings.is_empty() && verified.collections_equal == 2, "{verified:?}");

    // An index that lost an entry: what it is about is whole.
    let db = Connection::open(data.join("chroma.sqlite3")).unwrap();
    db.execute_batch("DELETE FROM embedding_fulltext_search_data WHERE id > 10").unwrap();
    drop(db);
    let broken = ledger(&data);
    let damaged = preserved(&pod, &preserving(&pod, "emergency-2", chroma(), true));
    assert!(damaged.emergency.as_ref().unwrap().is_complete() && !damaged.findings.is_empty(), "{damaged:?}");
    let seen = checked(&pod, &damaged.point);
    assert!(seen.finding_count > 0, "{seen:?}");
    assert_eq!(
        seen.repair.as_deref(),
        Some("only indices are broken: built anew from what they index, the copy is whole")
    );

    // Blocks that can't be read are told besides what is broken for it.
    let bad = vec![Bad::Bytes("chroma.sqlite3".into(), 5 * 4096, 2 * 4096)];
    let disk = BrokenDisk::mount(&data, &data, bad).unwrap();
    let holed = preserved(&pod, &preserving(&pod, "emergency-3", chroma(), true));
    assert_eq!(holed.emergency.as_ref().unwrap().unreadable_bytes, 8192);
    let seen = checked(&pod, &holed.point);
    assert!(seen.finding_count > 0, "{seen:?}");
    let unchecked = format!(
        "8192 bytes in 1 ranges could not be read and were not checked, the first 8192 at 20480 of {CLAIM}/chroma.sqlite3"
    );
    assert_eq!(seen.unchecked.as_deref(), Some(unchecked.as_str()));
    drop(disk);
    assert!(ledger(&data) == broken && before != broken, "the original is only read");
}
