//! Which slot is due. Of several that were missed the newest counts alone; one that comes while the drill runs, or that is too late, is recorded
//! as skipped; and what lies in the past of a schedule that was changed, or of a suspension, is none.

use crds::Span;
use crds::drill::{DrDrillStatus, DrillMode, ResolvedDrill};
use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};

use super::{Observed, Plan, results};
use crate::schedule::{NotASchedule, Slots};

/// Staleness of a schedule that can't be read: nothing is started by it.
const NO_SCHEDULE: Span = Span::from_hours(24);

/// Says by which schedule slots are counted from now on, and how old evidence may be.
pub(super) fn settle(seen: &Observed<'_>, status: &mut DrDrillStatus, slots: &Result<Slots, NotASchedule>) {
    let spec = &seen.drill.spec;
    let known = status.resolved.take();
    let changed = known.as_ref().is_some_and(|known| known.schedule != spec.schedule);
    let before = seen.drill.status.as_ref().and_then(|status| status.mode);
    let resumed = before == Some(DrillMode::Suspended) && spec.mode == DrillMode::Active;
    if changed || resumed {
        status.last_slot = status.last_slot.max(Some(seen.now));
    }
    if let (Some(last), Ok(slots)) = (status.last_slot, slots)
        && slots.after(seen.now).is_some_and(|next| next < last)
    {
        // A clock that was far ahead has counted slots that are yet to come. By less than a slot nothing is done twice.
        status.last_slot = Some(seen.now);
    }
    // No evidence is of the future: it would stay fresh for too long.
    status.last_passed = status.last_passed.map(|time| time.min(seen.now));
    let max_staleness = match (spec.max_staleness, known, slots) {
        (Some(told), _, _) => told,
        // Counted once a schedule: it takes up to a thousand slots.
        (None, Some(known), _) if !changed && seen.drill.metadata.generation == generation(seen) => {
            known.max_staleness
        }
        (None, _, Ok(slots)) => staleness(slots, created(seen)),
        (None, _, Err(_)) => NO_SCHEDULE,
    };
    status.resolved = Some(ResolvedDrill { schedule: spec.schedule.clone(), max_staleness });
}

fn generation(seen: &Observed<'_>) -> Option<i64> {
    seen.drill.status.as_ref().and_then(|status| status.observed_generation)
}

/// One and a half times the longest wait between two slots.
fn staleness(slots: &Slots, from: Timestamp) -> Span {
    let gap = Span::floor(slots.longest_gap(from)).as_secs();
    Span::from_secs(gap.saturating_add(gap / 2).min(999_999 * 3600))
}

fn created(seen: &Observed<'_>) -> Timestamp {
    seen.drill.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0)
}

/// The slot that is to be started now. Those that are not are recorded.
pub(super) fn due(seen: &Observed<'_>, plan: &mut Plan, slots: &Slots) -> Option<Timestamp> {
    let since = plan.status.last_slot.unwrap_or_else(|| created(seen));
    let slot = slots.newest_due(since, seen.now)?;
    if let Some(running) = plan.status.running.clone() {
        plan.status.last_slot = Some(slot);
        let why = format!("its RecoveryRun {} still runs, since {:.0}", running.run, running.started);
        results::skip(seen, plan, slot, "StillRunning", &why);
        return None;
    }
    let late = seen.now.duration_since(slot);
    match slots.starting_deadline {
        Some(deadline) if late > deadline.to_duration() => {
            plan.status.last_slot = Some(slot);
            let why = format!(
                "it could not be started within {deadline} (schedule.startingDeadline): nobody looked, or another run was under way"
            );
            results::skip(seen, plan, slot, "StartingDeadlineExceeded", &why);
            None
        }
        _ => Some(slot),
    }
}

/// As Kubernetes stores times, so that what is written and what is read again is the same.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    let floor = TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
    time.round(floor).unwrap_or(time - SignedDuration::from_nanos(i64::from(time.subsec_nanosecond())))
}
