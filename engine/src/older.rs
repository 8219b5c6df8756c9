//! Older versions of an object, where the bucket keeps them: what somebody wrote over, or marked as deleted, is read all
//! the same. The newest version that proves itself is taken, never the newest as such; and that it had to be is told.

use std::ops::Range;

use bytes::Bytes;

use crate::error::Category;
use crate::inspect::Finding;
use crate::names::{self, INDEX};
use crate::repository::Repository;
use crate::store::{ObjectLock, Store, StoreError, Version};

/// Whether asking for versions is beyond this store, or beyond these credentials.
fn are_none(error: &StoreError) -> bool {
    matches!(error.category, Category::AccessDenied | Category::Input | Category::NotFound)
}

/// The versions behind the one that a plain read meets, the newest first; none where the store keeps none.
async fn behind(store: &dyn Store, name: &str) -> Result<Vec<Version>, StoreError> {
    let mut versions = match store.versions(name).await {
        Err(e) if are_none(&e) => Vec::new(),
        other => other?,
    };
    versions.retain(|version| version.name == name && !version.is_deletion && !version.is_newest);
    Ok(versions)
}

/// The first of what `open` makes of older versions, the newest first. To be asked when the newest version failed.
pub(crate) async fn older<T>(
    store: &dyn Store,
    name: &str,
    range: Option<Range<u64>>,
    mut open: impl FnMut(&Bytes) -> Option<T> + Send,
) -> Result<Option<T>, StoreError> {
    for version in behind(store, name).await? {
        let bytes = match store.get_version(&version, range.clone()).await {
            Err(e) if are_none(&e) || e.category == Category::Corrupt => continue,
            other => other?,
        };
        if let Some(opened) = open(&bytes) {
            let when = version.modified.map_or_else(|| "an unknown time".to_owned(), |t| format!("{t:.0}"));
            tracing::warn!(
                "{name} was written over by somebody; its version of {when} proves itself and is used"
            );
            return Ok(Some(opened));
        }
    }
    Ok(None)
}

/// Shows every older version, the newest first.
pub(crate) async fn all_older(
    store: &dyn Store,
    name: &str,
    mut each: impl FnMut(&Bytes) + Send,
) -> Result<(), StoreError> {
    let none = |bytes: &Bytes| -> Option<()> {
        each(bytes);
        None
    };
    older(store, name, None, none).await.map(drop)
}

/// Whether an older version has this size.
pub(crate) async fn has_older_of(store: &dyn Store, name: &str, size: u64) -> Result<bool, StoreError> {
    Ok(behind(store, name).await?.iter().any(|version| version.size == size))
}

/// What was written over, and in a bucket with Object Lock what somebody marked as deleted: a finding for each object.
pub(crate) async fn tampered(repo: &Repository) -> Result<Vec<Finding>, StoreError> {
    let versions = match repo.store().versions("").await {
        Err(e) if are_none(&e) => Vec::new(),
        other => other?,
    };
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let for_good = repo.store().object_lock().await? == ObjectLock::Enabled || repo.store().lock().is_some();
    let of_name = versions.chunk_by(|a, b| a.name == b.name);
    Ok(of_name.filter_map(|states| judge(states, for_good)).collect())
}

/// `for_good`: the engine's own deletions leave no mark here.
fn judge(states: &[Version], for_good: bool) -> Option<Finding> {
    let object = &states.first()?.name;
    if !names::stays(object) && !object.starts_with(INDEX) {
        return None;
    }
    let mut written = states.iter().filter(|state| !state.is_deletion);
    let newest = written.next()?;
    let other = written.filter(|state| (state.size, &state.tag) != (newest.size, &newest.tag)).count();
    let hidden = for_good && states.iter().any(|state| state.is_deletion && state.is_newest);
    let what = match (other, hidden) {
        (0, false) => return None,
        (0, true) => "somebody deleted it; its last version is still there and is used".to_owned(),
        _ => format!(
            "somebody wrote over it: {} versions of it differ; the newest that proves itself is used",
            other + 1
        ),
    };
    Some(Finding {
        object: object.clone(),
        what: format!("{what}. Find out who may write there, and remove the versions that are not ours"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, tag: &str, is_deletion: bool, is_newest: bool) -> Version {
        Version {
            name: name.into(),
            id: tag.into(),
            size: 1,
            tag: tag.into(),
            modified: None,
            is_deletion,
            is_newest,
        }
    }

    #[test]
    fn other_bytes_under_a_name_are_told_and_a_repeated_write_and_our_own_deletions_are_not() {
        let pack = |tag, is_deletion, is_newest| state("packs/aa/aa01", tag, is_deletion, is_newest);
        let told = |states: &[Version], for_good| judge(states, for_good).map(|finding| finding.what);
        assert_eq!(told(&[pack("a", false, true)], true), None);
        assert_eq!(told(&[pack("a", false, true), pack("a", false, false)], true), None);
        let over = told(&[pack("b", false, true), pack("a", false, false)], false).unwrap();
        assert!(over.contains("wrote over it: 2 versions"), "{over}");
        let hidden = [pack("", true, true), pack("a", false, false)];
        assert!(told(&hidden, true).unwrap().contains("deleted it"));
        assert_eq!(told(&hidden, false), None, "where deletions are marks, they may be a prune's");
        assert_eq!(told(&[pack("", true, true)], true), None, "nothing is left of it");
        let lease = [state("lease/1", "b", false, true), state("lease/1", "a", false, false)];
        assert_eq!(judge(&lease, true), None);
    }
}
