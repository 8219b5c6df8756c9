//! An application beside the ChromaDB is captured while it works, and comes back from its point alone after everything of it was
//! deleted: the claim, what is on it, its configuration, its Secret, and whatever else it consists of.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use crds::{BackupPolicy, RecoveryPoint};
use futures::FutureExt;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::by_cli;
use crate::manifests::REPOSITORY;
use crate::runner::Story;
use crate::scholar::{self, CLAIM, Feed, SCHOLAR};
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "capture-application",
    promise: "an application comes back from its point alone: volume, database, configuration, Secret and all",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// What the application consists of.
const OBJECTS: [&str; 8] = [
    "deployment/scholar",
    "cronjob/scholar-fetch",
    "service/scholar",
    "networkpolicy/scholar-in",
    "configmap/scholar-config",
    "configmap/scholar-program",
    "secret/scholar-env",
    "persistentvolumeclaim/scholar-state",
];

async fn play(stage: &Stage) -> Result<()> {
    let objects = scholar::objects(&stage.place.images.chromadb);
    tokio::try_join!(stage.apply(&objects), stage.repository())?;
    stage.apply(&[scholar::policy(REPOSITORY)]).await?;
    let service = scholar::serving(stage).await?;
    stage.armed(SCHOLAR).await?;
    let mut feed = Feed::start(service.clone());
    feed.progress(50).await?;
    let asked = stage.request_capture(SCHOLAR).await?;
    let before = feed.stored();
    let point = stage.captured_after(SCHOLAR, asked).await?;
    feed.progress(1).await?;
    let after = feed.stop().await?;
    says_what_it_holds(&point)?;
    stage.say(format!("captured while papers {before} to {after} came in"));

    let config = service.get("config").await?;
    let truth = as_they_are(stage).await?;
    let mut delete = vec!["delete", "--wait"];
    delete.extend(OBJECTS);
    stage.kubectl(&delete).await?;
    gone(stage).await?;
    stage.say("all of it is deleted");

    let id = point.spec.id.as_str();
    apply_from(stage, id, &["--kind", "PersistentVolumeClaim"]).await?;
    restore(stage, id).await?;
    apply_from(stage, id, &[]).await?;
    let service = scholar::serving(stage).await?;
    let papers = service.papers().await?;
    ensure!((before..=after).contains(&papers), "{papers} papers came back, {before} to {after} may be in");
    ensure!(service.get("config").await? == config, "it is configured with something else");
    let back = as_they_are(stage).await?;
    for (name, spec) in &truth {
        ensure!(back.get(name) == Some(spec), "{name} was {spec}, and is {:?}", back.get(name));
    }
    stage.say(format!("{papers} papers are served, {} objects are as they were", truth.len()));
    offline(stage, papers).await
}

/// With its workloads stopped: the Deployment scaled down, the CronJob suspended, and both as before when it is over. In the point
/// they are as they run.
async fn offline(stage: &Stage, papers: u64) -> Result<()> {
    let capture = json!({"spec": {"capture": {"live": null, "offline": {"maxDowntime": "5m"}}}});
    stage.patch::<BackupPolicy>(SCHOLAR, &capture).await?;
    let suspended = |wanted: bool| async move {
        let what = if wanted { "a suspended CronJob" } else { "a CronJob that is not suspended" };
        wait::object(&stage.api::<CronJob>(), "scholar-fetch", what, PATIENCE, |job| {
            let is = job.and_then(|job| job.spec.as_ref()).and_then(|spec| spec.suspend);
            Ok((is == Some(wanted)).then_some(()))
        })
        .await
    };
    let asked = stage.request_capture(SCHOLAR).await?;
    let (_, point) = tokio::try_join!(suspended(true), stage.captured_after(SCHOLAR, asked))?;
    suspended(false).await?;
    let service = scholar::serving(stage).await?;
    ensure!(service.papers().await? == papers, "papers were lost");
    let list = by_cli::run(
        stage,
        &["objects", "--point", &point.spec.id, "--kind", "CronJob", "--kind", "Deployment"],
    )
    .await?;
    let list: Value = serde_json::from_str(&list)?;
    let of = |number: usize, field: &str| list["items"][number]["spec"][field].clone();
    ensure!((of(0, "replicas"), of(1, "suspend")) == (json!(1), json!(false)), "the point holds {list}");
    stage.say("captured again with its workloads stopped; they run as before");
    Ok(())
}

