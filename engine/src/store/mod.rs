//! The medium a repository lies on: a flat space of immutable objects behind a few verbs. It knows names and bytes,
//! nothing of what they mean. Implementations are [`DirStore`] and [`S3Store`]; decorators wrap the same trait.

mod dir;
mod error;
mod location;
mod lock;
mod probe;
mod retry;
mod s3;
mod s3_client;
mod s3_errors;
mod s3_lock;
mod s3_multipart;
mod s3_versions;
mod throttle;
mod traffic;
mod version;

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Category;

pub use dir::DirStore;
pub use error::StoreError;
pub use location::{Location, LocationError};
pub use lock::{Lock, LockMode, ObjectLock, Retention};
pub(crate) use probe::NO_LOCK_HERE;
pub use probe::{ConditionalWrites, LockFinding, ProbeReport, probe};
pub use retry::{Patience, Retrying};
pub use s3::S3Store;
pub use s3_client::{Checksums, S3Credentials, S3Options};
pub use throttle::Throttled;
pub use traffic::{Counting, Tally, Traffic};
pub use version::Version;

/// What a store's verbs return.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name within the repository, such as `points/5f0c`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored, by the clock of the store: a writer can't choose it.
    pub modified: Option<Timestamp>,
    /// How it is kept from being deleted. Only [`Store::head`] tells it.
    pub locked: Option<Retention>,
    /// Other bytes lie under this name too, so somebody wrote over it, or marked it as deleted. Only [`Store::list`] of a
    /// bucket with Object Lock tells it.
    pub rewritten: bool,
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object now exists with exactly these bytes.
    Created,
    /// An object of that name existed already and was left as it was.
    Exists,
}

/// A place for objects.
///
/// What the engine demands of the medium, and relies on nowhere else:
/// - *Durability*: an object whose write was acknowledged survives a crash of writer and store.
/// - *Atomicity*: an object is visible whole or not at all, also when its writer dies in between.
/// - *Read after write*: once a write is acknowledged, `get`, `head` and `list` of any client see it.
/// - *Conditional writes*: of many concurrent `put_if_absent` of one name exactly one is answered `Created`.
///   [`probe`] finds out whether that holds. Where it doesn't, one writer at a time is still safe.
///   Relied on for small objects only: of racers with an object so large that S3 takes it in parts, more than one may win.
/// - *Clock*: `modified` doesn't go back by more than minutes.
///
/// Names consist of lower-case letters, digits, `-`, `.` and `/`, at most 200 bytes.
pub trait Store: Send + Sync + fmt::Debug {
    /// Where this is, for messages: a URL, with the endpoint where there is one.
    fn place(&self) -> String;

    /// The bytes of an object, or exactly those of the range; a shorter object is `Corrupt`, an absent one `NotFound`.
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes>;

    /// Writes an object unless one of that name exists. A repeated attempt of the same write, whose first answer was
    /// lost, is `Created`: a store whose answers can be lost takes an object with exactly these bytes for its own.
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put>;

    /// Writes or replaces an object. The engine itself replaces nothing; leases and repairs will.
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()>;

    /// All objects whose names begin with the prefix, sorted by name. The prefix is empty or ends with `/`.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>>;

    /// What is known of one object; an absent one is `NotFound`.
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object>;

    /// Removes an object. An absent one is no failure. One that is locked is refused (`AccessDenied`): where objects can be
    /// locked, all versions go for good, so that a mark that an object was deleted is never the engine's own, and is seen
    /// through by all other verbs.
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;

    /// Whether objects can be kept from being deleted here.
    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        async { Ok(ObjectLock::Absent) }.boxed()
    }

    /// The lock that the store was opened with: packs, points, marks, the configuration and key slots are kept by it from
    /// the moment they are written. All else comes and goes, and is not locked.
    fn lock(&self) -> Option<Lock> {
        None
    }

    /// Keeps an object from being deleted before that time, all its versions included. Neither shortens nor relaxes: an
    /// object that is kept longer or more strictly stays so. Where nothing can be locked it is a failure (`Input`), no
    /// silent success.
    fn retain<'a>(&'a self, name: &'a str, _wanted: Retention) -> Answer<'a, ()> {
        async move {
            Err(StoreError {
                category: Category::Input,
                action: "retain",
                object: name.to_owned(),
                place: self.place(),
                detail: "objects can't be locked here".to_owned(),
            })
        }
        .boxed()
    }

    /// All states of all objects below the prefix (or of the object of that name) that the store still has, those of one
    /// name together and the newest first. Nothing where no older states are kept.
    fn versions<'a>(&'a self, _prefix: &'a str) -> Answer<'a, Vec<Version>> {
        async { Ok(Vec::new()) }.boxed()
    }

    /// The bytes of one state of an object, see [`Self::get`].
    fn get_version<'a>(&'a self, version: &'a Version, _range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            Err(StoreError {
                category: Category::NotFound,
                action: "read an older version of",
                object: version.name.clone(),
                place: self.place(),
                detail: "no older versions are kept here".to_owned(),
            })
        }
        .boxed()
    }
}

/// A store as it is used in earnest: retried with patience, counted, and kept below a rate if one is given. Returns it
/// with its counters.
pub fn steady(
    store: Arc<dyn Store>,
    patience: Patience,
    bytes_per_second: Option<NonZeroU64>,
) -> (Arc<dyn Store>, Arc<Traffic>) {
    let traffic = Arc::new(Traffic::default());
    let counted: Arc<dyn Store> = Arc::new(Counting::new(store, Arc::clone(&traffic)));
    let retried: Arc<dyn Store> = Arc::new(Retrying::new(counted, patience, Arc::clone(&traffic)));
    // Outermost, so that waiting for one's turn doesn't eat the patience.
    let limited = match bytes_per_second {
        Some(limit) => Arc::new(Throttled::new(retried, limit)),
        None => retried,
    };
    (limited, traffic)
}
