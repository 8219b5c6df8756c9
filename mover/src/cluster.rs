//! The cluster, as the service account of this pod may use it. Few movers have one, and those have no key: ARCHITECTURE.md says which.

use std::time::{Duration, Instant};

use crds::job::FailureReason;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use serde_json::json;

use crate::environment::Environment;
use crate::failure::{Failure, Result, sentence};
use crate::places::Places;

/// The cluster that this pod runs in.
pub async fn of_this_pod(environment: &Environment, places: &Places) -> Result<Client> {
    let server = environment.api_server.clone().ok_or_else(|| {
        let why = "KUBERNETES_SERVICE_HOST is not set: this is done by the Job of a controller only";
        Failure::new(FailureReason::InvalidRequest, why)
    })?;
    let (token, ca) = places.service_account();
    // The token's file and not what it says: the kubelet writes a new one before it is too old.
    let known = json!({
        "clusters": [{"name": "here", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "account", "user": {"tokenFile": token}}],
        "contexts": [{"name": "this", "context": {"cluster": "here", "user": "account"}}],
        "current-context": "this",
    });
    let failed =
        |e: &dyn std::error::Error| Failure::unexpected("no client can be made for the Kubernetes API", e);
    let known: Kubeconfig = serde_json::from_value(known).map_err(|e| failed(&e))?;
    let mut config =
        Config::from_custom_kubeconfig(known, &KubeConfigOptions::default()).await.map_err(|e| failed(&e))?;
    config.proxy_url = None;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(|e| failed(&e))
}

/// What the API server said, or why it said nothing.
pub fn said(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("the API server answers {}: {}", status.code, status.message),
        error => sentence(error),
    }
}

/// Whether the API server may not know yet of a right that was given a moment before `begun`: it tells nobody when it does. It is waited for `within` this.
pub fn not_yet(error: &Error, begun: Instant, within: Duration) -> bool {
    matches!(error, Error::Api(status) if status.code == 403) && begun.elapsed() < within
}
