//! Holdfast as users install it: the chart, by helm, once a run.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::place::{LABEL, Place};
use crate::wait;

/// Where the controller runs.
pub const NAMESPACE: &str = "holdfast-system";
/// Name of the release.
pub const RELEASE: &str = "holdfast";
/// Name of the controller's Deployment.
pub const DEPLOYMENT: &str = "holdfast-controller";
/// The definitions that the chart brings and leaves behind.
const DEFINITIONS: [&str; 5] = [
    "recoveryrepositories.holdfast.dev",
    "backuppolicies.holdfast.dev",
    "recoverypoints.holdfast.dev",
    "recoveryruns.holdfast.dev",
    "drdrills.holdfast.dev",
];

/// Installs the chart under the usual names. A Holdfast that is not ours is left alone, and nothing is played beside it.
pub async fn install(place: &Place) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let ours = |n: &Namespace| n.metadata.labels.as_ref().is_some_and(|l| l.contains_key(LABEL));
    match namespaces.get_opt(NAMESPACE).await? {
        Some(found) if !ours(&found) => {
            bail!(
                "namespace {NAMESPACE} exists already and is not of these stories: is Holdfast installed here?"
            )
        }
        Some(_) => {}
        None => {
            let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE,
                "labels": {LABEL: "system", "pod-security.kubernetes.io/enforce": "restricted"}}});
            let applied = Patch::Apply(&made);
            namespaces.patch(NAMESPACE, &PatchParams::apply("holdfast-e2e"), &applied).await?;
        }
    }
    helm_install(place, RELEASE).await
}

/// The usual release, whatever release the story before left.
pub async fn as_usual(place: &Place) -> Result<()> {
    let listed = releases(place).await?;
    if listed == [RELEASE] {
        return Ok(());
    }
    for release in listed {
        helm_uninstall(place, &release).await?;
    }
    helm_install(place, RELEASE).await
}

async fn releases(place: &Place) -> Result<Vec<String>> {
    let listed = place.helm.run(&["list", "--namespace", NAMESPACE, "--short"], None).await?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// `helm install` under a release name, waiting until the controller is ready.
pub async fn helm_install(place: &Place, release: &str) -> Result<()> {
    let chart = place.chart.to_string_lossy().into_owned();
    let (mover, mover_tag) = split(&place.images.mover);
    let (controller, controller_tag) = split(&place.images.controller);
    let values = [
        format!("mover.image.repository={mover}"),
        format!("mover.image.tag={mover_tag}"),
        format!("controller.image.repository={controller}"),
        format!("controller.image.tag={controller_tag}"),
        "hooks.enabled=true".to_owned(),
    ];
    let values = values.join(",");
    let arguments = [
        "upgrade",
        "--install",
        release,
        &chart,
        "--namespace",
        NAMESPACE,
        "--set",
        &values,
        "--wait",
        "--timeout",
        "120s",
    ];
    place.helm.run(&arguments, None).await.context("the chart can't be installed")?;
    wait_ready(place).await
}

/// Waits until the controller's Deployment is complete.
pub async fn wait_ready(place: &Place) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(place.client.clone(), NAMESPACE);
    wait::object(&api, DEPLOYMENT, "the controller", Duration::from_secs(90), |found| {
        let Some(found) = found else { return Ok(None) };
        let status = found.status.clone().unwrap_or_default();
        let current = status.observed_generation == found.metadata.generation;
        let whole = status.updated_replicas == Some(1)
            && status.ready_replicas == Some(1)
            && status.replicas == Some(1);
        Ok((current && whole).then_some(()))
    })
    .await
}

/// `helm uninstall`.
pub async fn helm_uninstall(place: &Place, release: &str) -> Result<()> {
    let arguments =
        ["uninstall", release, "--namespace", NAMESPACE, "--wait", "--timeout", "60s", "--ignore-not-found"];
    place.helm.run(&arguments, None).await?;
    Ok(())
}

/// Takes the installation away, with the namespace and the definitions that helm leaves.
pub async fn remove(place: &Place) -> Result<()> {
    for release in releases(place).await? {
        helm_uninstall(place, &release).await?;
    }
    let mut arguments = vec!["delete", "customresourcedefinition", "--ignore-not-found"];
    arguments.extend(DEFINITIONS);
    place.kubectl.run(&arguments, None).await?;
    crate::stage::strike(place, NAMESPACE).await
}

fn split(image: &str) -> (&str, &str) {
    image.rsplit_once(':').unwrap_or((image, "latest"))
}
