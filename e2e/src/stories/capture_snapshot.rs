//! Captures that the storage cuts: a ChromaDB and an application under writers, with a controller that dies at every step, and nothing of
//! the snapshots stays.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::reference::CAPTURE_LABEL;
use crds::{BackupPolicy, RecoveryPoint};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tests::writer::Writer;

use super::{by_cli, content, load};
use crate::deaths::captured_through;
use crate::manifests::{CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, Feed, SCHOLAR};
use crate::stage::{PATIENCE, Stage, cordon, uncordon};
use crate::wait;

pub const STORY: Story = Story {
    name: "capture-snapshot",
    promise: "a snapshot cut under writers is whole, whoever dies, and leaves no snapshot and no clone behind",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// Every write that belongs to snapshots, and the Jobs around them.
const MARKS: [&str; 5] = [
    "after:CreateJob/Cut",
    "after:CreateClone",
    "after:CreateJob/Capture",
    "after:DeleteClone",
    "after:DeleteSnapshot",
];

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    by_snapshot(stage, CHROMADB).await?;
    names_what_is_missing(stage).await?;
    gives_up_what_never_can_be_read(stage).await?;
    tells_what_the_cluster_refuses(stage).await?;
    let mut writer = Writer::start(address, load(21)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let point = stage.capture(CHROMADB).await?;
    writer.progress(10, Duration::from_secs(60)).await?;
    nothing_is_left(stage).await?;
    let killed = with_deaths(stage).await?;
    writer.progress(10, Duration::from_secs(60)).await?;
    let ledger = writer.stop().await?;
    nothing_is_left(stage).await?;
    for point in [&point, &killed] {
        let (from, content) = content(point)?;
        let waited = ledger.longest_wait(from, content.released_at);
        stage.say(format!("{}: held {}, a writer waited {waited:?}", point.name_any(), content.writer_pause));
        waited.context("no writer was writing during the cut: this proves nothing")?;
        by_cli::restored(stage, point, &ledger).await?;
    }
    of_application(stage).await
}

async fn by_snapshot(stage: &Stage, policy: &str) -> Result<()> {
    let capture = json!({"spec": {"capture": {"live": null, "snapshot": {}}}});
    stage.patch::<BackupPolicy>(policy, &capture).await?;
    stage.armed(policy).await?;
    Ok(())
}

/// A class that there is not is said before anybody is held.
async fn names_what_is_missing(stage: &Stage) -> Result<()> {
    for (class, status, reason) in
        [(json!("nowhere"), "False", "SnapshotClassNotFound"), (json!(null), "True", "Found")]
    {
        let capture = json!({"spec": {"capture": {"snapshot": {"volumeSnapshotClassName": class}}}});
        stage.patch::<BackupPolicy>(CHROMADB, &capture).await?;
        wait::reason(&stage.api::<BackupPolicy>(), CHROMADB, "SourceReady", status, &[reason]).await?;
    }
    Ok(())
}

/// The storage cuts and never lets anybody read: told while it is waited for, tried again, and when the class is right it goes on.
async fn gives_up_what_never_can_be_read(stage: &Stage) -> Result<()> {
    const CLASS: &str = "never-ready";
    let classes = stage.kubectl(&["get", "volumesnapshotclasses", "--output=name"]).await?;
    if !classes.lines().any(|class| class.ends_with(&format!("/{CLASS}"))) {
        stage.say(format!("this cluster has no VolumeSnapshotClass {CLASS}: left out"));
        return Ok(());
    }
    let by = |class: Value, timeout: &str| {
        let snapshot = json!({"volumeSnapshotClassName": class, "readyTimeout": timeout});
        json!({"spec": {"capture": {"snapshot": snapshot}}})
    };
    stage.patch::<BackupPolicy>(CHROMADB, &by(json!(CLASS), "10s")).await?;
    let asked = stage.request_capture(CHROMADB).await?;
    let policies = stage.api::<BackupPolicy>();
    wait::object(&policies, CHROMADB, "the wait to be told", PATIENCE, |policy| {
        let conditions = policy.and_then(|p| p.status.as_ref()).map(|status| status.conditions.as_slice());
        let told = wait::condition(conditions.unwrap_or_default(), "Reconciling");
        Ok(told.filter(|told| told.message.contains("can't be read yet")).map(drop))
    })
    .await?;
    wait::object(&policies, CHROMADB, "another attempt", PATIENCE, |policy| {
        let active = policy.and_then(|p| p.status.as_ref()).and_then(|status| status.active.as_ref());
        Ok(active.filter(|active| active.attempt > 1).map(drop))
    })
    .await?;
    stage.patch::<BackupPolicy>(CHROMADB, &by(Value::Null, "10m")).await?;
    stage.captured_after(CHROMADB, asked).await?;
    nothing_is_left(stage).await
}

/// A quota leaves no room for a clone: an event of the policy has the API server's words, and the capture goes on when there is.
async fn tells_what_the_cluster_refuses(stage: &Stage) -> Result<()> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one-claim"},
        "spec": {"hard": {"persistentvolumeclaims": "1"}}});
    stage.apply(&[quota]).await?;
    let asked = stage.request_capture(CHROMADB).await?;
    wait::any(&stage.api::<Event>(), "", "the refusal to be told", PATIENCE, |event: &Event| {
        let note = event.note.as_deref().unwrap_or_default();
        let told = event.reason.as_deref() == Some("Refused") && note.contains("exceeded quota: one-claim");
        Ok(told.then_some(()))
    })
    .await?;
    stage.kubectl(&["delete", "resourcequota", "one-claim"]).await?;
    stage.captured_after(CHROMADB, asked).await.map(drop)
}

