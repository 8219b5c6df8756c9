//! The main story: protected, lost, recovered, and every number in the report recomputed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::point::PointPhase;
use crds::policy::Origin;
use crds::run::{StepPhase, Verdict};
use crds::{RecoveryPoint, RecoveryRun, Span};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use serde_json::json;
use tests::writer::{Load, Writer};

use super::content;
use super::loss::{Loss, Written};
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "recover-corruption",
    promise: "a destroyed database is recovered to its newest point; the damaged volume is kept as it was",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let written = Written::captured(stage, 2, 2).await?;
    let loss = Loss::inflict(stage).await?;
    let mut run = manifests::run("recover", &stage.namespace);
    run["spec"]["incident"] =
        json!({"detectedAt": loss.declared.to_string(), "summary": "pages overwritten"});
    let run = written.recovered_by(stage, &run).await?;
    recovered_as_planned(&run, &written.point)?;
    measured(&run, &written.point, loss.declared)?;
    quarantined(stage, &run, &loss).await?;
    protected_again(stage, &run).await?;
    writable(stage).await
}

/// Steps, checks, point and conditions.
fn recovered_as_planned(run: &RecoveryRun, point: &RecoveryPoint) -> Result<()> {
    let status = run.status.clone().unwrap_or_default();
    ensure!(status.verdict == Some(Verdict::Passed), "verdict {:?}", status.verdict);
    let chosen: Vec<&str> = status.points.iter().map(|p| p.name.as_str()).collect();
    ensure!(chosen == [point.name_any()], "restored {chosen:?}, the newest is {}", point.name_any());
    ensure!(status.steps.len() >= 10, "steps {:?}", status.steps);
    for step in &status.steps {
        ensure!(
            matches!(step.phase, StepPhase::Done | StepPhase::Skipped),
            "step {} is {:?}",
            step.name,
            step.phase
        );
        ensure!(step.phase != StepPhase::Done || step.end >= step.start, "step {} has no times", step.name);
    }
    let integrity =
        status.steps.iter().find(|s| s.name.starts_with("CheckIntegrity")).context("no CheckIntegrity")?;
    let broken =
        ["chroma.sqlite3", "level0", "malformed", "page"].iter().any(|word| integrity.message.contains(word));
    ensure!(broken, "CheckIntegrity does not say what is broken: {}", integrity.message);
    for check in &status.checks {
        let good = matches!(check.verdict, Verdict::Passed | Verdict::Skipped);
        ensure!(good, "check {}: expected {}, observed {}", check.name, check.expected, check.observed);
    }
    let passed: Vec<&str> =
        status.checks.iter().filter(|c| c.verdict == Verdict::Passed).map(|c| c.name.as_str()).collect();
    for wanted in ["chromadb-responds", "collections-accessible", "counts", "corruption"] {
        ensure!(passed.iter().any(|name| name.ends_with(wanted)), "no check {wanted} among {passed:?}");
    }
    for kind in ["Ready", "Complete", "DataRestored", "ApplicationReady", "Validated", "ObjectivesMet"] {
        let condition =
            wait::condition(&status.conditions, kind).with_context(|| format!("no condition {kind}"))?;
        ensure!(condition.status == "True", "{kind} is {}: {}", condition.status, condition.message);
    }
    Ok(())
}

/// The run captured what it recovered before it ended, and that is what its checklist names.
async fn protected_again(stage: &Stage, run: &RecoveryRun) -> Result<()> {
    let status = run.status.clone().unwrap_or_default();
    let line = status.checks.iter().find(|check| check.name == "backup-functional");
    let line = line.context("no check backup-functional")?;
    let point: RecoveryPoint = stage.get(&line.observed).await?;
    let told = point.status.clone().unwrap_or_default();
    ensure!((told.phase, told.origin) == (Some(PointPhase::Available), Some(Origin::Run)), "{told:?}");
    let validated =
        status.steps.iter().find(|step| step.name == "Validate/chromadb").and_then(|step| step.end);
    ensure!(told.consistency_time > validated, "{} was captured before it was validated", point.name_any());
    Ok(())
}

