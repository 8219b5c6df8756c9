//! A database recovery is rehearsed in a sandbox: once well, and once with an expectation that the data does not meet, whose sandbox is kept. What is
//! served there is held against the truth, and production is not touched by either.

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use crds::run::{Isolation, RecoveryRunStatus, SandboxState, Verdict};
use futures::FutureExt;
use serde_json::json;

use super::holds;
use super::loss::Written;
use crate::drill::{again, drill, execute, gone, quiet, swept, until};
use crate::enforcer::Enforcer;
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::Stage;
use crate::untouched::Before;

pub const STORY: Story = Story {
    name: "drill-database",
    promise: "a recovery is rehearsed in a sandbox that is proved to be isolated; production, its volumes and its repository stay as they are",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    let written = Written::captured(stage, 71, 1).await?;
    quiet(stage, CHROMADB).await?;
    let before = Before::seen(stage).await?;
    let keeps = json!({"sandbox": {"keepOnFailure": "1h"}});
    let done = execute(stage, &drill("database", "DatabaseRecovery", keeps)).await?;
    done.is(Verdict::Passed, "Passed")?;
    rehearsed(&done.run)?;
    let sandbox = swept(stage, &done.result.run).await?;
    before.is_untouched(stage).await?;
    stage.say(format!("it passed in {sandbox}, which is gone; production is untouched"));

    let floor = json!({"name": "floor", "chromaCount": {"collection": "papers-1", "atLeast": 1_000_000}});
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"checks": [floor]}})).await?;
    let before = Before::seen(stage).await?;
    let done = again(stage, "database").await?;
    done.is(Verdict::Failed, "ValidationFailed")?;
    ensure!(done.result.message.contains("floor"), "{}", done.result.message);
    ensure!(done.drill.last_passed.is_some() && done.drill.consecutive_failures == 1, "{:?}", done.drill);
    let kept = until(stage, &done.result.run, SandboxState::Kept).await?;
    // What was restored there is what was captured, all of it.
    let address = stage.place.reach.service(&kept, CHROMADB).await?;
    holds(&address, &written.ledger, &written.point).await?;
    before.is_untouched_but(stage, &["-restore", done.result.run.as_str()]).await?;
    stage.kubectl(&["delete", "hfrun", &done.result.run, "--wait=false"]).await?;
    gone(stage, &kept).await?;
    before.is_untouched(stage).await?;
    written.is_served(stage).await
}

fn rehearsed(status: &RecoveryRunStatus) -> Result<()> {
    let sandbox = status.sandbox.as_ref().context("no sandbox")?;
    ensure!(sandbox.control && sandbox.isolation == Some(Isolation::ProbeBlocked), "{sandbox:?}");
    let measured = status.measured.first().context("nothing was measured")?;
    ensure!(measured.rpo.is_some() && !measured.breakdown.is_empty(), "{measured:?}");
    for wanted in ["chromadb-responds", "counts", "corruption"] {
        let line = status.checks.iter().find(|line| line.name.ends_with(wanted));
        ensure!(line.is_some_and(|line| line.verdict == Verdict::Passed), "{wanted}: {line:?}");
    }
    Ok(())
}
