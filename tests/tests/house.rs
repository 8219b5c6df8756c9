//! What a file may be called and how long it may get, so that each can be read at one sitting.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::path::{Path, PathBuf};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "base"];
/// Lines at which a file is split. Data is not code: generated YAML and lock files are not counted.
const LIMIT: usize = 500;
/// The same for tests: a table of cases is read by the line, not at one sitting.
const TEST_LIMIT: usize = 800;
/// Half of all files are at most this long.
const MEDIAN: usize = 200;

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> =
        ["crds", "plan", "engine", "chroma", "mover", "controller", "tests", "e2e", "bench"]
            .map(|d| root.join(d))
            .into();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path
                .extension()
                .is_some_and(|e| ["rs", "sh", "go", "py", "c"].iter().any(|ours| e == *ours))
            {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    assert!(found.len() > 50, "only {} sources found: the search is broken", found.len());
    found
}

fn limit(path: &Path) -> usize {
    let test =
        path.file_name().is_some_and(|name| name == "tests.rs") || path.iter().any(|part| part == "tests");
    if test { TEST_LIMIT } else { LIMIT }
}

fn lines(path: &Path) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap().lines().count()
}

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    let empty: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|path| {
            let named = path.with_extension("");
            named.iter().any(|part| EMPTY_NAMES.iter().any(|empty| part == *empty))
        })
        .collect();
    assert!(empty.is_empty(), "name these after what is in them: {empty:?}");
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let long: Vec<(PathBuf, usize)> = sources()
        .into_iter()
        .map(|path| (path.clone(), lines(&path)))
        .filter(|(path, count)| *count > limit(path))
        .collect();
    assert!(long.is_empty(), "split these, they are too long: {long:?}");
}

#[test]
fn most_files_are_short() {
    let mut counts: Vec<usize> = sources()
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| lines(path))
        .collect();
    counts.sort_unstable();
    let median = counts[counts.len() / 2];
    assert!(median <= MEDIAN, "half of the Rust files have more than {median} lines; {MEDIAN} is the aim");
}

#[test]
fn every_reason_of_a_failure_is_explained_to_users() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/reasons.md")).unwrap();
    let source = std::fs::read_to_string(root.join("crds/src/job/failure.rs")).unwrap();
    let (_, rest) = source.split_once("pub enum FailureReason {").expect("the enumeration is there");
    let (body, _) = rest.split_once("\n}").expect("and ends");
    let variants: Vec<&str> = body
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(|line| line.trim_end_matches(','))
        .collect();
    assert!(variants.len() > 20, "only {variants:?} found");
    let missing: Vec<_> = variants.iter().filter(|reason| !page.contains(**reason)).collect();
    assert!(missing.is_empty(), "docs/reasons.md does not say what to do about {missing:?}");
}
