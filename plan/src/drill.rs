//! When a drill is started, and what came of it. Its run is named in the status before it is created, and its result stands there longer than
//! the run. It refuses to call anything passed that did not run: the verdict of a run is [`verdict`]'s, one total function.

mod calendar;
mod child;
mod conditions;
mod history;
mod results;
mod stamps;
pub mod verdict;

use crds::DrDrill;
use crds::drill::{DrDrillStatus, DrillMode};
use crds::reference::REQUESTED_AT;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRun};
use jiff::Timestamp;

use crate::effect::{Event, Next, transitions};
use crate::request;
use crate::schedule::{NotASchedule, Slots};
use crate::verification::Stamp;

pub use child::{Child, is_of};

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The drill.
    pub drill: &'a DrDrill,
    /// It or its namespace is being deleted.
    pub terminating: bool,
    /// Every policy of the namespace.
    pub policies: &'a [BackupPolicy],
    /// Every run of the namespace.
    pub runs: &'a [RecoveryRun],
    /// Every point of the namespace.
    pub points: &'a [RecoveryPoint],
    /// The time.
    pub now: Timestamp,
}

/// What to do, in this order: write the status, create the run, stamp points, delete runs that are over.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status as it has to be.
    pub status: DrDrillStatus,
    /// A run to create unless it exists. Its name stands in the status.
    pub create: Option<Box<Child>>,
    /// Points that its runs have restored and validated.
    pub stamps: Vec<Stamp>,
    /// Runs to delete, by name and uid: there are newer ones.
    pub remove: Vec<(String, String)>,
    /// What to tell.
    pub events: Vec<Event>,
    /// When to look again.
    pub next: Next,
}

/// Decides.
///
/// Guarantees: total; at most one run is started, and none whose name is not in the returned status.
#[must_use]
pub fn plan(seen: &Observed<'_>) -> Plan {
    let drill = seen.drill;
    let before = drill.status.clone().unwrap_or_default();
    let mut plan = Plan {
        status: before.clone(),
        create: None,
        stamps: vec![],
        remove: vec![],
        events: vec![],
        next: Next::OnChange,
    };
    if seen.terminating {
        // Its runs go with it, each with what is in its sandbox.
        return plan;
    }
    plan.status.observed_generation = drill.metadata.generation;
    plan.status.mode = Some(drill.spec.mode);
    let slots = Slots::parse(&drill.spec.schedule, drill.metadata.uid.as_deref().unwrap_or_default());
    calendar::settle(seen, &mut plan.status, &slots);

    results::follow(seen, &mut plan);
    results::refresh(seen, &mut plan.status);
    let asked = request::newest(&drill.metadata, REQUESTED_AT, plan.status.observed_requested_at);
    let waits = start(seen, &mut plan, &slots, asked.as_ref().ok().copied().flatten());
    plan.stamps = stamps::due(seen);
    // What was learned of points is written down before the run is gone that it is known from.
    if plan.stamps.is_empty() {
        plan.remove = history::beyond(seen, &plan.status);
    }

    plan.status.next_run = next_slot(seen, &plan.status, &slots).map(|slot| slot.to_string());
    conditions::set(
        seen,
        &mut plan,
        &conditions::Known { slots: &slots, asked: asked.as_ref().err(), waits },
    );
    results::display(&mut plan.status);
    if let Some(slot) = plan.status.next_run.as_ref().and_then(|slot| slot.parse().ok()) {
        plan.next = plan.next.or_at(slot);
    }
    let told =
        ["Ready", "LastDrillPassed", "ObjectivesMet", "EvidenceFresh", "SandboxIsolated", "SandboxCleaned"];
    let mut events = transitions(&before.conditions, &plan.status.conditions, &told);
    events.append(&mut plan.events);
    plan.events = events;
    plan
}

/// Starts what is due, or says why it is not started. What waits is started as soon as nothing is in its way.
fn start(
    seen: &Observed<'_>,
    plan: &mut Plan,
    slots: &Result<Slots, NotASchedule>,
    asked: Option<Timestamp>,
) -> Option<String> {
    let drill = seen.drill;
    if drill.spec.mode == DrillMode::Suspended {
        return None;
    }
    let Ok(slots) = slots else { return None };
    let slot = calendar::due(seen, plan, slots);
    // A request from a clock that runs ahead waits for its time.
    if let Some(time) = asked.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let asked = asked.filter(|time| *time <= seen.now);
    let (slot, asked) = match (slot, asked, &plan.status.running) {
        // One execution serves both: what is due at a request is not done twice.
        (slot, asked, None) if slot.is_some() || asked.is_some() => (slot, asked),
        _ => return None,
    };
    if let Some((reason, why)) = conditions::impossible(seen) {
        plan.status.last_slot = slot.or(plan.status.last_slot);
        plan.status.observed_requested_at = asked.or(plan.status.observed_requested_at);
        results::skip(seen, plan, slot.unwrap_or(seen.now), reason, &why);
        return None;
    }
    if let Some(why) = child::in_the_way(seen) {
        return Some(why);
    }
    let started = calendar::whole_second(seen.now);
    let name =
        crds::names::drill_run(drill.metadata.name.as_deref().unwrap_or_default(), slot.unwrap_or(started));
    plan.status.last_slot = slot.or(plan.status.last_slot);
    if child::is_taken(seen, &plan.status, &name) {
        // Only after a clock that went backwards, or for two requests in one second: the latter is served in the next.
        if asked.is_some() {
            plan.next = plan.next.or_at(started + jiff::SignedDuration::from_secs(1));
        }
        return None;
    }
    plan.status.observed_requested_at = asked.or(plan.status.observed_requested_at);
    results::begin(plan, name, started);
    plan.create = child::wanted(seen, &plan.status).map(Box::new);
    None
}

fn next_slot(
    seen: &Observed<'_>,
    status: &DrDrillStatus,
    slots: &Result<Slots, NotASchedule>,
) -> Option<Timestamp> {
    let slots = slots.as_ref().ok().filter(|_| seen.drill.spec.mode == DrillMode::Active)?;
    // A clock that went back by a little: what was started is not started again.
    let from = status.last_slot.map_or(seen.now, |last| last.max(seen.now));
    slots.after(from)
}

#[cfg(test)]
mod tests;
