//! A DryRun shows the plan and changes nothing: neither in the namespace nor in the bucket.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use crds::run::{RunPhase, StepPhase};
use futures::FutureExt;
use serde_json::{Value, json};

use super::loss::Written;
use crate::manifests::{self, CHROMADB};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "dry-run",
    promise: "a DryRun prints the plan and changes nothing",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    Written::captured(stage, 3, 1).await?;
    // No slot of the schedule may fall between the two looks.
    let suspend = json!({"spec": {"mode": "Suspended"}});
    stage.patch::<BackupPolicy>(CHROMADB, &suspend).await?;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "a Suspended policy", PATIENCE, |policy| {
        let policy = policy.context("the policy is gone")?;
        let status = policy.status.clone().unwrap_or_default();
        let seen = status.observed_generation == policy.metadata.generation && status.active.is_none();
        Ok((seen && status.mode == Some(crds::policy::PolicyMode::Suspended)).then_some(()))
    })
    .await?;

    let bucket = stage.bucket().await?;
    let (objects, listing) = (versions(stage).await?, bucket.listing().await?);
    ensure!(
        objects.len() > 8 && listing.len() > 3,
        "{} objects and {} in the bucket",
        objects.len(),
        listing.len()
    );
    let mut run = manifests::run("look", &stage.namespace);
    run["spec"]["mode"] = json!("DryRun");
    stage.apply(&[run]).await?;
    let run = stage.ended("look").await?;
    let status = run.status.unwrap_or_default();
    ensure!(status.phase == Some(RunPhase::Planned), "phase {:?}: {:?}", status.phase, status.conditions);
    let plan = status.plan.context("no plan")?;
    ensure!(plan.steps as usize == status.steps.len() && plan.steps >= 10, "{} steps planned", plan.steps);
    ensure!(
        status.steps.iter().all(|s| s.phase == StepPhase::Waiting && s.start.is_none()),
        "a step was begun"
    );
    ensure!(status.steps.iter().all(|s| !s.message.is_empty()), "a step says nothing: {:?}", status.steps);
    let swap = status.steps.iter().find(|s| s.name.starts_with("Swap")).context("no Swap")?;
    ensure!(swap.message.contains(manifests::CLAIM), "Swap names no claim: {}", swap.message);

    let after = versions(stage).await?;
    let changed: Vec<&String> =
        objects.keys().chain(after.keys()).filter(|name| objects.get(*name) != after.get(*name)).collect();
    ensure!(changed.is_empty(), "a DryRun changed {changed:?}");
    ensure!(bucket.listing().await? == listing, "a DryRun changed the bucket");
    Ok(())
}

/// uid and resourceVersion of everything in the namespace, whatever kinds the cluster has, and of its volumes; without the
/// runs and without the events about them.
async fn versions(stage: &Stage) -> Result<BTreeMap<String, String>> {
    let kinds = stage.kubectl(&["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("recoveryruns.")).collect();
    let listed = stage.kubectl(&["get", &kinds.join(","), "--ignore-not-found", "--output=json"]).await?;
    let volumes = stage.kubectl(&["get", "persistentvolumes", "--output=json"]).await?;
    let mut versions = BTreeMap::new();
    for text in [listed, volumes] {
        let value: Value = serde_json::from_str(&text)?;
        for item in value["items"].as_array().into_iter().flatten() {
            let (kind, meta) = (item["kind"].as_str().unwrap_or_default(), &item["metadata"]);
            let about = ["involvedObject", "regarding"].iter().any(|key| item[*key]["kind"] == "RecoveryRun");
            let foreign = kind == "PersistentVolume"
                && item["spec"]["claimRef"]["namespace"] != stage.namespace.as_str();
            // metrics.k8s.io and its like have no versions: they are measurements, not objects.
            let Some(version) = meta["resourceVersion"].as_str().filter(|_| !about && !foreign) else {
                continue;
            };
            let name = format!("{kind}/{}", meta["name"].as_str().unwrap_or_default());
            versions.insert(name, format!("{} {version}", meta["uid"].as_str().unwrap_or_default()));
        }
    }
    Ok(versions)
}
