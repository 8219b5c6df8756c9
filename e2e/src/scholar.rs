//! The scholar of `examples/arxiv/scholar`: its objects, whoever feeds it and reads it. Alone it has no ChromaDB and only keeps papers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::service::{self, Client, Deployed};
use crate::stage::Stage;

/// Name of the Deployment, its Service and its policy.
pub const SCHOLAR: &str = "scholar";
/// Its claim.
pub const CLAIM: &str = "scholar-state";
/// The ConfigMap with the programs of every scholar.
pub const PROGRAMS: &str = "scholar-program";
/// Its ConfigMap.
pub const CONFIG: &str = "scholar-config";
/// What its .env file holds.
pub const DOTENV: &str = "TOKEN=a-token-of-nobody-else\n";
/// What its papers are on.
const SUBJECT: &str = "the number";

/// Programs, and everything of the only scholar.
pub fn objects(image: &str) -> Vec<Value> {
    let alone = Deployed {
        name: SCHOLAR,
        programs: PROGRAMS,
        program: "scholar.py",
        settings: json!({"OFFLINE_MODE": "false"}),
        dotenv: Some(DOTENV),
    };
    let mut made = vec![programs()];
    made.extend(objects_of(&alone, image));
    made
}

/// The programs.
pub fn programs() -> Value {
    service::programs(
        PROGRAMS,
        &[
            ("scholar.py", include_str!("../../examples/arxiv/scholar/scholar.py")),
            ("collection.py", include_str!("../../examples/arxiv/scholar/collection.py")),
            ("fetch.py", include_str!("../../examples/arxiv/scholar/fetch.py")),
            ("pipeline.py", include_str!("../../examples/arxiv/scholar/pipeline.py")),
        ],
    )
}

/// What one scholar consists of, besides the programs: the service, who may reach it, the CronJob that brings papers, and the one of which
/// recoveries make Jobs that see whether it works.
pub fn objects_of(scholar: &Deployed<'_>, image: &str) -> Vec<Value> {
    let name = scholar.name;
    // On a day that there hardly is.
    let job = |kind: &str, suspend: bool| {
        let mut pod = scholar.pod(image, &format!("{kind}.py"));
        pod["restartPolicy"] = "Never".into();
        let name = format!("{name}-{kind}");
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": {
            "schedule": "0 0 29 2 *", "suspend": suspend, "jobTemplate": {"spec": {"backoffLimit": 0,
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}}}})
    };
    let mut made = scholar.objects(image);
    made.extend([
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": format!("{name}-in")},
            "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"], "ingress": [{}]}}),
        job("fetch", false),
        job("pipeline", true),
    ]);
    made
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

/// Whoever talks to it. Its papers are numbered and all on one subject.
#[derive(Clone, Debug)]
pub struct Scholar {
    client: Client,
    subject: &'static str,
}

impl Scholar {
    /// The scholar `name` once it answers.
    pub async fn serving(stage: &Stage, name: &str, subject: &'static str) -> Result<Self> {
        Ok(Self { client: Client::serving(stage, name).await?, subject })
    }

    /// The same, showing a token.
    pub fn with_token(self, token: &'static str) -> Self {
        Self { client: self.client.with_token(token), ..self }
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.client.get(path).await
    }

    pub async fn post(&self, paper: u64) -> Result<()> {
        self.client.post("papers", &json!({"id": paper, "title": self.title(paper)})).await.map(drop)
    }

    pub fn title(&self, paper: u64) -> String {
        title(self.subject, paper)
    }

    /// The file that it writes for a paper.
    pub fn file(&self, paper: u64) -> String {
        file(self.subject, paper)
    }

    /// Every paper that it serves: they are the first ones without a gap, each as it was sent. Returns how many.
    pub async fn papers(&self) -> Result<u64> {
        let served: BTreeMap<String, String> = serde_json::from_value(self.get("papers").await?)?;
        let last = served.len() as u64;
        for paper in 1..=last {
            let digest = served
                .get(&paper.to_string())
                .with_context(|| format!("paper {paper} of {last} is missing"))?;
            ensure!(*digest == hex(self.file(paper).as_bytes()), "paper {paper} is not as it was sent");
        }
        Ok(last)
    }
}

/// The only scholar once it answers.
pub async fn serving(stage: &Stage) -> Result<Scholar> {
    Scholar::serving(stage, SCHOLAR, SUBJECT).await
}

/// Every paper that its state in `directory` holds: the first ones without a gap, each in the database and as it was sent. Returns how many.
pub fn papers_in(directory: &Path) -> Result<u64> {
    let database = Connection::open(directory.join("scholar.db"))?;
    let mut ids = database.prepare("SELECT id FROM papers ORDER BY id")?;
    let ids: Vec<i64> = ids.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for (paper, id) in (1_u64..).zip(&ids) {
        ensure!(i64::try_from(paper) == Ok(*id), "paper {paper} of {} is missing", ids.len());
        let found = std::fs::read_to_string(directory.join("papers").join(format!("{paper}.json")))?;
        ensure!(found == file(SUBJECT, paper), "paper {paper} is not as it was sent");
    }
    Ok(ids.len() as u64)
}

fn title(subject: &str, paper: u64) -> String {
    format!("On {subject} {paper}")
}

/// As Python writes it.
fn file(subject: &str, paper: u64) -> String {
    format!("{{\"id\": {paper}, \"title\": \"{}\"}}", title(subject, paper))
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
