//! A store that counts what is asked of it and dies at a chosen operation, before or after it took effect; once dead it
//! answers nothing any more, as for a process that was killed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, Lock, Object, ObjectLock, Put, Retention, Store, StoreError};
use futures::FutureExt;

/// When the death takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    Before,
    After,
}

#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    count: AtomicUsize,
    at: usize,
    dies: Dies,
    /// Counts only operations that begin so, such as `put index/`.
    only: &'static str,
}

impl Faulty {
    /// Dies at the nth operation, counted from 1.
    pub fn dying(inner: Arc<dyn Store>, at: usize, dies: Dies) -> Arc<Self> {
        Arc::new(Self { inner, count: AtomicUsize::new(0), at, dies, only: "" })
    }

    /// Dies before the nth operation that begins with `only`, such as `put index/`, counted from 1.
    pub fn dying_before(inner: Arc<dyn Store>, at: usize, only: &'static str) -> Arc<Self> {
        Arc::new(Self { inner, count: AtomicUsize::new(0), at, dies: Dies::Before, only })
    }

    pub fn counting(inner: Arc<dyn Store>) -> Arc<Self> {
        Self::dying(inner, usize::MAX, Dies::Before)
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn guard<'a, T: Send + 'a>(&'a self, verb: &str, name: &str, answer: Answer<'a, T>) -> Answer<'a, T> {
        let counts = format!("{verb} {name}").starts_with(self.only);
        async move {
            let number = self.count.fetch_add(usize::from(counts), Ordering::SeqCst) + usize::from(counts);
            let dead = Err(StoreError {
                category: Category::Unreachable,
                action: "reach",
                object: String::new(),
                place: "the faulty store".into(),
                detail: format!("it died at operation {}", self.at),
            });
            if number > self.at || (number == self.at && self.dies == Dies::Before) {
                return dead;
            }
            let answer = answer.await;
            if number == self.at { dead } else { answer }
        }
        .boxed()
    }
}

impl Store for Faulty {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.guard("get", name, self.inner.get(name, range))
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.guard("put", name, self.inner.put_if_absent(name, body))
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.guard("put", name, self.inner.put(name, body))
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.guard("list", prefix, self.inner.list(prefix))
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.guard("head", name, self.inner.head(name))
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.guard("delete", name, self.inner.delete(name))
    }
    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.guard("object lock", "", self.inner.object_lock())
    }
    fn lock(&self) -> Option<Lock> {
        self.inner.lock()
    }
    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.guard("retain", name, self.inner.retain(name, wanted))
    }
}

/// A store that acknowledges its nth write, counted from 1, and forgets it; or stores other bytes than it was given.
#[derive(Debug)]
pub struct Lying {
    inner: Arc<dyn Store>,
    writes: AtomicUsize,
    at: usize,
    lie: Lie,
}

/// How it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    Forgets,
    CutsShort,
}

impl Lying {
    pub fn at(inner: Arc<dyn Store>, at: usize, lie: Lie) -> Arc<Self> {
        Arc::new(Self { inner, writes: AtomicUsize::new(0), at, lie })
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

impl Store for Lying {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.inner.get(name, range)
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.lie {
            _ if number != self.at => self.inner.put_if_absent(name, body),
            Lie::Forgets => async { Ok(Put::Created) }.boxed(),
            Lie::CutsShort => self.inner.put_if_absent(name, body.slice(..body.len() - 1)),
        }
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.inner.put(name, body)
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.inner.list(prefix)
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.inner.head(name)
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.inner.delete(name)
    }
}
