//! Which crate may know which. The arrows are the architecture; a wrong one is a red test, not a review comment.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every arrow between our crates that may exist. Tests and the stories of e2e stand outside and may know all.
const ARROWS: [(&str, &[&str]); 6] = [
    ("crds", &[]),
    ("plan", &["crds"]),
    ("engine", &[]),
    ("chroma", &[]),
    ("mover", &["crds", "engine", "chroma"]),
    ("controller", &["crds", "plan"]),
];
const OUTSIDE: [&str; 2] = ["tests", "e2e"];

/// What a crate must not name itself, with the reason.
const NOT_DIRECTLY: [(&str, &[&str], &str); 6] = [
    ("crds", &["tokio", "reqwest", "futures"], "types and schemas need no client, clock or async"),
    (
        "plan",
        &["tokio", "kube", "reqwest", "futures", "rand", "tracing"],
        "decisions are pure: no I/O, no async, no chance",
    ),
    (
        "engine",
        &["kube", "k8s-openapi", "rusqlite", "reqwest"],
        "the engine knows no Kubernetes and no Chroma",
    ),
    ("chroma", &["kube", "k8s-openapi", "aws-sdk-s3", "aws-config"], "chroma knows no Kubernetes and no S3"),
    ("mover", &["aws-sdk-s3", "rusqlite"], "the mover asks the engine and chroma"),
    (
        "controller",
        &["reqwest", "aws-sdk-s3", "rusqlite"],
        "the controller holds no credential and opens no database",
    ),
];

/// What must not be linked into a crate by any path.
const NOT_LINKED: [(&str, &[&str]); 4] = [
    ("controller", &["engine", "chroma", "rusqlite", "libsqlite3-sys", "aws-sdk-s3"]),
    ("engine", &["kube", "k8s-openapi", "rusqlite", "crds", "chroma"]),
    ("chroma", &["kube", "k8s-openapi", "aws-sdk-s3", "crds", "engine"]),
    ("plan", &["reqwest", "aws-sdk-s3", "rusqlite", "engine", "chroma"]),
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Direct dependencies of each of our crates, those of its tests left out.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version=1"])).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            (name(package), dependencies.filter(|d| d["kind"] != "dev").map(name).collect())
        })
        .collect()
}

/// Everything that a build of these packages links or runs.
fn linked(which: &[&str], edges: &str) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--prefix=none", "--format={p}", "--edges", edges];
    arguments.extend(which);
    cargo(&arguments).lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn our_crates_know_only_those_that_the_design_allows() {
    let direct = direct();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).chain(OUTSIDE).collect();
    let found: BTreeSet<&str> = direct.keys().map(String::as_str).collect();
    assert_eq!(found, ours, "a crate came or went: give it its arrows here");
    for (name, allowed) in ARROWS {
        let arrows: Vec<&String> = direct[name].iter().filter(|d| ours.contains(d.as_str())).collect();
        let wrong: Vec<_> = arrows.iter().filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not know {wrong:?}");
    }
}

#[test]
fn no_crate_names_what_it_refuses() {
    let direct = direct();
    for (name, refused, why) in NOT_DIRECTLY {
        let wrong: Vec<_> = refused.iter().filter(|r| direct[name].contains(**r)).collect();
        assert!(wrong.is_empty(), "{name} must not name {wrong:?}: {why}");
    }
    for (name, dependencies) in &direct {
        let s3 = dependencies.iter().any(|d| d.starts_with("aws-sdk") || d == "aws-config");
        assert!(!s3 || name == "engine", "only engine may name an AWS client, {name} does");
    }
}

/// It decides nothing, and works without a cluster: what talks to one is what has a token and no key.
#[test]
fn the_mover_names_kubernetes_only_where_it_has_a_token_and_no_key() {
    const ALLOWED: [&str; 8] = [
        "cluster.rs",
        "snapshots.rs",
        "job/collect.rs",
        "job/collect/logs.rs",
        "job/hook.rs",
        "job/inventory.rs",
        "job/recreate.rs",
        "job/rotate.rs",
    ];
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../mover/src"));
    let (mut open, mut found) = (vec![root.to_owned()], BTreeSet::new());
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
                continue;
            }
            let text = std::fs::read_to_string(&entry).unwrap();
            if text.contains("kube::") || text.contains("k8s_openapi") {
                found.insert(entry.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    assert_eq!(found, ALLOWED.map(str::to_owned).into());
}

#[test]
fn nothing_refused_is_linked_by_a_detour() {
    for (name, refused) in NOT_LINKED {
        let linked = linked(&["--package", name], "normal");
        assert!(linked.len() > 5, "cargo tree printed too little to judge {name}");
        let wrong: Vec<_> = refused.iter().filter(|r| linked.contains(**r)).collect();
        assert!(wrong.is_empty(), "{name} links {wrong:?}");
    }
}

#[test]
fn one_tls_provider_and_no_openssl() {
    let linked = linked(&["--workspace"], "normal,build");
    assert!(linked.contains("aws-lc-rs"), "the provider that is wanted is missing: {}", linked.len());
    let wrong: Vec<_> = ["ring", "openssl", "openssl-sys", "native-tls"]
        .into_iter()
        .filter(|r| linked.contains(*r))
        .collect();
    assert!(wrong.is_empty(), "a second TLS provider came in: {wrong:?}; look with: cargo tree -i {wrong:?}");
}
