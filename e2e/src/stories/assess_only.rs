//! Somebody looks before anything is done: what is broken is told, with the cluster's own words, and nothing is touched.

use anyhow::{Context, Result, ensure};
use crds::run::Health;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::ListParams;
use serde_json::json;

use crate::manifests::{CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, SCHOLAR};
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "assess-only",
    promise: "an assessment tells what is broken and what can't be known, and touches nothing",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let mut objects = scholar::objects(&stage.place.images.chromadb);
    // Its configuration is missing: its volumes can't be mounted.
    objects.retain(|object| object["metadata"]["name"] != "scholar-config");
    stage.apply(&objects).await?;
    stage.protected_chromadb().await?;
    stage.apply(&[scholar::policy(REPOSITORY)]).await?;
    let events = stage.api::<Event>();
    let stuck = wait::any(&events, "", "a pod that misses its configuration", PATIENCE, |event: &Event| {
        let about = &event.involved_object;
        let pod = about.name.clone().filter(|name| name.starts_with("scholar-"));
        Ok(pod.filter(|_| event.reason.as_deref() == Some("FailedMount")))
    })
    .await?;
    let before = versions(stage).await?;

    stage
        .apply(&[json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "look"}, "spec": {
            "scenario": "CompleteFailure", "mode": "Assess"}})])
        .await?;
    let run = stage.succeeded("look").await?;
    let status = run.status.context("the run has no status")?;
    let line = |subject: &str| {
        let found = status.assessment.iter().find(|line| line.subject == subject);
        found.with_context(|| format!("no line {subject}: {}", json!(status.assessment)))
    };
    for (subject, state, words) in [
        (format!("pod/{stuck}"), Health::Bad, "Pending, not ready"),
        (format!("event/pod/{stuck}/FailedMount"), Health::Bad, "scholar-config"),
        ("deployment/scholar".to_owned(), Health::Bad, "0 of 1 ready"),
        ("service/scholar".to_owned(), Health::Bad, "0 ready endpoints"),
        ("configmap/scholar-config".to_owned(), Health::Bad, "does not exist"),
        ("points/chromadb".to_owned(), Health::Bad, "none is Available"),
        ("secrets".to_owned(), Health::Unknown, "scholar-env"),
        ("statefulset/chromadb".to_owned(), Health::Good, "1 of 1 ready"),
        ("service/chromadb".to_owned(), Health::Good, "1 ready endpoint"),
        ("chromadb/chromadb".to_owned(), Health::Good, "heartbeat 200"),
        ("recoveryrepository/primary".to_owned(), Health::Good, "Ready"),
        ("nodes".to_owned(), Health::Good, "ready"),
        ("dns".to_owned(), Health::Good, "kubernetes.default.svc resolves to"),
        ("network/interfaces".to_owned(), Health::Good, "up"),
    ] {
        let line = line(&subject)?;
        ensure!(
            line.state == state && line.observed.contains(words),
            "{subject}: {line:?} instead of {words}"
        );
    }
    let states: Vec<Health> = status.assessment.iter().map(|line| line.state).collect();
    ensure!(states.is_sorted(), "the worst is not first: {states:?}");
    let complete = wait::condition(&status.conditions, "Complete").context("it is not Complete")?;
    ensure!(complete.reason == "Assessed", "Complete for {}", complete.reason);
    stage.say(&complete.message);

    ensure!(versions(stage).await? == before, "something was touched");
    let marks = ListParams::default().labels(crds::reference::EXECUTED_LABEL);
    ensure!(stage.api::<ConfigMap>().list(&marks).await?.items.is_empty(), "its name was taken for ever");
    Ok(())
}

/// Generation of each workload: what somebody asks of it.
async fn versions(stage: &Stage) -> Result<[Option<i64>; 2]> {
    let set: StatefulSet = stage.get(CHROMADB).await?;
    let deployment: Deployment = stage.get(SCHOLAR).await?;
    Ok([set.metadata.generation, deployment.metadata.generation])
}
