//! Finds out what a store really does, instead of believing its documentation: some answer a conditional write with
//! success and overwrite all the same, some check first and write later, so that several of eight racers win; some take a
//! lock and let the object be deleted.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use jiff::SignedDuration;

use super::{ObjectLock, Put, Retention, Store, StoreError};
use crate::error::Category;
use crate::seal::random;

const WRITERS: usize = 8;
const ROUNDS: usize = 5;
/// For how long the object is locked that proves the lock: as short as stores grant, with some seconds for the way.
const PROVED_FOR: SignedDuration = SignedDuration::from_secs(30);
/// Where such objects lie until a later probe may remove them.
const PROOFS: &str = "probe/locked-";

/// Whether `put_if_absent` means what it says here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// Of eight racing writers exactly one won, each time, and its bytes stayed.
    Hold,
    /// Several writers were told that they won: concurrent captures are unsafe here, one writer at a time is safe.
    Broken {
        /// The most winners seen in one race; 1 if the loser's bytes replaced the winner's.
        winners: usize,
    },
}

/// Whether what is locked stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockFinding {
    /// The store was opened without a lock, so none was tried.
    NotAsked,
    /// A locked object could not be deleted, while one that was not locked could.
    Holds,
    /// The store shows the lock. That it holds could not be tried: these credentials may delete nothing anyway.
    Shown,
    /// It is no use to ask for a lock here: why, and what to do.
    Fails(String),
}

/// What a store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Conditional writes under a race.
    pub conditional_writes: ConditionalWrites,
    /// Ranges of objects can be read.
    pub ranged_reads: bool,
    /// A list shows an object as soon as its write was acknowledged.
    pub lists_at_once: bool,
    /// These credentials may delete. Probe objects stay behind where they may not.
    pub may_delete: bool,
    /// Objects can be kept from being deleted, as the store says.
    pub object_lock: ObjectLock,
    /// The lock that the store was opened with, tried.
    pub lock: LockFinding,
}

/// Tries by writing: there is no finding without it, so where nothing may be written nothing is claimed either.
///
/// Races eight writers for a handful of objects below `probe/`, reads back, lists, and removes what it wrote. If the store
/// was opened with a lock, one more is locked for half a minute, and a later probe removes it.
///
/// Failures of the store itself (unreachable, access denied, bucket missing) are errors, not findings.
pub fn probe(store: &Arc<dyn Store>) -> BoxFuture<'_, Result<ProbeReport, StoreError>> {
    Box::pin(async move {
        let mut report = ProbeReport {
            conditional_writes: ConditionalWrites::Hold,
            ranged_reads: true,
            lists_at_once: true,
            may_delete: true,
            object_lock: store.object_lock().await?,
            lock: LockFinding::NotAsked,
        };
        for _ in 0..ROUNDS {
            let name = format!("probe/{}", hex::encode(random::<16>()));
            let raced = race(store.as_ref(), &name).await?;
            if raced != ConditionalWrites::Hold {
                report.conditional_writes = raced;
            }
            report.ranged_reads &= reads_ranges(store.as_ref(), &name).await?;
            report.lists_at_once &= store.list("probe/").await?.iter().any(|o| o.name == name);
            match store.delete(&name).await {
                Ok(()) => {}
                Err(e) if e.category == Category::AccessDenied => report.may_delete = false,
                Err(e) => return Err(e),
            }
        }
        report.lock = try_lock(store.as_ref(), &report).await?;
        Ok(report)
    })
}

/// Locks an object as it will be done in earnest, and tries to delete it.
async fn try_lock(store: &dyn Store, seen: &ProbeReport) -> Result<LockFinding, StoreError> {
    let Some(lock) = store.lock() else { return Ok(LockFinding::NotAsked) };
    if seen.object_lock == ObjectLock::Absent {
        return Ok(LockFinding::Fails(NO_LOCK_HERE.to_owned()));
    }
    // What earlier probes left; a lock that has not ended yet is no failure.
    for past in store.list("probe/").await?.iter().filter(|object| object.name.starts_with(PROOFS)) {
        match store.delete(&past.name).await {
            Err(e) if e.category != Category::AccessDenied => return Err(e),
            _ => {}
        }
    }
    let name = format!("{PROOFS}{}", hex::encode(random::<16>()));
    store.put_if_absent(&name, Bytes::from_static(b"may this be deleted?\n")).await?;
    let Some(stored) = store.head(&name).await?.modified else {
        let why = "the store doesn't say when an object was stored, so none can be locked for a time";
        return Ok(LockFinding::Fails(why.to_owned()));
    };
    // The shortest that ends after now by the store's own clock.
    let wanted = Retention { mode: lock.mode(), until: stored + PROVED_FOR };
    match store.retain(&name, wanted).await {
        Ok(()) => {}
        Err(e) if e.category == Category::AccessDenied => {
            return Ok(LockFinding::Fails(format!(
                "an object can't be locked ({}): give the credentials s3:PutObjectRetention and s3:GetObjectRetention",
                e.detail
            )));
        }
        Err(e) if e.category == Category::Input => {
            return Ok(LockFinding::Fails(format!(
                "an object can't be locked ({}): {NO_LOCK_HERE}",
                e.detail
            )));
        }
        Err(e) => return Err(e),
    }
    if !store.head(&name).await?.locked.is_some_and(|kept| kept.suffices(wanted)) {
        return Ok(LockFinding::Fails(
            "an object was locked, and the store doesn't show it: give the credentials s3:GetObjectRetention, or use \
             a store that has Object Lock"
                .to_owned(),
        ));
    }
    match store.delete(&name).await {
        Err(e) if e.category == Category::AccessDenied => {
            Ok(if seen.may_delete { LockFinding::Holds } else { LockFinding::Shown })
        }
        Err(e) => Err(e),
        Ok(()) => Ok(LockFinding::Fails(
            "a locked object could be deleted: use a store that enforces Object Lock".to_owned(),
        )),
    }
}

/// What to say where nothing can be locked.
pub(crate) const NO_LOCK_HERE: &str = "it has no Object Lock. It is switched on when a bucket is made, so make one with Object Lock and use that, or ask \
     for no lock";

async fn race(store: &dyn Store, name: &str) -> Result<ConditionalWrites, StoreError> {
    let bodies: Vec<Bytes> = (0..WRITERS).map(|_| Bytes::from(random::<64>().to_vec())).collect();
    let answers = join_all(bodies.iter().map(|body| store.put_if_absent(name, body.clone()))).await;
    let mut winners = Vec::new();
    for (answer, body) in answers.into_iter().zip(&bodies) {
        if answer? == Put::Created {
            winners.push(body);
        }
    }
    // A latecomer must lose as well, and must not leave its bytes.
    let late = store.put_if_absent(name, Bytes::from_static(b"late")).await?;
    let stayed = store.get(name, None).await?;
    let held = matches!(winners.as_slice(), [winner] if **winner == stayed) && late == Put::Exists;
    let count = winners.len() + usize::from(late == Put::Created);
    Ok(if held { ConditionalWrites::Hold } else { ConditionalWrites::Broken { winners: count } })
}

async fn reads_ranges(store: &dyn Store, name: &str) -> Result<bool, StoreError> {
    let whole = store.get(name, None).await?;
    if whole.len() < 3 {
        return Ok(false);
    }
    match store.get(name, Some(1..3)).await {
        Ok(part) => Ok(part == whole.slice(1..3)),
        Err(e) if matches!(e.category, Category::Corrupt | Category::Input) => Ok(false),
        Err(e) => Err(e),
    }
}
