//! A repository in a real S3 server, as the tests of several servers and lines open it and capture into it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::store::{S3Credentials, S3Options};
use engine::{Backup, Layout, PointAttributes, silent};
use jiff::Timestamp;
use tests::seaweedfs::Identity;

/// Everything else as it is by default.
pub fn options(endpoint: &str, identity: &Identity, bucket: &str, prefix: impl Into<String>) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.to_owned()),
        credentials: Some(S3Credentials {
            access_key_id: identity.access_key.into(),
            secret_access_key: identity.secret_key.to_owned().into(),
            session_token: None,
        }),
        ..S3Options::new(bucket, prefix)
    }
}

/// A capture of pages, cut at that time.
pub fn capture(source: &Path, attempt: &str, at: Timestamp) -> Backup {
    Backup {
        source: source.to_owned(),
        layout: Arc::new(|_: &Path, _: &Path| Layout::Pages { size: 4096 }),
        attributes: PointAttributes {
            component: "chroma".into(),
            consistency_time: at,
            started: at,
            tags: BTreeMap::new(),
            body: serde_json::Value::Null,
            attempt: Some(attempt.into()),
        },
        progress: silent(),
        aside: None,
    }
}
