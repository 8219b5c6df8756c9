//! An RPO of one minute, held under steady writes by captures in a row; a mover that is killed in between costs none of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::point::PointPhase;
use crds::{BackupPolicy, RecoveryPoint};
use futures::{FutureExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tests::writer::Writer;

use super::{by_cli, content, load};
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "one-minute-rpo",
    promise: "an RPO of one minute is held under writes by one pod, also when that is killed",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const RPO: SignedDuration = SignedDuration::from_secs(60);

async fn play(stage: &Stage) -> Result<()> {
    let (address, _) = tokio::try_join!(stage.chromadb(), stage.repository())?;
    let mut writer = Writer::start(address, load(15)).await?;
    writer.progress(30, Duration::from_secs(60)).await?;
    let mut policy = manifests::policy(CHROMADB, REPOSITORY);
    policy["spec"]["objectives"] = json!({"rpo": "1m"});
    stage.apply(&[policy]).await?;
    first_point(stage).await?;
    let held = hold(stage);
    tokio::pin!(held);
    let played = async {
        until(stage, 2).await?;
        ensure!(jobs(stage).await? == 1, "{} Jobs took two captures", jobs(stage).await?);
        let kill =
            ["delete", "pod", "--selector", "holdfast.dev/policy=chromadb", "--grace-period=0", "--force"];
        stage.kubectl(&kill).await?;
        stage.say("the mover is killed");
        until(stage, 4).await
    };
    tokio::select! {
        broken = &mut held => broken?,
        played = played => played?,
    }
    let suspended = json!({"spec": {"mode": "Suspended"}});
    stage.patch::<BackupPolicy>(CHROMADB, &suspended).await?;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "no capture under way", PATIENCE, |policy| {
        Ok(policy.and_then(|p| p.status.as_ref()).filter(|s| s.active.is_none()).map(drop))
    })
    .await?;
    let ledger = writer.stop().await?;

    let points = available(stage).await?;
    let times: Vec<Timestamp> =
        points.iter().filter_map(|point| point.status.clone()?.consistency_time).collect();
    let gap = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().context("no points")?;
    ensure!(gap <= RPO, "{gap:?} lie between two points");
    let mut waited = Duration::ZERO;
    for point in &points {
        let (from, content) = content(point)?;
        waited = waited.max(ledger.longest_wait(from, content.released_at).unwrap_or_default());
    }
    stage.say(format!("{} points, {gap:?} apart at most; a writer waited {waited:?} at most", points.len()));
    by_cli::restored(stage, points.last().context("no points")?, &ledger).await
}

async fn first_point(stage: &Stage) -> Result<()> {
    wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "RPOMet", "True", &["WithinObjective"]).await?;
    Ok(())
}

/// Fails when the RPO is missed once.
async fn hold(stage: &Stage) -> Result<()> {
    let api = stage.api::<BackupPolicy>();
    let mut stream =
        std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(policy) = stream.try_next().await? {
        let conditions = policy.status.unwrap_or_default().conditions;
        let met = wait::condition(&conditions, "RPOMet").context("no condition")?;
        ensure!(met.status == "True", "{}: {}", met.reason, met.message);
    }
    Ok(())
}

/// Waits until so many points are there.
async fn until(stage: &Stage, points: u32) -> Result<()> {
    let limit = Duration::from_secs(40) * points + PATIENCE;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "more points", limit, |policy| {
        Ok(policy.and_then(|p| p.status.as_ref()).filter(|s| s.points >= points).map(drop))
    })
    .await
}

async fn jobs(stage: &Stage) -> Result<usize> {
    let selector = ListParams::default().labels("holdfast.dev/policy=chromadb");
    Ok(stage.api::<Job>().list(&selector).await?.items.len())
}

/// The Available points, the oldest first.
async fn available(stage: &Stage) -> Result<Vec<RecoveryPoint>> {
    let mut points = stage.api::<RecoveryPoint>().list(&ListParams::default()).await?.items;
    let good =
        |point: &RecoveryPoint| point.status.as_ref().and_then(|s| s.phase) == Some(PointPhase::Available);
    ensure!(points.iter().all(good), "not every point is Available");
    points.sort_by_key(ResourceExt::name_any);
    Ok(points)
}
