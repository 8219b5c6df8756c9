//! A capture with the workload stopped: it gets its replicas back although the controller died right after it took them away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde_json::json;
use tests::writer::Writer;

use super::{by_cli, holds, load};
use crate::deaths::captured_through;
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "capture-offline",
    promise: "an offline capture stops the workload, and starts it again whoever dies in between",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// Right after the workload was scaled: down, and at the next start up again.
const MARK: &str = "after:Scale";

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let mut writer = Writer::start(address, load(12)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let ledger = writer.stop().await?;
    become_offline(stage).await?;
    refuses_what_would_delete_the_claim(stage).await?;

    let _turn = stage.alone().await?;
    let (_, point) = tokio::try_join!(is_stopped(stage), captured_through(stage, CHROMADB, &[MARK]))?;

    is_given_back(stage).await?;
    let address = stage.chromadb_ready().await?;
    holds(&address, &ledger, &point).await?;
    stage.say("the workload runs and serves what it did");
    by_cli::restored(stage, &point, &ledger).await
}

async fn become_offline(stage: &Stage) -> Result<()> {
    let capture = json!({"spec": {"capture": {"live": null, "offline": {"maxDowntime": "5m"}}}});
    stage.patch::<BackupPolicy>(CHROMADB, &capture).await
}

/// A StatefulSet may delete its claims when it is scaled down: then nothing is scaled, and the policy says why.
async fn refuses_what_would_delete_the_claim(stage: &Stage) -> Result<()> {
    for (when_scaled, status, reason) in
        [("Delete", "False", "ClaimDeletedWhenScaled"), ("Retain", "True", "Found")]
    {
        let retention =
            json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": when_scaled}}});
        stage.patch::<StatefulSet>(CHROMADB, &retention).await?;
        wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "SourceReady", status, &[reason]).await?;
    }
    Ok(())
}

/// What is stopped is written down while it is.
async fn is_stopped(stage: &Stage) -> Result<()> {
    wait::object(&stage.api::<StatefulSet>(), CHROMADB, "no replicas", PATIENCE, |set| {
        let replicas = set.and_then(|set| set.spec.as_ref()).and_then(|spec| spec.replicas);
        Ok((replicas == Some(0)).then_some(()))
    })
    .await?;
    let policy: BackupPolicy = stage.get(CHROMADB).await?;
    let stopped = policy.status.and_then(|status| status.stopped).context("nothing is written down")?;
    ensure!(stopped.workloads.iter().map(|owed| owed.replicas).eq([1]), "written down: {stopped:?}");
    Ok(())
}

async fn is_given_back(stage: &Stage) -> Result<()> {
    let policies = stage.api::<BackupPolicy>();
    let policy = wait::object(&policies, CHROMADB, "nothing to be stopped", PATIENCE, |policy| {
        let free = policy.filter(|policy| policy.finalizers().is_empty());
        Ok(free.filter(|p| p.status.as_ref().is_some_and(|s| s.stopped.is_none())).cloned())
    })
    .await?;
    let set: StatefulSet = stage.get(CHROMADB).await?;
    ensure!(set.spec.and_then(|spec| spec.replicas) == Some(1), "it has other replicas than before");
    let status = policy.status.unwrap_or_default();
    let captured = wait::condition(&status.conditions, "LastCaptureSucceeded").context("no condition")?;
    ensure!(captured.message.contains("its workloads were stopped for"), "it says: {}", captured.message);
    Ok(())
}
