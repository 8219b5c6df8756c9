//! A DryRun shows the plan and changes nothing: neither in the namespace nor in the bucket.

use anyhow::{Context, Result, ensure};
use crds::run::{RunPhase, StepPhase};
use futures::FutureExt;
use serde_json::json;

use super::loss::Written;
use crate::drill::quiet;
use crate::manifests::{self, CHROMADB};
use crate::runner::Story;
use crate::stage::Stage;
use crate::untouched::versions;

pub const STORY: Story = Story {
    name: "dry-run",
    promise: "a DryRun prints the plan and changes nothing",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    Written::captured(stage, 3, 1).await?;
    // No slot of the schedule may fall between the two looks.
    quiet(stage, CHROMADB).await?;

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
