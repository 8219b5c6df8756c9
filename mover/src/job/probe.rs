//! Opens the repository, or makes it where nothing is and nothing is expected, and finds out what the store really does.

use std::collections::BTreeSet;
use std::sync::Arc;

use crds::job::{FailureReason, LockTried, Probed, Report, RepositoryAccess};
use engine::store::{ConditionalWrites, LockFinding, Store, probe as probe_store};
use engine::{FORMAT, Password, Repository};

use super::Desk;
use crate::access::{expect_id, key_in, lock_of, mounted_key};
use crate::failure::{Failure, Result};
use crate::seal::seal;

pub(super) async fn probe(desk: &Desk, access: &RepositoryAccess) -> Result<Report> {
    let password = mounted_key(&desk.places)?;
    password.check_strength()?;
    let escrow = escrow(desk)?;
    // Without the lock: a bucket that can't lock is a finding, and what is written here is locked by the first capture.
    let store = desk.store(access, None).await?;
    desk.telling.say(format!("open {}", store.place()));
    let repository = match access.expected_id.is_none() && !access.read_only {
        true => Repository::open_or_init(Arc::clone(&store), &password, (desk.environment.clock)()).await?,
        false => Repository::open(Arc::clone(&store), &password).await?,
    };
    expect_id(access, &repository)?;
    let seal = seal(&repository).await?;
    // What may be written or deleted is tried by writing and deleting.
    let untouched = access.read_only || access.sealed || seal.is_some();
    if let (Some(escrow), false) = (&escrow, untouched) {
        add_escrow(desk, &repository, escrow).await?;
    }
    let (conditional_writes, lock) = match untouched {
        // Nothing may be written, so nothing is tried and nothing claimed.
        true => (None, None),
        false => {
            desk.telling.say("race eight writers for one object, and lock one if that is asked for");
            let locking = desk.store(access, lock_of(access, &desk.environment)?).await?;
            let report = probe_store(&locking).await?;
            let lock = match report.lock {
                LockFinding::NotAsked => None,
                LockFinding::Holds => Some(LockTried::Enforced),
                LockFinding::Shown => Some(LockTried::Shown),
                LockFinding::Fails(why) => Some(LockTried::NotEnforced(why)),
            };
            (Some(report.conditional_writes == ConditionalWrites::Hold), lock)
        }
    };
    let mut fingerprints: Vec<_> =
        repository.slots().await?.into_iter().map(|slot| slot.fingerprint).collect();
    fingerprints.sort();
    fingerprints.dedup();
    let Held { points, bytes } = held(store.as_ref()).await?;
    Ok(Report::Probed(Probed {
        id: repository.id(),
        format_version: FORMAT,
        key_fingerprint: repository.fingerprint().to_owned(),
        key_slots: fingerprints.len().try_into().unwrap_or(u32::MAX),
        conditional_writes,
        seal,
        lock,
        points: points.len() as u64,
        bytes,
    }))
}

/// What a repository holds, by one listing: no commit record is read for it.
pub(super) struct Held {
    /// Ids of its points.
    pub(super) points: BTreeSet<String>,
    /// Bytes of all its objects.
    pub(super) bytes: u64,
}

pub(super) async fn held(store: &dyn Store) -> Result<Held> {
    let objects = store.list("").await?;
    let points = objects.iter().filter_map(|object| object.name.strip_prefix("points/"));
    Ok(Held {
        points: points.map(str::to_owned).collect(),
        bytes: objects.iter().map(|object| object.size).sum(),
    })
}

/// The escrow key, if one is mounted. One that protects nothing is refused like the repository's own.
fn escrow(desk: &Desk) -> Result<Option<Password>> {
    let unsafe_key = |e: Failure| Failure::new(e.reason, format!("the escrow key: {}", e.message));
    let Some(escrow) = key_in(&desk.places.escrow()).map_err(unsafe_key)? else { return Ok(None) };
    escrow.check_strength().map_err(|e| unsafe_key(e.into()))?;
    Ok(Some(escrow))
}

async fn add_escrow(desk: &Desk, repository: &Repository, escrow: &Password) -> Result<()> {
    let fingerprint = escrow.fingerprint();
    if fingerprint == repository.fingerprint() {
        return Err(Failure::new(
            FailureReason::KeyUnsafe,
            "the escrow key is the repository's own key: lost together they open nothing. Put another key into the Secret \
             named in spec.encryption.escrow.keySecretRef",
        ));
    }
    if repository.slots().await?.iter().any(|slot| slot.fingerprint == fingerprint) {
        return Ok(());
    }
    desk.telling.say(format!("add the escrow key {fingerprint}"));
    repository.add_key_slot(escrow, "escrow", (desk.environment.clock)()).await?;
    Ok(())
}
