//! The one thing for which a mover talks to the Kubernetes API: it asks for VolumeSnapshots, and waits until the storage has cut them.
//! While it waits writers are held, so every round trip counts, which is why no controller is asked to do it. Its token may create and
//! watch VolumeSnapshots of its namespace, nothing else.

use std::path::Path;
use std::time::Duration;

use crds::job::{FailureReason, Snapshots};
use crds::names::snapshot_of_try;
use reqwest::{Certificate, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::failure::{Failure, Result, sentence};
use crate::places::Places;

/// The cluster, as this pod's service account may use it.
pub struct Cluster {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

/// A snapshot that was asked for.
struct Asked {
    name: String,
    claim: String,
    object: Value,
}

impl Cluster {
    /// The cluster that this pod runs in.
    pub fn of_this_pod(environment: &Environment, places: &Places) -> Result<Self> {
        let server = environment.api_server.clone().ok_or_else(|| {
            let why = "KUBERNETES_SERVICE_HOST is not set: snapshots are cut by the Job of a controller only";
            Failure::new(FailureReason::InvalidRequest, why)
        })?;
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|e| Failure::unexpected(format!("can't read {}", path.display()), &e))
        };
        let (token, ca) = places.service_account();
        let ca = Certificate::from_pem_bundle(read(&ca)?.as_bytes())
            .map_err(|e| Failure::unexpected("the cluster's certificate authority can't be read", &e))?;
        let http = reqwest::Client::builder()
            .tls_certs_only(ca)
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|e| Failure::unexpected("no client can be made for the Kubernetes API", &e))?;
        Ok(Self { http, base: server, token: read(&token)?.trim().into() })
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
        let object = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {
                "name": name, "namespace": wanted.namespace, "labels": wanted.labels,
                "ownerReferences": [wanted.owner],
            },
            "spec": {
                "volumeSnapshotClassName": wanted.class, "source": {"persistentVolumeClaimName": claim},
            },
        });
        let what = format!("VolumeSnapshot {name} of claim {claim}");
        let request = self.http.post(self.url(wanted)).json(&object);
        let object = self.answer(&what, request).await?.json().await;
        let object = object.map_err(|e| Failure::unexpected(format!("{what}: no answer"), &e))?;
        Ok(Asked { name: name.to_owned(), claim: claim.to_owned(), object })
    }

    /// Watches the snapshot from the state in which it was made, so that nothing is missed.
    async fn await_cut(&self, wanted: &Snapshots, mut snapshot: Asked) -> Result<()> {
        let what = format!("VolumeSnapshot {} of claim {}", snapshot.name, snapshot.claim);
        loop {
            if is_cut(&what, &snapshot.object)? {
                return Ok(());
            }
            let version = snapshot.object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let (one, name) = ("fieldSelector=metadata.name%3D", &snapshot.name);
            let url = format!("{}?watch=true&{one}{name}&resourceVersion={version}", self.url(wanted));
            let mut stream = self.answer(&what, self.http.get(url)).await?;
            let mut text = Vec::new();
            // One that ends is begun again where it ended.
            while let Ok(Some(chunk)) = stream.chunk().await {
                text.extend_from_slice(&chunk);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    snapshot.object = changed(&what, &line)?;
                    if is_cut(&what, &snapshot.object)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn url(&self, wanted: &Snapshots) -> String {
        let Self { base, .. } = self;
        format!("{base}/apis/snapshot.storage.k8s.io/v1/namespaces/{}/volumesnapshots", wanted.namespace)
    }

    async fn answer(&self, what: &str, request: RequestBuilder) -> Result<Response> {
        let failed = |reason, why: String| Failure::new(reason, format!("{what}: {why}"));
        let sent = request.bearer_auth(self.token.expose_secret()).send().await;
        let answer = sent.map_err(|e| failed(FailureReason::SnapshotFailed, sentence(&e.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let told: Value = answer.json().await.unwrap_or_default();
        let told = told["message"].as_str().unwrap_or("it gives no reason").to_owned();
        // A server that is busy or has just started fares better later; what it understood and refused it refuses again.
        let reason = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => FailureReason::SnapshotFailed,
            status if status.is_client_error() => FailureReason::SnapshotRefused,
            _ => FailureReason::SnapshotFailed,
        };
        Err(failed(reason, format!("the Kubernetes API answers {status}: {told}")))
    }
}

/// The state of the object in one line of a watch.
fn changed(what: &str, line: &[u8]) -> Result<Value> {
    let failed = |why: &str| Failure::new(FailureReason::SnapshotFailed, format!("{what}: {why}"));
    let mut event: Value =
        serde_json::from_slice(line).map_err(|_| failed("the watch sent what is no JSON"))?;
    match event["type"].as_str() {
        Some("DELETED") => Err(failed("somebody deleted it")),
        Some("ERROR") => Err(failed(event["object"]["message"].as_str().unwrap_or("the watch failed"))),
        _ => Ok(event["object"].take()),
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
        let line = |kind: &str| json!({"type": kind, "object": {"message": "too old"}}).to_string();
        let told = |kind| changed("it", line(kind).as_bytes());
        assert!(told("MODIFIED").is_ok() && told("ADDED").is_ok());
        assert_eq!(told("DELETED").unwrap_err().message, "it: somebody deleted it");
        assert_eq!(told("ERROR").unwrap_err().message, "it: too old");
        assert!(changed("it", b"<html>").is_err());
    }
}
