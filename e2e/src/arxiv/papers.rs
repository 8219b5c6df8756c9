//! The two scholars, and what each has to hold: its papers on its volume, and the same ones in its collection.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use tests::writer::{Ledger, Record, Request, Server, Verb};

use crate::scholar::Scholar;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// One of them.
pub struct Instance {
    /// Its Deployment, Service and policy.
    pub name: &'static str,
    pub collection: &'static str,
    /// What its papers are on.
    subject: &'static str,
    token: &'static str,
    pub dotenv: &'static str,
}

/// Both.
pub const SCHOLARS: [Instance; 2] = [
    Instance {
        name: "ai-scholar",
        collection: "ai-papers",
        subject: "learning from examples of the kind",
        token: "a-token-of-ai-scholar",
        dotenv: "TOKEN=a-token-of-ai-scholar\n",
    },
    Instance {
        name: "quant-scholar",
        collection: "quant-papers",
        subject: "the price of options of the kind",
        token: "a-token-of-quant-scholar",
        dotenv: "TOKEN=a-token-of-quant-scholar\n",
    },
];

/// What the CronJobs find when they are told to bring papers.
const FEED: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom"><entry>
    <id>http://arxiv.org/abs/2311.01234v1</id><title>On what a CronJob brings</title><summary>It was brought.</summary>
</entry></feed>"#;
/// The number of the paper in it.
const BROUGHT: &str = "231101234";

impl Instance {
    pub fn settings(&self) -> Value {
        json!({"CHROMA_URL": "http://chromadb:8000", "COLLECTION": self.collection, "OFFLINE_MODE": "false",
            "ASK_TOKEN": "true", "CHECK_SECONDS": "1", "SCHOLAR_URL": format!("http://{}:8000", self.name),
            "FEED": "file:///config/papers.atom", "papers.atom": FEED})
    }

    /// Whoever talks to it, once it answers.
    pub async fn serving(&self, stage: &Stage) -> Result<Scholar> {
        Ok(Scholar::serving(stage, self.name, self.subject).await?.with_token(self.token))
    }

    /// Brings the papers with these numbers.
    pub async fn feed(&self, scholar: &Scholar, papers: RangeInclusive<u64>) -> Result<()> {
        for paper in papers {
            scholar.post(paper).await.with_context(|| format!("paper {paper} of {}", self.name))?;
        }
        Ok(())
    }

    /// Waits until its volume and its collection have the same number of papers, that one, and nothing waits or hinders.
    pub async fn agrees(&self, scholar: &Scholar, papers: u64) -> Result<()> {
        let wanted = json!({"papers": papers, "ingested": papers, "waiting": 0, "hindered": ""});
        wait::answer(&format!("{} and ChromaDB to agree", self.name), PATIENCE, || async {
            let status = scholar.get("status").await?;
            ensure!(status == wanted, "it says {status}, and not {wanted}");
            Ok(())
        })
        .await
    }

    /// What both sides hold, held against what was sent: the papers 1 to `papers`, no others, on the volume and in the collection.
    pub async fn truth(&self, scholar: &Scholar, server: &Server, papers: u64) -> Result<Truth> {
        let served = scholar.papers().await.with_context(|| format!("papers of {}", self.name))?;
        ensure!(served == papers, "{} has {served} papers and not {papers}", self.name);
        let records = server.everything(self.collection).await?;
        ensure!(records.len() as u64 == papers, "{} has {} records", self.collection, records.len());
        for paper in 1..=papers {
            let record = records.get(&paper.to_string());
            let record = record.with_context(|| format!("paper {paper} is not in {}", self.collection))?;
            ensure!(record.document == scholar.title(paper), "its document is {}", record.document);
            let metadata = json!({"title": scholar.title(paper), "file": scholar.file(paper)});
            ensure!(json!(record.metadata) == metadata, "its metadata is {:?}", record.metadata);
        }
        Ok(Truth { config: scholar.get("config").await?, records })
    }

    /// A query is answered with the paper that has just these words.
    pub async fn finds(&self, scholar: &Scholar, paper: u64) -> Result<()> {
        let words = scholar.title(paper).replace(' ', "+");
        let found = scholar.get(&format!("query?n=1&text={words}")).await?;
        ensure!(found[0]["title"] == json!(scholar.title(paper)), "a query for paper {paper} finds {found}");
        Ok(())
    }

    /// Takes papers out of its collection, as a ChromaDB lacks them that is older than the scholar.
    pub async fn forget(&self, server: &Server, papers: &[u64]) -> Result<()> {
        let collections = server.collections().await?;
        let id = collections.iter().find(|(name, _)| name == self.collection).map(|(_, id)| id);
        let records = papers.iter().map(|paper| (paper.to_string(), None)).collect();
        let request = Request { verb: Verb::Delete, records };
        Ok(server.send(id.context("there is no such collection")?, &request).await?)
    }

    /// Has its CronJob bring papers now: so settings, programs and the token of its Secret fit together.
    pub async fn fetches(&self, stage: &Stage, scholar: &Scholar) -> Result<()> {
        let (name, job) = (self.name, format!("{}-now", self.name));
        stage.kubectl(&["create", "job", &job, &format!("--from=cronjob/{name}-fetch")]).await?;
        wait::answer(&format!("{name} to have the paper that its CronJob brings"), PATIENCE, || async {
            let papers = scholar.get("papers").await?;
            ensure!(papers[BROUGHT].is_string(), "it has {papers}");
            Ok(())
        })
        .await
    }
}

/// What one of them held, and what it was configured with.
#[derive(PartialEq)]
pub struct Truth {
    config: Value,
    records: BTreeMap<String, Record>,
}

impl Truth {
    /// Writes its records into the ledger, as if one request had brought all of them until `now`.
    pub fn note(&self, ledger: &mut Ledger, instance: &Instance, now: Timestamp) {
        let records = self.records.iter().map(|(id, record)| (id.clone(), Some(record.clone()))).collect();
        let index = ledger.begin(instance.collection, Request { verb: Verb::Upsert, records }, now);
        ledger.acknowledge(instance.collection, index, now);
    }
}
