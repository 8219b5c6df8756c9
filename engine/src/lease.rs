//! The maintenance lease: whoever deletes holds it, so that two don't do the same work. It is a row of objects, each the
//! next generation, each written by a conditional write; the newest counts. Nothing relies on it for safety: a holder
//! that was thought dead and wakes up does no harm, because deletions are decided by what is stored.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::names::{self, LEASE};
use crate::repository::Repository;
use crate::store::Put;

/// A lease that was not renewed for so long counts for nothing.
const LASTS: SignedDuration = SignedDuration::from_hours(1);
/// A holder at work looks this often whether the repository was sealed meanwhile.
const LOOKED: Duration = Duration::from_secs(10);
/// A holder at work renews it this often.
const RENEWED: Duration = Duration::from_secs(10 * 60);

#[derive(Serialize, Deserialize)]
struct Stored {
    /// What the holder does, for whoever is turned away.
    purpose: String,
    /// It is through; kept where deleting is not allowed.
    released: bool,
}

/// The right to delete, until it is released or an hour has passed.
pub(crate) struct Lease {
    repo: Repository,
    purpose: String,
    generation: u64,
    /// By the store's clock; `None` until the first generation is written.
    taken: Option<Timestamp>,
    renewed: Instant,
    /// When it was last looked whether the repository is sealed.
    looked: Instant,
}

fn object(generation: u64) -> String {
    format!("{LEASE}{generation:016x}")
}

impl Lease {
    /// Takes it, or says who has it, or that the repository is sealed. `now` is only used to find a lease too old to count.
    pub(crate) async fn take(repo: &Repository, purpose: &str, now: Timestamp) -> Result<Self> {
        repo.refuse_sealed().await?;
        let newest = repo.store().list(LEASE).await?.pop();
        let mut generation = 0;
        if let Some(newest) = newest {
            let busy = |what: String| Error::UnderMaintenance {
                place: repo.place(),
                what,
                since: newest.modified.map_or_else(|| "an unknown time".to_owned(), |t| format!("{t:.0}")),
            };
            generation = u64::from_str_radix(names::last_part(&newest.name), 16)
                .map_err(|_| repo.damaged(&newest.name, "its name is no generation of the lease"))?;
            let over = newest.modified.is_some_and(|stored| now.duration_since(stored) >= LASTS);
            if !over {
                match read(repo, &newest.name).await {
                    Ok(Some(held)) if !held.released => return Err(busy(held.purpose)),
                    Ok(_) => {}
                    // What can't be read may be held.
                    Err(Error::Damaged { .. }) => return Err(busy("unreadable".to_owned())),
                    Err(e) => return Err(e),
                }
            }
        }
        let mut lease = Self {
            repo: repo.clone(),
            purpose: purpose.to_owned(),
            generation,
            taken: None,
            renewed: Instant::now(),
            looked: Instant::now(),
        };
        lease.write(false).await?;
        Ok(lease)
    }

    /// The store's own time when the lease was taken.
    pub(crate) fn taken(&self) -> Option<Timestamp> {
        self.taken
    }

    /// To be called now and then while at work: renews it when it is time to; fails when somebody else has taken it, or has sealed the
    /// repository.
    pub(crate) async fn keep(&mut self) -> Result<()> {
        if self.looked.elapsed() >= LOOKED {
            self.repo.refuse_sealed().await?;
            self.looked = Instant::now();
        }
        if self.renewed.elapsed() < RENEWED { Ok(()) } else { self.write(false).await }
    }

    async fn write(&mut self, released: bool) -> Result<()> {
        let next = self.generation.checked_add(1).ok_or_else(|| {
            self.repo.damaged(&object(self.generation), "no generation can follow it: delete it")
        })?;
        let purpose = self.purpose.clone();
        let body = serde_json::to_vec(&Stored { purpose, released }).expect("a string and a flag");
        let name = object(next);
        if self.repo.write_object(Kind::Lease, &name, &body).await? == Put::Exists {
            return Err(Error::UnderMaintenance {
                place: self.repo.place(),
                what: "it was faster".to_owned(),
                since: "just now".to_owned(),
            });
        }
        (self.generation, self.renewed) = (next, Instant::now());
        if self.taken.is_none() {
            self.taken = self.repo.store().head(&name).await?.modified;
        }
        Ok(())
    }

    /// Gives it back. Older generations go too; where deleting is not allowed a word that it is over takes their place.
    pub(crate) async fn release(mut self) -> Result<()> {
        let newest = object(self.generation);
        for past in self.repo.store().list(LEASE).await? {
            if past.name <= newest && self.repo.store().delete(&past.name).await.is_err() {
                return self.write(true).await;
            }
        }
        Ok(())
    }
}

/// What a generation says; `None` when it was taken away meanwhile.
async fn read(repo: &Repository, name: &str) -> Result<Option<Stored>> {
    match repo.read_object(Kind::Lease, name).await {
        Ok((_, body)) => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| repo.damaged(name, "its content makes no sense")),
        Err(Error::Store(e)) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Password;
    use crate::store::DirStore;

    #[tokio::test]
    async fn whoever_is_at_work_stops_when_the_repository_is_sealed_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let key = Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap();
        let store = Arc::new(DirStore::new(dir.path().to_owned()));
        let repo = Repository::init(store, &key, Timestamp::UNIX_EPOCH).await.unwrap();
        let mut lease = Lease::take(&repo, "a prune", Timestamp::UNIX_EPOCH).await.unwrap();
        repo.set_seal(true, "run/breach", "INC-2041", Timestamp::UNIX_EPOCH).await.unwrap();
        lease.looked = lease.looked.checked_sub(LOOKED).unwrap();
        assert!(matches!(lease.keep().await, Err(Error::Sealed { .. })));
        lease.release().await.unwrap();
        assert!(matches!(
            Lease::take(&repo, "a prune", Timestamp::UNIX_EPOCH).await,
            Err(Error::Sealed { .. })
        ));
    }
}
