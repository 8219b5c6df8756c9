//! Policies that can't be carried out.

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::says;
use crate::manifests;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// Waits until condition `kind` of a policy is False for `reason`; returns the message.
async fn reason(stage: &Stage, name: &str, kind: &str, reason: &str) -> Result<String> {
    wait::reason(&stage.api::<BackupPolicy>(), name, kind, "False", &[reason]).await
}

/// What never gets into the cluster.
pub async fn refused(stage: &Stage) -> Result<()> {
    let good = manifests::policy("never", "primary");
    let with = |path: &[&str], value: Value| {
        let mut made = good.clone();
        let mut at = &mut made["spec"];
        for key in path {
            at = &mut at[*key];
        }
        *at = value;
        made
    };
    let cases: [(Value, &[&str]); 6] = [
        (with(&["schedul"], json!({"cron": "0 4 * * *"})), &["unknown field", "spec.schedul"]),
        (
            with(&["schedule"], json!({"cron": "0 0 4 * * 0"})),
            &["spec.schedule.cron", "six fields", "0 4 * * 0"],
        ),
        (with(&["schedule"], json!({"cron": "every night"})), &["spec.schedule.cron", "five fields"]),
        (with(&["objectives"], json!({"rpo": "30min"})), &["spec.objectives.rpo", "30min", "1h30m"]),
        (with(&["component", "workloads"], json!([])), &["spec.component.workloads"]),
        (
            with(&["component"], json!({"workloads": [{"kind": "StatefulSet", "name": "x"}]})),
            &["spec.component", "set exactly one of chromaDB, application"],
        ),
    ];
    for (policy, words) in cases {
        says(&stage.refused(&policy).await?, words)?;
    }
    Ok(())
}

/// What only the controller can tell: zones, schedules against objectives, workloads and claims that are not what was said.
pub async fn sources(stage: &Stage) -> Result<()> {
    stage
        .apply(&[
            manifests::s3_secret("s3-sources", &stage.place.s3.writer),
            manifests::key_secret("sources-key", "sources-key-that-is-long-enough"),
            {
                let mut made =
                    manifests::repository("sources", &stage.place.s3, &format!("{}sources/", stage.prefix));
                made["spec"]["s3"]["credentials"]["writer"]["secretRef"]["name"] = json!("s3-sources");
                made["spec"]["encryption"]["keySecretRef"]["name"] = json!("sources-key");
                made
            },
        ])
        .await?;
    let on = |name: &str, workload: &str| {
        let mut made = manifests::policy(name, "sources");
        made["spec"]["component"]["workloads"] = json!([{"kind": "StatefulSet", "name": workload}]);
        made
    };
    let mut zone = on("bad-zone", "nowhere");
    zone["spec"]["schedule"] = json!({"cron": "0 4 * * *", "timeZone": "Mars/Olympus"});
    let mut words = on("bad-words", "nowhere");
    words["spec"]["schedule"] = json!({"cron": "61 25 * * *"});
    let mut late = on("too-seldom", "nowhere");
    late["spec"]["schedule"] = json!({"cron": "0 * * * *"});
    late["spec"]["objectives"] = json!({"rpo": "30m", "rto": "2h"});
    stage
        .apply(&[
            zone,
            words,
            late,
            on("no-workload", "nowhere"),
            manifests::policy("no-repository", "there-is-none"),
            idle(stage, "pending", "no-such-class"),
            on("pending", "pending"),
            idle(stage, "other", ""),
            on("not-chroma", "other"),
        ])
        .await?;
    says(&reason(stage, "bad-zone", "Ready", "InvalidSpec").await?, &["Mars/Olympus"])?;
    says(&reason(stage, "bad-words", "Ready", "InvalidSpec").await?, &["61 25 * * *"])?;
    says(&reason(stage, "too-seldom", "Ready", "ScheduleMissesRPO").await?, &["30m", "*/15 * * * *"])?;
    says(&reason(stage, "no-workload", "SourceReady", "WorkloadNotFound").await?, &["nowhere"])?;
    says(&reason(stage, "no-repository", "RepositoryReady", "NotFound").await?, &["there-is-none"])?;
    says(&reason(stage, "pending", "SourceReady", "ClaimPending").await?, &["data-pending-0"])?;
    // Only a look into the volume tells that it is no ChromaDB's: that of the first capture.
    stage.acknowledge("sources").await?;
    stage.request_capture("not-chroma").await?;
    let message = reason(stage, "not-chroma", "SourceReady", "ChromaDBNotFound").await?;
    says(&message, &["chroma.sqlite3"])?;
    stage.say("zones, words, workloads, claims: each with its sentence");
    Ok(())
}

