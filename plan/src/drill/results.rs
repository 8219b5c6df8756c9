//! The results of a drill. One that is in the status stays there whatever becomes of its run; only its report, and what people attest, come later.

use crds::Span;
use crds::drill::{
    DrDrillStatus, DrillDisplay, DrillReport, DrillResult, DrillVerdicts, MAX_RESULTS, RunningDrill,
};
use crds::run::{ObjectiveVerdict, RecoveryRunStatus, Verdict};
use jiff::Timestamp;

use super::child::{self, Seen};
use super::verdict::{self, AWAITS, Outcome, Promised};
use super::{Observed, Plan};
use crate::effect::Event;

/// Announces a run.
pub(super) fn begin(plan: &mut Plan, run: String, started: Timestamp) {
    plan.events.push(Event::normal("DrillStarted", format!("RecoveryRun {run} rehearses")));
    plan.status.last_run = Some(started);
    plan.status.running = Some(RunningDrill { run, uid: None, started });
}

/// What became of the run under way.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    let Some(running) = plan.status.running.clone() else { return };
    let result = match child::look(seen, &running) {
        Seen::Wanted => {
            plan.create = child::wanted(seen, &plan.status).map(Box::new);
            plan.next = plan.next.or_at(child::given_up_at(&running));
            return;
        }
        Seen::There(run) => {
            if let Some(known) = &mut plan.status.running {
                known.uid.clone_from(&run.metadata.uid);
            }
            let status = run.status.clone().unwrap_or_default();
            match verdict::of(&status, &promised(seen, running.started)) {
                None => return,
                Some(outcome) => result(seen, &running, outcome, &status),
            }
        }
        Seen::Lost(reason, message) => DrillResult {
            verdict: Verdict::Inconclusive,
            reason: reason.to_owned(),
            message,
            ..empty(running.run.clone(), running.started, seen.now)
        },
    };
    plan.status.running = None;
    count(&mut plan.status, &result);
    push(&mut plan.status, result);
}

/// A slot that is not carried out.
pub(super) fn skip(seen: &Observed<'_>, plan: &mut Plan, slot: Timestamp, reason: &str, why: &str) {
    let drill = seen.drill.metadata.name.as_deref().unwrap_or_default();
    let run = crds::names::drill_run(drill, slot);
    let message = format!("the drill of {slot:.0} is left out: {why}");
    plan.events.push(Event::warning("DrillSkipped", message.clone()));
    if plan.status.results.iter().any(|known| known.run == run) {
        return;
    }
    let result = DrillResult {
        verdict: Verdict::Skipped,
        reason: reason.to_owned(),
        message: crate::recovery::cut(&message, 1024),
        ..empty(run, slot, seen.now)
    };
    push(&mut plan.status, result);
}

/// What is learned of results after their runs have ended: where their reports lie, and what people attest.
pub(super) fn refresh(seen: &Observed<'_>, status: &mut DrDrillStatus) {
    let mut results = std::mem::take(&mut status.results);
    for known in &mut results {
        let named = seen.runs.iter().find(|run| run.metadata.name.as_ref() == Some(&known.run));
        let Some(run) = named.filter(|run| child::is_of(run, seen.drill)) else { continue };
        let told = run.status.clone().unwrap_or_default();
        if known.reason == AWAITS
            && let Some(outcome) = verdict::of(&told, &promised(seen, known.started))
            && outcome.reason != AWAITS
        {
            (known.verdict, known.reason, known.message) = (outcome.verdict, outcome.reason, outcome.message);
            if known.verdict == Verdict::Passed && status.last_passed.is_none_or(|last| known.started > last)
            {
                (status.last_passed, status.last_passed_run) = (Some(known.started), Some(known.run.clone()));
                status.consecutive_failures = 0;
            }
        }
        known.report = report(&told).or(known.report.take());
    }
    status.results = results;
}

