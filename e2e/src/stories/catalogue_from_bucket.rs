//! The objects are gone, as with their cluster: the repository, its key and its credentials bring back the catalogue, and a run
//! restores from it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::point::RecoveryPointStatus;
use crds::policy::Origin;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository};
use futures::FutureExt;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::loss::{Loss, Written};
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "catalogue-from-bucket",
    promise: "the bucket alone rebuilds the catalogue, and a run restores from what was found",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const HELD: &str = "INC-2041 evidence";

async fn play(stage: &Stage) -> Result<()> {
    // More than one Report holds.
    let written = Written::captured(stage, 6, 7).await?;
    let before = recorded(stage).await?;
    ensure!(before.len() == 7, "{} points were captured", before.len());
    let oldest = before.values().map(|(name, _)| name).min().context("no point")?.clone();
    let hold = json!({"spec": {"hold": {"reason": HELD}}});
    stage.patch::<RecoveryPoint>(&oldest, &hold).await?;
    stage.held_in_the_bucket(&[&stage.get(&oldest).await?]).await?;
    let (one, all) = (DeleteParams::default(), ListParams::default());
    stage.api::<BackupPolicy>().delete(CHROMADB, &one).await?;
    stage.api::<RecoveryRepository>().delete(REPOSITORY, &one).await?;
    stage.api::<RecoveryPoint>().delete_collection(&one, &all).await?;
    wait::answer("the objects to be gone", Duration::from_secs(30), || async {
        ensure!(recorded(stage).await?.is_empty(), "there are points left");
        Ok(())
    })
    .await?;
    stage.say("policy, repository and points are gone; the bucket is there");

    stage.repository().await?;
    let told = wait::reason(
        &stage.api::<RecoveryRepository>(),
        REPOSITORY,
        "CatalogueCurrent",
        "True",
        &["Current"],
    )
    .await?;
    stage.say(told);
    let after = recorded(stage).await?;
    ensure!(
        after.keys().collect::<Vec<_>>() == before.keys().collect::<Vec<_>>(),
        "found {:?} instead of {:?}",
        after.keys(),
        before.keys()
    );
    for (id, (name, status)) in &after {
        let (same_name, known) = &before[id];
        ensure!(name == same_name, "point {id} was {same_name} and is {name}");
        ensure!(status.origin == Some(Origin::Discovered), "{name} says that it is {:?}", status.origin);
        alike(name, known, status)?;
    }
    let held = stage.get::<RecoveryPoint>(&oldest).await?.spec.hold.map(|hold| hold.reason);
    ensure!(held.as_deref() == Some(HELD), "{oldest} was found with the hold {held:?}");
    let usage = stage.get::<RecoveryRepository>(REPOSITORY).await?.status.and_then(|s| s.usage);
    ensure!(usage.context("no usage")?.points == 7, "points are counted twice");

    // The promises are held against what was found: no new capture is needed for that.
    stage.quiet_policy().await?;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "the newest point", PATIENCE, |policy| {
        let status = policy.and_then(|p| p.status.as_ref());
        let newest = status.and_then(|s| s.last_point.as_ref());
        Ok(newest.is_some_and(|last| last.name == written.point.name_any()).then_some(()))
    })
    .await?;
    Loss::inflict(stage).await?;
    let run = written.recovered_by(stage, &manifests::run("recover", &stage.namespace)).await?;
    let chosen = run.status.unwrap_or_default().points;
    ensure!(chosen.iter().any(|p| p.name == written.point.name_any()), "restored {chosen:?}");
    Ok(())
}

/// Name and status of every point, by its id.
async fn recorded(stage: &Stage) -> Result<BTreeMap<String, (String, RecoveryPointStatus)>> {
    let points = stage.api::<RecoveryPoint>().list(&ListParams::default()).await?;
    let named =
        |point: RecoveryPoint| (point.spec.id.clone(), (point.name_any(), point.status.unwrap_or_default()));
    Ok(points.into_iter().map(named).collect())
}

/// What a point says is what it said when it was captured, but for its origin and the collections that a Report left out.
fn alike(name: &str, before: &RecoveryPointStatus, after: &RecoveryPointStatus) -> Result<()> {
    ensure!(before.phase == after.phase, "{name}: phase {:?}", after.phase);
    ensure!(before.consistency_time == after.consistency_time, "{name}: time {:?}", after.consistency_time);
    ensure!(before.digest == after.digest, "{name}: digest {:?}", after.digest);
    ensure!(before.sizes == after.sizes, "{name}: sizes {:?}", after.sizes);
    let content = |status: &RecoveryPointStatus| status.chroma_db.clone().context("no content");
    let (before, after) = (content(before)?, content(after)?);
    ensure!(before == after, "{name}: {after:?} instead of {before:?}");
    Ok(())
}
