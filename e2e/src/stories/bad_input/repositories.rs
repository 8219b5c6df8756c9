//! Repositories that can't work, or not yet.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::RecoveryRepository;
use crds::reference::REQUESTED_AT;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::says;
use crate::manifests;
use crate::place::S3;
use crate::stage::Stage;
use crate::wait;

fn with_secrets(stage: &Stage, name: &str, s3: &S3, credentials: &str, key: &str) -> Value {
    let mut made = manifests::repository(name, s3, &format!("{}{name}/", stage.prefix));
    made["spec"]["s3"]["credentials"]["writer"]["secretRef"]["name"] = json!(credentials);
    made["spec"]["encryption"]["keySecretRef"]["name"] = json!(key);
    made
}

/// Waits until a repository is not Ready for one of `reasons`; returns the message.
async fn refusal(stage: &Stage, name: &str, reasons: &[&str]) -> Result<String> {
    wait::reason(&stage.api::<RecoveryRepository>(), name, "Ready", "False", reasons).await
}

/// What never gets into the cluster.
pub async fn refused(stage: &Stage) -> Result<()> {
    let good = manifests::repository("never", &stage.place.s3, "never/");
    let mut unknown = good.clone();
    unknown["spec"]["s3"]["bukcet"] = json!("typo");
    says(&stage.refused(&unknown).await?, &["unknown field", "spec.s3.bukcet"])?;
    let mut bare = good.clone();
    bare["spec"]["s3"]["endpoint"] = json!("s3.example.com");
    says(&stage.refused(&bare).await?, &["spec.s3.endpoint", "https://s3.example.com"])?;
    let mut keyless = good.clone();
    keyless["spec"].as_object_mut().context("a spec")?.remove("encryption");
    says(&stage.refused(&keyless).await?, &["spec.encryption", "Required"])?;
    let mut slashless = good;
    slashless["spec"]["s3"]["prefix"] = json!("arxiv");
    says(&stage.refused(&slashless).await?, &["spec.s3.prefix", "ending in a slash"])
}

/// A key that is missing, well known, or another one than the repository was made with.
pub async fn keys(stage: &Stage) -> Result<()> {
    let s3 = &stage.place.s3;
    stage
        .apply(&[
            manifests::s3_secret("s3", &s3.writer),
            manifests::key_secret("default-key", "changeme"),
            manifests::key_secret("first-key", "long-enough-and-the-first-one"),
            with_secrets(stage, "no-key", s3, "s3", "a-key-that-is-not-there"),
            with_secrets(stage, "default-key", s3, "s3", "default-key"),
            with_secrets(stage, "first-key", s3, "s3", "first-key"),
        ])
        .await?;
    let message = refusal(stage, "default-key", &["KeyUnsafe"]).await?;
    says(&message, &["key"])?;
    tokio::try_join!(missing_key(stage), wrong_key(stage)).map(drop)
}

/// The missing one comes: nobody has to do more.
async fn missing_key(stage: &Stage) -> Result<()> {
    let message = refusal(stage, "no-key", &["KeyMissing"]).await?;
    says(&message, &["a-key-that-is-not-there"])?;
    stage
        .apply(&[manifests::key_secret("a-key-that-is-not-there", "late-but-long-enough-to-be-one")])
        .await?;
    refusal(stage, "no-key", &["KeyNotEscrowed"]).await?;
    stage.say("a missing key: found when it had come");
    stage.acknowledge("no-key").await.map(drop)
}

/// Another key for the same place. It is put right, and asked for by the annotation: nobody has to wait.
async fn wrong_key(stage: &Stage) -> Result<()> {
    refusal(stage, "first-key", &["KeyNotEscrowed"]).await?;
    let mut other = with_secrets(stage, "wrong-key", &stage.place.s3, "s3", "another-key");
    other["spec"]["s3"]["prefix"] = json!(format!("{}first-key/", stage.prefix));
    stage.apply(&[manifests::key_secret("another-key", "long-enough-and-yet-the-wrong-one"), other]).await?;
    let message = refusal(stage, "wrong-key", &["KeyMismatch"]).await?;
    says(&message, &["key"])?;
    stage.apply(&[manifests::key_secret("another-key", "long-enough-and-the-first-one")]).await?;
    let api = stage.api::<RecoveryRepository>();
    let now = Timestamp::now();
    let asked = json!({"metadata": {"annotations": {REQUESTED_AT: now.to_string()}}});
    api.patch("wrong-key", &PatchParams::default(), &Patch::Merge(asked)).await?;
    wait::object(&api, "wrong-key", "the right key to be found at once", Duration::from_secs(60), |repo| {
        let status = repo.and_then(|r| r.status.clone()).unwrap_or_default();
        let known = wait::condition(&status.conditions, "KeyVerified").is_some_and(|c| c.status == "True");
        // The Secret may have been found by an attempt of the controller's own: the request still was acted upon.
        Ok((known && status.observed_requested_at == Some(now)).then_some(()))
    })
    .await?;
    stage.say("a wrong key: put right, and found when it was asked for");
    Ok(())
}

