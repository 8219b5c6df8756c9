//! A mover that asks the cluster for VolumeSnapshots, and waits until the storage has cut them.
//! While it waits writers are held, so every round trip counts, which is why no controller is asked to do it. Its token may create and
//! watch VolumeSnapshots of its namespace, nothing else.

use std::time::Duration;

use crds::job::{FailureReason, Snapshots};
use crds::names::snapshot_of_try;
use futures::StreamExt;
use kube::api::{PostParams, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, WatchEvent};
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::failure::{Failure, Result, sentence};
use crate::places::Places;

/// Whoever asks for snapshots.
pub struct Snapshotter {
    client: Client,
}

/// A snapshot that was asked for.
struct Asked {
    name: String,
    claim: String,
    object: DynamicObject,
}

impl Snapshotter {
    /// In the cluster that this pod runs in.
    pub async fn of_this_pod(environment: &Environment, places: &Places) -> Result<Self> {
        Ok(Self { client: crate::cluster::of_this_pod(environment, places).await? })
    }

    /// Asks for every snapshot, as the try of this number, and returns when the storage has cut them all. Whether they can be read yet is another matter.
    ///
    /// # Errors
    /// `SnapshotRefused` when the cluster does not take one, `SnapshotFailed` when the storage does not cut it or takes longer than
    /// `patience`. What was made until then stays: the controller removes it.
    pub async fn cut(&self, wanted: &Snapshots, number: u32, patience: Duration) -> Result<()> {
        let name = |name: &String| snapshot_of_try(name, number);
        let cut = async {
            let mut asked = Vec::new();
            for (claim, base) in &wanted.names {
                asked.push(self.ask(wanted, claim, &name(base)).await?);
            }
            for snapshot in asked {
                self.await_cut(wanted, snapshot).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(patience, cut).await {
            Ok(done) => done,
            Err(_) => Err(Failure::new(
                FailureReason::SnapshotFailed,
                format!(
                    "the storage behind VolumeSnapshotClass {} did not cut VolumeSnapshot {} within {patience:.1?}; look at its events and at the CSI driver's snapshotter",
                    wanted.class,
                    wanted.names.values().map(name).collect::<Vec<_>>().join(", ")
                ),
            )),
        }
    }

    async fn ask(&self, wanted: &Snapshots, claim: &str, name: &str) -> Result<Asked> {
        let mut object = DynamicObject::new(name, &resource());
        object.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(wanted.labels.clone()),
            owner_references: Some(vec![wanted.owner.clone()]),
            ..ObjectMeta::default()
        };
        object.data = json!({"spec": {
            "volumeSnapshotClassName": wanted.class, "source": {"persistentVolumeClaimName": claim},
        }});
        let made = self.api(wanted).create(&PostParams::default(), &object).await;
        let object = made.map_err(|e| failure(&what(name, claim), e))?;
        Ok(Asked { name: name.to_owned(), claim: claim.to_owned(), object })
    }

    /// Watches the snapshot from the state in which it was made, so that nothing is missed.
    async fn await_cut(&self, wanted: &Snapshots, mut snapshot: Asked) -> Result<()> {
        let what = what(&snapshot.name, &snapshot.claim);
        let one = WatchParams::default().fields(&format!("metadata.name={}", snapshot.name));
        loop {
            if is_cut(&what, &snapshot.object.data)? {
                return Ok(());
            }
            let version = snapshot.object.metadata.resource_version.clone().unwrap_or_default();
            let watch = self.api(wanted).watch(&one, &version).await;
            let mut watch = std::pin::pin!(watch.map_err(|e| failure(&what, e))?);
            // One that ends is begun again where it ended.
            while let Some(Ok(event)) = watch.next().await {
                let Some(object) = changed(&what, event)? else { continue };
                snapshot.object = object;
                if is_cut(&what, &snapshot.object.data)? {
                    return Ok(());
                }
            }
        }
    }

    fn api(&self, wanted: &Snapshots) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &wanted.namespace, &resource())
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot"))
}

fn what(name: &str, claim: &str) -> String {
    format!("VolumeSnapshot {name} of claim {claim}")
}

/// A server that is busy or has just started fares better later; what it understood and refused it refuses again.
fn failure(what: &str, error: Error) -> Failure {
    let (reason, why) = match &error {
        Error::Api(status) => {
            let refused = (400..500).contains(&status.code) && !matches!(status.code, 409 | 429);
            let reason = if refused { FailureReason::SnapshotRefused } else { FailureReason::SnapshotFailed };
            (reason, format!("the Kubernetes API answers {}: {}", status.code, status.message))
        }
        error => (FailureReason::SnapshotFailed, sentence(error)),
    };
    Failure::new(reason, format!("{what}: {why}"))
}

/// The state of the object in an event of a watch, if it has one.
fn changed(what: &str, event: WatchEvent<DynamicObject>) -> Result<Option<DynamicObject>> {
    let failed = |why: &str| Failure::new(FailureReason::SnapshotFailed, format!("{what}: {why}"));
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Ok(Some(object)),
        WatchEvent::Bookmark(_) => Ok(None),
        WatchEvent::Deleted(_) => Err(failed("somebody deleted it")),
        WatchEvent::Error(status) => Err(failed(&status.message)),
    }
}

/// Whether the storage has cut it.
fn is_cut(what: &str, object: &Value) -> Result<bool> {
    let status = &object["status"];
    if status["creationTime"].is_string() {
        return Ok(true);
    }
    match status["error"].as_object() {
        None => Ok(false),
        Some(error) => {
            let told = error.get("message").and_then(Value::as_str).unwrap_or("it gives no reason");
            Err(Failure::new(FailureReason::SnapshotFailed, format!("{what} could not be cut: {told}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_cut_when_its_time_stands_in_its_status_whether_it_can_be_read_or_not() {
        let status = |status: Value| is_cut("it", &json!({"metadata": {}, "status": status}));
        assert_eq!(status(json!(null)), Ok(false));
        assert_eq!(status(json!({"readyToUse": false})), Ok(false));
        let cut = json!({"readyToUse": false, "creationTime": "2026-11-23T09:00:00Z"});
        assert_eq!(status(cut), Ok(true));
        let failed = status(json!({"error": {"message": "the pool is full"}})).unwrap_err();
        assert_eq!(failed.reason, FailureReason::SnapshotFailed);
        assert_eq!(failed.message, "it could not be cut: the pool is full");
    }

    #[test]
    fn the_end_of_a_watched_object_is_the_end_of_the_wait() {
        let object = || DynamicObject::new("nightly", &resource());
        let told = |event| changed("it", event).map(|object| object.is_some());
        assert_eq!(told(WatchEvent::Modified(object())), Ok(true));
        assert_eq!(told(WatchEvent::Deleted(object())).unwrap_err().message, "it: somebody deleted it");
        let gone = kube::core::Status::failure("too old", "Expired").with_code(410).boxed();
        assert_eq!(told(WatchEvent::Error(gone)).unwrap_err().message, "it: too old");
    }
}
