//! Tries again what may pass: a store that doesn't answer, fails inside, or asks to slow down. Pauses grow and are
//! jittered, so that many movers don't come back at the same moment; attempts and the whole time are bounded. What
//! is final (access denied, absent, corrupt) is said at once.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::traffic::Traffic;
use super::{Answer, Lock, Object, ObjectLock, Put, Retention, Store, StoreError, Version};
use crate::error::Category;

/// How long to go on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often a request is sent, the first time included; 0 counts as 1.
    pub attempts: usize,
    /// The pause after the first failure, doubled after each; up to as much again is added at random.
    pub first_pause: Duration,
    /// The longest pause, without what is added.
    pub longest_pause: Duration,
    /// The whole time for one verb, pauses included. An attempt under way at its end is given up.
    pub total: Duration,
}

impl Default for Patience {
    /// Six attempts, some 12 s of pauses at most, five minutes in all.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            total: Duration::from_secs(300),
        }
    }
}

/// A store that retries what is transient, see [`StoreError::is_transient`].
///
/// A write that is repeated may meet its own first try. The store below must answer `Created` when the object that is
/// there has exactly the bytes it was asked to write; [`super::S3Store`] does.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    patience: Patience,
    traffic: Arc<Traffic>,
}

impl Retrying {
    /// Retries around a store; each repetition is counted in `traffic`.
    pub fn new(inner: Arc<dyn Store>, patience: Patience, traffic: Arc<Traffic>) -> Self {
        Self { inner, patience, traffic }
    }

    fn again<'a, T: Send + 'a>(
        &'a self,
        action: &'static str,
        object: &'a str,
        verb: impl Fn() -> Answer<'a, T> + Send + Sync + 'a,
    ) -> Answer<'a, T> {
        async move {
            let Patience { attempts, first_pause, longest_pause, total } = self.patience;
            let deadline = Instant::now() + total;
            let mut pauses = ExponentialBuilder::new()
                .with_min_delay(first_pause)
                .with_max_delay(longest_pause)
                .with_factor(2.0)
                .with_max_times(attempts.saturating_sub(1))
                .with_jitter()
                .build();
            let mut tried = 0;
            loop {
                tried += 1;
                let failure = match timeout_at(deadline, verb()).await {
                    Ok(Err(failure)) if failure.is_transient() => failure,
                    Ok(answer) => return answer,
                    Err(_) => return Err(self.gave_up(action, object, tried)),
                };
                match pauses.next() {
                    Some(pause) if Instant::now() + pause < deadline => {
                        tracing::warn!(attempt = tried, "{failure}; trying again");
                        self.traffic.retried();
                        sleep(pause).await;
                    }
                    _ if tried == 1 => return Err(failure),
                    _ => {
                        let detail = format!("{} (tried {tried} times)", failure.detail);
                        return Err(StoreError { detail, ..failure });
                    }
                }
            }
        }
        .boxed()
    }

    fn gave_up(&self, action: &'static str, object: &str, tried: usize) -> StoreError {
        StoreError {
            category: Category::Unreachable,
            action,
            object: object.to_owned(),
            place: self.place(),
            detail: format!("no answer within {:?} (tried {tried} times)", self.patience.total),
        }
    }
}

impl Store for Retrying {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.again("read", name, move || self.inner.get(name, range.clone()))
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.again("write", name, move || self.inner.put_if_absent(name, body.clone()))
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.again("write", name, move || self.inner.put(name, body.clone()))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.again("list", prefix, move || self.inner.list(prefix))
    }

    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.again("look at", name, move || self.inner.head(name))
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.again("delete", name, move || self.inner.delete(name))
    }

    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.again("ask for the Object Lock of", "", move || self.inner.object_lock())
    }

    fn lock(&self) -> Option<Lock> {
        self.inner.lock()
    }

    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.again("retain", name, move || self.inner.retain(name, wanted))
    }

    fn versions<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Version>> {
        self.again("list the versions of", prefix, move || self.inner.versions(prefix))
    }

    fn get_version<'a>(&'a self, version: &'a Version, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.again("read an older version of", &version.name, move || {
            self.inner.get_version(version, range.clone())
        })
    }
}
