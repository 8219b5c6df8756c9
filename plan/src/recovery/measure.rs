//! The step Report: recovery time and data loss as measured, held against what was promised, and the run's end.

use crds::Span;
use crds::condition::Status;
use crds::run::{
    GateName, Measured, ObjectiveVerdict, ObjectiveVerdicts, ObjectivesStatus, Part, PolicyObjectiveVerdicts,
    Scenario, StepPhase, Verdict,
};
use jiff::{SignedDuration, Timestamp};

use super::assess::declared;
use super::seen::{Component, Role};
use super::steps::{Kind, Step};
use super::walk::{Stretch, lane};
use super::{Draft, Progress, losses, network, security, verification};
use crate::effect::Event;

/// Measures, and completes the run.
pub(crate) fn report(draft: &mut Draft<'_>) -> Progress {
    if draft.seen.run.spec.scenario == Scenario::BackupVerification {
        return verification::report(draft);
    }
    let numbers = measure(draft);
    security::conclude(draft);
    draft.status.verdict.get_or_insert(Verdict::Passed);
    let rehearsal = draft.seen.run.spec.sandbox().is_some();
    if draft.seen.run.spec.scenario == Scenario::NetworkFailure && !rehearsal {
        return network::report(draft, numbers);
    }
    let numbers = numbers.unwrap_or_default();
    let served: Vec<String> = draft
        .status
        .points
        .iter()
        .map(|point| format!("{} serves point {}", point.policy, point.name))
        .collect();
    let place = if rehearsal { format!(" in sandbox {}", draft.seen.home()) } else { String::new() };
    let message = format!("{}{place}; {numbers}", served.join(", "));
    draft.condition("Ready", Status::True, "Recovered", message.clone());
    draft.condition("Complete", Status::True, "Recovered", message.clone());
    draft.events.push(Event::normal("Recovered", numbers.clone()));
    Progress::Done(numbers)
}

