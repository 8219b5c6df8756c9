//! What is known of a point since it was restored and compared: a stamp on its object, told to the repository by its marks. One that is not what was
//! captured is quarantined by the same stamp, so that no run chooses it.

use crds::RecoveryPoint;
use crds::condition::{self, Status};
use crds::point::{RecoveryPointStatus, TrustMark, TrustReason, TrustWord, Verification};
use crds::run::Verdict;
use jiff::Timestamp;

use crate::trust;

/// What came of verifying a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// Name of the RecoveryPoint.
    pub name: String,
    /// What, when, and by whom.
    pub verification: Verification,
    /// A sentence: what is wrong, or how it was found good.
    pub found: String,
}

/// The status of a point with this stamp, where that is news.
///
/// Guarantees: the same stamp twice is no news, nor is one that is not younger than what it has.
#[must_use]
pub fn stamped(point: &RecoveryPoint, stamp: &Stamp, now: Timestamp) -> Option<RecoveryPointStatus> {
    // One that is not recorded whole yet is recorded first.
    let before = point.status.as_ref().filter(|status| status.phase.is_some())?;
    let Verification { verdict, time, by, .. } = &stamp.verification;
    let known = before.verification.as_ref();
    if known.is_some_and(|known| known.by == *by || known.time >= *time) {
        return None;
    }
    let passed = *verdict == Verdict::Passed;
    // That it passed once stands in the repository for ever.
    let recorded = passed && known.is_some_and(|known| known.verdict == Verdict::Passed && known.recorded);
    let mut status = before.clone();
    status.verification = Some(Verification { recorded, ..stamp.verification.clone() });
    if !passed {
        status.trust = Some(TrustMark {
            word: TrustWord::Quarantined,
            reason: TrustReason::VerificationFailed,
            by: by.clone(),
            since: *time,
        });
    }
    let generation = point.metadata.generation.unwrap_or(1);
    told(&mut status, &stamp.found, generation, now);
    trust::judge(&mut status, point.spec.trust, generation, now);
    Some(status)
}

/// Sets the condition Verified by what stands in the status.
pub(crate) fn told(status: &mut RecoveryPointStatus, found: &str, generation: i64, now: Timestamp) {
    let Some(Verification { verdict, time, by, .. }) = status.verification.clone() else { return };
    let (holds, reason) = match verdict {
        Verdict::Passed => (Status::True, "Passed"),
        Verdict::Failed => (Status::False, "Failed"),
        Verdict::Inconclusive | Verdict::Skipped => (Status::Unknown, "NotVerified"),
    };
    let message = format!("by {by}, {time:.0}: {found}");
    condition::set(&mut status.conditions, "Verified", holds, reason, message, generation, now);
}

/// Whether the repository has yet to be told of it.
#[must_use]
pub fn is_to_be_told(point: &RecoveryPoint) -> bool {
    let status = point.status.as_ref();
    // What a capture found the commit record says.
    let told = |known: &Verification| known.recorded || known.by == "Capture";
    status.and_then(|status| status.verification.as_ref()).is_some_and(|known| !told(known))
}

#[cfg(test)]
mod tests;
