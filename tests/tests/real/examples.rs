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

/// What the head of a file says that a ConfigMap is made of is there, and has the program that the file runs.
#[test]
fn the_programs_of_every_example_are_there() {
    let examples = files(&repository().join("examples"));
    let from = |text: &str, path: &Path| -> Vec<PathBuf> {
        let named = text.split_whitespace().filter_map(|word| word.strip_prefix("--from-file="));
        let programs = named
            .filter(|name| name.ends_with('/') || Path::new(name).extension().is_some_and(|e| e == "py"));
        programs.map(|name| path.with_file_name(name)).collect()
    };
    let texts: Vec<(PathBuf, String)> =
        examples.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect();
    let sources: Vec<PathBuf> = texts.iter().flat_map(|(path, text)| from(text, path)).collect();
    assert!(sources.len() >= 6, "only {sources:?} found");
    for source in &sources {
        assert!(source.exists(), "{} is not there", source.display());
    }
    let run = texts.iter().flat_map(|(path, text)| {
        let named = text.split("/program/").skip(1).map(|rest| rest.split(']').next().unwrap_or(rest));
        named.map(|program| (path.clone(), program.to_owned())).collect::<Vec<_>>()
    });
    for (path, program) in run {
        let there = sources.iter().any(|source| source.join(&program).is_file());
        assert!(there, "{} runs {program}, which is in none of {sources:?}", path.display());
    }
}
