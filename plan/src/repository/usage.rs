//! How many points and bytes a repository holds. Only a probe can count them, and it does so rarely; in between, what this
//! namespace recorded is known. So the probe's count stays as it was, and what was recorded since is added to it anew at
//! every look: nothing is counted up, hence nothing twice, and the next probe sets right what nobody here could know.
//!
//! A point recorded while a probe runs may be in its count or not. A capture's end takes about as long to be recorded as a
//! probe's, so the two records are compared.

use crds::policy::Origin;
use crds::repository::{Counted, RecoveryRepositoryStatus, Usage};
use jiff::Timestamp;

use super::Observed;
use crate::size;

/// What a mover counted in the repository itself, its result recorded at `now`.
pub(super) fn counted(points: u64, bytes: u64, now: Timestamp) -> Usage {
    Usage { points, bytes, size: size::bytes(bytes), counted: Counted { time: now, points, bytes } }
}

/// Adds the points that were recorded since the last count. Nothing before the first one: the repository may hold points
/// that nobody here knows of.
pub(super) fn add_recorded(seen: &Observed<'_>, status: &mut RecoveryRepositoryStatus) {
    let Some(usage) = &mut status.usage else { return };
    let counted = usage.counted.clone();
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    let since = seen.points.iter().filter(|point| {
        let recorded = point.metadata.creation_timestamp.as_ref();
        let origin = point.status.as_ref().and_then(|status| status.origin);
        // What was found in the bucket was counted there.
        point.spec.repository_ref.name == name
            && origin != Some(Origin::Discovered)
            && recorded.is_some_and(|time| time.0 > counted.time)
    });
    let (mut points, mut bytes) = (counted.points, counted.bytes);
    for point in since {
        let sizes = point.status.as_ref().and_then(|status| status.sizes.as_ref());
        points = points.saturating_add(1);
        bytes = bytes.saturating_add(sizes.map_or(0, |sizes| sizes.new_bytes));
    }
    *usage = Usage { points, bytes, size: size::bytes(bytes), counted };
}
