//! Reviews as they are to be read, and what holds for every review.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Length, Objects, Period, render};
use crate::incident::{Format, html};

const AT: &str = "2026-12-01T08:00:00Z";
const REVIEWS: [(Length, &str); 3] =
    [(Length::Month, "2026-11"), (Length::Quarter, "2026-Q4"), (Length::Year, "2026")];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/review/golden").join(name)
}

fn objects() -> Value {
    serde_json::from_slice(&std::fs::read(golden("objects.json")).unwrap()).unwrap()
}

fn review(objects: &Value, length: Length, name: &str, format: Format) -> String {
    let read = Objects::read(objects.to_string().as_bytes(), "the test").unwrap();
    render(&read, &Period::named(length, name).unwrap(), AT.parse().unwrap(), format)
}

fn markdown(objects: &Value, length: Length, name: &str) -> String {
    review(objects, length, name, Format::Markdown)
}

/// The reviews as they are kept: without the style sheet, which is a file of its own.
fn reviews() -> Vec<(PathBuf, String)> {
    let both = REVIEWS.iter().flat_map(|(length, name)| {
        let page = review(&objects(), *length, name, Format::Html).replace(html::STYLE, "");
        let text = markdown(&objects(), *length, name);
        [(format!("{}.md", length.as_str()), text), (format!("{}.html", length.as_str()), page)]
    });
    both.map(|(name, text)| (golden(&name), text)).collect()
}

#[test]
fn reviews_are_as_they_were_read_and_found_good() {
    for (path, text) in reviews() {
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{} differs: look, and write it anew with --ignored", path.display());
    }
}

#[test]
#[ignore = "writes the golden files, to be looked at before they are committed"]
fn reviews_are_written_anew() {
    for (path, text) in reviews() {
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn a_drills_result_counts_once_whether_its_run_is_left_or_not() {
    let text = markdown(&objects(), Length::Month, "2026-11");
    let of = |date: &str| text.lines().filter(|line| line.starts_with(&format!("| {date} "))).count();
    // One that only the run tells of, three that only the drill remembers.
    assert_eq!((of("2026-11-08"), of("2026-11-15"), of("2026-11-22"), of("2026-11-29")), (1, 1, 1, 1));
    assert!(text.contains("**Test success rate**: 50 %, 100 % before"), "{text}");
    let mut both = objects();
    let run = both["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "monthly-1108")
        .unwrap();
    let mut again = run.clone();
    again["metadata"]["name"] = "monthly-1129".into();
    again["spec"]["incident"]["detectedAt"] = "2026-11-29T03:00:00Z".into();
    both["items"].as_array_mut().unwrap().push(again);
    assert_eq!(markdown(&both, Length::Month, "2026-11"), text);
}

#[test]
fn rehearsals_are_no_incidents_and_the_mean_is_of_those_that_recovered() {
    let text = markdown(&objects(), Length::Quarter, "2026-Q4");
    // 8m43s and 5h20m; the one that failed has no time.
    assert!(text.contains("**Mean time to recovery**: 2h44m21s, 25m before"), "{text}");
    assert!(text.contains("| Incidents | 3 | 1 | **2 more** |"), "{text}");
    assert!(text.contains("| Data loss incidents | 2 | 0 | **2 more** |"), "{text}");
    assert!(!text.contains("`monthly-1108`"), "{text}");
}

#[test]
fn each_review_has_what_its_meeting_is_about() {
    let month = markdown(&objects(), Length::Month, "2026-11");
    assert!(!month.contains("Coverage") && !month.contains("Procedures"), "{month}");
    let quarter = markdown(&objects(), Length::Quarter, "2026-Q4");
    for said in [
        "The quarter is not over",
        "No policy covers 3 objects: they would not come back.",
        "- PersistentVolumeClaim `old-exports`",
        "- `ai-scholar` is in no drill: nobody rehearses its recovery",
        "- `email` is Suspended: nothing of it is captured",
        "page sooner",
        "runbook 7: read-only mounts",
        "the root cause of `all-2026-11-04` is not written down",
    ] {
        assert!(quarter.contains(said), "{said}: {quarter}");
    }
    let year = markdown(&objects(), Length::Year, "2026");
    assert!(
        year.contains("| 2026-08 | 1400 | 0 | 100 % |") && year.contains("| 2026-01 | 0 | 0 | none |"),
        "{year}"
    );
}

#[test]
fn a_rate_is_never_rounded_up_to_all() {
    let mut nearly = objects();
    let policy = nearly["items"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|item| item["metadata"]["name"] == "ai-scholar")
        .unwrap();
    policy["status"]["captures"]["months"] =
        json!([{"month": "2026-11", "succeeded": 1_000_000, "failed": 1}]);
    assert!(markdown(&nearly, Length::Month, "2026-11").contains("| `ai-scholar` | 1000000 | 1 | 99.9 % |"));
}

#[test]
fn several_namespaces_are_told_apart() {
    let mut two = objects();
    let mut other = two["items"].as_array().unwrap()[3].clone();
    other["metadata"]["namespace"] = "physics".into();
    two["items"].as_array_mut().unwrap().push(other);
    let text = markdown(&two, Length::Quarter, "2026-Q4");
    for said in
        ["`arxiv/chromadb`", "`physics/chromadb`", "No repository of physics tells", "`arxiv/db-2026-11-23`"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn what_is_no_list_of_objects_is_refused_with_what_to_type() {
    for (text, why) in [
        ("", "is empty"),
        ("{", "is no JSON"),
        (r#"{"kind": "BackupPolicy"}"#, "is no List"),
        (r#"{"kind": "List", "items": []}"#, "has no BackupPolicy"),
        (
            r#"{"kind": "List", "items": [{"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}}]}"#,
            "Secret s",
        ),
        (
            r#"{"kind": "List", "items": [{"kind": "BackupPolicy", "metadata": {"name": "p"}, "spec": {}}]}"#,
            "BackupPolicy p",
        ),
    ] {
        let said = Objects::read(text.as_bytes(), "standard input").unwrap_err().message;
        assert!(
            said.contains(why) && said.contains("kubectl get hfrepo,hfpolicy,hfrun,hfdrill -o json"),
            "{said}"
        );
        assert!(!said.contains("dg=="), "{said}");
    }
}

#[test]
fn whatever_stands_in_an_object_is_words_and_never_markup() {
    let hostile = "<script>alert(1)</script>|`# [x](javascript:y)";
    let mut objects = objects();
    for item in objects["items"].as_array_mut().unwrap() {
        if item["kind"] == "RecoveryRun" {
            item["spec"]["incident"]["lessons"] = json!({"workedWell": [], "toImprove": [hostile]});
        }
    }
    let page = review(&objects, Length::Year, "2026", Format::Html);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    let text = markdown(&objects, Length::Year, "2026");
    assert!(!text.contains("<script") && !text.contains("[x](javascript"), "{text}");
}