/// A StatefulSet with a claim that holds no ChromaDB.
fn idle(stage: &Stage, name: &str, class: &str) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}});
    if !class.is_empty() {
        spec["storageClassName"] = json!(class);
    }
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": {
        "serviceName": name, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "idle", "image": stage.place.images.chromadb, "imagePullPolicy": "IfNotPresent",
                "command": ["/usr/bin/python3", "-c", "import signal; signal.pause()"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": spec}]}})
}

/// In a Terminating namespace nothing can start, and nothing holds its end up.
pub async fn terminating(stage: &Stage) -> Result<()> {
    let ending = Stage::set(&stage.place, &format!("{}-ending", stage.story)).await?;
    ending
        .apply(&[
            // Holds the namespace in Terminating until we have looked.
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holds", "finalizers": ["e2e.holdfast.dev/look"]}}),
            manifests::s3_secret("s3", &stage.place.s3.writer),
            manifests::key_secret("repository-key", &ending.key),
            manifests::repository(manifests::REPOSITORY, &stage.place.s3, &ending.prefix),
        ])
        .await?;
    let mut held = manifests::policy("held", manifests::REPOSITORY);
    held["metadata"]["finalizers"] = json!(["e2e.holdfast.dev/look"]);
    ending.apply(&[held]).await?;
    ending.acknowledge(manifests::REPOSITORY).await?;
    let namespaces: Api<Namespace> = Api::all(stage.place.client.clone());
    namespaces.delete(&ending.namespace, &DeleteParams::default()).await?;
    wait::object(&ending.api::<BackupPolicy>(), "held", "the policy's deletion", PATIENCE, |policy| {
        Ok(policy.and_then(|p| p.metadata.deletion_timestamp.clone()).map(|_| ()))
    })
    .await?;
    ending.request_capture("held").await?;
    // The answer to a later request, of a policy elsewhere, shows that the controller has had its look at this one.
    let asked = stage.request_capture("not-chroma").await?;
    wait::object(&stage.api::<BackupPolicy>(), "not-chroma", "the request to be seen", PATIENCE, |policy| {
        let seen = policy.and_then(|p| p.status.as_ref()).and_then(|s| s.observed_requested_at);
        Ok(seen.filter(|seen| *seen >= asked).map(|_| ()))
    })
    .await?;
    let captures = ending.api::<Job>().list(&ListParams::default()).await?;
    let started: Vec<_> = captures
        .iter()
        .filter(|j| j.metadata.name.as_deref().is_some_and(|n| n.contains("capture")))
        .collect();
    ensure!(started.is_empty(), "a capture was started in a Terminating namespace");
    let free = json!({"metadata": {"finalizers": null}});
    for (name, policy) in [("held", true), ("holds", false)] {
        if policy {
            ending.api::<BackupPolicy>().patch(name, &PatchParams::default(), &Patch::Merge(&free)).await?;
        } else {
            let api = ending.api::<k8s_openapi::api::core::v1::ConfigMap>();
            api.patch(name, &PatchParams::default(), &Patch::Merge(&free)).await?;
        }
    }
    ending.strike().await.context("a Terminating namespace does not end: something of Holdfast holds it")
}
