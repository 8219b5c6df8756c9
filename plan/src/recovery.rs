//! Carrying out a RecoveryRun: from what is seen of the cluster to what is done next and what the status says.
//!
//! Where a run stands is derived from Jobs, claims, volumes and workloads; the status keeps only what those can't: marks
//! written before a destructive effect, results already read, the chosen points, the replicas before the stop, the two
//! volumes of a swap. It refuses one thing above all: **no effect is part of a plan whose status is not stored yet**. A
//! plan that changes the status has no effects; the next look, at the stored status, has them. So a controller that dies
//! between any two writes goes on from what is there, and no destructive effect lacks its mark.

mod assess;
mod assessment;
mod audit;
mod binding;
mod check_jobs;
mod checklist;
mod choice;
mod claims;
mod dry_run;
pub mod effect;
mod emergency;
mod evidence;
mod exec_checks;
mod force_stop;
mod gate;
mod isolation;
mod left;
mod levels;
mod lift;
mod limits;
mod losses;
mod mails;
mod manual;
mod measure;
mod mover;
mod network;
mod notice;
mod objects;
mod offline;
mod outside;
mod preserve;
mod protect;
mod provision;
pub mod quantity;
mod quarantine;
mod reporting;
mod revoke;
mod room;
mod rotate;
mod rotated;
mod sandbox;
mod scope;
mod security;
pub mod seen;
mod settle;
mod start;
mod status_checks;
mod steps;
mod stop;
pub mod surroundings;
mod swap;
mod texts;
mod undo;
mod validate;
mod verification;
mod walk;
mod wanted;

#[cfg(test)]
mod tests;

use crds::condition::{self, Status};
use crds::run::{RecoveryRunStatus, RunMode, StepPhase};
use jiff::{Timestamp, TimestampRound, Unit};

use crate::effect::{Event, Next};
pub use audit::audits;
pub use effect::Effect;
pub use notice::{Notice, NoticeKind};
pub use scope::{Member, circle, circle_of, forgotten, scope};
pub use seen::Observed;
use settle::settled;
pub(crate) use texts::cut;

/// What to do and to write after a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to carry out, in this order; empty whenever `status` differs from the stored one.
    pub effects: Vec<Effect>,
    /// The status as it should be stored.
    pub status: RecoveryRunStatus,
    /// What to tell the user, once the status is stored.
    pub events: Vec<Event>,
    /// What to tell people who wait, once the status is stored.
    pub notices: Vec<Notice>,
    /// When to look again, besides whenever something changes.
    pub next: Next,
}

/// What a step comes to at this look.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Not ended: these effects are due (none while it waits), and this is what it does or waits for.
    Acting { effects: Vec<Effect>, note: String },
    /// The same, to be looked at again at a time although nothing changes.
    Polling { effects: Vec<Effect>, note: String, at: Timestamp },
    /// The next look is due, which is an attempt like the last and no failure.
    Another { note: String },
    /// The next attempt is due.
    Again { why: String },
    /// Ended well.
    Done(String),
    /// Not needed.
    Skipped(String),
    /// Ended badly, for a reason of the condition Failed.
    Failed { reason: String, message: String },
}

impl Progress {
    fn acting(effects: Vec<Effect>, note: impl Into<String>) -> Self {
        Self::Acting { effects, note: note.into() }
    }

    fn failed(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), message: message.into() }
    }
}

/// A plan while it is made.
pub(crate) struct Draft<'a> {
    pub(crate) seen: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) status: RecoveryRunStatus,
    pub(crate) effects: Vec<Effect>,
    pub(crate) events: Vec<Event>,
    pub(crate) next: Next,
}

impl Draft<'_> {
    pub(crate) fn condition(
        &mut self,
        kind: &str,
        status: impl Into<Status>,
        reason: &str,
        message: impl Into<String>,
    ) {
        let generation = self.seen.run.generation;
        condition::set(
            &mut self.status.conditions,
            kind,
            status.into(),
            reason,
            message,
            generation,
            self.now,
        );
    }
}

