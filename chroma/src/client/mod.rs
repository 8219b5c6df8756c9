//! The HTTP API of a Chroma server, in both versions, as far as verifying needs it: what is there, how much of it, all of it page by
//! page, and whether the server really answers. Never writes.

mod api;
mod error;
mod http;
mod neighbours;
mod readiness;
mod records;

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::sync::OnceCell;

pub use error::ClientError;
pub use neighbours::Space;
pub use readiness::{CollectionReady, NotReady, Readiness};

use crate::fingerprint::Record;

/// What a server or a proxy before it wants to see. The open-source 1.x server itself wants nothing.
#[derive(Clone, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    None,
    /// `Authorization: Bearer`.
    Bearer(String),
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// Any header, such as `X-Chroma-Token`.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Auth::None => "None",
            Auth::Bearer(_) => "Bearer(..)",
            Auth::Basic { .. } => "Basic(..)",
            Auth::Header { .. } => "Header(..)",
        })
    }
}

/// A tenant and one of its databases. No route lists tenants: they come from the point, or from [`Client::databases`] of those known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the database.
    pub database: String,
}

impl Scope {
    /// Names a database.
    pub fn new(tenant: impl Into<String>, database: impl Into<String>) -> Scope {
        Scope { tenant: tenant.into(), database: database.into() }
    }
}

/// A collection as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Collection {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of its tenant.
    pub tenant: String,
    /// Name of its database.
    pub database: String,
    /// Floats a vector; None before the first record, and from a server that speaks the first version of the API only.
    #[serde(default)]
    pub dimension: Option<u32>,
}

impl Collection {
    /// `tenant/database/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.database, self.name)
    }
}

/// Distance below which two vectors are the same.
const SAME: f64 = 1e-5;

/// The nearest record of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// Its id.
    pub id: String,
    /// Its distance, where the server told one.
    pub distance: Option<f64>,
}

impl Nearest {
    /// It has the vector that was asked with, rounding included: it is what was sought, or its equal.
    #[must_use]
    pub fn same_vector(&self) -> bool {
        self.distance.is_some_and(|distance| distance.abs() < SAME)
    }
}

/// One server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    auth: Auth,
    api: Arc<OnceCell<api::Api>>,
}

impl Client {
    /// A client for `base`, such as `http://chroma.ai.svc:8000`. Every request ends after `timeout`.
    pub fn new(base: &str, auth: Auth, timeout: Duration) -> Result<Client, ClientError> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            // The server is in the cluster; a proxy from the environment leads out of it.
            .no_proxy()
            .build()
            .map_err(|source| ClientError::Unreachable {
                what: "the client".into(),
                url: base.into(),
                source,
            })?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Client { http, base, auth, api: Arc::default() })
    }

    /// HTTP is up. No more: a server answers this over data that it cannot open.
    pub async fn heartbeat(&self) -> Result<(), ClientError> {
        match self.api.get() {
            Some(api) => self.beat(*api).await,
            // Asking which version it speaks is asking for its heartbeat.
            None => self.api().await.map(drop),
        }
    }

    /// The databases of a tenant; a server before 0.6 lists none and answers with an error.
    pub async fn databases(&self, tenant: &str) -> Result<Vec<Scope>, ClientError> {
        #[derive(Deserialize)]
        struct Database {
            name: String,
        }
        let what = format!("the databases of tenant {tenant}");
        let found: Vec<Database> = self.pages(&what, &["tenants", tenant, "databases"], &[]).await?;
        Ok(found.into_iter().map(|database| Scope::new(tenant, database.name)).collect())
    }

    /// The collections of the given databases.
    pub async fn collections(&self, scopes: &[Scope]) -> Result<Vec<Collection>, ClientError> {
        let (api, mut found) = (self.api().await?, Vec::new());
        for scope in scopes {
            let what = format!("the collections of {}/{}", scope.tenant, scope.database);
            let (path, query) = api.collections(scope);
            found.extend(self.pages::<Collection>(&what, &path, &query).await?);
        }
        Ok(found)
    }

    /// How many records the database has. Loads the index and replays the log, so the first call may take seconds, but does
    /// not notice missing vector files.
    pub async fn count(&self, collection: &Collection) -> Result<u64, ClientError> {
        let what = format!("the count of {}", collection.full_name());
        self.get_json(&what, &self.api().await?.path(collection, "count"), &[]).await
    }

    /// `limit` records from `offset` on, with everything that belongs to them. Pages fit one another only while nobody writes.
    pub async fn records(
        &self,
        collection: &Collection,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<Record>, ClientError> {
        let what = format!("records {offset} and following of {}", collection.full_name());
        let body = serde_json::json!({
            "offset": offset,
            "limit": limit,
            "include": ["embeddings", "documents", "metadatas", "uris"],
        });
        let answer = self.post_text(&what, &self.api().await?.path(collection, "get"), &body).await?;
        records::parse(&answer).map_err(|source| ClientError::Nonsense { what, why: source.to_string() })
    }

    /// The record nearest to a vector.
    pub async fn nearest(
        &self,
        collection: &Collection,
        vector: &[f32],
    ) -> Result<Option<Nearest>, ClientError> {
        Ok(self.neighbours(collection, vector, 1).await?.into_iter().next())
    }
}
