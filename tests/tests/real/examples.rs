//! Every file in examples/ is accepted as it stands by a real API server with the chart's definitions and policies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tests::apiserver::{ApiServer, repository, tool};

fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    ApiServer::shared(&SERVER, |server| {
        for namespace in ["holdfast-system", "arxiv"] {
            let _ = server.kubectl(&format!("create namespace {namespace}")).success();
        }
        let mut helm = Command::new(tool("helm").expect("helm is built"));
        helm.arg("install").arg("holdfast").arg(repository().join("charts/holdfast"));
        helm.args(["--namespace", "holdfast-system"]);
        let _ = server.run(helm, "").success();
        let _ = server.kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
    })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_accepted_as_it_stands() {
    let examples = files(&repository().join("examples"));
    assert!(examples.len() >= 6, "only {examples:?} found");
    for path in examples {
        let text = std::fs::read_to_string(&path).unwrap();
        let verb = if text.contains("generateName:") { "create" } else { "apply --server-side" };
        let answer = server()
            .kubectl(&format!("{verb} --validate=strict --dry-run=server -n arxiv -f {}", path.display()));
        assert!(answer.ok, "{}: {}", path.display(), answer.err);
    }
}

#[test]
fn a_run_is_never_applied_twice_by_its_file() {
    for path in files(&repository().join("examples")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let run = text.contains("kind: RecoveryRun\n");
        assert!(
            !run || text.contains("generateName:"),
            "{}: a run's name is used once for ever",
            path.display()
        );
    }
}
