//! Whether the retention of a policy is carried out, and whether something speaks against it.

use crds::condition::{self, Status};

use super::conditions::put;
use super::{Observed, Plan, anomaly};
use crate::effect::Event;

/// AnomalyDetected and RetentionEnforced.
pub(super) fn set(seen: &Observed<'_>, plan: &mut Plan) {
    let anomaly = anomaly::of(seen.policy, seen.points);
    match &anomaly {
        Some(anomaly) => {
            let before = seen.policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
            if !condition::is_true(before, "AnomalyDetected") {
                plan.events.push(Event::warning(anomaly.reason, &anomaly.message));
            }
            put(seen, plan, "AnomalyDetected", true, anomaly.reason, &anomaly.message);
        }
        None => {
            put(
                seen,
                plan,
                "AnomalyDetected",
                false,
                "None",
                "the newest point is about as large as those before it",
            );
        }
    }
    let status = seen.repository.and_then(|repository| repository.status.as_ref());
    let healthy = status.and_then(|status| condition::get(&status.conditions, "MaintenanceHealthy"));
    let locked = status.and_then(|status| status.maintenance.as_ref()).is_some_and(|round| round.locked > 0);
    let (status, reason, message) = match healthy {
        _ if anomaly.is_some() => {
            (Status::False, "Held", "nothing is removed, see AnomalyDetected".to_owned())
        }
        None => (
            Status::Unknown,
            "NotYet",
            format!(
                "the repository has not been maintained yet; it is at \"{}\", or by the annotation {}",
                seen.repository.map_or("", |repository| repository.spec.maintenance.schedule.cron.as_str()),
                crds::reference::MAINTENANCE_REQUESTED_AT,
            ),
        ),
        Some(healthy) if healthy.status != "True" => (Status::False, "SweepFailed", healthy.message.clone()),
        Some(healthy) if locked => (Status::False, "Locked", healthy.message.clone()),
        Some(healthy) => (Status::True, "Enforced", healthy.message.clone()),
    };
    put(seen, plan, "RetentionEnforced", status, reason, message);
}
