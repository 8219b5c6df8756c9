//! A small real service beside the ChromaDB, `examples/arxiv/scholar`: its objects, and whoever feeds it and reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use rusqlite::Connection;
use serde_json::{Value, json};
use tests::writer::Address;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// Name of the Deployment, its Service and its policy.
pub const SCHOLAR: &str = "scholar";
/// Its claim.
pub const CLAIM: &str = "scholar-state";
/// What its .env file holds.
pub const DOTENV: &str = "TOKEN=a-token-of-nobody-else\n";

const PROGRAM: &str = include_str!("../../examples/arxiv/scholar/scholar.py");
const COLLECTION: &str = include_str!("../../examples/arxiv/scholar/collection.py");
const SHARED: &str = include_str!("../../examples/arxiv/service.py");

/// Deployment, claim, configuration, .env Secret, Service, CronJob, NetworkPolicy. It runs as nobody in particular.
pub fn objects(image: &str) -> Vec<Value> {
    let labels = json!({"app": SCHOLAR});
    let pod = |command: Value| {
        json!({
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": 1500, "runAsGroup": 1500, "fsGroup": 1500},
            "containers": [{
                "name": SCHOLAR, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
                "env": [{"name": "STATE", "value": "/state"}, {"name": "DOTENV", "value": "/secret/.env"}],
                "envFrom": [{"configMapRef": {"name": "scholar-config"}}],
                "volumeMounts": [
                    {"name": "state", "mountPath": "/state"}, {"name": "program", "mountPath": "/program"},
                    {"name": "secret", "mountPath": "/secret"}],
            }],
            "volumes": [
                {"name": "state", "persistentVolumeClaim": {"claimName": CLAIM}},
                {"name": "program", "configMap": {"name": "scholar-program"}},
                {"name": "secret", "secret": {"secretName": "scholar-env"}}],
        })
    };
    let mut serving = pod(json!(["python3", "/program/scholar.py"]));
    serving["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 1});
    let mut fetching = pod(json!(["true"]));
    fetching["restartPolicy"] = "Never".into();
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scholar-config"},
            "data": {"OFFLINE_MODE": "false"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scholar-program"},
            "data": {"scholar.py": PROGRAM, "collection.py": COLLECTION, "service.py": SHARED}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scholar-env"}, "stringData": {".env": DOTENV}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": SCHOLAR},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8000}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "scholar-in"},
            "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": [{}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": SCHOLAR}, "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": serving}}}),
        // On a day that there hardly is.
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "scholar-fetch"}, "spec": {
            "schedule": "0 0 29 2 *",
            "jobTemplate": {"spec": {"template": {"metadata": {"labels": {"app": "scholar-fetch"}}, "spec": fetching}}}}}),
    ]
}

/// Its policy, without a slot near now.
pub fn policy(repository: &str) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": SCHOLAR}, "spec": {
        "component": {
            "displayName": "AI Scholar", "application": {},
            "workloads": [{"kind": "Deployment", "name": SCHOLAR}, {"kind": "CronJob", "name": "scholar-fetch"}]},
        "schedule": {"cron": "0 0 29 2 *"}, "objectives": {"rto": "4h", "rpo": "48000h"},
        "repositoryRef": {"name": repository}}})
}

/// Whoever talks to it.
#[derive(Clone, Debug)]
pub struct Scholar {
    http: reqwest::Client,
    address: Arc<dyn Address>,
}

impl Scholar {
    pub fn new(address: Arc<dyn Address>) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { http, address })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}/{path}", self.address.url().await?);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn post(&self, paper: u64) -> Result<()> {
        let url = format!("{}/papers", self.address.url().await?);
        let body = json!({"id": paper, "title": title(paper)});
        self.http.post(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// Every paper that it serves: they are the first ones without a gap, each as it was sent. Returns how many.
    pub async fn papers(&self) -> Result<u64> {
        let served: BTreeMap<String, String> = serde_json::from_value(self.get("papers").await?)?;
        let last = served.len() as u64;
        for paper in 1..=last {
            let digest = served
                .get(&paper.to_string())
                .with_context(|| format!("paper {paper} of {last} is missing"))?;
            ensure!(*digest == digest_of(paper), "paper {paper} is not as it was sent");
        }
        Ok(last)
    }
}

/// The service once it answers.
pub async fn serving(stage: &Stage) -> Result<Scholar> {
    wait::object(&stage.api::<Deployment>(), SCHOLAR, "a ready scholar", PATIENCE, |deployment| {
        let ready = deployment.and_then(|d| d.status.as_ref()).and_then(|status| status.ready_replicas);
        Ok((ready == Some(1)).then_some(()))
    })
    .await?;
    let scholar = Scholar::new(stage.place.reach.service(&stage.namespace, SCHOLAR).await?)?;
    wait::answer("the scholar's health", PATIENCE, || scholar.get("healthz")).await?;
    Ok(scholar)
}

/// Every paper that its state in `directory` holds: the first ones without a gap, each in the database and as it was sent. Returns how many.
pub fn papers_in(directory: &Path) -> Result<u64> {
    let database = Connection::open(directory.join("scholar.db"))?;
    let mut ids = database.prepare("SELECT id FROM papers ORDER BY id")?;
    let ids: Vec<i64> = ids.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for (paper, id) in (1_u64..).zip(&ids) {
        ensure!(i64::try_from(paper) == Ok(*id), "paper {paper} of {} is missing", ids.len());
        let file = std::fs::read(directory.join("papers").join(format!("{paper}.json")))?;
        ensure!(hex(&file) == digest_of(paper), "paper {paper} is not as it was sent");
    }
    Ok(ids.len() as u64)
}

fn title(paper: u64) -> String {
    format!("On the number {paper}")
}

/// SHA-256 of the file that Python writes for a paper.
fn digest_of(paper: u64) -> String {
    hex(format!("{{\"id\": {paper}, \"title\": \"{}\"}}", title(paper)).as_bytes())
}

fn hex(file: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends one paper after the other, until it is told to stop.
pub struct Feed {
    stored: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Feed {
    pub fn start(scholar: Scholar) -> Self {
        let (told, stored) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            for paper in 1..=100_000 {
                if *stopped.borrow() {
                    break;
                }
                scholar.post(paper).await.with_context(|| format!("paper {paper}"))?;
                told.send_replace(paper);
            }
            Ok(())
        });
        Self { stored, stop, task }
    }

    /// How many were acknowledged.
    pub fn stored(&self) -> u64 {
        *self.stored.borrow()
    }

    /// Waits until so many more were acknowledged.
    pub async fn progress(&mut self, more: u64) -> Result<()> {
        let until = self.stored() + more;
        let waited =
            tokio::time::timeout(Duration::from_secs(60), self.stored.wait_for(|n| *n >= until)).await;
        waited.with_context(|| format!("no {more} papers more are taken"))?.context("the feed ended")?;
        Ok(())
    }

    /// Ends it, and returns how many papers were acknowledged.
    pub async fn stop(self) -> Result<u64> {
        self.stop.send_replace(true);
        self.task.await??;
        Ok(*self.stored.borrow())
    }
}