/// RTO and RPO recomputed from times, and the parts of the RTO added up.
fn measured(run: &RecoveryRun, point: &RecoveryPoint, declared: Timestamp) -> Result<()> {
    let status = run.status.clone().unwrap_or_default();
    let measured = status.measured.first().context("nothing was measured")?;
    let (cut, _) = content(point)?;
    let validate = status
        .steps
        .iter()
        .find(|s| s.name == "Validate/chromadb")
        .and_then(|s| s.end)
        .context("Validate has no end")?;
    let (rpo, rto) = (declared.duration_since(cut), validate.duration_since(declared));
    let shown = |text: &str| -> Result<Span> { text.parse().map_err(|e| anyhow::anyhow!("{e}")) };
    let near = |text: &str, real: jiff::SignedDuration| -> Result<bool> {
        Ok((shown(text)?.to_duration() - real).abs() <= jiff::SignedDuration::from_secs(1))
    };
    let told = measured.rpo.as_ref().context("no RPO was measured")?;
    ensure!(near(told, rpo)?, "RPO {told} in the status, {rpo:?} by the times");
    ensure!(near(&measured.rto, rto)?, "RTO {} in the status, {rto:?} by the times", measured.rto);
    let sum: i64 = measured.breakdown.iter().map(|part| part.millis).sum();
    let real = i64::try_from(rto.as_millis())?;
    ensure!(
        (sum - real).abs() <= 2,
        "the parts add up to {sum} ms, the RTO is {real} ms: {:?}",
        measured.breakdown
    );
    ensure!(
        measured.breakdown.iter().all(|part| part.millis >= 0),
        "a negative part: {:?}",
        measured.breakdown
    );
    let objectives = status.objectives.context("no objectives")?;
    ensure!(objectives.policies.len() == 1, "objectives of {:?}", objectives.policies);
    let display = status.display.unwrap_or_default();
    let both = format!("{}/{}", display.rpo.unwrap_or_default(), display.rto.unwrap_or_default());
    ensure!(both.contains(told) && both.contains(&measured.rto), "the columns show {both}");
    Ok(())
}

/// The damaged volume is kept, for good, and the workload has another one under the same claim.
async fn quarantined(stage: &Stage, run: &RecoveryRun, loss: &Loss) -> Result<()> {
    let kept = loss.is_kept_by(stage, run).await?;
    let volumes: Api<PersistentVolume> = Api::all(stage.place.client.clone());
    let volume = volumes.get(&kept.volume).await?;
    let policy = volume.spec.and_then(|s| s.persistent_volume_reclaim_policy);
    ensure!(
        policy.as_deref() == Some("Retain"),
        "the damaged volume is {policy:?}: its claim's deletion would destroy it"
    );
    let after: PersistentVolumeClaim = stage.get(CLAIM).await?;
    let new = after.spec.as_ref().and_then(|s| s.volume_name.clone());
    ensure!(new.is_some() && new != Some(kept.volume), "claim {CLAIM} holds {new:?}");
    ensure!(
        after.labels().get("app") == loss.claim.labels().get("app"),
        "the claim lost its labels: {:?}",
        after.labels()
    );
    let set: StatefulSet = stage.get(CHROMADB).await?;
    ensure!(set.spec.and_then(|s| s.replicas) == Some(1), "the StatefulSet was not scaled back");
    Ok(())
}

/// Applications can go on.
async fn writable(stage: &Stage) -> Result<()> {
    let address = stage.chromadb_ready().await?;
    let mut load = Load::synthetic(99, 1, 64);
    load.collections = load.collections.into_values().map(|pool| ("after".to_owned(), pool)).collect();
    let mut writer = Writer::start(address, load).await?;
    writer.progress(20, Duration::from_secs(60)).await?;
    writer.stop().await?;
    let point = stage.capture(CHROMADB).await?;
    let (_, content) = content(&point)?;
    ensure!(content.collection_count == 4, "the next capture holds {} collections", content.collection_count);
    Ok(())
}
