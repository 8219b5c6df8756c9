//! A store whose clock is the test's, which can do something else right before a chosen operation, and which may refuse to
//! delete.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, Lock, Object, ObjectLock, Put, Retention, Store, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

/// The time of a store, and when it received what.
#[derive(Debug, Default)]
pub struct Clock {
    state: Mutex<(i64, HashMap<String, i64>)>,
}

impl Clock {
    fn with<T>(&self, look: impl FnOnce(&mut (i64, HashMap<String, i64>)) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn pass(&self, time: SignedDuration) {
        self.with(|(now, _)| *now += time.as_secs());
    }

    pub fn now(&self) -> Timestamp {
        super::at(self.with(|(now, _)| *now))
    }

    /// Another that goes on from here.
    pub fn twin(&self) -> Self {
        Self { state: Mutex::new(self.with(|state| state.clone())) }
    }

    fn received(&self, name: &str) {
        self.with(|(now, times)| {
            times.insert(name.to_owned(), *now);
        });
    }

    fn date(&self, object: Object) -> Object {
        let time = self.with(|(_, times)| times.get(&object.name).copied());
        Object { modified: Some(super::at(time.unwrap_or(0))), ..object }
    }
}

/// Something to be done before an operation.
pub type Between = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// See the head of the file.
pub struct Clocked {
    inner: Arc<dyn Store>,
    clock: Arc<Clock>,
    /// The operations so far: a verb and a name.
    seen: Mutex<Vec<String>>,
    between: Option<(usize, Between)>,
    undeletable: Option<&'static str>,
}

impl std::fmt::Debug for Clocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clocked({:?})", self.inner)
    }
}

impl Clocked {
    pub fn new(inner: Arc<dyn Store>, clock: Arc<Clock>) -> Arc<Self> {
        Arc::new(Self { inner, clock, seen: Mutex::default(), between: None, undeletable: None })
    }

    /// Does something right before the nth operation, counted from 1.
    pub fn interrupted(inner: Arc<dyn Store>, clock: Arc<Clock>, at: usize, between: Between) -> Arc<Self> {
        let between = Some((at, between));
        Arc::new(Self { inner, clock, seen: Mutex::default(), between, undeletable: None })
    }

    /// Refuses to delete what begins with the prefix.
    pub fn keeping(inner: Arc<dyn Store>, clock: Arc<Clock>, prefix: &'static str) -> Arc<Self> {
        Arc::new(Self { inner, clock, seen: Mutex::default(), between: None, undeletable: Some(prefix) })
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn step<'a, T: Send + 'a>(&'a self, verb: &str, name: &str, answer: Answer<'a, T>) -> Answer<'a, T> {
        let operation = format!("{verb} {name}");
        async move {
            let number = {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(operation);
                seen.len()
            };
            match &self.between {
                Some((at, between)) if *at == number => between().await,
                _ => {}
            }
            answer.await
        }
        .boxed()
    }
}

impl Store for Clocked {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.step("get", name, self.inner.get(name, range))
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        let put = async move {
            let put = self.inner.put_if_absent(name, body).await?;
            if put == Put::Created {
                self.clock.received(name);
            }
            Ok(put)
        };
        self.step("put", name, put.boxed())
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.step("put", name, self.inner.put(name, body))
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        let listed = async move {
            Ok(self.inner.list(prefix).await?.into_iter().map(|object| self.clock.date(object)).collect())
        };
        self.step("list", prefix, listed.boxed())
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        let head = async move { Ok(self.clock.date(self.inner.head(name).await?)) };
        self.step("head", name, head.boxed())
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        if self.undeletable.is_some_and(|prefix| name.starts_with(prefix)) {
            let refused = StoreError {
                category: Category::AccessDenied,
                action: "delete",
                object: name.to_owned(),
                place: self.place(),
                detail: "the object is locked".to_owned(),
            };
            return async move { Err(refused) }.boxed();
        }
        self.step("delete", name, self.inner.delete(name))
    }
    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.step("object lock", "", self.inner.object_lock())
    }
    fn lock(&self) -> Option<Lock> {
        self.inner.lock()
    }
    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.step("retain", name, self.inner.retain(name, wanted))
    }
}
