//! A database that is damaged while it runs: its capture is no recovery point, the newest good one stays the newest, and a recovery
//! takes that.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::point::PointPhase;
use crds::run::QuarantinedVolume;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRun};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tests::writer::Writer;

use super::loss::Written;
use super::{by_cli, load};
use crate::damage;
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "verify-finds-corruption",
    promise: "the capture of a damaged database is quarantined, says what is wrong, and is never recovered from",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let mut writer = Writer::start(address, load(15)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let good = stage.capture(CHROMADB).await?;
    let written = Written { ledger: writer.stop().await?, point: good.clone() };
    damage::overwrite_pages(stage, CLAIM).await?;
    stage.say("the volume is damaged, the server runs");
    stage.request_capture(CHROMADB).await?;
    let bad = quarantined(stage).await?;

    let policies = stage.api::<BackupPolicy>();
    let told =
        wait::reason(&policies, CHROMADB, "LastCaptureSucceeded", "False", &["OfflineCheckFailed"]).await?;
    ensure!(told.contains(&bad.name_any()), "it says: {told}");
    let status = stage.get::<BackupPolicy>(CHROMADB).await?.status.context("no status")?;
    let last = status.last_point.context("no point counts")?;
    ensure!(last.name == good.name_any(), "{} counts as the newest good one", last.name);
    ensure!(status.consecutive_failures == 1, "{} failures in a row", status.consecutive_failures);
    by_hand(stage, &good, &bad).await?;
    stage.say("the command line says so too");

    // Otherwise the run itself has what serves captured before it ends.
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"mode": "Suspended"}})).await?;
    let mut run = manifests::run("recover", &stage.namespace);
    run["spec"]["quarantineFor"] = "1s".into();
    let run = written.recovered_by(stage, &run).await?;
    let conditions = run.status.context("no status")?.conditions;
    let resolved = wait::condition(&conditions, "SourceResolved").context("no condition")?;
    ensure!(resolved.reason == "LatestHealthy", "{}: {}", resolved.reason, resolved.message);
    released(stage).await
}

/// The damaged volume is kept until what serves now was captured, although its time is long over.
async fn released(stage: &Stage) -> Result<()> {
    let runs = stage.api::<RecoveryRun>();
    let first = |run: Option<&RecoveryRun>| -> Option<QuarantinedVolume> {
        run?.status.as_ref()?.quarantine.first().cloned()
    };
    let kept = wait::object(&runs, "recover", "why the volume is kept", PATIENCE, |run| {
        Ok(first(run).filter(|kept| kept.kept_because.is_some()))
    })
    .await?;
    ensure!(kept.kept_because.as_deref().is_some_and(|why| why.contains("no Available point")), "{kept:?}");
    stage.get::<PersistentVolumeClaim>(&kept.claim).await?;
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"mode": "Active"}})).await?;
    stage.armed(CHROMADB).await?;
    stage.capture(CHROMADB).await?;
    wait::object(&runs, "recover", "the volume to be released", PATIENCE, |run| {
        Ok(first(run).filter(|kept| kept.released.is_some()))
    })
    .await?;
    let volumes: Api<PersistentVolume> = Api::all(stage.place.client.clone());
    wait::object(&volumes, &kept.volume, "the volume to be gone", PATIENCE, |volume| {
        Ok(volume.is_none().then_some(()))
    })
    .await?;
    stage.say("the damaged volume went when what serves was captured");
    Ok(())
}

async fn quarantined(stage: &Stage) -> Result<RecoveryPoint> {
    let api = stage.api::<RecoveryPoint>();
    wait::any(&api, "", "a quarantined point", PATIENCE, |point: &RecoveryPoint| {
        let phase = point.status.as_ref().and_then(|status| status.phase);
        Ok((phase == Some(PointPhase::Quarantined)).then(|| point.clone()))
    })
    .await
}

/// Without a cluster: the good point is served as it was recorded, of the other the check says what is wrong.
async fn by_hand(stage: &Stage, good: &RecoveryPoint, bad: &RecoveryPoint) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let chroma = stage.place.chroma.path().to_string_lossy().into_owned();
    for (name, point, passes) in [("good", good, true), ("bad", bad, false)] {
        let target = directory.path().join(name).to_string_lossy().into_owned();
        by_cli::run(stage, &["restore", "--point", &point.spec.id, "--target", &target]).await?;
        let check = ["check", &target, "--level", "serve", "--server", &chroma];
        let expect = ["--expect", &point.spec.id, "--output", "json"];
        let printed = by_cli::attempt(stage, &[&check[..], &expect].concat()).await?;
        let last = printed.out.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).with_context(|| format!("{last}{}", printed.err))?;
        ensure!(
            printed.success == passes && told["passed"] == passes,
            "check of the {name} point says {last}"
        );
        let remedies = told["findings"].as_array().context("no findings")?;
        let named =
            remedies.iter().all(|finding| finding["remedy"].is_string() && finding["file"].is_string());
        ensure!(remedies.is_empty() == passes && named, "it says {last}");
    }
    Ok(())
}