/// Measures what was recovered; nothing when nothing was. Returns it in words.
pub(crate) fn measure(draft: &mut Draft<'_>) -> Option<String> {
    let start = declared(&draft.seen.run);
    let (mut policies, mut measured) = (Vec::new(), Vec::new());
    let (mut worst_rpo, mut worst_rto): (Option<SignedDuration>, _) = (None, SignedDuration::ZERO);
    let mut worst_rewind: Option<SignedDuration> = None;
    for component in &draft.seen.components {
        let Some((end, consistent)) = proved(draft, component) else { continue };
        let back = consistent.map(|time| start.duration_since(time).max(SignedDuration::ZERO));
        let rewind = back.filter(|_| kept(draft, &component.policy));
        // What lies in quarantine is not lost: see `Measured::rewind`.
        let rpo = if rewind.is_some() { Some(SignedDuration::ZERO) } else { back };
        worst_rewind = worst_rewind.max(rewind);
        let rto = end.duration_since(start).max(SignedDuration::ZERO);
        (worst_rpo, worst_rto) = (worst_rpo.max(rpo), worst_rto.max(rto));
        let objectives = component.objectives;
        policies.push(PolicyObjectiveVerdicts {
            policy: component.policy.clone(),
            verdicts: verdicts(Some(objectives.rpo), rpo, objectives.rto, rto),
        });
        measured.push(Measured {
            policy: component.policy.clone(),
            rpo: rpo.map(|rpo| Span::floor(rpo).to_string()),
            rewind: rewind.map(|rewind| Span::floor(rewind).to_string()),
            rto: Span::floor(rto).to_string(),
            breakdown: breakdown(draft, &component.policy, start, end),
            not_measured: not_measured(draft),
            data_loss: consistent.and_then(|from| losses::foreseen(draft, component, from)),
        });
    }
    if measured.is_empty() {
        return None;
    }
    let of_scenario = draft.seen.run.spec.scenario;
    let (rto_goal, rpo_goal) = of_scenario.objectives();
    let scenario = verdicts(rpo_goal, worst_rpo, rto_goal, worst_rto);
    let rpo_shown = policies.iter().filter_map(|p| p.verdicts.rpo).chain(rpo_goal).min();
    let rto_shown = policies.iter().map(|p| p.verdicts.rto).fold(rto_goal, Span::min);
    // What the columns show is what was promised for the components; with one, its own. A policy promises how soon it is restored, and
    // nothing for an outage of the network: there the scenario's counts as well.
    let (rpo_shown, rto_shown) = match policies.as_slice() {
        [one] if of_scenario != Scenario::NetworkFailure => (one.verdicts.rpo, one.verdicts.rto),
        _ => (rpo_shown, rto_shown),
    };
    let missed_rpo = missed(&policies, |v| v.rpo_verdict);
    let scenario_missed = scenario.rto_verdict == ObjectiveVerdict::Missed;
    let missed_rto = missed(&policies, |v| Some(v.rto_verdict))
        || (of_scenario == Scenario::NetworkFailure && scenario_missed);
    let rto = Span::floor(worst_rto);
    let rpo = worst_rpo.zip(rpo_shown).map(|(rpo, shown)| (Span::floor(rpo), shown));
    let told = rpo.map(|(rpo, shown)| format!("RPO {rpo} of {shown}, ")).unwrap_or_default();
    let rewound = worst_rewind.map(|back| {
        format!("; taken back {}, what was written since is kept in quarantine", Span::floor(back))
    });
    let numbers = format!("{told}RTO {rto} of {rto_shown}{}", rewound.unwrap_or_default());
    let (met, reason) = match (missed_rpo, missed_rto) {
        (false, false) => (Status::True, "Met"),
        (true, false) => (Status::False, "RPOMissed"),
        (false, true) => (Status::False, "RTOMissed"),
        (true, true) => (Status::False, "BothMissed"),
    };
    draft.condition("ObjectivesMet", met, reason, numbers.clone());
    draft.status.measured = measured;
    draft.status.objectives = Some(ObjectivesStatus { scenario, policies });
    let display = draft.status.display.get_or_insert_default();
    display.rpo = rpo.map(|(rpo, shown)| format!("{rpo}/{shown}"));
    display.rto = Some(format!("{rto}/{rto_shown}"));
    Some(numbers)
}

/// When a component was recovered, and what its point is of; of one that is offline only when.
fn proved(draft: &Draft<'_>, component: &Component) -> Option<(Timestamp, Option<Timestamp>)> {
    let policy = &component.policy;
    match component.role {
        Role::Restored => {
            let point = draft.status.points.iter().find(|point| point.policy == *policy);
            let point = point.filter(|_| lane(&draft.status, policy) == Some(Stretch::Done))?;
            Some((restored_at(draft, policy), Some(point.consistency_time)))
        }
        Role::Offline => {
            let known = draft.status.offline.iter().find(|known| known.policy == *policy)?;
            Some((known.entered?, None))
        }
        Role::Dependent | Role::Verified => None,
    }
}

/// Whether all that was written after the point is kept, in the volumes that a breach had replaced.
fn kept(draft: &Draft<'_>, policy: &str) -> bool {
    let mut swaps = draft.status.swaps.iter().filter(|swap| swap.policy == policy);
    draft.seen.run.spec.scenario == Scenario::SecurityBreach && swaps.all(|swap| swap.old_volume.is_some())
}

/// When the recovery of a component was proved: the end of Validate; without one, the end of the last step before it.
pub(crate) fn restored_at(draft: &Draft<'_>, policy: &str) -> Timestamp {
    let ended = |kind: Kind| {
        let name = Step { kind, policy: Some(policy.to_owned()) }.name();
        let step = draft.status.steps.iter().find(|step| step.name == name && step.phase == StepPhase::Done);
        step.and_then(|step| step.end)
    };
    ended(Kind::Validate).or_else(|| ended(Kind::Start)).or_else(|| ended(Kind::Swap)).unwrap_or(draft.now)
}

