//! A database recovery is rehearsed in a sandbox: once well, and once with an expectation that the data does not meet, whose sandbox is kept. What is
//! served there is held against the truth, and production is not touched by either.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::run::{Isolation, RecoveryRunStatus, RunPhase, SandboxState, Verdict};
use crds::{BackupPolicy, RecoveryRun};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::holds;
use super::loss::Written;
use crate::enforcer::Enforcer;
use crate::manifests::{self, CHROMADB};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::untouched::Before;
use crate::wait;

pub const STORY: Story = Story {
    name: "drill-database",
    promise: "a recovery is rehearsed in a sandbox that is proved to be isolated; production, its volumes and its repository stay as they are",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    let written = Written::captured(stage, 71, 1).await?;
    quiet(stage).await?;
    let before = Before::seen(stage).await?;
    stage.apply(&[rehearsal("well", json!({}))]).await?;
    let run = stage.ended("well").await?;
    let status = run.status.context("no status")?;
    passed(&status)?;
    let sandbox = swept(stage, "well").await?;
    before.is_untouched(stage).await?;
    stage.say(format!("it passed in {sandbox}, which is gone; production is untouched"));

    let too_much = json!({"spec": {"checks": [{"name": "floor", "chromaCount": {"collection": "papers-1", "atLeast": 1_000_000}}]}});
    stage.patch::<BackupPolicy>(CHROMADB, &too_much).await?;
    let before = Before::seen(stage).await?;
    stage.apply(&[rehearsal("wrong-count", json!({"keepOnFailure": "1h"}))]).await?;
    let run = stage.ended("wrong-count").await?;
    let status = run.status.context("no status")?;
    ensure!(status.verdict == Some(Verdict::Failed), "verdict {:?}", status.verdict);
    let failed = wait::condition(&status.conditions, "Failed").context("no condition Failed")?;
    ensure!(failed.reason == "ValidationFailed" && failed.message.contains("floor"), "{failed:?}");
    let kept = until(stage, "wrong-count", SandboxState::Kept).await?;
    // What was restored there is what was captured, all of it.
    let address = stage.place.reach.service(&kept, CHROMADB).await?;
    holds(&address, &written.ledger, &written.point).await?;
    before.is_untouched_but(stage, &["-restore", "wrong-count"]).await?;
    stage.kubectl(&["delete", "hfrun", "wrong-count", "--wait=false"]).await?;
    gone(stage, &kept).await?;
    written.is_served(stage).await
}

/// A rehearsal of the database's recovery.
pub fn rehearsal(name: &str, sandbox: Value) -> Value {
    let mut run = manifests::run(name, "");
    run["spec"]["target"] = json!({"sandbox": sandbox});
    run
}

/// No slot of the schedule falls into what follows.
pub async fn quiet(stage: &Stage) -> Result<()> {
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"mode": "Suspended"}})).await?;
    wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "a Suspended policy", PATIENCE, |policy| {
        let policy = policy.context("the policy is gone")?;
        let status = policy.status.clone().unwrap_or_default();
        let seen = status.observed_generation == policy.metadata.generation && status.active.is_none();
        Ok((seen && status.mode == Some(crds::policy::PolicyMode::Suspended)).then_some(()))
    })
    .await
}

fn passed(status: &RecoveryRunStatus) -> Result<()> {
    if status.phase != Some(RunPhase::Succeeded) || status.verdict != Some(Verdict::Passed) {
        bail!("{:?}, {:?}: {}", status.phase, status.verdict, json!(status.conditions));
    }
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

/// Waits until the sandbox of a run is as far as this. Returns its name.
pub async fn until(stage: &Stage, run: &str, state: SandboxState) -> Result<String> {
    let what = format!("a sandbox that is {state:?}");
    wait::object(&stage.api::<RecoveryRun>(), run, &what, PATIENCE, |run| {
        let known = run.and_then(|run| run.status.as_ref()).and_then(|status| status.sandbox.as_ref());
        Ok(known.filter(|known| known.state == state).map(|known| known.namespace.clone()))
    })
    .await
}

/// Waits until nothing is left of the sandbox of a run. Returns its name.
pub async fn swept(stage: &Stage, run: &str) -> Result<String> {
    let name = until(stage, run, SandboxState::Cleaned).await?;
    gone(stage, &name).await?;
    Ok(name)
}

/// Neither the sandbox nor a volume of it is there.
pub async fn gone(stage: &Stage, sandbox: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stage.place.client.clone());
    wait::object(&namespaces, sandbox, "the sandbox to be gone", PATIENCE, |seen| {
        Ok(seen.is_none().then_some(()))
    })
    .await?;
    let volumes: Api<PersistentVolume> = Api::all(stage.place.client.clone());
    wait::answer("the sandbox's volumes to be gone", Duration::from_secs(60), || async {
        let left = volumes.list(&ListParams::default()).await?;
        let of = left.items.iter().filter(|volume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_deref()) == Some(sandbox)
        });
        ensure!(of.count() == 0, "volumes of {sandbox} are left");
        Ok(())
    })
    .await?;
    let set: StatefulSet = stage.get(CHROMADB).await?;
    ensure!(set.spec.and_then(|spec| spec.replicas) == Some(1), "production was scaled");
    Ok(())
}
