//! Counts what goes to a store and comes back, for whoever pays for requests and bytes. Cheap: an addition a request.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::FutureExt;
use serde::Serialize;

use super::{Answer, Lock, Object, ObjectLock, Put, Retention, Store, Version};

/// Counters shared by the decorators of one store.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

/// What was counted until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Verbs sent to the store, repetitions included. A list of many pages and a write in parts count once.
    pub requests: u64,
    /// How many of them failed. An absent object is an answer, no failure.
    pub failed: u64,
    /// How many of them were repetitions of a failed one.
    pub retries: u64,
    /// Bytes of objects sent, those of failed writes included.
    pub bytes_sent: u64,
    /// Bytes of objects received whole.
    pub bytes_received: u64,
}

impl Traffic {
    /// What was counted until now.
    pub fn tally(&self) -> Tally {
        Tally {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retries: self.retries.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
        }
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }
}

/// A store whose traffic is counted.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

impl Counting {
    /// Counts what passes to `inner` in `traffic`.
    pub fn new(inner: Arc<dyn Store>, traffic: Arc<Traffic>) -> Self {
        Self { inner, traffic }
    }

    fn count<'a, T: Send + 'a>(&'a self, verb: Answer<'a, T>) -> Answer<'a, T> {
        async move {
            self.traffic.requests.fetch_add(1, Relaxed);
            let answer = verb.await;
            if answer.as_ref().is_err_and(|e| !e.is_not_found()) {
                self.traffic.failed.fetch_add(1, Relaxed);
            }
            answer
        }
        .boxed()
    }

    fn sending(&self, body: &Bytes) {
        self.traffic.bytes_sent.fetch_add(body.len() as u64, Relaxed);
    }
}

impl Store for Counting {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            let body = self.count(self.inner.get(name, range)).await?;
            self.traffic.bytes_received.fetch_add(body.len() as u64, Relaxed);
            Ok(body)
        }
        .boxed()
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.sending(&body);
        self.count(self.inner.put_if_absent(name, body))
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.sending(&body);
        self.count(self.inner.put(name, body))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.count(self.inner.list(prefix))
    }

    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.count(self.inner.head(name))
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.count(self.inner.delete(name))
    }

    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.count(self.inner.object_lock())
    }

    fn lock(&self) -> Option<Lock> {
        self.inner.lock()
    }

    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.count(self.inner.retain(name, wanted))
    }

    fn versions<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Version>> {
        self.count(self.inner.versions(prefix))
    }

    fn get_version<'a>(&'a self, version: &'a Version, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            let body = self.count(self.inner.get_version(version, range)).await?;
            self.traffic.bytes_received.fetch_add(body.len() as u64, Relaxed);
            Ok(body)
        }
        .boxed()
    }
}
