//! A repository in an S3 bucket. Every object fits one request (packs are small), so there are no multipart uploads to
//! leave behind; a write is one conditional PUT. Transient failures are retried by the SDK, a body that breaks off while
//! it is read by us. It refuses a CA bundle that isn't one before the SDK would abort on it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::{Builder, tls};
use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::s3_errors::classify;
use super::{Answer, Object, Put, Store, StoreError};
use crate::error::Category;

/// How often a body that broke off, or a conflict between two conditional writes, is tried again.
const BODY_ATTEMPTS: usize = 4;

/// Static credentials. Never printed.
#[derive(Clone)]
pub struct S3Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: SecretString,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Credentials(..)")
    }
}

/// Which integrity checksums are added to requests, beyond the signature over the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// Only where the API demands one: works with every S3 compatible store.
    #[default]
    WhenRequired,
    /// Always: slower, and some compatible stores answer 501.
    WhenSupported,
}

/// Where the bucket is and how to talk to it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The endpoint; AWS's own when absent.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` with an endpoint, else from the environment.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The prefix; slashes at its ends don't matter.
    pub prefix: String,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`. By default: exactly when an endpoint is set.
    pub path_style: Option<bool>,
    /// Credentials; by default the usual AWS environment, profile, or web identity.
    pub credentials: Option<S3Credentials>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long establishing a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take, a pack of 8 MiB included.
    pub attempt_timeout: Duration,
    /// How often a request is tried, the first time included.
    pub attempts: u32,
    /// Integrity checksums.
    pub checksums: Checksums,
}

impl S3Options {
    /// Options with defaults for all but the bucket and the prefix.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoint: None,
            region: None,
            bucket: bucket.into(),
            prefix: prefix.into(),
            path_style: None,
            credentials: None,
            ca_bundle: None,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(120),
            attempts: 4,
            checksums: Checksums::default(),
        }
    }
}

/// Objects in a bucket, below a prefix.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ending with a slash.
    prefix: String,
    place: String,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.place)
    }
}

/// The body of an answer ended early; how, in the words of the client.
struct BrokeOff(String);

impl S3Store {
    /// A store with these options. Nothing is sent yet, except to find credentials when none are given.
    pub async fn connect(options: S3Options) -> Result<Self, StoreError> {
        let prefix = match options.prefix.trim_matches('/') {
            "" => String::new(),
            parts => format!("{parts}/"),
        };
        let mut place = format!("s3://{}/{prefix}", options.bucket).trim_end_matches('/').to_owned();
        if let Some(endpoint) = &options.endpoint {
            place = format!("{place} at {endpoint}");
        }
        let http = http_client(&options).map_err(|detail| StoreError {
            category: Category::Input,
            action: "use the CA bundle",
            object: String::new(),
            place: place.clone(),
            detail,
        })?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(options.connect_timeout)
            .operation_attempt_timeout(options.attempt_timeout)
            .operation_timeout(options.attempt_timeout.saturating_mul(options.attempts.max(1)))
            .build();
        let region =
            options.region.clone().or_else(|| options.endpoint.as_ref().map(|_| "us-east-1".to_owned()));
        let path_style = options.path_style.unwrap_or(options.endpoint.is_some());
        let (request_checksums, response_checksums) = match options.checksums {
            Checksums::WhenRequired => {
                (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
            }
            Checksums::WhenSupported => {
                (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
            }
        };
        let mut builder = match &options.credentials {
            Some(given) => {
                let token = given.session_token.as_ref().map(|t| t.expose_secret().to_owned());
                let secret = given.secret_access_key.expose_secret();
                let credentials = Credentials::new(&given.access_key_id, secret, token, None, "holdfast");
                aws_sdk_s3::Config::builder()
                    .behavior_version(BehaviorVersion::latest())
                    .region(Region::new(region.unwrap_or_else(|| "us-east-1".to_owned())))
                    .credentials_provider(credentials)
            }
            None => {
                let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
                if let Some(region) = region {
                    loader = loader.region(Region::new(region));
                }
                aws_sdk_s3::config::Builder::from(&loader.load().await)
            }
        };
        builder.set_endpoint_url(options.endpoint.clone());
        let config = builder
            .http_client(http)
            .force_path_style(path_style)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(options.attempts.max(1)))
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
            .request_checksum_calculation(request_checksums)
            .response_checksum_validation(response_checksums)
            .build();
        Ok(Self { client: Client::from_conf(config), bucket: options.bucket, prefix, place })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn failed(
        &self,
        action: &'static str,
        object: &str,
        (category, detail): (Category, String),
    ) -> StoreError {
        StoreError { category, action, object: object.to_owned(), place: self.place.clone(), detail }
    }

    /// One GET. `BrokeOff` when the answer began and did not end, which the SDK doesn't retry.
    async fn get_once(
        &self,
        name: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Result<Bytes, BrokeOff>, StoreError> {
        let header = range.map(|r| format!("bytes={}-{}", r.start, r.end.saturating_sub(1)));
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name)).set_range(header);
        let answer = request.send().await.map_err(|e| self.failed("read", name, classify(&e)))?;
        let (promised, partial) = (answer.content_length(), answer.content_range().is_some());
        let body = match answer.body.collect().await {
            Ok(body) => body.into_bytes(),
            Err(e) => return Ok(Err(BrokeOff(e.to_string()))),
        };
        if promised.is_some_and(|n| u64::try_from(n).ok() != Some(body.len() as u64)) {
            return Ok(Err(BrokeOff(format!("after {} bytes", body.len()))));
        }
        let Some(range) = range else { return Ok(Ok(body)) };
        // Some stores ignore ranges and answer with the whole object.
        let skip = if partial { 0 } else { usize::try_from(range.start).unwrap_or(usize::MAX) };
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        match skip.checked_add(wanted) {
            Some(end) if end <= body.len() => Ok(Ok(body.slice(skip..end))),
            _ => Err(self.failed(
                "read",
                name,
                (Category::Corrupt, format!("it ends before byte {}", range.end)),
            )),
        }
    }

    async fn put_conditionally(&self, name: &str, body: Bytes) -> Result<Put, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(name));
            let sent = request.if_none_match("*").body(ByteStream::from(body.clone())).send().await;
            let Err(failure) = sent else { return Ok(Put::Created) };
            let (category, detail) = classify(&failure);
            let conflict = failure.raw_response().is_some_and(|r| r.status().as_u16() == 409);
            if conflict && attempt < BODY_ATTEMPTS {
                continue;
            }
            if category != Category::AlreadyExists {
                return Err(self.failed("write", name, (category, detail)));
            }
            // A retry inside the SDK may have met our own first try, whose answer was lost.
            let there = self.get(name, None).await?;
            return Ok(if there == body { Put::Created } else { Put::Exists });
        }
    }
}

/// An HTTP client: plain without TLS for an http endpoint, with the given roots, or with the system's.
fn http_client(options: &S3Options) -> Result<aws_sdk_s3::config::SharedHttpClient, String> {
    if options.endpoint.as_ref().is_some_and(|e| e.starts_with("http://")) {
        return Ok(Builder::new().build_http());
    }
    let trusted = match &options.ca_bundle {
        None => tls::TrustStore::default(),
        Some(pem) => {
            check_bundle(pem)?;
            tls::TrustStore::empty().with_pem_certificate(pem.clone())
        }
    };
    let context = tls::TlsContext::builder().with_trust_store(trusted).build().map_err(|e| e.to_string())?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    Ok(Builder::new().tls_provider(provider).tls_context(context).build_https())
}

fn check_bundle(pem: &[u8]) -> Result<(), String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| format!("it is not PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("it holds an unusable certificate: {e}"))?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

fn timestamp(time: Option<&aws_sdk_s3::primitives::DateTime>) -> Option<Timestamp> {
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
            let mut attempt = 0;
            loop {
                attempt += 1;
                match self.get_once(name, range.as_ref()).await? {
                    Ok(body) => return Ok(body),
                    Err(BrokeOff(_)) if attempt < BODY_ATTEMPTS => {}
                    Err(BrokeOff(how)) => {
                        let detail = format!("the answer broke off each time: {how}");
                        return Err(self.failed("read", name, (Category::Unreachable, detail)));
                    }
                }
            }
        }
        .boxed()
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        self.put_conditionally(name, body).boxed()
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        async move {
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(name));
            let sent = request.body(ByteStream::from(body)).send().await;
            sent.map(drop).map_err(|e| self.failed("write", name, classify(&e)))
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        async move {
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.key(prefix));
            let mut pages = request.into_paginator().send();
            let mut found = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|e| self.failed("list", prefix, classify(&e)))?;
                for object in page.contents() {
                    let name = object.key().and_then(|k| k.strip_prefix(&self.prefix));
                    // "Directories" that consoles and some gateways create are not objects of ours.
                    let Some(name) = name.filter(|n| !n.is_empty() && !n.ends_with('/')) else { continue };
                    found.push(Object {
                        name: name.to_owned(),
                        size: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                        modified: timestamp(object.last_modified()),
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
            let answer = self.client.head_object().bucket(&self.bucket).key(self.key(name)).send().await;
            let answer = answer.map_err(|e| self.failed("look at", name, classify(&e)))?;
            let size = answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            Ok(Object { name: name.to_owned(), size, modified: timestamp(answer.last_modified()) })
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        async move {
            let sent = self.client.delete_object().bucket(&self.bucket).key(self.key(name)).send().await;
            match sent.map_err(|e| self.failed("delete", name, classify(&e))) {
                Err(e) if e.is_not_found() => Ok(()),
                other => other.map(drop),
            }
        }
        .boxed()
    }
}
