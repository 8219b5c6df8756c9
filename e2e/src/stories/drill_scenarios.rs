//! A breach and an outage are rehearsed, each in a sandbox; a sandbox that lost its run is swept by the next drill.

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use crds::run::{OfflineState, SandboxState, Verdict};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use serde_json::json;

use super::loss::Written;
use super::network_failure::offline_scholar;
use crate::drill::{again, drill, execute, gone, quiet, swept, until};
use crate::enforcer::Enforcer;
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::scholar::{CONFIG, SCHOLAR};
use crate::stage::Stage;
use crate::untouched::Before;
use crate::wait;

pub const BREACH: Story = Story {
    name: "drill-breach",
    promise: "the recovery from a breach is rehearsed with the last point from before it; nothing is sealed, isolated or replaced in production",
    alone: false,
    play: |stage| breach(stage).boxed(),
};

pub const NETWORK: Story = Story {
    name: "drill-network",
    promise: "an outage is rehearsed where nothing outside answers: offline mode is entered, works and is left, and production stays online",
    alone: false,
    play: |stage| network(stage).boxed(),
};

pub const SWEPT: Story = Story {
    name: "drill-sandbox-swept",
    promise: "a sandbox whose run was removed by force is swept by the next drill, with all its volumes",
    alone: false,
    play: |stage| forgotten(stage).boxed(),
};

async fn breach(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    let written = Written::captured(stage, 76, 1).await?;
    quiet(stage, CHROMADB).await?;
    let before = Before::seen(stage).await?;
    let done = execute(stage, &drill("breach", "SecurityBreach", json!({}))).await?;
    done.is(Verdict::Passed, "Passed")?;
    let resolved = wait::condition(&done.run.conditions, "SourceResolved").context("no SourceResolved")?;
    ensure!(resolved.reason == "LastKnownGood", "{resolved:?}");
    ensure!(done.run.isolation.is_none() && done.run.gates.is_empty(), "{:?}", done.run.gates);
    swept(stage, &done.result.run).await?;
    before.is_untouched(stage).await?;
    let repository: crds::RecoveryRepository = stage.get(crate::manifests::REPOSITORY).await?;
    let conditions = repository.status.unwrap_or_default().conditions;
    let sealed = wait::condition(&conditions, "Sealed").is_some_and(|sealed| sealed.status == "True");
    ensure!(!sealed, "a rehearsal sealed the repository");
    written.is_served(stage).await
}

async fn network(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    offline_scholar(stage).await?;
    stage.capture(SCHOLAR).await?;
    let before = Before::seen(stage).await?;
    let done = execute(stage, &drill("outage", "NetworkFailure", json!({}))).await?;
    done.is(Verdict::Passed, "Passed")?;
    let known = done.run.offline.first().context("nothing is known of offline mode")?;
    ensure!(known.state == OfflineState::Online && known.entered.is_some(), "{known:?}");
    let order: Vec<&str> = done.run.steps.iter().map(|step| step.name.as_str()).collect();
    let at = |word: &str| order.iter().position(|name| name.starts_with(word));
    ensure!(at("EnterOffline/") < at("Validate/") && at("Validate/") < at("LeaveOffline/"), "{order:?}");
    swept(stage, &done.result.run).await?;
    before.is_untouched(stage).await?;
    let config: ConfigMap = stage.get(CONFIG).await?;
    ensure!(config.data.as_ref().is_some_and(|data| data["OFFLINE_MODE"] == "false"), "{config:?}");
    Ok(())
}

async fn forgotten(stage: &Stage) -> Result<()> {
    let _enforcer = Enforcer::start(stage).await?;
    Written::captured(stage, 77, 1).await?;
    quiet(stage, CHROMADB).await?;
    let floor = json!({"name": "floor", "chromaCount": {"collection": "papers-1", "atLeast": 1_000_000}});
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"checks": [floor]}})).await?;
    let keeps = json!({"sandbox": {"keepOnFailure": "1h"}});
    let done = execute(stage, &drill("database", "DatabaseRecovery", keeps)).await?;
    done.is(Verdict::Failed, "ValidationFailed")?;
    let left = until(stage, &done.result.run, SandboxState::Kept).await?;
    // By force, as people do who want something to be gone: nobody is left who would remove the sandbox.
    let force = json!({"metadata": {"finalizers": null}}).to_string();
    stage.kubectl(&["delete", "hfrun", &done.result.run, "--wait=false"]).await?;
    stage.kubectl(&["patch", "hfrun", &done.result.run, "--type=merge", "--patch", &force]).await?;
    let namespaces: Api<Namespace> = Api::all(stage.place.client.clone());
    let there = namespaces.get(&left).await.context("the sandbox went with its run")?;
    ensure!(there.metadata.deletion_timestamp.is_none(), "the sandbox went with its run");
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"checks": null}})).await?;
    let done = again(stage, "database").await?;
    done.is(Verdict::Passed, "Passed")?;
    gone(stage, &left).await?;
    swept(stage, &done.result.run).await.map(drop)
}
