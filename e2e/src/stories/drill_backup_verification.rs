//! The weekly drill: points are restored beside everything and held against their records, and what somebody has damaged in the bucket is found before
//! the day on which it is needed. What runs is not touched.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::drill::DrillResult;
use crds::point::PointPhase;
use crds::reference::{DRILL_LABEL, REQUESTED_AT};
use crds::run::{RunPhase, Verdict};
use crds::{BackupPolicy, DrDrill, RecoveryPoint, RecoveryRun};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use tests::writer::Writer;

use super::load;
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "drill-backup-verification",
    promise: "a drill verifies points without touching anything, and finds what was damaged in the bucket before it is needed",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const DRILL: &str = "weekly";
/// How long a drill may take here.
const THROUGH: Duration = Duration::from_secs(240);

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let mut writer = Writer::start(address, load(23)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let good = stage.capture(CHROMADB).await?;
    let before: BTreeSet<String> = stage.bucket().await?.listing().await?.into_keys().collect();
    writer.progress(30, Duration::from_secs(60)).await?;
    let bad = stage.capture(CHROMADB).await?;
    drop(writer.stop().await?);
    let runs_before = running(stage).await?;

    // No slot for years: it runs when it is asked to.
    stage
        .apply(&[
            json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "DrDrill", "metadata": {"name": DRILL},
            "spec": {"test": "BackupVerification", "schedule": {"cron": "0 0 29 2 *"}, "deadline": "30m"}}),
        ])
        .await?;
    let drills = stage.api::<DrDrill>();
    wait::reason(&drills, DRILL, "Ready", "True", &["Armed"]).await?;
    let none = stage.api::<RecoveryRun>().list(&ListParams::default()).await?.items;
    ensure!(none.is_empty(), "a drill runs that nobody asked for");

    let result = asked(stage).await?;
    ensure!(result.verdict == Verdict::Passed, "it came to {result:?}");
    ensure!(result.point.as_deref() == Some("2 points"), "it verified {:?}", result.point);
    wait::reason(&drills, DRILL, "LastDrillPassed", "True", &["Passed"]).await?;
    wait::reason(&drills, DRILL, "EvidenceFresh", "True", &["Fresh"]).await?;
    for point in [&good, &bad] {
        verified(stage, point, "True", Verdict::Passed).await?;
    }
    wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "Verified", "True", &["Passed"]).await?;
    stage.say("both points are verified, here and in the bucket");
    ensure!(running(stage).await? == runs_before, "the drill has touched what runs");

    let bucket = stage.bucket().await?;
    let of_bad = bucket.listing().await?.into_keys().filter(|name| !before.contains(name));
    bucket.damage_largest(of_bad.filter(|name| name.starts_with("packs/")).collect()).await?;
    stage.say("somebody damaged an object that only the newest point needs");
    let result = asked(stage).await?;
    ensure!(
        (result.verdict, result.reason.as_str()) == (Verdict::Failed, "VerificationFailed"),
        "it came to {result:?}"
    );
    ensure!(result.message.contains(&bad.name_any()), "it says: {}", result.message);
    wait::reason(&drills, DRILL, "LastDrillPassed", "False", &["RestoreFailed"]).await?;
    wait::reason(&drills, DRILL, "Ready", "True", &["Armed"]).await?;
    wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "Verified", "False", &["Failed"]).await?;
    verified(stage, &bad, "False", Verdict::Failed).await?;
    ensure!(running(stage).await? == runs_before, "the drill has touched what runs");
    passed_over(stage, &good, &bad).await
}

/// Asks for the drill as a user does, and waits for what comes out.
async fn asked(stage: &Stage) -> Result<DrillResult> {
    let now = Timestamp::now();
    let annotation = json!({"metadata": {"annotations": {REQUESTED_AT: now.to_string()}}});
    stage.patch::<DrDrill>(DRILL, &annotation).await?;
    let whole = Timestamp::from_second(now.as_second())?;
    let result = wait::object(&stage.api::<DrDrill>(), DRILL, "the result of the drill", THROUGH, |drill| {
        let status = drill.and_then(|drill| drill.status.as_ref());
        let newest = status.and_then(|status| status.results.first());
        Ok(newest.filter(|result| result.started >= whole).cloned())
    })
    .await?;
    let run = stage.get::<RecoveryRun>(&result.run).await?;
    ensure!(run.labels().get(DRILL_LABEL).is_some_and(|drill| drill == DRILL), "its run has no label");
    stage.say(format!("{}: {:?}", result.run, result.verdict));
    Ok(result)
}

/// What a point says of its verification, once the bucket knows it.
async fn verified(stage: &Stage, point: &RecoveryPoint, status: &str, verdict: Verdict) -> Result<()> {
    let points = stage.api::<RecoveryPoint>();
    let name = point.name_any();
    wait::object(&points, &name, "its verification in the bucket", PATIENCE, |seen| {
        let known = seen.and_then(|point| point.status.as_ref()?.verification.as_ref());
        Ok(known.filter(|known| known.verdict == verdict && known.recorded).map(|_| ()))
    })
    .await?;
    let conditions = stage.get::<RecoveryPoint>(&name).await?.status.context("no status")?.conditions;
    let told = wait::condition(&conditions, "Verified").context("no condition")?;
    ensure!(told.status == status, "point {name} says {told:?}");
    Ok(())
}

/// What nobody may have touched: the pods that run, and the volume of the database.
async fn running(stage: &Stage) -> Result<BTreeSet<String>> {
    let pods = stage.api::<Pod>().list(&ListParams::default().labels("app=chromadb")).await?.items;
    let claim = stage.get::<PersistentVolumeClaim>(CLAIM).await?;
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).context("no volume")?;
    let uids = pods.iter().filter_map(ResourceExt::uid).chain(claim.uid());
    Ok(uids.chain([volume]).collect())
}

/// A recovery would take the older point, and the command line refuses the damaged one.
async fn passed_over(stage: &Stage, good: &RecoveryPoint, bad: &RecoveryPoint) -> Result<()> {
    let phase = stage.get::<RecoveryPoint>(&bad.name_any()).await?.status.and_then(|status| status.phase);
    ensure!(phase == Some(PointPhase::Quarantined), "the damaged point is {phase:?}");
    let mut run = manifests::run("look", &stage.namespace);
    run["spec"]["mode"] = "DryRun".into();
    stage.apply(&[run]).await?;
    let planned = stage.ended("look").await?.status.context("no status")?;
    ensure!(planned.phase == Some(RunPhase::Planned), "the plan is {:?}", planned.phase);
    let select =
        planned.steps.iter().find(|step| step.name.starts_with("SelectPoint/")).context("no step")?;
    ensure!(select.message.contains(&good.name_any()), "it would restore: {}", select.message);
    let target = tempfile::tempdir()?;
    let target = target.path().join("bad").to_string_lossy().into_owned();
    let by_hand =
        super::by_cli::attempt(stage, &["restore", "--point", &bad.spec.id, "--target", &target]).await?;
    ensure!(!by_hand.success && by_hand.err.contains("VerificationFailed"), "the CLI says: {}", by_hand.err);
    stage.say("a recovery takes the older one, and the command line refuses the damaged one");
    Ok(())
}
