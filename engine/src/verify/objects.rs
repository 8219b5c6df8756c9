//! Key slots and small objects: each is read.

use super::Verification;
use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::inspect::Finding;
use crate::names;

impl Verification {
    /// Slots that can't be read. One that belongs to a lost race of creation looks the same, so it says so.
    pub(super) async fn key_slots(&mut self) -> Result<()> {
        let repo = self.reader.repo.clone();
        for object in repo.store().list(names::KEYS).await? {
            let bytes = repo.store().get(&object.name, None).await?;
            if crate::keys::read_facts(repo.keys(), &object.name, &bytes).is_none() {
                let what = "this key slot is damaged or belongs to no key of this repository".to_owned();
                self.found(Finding { object: object.name, what });
            }
        }
        Ok(())
    }

    /// What no point needs, and what captures and maintenance go by all the same.
    pub(super) async fn small_objects(&mut self, prefix: &str, kind: Kind) -> Result<()> {
        let repo = self.reader.repo.clone();
        for object in repo.store().list(prefix).await? {
            match repo.read_object(kind, &object.name).await {
                Ok(_) => {}
                Err(Error::Damaged { object, what, .. }) => self.found(Finding { object, what }),
                // Leases and lists go while others are at work.
                Err(Error::Store(e)) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
