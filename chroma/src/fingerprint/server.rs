//! Fingerprints from a server's answers.

use super::{CollectionFingerprint, sum::Key, sum::MultisetSum};
use crate::client::{Client, ClientError, Collection, Scope};

/// Bytes that one page should roughly have.
const PAGE_BYTES: u64 = 4 << 20;

/// Why no fingerprint was made.
#[derive(Debug, thiserror::Error)]
pub enum ServerFingerprintError {
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Records came or went while they were read: somebody writes.
    #[error(
        "collection {collection} returned {returned} records but counts {count}. Stop whoever writes to it and try again"
    )]
    Changed {
        /// `tenant/database/name`.
        collection: String,
        /// Records read.
        returned: u64,
        /// Its count.
        count: u64,
    },
}

impl ServerFingerprintError {
    /// One word for metrics and condition reasons.
    pub fn category(&self) -> &'static str {
        match self {
            ServerFingerprintError::Client(error) => error.category(),
            ServerFingerprintError::Changed { .. } => "ServerChanged",
        }
    }

    /// Whether trying again without a change by somebody is pointless.
    pub fn is_permanent(&self) -> bool {
        match self {
            ServerFingerprintError::Client(error) => error.is_permanent(),
            ServerFingerprintError::Changed { .. } => false,
        }
    }
}

/// The fingerprints of every collection of the given databases, by tenant, database and name. Assumes that nobody writes.
pub async fn of_server(
    client: &Client,
    key: &Key,
    scopes: &[Scope],
) -> Result<Vec<CollectionFingerprint>, ServerFingerprintError> {
    let mut collections = client.collections(scopes).await?;
    collections.sort_by_key(|found| (found.tenant.clone(), found.database.clone(), found.name.clone()));
    let mut found = Vec::with_capacity(collections.len());
    for collection in &collections {
        found.push(of_collection(client, key, collection).await?);
    }
    Ok(found)
}

/// The fingerprint of one collection. Memory: one page.
pub async fn of_collection(
    client: &Client,
    key: &Key,
    collection: &Collection,
) -> Result<CollectionFingerprint, ServerFingerprintError> {
    let count = client.count(collection).await?;
    let mut dimension = collection.dimension;
    let (mut sum, mut returned, mut without_vector) = (MultisetSum::default(), 0, 0);
    while returned < count {
        let page = client.records(collection, returned, page_of(dimension)).await?;
        if page.is_empty() {
            break;
        }
        returned += page.len() as u64;
        for record in page {
            without_vector += u64::from(record.vector.is_none());
            // A server of 0.4 doesn't tell it: its vectors do.
            let told = record.vector.as_ref().and_then(|vector| u32::try_from(vector.len()).ok());
            dimension = dimension.or(told);
            sum.add(record.number(key));
        }
    }
    if returned != count {
        return Err(ServerFingerprintError::Changed { collection: collection.full_name(), returned, count });
    }
    Ok(CollectionFingerprint {
        tenant: collection.tenant.clone(),
        database: collection.database.clone(),
        collection: collection.name.clone(),
        id: collection.id.clone(),
        count,
        dimension,
        digest: sum.digest(),
        normalised_here: 0,
        without_vector,
    })
}

/// How many records a page has: one where nothing tells yet how large they are.
fn page_of(dimension: Option<u32>) -> u64 {
    let Some(dimension) = dimension else { return 1 };
    // About 12 characters a float, and a document.
    (PAGE_BYTES / (2000 + 12 * u64::from(dimension))).clamp(1, 1000)
}