/// Decides what is done next for a run.
///
/// Guarantees: total; no effects when the returned status differs from the stored one, when a controller of a younger
/// term carries the run, or when the run is a DryRun.
#[must_use]
pub fn plan(seen: &Observed) -> Plan {
    let stored = &seen.run.status;
    let mut draft = Draft {
        seen,
        // Milliseconds, so that the parts of the recovery time add up to it exactly.
        now: seen.now.round(TimestampRound::new().smallest(Unit::Millisecond)).unwrap_or(seen.now),
        status: stored.clone(),
        effects: Vec::new(),
        events: Vec::new(),
        next: Next::OnChange,
    };
    if stored.epoch > seen.epoch {
        return Plan {
            effects: Vec::new(),
            status: draft.status,
            events: Vec::new(),
            notices: Vec::new(),
            next: Next::OnChange,
        };
    }
    draft.status.epoch = seen.epoch;
    draft.status.observed_generation = Some(seen.run.generation);
    decide(&mut draft);
    texts::summarize(&mut draft);
    let notices: Vec<Notice> = notice::due(&mut draft).into_iter().collect();
    let Draft { status, mut effects, events, next, .. } = draft;
    if status != *stored || seen.run.spec.mode == RunMode::DryRun {
        effects.clear();
    }
    // Events tell of transitions, and every transition is a change of the status.
    let events = if status == *stored { Vec::new() } else { events };
    Plan { effects, status, events, notices, next }
}

/// Whether a run with this status has ended.
#[must_use]
pub fn ended(status: &RecoveryRunStatus) -> bool {
    settled(status)
}

/// Whether nothing is left of the sandbox of a run with this status.
#[must_use]
pub fn is_swept(status: &RecoveryRunStatus) -> bool {
    !sandbox::holds(status)
}

/// Whether a run with this status passed Assess, so that it holds its components whoever is older.
#[must_use]
pub fn begun(status: &RecoveryRunStatus) -> bool {
    status.steps.iter().any(|step| step.name == "Assess" && step.phase == StepPhase::Done)
}

/// When a run of these last told a repository to be sealed, or to be so no more.
#[must_use]
pub fn sealing(runs: &[crds::RecoveryRun]) -> Option<Timestamp> {
    let steps = runs.iter().filter_map(|run| run.status.as_ref()).flat_map(|status| &status.steps);
    steps.filter(|step| matches!(step.name.as_str(), "Seal" | "Unseal")).filter_map(|step| step.end).max()
}

/// Whether `run` stops and starts the component of `policy` for its switch: what a capture remembers meanwhile would be that it does not run.
#[must_use]
pub fn restarts(run: &crds::RecoveryRun, policy: &str) -> bool {
    let of = |known: &&crds::run::OfflineStatus| known.policy == policy && known.restart.is_some();
    run.status.as_ref().is_some_and(|status| status.offline.iter().any(|known| of(&known)))
}

fn decide(draft: &mut Draft<'_>) {
    if settled(&draft.status) {
        manual::late(draft);
        settle::tidy(draft);
        quarantine::release(draft);
        losses::count(draft);
        if !losses::holds_the_report(draft) {
            reporting::write(draft);
        }
        return;
    }
    if draft.seen.run.deleting {
        settle::leave(draft);
        return;
    }
    if walk::has_failed(&draft.status) {
        settle::finish_failed(draft);
        return;
    }
    if draft.seen.run.spec.mode == RunMode::Assess {
        assessment::carry(draft);
        return;
    }
    if undo::cancel(draft) || (draft.status.steps.is_empty() && !assess::begin(draft)) {
        return;
    }
    if draft.seen.run.spec.mode == RunMode::DryRun {
        dry_run::complete(draft);
        return;
    }
    let deadline = assess::deadline(&draft.seen.run);
    draft.next = draft.next.or_at(deadline);
    walk::walk(draft, deadline);
}