/// A capture whose controller ends itself after every write of it.
async fn with_deaths(stage: &Stage) -> Result<RecoveryPoint> {
    let _turn = stage.alone().await?;
    waits_for_a_cordoned_node(stage).await?;
    captured_through(stage, CHROMADB, &MARKS).await
}

/// The mover has to be where the server is. While nothing may be put there the policy says what it waits for, and goes on afterwards.
async fn waits_for_a_cordoned_node(stage: &Stage) -> Result<()> {
    let pod: Pod = stage.get("chromadb-0").await?;
    let node = pod.spec.and_then(|spec| spec.node_name).context("the pod is on no node")?;
    cordon(&stage.place, &node).await?;
    let told = async {
        let asked = stage.request_capture(CHROMADB).await?;
        wait::object(&stage.api::<BackupPolicy>(), CHROMADB, "the wait to be told", PATIENCE, |policy| {
            let conditions =
                policy.and_then(|p| p.status.as_ref()).map(|status| status.conditions.as_slice());
            let told = wait::condition(conditions.unwrap_or_default(), "Reconciling");
            Ok(told.filter(|told| told.message.contains("unschedulable")).map(|told| told.message.clone()))
        })
        .await
        .map(|told| (asked, told))
    };
    let told = told.await;
    uncordon(&stage.place).await?;
    let (asked, told) = told?;
    stage.say(format!("with {node} cordoned the policy says: {told}"));
    stage.captured_after(CHROMADB, asked).await.map(drop)
}

/// Waits until no snapshot, no clone and no volume of either is there.
async fn nothing_is_left(stage: &Stage) -> Result<()> {
    let (client, namespace) = (stage.place.client.clone(), &stage.namespace);
    let resource =
        |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", kind));
    let snapshots: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &resource("VolumeSnapshot"));
    let contents: Api<DynamicObject> = Api::all_with(client.clone(), &resource("VolumeSnapshotContent"));
    let ours =
        |content: &DynamicObject| content.data["spec"]["volumeSnapshotRef"]["namespace"] == **namespace;
    wait::none(&snapshots, "the last snapshot to go", |_| true).await?;
    wait::none(&contents, "what the storage cut to go", ours).await?;
    let clone = |claim: &PersistentVolumeClaim| claim.labels().contains_key(CAPTURE_LABEL);
    wait::none(&stage.api::<PersistentVolumeClaim>(), "the last clone to go", clone).await?;
    let volumes: Api<PersistentVolume> = Api::all(client);
    let released = |volume: &PersistentVolume| {
        let spec = volume.spec.as_ref();
        let claim = spec.and_then(|spec| spec.claim_ref.as_ref());
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        claim.and_then(|claim| claim.namespace.as_ref()) == Some(namespace) && phase == Some("Released")
    };
    wait::none(&volumes, "the clones' volumes to go", released).await
}

/// An application is cut without a lock and without being mounted, as a power failure would find it.
async fn of_application(stage: &Stage) -> Result<()> {
    stage.apply(&scholar::objects(&stage.place.images.chromadb)).await?;
    stage.apply(&[scholar::policy(REPOSITORY)]).await?;
    let service = scholar::serving(stage).await?;
    by_snapshot(stage, SCHOLAR).await?;
    let mut feed = Feed::start(service);
    feed.progress(50).await?;
    let before = feed.stored();
    let asked = stage.request_capture(SCHOLAR).await?;
    let point = stage.captured_after(SCHOLAR, asked).await?;
    feed.progress(1).await?;
    let after = feed.stop().await?;
    let content = point.status.as_ref().and_then(|status| status.application.clone());
    ensure!(
        content.as_ref().is_some_and(|c| (c.databases, c.unstable.len()) == (1, 0)),
        "it holds {content:?}"
    );
    let directory = tempfile::tempdir()?;
    let target = directory.path().join("state");
    let into = target.to_string_lossy();
    by_cli::run(stage, &["restore", "--point", &point.spec.id, "--target", &into]).await?;
    let papers = scholar::papers_in(&target)?;
    ensure!((before..=after).contains(&papers), "{papers} papers came back, {before} to {after} may be in");
    stage.say(format!("{papers} papers came back, {before} were acknowledged before, {after} in the end"));
    nothing_is_left(stage).await
}
