//! How long replaced volumes are kept. They are the only copy of what was written after the point, so one goes by itself only when all of this
//! holds: its run ended well, its time is over, no pod mounts it, and a newer point than the run was captured: what serves now is protected again.

use crds::condition::{get, is_true};
use crds::run::{QuarantinedVolume, RunMode};
use jiff::{SignedDuration, Timestamp};

use super::assess::owned;
use super::effect::Effect;
use super::measure::restored_at;
use super::seen::{Observed, PointState};
use super::{Draft, swap};
use crate::effect::Event;

/// When to look again at what is kept for another reason than its time.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Says until when each is kept, and lets go of those whose time is over. For runs that have ended.
pub(crate) fn release(draft: &mut Draft<'_>) {
    let Some(ended) = ended_well(draft) else { return };
    if draft.seen.run.spec.mode != RunMode::Run || draft.seen.run.deleting || draft.seen.namespace_terminating
    {
        return;
    }
    let (seen, now) = (draft.seen, draft.now);
    for number in 0..draft.status.quarantine.len() {
        let kept = draft.status.quarantine[number].clone();
        if kept.released.is_some() {
            continue;
        }
        let Some(until) = kept.keep_until.or_else(|| until(seen, &kept, ended)) else { continue };
        draft.status.quarantine[number].keep_until = Some(until);
        if now < until {
            draft.next = draft.next.or_at(until);
            continue;
        }
        match due(seen, &kept, restored_at(draft, &kept.policy).min(ended)) {
            Due::Kept(why) => {
                draft.status.quarantine[number].kept_because = Some(why);
                draft.next = draft.next.or_at(now.checked_add(AGAIN).unwrap_or(Timestamp::MAX));
            }
            Due::Act(effects) => draft.effects.extend(effects),
            Due::Gone => {
                let entry = &mut draft.status.quarantine[number];
                (entry.released, entry.kept_because) = (Some(now), None);
                let message = format!(
                    "volume {} of policy {} was kept until {until:.0} and is deleted",
                    kept.volume, kept.policy
                );
                draft.events.push(Event::normal("QuarantineReleased", message));
            }
        }
    }
}

/// When the run ended, if it ended well.
fn ended_well(draft: &Draft<'_>) -> Option<Timestamp> {
    let conditions = &draft.status.conditions;
    is_true(conditions, "Complete")
        .then(|| get(conditions, "Complete").map(|found| found.last_transition_time.0))
        .flatten()
}

fn until(seen: &Observed, kept: &QuarantinedVolume, ended: Timestamp) -> Option<Timestamp> {
    let of_policy = seen.component(&kept.policy).map(|component| component.quarantine_for);
    let span = seen.run.spec.quarantine_for.or(of_policy)?;
    ended.checked_add(span.to_duration()).ok()
}

enum Due {
    /// It stays, for this reason.
    Kept(String),
    Act(Vec<Effect>),
    /// Its claim does not exist any more.
    Gone,
}

/// `restored` is when what serves now was proved: whatever was captured since holds it.
fn due(seen: &Observed, kept: &QuarantinedVolume, restored: Timestamp) -> Due {
    let Some(claim) = seen.claims.get(&kept.claim) else { return Due::Gone };
    if claim.deleting {
        return Due::Act(Vec::new());
    }
    let protected = seen.points.iter().any(|point| {
        point.policy == kept.policy
            && point.state == PointState::Available
            && point.consistency_time.is_some_and(|time| time > restored)
    });
    if !protected {
        return Due::Kept(format!(
            "policy {} has no Available point that is newer than the recovery",
            kept.policy
        ));
    }
    if let Some(pod) = seen.pods_of(&kept.claim).next() {
        return Due::Kept(format!("pod {} mounts it", pod.name));
    }
    let volume = match owned(seen, claim, &kept.volume) {
        Ok(volume) => volume,
        Err(why) => return Due::Kept(why),
    };
    let next = swap::reclaim(volume, "Delete")
        .unwrap_or_else(|| Effect::ReleaseClaim { name: claim.name.clone(), uid: claim.uid.clone() });
    Due::Act(vec![next])
}