fn says_what_it_holds(point: &RecoveryPoint) -> Result<()> {
    let status = point.status.clone().context("the point has no status")?;
    let content = status.application.context("the point says nothing of an application")?;
    ensure!((content.volumes, content.databases) == (1, 1), "it holds {content:?}");
    // With the policy.
    ensure!(status.objects == OBJECTS.len() as u64 + 1, "it holds {} objects", status.objects);
    Ok(())
}

/// What somebody wrote into each object; of the claim, what it asks for.
async fn as_they_are(stage: &Stage) -> Result<BTreeMap<&'static str, Value>> {
    let mut found = BTreeMap::new();
    for name in OBJECTS {
        let mut object: Value =
            serde_json::from_str(&stage.kubectl(&["get", name, "--output", "json"]).await?)?;
        for assigned in ["volumeName", "clusterIP", "clusterIPs"] {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove(assigned);
            }
        }
        found.insert(
            name,
            json!([object["spec"], object["data"], object["type"], object["metadata"]["labels"]]),
        );
    }
    Ok(found)
}

/// Waits until no pod of it is left.
async fn gone(stage: &Stage) -> Result<()> {
    stage.kubectl(&["wait", "--for=delete", "pod", "--selector", "app=scholar", "--timeout=60s"]).await?;
    let pods = stage.api::<Pod>().list(&ListParams::default().labels("app=scholar")).await?;
    ensure!(pods.items.is_empty(), "{} pods are left", pods.items.len());
    Ok(())
}

/// `holdfast objects | kubectl apply -f -`.
async fn apply_from(stage: &Stage, point: &str, chosen: &[&str]) -> Result<()> {
    let list = by_cli::run(stage, &[&["objects", "--point", point], chosen].concat()).await?;
    stage.place.kubectl.run(&["--namespace", &stage.namespace, "apply", "-f", "-"], Some(&list)).await?;
    Ok(())
}

/// Restores the volume by the command line, in a Job as a person would write it.
async fn restore(stage: &Stage, point: &str) -> Result<()> {
    let s3 = &stage.place.s3;
    let url = format!("s3://{}/{}", s3.bucket, stage.prefix);
    let secret = |name: &str, secret: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
    stage
        .apply(&[json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "restore"}, "spec": {
            "backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false,
                "containers": [{
                    "name": "holdfast", "image": stage.place.images.mover, "imagePullPolicy": "IfNotPresent",
                    "args": ["restore", "--repo", url, "--point", point, "--target", "/claim"],
                    "env": [
                        secret("AWS_ACCESS_KEY_ID", "s3", "AWS_ACCESS_KEY_ID"),
                        secret("AWS_SECRET_ACCESS_KEY", "s3", "AWS_SECRET_ACCESS_KEY"),
                        secret("HOLDFAST_PASSWORD", "repository-key", "password"),
                        {"name": "AWS_ENDPOINT_URL", "value": s3.endpoint}, {"name": "AWS_REGION", "value": s3.region}],
                    "securityContext": {"runAsUser": 0},
                    "volumeMounts": [{"name": "claim", "mountPath": "/claim"}]}],
                "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": CLAIM}}]}}}})])
        .await?;
    wait::object(&stage.api::<Job>(), "restore", "the end of the restore", PATIENCE, |job| {
        let status = job.and_then(|job| job.status.as_ref());
        if status.is_some_and(|status| status.failed.unwrap_or(0) > 0) {
            bail!("the restore failed: {}", json!(job.map(ResourceExt::name_any)));
        }
        Ok(status.is_some_and(|status| status.succeeded == Some(1)).then_some(()))
    })
    .await
}
