//! Keeps a store below so many bytes a second, both directions together, so that a capture leaves the line to production.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::{Instant, sleep};

use super::{Answer, Lock, Object, ObjectLock, Put, Retention, Store, Version};

/// When the line is free again. Whoever comes waits for those before, not for itself: an object passes in one piece.
#[derive(Debug)]
struct Line {
    bytes_per_second: NonZeroU64,
    free_at: Duration,
}

impl Line {
    /// Takes the line for so many bytes, `now` being measured from any fixed instant; returns how long to wait first.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let wait = self.free_at.saturating_sub(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let busy = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now).saturating_add(busy);
        wait
    }
}

/// A store that is used at so many bytes of objects a second at most. Requests themselves are not counted.
#[derive(Debug)]
pub struct Throttled {
    inner: Arc<dyn Store>,
    begun: Instant,
    line: Mutex<Line>,
}

impl Throttled {
    /// Limits what passes to and from `inner`.
    pub fn new(inner: Arc<dyn Store>, bytes_per_second: NonZeroU64) -> Self {
        let line = Mutex::new(Line { bytes_per_second, free_at: Duration::ZERO });
        Self { inner, begun: Instant::now(), line }
    }

    async fn take(&self, bytes: u64) {
        let wait = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.take(self.begun.elapsed(), bytes)
        };
        sleep(wait).await;
    }
}

impl Store for Throttled {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            let known = range.as_ref().map_or(0, |r| r.end.saturating_sub(r.start));
            self.take(known).await;
            let body = self.inner.get(name, range).await?;
            if known == 0 {
                // What a whole object weighs is known afterwards: the next one waits for it.
                let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
                line.take(self.begun.elapsed(), body.len() as u64);
            }
            Ok(body)
        }
        .boxed()
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        async move {
            self.take(body.len() as u64).await;
            self.inner.put_if_absent(name, body).await
        }
        .boxed()
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        async move {
            self.take(body.len() as u64).await;
            self.inner.put(name, body).await
        }
        .boxed()
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

    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.inner.object_lock()
    }

    fn lock(&self) -> Option<Lock> {
        self.inner.lock()
    }

    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.inner.retain(name, wanted)
    }

    fn versions<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Version>> {
        self.inner.versions(prefix)
    }

    fn get_version<'a>(&'a self, version: &'a Version, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            self.take(range.as_ref().map_or(version.size, |r| r.end.saturating_sub(r.start))).await;
            self.inner.get_version(version, range).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn line(bytes_per_second: u64) -> Line {
        Line { bytes_per_second: NonZeroU64::new(bytes_per_second).unwrap(), free_at: Duration::ZERO }
    }

    #[test]
    fn those_who_come_together_pass_one_after_the_other() {
        let mut line = line(1_000);
        let waits: Vec<_> = (0..4).map(|_| line.take(SECOND, 500)).collect();
        assert_eq!(waits, [Duration::ZERO, SECOND / 2, SECOND, SECOND + SECOND / 2]);
    }

    #[test]
    fn an_idle_line_saves_nothing_up() {
        let mut line = line(1_000);
        line.take(Duration::ZERO, 1_000);
        assert_eq!(line.take(10 * SECOND, 1_000), Duration::ZERO);
        assert_eq!(line.take(10 * SECOND, 1), SECOND);
    }

    #[test]
    fn no_number_of_bytes_overflows() {
        let mut line = line(1);
        line.take(SECOND, u64::MAX);
        line.take(SECOND, u64::MAX);
        assert!(line.take(SECOND, 1) > 100 * SECOND);
    }
}
