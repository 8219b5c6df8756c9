//! A store that counts what is asked of it and dies at a chosen operation, before or after it took effect; once dead it
//! answers nothing any more, as for a process that was killed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, Object, Put, Store, StoreError};
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
}

impl Faulty {
    /// Dies at the nth operation, counted from 1.
    pub fn dying(inner: Arc<dyn Store>, at: usize, dies: Dies) -> Arc<Self> {
        Arc::new(Self { inner, count: AtomicUsize::new(0), at, dies })
    }

    pub fn counting(inner: Arc<dyn Store>) -> Arc<Self> {
        Self::dying(inner, usize::MAX, Dies::Before)
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn guard<'a, T: Send + 'a>(&'a self, verb: Answer<'a, T>) -> Answer<'a, T> {
        async move {
            let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
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
            let answer = verb.await;
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
        self.guard(self.inner.get(name, range))
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.guard(self.inner.put_if_absent(name, body))
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.guard(self.inner.put(name, body))
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.guard(self.inner.list(prefix))
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.guard(self.inner.head(name))
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.guard(self.inner.delete(name))
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
