//! Object Lock of a bucket: whether it is on, and how an object's retention is extended.

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use jiff::Timestamp;

use super::StoreError;
use super::lock::{LockMode, ObjectLock};
use super::s3::S3Store;
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

    pub(super) async fn extend(&self, name: &str, until: Timestamp) -> Result<(), StoreError> {
        let failed = |what| self.failed("retain", name, what);
        let Some(retention) = self.retention else {
            return Err(failed((Category::Input, "the store was opened without a retention".to_owned())));
        };
        let until = date(until);
        // HeadObject tells it as well as GetObjectRetention, whose answer not every compatible store words as AWS does.
        let asked = self.client.head_object().bucket(&self.bucket).key(self.key(name)).send().await;
        let now = asked.map_err(|e| failed(classify(&e)))?.object_lock_retain_until_date().copied();
        if now.is_some_and(|now| now.secs() >= until.secs()) {
            return Ok(());
        }
        let mode = match retention.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let wanted = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
        let request = self.client.put_object_retention().bucket(&self.bucket).key(self.key(name));
        let sent = request.retention(wanted).send().await;
        sent.map(drop).map_err(|e| failed(classify(&e)))
    }
}
