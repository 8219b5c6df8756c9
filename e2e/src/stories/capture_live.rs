//! A capture while applications write: it is consistent, it says what it holds, and the CLI alone brings it back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::point::PointPhase;
use crds::policy::Origin;
use crds::{BackupPolicy, RecoveryPoint};
use futures::FutureExt;
use kube::ResourceExt;
use kube::api::ListParams;
use tests::writer::Writer;

use super::{by_cli, content, load};
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "capture-live",
    promise: "captures under load are consistent, described, and restored by the CLI alone",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.chromadb().await?;
    stage.repository().await?;
    stage.policy().await?;
    let mut writer = Writer::start(address, load(1)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let first = stage.capture(CHROMADB).await?;
    writer.progress(30, Duration::from_secs(60)).await?;
    let second = stage.capture(CHROMADB).await?;
    writer.progress(10, Duration::from_secs(60)).await?;
    described(stage, &second).await?;
    acts_once(stage).await?;
    let ledger = writer.stop().await?;
    for point in [&first, &second] {
        let (from, content) = content(point)?;
        let waited = ledger.longest_wait(from, content.released_at);
        stage.say(format!("{}: held {}, a writer waited {waited:?}", point.name_any(), content.writer_pause));
        let waited = waited.context("no writer was writing during the capture: this proves nothing")?;
        let held = content.released_at.duration_since(from);
        ensure!(
            held <= jiff::SignedDuration::from_secs(5),
            "writers were held {held:?}, longer than maxWriterPause"
        );
        // Beyond the hold it waits for its turn on a busy machine, but no longer than an application bears.
        ensure!(waited < Duration::from_secs(20), "a writer waited {waited:?}");
    }
    by_cli::restored(stage, &second, &ledger).await
}

/// The status says what there is to know, and the schedule was derived from the RPO.
async fn described(stage: &Stage, point: &RecoveryPoint) -> Result<()> {
    let status = point.status.clone().unwrap_or_default();
    let sizes = status.sizes.context("the point has no sizes")?;
    ensure!(status.phase == Some(PointPhase::Available), "phase {:?}", status.phase);
    ensure!(status.origin == Some(Origin::Requested), "origin {:?}", status.origin);
    ensure!(sizes.bytes > 0 && sizes.new_bytes > 0 && sizes.files > 5, "sizes {sizes:?}");
    let (time, content) = content(point)?;
    ensure!(content.collections.len() == 3 && content.released_at >= time, "content {content:?}");
    ensure!(
        content.collections.iter().all(|c| c.dimension == Some(64)),
        "dimensions {:?}",
        content.collections
    );
    let policy: BackupPolicy = wait::object(
        &stage.api(),
        CHROMADB,
        "the policy to name the point",
        Duration::from_secs(20),
        |p: Option<&BackupPolicy>| {
            let last = p.and_then(|p| p.status.as_ref()).and_then(|s| s.last_point.as_ref());
            Ok(p.filter(|_| last.is_some_and(|l| l.name == point.name_any())).cloned())
        },
    )
    .await?;
    let status = policy.status.unwrap_or_default();
    let resolved = status.resolved.context("nothing is resolved")?;
    ensure!(resolved.schedule.cron == "*/30 * * * *", "derived from an RPO of 1h: {:?}", resolved.schedule);
    ensure!(resolved.claims == [crate::manifests::CLAIM], "claims {:?}", resolved.claims);
    ensure!(resolved.service.as_deref() == Some(CHROMADB), "service {:?}", resolved.service);
    for kind in ["Ready", "RepositoryReady", "SourceReady", "LastCaptureSucceeded", "RPOMet"] {
        let condition =
            wait::condition(&status.conditions, kind).with_context(|| format!("no condition {kind}"))?;
        ensure!(condition.status == "True", "{kind} is {}: {}", condition.status, condition.message);
    }
    let table = stage.kubectl(&["get", "hfpolicy,hfpoint,hfrepo"]).await?;
    ensure!(table.contains("Available") && table.contains(&point.name_any()), "kubectl get shows {table}");
    Ok(())
}

/// The same time again asks for nothing; only a later one does.
async fn acts_once(stage: &Stage) -> Result<()> {
    let before = requested(stage).await?;
    let asked =
        stage.get::<BackupPolicy>(CHROMADB).await?.annotations()[crds::reference::REQUESTED_AT].clone();
    let annotation = |value: &str| format!("{}={value}", crds::reference::REQUESTED_AT);
    for value in ["2020-01-01T00:00:00Z", &asked] {
        stage.kubectl(&["annotate", "--overwrite", "hfpolicy", CHROMADB, &annotation(value)]).await?;
    }
    // A later one, so that there is something to wait for that comes after what the repeated one might have started.
    stage.capture(CHROMADB).await?;
    let after = requested(stage).await?;
    ensure!(after == before + 1, "{before} requested points, then one more request, now {after}");
    Ok(())
}

async fn requested(stage: &Stage) -> Result<usize> {
    let points = stage.api::<RecoveryPoint>().list(&ListParams::default()).await?;
    Ok(points.iter().filter(|p| p.status.as_ref().and_then(|s| s.origin) == Some(Origin::Requested)).count())
}