fn missed(
    policies: &[PolicyObjectiveVerdicts],
    of: fn(&ObjectiveVerdicts) -> Option<ObjectiveVerdict>,
) -> bool {
    policies.iter().any(|policy| of(&policy.verdicts) == Some(ObjectiveVerdict::Missed))
}

/// What was measured against what was promised; where there is nothing to lose nothing is promised of it.
fn verdicts(
    rpo: Option<Span>,
    rpo_measured: Option<SignedDuration>,
    rto: Span,
    rto_measured: SignedDuration,
) -> ObjectiveVerdicts {
    let verdict = |promised: Span, measured: SignedDuration| {
        if measured <= promised.to_duration() { ObjectiveVerdict::Met } else { ObjectiveVerdict::Missed }
    };
    let rpo = rpo.zip(rpo_measured);
    ObjectiveVerdicts {
        rpo: rpo.map(|(promised, _)| promised),
        rpo_verdict: rpo.map(|(promised, measured)| verdict(promised, measured)),
        rto,
        rto_verdict: verdict(rto, rto_measured),
    }
}

fn not_measured(draft: &Draft<'_>) -> Vec<String> {
    let mut list = vec!["the time between the failure and its declaration".to_owned()];
    if draft.seen.run.spec.incident.as_ref().and_then(|incident| incident.detected_at).is_none() {
        list.push("anything before the run was created: incident.detectedAt was not given".to_owned());
    }
    if draft.seen.run.spec.sandbox().is_some() {
        list.push(
            "what people decide, and what lies outside of the cluster: names, proxies, clients".to_owned(),
        );
        list.push("stopping what still runs in production".to_owned());
    }
    if draft.status.verdict == Some(Verdict::Inconclusive) {
        list.push("validation: no replica ran".to_owned());
    }
    list
}

/// The recovery time by step. Adds up to it exactly: every instant between `start` and `end` is in one part.
fn breakdown(draft: &Draft<'_>, policy: &str, start: Timestamp, end: Timestamp) -> Vec<Part> {
    let mut line = Line { at: start, end, parts: Vec::new() };
    line.until("beforeRun", draft.seen.run.created);
    let mut first = true;
    for stored in &draft.status.steps {
        let (Some(begun), Some(step)) = (stored.start, Step::of(stored)) else { continue };
        // What is done for others meanwhile takes none of its time.
        if step.policy.as_ref().is_some_and(|other| other != policy) {
            continue;
        }
        // What a human took to decide is nobody's delay but theirs.
        let decided = draft.status.gates.iter().any(|gate| match gate.name {
            GateName::Start => matches!(step.kind, Kind::Isolate | Kind::Stop | Kind::Diagnose),
            GateName::StartUnisolated => step.kind == Kind::Start,
            GateName::ForceStop | GateName::LiftIsolation | GateName::Unseal => false,
        });
        line.until(
            if first {
                "queued"
            } else if decided {
                "decision"
            } else {
                "between"
            },
            begun,
        );
        first = false;
        line.until(step.kind.part(), stored.end.unwrap_or(end));
    }
    line.until("between", end);
    line.parts
}

struct Line {
    at: Timestamp,
    end: Timestamp,
    parts: Vec<Part>,
}

impl Line {
    /// The time up to `until` belongs to `part`. Time never runs backwards here, whatever the clocks did.
    fn until(&mut self, part: &str, until: Timestamp) {
        let until = until.clamp(self.at, self.end.max(self.at));
        // Differences of rounded instants add up to the difference of the rounded ends.
        let millis = until.as_millisecond() - self.at.as_millisecond();
        self.at = until;
        match self.parts.iter_mut().find(|known| known.part == part) {
            Some(known) => known.millis += millis,
            None if millis > 0 => self.parts.push(Part { part: part.to_owned(), millis }),
            None => {}
        }
    }
}
