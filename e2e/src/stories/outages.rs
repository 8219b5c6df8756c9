//! What a recovery stands on goes away in the middle of it: first the S3 server while volumes are restored, then the API server for a minute.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::run::{StepPhase, Verdict};
use futures::FutureExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};

use super::loss::{Loss, Written};
use crate::install;
use crate::manifests;
use crate::outage::{API_SERVER, Frozen, S3_SERVER};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "outages",
    promise: "a recovery goes on when the S3 server and the API server were gone for a while in the middle of it",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// How long each is gone. A minute is longer than the controller's Lease, and than nodes may be silent.
const S3_AWAY: Duration = Duration::from_secs(15);
const API_AWAY: Duration = Duration::from_secs(60);

async fn play(stage: &Stage) -> Result<()> {
    let written = Written::captured(stage, 47, 1).await?;
    let _turn = stage.alone().await?;
    let told = told(stage, &written).await;
    // Whatever happened, the stories after this one find nodes and a controller that answer.
    let whole = answering(stage).await;
    told.and(whole)
}

async fn told(stage: &Stage, written: &Written) -> Result<()> {
    let loss = Loss::inflict(stage).await?;
    stage.apply(&[manifests::run("outages", &stage.namespace)]).await?;
    began(stage, "SelectPoint/chromadb").await?;
    {
        let _gone = Frozen::daemon(&stage.place, S3_SERVER)?;
        began(stage, "Restore/chromadb").await?;
        stage.say("the S3 server does not answer, and volumes are to be restored");
        tokio::time::sleep(S3_AWAY).await;
    }
    began(stage, "VerifyOffline/chromadb").await?;
    {
        let _gone = Frozen::daemon(&stage.place, API_SERVER)?;
        stage.say("the API server does not answer");
        tokio::time::sleep(API_AWAY).await;
    }
    stage.say("it answers again");
    let run = stage.succeeded("outages").await?;
    let status = run.status.clone().unwrap_or_default();
    ensure!(status.verdict == Some(Verdict::Passed), "verdict {:?}: {:?}", status.verdict, status.checks);
    for step in &status.steps {
        ensure!(matches!(step.phase, StepPhase::Done | StepPhase::Skipped), "{step:?}");
        stage.say(format!("{} {}: {}", step.name, step.attempts, step.message));
    }
    written.is_served(stage).await?;
    loss.is_kept_by(stage, &run).await?;
    let jobs = Api::<Job>::namespaced(stage.place.client.clone(), &stage.namespace);
    wait::none(&jobs, "a Job of the run", |job: &Job| job.name_any().starts_with("outages")).await
}

/// Waits until a step has begun.
async fn began(stage: &Stage, step: &str) -> Result<()> {
    let what = format!("step {step}");
    wait::object(&stage.api::<RecoveryRun>(), "outages", &what, PATIENCE, |run| {
        let status = run.and_then(|run| run.status.as_ref());
        let steps = status.map(|status| status.steps.as_slice()).unwrap_or_default();
        Ok(steps.iter().find(|known| known.name == step && known.start.is_some()).map(drop))
    })
    .await
}

/// Every node is ready, and a controller runs.
async fn answering(stage: &Stage) -> Result<()> {
    let nodes: Api<Node> = Api::all(stage.place.client.clone());
    for node in nodes.list(&kube::api::ListParams::default()).await.context("the nodes can't be listed")? {
        wait::object(&nodes, &node.name_any(), "a ready node", PATIENCE, |node| {
            let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
            Ok(conditions
                .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
                .then_some(()))
        })
        .await?;
    }
    install::wait_ready(&stage.place).await
}
