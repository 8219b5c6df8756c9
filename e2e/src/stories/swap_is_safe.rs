//! The exchange of two volumes under a claim's name, with everything against it: a StatefulSet that deletes claims when it
//! is scaled, a rival that scales up in the window and makes the claim, and a claim that names another tenant's volume.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::RecoveryRun;
use crds::run::{RunPhase, StepPhase};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::loss::{Loss, Written};
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "swap-is-safe",
    promise: "no reclaim policy, rival or foreign claim makes the exchange of volumes lose or touch data",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    // The other tenant of the last act comes up meanwhile.
    let tenant = Stage::set(&stage.place, &format!("{}-tenant", stage.story)).await?;
    let told = async { tokio::try_join!(told(stage), tenant.chromadb()).map(drop) };
    let told = match told.await {
        Ok(()) => foreign_volume(stage, &tenant).await,
        failed => failed,
    };
    let struck = tenant.strike().await;
    told.and(struck)
}

async fn told(stage: &Stage) -> Result<()> {
    let written = Written::captured(stage, 6, 1).await?;
    let delete = json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}}});
    stage.patch::<StatefulSet>(CHROMADB, &delete).await?;
    let loss = Loss::inflict(stage).await?;
    let run = manifests::run("recover", &stage.namespace);
    let (refused, run) = tokio::try_join!(rival(stage), written.recovered_by(stage, &run))?;
    stage.say(format!("the rival was told: {refused}"));
    ensure!(refused.contains("recover") && refused.contains(CLAIM), "the rival was told: {refused}");
    stage.say("recovered in spite of whenScaled: Delete and a rival");
    loss.is_kept_by(stage, &run).await?;
    let set: StatefulSet = stage.get(CHROMADB).await?;
    let retention =
        set.spec.and_then(|s| s.persistent_volume_claim_retention_policy).and_then(|p| p.when_scaled);
    ensure!(retention.as_deref() == Some("Delete"), "the user's own setting was changed: {retention:?}");
    Ok(())
}

/// From the moment the claims are exchanged: scales the workload up, makes the claim and a pod by hand. Returns what the
/// attempt on the claim was answered.
async fn rival(stage: &Stage) -> Result<String> {
    wait::object(
        &stage.api::<RecoveryRun>(),
        "recover",
        "the fence",
        Duration::from_secs(180),
        |run: Option<&RecoveryRun>| {
            let status = run.and_then(|r| r.status.clone()).unwrap_or_default();
            if status.phase == Some(RunPhase::Failed) {
                bail!("the run failed before the swap: {}", json!(status.conditions));
            }
            let swapping =
                status.steps.iter().any(|s| s.name.starts_with("Swap") && s.phase == StepPhase::Running);
            let fenced = wait::condition(&status.conditions, "Fenced").is_some_and(|c| c.status == "True");
            Ok((swapping && fenced).then_some(()))
        },
    )
    .await?;
    let up = json!({"spec": {"replicas": 1}});
    stage.patch::<StatefulSet>(CHROMADB, &up).await?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let api = stage.api::<PersistentVolumeClaim>();
    let made = api.create(&PostParams::default(), &serde_json::from_value(claim)?).await;
    match made {
        Ok(_) => bail!("the rival made claim {CLAIM} in the middle of the swap"),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!("the fence stood, but claim {CLAIM} was not refused by it: {}", status.message)
        }
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(other) => Err(other.into()),
    }
}

/// A claim in this namespace names the volume of another tenant. A run must neither use nor change it.
async fn foreign_volume(stage: &Stage, tenant: &Stage) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(stage.place.client.clone());
    let theirs = tenant
        .get::<PersistentVolumeClaim>(CLAIM)
        .await?
        .spec
        .and_then(|s| s.volume_name)
        .context("no volume")?;
    let before = volumes.get(&theirs).await?;

    // The claim is made anew, by its owner, so that it names the other tenant's volume.
    stage.kubectl(&["scale", "statefulset", CHROMADB, "--replicas=0"]).await?;
    let claims = stage.api::<PersistentVolumeClaim>();
    match claims.delete(CLAIM, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other?),
    }
    wait::object(&claims, CLAIM, "the claim to be gone", PATIENCE, |c| Ok(c.is_none().then_some(()))).await?;
    let thief: Value = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": theirs, "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": before.spec.as_ref().and_then(|s| s.storage_class_name.clone())}});
    stage.apply(&[thief]).await?;
    stage.apply(&[manifests::run("steal", &stage.namespace)]).await?;
    let run = stage.ended("steal").await?;
    let status = run.status.unwrap_or_default();
    ensure!(status.phase == Some(RunPhase::Failed), "a run with a foreign volume is {:?}", status.phase);
    let failed = wait::condition(&status.conditions, "Failed").context("no condition Failed")?;
    ensure!(failed.message.contains(CLAIM), "the message does not name the claim: {}", failed.message);
    stage.say(format!("a claim on another tenant's volume: {}", failed.message));

    let after = volumes.get(&theirs).await?;
    ensure!(
        after.resource_version() == before.resource_version(),
        "the other tenant's volume was touched: {after:?}"
    );
    tenant.chromadb_ready().await?;
    Ok(())
}
