//! Whether a server really serves: a heartbeat is answered over data that cannot be opened, and a count over vectors that
//! are gone.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Client, ClientError, Collection, Scope};

/// What a server answered for each collection.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// One entry a collection, in the order the server lists them.
    pub collections: Vec<CollectionReady>,
}

/// A collection that counts, returns a record with its vector and answers a query.
#[derive(Debug, Clone)]
pub struct CollectionReady {
    /// The collection.
    pub collection: Collection,
    /// Its records.
    pub count: u64,
    /// The id of the record that was read, None when there is none.
    pub read: Option<String>,
    /// The id of the record nearest to that one's vector, usually itself or an equal one.
    pub nearest: Option<String>,
    /// How long all of it took; the first time loads the index and replays the log.
    pub took: Duration,
}

/// The first thing that a server could not do.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// A request failed.
    #[error("the server is not ready: {0}")]
    Request(#[from] ClientError),
    /// One collection took too long; a server hangs over some damage.
    #[error(
        "collection {collection} did not answer within {limit:?}. Its vector files may be damaged, or it needs longer to load"
    )]
    TooSlow {
        /// `tenant/database/name`.
        collection: String,
        /// The limit.
        limit: Duration,
    },
    /// A collection says it has records but returns none, or none with a vector, or a query finds nothing.
    #[error("collection {collection} counts {count} records, but {what}")]
    Empty {
        /// `tenant/database/name`.
        collection: String,
        /// Its count.
        count: u64,
        /// What is missing.
        what: &'static str,
    },
}

impl Client {
    /// Asks everything that a reader would: the heartbeat, then of each collection its count, one record with its vector, and
    /// a query. `limit` bounds each collection.
    pub async fn ready(&self, scopes: &[Scope], limit: Duration) -> Result<Readiness, NotReady> {
        self.heartbeat().await?;
        let mut collections = Vec::new();
        for collection in self.collections(scopes).await? {
            let name = collection.full_name();
            let answer = timeout(limit, self.collection_ready(collection)).await;
            collections.push(answer.map_err(|_| NotReady::TooSlow { collection: name, limit })??);
        }
        Ok(Readiness { collections })
    }

    async fn collection_ready(&self, collection: Collection) -> Result<CollectionReady, NotReady> {
        let begun = Instant::now();
        let count = self.count(&collection).await?;
        let empty = |what| NotReady::Empty { collection: collection.full_name(), count, what };
        let (mut read, mut nearest) = (None, None);
        if count > 0 {
            let record = self.records(&collection, 0, 1).await?.pop().ok_or_else(|| empty("returns none"))?;
            let vector = record.vector.ok_or_else(|| empty("returns one without its vector"))?;
            let found =
                self.nearest(&collection, &vector).await?.ok_or_else(|| empty("a query finds none"))?;
            read = Some(record.id);
            nearest = Some(found.id);
        }
        Ok(CollectionReady { collection, count, read, nearest, took: begun.elapsed() })
    }
}
