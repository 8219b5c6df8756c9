//! What no rule keeps goes from the bucket and from the cluster; what is on hold stays, and what is deleted by hand goes where that was
//! asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use crds::reference::{MAINTENANCE_REQUESTED_AT, REQUESTED_AT};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository};
use futures::FutureExt;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tests::writer::Writer;

use super::{by_cli, load};
use crate::manifests::{CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "retention-and-pin",
    promise: "retention removes what no rule keeps, never what is on hold; deleting a point removes it where asked",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"retention": {"last": 2}}})).await?;
    let mut writer = Writer::start(address, load(7)).await?;
    let mut points = Vec::new();
    for _ in 0..4 {
        writer.progress(20, Duration::from_secs(60)).await?;
        points.push(stage.capture(CHROMADB).await?);
    }
    let ledger = writer.stop().await?;
    let hold = json!({"spec": {"hold": {"reason": "INC-2041 evidence"}}});
    stage.patch::<RecoveryPoint>(&points[0].name_any(), &hold).await?;
    stage.held_in_the_bucket(&[&points[0]]).await?;

    maintained(stage).await?;
    is_left(stage, &[&points[0], &points[2], &points[3]]).await?;
    // Without the cluster nobody removes it either.
    let by_hand = by_cli::attempt(stage, &["prune", "--remove", &points[0].spec.id]).await?;
    ensure!(!by_hand.success && by_hand.err.contains("INC-2041"), "the CLI says: {}", by_hand.err);
    let told =
        wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "RetentionEnforced", "True", &["Enforced"])
            .await?;
    ensure!(told.contains("1 points removed") && told.contains("3 left"), "RetentionEnforced says: {told}");
    // What was kept is whole, though what it shared with others went through a prune.
    by_cli::run(stage, &["verify", "--level", "full"]).await?;
    by_cli::restored(stage, &points[2], &ledger).await?;

    let release = json!({"spec": {"hold": null}});
    stage.patch::<RecoveryPoint>(&points[0].name_any(), &release).await?;
    stage.held_in_the_bucket(&[]).await?;
    maintained(stage).await?;
    is_left(stage, &[&points[2], &points[3]]).await?;
    deleted_by_hand(stage, &points[2], &points[3]).await
}

/// A point goes with its object where that was asked for; the newest one stays, and its object does not hang.
async fn deleted_by_hand(stage: &Stage, old: &RecoveryPoint, newest: &RecoveryPoint) -> Result<()> {
    let points = stage.api::<RecoveryPoint>();
    for point in [old, newest] {
        let name = point.name_any();
        stage.patch::<RecoveryPoint>(&name, &json!({"spec": {"deletionPolicy": "Delete"}})).await?;
        wait::object(&points, &name, "the finalizer", PATIENCE, |seen| {
            Ok(seen.is_some_and(|point| !point.finalizers().is_empty()).then_some(()))
        })
        .await?;
        stage.kubectl(&["delete", "--wait=false", "hfpoint", &name]).await?;
        wait::object(&points, &name, "the object to be gone", PATIENCE, |seen| {
            let another = seen.is_some_and(|seen| seen.uid() != point.uid());
            Ok((seen.is_none() || another).then_some(()))
        })
        .await?;
        stage.say(format!("{name} was deleted"));
    }
    let events = stage.kubectl(&["get", "events", "--field-selector", "reason=PointKept"]).await?;
    ensure!(events.contains(&newest.name_any()) && !events.contains(&old.name_any()), "told: {events}");
    // It is recorded again.
    let probe = json!({"metadata": {"annotations": {REQUESTED_AT: Timestamp::now().to_string()}}});
    stage.patch::<RecoveryRepository>(REPOSITORY, &probe).await?;
    wait::object(&points, &newest.name_any(), "the point to be found again", PATIENCE, |seen| {
        Ok(seen.filter(|seen| seen.uid() != newest.uid() && seen.status.is_some()).map(drop))
    })
    .await?;
    is_left(stage, &[newest]).await
}

/// Asks for maintenance as the user does; waits until it is through.
pub(super) async fn maintained(stage: &Stage) -> Result<()> {
    let asked = Timestamp::now();
    let change = json!({"metadata": {"annotations": {MAINTENANCE_REQUESTED_AT: asked.to_string()}}});
    stage.patch::<RecoveryRepository>(REPOSITORY, &change).await?;
    let api = stage.api::<RecoveryRepository>();
    let told = wait::object(&api, REPOSITORY, "the end of maintenance", PATIENCE, |seen| {
        let Some(status) = seen.and_then(|r| r.status.as_ref()) else { return Ok(None) };
        let round = status.maintenance.as_ref().filter(|round| round.asked.is_some_and(|a| a >= asked));
        let ended = round.is_some_and(|round| round.finished.is_some());
        let condition = wait::condition(&status.conditions, "MaintenanceHealthy");
        if let Some(bad) = condition.filter(|c| ended && c.status != "True") {
            anyhow::bail!("maintenance failed: {}", bad.message);
        }
        Ok(condition.filter(|_| ended).map(|c| c.message.clone()))
    })
    .await?;
    stage.say(told);
    Ok(())
}

/// These points and no others are in the bucket, in the cluster and in the policy's count.
pub(super) async fn is_left(stage: &Stage, expected: &[&RecoveryPoint]) -> Result<()> {
    let ids = |points: &mut dyn Iterator<Item = String>| points.collect::<BTreeSet<String>>();
    let wanted = ids(&mut expected.iter().map(|point| point.spec.id.clone()));
    let objects = stage.api::<RecoveryPoint>().list(&ListParams::default()).await?;
    let recorded = ids(&mut objects.iter().map(|point| point.spec.id.clone()));
    ensure!(recorded == wanted, "RecoveryPoints {recorded:?} instead of {wanted:?}");
    let printed = by_cli::run(stage, &["points", "--output", "json"]).await?;
    let last = printed.lines().last().unwrap_or_default();
    let listed: Value = serde_json::from_str(last)?;
    let listed = listed["points"].as_array().cloned().unwrap_or_default();
    let stored = ids(&mut listed.iter().filter_map(|p| p["point"].as_str().map(str::to_owned)));
    ensure!(stored == wanted, "the repository holds {stored:?} instead of {wanted:?}: {last}");
    let count = u32::try_from(expected.len())?;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "the count of points", PATIENCE, |policy| {
        Ok(policy.and_then(|p| p.status.as_ref()).is_some_and(|s| s.points == count).then_some(()))
    })
    .await
}
