//! What the decorators promise: what passes is tried again within bounds, what is final is said at once, and all is counted.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engine::Category;
use engine::store::{Answer, DirStore, Object, Patience, Put, Store, StoreError, Tally, Traffic, steady};
use futures::FutureExt;

/// A directory whose first answers are failures of these categories; `None` never answers.
#[derive(Debug)]
struct Ill {
    inner: DirStore,
    script: Mutex<VecDeque<Option<Category>>>,
}

impl Ill {
    fn or<'a, T: Send + 'a>(&'a self, verb: Answer<'a, T>) -> Answer<'a, T> {
        async move {
            let next = self.script.lock().unwrap().pop_front();
            match next {
                None => verb.await,
                Some(None) => futures::future::pending().await,
                Some(Some(category)) => Err(StoreError {
                    category,
                    action: "test",
                    object: "x".into(),
                    place: self.place(),
                    detail: "by the script".into(),
                }),
            }
        }
        .boxed()
    }
}

impl Store for Ill {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        self.or(self.inner.get(name, range))
    }
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.or(self.inner.put_if_absent(name, body))
    }
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        self.or(self.inner.put(name, body))
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        self.or(self.inner.list(prefix))
    }
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        self.or(self.inner.head(name))
    }
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        self.or(self.inner.delete(name))
    }
}

const PATIENCE: Patience = Patience {
    attempts: 4,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(2),
    total: Duration::from_secs(120),
};

struct Ward {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    traffic: Arc<Traffic>,
}

fn ill(patience: Patience, script: &[Option<Category>]) -> Ward {
    let dir = tempfile::tempdir().unwrap();
    let script = Mutex::new(script.iter().copied().collect());
    let (store, traffic) = steady(Arc::new(Ill { inner: DirStore::new(dir.path()), script }), patience, None);
    Ward { _dir: dir, store, traffic }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_counted() {
    let ward = ill(PATIENCE, &[Some(Category::Throttled), Some(Category::Unreachable)]);
    assert_eq!(ward.store.put_if_absent("a", b"12345".as_slice().into()).await.unwrap(), Put::Created);
    assert_eq!(ward.store.get("a", Some(1..4)).await.unwrap(), b"234".as_slice());
    ward.store.head("b").await.unwrap_err();
    let expected = Tally { requests: 5, failed: 2, retries: 2, bytes_sent: 15, bytes_received: 3 };
    assert_eq!(ward.traffic.tally(), expected);
}

#[tokio::test]
async fn every_verb_is_retried() {
    let once = [Some(Category::Unreachable)];
    for verb in 0..6 {
        let ward = ill(PATIENCE, &once);
        let store = ward.store.as_ref();
        match verb {
            0 => drop(store.put_if_absent("a", Bytes::new()).await.unwrap()),
            1 => store.put("a", Bytes::new()).await.unwrap(),
            2 => drop(store.list("").await.unwrap()),
            3 => store.delete("a").await.unwrap(),
            4 => assert!(store.get("a", None).await.unwrap_err().is_not_found()),
            _ => assert!(store.head("a").await.unwrap_err().is_not_found()),
        }
        assert_eq!(ward.traffic.tally().retries, 1, "verb {verb}");
    }
}

#[tokio::test]
async fn what_is_final_is_said_at_once() {
    for category in [
        Category::AccessDenied,
        Category::BucketMissing,
        Category::NotFound,
        Category::AlreadyExists,
        Category::Corrupt,
        Category::Full,
        Category::Input,
    ] {
        let ward = ill(PATIENCE, &[Some(category)]);
        let refused = ward.store.get("a", None).await.unwrap_err();
        assert_eq!((refused.category, refused.detail.as_str()), (category, "by the script"));
        assert_eq!(ward.traffic.tally().requests, 1, "{category:?}");
    }
}

#[tokio::test]
async fn attempts_are_bounded_and_told() {
    let ward = ill(PATIENCE, &[Some(Category::Throttled); 10]);
    let refused = ward.store.list("").await.unwrap_err();
    assert_eq!(refused.category, Category::Throttled);
    assert!(refused.to_string().contains("by the script (tried 4 times)"), "{refused}");
    assert_eq!(ward.traffic.tally().requests, 4);
}

#[tokio::test]
async fn the_whole_time_is_bounded_when_an_answer_never_comes() {
    let soon = Patience { total: Duration::from_millis(50), ..PATIENCE };
    let ward = ill(soon, &[None]);
    let refused = ward.store.get("points/a", None).await.unwrap_err();
    assert_eq!(refused.category, Category::Unreachable);
    let message = refused.to_string();
    assert!(message.contains("points/a") && message.contains("no answer within 50ms"), "{message}");
}

#[tokio::test]
async fn a_pause_that_would_end_too_late_is_not_begun() {
    let long = Patience {
        first_pause: Duration::from_secs(3_600),
        longest_pause: Duration::from_secs(3_600),
        ..PATIENCE
    };
    let ward = ill(long, &[Some(Category::Throttled); 2]);
    let refused = ward.store.get("a", None).await.unwrap_err();
    assert_eq!(refused.category, Category::Throttled);
    assert_eq!(ward.traffic.tally(), Tally { requests: 1, failed: 1, ..Tally::default() });
}
