//! The medium a repository lies on: a flat space of immutable objects behind six verbs. It knows names and bytes,
//! nothing of what they mean. Implementations are [`DirStore`] and [`S3Store`]; decorators wrap the same trait.

mod dir;
mod error;
mod location;
mod probe;
mod s3;
mod s3_errors;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;

pub use dir::DirStore;
pub use error::StoreError;
pub use location::{Location, LocationError};
pub use probe::{ConditionalWrites, ProbeReport, probe};
pub use s3::{Checksums, S3Credentials, S3Options, S3Store};

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
/// - *Clock*: `modified` doesn't go back by more than minutes.
///
/// Names consist of lower-case letters, digits, `-`, `.` and `/`, at most 200 bytes.
pub trait Store: Send + Sync + fmt::Debug {
    /// Where this is, for messages: a URL, with the endpoint where there is one.
    fn place(&self) -> String;

    /// The bytes of an object, or exactly those of the range; a shorter object is `Corrupt`, an absent one `NotFound`.
    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes>;

    /// Writes an object unless one of that name exists. A repeated attempt of the same write, whose first answer was
    /// lost, is `Created`.
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put>;

    /// Writes or replaces an object. The engine itself replaces nothing; leases and repairs will.
    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()>;

    /// All objects whose names begin with the prefix, sorted by name. The prefix is empty or ends with `/`.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>>;

    /// What is known of one object; an absent one is `NotFound`.
    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object>;

    /// Removes an object. An absent one is no failure.
    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
}
