//! Keeps what a point needs from being deleted, before there is a point. With a lock every object is locked as it is
//! written; but a point also needs old packs, whose time may be running out. What an inspection has just seen of each tells
//! whether its time suffices; only where it doesn't, it is extended, with slack (see [`crate::store::Lock`]), so that an
//! increment extends few of the packs that it shares. It refuses to let a point be written of which anything isn't kept.

use futures::{FutureExt, TryStreamExt};
use jiff::Timestamp;

use super::Verified;
use crate::ahead::ahead;
use crate::error::{Category, Error, Result};
use crate::names::CONFIG;
use crate::point::Point;
use crate::repository::Repository;
use crate::seal::random;
use crate::store::{NO_LOCK_HERE, Object, ObjectLock, Retention};

const EXTENDED_AT_ONCE: usize = 16;

/// Everything a point needs was seen in the store.
pub(super) struct Proved {
    pub(super) verified: Verified,
    /// The packs, as the store told of them.
    pub(super) packs: Vec<Object>,
}

/// And is kept for as long as was asked, if it was. Without this no point is written; only [`keep`] makes it.
pub(super) struct Ready {
    verified: Verified,
}

impl Ready {
    pub(super) fn into_verified(self) -> Verified {
        self.verified
    }
}

/// Refuses a lock that can't be had, before anything is read or written.
pub(super) async fn can_lock(repo: &Repository) -> Result<()> {
    match repo.store().lock() {
        Some(_) if repo.store().object_lock().await? == ObjectLock::Absent => {
            Err(Error::NotLockable { place: repo.place(), why: NO_LOCK_HERE.to_owned() })
        }
        // Who may not ask finds out when the first object is written or extended, before there is a point.
        _ => Ok(()),
    }
}

/// A write that the store takes for nonsense is one that it can't lock: where it may not be asked before, that shows then.
pub(super) fn explained(repo: &Repository, error: Error) -> Error {
    match error {
        Error::Store(e)
            if repo.store().lock().is_some() && e.category == Category::Input && e.action == "write" =>
        {
            Error::NotLockable {
                place: e.place,
                why: format!("{} was refused ({}): {NO_LOCK_HERE}", e.object, e.detail),
            }
        }
        other => other,
    }
}

/// When a point was captured, for its lock: the later of the two times that the caller said.
fn captured(point: &Point) -> Timestamp {
    point.attributes.started.max(point.attributes.consistency_time)
}

/// Extends what has to be extended. Requests: a handful for the configuration and the key slots, and up to six for each pack
/// whose time doesn't suffice; none for the others, because the inspection has asked already.
pub(super) async fn keep(repo: &Repository, proved: Proved, point: &Point) -> Result<Ready> {
    let Proved { verified, mut packs } = proved;
    let Some(lock) = repo.store().lock() else { return Ok(Ready { verified }) };
    packs.push(repo.store().head(CONFIG).await?);
    for slot in repo.slots_in_use().await? {
        packs.push(repo.store().head(&slot).await?);
    }
    let time = captured(point);
    let demanded = lock.demanded(time);
    packs.retain(|object| !object.locked.is_some_and(|kept| kept.suffices(demanded)));
    if !packs.is_empty() {
        tracing::info!("the lock of {} objects that the point needs is extended", packs.len());
    }
    let by = repo.clone();
    let extended = ahead(packs, EXTENDED_AT_ONCE, move |object| {
        let (repo, share) = (by.clone(), random::<1>()[0]);
        async move { extend(&repo, &object.name, lock.extended(time, share), demanded).await }.boxed()
    });
    extended.try_collect::<()>().await?;
    Ok(Ready { verified })
}

/// Extends one and sees that the store says so.
async fn extend(repo: &Repository, name: &str, wanted: Retention, demanded: Retention) -> Result<()> {
    let failed = |why: String| Error::NotKept {
        place: repo.place(),
        object: name.to_owned(),
        until: format!("{:.0}", demanded.until),
        why,
    };
    match repo.store().retain(name, wanted).await {
        Err(e) if e.is_transient() => return Err(e.into()),
        Err(e) => return Err(failed(e.detail)),
        Ok(()) => {}
    }
    match repo.store().head(name).await?.locked {
        Some(kept) if kept.suffices(demanded) => Ok(()),
        Some(kept) => Err(failed(format!("the store says that it is kept until {:.0}", kept.until))),
        None => Err(failed("the store took the request and shows no lock".to_owned())),
    }
}

/// The point with its lock, which it was written with. A store that ignored that is asked once more.
pub(super) async fn see_locked(repo: &Repository, point: Point) -> Result<Point> {
    let Some(lock) = repo.store().lock() else { return Ok(point) };
    let demanded = lock.demanded(captured(&point));
    let object = point.id.object();
    let mut kept = repo.store().head(&object).await?.locked;
    if !kept.is_some_and(|kept| kept.suffices(demanded)) {
        extend(repo, &object, lock.extended(captured(&point), u8::MAX), demanded).await?;
        kept = repo.store().head(&object).await?.locked;
    }
    let locked_until = kept.map(|kept| kept.until);
    Ok(Point { locked_until, ..point })
}
