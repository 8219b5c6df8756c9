//! What a data directory or a server contains, as one digest a collection: count, dimension, and an order-free keyed sum
//! over every record's id, vector bits, document and metadata. The same from files and from a server's answers, so that a
//! restored server can be held against the files that were captured.
//!
//! What a server answers is the definition; the files are read so that they agree with it:
//! * `l2` and `ip` vectors are stored as given. `cosine` vectors are stored normalised with their length beside them, and the
//!   server answers their product; so do we, bit for bit.
//! * A record that is only in the log yet has its raw vector there, and a server normalises it in the order of its build. We
//!   use the plain order, which the published 1.x wheels use (measured, x86-64). How many vectors hang on that is counted in
//!   [`CollectionFingerprint::normalised_here`]: when a digest differs and this is not 0, another build may be why.
//! * Floats in metadata that are only in the log are parsed by the server with a parser that is not always exact, and so here.
//! * Numbers that are not finite cannot be told in JSON, so all of them count as the same.

mod logged;
mod normalise;
mod number;
mod offline;
mod record;
mod server;
mod sum;
mod value;

use serde::{Deserialize, Serialize};

pub use offline::{OfflineError, of_dir, of_dir_with};
pub(crate) use offline::{of_database, records};
pub use record::Record;
pub use server::{ServerFingerprintError, of_collection, of_server};
pub use sum::{Digest, Key, MultisetSum};
pub(crate) use value::{Floats, from_json};
pub use value::{Metadata, Value};

/// One collection's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionFingerprint {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the database.
    pub database: String,
    /// Name of the collection.
    pub collection: String,
    /// Id of the collection.
    pub id: String,
    /// Records.
    pub count: u64,
    /// Floats a vector; None before the first record.
    pub dimension: Option<u32>,
    /// The sum over all records.
    pub digest: Digest,
    /// Vectors that were normalised here, because the log alone has them yet. Always 0 from a server.
    #[serde(default)]
    pub normalised_here: u64,
    /// Records without a vector: a server answers these with an error. The digest agrees with nothing then.
    #[serde(default)]
    pub without_vector: u64,
}

impl CollectionFingerprint {
    /// Whether both describe the same content of the same collection.
    pub fn same_content(&self, other: &CollectionFingerprint) -> bool {
        (&self.tenant, &self.database, &self.collection)
            == (&other.tenant, &other.database, &other.collection)
            && (self.count, self.digest) == (other.count, other.digest)
            && self.same_dimension(other)
            && self.without_vector == 0
            && other.without_vector == 0
    }

    /// A server of 0.4 tells the dimension by its vectors alone, so that of an empty collection is not known.
    fn same_dimension(&self, other: &CollectionFingerprint) -> bool {
        let untold = self.dimension.is_none() || other.dimension.is_none();
        self.dimension == other.dimension || (untold && self.count == 0 && other.count == 0)
    }

    /// How `seen` differs from this, which is that of `whose`, as a sentence about the collection; nothing where both are the same
    /// content.
    pub fn difference(&self, seen: &CollectionFingerprint, whose: &str) -> Option<String> {
        if self.same_content(seen) {
            return None;
        }
        Some(if seen.count != self.count {
            format!("it has {} records, {whose} has {}", seen.count, self.count)
        } else if !self.same_dimension(seen) {
            "its vectors have another dimension".to_owned()
        } else if seen.without_vector > 0 {
            format!("{} of its {} records have no vector", seen.without_vector, seen.count)
        } else {
            let short = |digest: Digest| digest.to_string().chars().take(16).collect::<String>();
            format!("its digest is {}, that of {whose} is {}", short(seen.digest), short(self.digest))
        })
    }

    /// `tenant/database/collection`.
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.database, self.collection)
    }
}
