//! Object Lock of a bucket: whether it is on, and how an object's retention is told and extended.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use jiff::Timestamp;

use super::StoreError;
use super::lock::{LockMode, ObjectLock, Retention};
use super::s3::{S3Store, timestamp};
use super::s3_errors::classify;
use crate::error::Category;

impl From<LockMode> for ObjectLockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Governance => Self::Governance,
            LockMode::Compliance => Self::Compliance,
        }
    }
}

/// In whole seconds, rounded up: stores keep no fractions, and a retention must not end early.
pub(super) fn date(time: Timestamp) -> DateTime {
    let up = i64::from(time.subsec_nanosecond() > 0);
    DateTime::from_secs(time.as_second().saturating_add(up))
}

/// How an object is kept, as HeadObject tells it: not every compatible store words GetObjectRetention as AWS does. One
/// that names a date and no mode is taken at the lesser.
pub(super) fn told(head: &HeadObjectOutput) -> Option<Retention> {
    let mode = match head.object_lock_mode() {
        Some(ObjectLockMode::Compliance) => LockMode::Compliance,
        _ => LockMode::Governance,
    };
    Some(Retention { mode, until: timestamp(head.object_lock_retain_until_date())? })
}

impl S3Store {
    pub(super) async fn lock_of_bucket(&self) -> Result<ObjectLock, StoreError> {
        let answer = self.client.get_object_lock_configuration().bucket(&self.bucket).send().await;
        let failure = match answer {
            Ok(answer) => {
                let enabled = answer.object_lock_configuration().and_then(|c| c.object_lock_enabled());
                return Ok(match enabled {
                    Some(ObjectLockEnabled::Enabled) => ObjectLock::Enabled,
                    _ => ObjectLock::Absent,
                });
            }
            Err(failure) => failure,
        };
        let (category, detail) = classify(&failure);
        match category {
            Category::NotFound | Category::Input => Ok(ObjectLock::Absent),
            // 403 and 405: it may be there all the same.
            Category::AccessDenied => Ok(ObjectLock::Unknown),
            _ => Err(self.failed("ask for the Object Lock of", "", (category, detail))),
        }
    }

    /// What an object of this name is written with.
    pub(super) fn retention_of(&self, name: &str) -> Option<Retention> {
        self.lock.filter(|_| crate::names::stays(name)).map(|lock| lock.written())
    }

    pub(super) async fn extend(&self, name: &str, wanted: Retention) -> Result<(), StoreError> {
        // Of several versions it isn't known here which is the one that counts.
        let mut versions = Vec::new();
        if self.is_versioned().await? {
            versions = self.versions_of(name).await?;
        }
        let states: Vec<Option<String>> = match versions.is_empty() {
            true => vec![None],
            false => versions.into_iter().filter(|v| !v.is_deletion).map(|v| Some(v.id)).collect(),
        };
        if states.is_empty() {
            let detail = "only marks of its deletion are left".to_owned();
            return Err(self.failed("retain", name, (Category::NotFound, detail)));
        }
        for state in states {
            self.extend_one(name, state, wanted).await?;
        }
        Ok(())
    }

    async fn extend_one(
        &self,
        name: &str,
        version: Option<String>,
        wanted: Retention,
    ) -> Result<(), StoreError> {
        let failed = |what| self.failed("retain", name, what);
        let asked = self.client.head_object().bucket(&self.bucket).key(self.key(name));
        let asked = asked.set_version_id(version.clone()).send().await;
        let kept = told(&asked.map_err(|e| failed(classify(&e)))?);
        if kept.is_some_and(|kept| kept.suffices(wanted)) {
            return Ok(());
        }
        let until = kept.map_or(wanted.until, |kept| kept.until.max(wanted.until));
        let mode = match kept.map_or(wanted.mode, |kept| kept.mode.max(wanted.mode)) {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(date(until)).build();
        let request = self.client.put_object_retention().bucket(&self.bucket).key(self.key(name));
        let sent = request.set_version_id(version).retention(retention).send().await;
        sent.map(drop).map_err(|e| failed(classify(&e)))
    }
}
