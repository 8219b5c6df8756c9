//! Every kind of report in a real browser: nothing stands out of the window or of the picture, everything can be read in light and in dark, nothing is
//! fetched, and it prints.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tests::apiserver::repository;
use tests::browser::{look, print};
use tests::shell::holdfast;

/// The report of each kind of run, as the program writes it.
fn reports() -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let runs = fs::read_dir(repository().join("mover/src/incident/golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let runs = runs.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let written = runs.map(|run| {
        let report = directory.path().join(run.file_stem().unwrap()).with_extension("html");
        let mut command = Command::new(holdfast());
        command.arg("report").arg(&run).args(["--format", "html", "--write"]).arg(&report);
        assert!(command.output().unwrap().status.success(), "{}", run.display());
        report
    });
    let written: Vec<PathBuf> =
        written.chain(["month", "quarter", "year"].map(|period| review(&directory, period))).collect();
    (directory, written)
}

/// The review of a period, as the program writes it.
fn review(directory: &TempDir, period: &str) -> PathBuf {
    let written = directory.path().join(period).with_extension("html");
    let mut command = Command::new(holdfast());
    command.arg("review").arg(repository().join("mover/src/review/golden/objects.json"));
    command
        .args(["--period", period, "--at", "2026-12-01T08:00:00Z", "--format", "html", "--write"])
        .arg(&written);
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    written
}

#[test]
fn every_report_can_be_read_at_a_desk_on_a_tablet_and_on_a_telephone_fetches_nothing_and_prints() {
    let (_kept, reports) = reports();
    assert!(reports.len() >= 6, "{reports:?}");
    for report in &reports {
        for dark in [false, true] {
            for shown in look(report, &[1280, 768, 360], dark).unwrap() {
                let (name, width) = (report.display(), shown.width);
                assert!(shown.faults.is_empty(), "{name}, dark {dark}, {width} wide: {:#?}", shown.faults);
                assert_eq!(shown.dark, dark);
                assert!(shown.headings.len() > 1, "{name}: {:?}", shown.headings);
            }
        }
    }
    let succeeded = reports.iter().find(|report| report.ends_with("succeeded.html")).unwrap();
    let shown = &look(succeeded, &[1280], false).unwrap()[0];
    assert!(shown.picture_texts > 5, "the picture of what took how long has {} texts", shown.picture_texts);
    assert!(
        shown.headings.iter().any(|heading| heading.ends_with("Incident timeline")),
        "{:?}",
        shown.headings
    );
    let quarter = reports.iter().find(|report| report.ends_with("quarter.html")).unwrap();
    let shown = &look(quarter, &[1280], false).unwrap()[0];
    assert!(shown.picture_texts > 15, "the pictures of a review have {} texts", shown.picture_texts);
    let pages = print(quarter).unwrap();
    assert!((1..=8).contains(&pages), "{pages} pages of a review");
    let pages = print(succeeded).unwrap();
    assert!((2..=12).contains(&pages), "{pages} pages");
}

#[test]
fn a_page_that_is_broken_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("broken.html");
    let text = "<!doctype html><body style='margin:0;background:#fff'><h1>Broken</h1><p style='color:#ddd'>pale</p>\
        <div style='width:900px;color:#000'>a long line that is wider than any telephone, and it says so to whoever looks at it</div>\
        <svg width='80' height='20'><text x='60' y='15'>out of it</text></svg><img src='missing.png'><script>1</script></body>";
    std::fs::write(&page, text).unwrap();
    let faults = look(&page, &[360], false).unwrap()[0].faults.join("\n");
    for fault in [
        "wide in a window of 360",
        "\"pale\" can't be read",
        "stands out of its picture",
        "it fetches",
        "it has a script",
    ] {
        assert!(faults.contains(fault), "{fault}: {faults}");
    }
}
