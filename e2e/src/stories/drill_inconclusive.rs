//! Where nothing enforces NetworkPolicies a rehearsal finds that out, starts nothing, and is neither passed nor failed.

use anyhow::{Context, Result, ensure};
use crds::run::{Isolation, Verdict};
use futures::FutureExt;
use serde_json::json;

use super::drill_database::{quiet, rehearsal, swept};
use super::loss::Written;
use crate::runner::Story;
use crate::stage::Stage;
use crate::untouched::Before;
use crate::wait;

pub const STORY: Story = Story {
    name: "drill-inconclusive",
    promise: "a rehearsal whose sandbox is not isolated starts no workload and is Inconclusive, and nobody can override that",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    Written::captured(stage, 72, 1).await?;
    quiet(stage).await?;
    let before = Before::seen(stage).await?;
    stage.apply(&[rehearsal("open", json!({}))]).await?;
    let run = stage.ended("open").await?;
    let status = run.status.context("no status")?;
    ensure!(status.verdict == Some(Verdict::Inconclusive), "verdict {:?}", status.verdict);
    let sandbox = status.sandbox.as_ref().context("no sandbox")?;
    ensure!(sandbox.control && sandbox.isolation == Some(Isolation::NotEnforced), "{sandbox:?}");
    let failed = wait::condition(&status.conditions, "Failed").context("no condition Failed")?;
    ensure!(failed.reason == "IsolationNotEnforced", "{failed:?}");
    ensure!(
        failed.message.contains("still connects") && failed.message.contains("Production is not touched"),
        "{failed:?}"
    );
    ensure!(
        status.steps.iter().all(|step| !step.name.starts_with("Objects/") || step.start.is_none()),
        "{:?}",
        status.steps
    );
    swept(stage, "open").await?;
    before.is_untouched(stage).await
}
