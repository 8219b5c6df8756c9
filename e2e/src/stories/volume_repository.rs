//! No bucket at all: points are kept on a disk of one's own, and a recovery takes them from there, also when every object that tells of them is gone.

use anyhow::{Context, Result, ensure};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::loss::{Loss, Written};
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "volume-repository",
    promise: "points on a disk of one's own are captured, found again and restored without any bucket",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const DISK: &str = "emergency-storage";

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.chromadb().await?;
    let pod: Pod = stage.get("chromadb-0").await?;
    let node = pod.spec.and_then(|spec| spec.node_name).context("the server is on no node")?;
    stage.apply(&[claim(&node), manifests::key_secret("repository-key", &stage.key)]).await?;
    armed(stage).await?;
    stage.quiet_policy().await?;
    let written = Written::of(stage, address, 71, 2).await?;
    let known = ids(stage).await?;

    // What was in the cluster is lost, but for the disk and the key.
    let (one, all) = (DeleteParams::default(), ListParams::default());
    stage.api::<BackupPolicy>().delete(CHROMADB, &one).await?;
    stage.api::<RecoveryRepository>().delete(REPOSITORY, &one).await?;
    stage.api::<RecoveryPoint>().delete_collection(&one, &all).await?;
    wait::answer("the objects to be gone", PATIENCE, || async {
        ensure!(ids(stage).await?.is_empty(), "there are points left");
        Ok(())
    })
    .await?;
    armed(stage).await?;
    let repositories = stage.api::<RecoveryRepository>();
    wait::reason(&repositories, REPOSITORY, "CatalogueCurrent", "True", &["Current"]).await?;
    ensure!(ids(stage).await? == known, "the disk holds {known:?}");
    stage.quiet_policy().await?;
    stage.say(format!("{} points were found on the disk", known.len()));

    let loss = Loss::inflict(stage).await?;
    let run = written.recovered_by(stage, &manifests::run("from-disk", &stage.namespace)).await?;
    loss.is_kept_by(stage, &run).await?;
    let secrets = stage.kubectl(&["get", "secret", "--output=name"]).await?;
    ensure!(secrets.trim() == "secret/repository-key", "a bucket's credentials are there: {secrets}");
    Ok(())
}

/// The storage of this cluster is local: a disk of the node on which the database is.
fn claim(node: &str) -> Value {
    let annotations = json!({"volume.kubernetes.io/selected-node": node});
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": DISK, "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

/// A repository on the disk that is Ready.
async fn armed(stage: &Stage) -> Result<RecoveryRepository> {
    let mut made = manifests::repository(REPOSITORY, &stage.place.s3, &stage.prefix);
    if let Some(spec) = made["spec"].as_object_mut() {
        spec.remove("s3");
        spec.insert("volume".to_owned(), json!({"claimRef": {"name": DISK}}));
    }
    stage.apply(&[made]).await?;
    stage.acknowledge(REPOSITORY).await
}

/// Ids of the points that are recorded, in order.
async fn ids(stage: &Stage) -> Result<Vec<String>> {
    let listed = stage.api::<RecoveryPoint>().list(&ListParams::default()).await?;
    let mut ids: Vec<String> =
        listed.iter().map(|point| format!("{} {}", point.name_any(), point.spec.id)).collect();
    ids.sort_unstable();
    Ok(ids)
}
