//! A running ChromaDB, spoken to over its API as applications do: the second version, or the first where it has no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Record, Request, Verb};

/// Where the second version of the API has the default database.
const V2: &str = "api/v2/tenants/default_tenant/databases/default_database";
/// And the first, which takes it when none is named.
const V1: &str = "api/v1";
/// Records asked for at once.
const PAGE: usize = 500;

/// Where a server is. It may move: a forwarded port dies with the pod behind it.
pub trait Address: Send + Sync + fmt::Debug {
    /// Its base URL now, without a slash at its end.
    fn url(&self) -> BoxFuture<'_, Result<String>>;
}

/// One that doesn't move.
impl Address for String {
    fn url(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async { Ok(self.clone()) })
    }
}

/// Why a request was not carried out, or not known to be.
#[derive(Debug)]
pub enum Refused {
    /// No answer, or one that says that the server has trouble: repeating may help.
    Unanswered(String),
    /// The server understood and refuses.
    Final(String),
}

impl Refused {
    /// Whether repeating the same request is useless.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(why) => write!(f, "no answer from ChromaDB: {why}"),
            Self::Final(why) => write!(f, "ChromaDB refuses: {why}"),
        }
    }
}

impl std::error::Error for Refused {}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    http: reqwest::Client,
    address: Arc<dyn Address>,
    settings: Settings,
    /// Where the default database is, once it is known.
    base: Arc<OnceCell<&'static str>>,
}

/// Where a server takes the settings of a collection's index from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settings {
    /// Its configuration.
    #[default]
    Configuration,
    /// Its metadata, as before 1.0.
    Metadata,
}

