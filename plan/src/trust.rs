//! Whether a point is quarantined: by what its capture found, by what the repository's marks say, and by what people say here. The
//! strictest counts, and only a later mark lifts an earlier one: nothing that is synced from Git does.

use crds::condition::{self, Status};
use crds::point::{PointPhase, RecoveryPointStatus, Trust, TrustMark, TrustWord};
use crds::{RecoveryPoint, RecoveryRepository};
use jiff::Timestamp;

/// What a quarantine comes to: a reason of the condition Quarantined, and a sentence.
type Quarantine = (String, String);

/// Sets phase and the condition Quarantined by all that is known of the point.
pub(crate) fn judge(status: &mut RecoveryPointStatus, said: Trust, generation: i64, now: Timestamp) {
    let lifted = status.trust.as_ref().filter(|mark| mark.word == TrustWord::Trusted);
    let by = |mark: &TrustMark| format!("by {}, {:.0}", mark.by, mark.since);
    let (holds, reason, message) = match quarantine(status, said) {
        Some((reason, message)) => (Status::True, reason, message),
        None => {
            let message = match lifted {
                Some(mark) => format!("trusted {}", by(mark)),
                None => "nothing speaks against it".to_owned(),
            };
            (Status::False, "NotQuarantined".to_owned(), message)
        }
    };
    status.phase = Some(if holds == Status::True { PointPhase::Quarantined } else { PointPhase::Available });
    condition::set(&mut status.conditions, "Quarantined", holds, &reason, message, generation, now);
}

fn quarantine(status: &RecoveryPointStatus, said: Trust) -> Option<Quarantine> {
    if said == Trust::Quarantined {
        let message = "spec.trust says so: it is not restored, by its name neither, and not removed; to lift it write spec.trust: Trusted";
        return Some(("ByUser".to_owned(), message.to_owned()));
    }
    match &status.trust {
        Some(TrustMark { word: TrustWord::Quarantined, reason, by, since }) => {
            let how = match said {
                Trust::Trusted => "spec.trust: Trusted was said before: write Auto, then Trusted again",
                Trust::Auto | Trust::Quarantined => "write spec.trust: Trusted",
            };
            let message = format!(
                "by {by}, {since:.0}: it is not restored, by its name neither, and not removed. Was it looked at and found good? Then {how}"
            );
            Some((reason.as_str().to_owned(), message))
        }
        mark => {
            let (reason, what) = damage(status)?;
            let message = match mark {
                Some(mark) => format!(
                    "never chosen by latest, restored by its name alone, as {} trusts it ({:.0}): {what}",
                    mark.by, mark.since
                ),
                None => format!("never chosen by latest: {what}"),
            };
            Some((reason, message))
        }
    }
}

/// What its capture found: what makes it not Ready.
fn damage(status: &RecoveryPointStatus) -> Option<Quarantine> {
    let ready = condition::get(&status.conditions, "Ready").filter(|ready| ready.status != "True")?;
    Some((ready.reason.clone(), ready.message.clone()))
}

/// Whether it is evidence that nobody removes: people or a run have quarantined it.
#[must_use]
pub fn is_evidence(point: &RecoveryPoint) -> bool {
    let mark = point.status.as_ref().and_then(|status| status.trust.as_ref());
    point.spec.trust == Trust::Quarantined || mark.is_some_and(|mark| mark.word == TrustWord::Quarantined)
}

/// Whether a quarantined point may be restored by its name: all that speaks against it is what its capture found, and people trust it all
/// the same.
#[must_use]
pub fn by_name(point: &RecoveryPoint) -> bool {
    let mark = point.status.as_ref().and_then(|status| status.trust.as_ref());
    point.spec.trust != Trust::Quarantined && mark.is_some_and(|mark| mark.word == TrustWord::Trusted)
}

/// The status of a point of the repository as it has to be, where it differs. `marked` is what was written down of it just now.
#[must_use]
pub fn status(
    point: &RecoveryPoint,
    marked: Option<TrustMark>,
    now: Timestamp,
) -> Option<RecoveryPointStatus> {
    // One that is not recorded whole yet is recorded first.
    let before = point.status.as_ref().filter(|status| status.phase.is_some())?;
    let mut status = before.clone();
    if marked.is_some() {
        status.trust = marked;
    }
    let generation = point.metadata.generation.unwrap_or(1);
    judge(&mut status, point.spec.trust, generation, now);
    let changed = status.phase != before.phase
        || status.trust != before.trust
        || told(&status.conditions) != told(&before.conditions);
    changed.then_some(RecoveryPointStatus { observed_generation: Some(generation), ..status })
}

/// What the condition says, without when it was looked at.
fn told(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
) -> Option<(&str, &str, &str)> {
    condition::get(conditions, "Quarantined")
        .map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

/// Who says what is said in the spec of a repository's points.
pub(crate) fn by(repository: &RecoveryRepository) -> String {
    let namespace = repository.metadata.namespace.as_deref().unwrap_or_default();
    format!("spec.trust in namespace {namespace}")
}

#[cfg(test)]
mod tests;