fn result(
    seen: &Observed<'_>,
    running: &RunningDrill,
    outcome: Outcome,
    status: &RecoveryRunStatus,
) -> DrillResult {
    DrillResult {
        verdict: outcome.verdict,
        reason: outcome.reason,
        message: outcome.message,
        point: outcome.point,
        rpo: outcome.rpo.map(|span| span.to_string()),
        rto: outcome.rto.map(|span| span.to_string()),
        objectives: outcome.objectives,
        report: report(status),
        ..empty(running.run.clone(), running.started, seen.now)
    }
}

fn empty(run: String, started: Timestamp, time: Timestamp) -> DrillResult {
    DrillResult {
        run,
        verdict: Verdict::Inconclusive,
        reason: String::new(),
        message: String::new(),
        point: None,
        rpo: None,
        rto: None,
        objectives: None,
        started,
        time,
        report: None,
    }
}

fn report(status: &RecoveryRunStatus) -> Option<DrillReport> {
    let report = status.report.as_ref()?;
    let written = report.written.as_ref()?;
    Some(DrillReport {
        repository: report.repository.clone(),
        path: written.path.clone(),
        digest: written.digest.clone(),
    })
}

/// What a drill is held against.
pub(super) fn promised(seen: &Observed<'_>, started: Timestamp) -> Promised {
    let spec = &seen.drill.spec;
    let of = |policy: &crds::BackupPolicy| {
        (policy.metadata.name.clone().unwrap_or_default(), policy.spec.objectives)
    };
    Promised {
        test: spec.test,
        started,
        asked: spec.objectives.unwrap_or_default(),
        policies: seen.policies.iter().map(of).collect(),
    }
}

fn count(status: &mut DrDrillStatus, result: &DrillResult) {
    match result.verdict {
        Verdict::Passed => {
            status.last_passed = Some(result.started);
            status.last_passed_run = Some(result.run.clone());
            status.consecutive_failures = 0;
        }
        Verdict::Failed | Verdict::Inconclusive => {
            status.consecutive_failures = status.consecutive_failures.saturating_add(1);
        }
        Verdict::Skipped => {}
    }
}

/// The newest first. What was skipped goes before anything that ran.
fn push(status: &mut DrDrillStatus, result: DrillResult) {
    status.results.retain(|known| known.run != result.run);
    status.results.insert(0, result);
    while status.results.len() > MAX_RESULTS {
        let skipped = status.results.iter().skip(1).rposition(|known| known.verdict == Verdict::Skipped);
        status.results.remove(skipped.map_or(MAX_RESULTS, |index| index + 1));
    }
}

/// The newest result that is one of a run.
pub(super) fn newest(status: &DrDrillStatus) -> Option<&DrillResult> {
    status.results.iter().find(|result| result.verdict != Verdict::Skipped)
}

/// What the columns show.
pub(super) fn display(status: &mut DrDrillStatus) {
    let Some(result) = newest(status).or(status.results.first()) else {
        status.display = None;
        return;
    };
    let objectives = result.objectives.clone().unwrap_or_default();
    let over = |measured: &Option<String>, promised: Option<Span>| {
        let measured = measured.as_ref()?;
        Some(promised.map_or(measured.clone(), |promised| format!("{measured}/{promised}")))
    };
    status.display = Some(DrillDisplay {
        result: Some(format!("{:?}", result.verdict)),
        objectives: missed(&objectives).map(|missed| if missed { "Missed" } else { "Met" }.to_owned()),
        rpo: over(&result.rpo, objectives.rpo),
        rto: over(&result.rto, objectives.rto),
    });
}

/// Whether an objective was missed; nothing where none was held against anything.
pub(super) fn missed(verdicts: &DrillVerdicts) -> Option<bool> {
    let all = [verdicts.rpo_verdict, verdicts.rto_verdict];
    all.iter().any(Option::is_some).then(|| all.contains(&Some(ObjectiveVerdict::Missed)))
}
