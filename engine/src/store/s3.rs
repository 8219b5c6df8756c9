//! A repository in an S3 bucket. A write is one conditional PUT; only what is larger than any pack goes in parts. It sends
//! each request once and says what came of it: [`super::Retrying`] decides what is tried again.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::lock::{Lock, Retention};
use super::s3_client::{Checksums, S3Options, client};
use super::s3_errors::classify;
use super::{Answer, Object, ObjectLock, Put, Store, StoreError, Version};
use crate::error::Category;

/// How much of an object is held against what should be there at once.
const COMPARED: u64 = 16 << 20;

/// Objects in a bucket, below a prefix.
#[derive(Clone)]
pub struct S3Store {
    pub(super) client: Client,
    pub(super) bucket: String,
    /// Empty, or ending with a slash.
    prefix: String,
    place: String,
    attempt_timeout: Duration,
    multipart_above: u64,
    pub(super) part_size: u64,
    pub(super) lock: Option<Lock>,
    /// Whether objects are kept by their versions here; found out when it first matters.
    pub(super) versioned: Arc<OnceCell<bool>>,
    /// Whether writes carry checksums, so that one in parts has to announce them.
    pub(super) checksummed: bool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.place)
    }
}

impl S3Store {
    /// A store with these options. Nothing is sent yet, except to find credentials when none are given.
    pub fn connect(options: S3Options) -> BoxFuture<'static, Result<Self, StoreError>> {
        Box::pin(async move {
            let prefix = match options.prefix.trim_matches('/') {
                "" => String::new(),
                parts => format!("{parts}/"),
            };
            let mut place = format!("s3://{}/{prefix}", options.bucket).trim_end_matches('/').to_owned();
            if let Some(endpoint) = &options.endpoint {
                place = format!("{place} at {endpoint}");
            }
            let client = client(&options).await.map_err(|detail| StoreError {
                category: Category::Input,
                action: "use the CA bundle",
                object: String::new(),
                place: place.clone(),
                detail,
            })?;
            let checksummed = options.checksums == Checksums::WhenSupported || options.lock.is_some();
            Ok(Self {
                checksummed,
                client,
                bucket: options.bucket,
                prefix,
                place,
                attempt_timeout: options.attempt_timeout,
                multipart_above: options.multipart_above,
                part_size: options.part_size,
                lock: options.lock,
                versioned: Arc::default(),
            })
        })
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name of an object of ours. "Directories" that consoles and some gateways create are none.
    pub(super) fn name(&self, key: &str) -> Option<String> {
        let name = key.strip_prefix(&self.prefix)?;
        (!name.is_empty() && !name.ends_with('/')).then(|| name.to_owned())
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
        object: &str,
        (category, detail): (Category, String),
    ) -> StoreError {
        StoreError { category, action, object: object.to_owned(), place: self.place.clone(), detail }
    }

    /// What is read without a version, behind the mark of a deletion too.
    async fn read_newest(&self, name: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        match self.read(name, None, range.clone()).await {
            Err(e) if e.is_not_found() => match self.behind_deletion(name).await? {
                Some(hidden) => self.read(name, Some(hidden.id), range).await,
                None => Err(e),
            },
            other => other,
        }
    }