/// A bucket that is missing or that may only be read; no credentials at all.
pub async fn access(stage: &Stage) -> Result<()> {
    let s3 = &stage.place.s3;
    let missing = S3 { bucket: "holdfast-e2e-no-such-bucket".to_owned(), ..s3.clone() };
    stage
        .apply(&[
            manifests::s3_secret("s3-writer", &s3.writer),
            manifests::key_secret("some-key", "some-key-that-is-long-enough"),
            with_secrets(stage, "no-bucket", &missing, "s3-writer", "some-key"),
            with_secrets(stage, "no-credentials", s3, "s3-that-is-not-there", "some-key"),
        ])
        .await?;
    let message =
        refusal(stage, "no-bucket", &["BucketUnreachable", "RepositoryMissing", "AccessDenied"]).await?;
    says(&message, &["holdfast-e2e-no-such-bucket"])?;
    let message = refusal(stage, "no-credentials", &["CredentialsMissing"]).await?;
    says(&message, &["s3-that-is-not-there"])?;
    let Some(reader) = &s3.reader else {
        stage.say("read-only credentials: not tried, none were given");
        return Ok(());
    };
    stage
        .apply(&[
            manifests::s3_secret("s3-reader", reader),
            with_secrets(stage, "may-only-read", s3, "s3-reader", "some-key"),
        ])
        .await?;
    let message = refusal(stage, "may-only-read", &["AccessDenied"]).await?;
    ensure!(!message.is_empty(), "AccessDenied says nothing");
    Ok(())
}

/// A server that can't be reached: parked, tried again, Ready by itself when it is there.
pub async fn unreachable(stage: &Stage) -> Result<()> {
    let s3 = &stage.place.s3;
    let Some((host, port)) = address(&s3.endpoint) else {
        stage.say("an unreachable server: not tried, the endpoint is no address");
        return Ok(());
    };
    let away = S3 { endpoint: format!("http://later.{}.svc:{port}", stage.namespace), ..s3.clone() };
    stage
        .apply(&[
            manifests::s3_secret("s3-away", &s3.writer),
            manifests::key_secret("away-key", "away-key-that-is-long-enough"),
            with_secrets(stage, "away", &away, "s3-away", "away-key"),
        ])
        .await?;
    let message = refusal(stage, "away", &["BucketUnreachable"]).await?;
    says(&message, &["later"])?;
    stage.say(format!("an unreachable server: {message}"));
    // It comes: a Service by that name, in front of the real server.
    stage
        .apply(&[
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "later"}, "spec": {"ports": [{"port": port}]}}),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "later",
                "labels": {"kubernetes.io/service-name": "later"}}, "addressType": "IPv4",
                "endpoints": [{"addresses": [host]}], "ports": [{"port": port}]}),
        ])
        .await?;
    let api = stage.api::<RecoveryRepository>();
    wait::object(&api, "away", "the repository to recover by itself", Duration::from_secs(150), |repo| {
        let status = repo.and_then(|r| r.status.clone()).unwrap_or_default();
        Ok(wait::condition(&status.conditions, "BackendReachable").filter(|c| c.status == "True").map(|_| ()))
    })
    .await?;
    stage.say("the server came, and the repository with it");
    Ok(())
}

/// Host and port of an endpoint that is an IPv4 address.
fn address(endpoint: &str) -> Option<(String, u16)> {
    let (host, port) = endpoint.strip_prefix("http://")?.trim_end_matches('/').rsplit_once(':')?;
    host.parse::<std::net::Ipv4Addr>().ok()?;
    Some((host.to_owned(), port.parse().ok()?))
}
