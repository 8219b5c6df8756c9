//! What becomes of a point whose object is deleted. With `deletionPolicy: Delete` a finalizer holds the object until its point is removed
//! from the repository; never for longer than [`PATIENCE`], and not at all where the point may not go: then the object goes alone, the
//! point stays, and the catalogue records it again.
//!
//! I3: the newest point of a component, the newest good and the newest verified one stay; so does what is on hold, quarantined or locked, and with an
//! anomaly (I4) everything of the policy.

use crds::point::DeletionPolicy;
use crds::reference::POINT_FINALIZER;
use crds::repository::RepositoryMode;
use crds::run::Verdict;
use crds::{RecoveryPoint, condition};
use jiff::{SignedDuration, Timestamp};

use super::{Observed, Plan, mode};
use crate::backup::{anomaly, points};
use crate::effect::Event;
use crate::trust;

/// How long an object waits for its point to be removed: longer than a busy repository is busy, and short enough for whoever waits for a
/// namespace to go.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// A finalizer to put on a point or to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalizer {
    /// Name of the RecoveryPoint.
    pub point: String,
    /// Whether it is to be there.
    pub held: bool,
}

/// What a point's deletion comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// It is not being deleted, or has no finalizer of ours.
    Nothing,
    /// It is removed from the repository as soon as that can be done.
    Removed,
    /// The object goes, the point stays, for this reason.
    Kept(String),
}

/// Ids of the points that are to be removed because their objects are deleted. One whose removal just came to something is not removed
/// again.
pub(super) fn wanted(seen: &Observed<'_>, plan: &Plan) -> Vec<String> {
    let removed = |point: &&RecoveryPoint| fate(seen, point) == Fate::Removed && !is_decided(plan, point);
    of_repository(seen).filter(removed).map(|point| point.spec.id.clone()).collect()
}

/// Whether its finalizer is decided upon in this look.
fn is_decided(plan: &Plan, point: &RecoveryPoint) -> bool {
    plan.finalizers.iter().any(|known| Some(&known.point) == point.metadata.name.as_ref())
}

/// Puts finalizers on and takes them away.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    for point in of_repository(seen) {
        let name = point.metadata.name.clone().unwrap_or_default();
        if is_decided(plan, point) {
            continue;
        }
        let has = has_finalizer(point);
        if point.metadata.deletion_timestamp.is_none() {
            let held = point.spec.deletion_policy == DeletionPolicy::Delete;
            if has != held {
                plan.finalizers.push(Finalizer { point: name, held });
            }
            continue;
        }
        match fate(seen, point) {
            Fate::Nothing => {}
            Fate::Removed => {
                let until = deadline(point);
                plan.next = plan.next.or_at(until);
            }
            Fate::Kept(why) => kept(plan, point, &why),
        }
    }
}

/// Points that a prune has left although they were to go.
pub(super) fn left(seen: &Observed<'_>, plan: &mut Plan, left: &[String]) {
    let deleted = |point: &&RecoveryPoint| {
        left.contains(&point.spec.id) && point.metadata.deletion_timestamp.is_some() && has_finalizer(point)
    };
    for point in of_repository(seen).filter(deleted) {
        kept(plan, point, "the bucket's lock, or a hold or a quarantine in it, keeps it");
    }
}

/// The object goes alone.
fn kept(plan: &mut Plan, point: &RecoveryPoint, why: &str) {
    let name = point.metadata.name.clone().unwrap_or_default();
    let id = &point.spec.id;
    plan.events.push(Event::warning(
        "PointKept",
        format!("RecoveryPoint {name} was deleted and its point {id} stays in the repository: {why}. It is recorded again"),
    ));
    plan.finalizers.push(Finalizer { point: name, held: false });
}

/// What holds the object of a point that was removed.
pub(super) fn let_go(point: &RecoveryPoint) -> Option<Finalizer> {
    let point = has_finalizer(point).then(|| point.metadata.name.clone())??;
    Some(Finalizer { point, held: false })
}

/// Whether a point's object is to be let go because no repository can ever remove its point: there is none any more, or the namespace
/// goes with everything in it.
#[must_use]
pub fn is_orphaned(point: &RecoveryPoint, repository_is_there: bool, namespace_terminating: bool) -> bool {
    let going = point.metadata.deletion_timestamp.is_some() && has_finalizer(point);
    going && (namespace_terminating || !repository_is_there)
}

