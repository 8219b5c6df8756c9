//! Takes objects away, and knows what the store doesn't let go: what is locked, which is no failure but a date, and what is
//! refused for another reason, which somebody has to look into.

use jiff::Timestamp;

use crate::Category;
use crate::error::Result;
use crate::repository::Repository;
use crate::store::ObjectLock;

/// What became of an object that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// It is gone.
    Gone,
    /// It is locked until then, and stays.
    Locked(Timestamp),
    /// It was refused, and stays.
    Held,
}

/// See the head of the file.
pub(super) struct Removal<'a> {
    repo: &'a Repository,
    /// By the store's clock.
    now: Timestamp,
    /// Locks are looked for: the store may have them.
    may_lock: bool,
    /// What was refused, and why isn't known.
    pub(super) held: Vec<String>,
    /// When the first lock that was met ends.
    pub(super) first_end: Option<Timestamp>,
    /// Index pieces, lists and leases that were met locked: by the bucket's own default, for nobody asks for that.
    pub(super) others_locked: u64,
}

impl<'a> Removal<'a> {
    pub(super) async fn begin(repo: &'a Repository, now: Timestamp) -> Result<Self> {
        let may_lock = repo.store().object_lock().await? != ObjectLock::Absent;
        Ok(Self { repo, now, may_lock, held: Vec::new(), first_end: None, others_locked: 0 })
    }

    /// Until when an object is locked, if it still is.
    pub(super) async fn locked(&mut self, object: &str) -> Result<Option<Timestamp>> {
        if !self.may_lock {
            return Ok(None);
        }
        let kept = match self.repo.store().head(object).await {
            Err(e) if e.is_not_found() => None,
            other => other?.locked,
        };
        let end = kept.map(|kept| kept.until).filter(|until| *until > self.now);
        if let Some(end) = end {
            self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
        }
        Ok(end)
    }

    /// Deletes an object. What is locked isn't asked for: a bucket with versions would hide it and keep it all the same.
    pub(super) async fn delete(&mut self, object: &str) -> Result<Removed> {
        if let Some(end) = self.locked(object).await? {
            return Ok(Removed::Locked(end));
        }
        match self.repo.store().delete(object).await {
            Ok(()) => Ok(Removed::Gone),
            Err(e) if e.category == Category::AccessDenied => {
                self.held.push(object.to_owned());
                Ok(Removed::Held)
            }
            Err(e) => Err(e.into()),
        }
    }
}