    async fn look_at(&self, name: &str, version: Option<String>) -> Result<Object, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.key(name));
        let answer = request.set_version_id(version).send().await;
        let answer = answer.map_err(|e| self.failed("look at", name, classify(&e)))?;
        Ok(Object {
            name: name.to_owned(),
            size: answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            modified: timestamp(answer.last_modified()),
            locked: super::s3_lock::told(&answer),
            rewritten: false,
        })
    }

    /// The SDK's timeout ends with the head of the answer: a body that drips must not take for ever either.
    async fn in_time(
        &self,
        name: &str,
        read: impl Future<Output = Result<Bytes, StoreError>>,
    ) -> Result<Bytes, StoreError> {
        match tokio::time::timeout(self.attempt_timeout, read).await {
            Ok(answer) => answer,
            Err(_) => {
                let detail = format!("no whole answer in {:?}", self.attempt_timeout);
                Err(self.failed("read", name, (Category::Unreachable, detail)))
            }
        }
    }

    async fn read(
        &self,
        name: &str,
        version: Option<String>,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, StoreError> {
        let header = range.as_ref().map(|r| format!("bytes={}-{}", r.start, r.end.saturating_sub(1)));
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name)).set_range(header);
        let answer = request
            .set_version_id(version)
            .send()
            .await
            .map_err(|e| self.failed("read", name, classify(&e)))?;
        let (promised, partial) = (answer.content_length(), answer.content_range().is_some());
        let broke_off = |how: String| {
            self.failed("read", name, (Category::Unreachable, format!("the answer broke off: {how}")))
        };
        let body = answer.body.collect().await.map_err(|e| broke_off(e.to_string()))?.into_bytes();
        if promised.is_some_and(|n| u64::try_from(n).ok() != Some(body.len() as u64)) {
            return Err(broke_off(format!("after {} bytes", body.len())));
        }
        let Some(range) = range else { return Ok(body) };
        // Some stores ignore ranges and answer with the whole object.
        let skip = if partial { 0 } else { usize::try_from(range.start).unwrap_or(usize::MAX) };
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        match skip.checked_add(wanted) {
            Some(end) if end <= body.len() => Ok(body.slice(skip..end)),
            _ => {
                let detail = format!("it ends before byte {}", range.end);
                Err(self.failed("read", name, (Category::Corrupt, detail)))
            }
        }
    }

    fn request(&self, name: &str, body: Bytes) -> PutObjectFluentBuilder {
        let request = self.client.put_object().bucket(&self.bucket).key(self.key(name));
        let request = request.body(ByteStream::from(body));
        match self.retention_of(name) {
            None => request,
            Some(Retention { mode, until }) => request
                .object_lock_mode(mode.into())
                .object_lock_retain_until_date(super::s3_lock::date(until)),
        }
    }

    async fn write_if_absent(&self, name: &str, body: Bytes) -> Result<Put, StoreError> {
        let written = if body.len() as u64 > self.multipart_above {
            self.write_in_parts(name, &body, true).await
        } else {
            let sent = self.request(name, body.clone()).if_none_match("*").send().await;
            sent.map(drop).map_err(|e| self.failed("write", name, classify(&e)))
        };
        match written {
            Ok(()) => Ok(Put::Created),
            // A repetition may have met our own first try, whose answer was lost.
            Err(e) if e.category == Category::AlreadyExists => match self.holds(name, &body).await? {
                true => Ok(Put::Created),
                false => Ok(Put::Exists),
            },
            Err(e) => Err(e),
        }
    }

    /// Whether an object has exactly these bytes.
    async fn holds(&self, name: &str, body: &Bytes) -> Result<bool, StoreError> {
        let size = match self.head(name).await {
            Ok(object) => object.size,
            // Deleted meanwhile, by whoever wrote it.
            Err(e) if e.is_not_found() => return Ok(false),
            Err(e) => return Err(e),
        };
        if size != body.len() as u64 {
            return Ok(false);
        }
        let mut at = 0;
        while at < size {
            let end = size.min(at + COMPARED);
            let there = self.get(name, Some(at..end)).await?;
            let (from, to) = (usize::try_from(at).unwrap_or(usize::MAX), there.len());
            if body.get(from..from.saturating_add(to)) != Some(&there[..]) {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

pub(super) fn timestamp(time: Option<&aws_sdk_s3::primitives::DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

impl Store for S3Store {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        async move {
            if range.as_ref().is_some_and(|r| r.is_empty()) {
                return Ok(Bytes::new());
            }
            self.in_time(name, self.read_newest(name, range)).await
        }
        .boxed()
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.write_if_absent(name, body).boxed()
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        async move {
            if body.len() as u64 > self.multipart_above {
                return self.write_in_parts(name, &body, false).await;
            }
            let sent = self.request(name, body).send().await;
            sent.map(drop).map_err(|e| self.failed("write", name, classify(&e)))
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        async move {
            if self.sees_through_deletions().await {
                match self.list_through(prefix).await {
                    // Whoever may not list versions sees what everybody sees.
                    Err(e) if e.category == Category::AccessDenied => {}
                    other => return other,
                }
            }
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.key(prefix));
            let mut pages = request.into_paginator().send();
            let mut found = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|e| self.failed("list", prefix, classify(&e)))?;
                for object in page.contents() {
                    let Some(name) = object.key().and_then(|key| self.name(key)) else { continue };
                    found.push(Object {
                        name,
                        size: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                        modified: timestamp(object.last_modified()),
                        locked: None,
                        rewritten: false,
                    });
                }
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        }
        .boxed()
    }

    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        async move {
            match self.look_at(name, None).await {
                Err(e) if e.is_not_found() => match self.behind_deletion(name).await? {
                    Some(hidden) => self.look_at(name, Some(hidden.id)).await,
                    None => Err(e),
                },
                other => other,
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        async move {
            if self.is_versioned().await? {
                return self.delete_versions(name).await;
            }
            let sent = self.client.delete_object().bucket(&self.bucket).key(self.key(name)).send().await;
            match sent.map_err(|e| self.failed("delete", name, classify(&e))) {
                Err(e) if e.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        }
        .boxed()
    }

    fn object_lock<'a>(&'a self) -> Answer<'a, ObjectLock> {
        self.lock_of_bucket().boxed()
    }

    fn lock(&self) -> Option<Lock> {
        self.lock
    }

    fn retain<'a>(&'a self, name: &'a str, wanted: Retention) -> Answer<'a, ()> {
        self.extend(name, wanted).boxed()
    }

    fn versions<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Version>> {
        self.list_versions(prefix).boxed()
    }

    fn get_version<'a>(&'a self, version: &'a Version, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        let Version { name, id, .. } = version;
        self.in_time(name, self.read(name, Some(id.clone()), range)).boxed()
    }
}
