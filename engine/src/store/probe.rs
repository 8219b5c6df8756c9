//! Finds out what a store really does, instead of believing its documentation: some answer a conditional write with
//! success and overwrite all the same, some check first and write later, so that several of eight racers win.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{ObjectLock, Put, Store, StoreError};
use crate::error::Category;
use crate::seal::random;

const WRITERS: usize = 8;
const ROUNDS: usize = 5;

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
    /// Objects can be kept from being deleted.
    pub object_lock: ObjectLock,
}

/// Tries by writing: there is no finding without it, so where nothing may be written nothing is claimed either.
///
/// Races eight writers for a handful of objects below `probe/`, reads back, lists, and removes what it wrote.
///
/// Failures of the store itself (unreachable, access denied, bucket missing) are errors, not findings.
pub async fn probe(store: &Arc<dyn Store>) -> Result<ProbeReport, StoreError> {
    let mut report = ProbeReport {
        conditional_writes: ConditionalWrites::Hold,
        ranged_reads: true,
        lists_at_once: true,
        may_delete: true,
        object_lock: store.object_lock().await?,
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
    Ok(report)
}

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
