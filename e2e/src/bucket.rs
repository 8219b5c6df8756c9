//! The bucket as its owner sees it: which objects are there.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use engine::store::{S3Credentials, S3Options, S3Store, Store};
use secrecy::SecretString;

use crate::place::S3;

/// A prefix of the bucket.
pub struct Bucket {
    store: S3Store,
}

impl Bucket {
    pub async fn open(s3: &S3, prefix: &str) -> Result<Self> {
        let mut options = S3Options::new(&s3.bucket, prefix);
        options.endpoint = Some(s3.endpoint_here.clone());
        options.region = Some(s3.region.clone());
        options.credentials = Some(S3Credentials {
            access_key_id: s3.writer.access_key.clone(),
            secret_access_key: SecretString::from(s3.writer.secret_key.clone()),
            session_token: None,
        });
        Ok(Self { store: S3Store::connect(options).await? })
    }

    /// Name, size and time of every object.
    pub async fn listing(&self) -> Result<BTreeMap<String, String>> {
        let objects = self.store.list("").await?;
        Ok(objects.into_iter().map(|o| (o.name, format!("{} bytes, {:?}", o.size, o.modified))).collect())
    }

    /// Damages the largest of these objects: one bit in its middle, as a bad disk does behind the store's back.
    pub async fn damage_largest(&self, names: Vec<String>) -> Result<()> {
        let mut largest: Option<(String, Vec<u8>)> = None;
        for name in names {
            let bytes = self.store.get(&name, None).await?.to_vec();
            if largest.as_ref().is_none_or(|(_, known)| bytes.len() > known.len()) {
                largest = Some((name, bytes));
            }
        }
        let (name, mut bytes) = largest.context("there is nothing to damage")?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        self.store.delete(&name).await?;
        self.store.put(&name, bytes.into()).await?;
        Ok(())
    }

    /// Flips a bit in the middle of every object below `prefix`, as a disk does that nobody checks.
    pub async fn damage(&self, prefix: &str) -> Result<()> {
        for object in self.store.list(prefix).await? {
            let mut bytes = self.store.get(&object.name, None).await?.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            self.store.delete(&object.name).await?;
            self.store.put(&object.name, bytes.into()).await?;
        }
        Ok(())
    }

    /// Removes everything.
    pub async fn empty(&self) -> Result<()> {
        for object in self.store.list("").await? {
            self.store.delete(&object.name).await?;
        }
        Ok(())
    }
}
