//! The probe finds out what a store does, not what it says: a store that ignores conditions, or checks first and writes
//! later, is told from one that holds them. Such a store still works for one writer at a time.

use std::ops::Range;
use std::sync::Arc;

use crate::support::{at, noise, password, request};
use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, ConditionalWrites, DirStore, Object, ObjectLock, Put, Store, StoreError, probe};
use engine::{Level, Repository, backup, silent, verify_all};
use futures::FutureExt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Answers with success and overwrites, as gateways without conditions do.
    Ignores,
    /// Looks whether the object is there, and writes afterwards: the race is lost in between.
    LooksFirst,
    /// Holds conditions; these credentials may not delete.
    KeepsAll,
}

#[derive(Debug)]
struct Habitual {
    inner: DirStore,
    habit: Habit,
    looked: tokio::sync::Barrier,
}

impl Store for Habitual {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.inner.get(name, range)
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        async move {
            match self.habit {
                Habit::KeepsAll => return self.inner.put_if_absent(name, body).await,
                Habit::LooksFirst if self.inner.head(name).await.is_ok() => return Ok(Put::Exists),
                // The worst case, every time: all eight have looked before the first writes.
                Habit::LooksFirst => {
                    self.looked.wait().await;
                }
                Habit::Ignores => {}
            }
            self.inner.put(name, body).await.map(|()| Put::Created)
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
        self.inner.head(name)
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        match self.habit {
            Habit::KeepsAll => async move {
                Err(StoreError {
                    category: Category::AccessDenied,
                    action: "delete",
                    object: name.to_owned(),
                    place: self.place(),
                    detail: "403 AccessDenied".into(),
                })
            }
            .boxed(),
            _ => self.inner.delete(name),
        }
    }
}

fn habitual(habit: Habit) -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let inner = DirStore::new(dir.path().join("store"));
    (dir, Arc::new(Habitual { inner, habit, looked: tokio::sync::Barrier::new(8) }))
}

#[tokio::test]
async fn a_store_that_ignores_conditions_has_nine_winners_of_nine() {
    let (_dir, store) = habitual(Habit::Ignores);
    let report = probe(&store).await.unwrap();
    assert_eq!(report.conditional_writes, ConditionalWrites::Broken { winners: 9 });
    assert_eq!(report.object_lock, ObjectLock::Absent);
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_looks_first_and_writes_later_is_found_out() {
    let (_dir, store) = habitual(Habit::LooksFirst);
    let report = probe(&store).await.unwrap();
    assert_eq!(report.conditional_writes, ConditionalWrites::Broken { winners: 8 });
}

#[tokio::test]
async fn who_may_not_delete_leaves_the_objects_of_the_probe_and_is_told_so() {
    let (_dir, store) = habitual(Habit::KeepsAll);
    let report = probe(&store).await.unwrap();
    assert_eq!(report.conditional_writes, ConditionalWrites::Hold);
    assert!(!report.may_delete);
    let left = store.list("").await.unwrap();
    assert!(left.len() == 5 && left.iter().all(|object| object.name.starts_with("probe/")), "{left:?}");
    Repository::init(store, &password(), at(0)).await.expect("they stop nobody");
}

#[tokio::test]
async fn one_writer_is_safe_on_a_store_without_conditional_writes() {
    let (dir, store) = habitual(Habit::Ignores);
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let repo = Repository::init(store, &password(), at(0)).await.unwrap();
    for attempt in ["one", "two", "two"] {
        std::fs::write(source.join("chroma.sqlite3"), noise(attempt.len() as u64, 200_000)).unwrap();
        backup(&repo, request(&source, attempt)).await.unwrap();
    }
    assert_eq!(repo.points().await.unwrap().points.len(), 2);
    assert_eq!(verify_all(&repo, Level::Full, silent()).await.unwrap().findings, []);
}
