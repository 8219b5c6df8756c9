//! A credential that an intruder may have read: the database's pod has it from a Secret, as a variable. After a run has replaced it, the pod runs with
//! another one, what it was is gone with the run, and neither is in anything that people read.

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::names;
use crds::reference::ROTATED_BY;
use crds::run::{RecoveryRunStatus, RotationState, Verdict};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::install;
use crate::manifests::CHROMADB;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

const SECRET: &str = "papers-api";
const KEY: &str = "PAPERS_TOKEN";
/// What is beside it in the Secret and is nobody's secret.
const BESIDE: (&str, &str) = ("PAPERS_URL", "https://papers.example");
const OLD: &str = "of-which-the-intruder-knows";

/// Gives the database's pod the credential, and waits until it has it.
pub async fn happens(stage: &Stage) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {KEY: OLD, BESIDE.0: BESIDE.1}});
    stage.apply(&[secret]).await?;
    let set = format!("statefulset/{CHROMADB}");
    stage.kubectl(&["set", "env", &set, &format!("--from=secret/{SECRET}")]).await?;
    stage.kubectl(&["rollout", "status", &set, "--timeout=120s"]).await?;
    ensure!(of_the_pod(stage).await? == OLD, "the pod does not have the credential");
    Ok(())
}

/// What a run is asked to replace.
pub fn rotations() -> Value {
    json!([{"name": "papers", "secretRef": {"name": SECRET}, "generate": {"key": KEY, "length": 40}}])
}

/// The pod runs with another one, which is nowhere but in the Secret; nothing else of that was touched.
pub async fn is_replaced(stage: &Stage, status: &RecoveryRunStatus) -> Result<()> {
    let states: Vec<_> = status.rotations.iter().map(|known| (known.name.as_str(), known.state)).collect();
    ensure!(states == [("papers", RotationState::Rotated)], "{states:?}");
    let line = status.checks.iter().find(|check| check.name == "credentials-rotated");
    let line = line.context("no line about credentials")?;
    ensure!(
        line.verdict == Verdict::Passed && line.observed.starts_with("1 rotated, not proved"),
        "{line:?}"
    );
    let run: RecoveryRun = stage.get("breach").await?;
    let uid = run.uid().unwrap_or_default();
    let secret: Secret = stage.get(SECRET).await?;
    let new = value(&secret, KEY)?;
    ensure!(new != OLD && new.len() == 40 && new.chars().all(|c| c.is_ascii_alphanumeric()), "not replaced");
    ensure!(value(&secret, BESIDE.0)? == BESIDE.1, "what is beside it was touched");
    let mark = secret.annotations().get(ROTATED_BY).map(String::as_str);
    ensure!(mark == Some(format!("{uid}/papers").as_str()), "it is marked {mark:?}");
    ensure!(of_the_pod(stage).await? == new, "the pod runs with what it was");
    // What it was is kept for as long as somebody may have to prove that it is dead.
    let kept: Secret = stage.get(&names::revoked(&uid)).await?;
    ensure!(value(&kept, &names::revoked_key(SECRET, KEY))? == OLD, "something else is kept");
    let told = [
        serde_json::to_string(&run)?,
        stage.kubectl(&["get", "events.v1.events.k8s.io", "--output=json"]).await?,
        controller_says(stage).await?,
    ];
    for text in &told {
        ensure!(!text.contains(&new) && !text.contains(OLD), "a credential is told to whoever reads");
    }
    Ok(())
}

/// When the run has ended nobody keeps what it was.
pub async fn is_forgotten(stage: &Stage) -> Result<()> {
    let run: RecoveryRun = stage.get("breach").await?;
    let keeper = names::revoked(&run.uid().unwrap_or_default());
    wait::object(&stage.api::<Secret>(), &keeper, "what was replaced to be gone", PATIENCE, |kept| {
        Ok(kept.is_none().then_some(()))
    })
    .await
}

async fn of_the_pod(stage: &Stage) -> Result<String> {
    let program = format!("import os; print(os.environ.get({KEY:?}, ''))");
    let printed = stage.kubectl(&["exec", "chromadb-0", "--", "/usr/bin/python3", "-c", &program]).await?;
    Ok(printed.trim().to_owned())
}

async fn controller_says(stage: &Stage) -> Result<String> {
    let arguments =
        ["--namespace", install::NAMESPACE, "logs", "deployment/holdfast-controller", "--tail=-1"];
    stage.place.kubectl.run(&arguments, None).await
}

fn value(secret: &Secret, key: &str) -> Result<String> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let value = value.with_context(|| format!("{} has no {key}", secret.name_any()))?;
    Ok(String::from_utf8(value.0.clone())?)
}