impl Server {
    /// The server at `address`; nothing is sent yet.
    pub fn new(address: Arc<dyn Address>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { http, address, settings: Settings::default(), base: Arc::default() })
    }

    /// The same, of another release.
    #[must_use]
    pub fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Whether it answers at all.
    pub async fn heartbeat(&self) -> Result<()> {
        self.beat("v2").await?.error_for_status()?;
        Ok(())
    }

    async fn beat(&self, version: &str) -> Result<reqwest::Response> {
        let url = format!("{}/api/{version}/heartbeat", self.address.url().await?);
        Ok(self.http.get(&url).send().await?)
    }

    /// URL of something in the default database. Which API the server speaks is asked until it has said so.
    async fn url(&self, path: &str) -> Result<String> {
        let known = self.base.get_or_try_init(|| async {
            let lacks = self.beat("v2").await?.status() == StatusCode::NOT_FOUND;
            let first = lacks && self.beat("v1").await?.status().is_success();
            anyhow::Ok(if first { V1 } else { V2 })
        });
        let base = known.await?;
        Ok(format!("{}/{base}/{path}", self.address.url().await?))
    }

    /// Makes the collection unless it exists; returns its id. In space `l2`, where a server answers the bits it was sent: a
    /// `cosine` vector comes back as its direction times its length, which differs from it in the last bits.
    pub async fn create_collection(&self, name: &str, sync_threshold: u32) -> Result<String> {
        let batch = sync_threshold.min(100);
        let (key, settings) = match self.settings {
            Settings::Configuration => {
                let hnsw = json!({"space": "l2", "sync_threshold": sync_threshold, "batch_size": batch});
                ("configuration", json!({"hnsw": hnsw}))
            }
            Settings::Metadata => {
                let (sync, size) = ("hnsw:sync_threshold", "hnsw:batch_size");
                ("metadata", json!({"hnsw:space": "l2", sync: sync_threshold, size: batch}))
            }
        };
        let body = json!({"name": name, "get_or_create": true, key: settings});
        let made = self.post("collections", &body).await?;
        made["id"].as_str().map(str::to_owned).with_context(|| format!("collection {name} got no id: {made}"))
    }

    /// Drops a collection with everything in it.
    pub async fn drop_collection(&self, name: &str) -> Result<()> {
        let url = self.url(&format!("collections/{name}")).await?;
        let answer = self.http.delete(&url).send().await?;
        let status = answer.status();
        anyhow::ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }

    /// Name and id of every collection.
    pub async fn collections(&self) -> Result<Vec<(String, String)>> {
        let url = self.url("collections?limit=1000&offset=0").await?;
        let listed: Vec<Value> = self.http.get(&url).send().await?.error_for_status()?.json().await?;
        let word = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
        Ok(listed.iter().map(|c| (word(c, "name"), word(c, "id"))).collect())
    }

    /// Sends one request.
    pub async fn send(&self, collection_id: &str, request: &Request) -> Result<(), Refused> {
        let ids: Vec<&String> = request.records.keys().collect();
        let contents: Vec<&Record> = request.records.values().flatten().collect();
        let (verb, body) = match request.verb {
            Verb::Delete => ("delete", json!({"ids": ids})),
            Verb::Add => ("add", body_of(&ids, &contents)),
            Verb::Update => ("update", body_of(&ids, &contents)),
            Verb::Upsert => ("upsert", body_of(&ids, &contents)),
        };
        self.post(&format!("collections/{collection_id}/{verb}"), &body).await.map(|_| ())
    }

    /// Every record of a collection, with its vector, document and metadata.
    pub async fn everything(&self, name: &str) -> Result<BTreeMap<String, Record>> {
        let collections = self.collections().await?;
        let Some((_, id)) = collections.iter().find(|(known, _)| known == name) else {
            bail!("there is no collection {name}, only {collections:?}");
        };
        let mut all = BTreeMap::new();
        loop {
            let body = json!({"include": ["embeddings", "documents", "metadatas"], "limit": PAGE, "offset": all.len()});
            let page = self.post(&format!("collections/{id}/get"), &body).await?;
            let before = all.len();
            read_page(&page, &mut all)?;
            let got = page["ids"].as_array().map_or(0, Vec::len);
            if all.len() != before + got {
                bail!("collection {name} lists an id twice");
            }
            if got < PAGE {
                return Ok(all);
            }
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        let unanswered = |e: &dyn fmt::Display| Refused::Unanswered(e.to_string());
        let url = self.url(path).await.map_err(|e| unanswered(&e))?;
        let answer = self.http.post(&url).json(body).send().await.map_err(|e| unanswered(&e))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| unanswered(&e))?;
        if status.is_success() {
            serde_json::from_str(&text).map_err(|e| unanswered(&e))
        } else if status.is_client_error() {
            Err(Refused::Final(format!("{status}: {text}")))
        } else {
            Err(Refused::Unanswered(format!("{status}: {text}")))
        }
    }
}

fn body_of(ids: &[&String], contents: &[&Record]) -> Value {
    json!({
        "ids": ids,
        "embeddings": contents.iter().map(|r| &r.vector).collect::<Vec<_>>(),
        "documents": contents.iter().map(|r| &r.document).collect::<Vec<_>>(),
        "metadatas": contents.iter().map(|r| &r.metadata).collect::<Vec<_>>(),
    })
}

fn read_page(page: &Value, all: &mut BTreeMap<String, Record>) -> Result<()> {
    let list = |key: &str| page[key].as_array().cloned().unwrap_or_default();
    let (ids, vectors, documents, metadatas) =
        (list("ids"), list("embeddings"), list("documents"), list("metadatas"));
    if vectors.len() != ids.len() || documents.len() != ids.len() || metadatas.len() != ids.len() {
        bail!("a page of {} ids has {} vectors", ids.len(), vectors.len());
    }
    for (((id, vector), document), metadata) in ids.iter().zip(vectors).zip(documents).zip(metadatas) {
        let id = id.as_str().context("an id that is no string")?;
        let record = Record {
            vector: serde_json::from_value(vector).with_context(|| format!("the vector of {id}"))?,
            document: document.as_str().unwrap_or_default().to_owned(),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
        };
        all.insert(id.to_owned(), record);
    }
    Ok(())
}
