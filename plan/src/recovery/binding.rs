//! Seeing to it that a claim which names its volume is bound soon.
//!
//! Kubernetes' PersistentVolume controller binds such a claim when it hears of it: it writes the volume's claimRef, the
//! volume's phase, the claim. Any of these writes is refused when somebody else wrote the volume in between, and its own
//! second worker does just that: woken by the new claimRef, it writes the same phase. The refused binding is dropped, not
//! tried again (`updateClaim`), and for a claim that names its volume nothing enqueues it (`syncVolume` does so only for one
//! that names none): the claim stays Pending until it changes or until the controller's resync, 15 s apart. So a new claim
//! carries an annotation that is written anew while the claim is Pending: each time the claim changes and is looked at. Once it
//! is bound the annotation goes. It holds when the claim was made and when it was last written, and so how long to wait next.

use crds::reference::BINDING;
use jiff::{SignedDuration, Timestamp};

use super::effect::Effect;
use super::seen::ClaimSeen;
use super::{Draft, Progress};

/// A binding that nothing disturbs takes less.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait. What was not bound by then waits for something that no haste mends.
const MOST: SignedDuration = SignedDuration::from_secs(60);

/// The annotation of a claim that is made `now`.
pub(crate) fn begun(now: Timestamp) -> (String, String) {
    (BINDING.to_owned(), value(now, now))
}

fn value(made: Timestamp, last: Timestamp) -> String {
    format!("{made:.3}/{last:.3}")
}

/// When the claim was made and when its annotation was last written; nothing when the annotation can't tell.
fn times(claim: &ClaimSeen) -> Option<(Timestamp, Timestamp)> {
    let (made, last) = claim.annotations.get(BINDING)?.split_once('/')?;
    Some((made.parse().ok()?, last.parse().ok()?))
}

/// What is due for `claims`, which are ours and name their volumes: while one is Pending, to make the volume controller look
/// at it, and to look again in time; once it is bound, to take the annotation away.
pub(crate) fn hasten(draft: &mut Draft<'_>, claims: &[&ClaimSeen]) -> Vec<Effect> {
    let mut due = Vec::new();
    for claim in claims.iter().filter(|claim| !claim.deleting) {
        let annotate = |value| Effect::AnnotateClaim {
            name: claim.name.clone(),
            resource_version: claim.resource_version.clone(),
            value,
        };
        if claim.bound {
            due.extend(claim.annotations.contains_key(BINDING).then(|| annotate(None)));
            continue;
        }
        match times(claim) {
            // A clock that went back would have us wait for as long as it did.
            Some((made, last)) if last <= draft.now => {
                let at = last + last.duration_since(made).clamp(FIRST, MOST);
                if at <= draft.now {
                    due.push(annotate(Some(value(made, draft.now))));
                } else {
                    draft.next = draft.next.or_at(at);
                }
            }
            Some(_) | None => due.push(annotate(Some(value(draft.now, draft.now)))),
        }
    }
    due
}

/// Waiting until `claims` are bound.
pub(crate) fn wait(draft: &mut Draft<'_>, claims: &[&ClaimSeen], note: String) -> Progress {
    let effects = hasten(draft, claims);
    Progress::acting(effects, note)
}
