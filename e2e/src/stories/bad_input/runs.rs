//! Runs that must not begin, and two that want the same volume.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::run::RunPhase;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::says;
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::stage::Stage;
use crate::stories::loss::Written;
use crate::wait;

/// What never gets into the cluster.
pub async fn refused(stage: &Stage) -> Result<()> {
    let good = manifests::run("never", &stage.namespace);
    let mut unconfirmed = good.clone();
    unconfirmed["spec"]["target"]["inPlace"] = json!({});
    says(&stage.refused(&unconfirmed).await?, &["spec.target.inPlace.confirm", "Required"])?;
    let mut wrong = good.clone();
    wrong["spec"]["target"]["inPlace"]["confirm"] = json!("production");
    says(
        &stage.refused(&wrong).await?,
        &["spec.target.inPlace.confirm", &stage.namespace, "replaces the volumes"],
    )?;
    let mut unknown = good.clone();
    unknown["spec"]["forse"] = json!(true);
    says(&stage.refused(&unknown).await?, &["unknown field", "spec.forse"])?;
    let mut two = good.clone();
    two["spec"]["point"] = json!({"latest": {}, "named": {"name": "x"}});
    says(&stage.refused(&two).await?, &["spec.point", "exactly one"])?;
    let mut scenario = good;
    scenario["spec"]["scenario"] = json!("Flood");
    says(&stage.refused(&scenario).await?, &["spec.scenario", "DatabaseCorruption"])
}

/// Points that can't be restored, and two runs at once.
pub async fn points_and_rivals(outer: &Stage) -> Result<()> {
    // A stage of its own: the policies of the outer one are broken, and a run concerns all of a namespace.
    let stage = Stage::set(&outer.place, &format!("{}-runs", outer.story)).await?;
    let told = told(&stage).await;
    if told.is_err() {
        crate::evidence::print(&stage.place, &stage.namespace).await;
    }
    let struck = stage.strike().await;
    told.and(struck)
}

async fn told(stage: &Stage) -> Result<()> {
    let point = Written::captured(stage, 8, 1).await?.point;
    let claim = stage.get::<PersistentVolumeClaim>(CLAIM).await?.uid();
    let generation = stage.get::<StatefulSet>(CHROMADB).await?.metadata.generation;
    // A point of another policy, and one whose record is not complete: as a user might write them.
    let point_of = |name: &str, policy: &str| {
        json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": name},
            "spec": {"policy": policy, "repositoryRef": {"name": "primary"}, "id": point.spec.id}})
    };
    stage.apply(&[point_of("elsewhere", "another-policy"), point_of("incomplete", CHROMADB)]).await?;
    let named = |run: &str, point: &str| {
        let mut made = manifests::run(run, &stage.namespace);
        made["spec"]["point"] = json!({"named": {"name": point}});
        made
    };
    let mut policies = manifests::run("no-policy", &stage.namespace);
    policies["spec"]["policies"] = json!([{"name": "there-is-none"}]);
    let mut class = manifests::run("no-class", &stage.namespace);
    class["spec"]["target"]["inPlace"]["storageClassName"] = json!("there-is-none");
    stage
        .apply(&[
            class,
            named("no-point", "there-is-none"),
            named("elsewhere", "elsewhere"),
            named("incomplete", "incomplete"),
            policies,
        ])
        .await?;
    for (run, reason, words) in [
        ("no-point", "PointNotFound", ["there-is-none", "kubectl get hfpoint"]),
        ("elsewhere", "PointNotFound", ["another-policy", CHROMADB]),
        ("incomplete", "PointNotFound", ["incomplete", "not Available"]),
        ("no-policy", "InvalidSpec", ["there-is-none", "new run"]),
        ("no-class", "InvalidSpec", ["there-is-none", "there are: "]),
    ] {
        let ended = stage.ended(run).await?.status.unwrap_or_default();
        ensure!(ended.phase == Some(RunPhase::Failed), "run {run} is {:?}", ended.phase);
        let failed = wait::condition(&ended.conditions, "Failed").context("no condition Failed")?;
        ensure!(failed.reason == reason, "run {run}: {} {}", failed.reason, failed.message);
        says(&failed.message, &words)?;
    }
    ensure!(
        stage.get::<PersistentVolumeClaim>(CLAIM).await?.uid() == claim,
        "a refused run replaced the claim"
    );
    ensure!(
        stage.get::<StatefulSet>(CHROMADB).await?.metadata.generation == generation,
        "a refused run stopped the workload"
    );
    stage.say("points that are not there, not whole, or of somebody else: refused, nothing touched");
    rivals(stage).await
}

/// Of two runs on one volume the later waits, says for what, and then goes on.
async fn rivals(stage: &Stage) -> Result<()> {
    let runs: [Value; 2] =
        [manifests::run("a-first", &stage.namespace), manifests::run("b-second", &stage.namespace)];
    stage.apply(&runs).await?;
    let waits = wait::object(
        &stage.api::<RecoveryRun>(),
        "b-second",
        "WaitingForRun",
        Duration::from_secs(60),
        |run| {
            let status = run.and_then(|r| r.status.clone()).unwrap_or_default();
            Ok(wait::condition(&status.conditions, "Reconciling")
                .filter(|c| c.reason == "WaitingForRun")
                .map(|c| c.message.clone()))
        },
    )
    .await?;
    says(&waits, &["a-first", CHROMADB])?;
    let first = stage.succeeded("a-first").await?.status.unwrap_or_default();
    let second = stage.succeeded("b-second").await?.status.unwrap_or_default();
    let ended = first.steps.last().and_then(|s| s.end).context("no end")?;
    let began = second.steps.first().and_then(|s| s.start).context("no start")?;
    ensure!(began >= ended, "the second run began at {began}, the first ended at {ended}");
    let claims: Vec<&String> = first.quarantine.iter().chain(&second.quarantine).map(|q| &q.claim).collect();
    ensure!(claims.len() == 2 && claims[0] != claims[1], "quarantine of both: {claims:?}");
    stage.say(format!("two runs at once: {waits}"));
    Ok(())
}
