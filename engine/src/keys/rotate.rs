//! Adding, replacing and removing key slots. The data stays as it is: only `keys/` changes. The order is always the new
//! slot, then a look whether it opens what the store returns, then the old one; so a death in between leaves both working,
//! and doing it again finishes. The last slot that opens is never removed.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{Password, SlotInfo, new_slot, open_any, read_facts};
use crate::error::{Category, Error, Result};
use crate::keys::Opened;
use crate::lease::Lease;
use crate::names::{self, KEYS};
use crate::older::older;
use crate::repository::{MOST_SLOTS, Repository, blocking};
use crate::store::StoreError;

/// The kind of mark on a slot that was to be taken away and is locked. Its name is the slot's id.
const RETIRED: &str = "retired";

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The slot of the new password.
    pub added: SlotInfo,
    /// Fingerprint of the password that opens nothing any more.
    pub removed: String,
}

impl Repository {
    /// Lets another password open the repository, such as one kept outside the cluster. The slot is read back and opened.
    /// A password that has a slot already gets no second one.
    pub fn add_key_slot<'a>(
        &'a self,
        password: &'a Password,
        label: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<SlotInfo>> {
        Box::pin(async move {
            password.check_strength()?;
            self.refuse_sealed().await?;
            let secret = password.clone();
            let fingerprint = blocking(move || secret.fingerprint()).await;
            for slot in self.slots().await? {
                // A slot that a forged or damaged wrapping spoilt opens nothing, whatever its facts say.
                if slot.fingerprint == fingerprint && self.opens(&slot.id, password).await? {
                    return Ok(slot);
                }
            }
            if self.store().list(KEYS).await?.len() >= MOST_SLOTS {
                return Err(Error::Input(format!(
                    "{} has {MOST_SLOTS} key slots already: remove one first",
                    self.place()
                )));
            }
            let (repo, secret, label) = (self.clone(), password.clone(), label.to_owned());
            let (info, slot) =
                blocking(move || new_slot(repo.master(), repo.keys(), repo.raw_id(), &secret, &label, now))
                    .await;
            let name = format!("{KEYS}{}", info.id);
            self.store().put_if_absent(&name, Bytes::from(slot)).await?;
            if !self.opens(&info.id, password).await? {
                return Err(self.damaged(&name, "the store returned another key slot than was written"));
            }
            Ok(info)
        })
    }

