//! The repository of recovery points in object storage: captures directory trees into encrypted, deduplicated, immutable
//! objects and restores them byte for byte. It knows bytes and layouts; it refuses to know Kubernetes or ChromaDB. What is
//! stored, and in which order, is specified in `FORMAT.md`.

mod ahead;
mod backup;
mod block;
mod codec;
mod compare;
mod compress;
mod content;
mod diff;
mod documents;
mod envelope;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod index;
mod inspect;
mod keys;
mod layout;
mod lease;
mod marks;
mod names;
mod older;
mod order;
mod pack;
mod plain;
mod point;
mod progress;
mod prune;
mod read;
mod references;
mod repository;
mod restore;
mod retention;
mod seal;
mod sealed;
pub mod store;
mod subtrees;
mod tree;
mod units;
mod verify;
mod xattr;

pub use backup::{Backup, Committed, LayoutChooser, REPLACED, Verified, backup};
pub use compare::{Comparison, Difference, compare};
pub use diff::{Change, Changed, diff};
pub use documents::{Document, MAX_DOCUMENT, PutDocument};
pub use envelope::FORMAT;
pub use error::{Category, Error, Result};
pub use inspect::Finding;
pub use keys::{Password, Rotated, SHORTEST as SHORTEST_PASSWORD, SlotInfo};
pub use layout::Layout;
pub use marks::{Mark, PutMark};
pub use point::{Catalogue, Point, PointAttributes, PointId, Skipped, Totals};
pub use progress::{Progress, ProgressSink, silent};
pub use prune::{Prune, PruneReport, prune};
pub use repository::Repository;
pub use restore::{Exported, ExportedContent, RestoreMode, RestoreSummary, export, restore};
pub use retention::{Candidate, Reason, Retention};
pub use sealed::Sealed;
pub use verify::{Level, VerifyReport, verify, verify_all};
pub use xattr::{Xattr, is_kept};

/// Bytes that depend on nothing but the seed.
#[cfg(test)]
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
