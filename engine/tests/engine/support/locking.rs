//! A store with Object Lock, whose clock is the test's: what is locked can't be deleted before its time. It remembers how
//! everything was kept when each commit record was written, and may refuse or forget to extend.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, Lock, LockMode, Object, ObjectLock, Put, Retention, Store, StoreError};
use futures::FutureExt;
use jiff::SignedDuration;

use super::clocked::Clock;

/// What a bucket remembers, whoever opens it.
#[derive(Debug, Default)]
pub struct Locks {
    kept: Mutex<HashMap<String, Retention>>,
    /// How everything was kept when an object below `points/` was written.
    at_commit: Mutex<Vec<HashMap<String, Retention>>>,
    extended: Mutex<Vec<String>>,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Locks {
    pub fn kept(&self) -> HashMap<String, Retention> {
        held(&self.kept).clone()
    }

    pub fn at_commit(&self) -> Vec<HashMap<String, Retention>> {
        held(&self.at_commit).clone()
    }

    /// What was extended since this was asked last.
    pub fn extended(&self) -> Vec<String> {
        std::mem::take(&mut held(&self.extended))
    }

    /// The same objects kept alike, from now on apart.
    pub fn twin(&self) -> Self {
        Self { kept: Mutex::new(self.kept()), ..Self::default() }
    }
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Extending what begins so is denied.
    Denies(&'static str),
    /// Extending is acknowledged and forgotten.
    Forgets,
    /// What is locked can be deleted.
    LetsGo,
    /// There is no Object Lock.
    Absent,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Locking {
    pub inner: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub locks: Arc<Locks>,
    /// The lock it was opened with.
    pub lock: Option<Lock>,
    /// What the bucket does by itself with all that is written.
    pub by_default: Option<SignedDuration>,
    pub flaw: Flaw,
}

impl Locking {
    fn refused(&self, action: &'static str, name: &str, detail: &str) -> StoreError {
        StoreError {
            category: Category::AccessDenied,
            action,
            object: name.to_owned(),
            place: self.place(),
            detail: detail.to_owned(),
        }
    }

    fn written(&self, name: &str) {
        let stays = name == "config"
            || ["keys/", "packs/", "points/", "marks/", "documents/"].iter().any(|p| name.starts_with(p));
        let asked = self.lock.filter(|_| stays).map(|lock| lock.written());
        let by_default = self
            .by_default
            .map(|time| Retention { mode: LockMode::Governance, until: self.clock.now() + time });
        let mut kept = held(&self.locks.kept);
        if name.starts_with("points/") {
            held(&self.locks.at_commit).push(kept.clone());
        }
        if let Some(retention) = asked.or(by_default) {
            kept.insert(name.to_owned(), retention);
        }
    }
}

impl Store for Locking {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.inner.get(name, range)
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        async move {
            let put = self.inner.put_if_absent(name, body).await?;
            if put == Put::Created {
                self.written(name);
            }
            Ok(put)
        }
        .boxed()
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.inner.put(name, body)
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.inner.list(prefix)
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        async move {
            let object = self.inner.head(name).await?;
            Ok(Object { locked: held(&self.locks.kept).get(name).copied(), ..object })
        }
        .boxed()
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        async move {
            let now = self.clock.now();
            let is_kept = held(&self.locks.kept).get(name).is_some_and(|kept| kept.until > now);
            if is_kept && self.flaw != Flaw::LetsGo {
                return Err(self.refused("delete", name, "the object is locked"));
            }
            self.inner.delete(name).await?;
            held(&self.locks.kept).remove(name);
            Ok(())
        }
        .boxed()
    }
    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        let said = if self.flaw == Flaw::Absent { ObjectLock::Absent } else { ObjectLock::Enabled };
        async move { Ok(said) }.boxed()
    }
    fn lock(&self) -> Option<Lock> {
        self.lock
    }
    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        async move {
            match self.flaw {
                Flaw::Denies(prefix) if name.starts_with(prefix) => {
                    return Err(self.refused("retain", name, "403 AccessDenied"));
                }
                Flaw::Forgets => return Ok(()),
                _ => {}
            }
            self.inner.head(name).await?;
            held(&self.locks.extended).push(name.to_owned());
            let mut kept = held(&self.locks.kept);
            let known = kept.entry(name.to_owned()).or_insert(wanted);
            *known = Retention { mode: known.mode.max(wanted.mode), until: known.until.max(wanted.until) };
            Ok(())
        }
        .boxed()
    }
}
