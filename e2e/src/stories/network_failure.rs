//! What an application needs from outside goes away: it works on offline, and as before when it is back, without anybody doing anything.

use anyhow::{Context, Result, bail, ensure};
use crds::RecoveryRun;
use crds::run::{EndpointState, OfflineState, OfflineStatus, RecoveryRunStatus};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::manifests::REPOSITORY;
use crate::runner::Story;
use crate::scholar::{self, CONFIG, SCHOLAR};
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "network-failure-offline-mode",
    promise: "while what it needs from outside does not answer a component works offline, and afterwards all is as before",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// What the scholar fetches from.
const ARCHIVE: &str = "archive";
const FETCH: &str = "scholar-fetch";

async fn play(stage: &Stage) -> Result<()> {
    offline_scholar(stage).await?;
    let before = as_it_is(stage).await?;
    false_alarm(stage, &before).await?;

    archive_scaled(stage, 0).await?;
    stage.say("the archive is gone");
    stage.apply(&[run("outage")]).await?;
    let status = offline(stage).await?;
    stage.say(format!("offline: {:?}", known(&status)?.endpoints));
    let diagnosed =
        status.steps.iter().find(|step| step.name.starts_with("Diagnose/")).context("no Diagnose")?;
    ensure!(diagnosed.message.contains("routes of the pod"), "{diagnosed:?}");
    ensure!(known(&status)?.endpoints[0].state == EndpointState::Silent, "{status:?}");
    let config: ConfigMap = stage.get(CONFIG).await?;
    ensure!(config.data.as_ref().is_some_and(|data| data["OFFLINE_MODE"] == "true"), "{config:?}");
    let fetch: CronJob = stage.get(FETCH).await?;
    ensure!(fetch.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true)), "{fetch:?}");
    let told = scholar::serving(stage).await?.get("config").await?;
    ensure!(told["offlineMode"] == "true", "the scholar says {told}");

    archive_scaled(stage, 1).await?;
    stage.say("the archive is back");
    let status = stage.succeeded("outage").await?.status.unwrap_or_default();
    ensure!(known(&status)?.state == OfflineState::Online, "{:?}", status.offline);
    measured(&status)?;
    let after = as_it_is(stage).await?;
    ensure!(before == after, "it was {before}, and is {after}");
    let told = scholar::serving(stage).await?.get("config").await?;
    ensure!(told["offlineMode"] == "false", "the scholar says {told}");
    let ready = wait::condition(&status.conditions, "Ready").context("no condition Ready")?;
    stage.say(format!("it says: {}", ready.message));
    Ok(())
}

/// A scholar with an offline mode, and what it needs from outside.
pub(super) async fn offline_scholar(stage: &Stage) -> Result<()> {
    let image = &stage.place.images.chromadb;
    let objects = [scholar::objects(image), archive(image)].concat();
    tokio::try_join!(stage.apply(&objects), stage.repository())?;
    // Its owner lets it be switched.
    stage
        .kubectl(&["label", "configmap", CONFIG, &format!("{}=true", crds::reference::OFFLINE_SWITCH_LABEL)])
        .await?;
    let mut policy = scholar::policy(REPOSITORY);
    policy["spec"]["offline"] = json!({
        "endpoints": [{"host": format!("{ARCHIVE}.{}.svc", stage.namespace), "port": 8000}],
        "switch": {"configMapRef": {"name": CONFIG}, "key": "OFFLINE_MODE", "online": "false", "offline": "true"},
        "suspend": [{"kind": "CronJob", "name": FETCH}], "restart": "Required",
    });
    stage.apply(&[policy]).await?;
    scholar::serving(stage).await?;
    archive_scaled(stage, 1).await?;
    stage.armed(SCHOLAR).await?;
    Ok(())
}

/// Everything answers: nothing is changed.
async fn false_alarm(stage: &Stage, before: &Value) -> Result<()> {
    let pods = pods_of(stage).await?;
    stage.apply(&[run("false-alarm")]).await?;
    let status = stage.succeeded("false-alarm").await?.status.unwrap_or_default();
    ensure!(known(&status)?.state == OfflineState::NotNeeded, "{:?}", status.offline);
    let mode = wait::condition(&status.conditions, "OfflineMode").context("no condition OfflineMode")?;
    ensure!((mode.status.as_str(), mode.reason.as_str()) == ("False", "NotNeeded"), "{mode:?}");
    let after = as_it_is(stage).await?;
    ensure!(*before == after && pods == pods_of(stage).await?, "something was changed: {before}, {after}");
    stage.say("a false alarm changes nothing");
    Ok(())
}

