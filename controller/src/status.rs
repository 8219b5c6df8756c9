//! The only place that writes a status. It writes when something differs, and only over the version that was read.

use std::fmt::Debug;

use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// Replaces the status of `object` unless it is equal already. `object` holds the new status, `before` the one that was
/// read; `object` must carry the resourceVersion it was read with.
///
/// Guarantees: an unchanged status causes no write, hence no watch event and no further reconciliation; a status
/// written by somebody else since the read is never overwritten (the API server answers 409, the caller starts anew).
///
/// # Errors
/// When the API server refuses, or `object` was not read from it.
pub async fn write<K, S>(api: &Api<K>, object: &K, before: Option<&S>, after: &S) -> Result<Written<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    S: PartialEq,
{
    if before == Some(after) {
        return Ok(Written::Unchanged);
    }
    let name = object.name_any();
    let kind = K::kind(&());
    if object.resource_version().is_none() {
        return Err(Error::Incomplete { object: format!("{kind}/{name}"), field: "resourceVersion" });
    }
    api.replace_status(&name, &PostParams::default(), object)
        .await
        .map(|written| Written::Changed(Box::new(written)))
        .map_err(Error::api("write the status of", format!("{kind}/{name}")))
}

/// What [`write`] did.
#[derive(Debug)]
pub enum Written<K> {
    /// Equal already.
    Unchanged,
    /// Written; the object as it is now.
    Changed(Box<K>),
}
