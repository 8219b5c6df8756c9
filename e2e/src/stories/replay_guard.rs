//! A run is carried out once for ever: GitOps that deletes and applies it again restores nothing twice, whatever became of
//! the run's traces in the cluster.

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::run::RunPhase;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::loss::{Loss, Written};
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "replay-guard",
    promise: "a RecoveryRun that is deleted and applied again restores nothing twice",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let written = Written::captured(stage, 4, 1).await?;
    Loss::inflict(stage).await?;
    let run = manifests::run("once", &stage.namespace);
    written.recovered_by(stage, &run).await?;
    let claim = uid_of_claim(stage).await?;
    let generation = generation(stage).await?;
    stage.say("recovered once");

    let mut told = run.clone();
    told["spec"]["incident"] =
        json!({"summary": "found out later what it was", "rootCause": "a stray process"});
    for again in [&run, &told] {
        refused_again(stage, again).await?;
        ensure!(uid_of_claim(stage).await? == claim, "the claim was replaced a second time");
        ensure!(self::generation(stage).await? == generation, "the workload was stopped a second time");
    }
    stage.say("deleted and applied again, twice: AlreadyExecuted");

    // The traces in the cluster are gone, as with a namespace that is made anew. The bucket remembers.
    remove_run(stage).await?;
    let guards = stage.api::<ConfigMap>();
    let labelled = ListParams::default().labels(crds::reference::EXECUTED_LABEL);
    let left = guards.list(&labelled).await?;
    ensure!(!left.items.is_empty(), "no ConfigMap remembers the run");
    for guard in left {
        guards.delete(&guard.name_any(), &DeleteParams::default()).await?;
    }
    stage.apply(std::slice::from_ref(&run)).await?;
    already_executed(stage).await?;
    ensure!(
        uid_of_claim(stage).await? == claim,
        "the claim was replaced although the bucket remembers the run"
    );
    written.is_served(stage).await?;
    stage.say("without the ConfigMap: the mark in the bucket refuses, and the database runs");
    Ok(())
}

async fn refused_again(stage: &Stage, run: &Value) -> Result<()> {
    remove_run(stage).await?;
    stage.apply(std::slice::from_ref(run)).await?;
    already_executed(stage).await
}

async fn already_executed(stage: &Stage) -> Result<()> {
    let run = stage.ended("once").await?;
    let status = run.status.unwrap_or_default();
    ensure!(status.phase == Some(RunPhase::Failed), "phase {:?}: {}", status.phase, json!(status.conditions));
    let failed = wait::condition(&status.conditions, "Failed").context("no condition Failed")?;
    ensure!(failed.reason == "AlreadyExecuted", "reason {}: {}", failed.reason, failed.message);
    ensure!(failed.message.contains("once"), "the message does not name the run: {}", failed.message);
    Ok(())
}

async fn remove_run(stage: &Stage) -> Result<()> {
    let api = stage.api::<RecoveryRun>();
    api.delete("once", &DeleteParams::default()).await?;
    wait::object(&api, "once", "the run to be gone", PATIENCE, |run| Ok(run.is_none().then_some(()))).await
}

async fn uid_of_claim(stage: &Stage) -> Result<Option<String>> {
    Ok(stage.get::<PersistentVolumeClaim>(CLAIM).await?.uid())
}

async fn generation(stage: &Stage) -> Result<Option<i64>> {
    Ok(stage.get::<StatefulSet>(CHROMADB).await?.metadata.generation)
}
