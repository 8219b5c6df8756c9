//! Lists of packs that are to go: the mark of "mark, wait, sweep". A capture looks at them right before its commit and
//! relies on nothing that stands in one; a sweep touches only what has stood in one long enough.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::names::CONDEMNED;
use crate::pack::PackId;
use crate::repository::Repository;
use crate::seal::random;

#[derive(Serialize, Deserialize)]
struct Stored {
    packs: Vec<String>,
}

/// One list.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// Its object.
    pub(super) object: String,
    /// When it was stored, by the store's clock.
    pub(super) since: Option<Timestamp>,
    pub(super) packs: HashSet<PackId>,
}

/// All that is condemned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condemned {
    pub(super) lists: Vec<List>,
    /// Lists that can't be read. They condemn nothing: whoever sweeps can't read them either.
    pub(super) unreadable: Vec<String>,
}

impl Condemned {
    /// Reads every list.
    pub(crate) async fn read(repo: &Repository) -> Result<Self> {
        let mut condemned = Self::default();
        for object in repo.store().list(CONDEMNED).await? {
            let mut read = packs_of(repo, &object.name).await;
            if matches!(read, Err(Error::Damaged { .. })) {
                // It could have been the way here that spoilt it.
                read = packs_of(repo, &object.name).await;
            }
            match read {
                Ok(packs) => {
                    condemned.lists.push(List { object: object.name, since: object.modified, packs })
                }
                Err(Error::Damaged { object, what, .. }) => {
                    tracing::warn!("{object} is damaged and condemns nothing: {what}");
                    condemned.unreadable.push(object);
                }
                // Its packs were swept between the list and the read: what relied on them is told as missing.
                Err(Error::Store(e)) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(condemned)
    }

    /// Every pack that stands in a list.
    pub(crate) fn packs(&self) -> HashSet<PackId> {
        self.lists.iter().flat_map(|list| list.packs.iter().copied()).collect()
    }

    /// Since when each pack is condemned, the latest time where it stands in several lists.
    pub(super) fn since(&self) -> HashMap<PackId, Option<Timestamp>> {
        let mut since: HashMap<PackId, Option<Timestamp>> = HashMap::new();
        for list in &self.lists {
            for pack in &list.packs {
                let known = since.entry(*pack).or_insert(list.since);
                *known = known.zip(list.since).map(|(a, b)| a.max(b));
            }
        }
        since
    }
}

async fn packs_of(repo: &Repository, object: &str) -> Result<HashSet<PackId>> {
    let senseless = || repo.damaged(object, "its content makes no sense");
    let (_, body) = repo.read_object(Kind::Condemned, object).await?;
    let Stored { packs } = serde_json::from_slice(&body).map_err(|_| senseless())?;
    let id = |digits: String| {
        let mut id = [0; 16];
        hex::decode_to_slice(digits, &mut id).ok()?;
        Some(PackId(id))
    };
    packs.into_iter().map(id).collect::<Option<_>>().ok_or_else(senseless)
}

/// Condemns these packs, and sees that the store keeps the list.
pub(super) async fn condemn(repo: &Repository, packs: &[PackId]) -> Result<()> {
    let object = format!("{CONDEMNED}{}", hex::encode(random::<16>()));
    let stored = Stored { packs: packs.iter().map(|pack| hex::encode(pack.0)).collect() };
    let body = serde_json::to_vec(&stored).expect("a list of strings always serializes");
    repo.write_object(Kind::Condemned, &object, &body).await?;
    if packs_of(repo, &object).await? != packs.iter().copied().collect() {
        return Err(repo.damaged(&object, "it came back with other content"));
    }
    Ok(())
}