/// Whether it carries our finalizer.
fn has_finalizer(point: &RecoveryPoint) -> bool {
    point.metadata.finalizers.iter().flatten().any(|known| known == POINT_FINALIZER)
}

fn of_repository<'a>(seen: &'a Observed<'_>) -> impl Iterator<Item = &'a RecoveryPoint> {
    let name = seen.repository.metadata.name.as_deref().unwrap_or_default();
    seen.points.iter().filter(move |point| point.spec.repository_ref.name == name)
}

fn deadline(point: &RecoveryPoint) -> Timestamp {
    let deleted = point.metadata.deletion_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
    deleted.checked_add(PATIENCE).unwrap_or(Timestamp::MAX)
}

fn fate(seen: &Observed<'_>, point: &RecoveryPoint) -> Fate {
    if point.metadata.deletion_timestamp.is_none() || !has_finalizer(point) {
        return Fate::Nothing;
    }
    match why_kept(seen, point) {
        Some(why) => Fate::Kept(why),
        None => Fate::Removed,
    }
}

fn why_kept(seen: &Observed<'_>, point: &RecoveryPoint) -> Option<String> {
    let policy = point.spec.policy.as_str();
    if point.spec.deletion_policy == DeletionPolicy::Retain {
        return Some("its deletionPolicy is Retain".to_owned());
    }
    if let Some(hold) = &point.spec.hold {
        return Some(format!("it is on hold ({})", hold.reason));
    }
    if trust::is_evidence(point) {
        return Some("it is quarantined, so it may be evidence".to_owned());
    }
    let locked = point.status.as_ref().and_then(|status| status.locked_until);
    if let Some(until) = locked.filter(|until| *until > seen.now) {
        return Some(format!("the bucket's lock keeps it until {until}"));
    }
    let status = seen.repository.status.clone().unwrap_or_default();
    match mode(seen.repository, &status) {
        RepositoryMode::ReadWrite => {}
        strict => return Some(format!("the repository is {}", strict.as_str())),
    }
    let of_policy = seen.policies.iter().find(|known| known.metadata.name.as_deref() == Some(policy));
    if of_policy.is_some_and(|policy| anomaly::of(policy, seen.points).is_some()) {
        return Some(format!("BackupPolicy {policy} has AnomalyDetected, and nothing of it is removed"));
    }
    if let Some(what) = last_of_its_kind(seen, point) {
        return Some(format!("it is {what} of {policy}"));
    }
    (seen.now >= deadline(point)).then(|| {
        let minutes = PATIENCE.as_mins();
        match condition::get(&seen.repository.status.clone().unwrap_or_default().conditions, "Ready") {
            Some(ready) if ready.status != "True" => {
                format!("the repository could not be used for {minutes} minutes ({})", ready.message)
            }
            _ => format!("it could not be removed within {minutes} minutes"),
        }
    })
}

/// What of its component would be gone with it.
fn last_of_its_kind(seen: &Observed<'_>, point: &RecoveryPoint) -> Option<&'static str> {
    // One that was captured in an emergency is nobody's newest, and goes when somebody wants it.
    let is_emergency =
        |point: &RecoveryPoint| point.status.as_ref().is_some_and(|status| status.emergency.is_some());
    if is_emergency(point) {
        return None;
    }
    let newest = |passes: &dyn Fn(&RecoveryPoint) -> bool| {
        of_repository(seen)
            .filter(|known| known.spec.policy == point.spec.policy && !is_emergency(known) && passes(known))
            .filter_map(|known| Some((known.status.as_ref()?.consistency_time?, known)))
            .max_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.metadata.name.cmp(&y.metadata.name)))
            .is_some_and(|(_, known)| known.spec.id == point.spec.id)
    };
    let verified = |known: &RecoveryPoint| {
        let verification = known.status.as_ref().and_then(|status| status.verification.as_ref());
        verification.is_some_and(|verification| verification.verdict == Verdict::Passed)
            && !trust::is_evidence(known)
    };
    if newest(&|_| true) {
        Some("the newest point")
    } else if newest(&points::is_available) {
        Some("the newest good point")
    } else if newest(&verified) {
        Some("the newest verified point")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
