//! The two versions of the API. The first is the only one of 0.4 and of 0.5 before 0.5.16, the second the only one since 1.0; which of
//! them a server speaks is asked once, with the heartbeat, which needs no credential in any version.

use serde_json::Value;

use super::{Client, ClientError, Collection, Scope};

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// `/api/v1`: tenant and database are parameters, and a collection's dimension is not told.
    V1,
    /// `/api/v2`: tenant and database are part of the path.
    V2,
}

impl Api {
    /// What stands in the path before everything else.
    pub(super) fn version(self) -> &'static str {
        match self {
            Api::V1 => "v1",
            Api::V2 => "v2",
        }
    }

    /// Path of something of a collection.
    pub(super) fn path<'a>(self, collection: &'a Collection, verb: &'a str) -> Vec<&'a str> {
        let Collection { id, tenant, database, .. } = collection;
        match self {
            Api::V1 => vec!["collections", id, verb],
            Api::V2 => vec!["tenants", tenant, "databases", database, "collections", id, verb],
        }
    }

    /// Path and parameters of the listing of a database's collections.
    pub(super) fn collections(self, scope: &Scope) -> (Vec<&str>, Vec<(&'static str, String)>) {
        let Scope { tenant, database } = scope;
        match self {
            Api::V1 => {
                (vec!["collections"], vec![("tenant", tenant.clone()), ("database", database.clone())])
            }
            Api::V2 => (vec!["tenants", tenant, "databases", database, "collections"], Vec::new()),
        }
    }
}

impl Client {
    /// The version that the server speaks.
    pub(super) async fn api(&self) -> Result<Api, ClientError> {
        self.api.get_or_try_init(|| self.ask_api()).await.copied()
    }

    async fn ask_api(&self) -> Result<Api, ClientError> {
        let Err(error) = self.beat(Api::V2).await else { return Ok(Api::V2) };
        // A server without the second version says that there is no such path, or, asked for a credential first, that it wants one.
        if !matches!(error, ClientError::Denied { .. } | ClientError::Status { status: 404, .. }) {
            return Err(error);
        }
        self.beat(Api::V1).await.map(|()| Api::V1).map_err(|_| error)
    }

    pub(super) async fn beat(&self, api: Api) -> Result<(), ClientError> {
        let url = self.url_of("the heartbeat", api, &["heartbeat"])?;
        let answer = self.send("the heartbeat", &url, self.http.get(url.clone())).await?;
        let beat: Result<Value, _> = serde_json::from_str(&answer);
        let nonsense = |why: String| ClientError::Nonsense { what: "the heartbeat".to_owned(), why };
        beat.map(drop).map_err(|source| nonsense(source.to_string()))
    }
}
