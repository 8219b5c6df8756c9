//! Where nothing enforces NetworkPolicies a drill finds that out, starts nothing, and is neither passed nor failed.

use anyhow::{Context, Result, ensure};
use crds::run::{Isolation, Verdict};
use futures::FutureExt;
use serde_json::json;

use super::loss::Written;
use crate::drill::{drill, execute, quiet, swept};
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::Stage;
use crate::untouched::Before;
use crate::wait;

pub const STORY: Story = Story {
    name: "drill-inconclusive",
    promise: "a drill whose sandbox is not isolated starts no workload and is Inconclusive, and nobody can override that",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    Written::captured(stage, 72, 1).await?;
    quiet(stage, CHROMADB).await?;
    let before = Before::seen(stage).await?;
    let done = execute(stage, &drill("open", "DatabaseRecovery", json!({}))).await?;
    done.is(Verdict::Inconclusive, "IsolationNotEnforced")?;
    let sandbox = done.run.sandbox.as_ref().context("no sandbox")?;
    ensure!(sandbox.control && sandbox.isolation == Some(Isolation::NotEnforced), "{sandbox:?}");
    let message = &done.result.message;
    ensure!(message.contains("still connects") && message.contains("Production is not touched"), "{message}");
    let begun = done.run.steps.iter().find(|step| step.name.starts_with("Objects/") && step.start.is_some());
    ensure!(begun.is_none(), "{begun:?}");
    let isolated =
        wait::condition(&done.drill.conditions, "SandboxIsolated").context("no SandboxIsolated")?;
    ensure!((isolated.status.as_str(), isolated.reason.as_str()) == ("False", "NotEnforced"), "{isolated:?}");
    swept(stage, &done.result.run).await?;
    before.is_untouched(stage).await
}