    /// The slots that open this repository, the oldest first. A second one with another fingerprint is an escrow.
    pub fn slots(&self) -> BoxFuture<'_, Result<Vec<SlotInfo>>> {
        Box::pin(async move {
            let mut slots = Vec::new();
            for object in self.store().list(KEYS).await? {
                let facts = |bytes: &Bytes| read_facts(self.keys(), &object.name, bytes);
                match self.store().get(&object.name, None).await {
                    Ok(bytes) => slots.extend(match facts(&bytes) {
                        None => older(self.store(), &object.name, None, facts).await?,
                        told => told,
                    }),
                    Err(gone) if gone.is_not_found() => {}
                    Err(other) => return Err(other.into()),
                }
            }
            slots.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
            Ok(slots)
        })
    }

    /// Replaces the password that the repository was opened with. Open repositories go on working; data isn't touched.
    ///
    /// Guarantees: the new password opens before the old one is removed. When it fails both may open, and doing it again
    /// finishes. Where deleting is not allowed that is how it stays, and the error says so.
    pub fn rotate_key<'a>(
        &'a self,
        new: &'a Password,
        label: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Rotated>> {
        Box::pin(async move {
            let lease = Lease::take(self, "a key is rotated", now).await?;
            let rotated = self.rotate(new, label, now).await;
            // What went wrong before counts more than a lease that will end by itself.
            let released = lease.release().await;
            let rotated = rotated?;
            released?;
            Ok(rotated)
        })
    }

    async fn rotate(&self, new: &Password, label: &str, now: Timestamp) -> Result<Rotated> {
        let secret = new.clone();
        let fingerprint = blocking(move || secret.fingerprint()).await;
        if fingerprint == self.fingerprint() {
            return Err(Error::Input(format!(
                "the new key is the old one ({fingerprint}): nothing was changed; give another"
            )));
        }
        let added = self.add_key_slot(new, label, now).await?;
        let mut old: Vec<String> = self
            .slots()
            .await?
            .into_iter()
            .filter(|slot| slot.fingerprint == self.fingerprint())
            .map(|slot| format!("{KEYS}{}", slot.id))
            .collect();
        // Last, so that whoever has to repeat this can still open.
        old.retain(|name| name != self.slot());
        old.push(self.slot().to_owned());
        for name in old {
            self.retire(&name).await?;
        }
        Ok(Rotated { added, removed: self.fingerprint().to_owned() })
    }

    /// Takes away every slot of the key with this fingerprint. Returns how many there were.
    pub fn remove_key<'a>(&'a self, fingerprint: &'a str, now: Timestamp) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let lease = Lease::take(self, "a key is removed", now).await?;
            let removed = self.remove(fingerprint).await;
            let released = lease.release().await;
            let removed = removed?;
            released?;
            Ok(removed)
        })
    }

    async fn remove(&self, fingerprint: &str) -> Result<u64> {
        let (going, staying): (Vec<_>, Vec<_>) =
            self.slots().await?.into_iter().partition(|slot| slot.fingerprint == fingerprint);
        if going.is_empty() {
            return Err(Error::Input(format!(
                "{} has no key {fingerprint}: see its keys with repo info",
                self.place()
            )));
        }
        // Only one of which it is known that it opens may stay alone, and that is the one in use.
        if staying.is_empty() || fingerprint == self.fingerprint() {
            let place = self.place();
            return Err(match staying.is_empty() {
                true => Error::LastKey { place, fingerprint: fingerprint.to_owned() },
                false => Error::Input(format!(
                    "{place} was opened with the key {fingerprint}: open it with one that stays, or rotate it"
                )),
            });
        }
        for slot in &going {
            self.retire(&format!("{KEYS}{}", slot.id)).await?;
        }
        Ok(going.len() as u64)
    }

    /// Whether the slot, as the store returns it, opens with this password to this repository's key.
    async fn opens(&self, slot: &str, password: &Password) -> Result<bool> {
        let name = format!("{KEYS}{slot}");
        let bytes = match self.store().get(&name, None).await {
            Err(gone) if gone.is_not_found() => return Ok(false),
            other => other?,
        };
        let (repo, secret) = (self.clone(), password.clone());
        let opened = blocking(move || {
            let check = repo.master().check(repo.raw_id());
            open_any(&[(name, bytes.to_vec())], repo.raw_id(), &check, &secret)
        });
        Ok(matches!(opened.await, Opened::Yes { .. }))
    }

    /// Takes a slot away. One that the store doesn't let go is marked, so that captures don't extend its lock for ever.
    async fn retire(&self, name: &str) -> Result<()> {
        let Err(refused) = self.store().delete(name).await else { return Ok(()) };
        if refused.category == Category::AccessDenied {
            // Without the mark the slot is kept longer, which does no more harm than that it is there.
            let slot = names::last_part(name);
            let _ = self.put_mark(RETIRED, slot, serde_json::Value::Null).await;
        }
        Err(self.still_opens(name, &refused))
    }

    /// The objects of all slots but those that were to be taken away and could not be.
    pub(crate) async fn slots_in_use(&self) -> Result<Vec<String>> {
        let retired: Vec<String> = self.marks(RETIRED).await?.into_iter().map(|mark| mark.name).collect();
        let mut slots: Vec<String> =
            self.store().list(KEYS).await?.into_iter().map(|object| object.name).collect();
        slots.retain(|name| name == self.slot() || !retired.iter().any(|id| id == names::last_part(name)));
        Ok(slots)
    }

    fn still_opens(&self, name: &str, error: &StoreError) -> Error {
        let slot = names::last_part(name);
        let detail = format!(
            "{}; the old key still opens the repository by slot {slot}; if that is locked, remove the key when the lock has ended",
            error.detail
        );
        Error::Store(StoreError { detail, ..error.clone() })
    }
}
