//! Versions of objects. In a bucket with Object Lock nothing can be taken away while it is locked, only hidden by a mark
//! or written over. So there all versions are listed, marks of deletion hide nothing, and the engine's own deletions
//! remove every version for good, which the store refuses for what is locked.

use super::s3::{S3Store, timestamp};
use super::s3_errors::classify;
use super::{Object, ObjectLock, StoreError, Version};
use crate::error::Category;

impl S3Store {
    /// Whether this bucket is used by its versions: it has Object Lock. Where that can't be asked, and a lock is wanted, it
    /// is believed. Asked once.
    pub(super) async fn is_versioned(&self) -> Result<bool, StoreError> {
        let asked = self.versioned.get_or_try_init(|| async {
            Ok(match self.lock_of_bucket().await? {
                ObjectLock::Enabled => true,
                ObjectLock::Unknown => self.lock.is_some(),
                ObjectLock::Absent => false,
            })
        });
        asked.await.copied()
    }

    /// The same for reading, which works without: a store that can't even be asked is taken as it shows itself.
    pub(super) async fn sees_through_deletions(&self) -> bool {
        self.is_versioned().await.unwrap_or(false)
    }

    /// Every version below a prefix, those of one name together and the newest first.
    pub(super) async fn list_versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError> {
        let mut found: Vec<Version> = Vec::new();
        let (mut key, mut id) = (None, None);
        loop {
            let request = self.client.list_object_versions().bucket(&self.bucket).prefix(self.key(prefix));
            let page = request.set_key_marker(key).set_version_id_marker(id).send().await;
            let page = page.map_err(|e| self.failed("list the versions of", prefix, classify(&e)))?;
            for version in page.versions() {
                let Some(name) = version.key().and_then(|key| self.name(key)) else { continue };
                found.push(Version {
                    name,
                    id: version.version_id().unwrap_or("null").to_owned(),
                    size: version.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    tag: version.e_tag().unwrap_or_default().to_owned(),
                    modified: timestamp(version.last_modified()),
                    is_deletion: false,
                    is_newest: version.is_latest().unwrap_or(false),
                });
            }
            for mark in page.delete_markers() {
                let Some(name) = mark.key().and_then(|key| self.name(key)) else { continue };
                found.push(Version {
                    name,
                    id: mark.version_id().unwrap_or("null").to_owned(),
                    size: 0,
                    tag: String::new(),
                    modified: timestamp(mark.last_modified()),
                    is_deletion: true,
                    is_newest: mark.is_latest().unwrap_or(false),
                });
            }
            (key, id) =
                (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
            if !page.is_truncated().unwrap_or(false) || key.is_none() {
                break;
            }
        }
        // Stable: of the same second the store's own order counts.
        found.sort_by(|a, b| {
            let age = |v: &Version| (!v.is_newest, std::cmp::Reverse(v.modified));
            a.name.cmp(&b.name).then_with(|| age(a).cmp(&age(b)))
        });
        Ok(found)
    }

    /// The versions of one object, the newest first.
    pub(super) async fn versions_of(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        let mut versions = self.list_versions(name).await?;
        versions.retain(|version| version.name == name);
        Ok(versions)
    }

    /// The newest bytes that lie behind the mark of a deletion, if deletions are seen through and there are any.
    pub(super) async fn behind_deletion(&self, name: &str) -> Result<Option<Version>, StoreError> {
        if !self.sees_through_deletions().await {
            return Ok(None);
        }
        match self.versions_of(name).await {
            Ok(versions) => Ok(versions.into_iter().find(|version| !version.is_deletion)),
            // Without the right to list versions nothing can be seen there.
            Err(e) if e.category == Category::AccessDenied => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The objects of a bucket with versions, those included that a mark hides.
    pub(super) async fn list_through(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let versions = self.list_versions(prefix).await?;
        let of_name = versions.chunk_by(|a, b| a.name == b.name);
        Ok(of_name
            .filter_map(|states| {
                let newest = states.iter().find(|state| !state.is_deletion)?;
                Some(Object {
                    name: newest.name.clone(),
                    size: newest.size,
                    modified: newest.modified,
                    locked: None,
                    rewritten: states.len() > 1,
                })
            })
            .collect())
    }

    /// Removes every version, marks first: what is refused then is the lock's doing.
    pub(super) async fn delete_versions(&self, name: &str) -> Result<(), StoreError> {
        let mut versions = self.versions_of(name).await?;
        versions.sort_by_key(|version| !version.is_deletion);
        for version in versions {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name));
            match request
                .version_id(&version.id)
                .send()
                .await
                .map_err(|e| self.failed("delete", name, classify(&e)))
            {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}