/// Waits until the scholar works offline and the archive is watched.
async fn offline(stage: &Stage) -> Result<RecoveryRunStatus> {
    wait::object(&stage.api::<RecoveryRun>(), "outage", "offline mode", PATIENCE, |run| {
        let Some(status) = run.and_then(|run| run.status.clone()) else { return Ok(None) };
        if wait::condition(&status.conditions, "Failed").is_some_and(|failed| failed.status == "True") {
            bail!("the run failed: {}", json!(status.conditions));
        }
        let entered =
            wait::condition(&status.conditions, "OfflineMode").is_some_and(|mode| mode.status == "True");
        let there = status.offline.iter().all(|known| known.state == OfflineState::Offline);
        Ok((entered && there).then_some(status))
    })
    .await
}

/// Until it worked offline counts as recovery time, and nothing as loss.
fn measured(status: &RecoveryRunStatus) -> Result<()> {
    let measured = status.measured.first().context("nothing was measured")?;
    ensure!(measured.rpo.is_none(), "an RPO where nothing was restored: {measured:?}");
    let promised = status.objectives.as_ref().context("no objectives")?;
    ensure!(promised.scenario.rpo.is_none() && promised.scenario.rto.to_string() == "1h", "{promised:?}");
    let known = known(status)?;
    ensure!(known.entered.is_some() && known.entered < known.left, "{known:?}");
    Ok(())
}

fn known(status: &RecoveryRunStatus) -> Result<&OfflineStatus> {
    status.offline.iter().find(|known| known.policy == SCHOLAR).context("nothing is known of the scholar")
}

/// What a run may change: the ConfigMap, and whether the CronJob is suspended and how many replicas there are.
async fn as_it_is(stage: &Stage) -> Result<Value> {
    let (config, fetch, scholar) = tokio::try_join!(
        stage.get::<ConfigMap>(CONFIG),
        stage.get::<CronJob>(FETCH),
        stage.get::<Deployment>(SCHOLAR)
    )?;
    Ok(json!([config.data, config.metadata.labels, fetch.spec, scholar.spec]))
}

/// The scholar's pods, by uid.
async fn pods_of(stage: &Stage) -> Result<Vec<String>> {
    let pods = stage.api::<Pod>().list(&kube::api::ListParams::default().labels("app=scholar")).await?;
    Ok(pods.items.iter().filter_map(Pod::uid).collect())
}

/// Scales the archive, and waits until as many of its pods answer.
async fn archive_scaled(stage: &Stage, replicas: i32) -> Result<()> {
    stage.patch::<Deployment>(ARCHIVE, &json!({"spec": {"replicas": replicas}})).await?;
    wait::object(
        &stage.api::<Deployment>(),
        ARCHIVE,
        "the archive as it is wanted",
        PATIENCE,
        |deployment| {
            let Some(deployment) = deployment else { return Ok(None) };
            let status = deployment.status.clone().unwrap_or_default();
            let current = status.observed_generation >= deployment.metadata.generation;
            let (all, ready) = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
            Ok((current && all == replicas && ready == replicas).then_some(()))
        },
    )
    .await?;
    if replicas == 0 {
        // One that ends still answers.
        let of_it = |pod: &Pod| pod.labels().get("app").is_some_and(|app| app == ARCHIVE);
        wait::none(&stage.api::<Pod>(), "the archive's pods to be gone", of_it).await?;
    }
    Ok(())
}

/// A server of nothing, behind a Service.
fn archive(image: &str) -> Vec<Value> {
    let labels = json!({"app": ARCHIVE});
    let container = json!({
        "name": ARCHIVE, "image": image, "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "http.server", "8000", "--directory", "/var/empty"],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    });
    let pod = json!({
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": 1500, "runAsGroup": 1500}, "containers": [container]});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": ARCHIVE},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8000}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": ARCHIVE}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod}}}),
    ]
}

fn run(name: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": name},
        "spec": {"scenario": "NetworkFailure", "policies": [{"name": SCHOLAR}]}})
}
