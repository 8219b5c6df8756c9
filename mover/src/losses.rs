//! Lost records: how a replaced volume differs from the point that was restored in its place. The document in which their ids are kept, for the day on which
//! somebody ingests them again.

use chroma::compare::CollectionChange;
use crds::run::LostRecords;
use serde::{Deserialize, Serialize};

/// The kind of the documents.
pub const DOCUMENTS: &str = "losses";
/// The version of the document.
const VERSION: u32 = 1;

/// What a component lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Losses {
    /// Version of this structure. Fields may be added within one version.
    pub version: u32,
    /// `RUN/UID/POLICY`.
    pub name: String,
    /// Id of the point that was restored.
    pub point: String,
    /// Collections of the replaced volume that differ from it, with ids: what was added and altered there is lost, what was removed is back.
    pub collections: Vec<CollectionChange>,
}

impl Losses {
    /// What was found.
    pub fn new(name: String, point: String, collections: Vec<CollectionChange>) -> Self {
        Self { version: VERSION, name, point, collections }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("it holds only strings and numbers");
        text.push(b'\n');
        text
    }

    /// As it was stored.
    ///
    /// # Errors
    /// A sentence, where it is none or one of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        let no_list = |e: serde_json::Error| format!("it is no list of lost records: {e}");
        let any: Any = serde_json::from_slice(bytes).map_err(no_list)?;
        if any.version > VERSION {
            return Err(format!("it is of version {}, this program reads up to {VERSION}", any.version));
        }
        serde_json::from_slice(bytes).map_err(no_list)
    }

    /// Run, uid and policy.
    pub fn of(&self) -> Option<(&str, &str, &str)> {
        let mut parts = self.name.splitn(3, '/');
        Some((parts.next()?, parts.next()?, parts.next()?))
    }

    /// In numbers.
    pub fn count(&self, digest: Option<String>) -> LostRecords {
        let sum = |of: fn(&CollectionChange) -> u64| self.collections.iter().map(of).sum();
        LostRecords {
            added: sum(|change| change.added),
            altered: sum(|change| change.altered),
            removed: sum(|change| change.removed),
            collections: self.collections.len() as u64,
            rounded: sum(|change| change.altered.min(change.normalised_here)),
            digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chroma::compare::ChangedIds;

    fn change(added: &[&str], altered: u64, normalised_here: u64) -> CollectionChange {
        let ids =
            ChangedIds { added: added.iter().map(|id| (*id).to_owned()).collect(), ..ChangedIds::default() };
        let collection = "papers".to_owned();
        CollectionChange {
            collection,
            added: added.len() as u64,
            altered,
            normalised_here,
            ids,
            ..Default::default()
        }
    }

    #[test]
    fn it_is_read_as_it_was_stored_and_one_of_a_newer_version_is_refused() {
        let collections = vec![change(&["a", "b"], 3, 1), change(&[], 1, 9)];
        let losses = Losses::new("db/uid-1/chroma/db".into(), "p".into(), collections);
        assert_eq!(Losses::from_bytes(&losses.to_bytes()).unwrap(), losses);
        assert_eq!(losses.of(), Some(("db", "uid-1", "chroma/db")));
        let count = losses.count(None);
        assert_eq!((count.added, count.altered, count.removed), (2, 4, 0));
        assert_eq!((count.collections, count.rounded), (2, 2));
        let newer = String::from_utf8(losses.to_bytes()).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert!(Losses::from_bytes(newer.as_bytes()).unwrap_err().contains("version 2"));
        assert!(Losses::from_bytes(b"[]").is_err());
    }
}
