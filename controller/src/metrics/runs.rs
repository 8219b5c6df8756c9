//! Of the newest runs: what was measured beside what was promised, and what they wait for.

use std::collections::HashMap;
use std::sync::Arc;

use crds::RecoveryRun;
use crds::run::{GateName, RecoveryRunStatus, RunMode, RunPhase, Verdict};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::families::{Word, numbers, put, seconds};

/// Ended runs that are told of, of each namespace and each drill: they are kept for ever, and so would their series be.
const NEWEST: usize = 8;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RunLabel {
    namespace: String,
    run: String,
    scenario: Word,
    drill: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    namespace: String,
    run: String,
    scenario: Word,
    drill: String,
    phase: Word,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    namespace: String,
    run: String,
    scenario: Word,
    drill: String,
    verdict: Word,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabel {
    namespace: String,
    run: String,
    scenario: Word,
    drill: String,
    policy: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GateLabel {
    namespace: String,
    run: String,
    scenario: Word,
    drill: String,
    gate: Word,
}

pub(super) fn measure(registry: &mut Registry, runs: &[Arc<RecoveryRun>], now: Timestamp) {
    let duration =
        seconds(registry, "run_duration", "Time since the run was created, until it ended, by phase");
    let ended = seconds(registry, "run_end_timestamp", "When the run ended");
    let verdict = numbers(registry, "run_verdict", "What came out of the run; always 1");
    let awaiting = numbers(registry, "run_awaiting_decision", "The run waits at this gate; always 1");
    let rto = seconds(registry, "run_rto", "Recovery time of a component, from the declared failure");
    let rto_objective = seconds(registry, "run_rto_objective", "What was promised of it");
    let rpo = seconds(registry, "run_rpo", "Data loss of a component, as time before the declared failure");
    let rpo_objective = seconds(registry, "run_rpo_objective", "What was promised of it");
    for run in newest(runs) {
        let RunLabel { namespace, run: name, scenario, drill } = label(run);
        let copy = || (namespace.clone(), name.clone(), scenario, drill.clone());
        let status = run.status.as_ref();
        let phase = status.and_then(|status| status.phase).unwrap_or(RunPhase::Pending);
        let end = run.ended_at();
        if let Some(time) = &run.metadata.creation_timestamp {
            let took = end.unwrap_or(now).duration_since(time.0).max(SignedDuration::ZERO);
            let (namespace, run, scenario, drill) = copy();
            let label = PhaseLabel { namespace, run, scenario, drill, phase: Word(phase_word(phase)) };
            duration.get_or_create(&label).set(took.as_secs_f64());
        }
        if let Some(end) = end {
            ended.get_or_create(&label(run)).set(end.as_duration().as_secs_f64());
        }
        // What came out stands there before the end, and is no verdict until then.
        if let Some(word) = status.and_then(|status| status.verdict).filter(|_| end.is_some()) {
            let (namespace, run, scenario, drill) = copy();
            let label = VerdictLabel { namespace, run, scenario, drill, verdict: Word(verdict_word(word)) };
            put(&verdict, &label, 1);
        }
        for gate in status.into_iter().flat_map(|status| waits_at(status, end)) {
            let (namespace, run, scenario, drill) = copy();
            let label = GateLabel { namespace, run, scenario, drill, gate: Word(gate.as_str()) };
            put(&awaiting, &label, 1);
        }
        for kept in run.measured() {
            let (namespace, run, scenario, drill) = copy();
            let label = PolicyLabel { namespace, run, scenario, drill, policy: kept.policy };
            rto.get_or_create(&label).set(kept.rto.as_secs_f64());
            if let Some(promised) = kept.rto_objective {
                rto_objective.get_or_create(&label).set(promised.as_secs() as f64);
            }
            if let Some(lost) = kept.rpo {
                rpo.get_or_create(&label).set(lost.as_secs_f64());
            }
            if let Some(promised) = kept.rpo_objective {
                rpo_objective.get_or_create(&label).set(promised.as_secs() as f64);
            }
        }
    }
}

/// Those that have not ended, and of the others the newest. Looks and plans measure nothing.
fn newest(runs: &[Arc<RecoveryRun>]) -> Vec<&RecoveryRun> {
    let mut found: Vec<&RecoveryRun> =
        runs.iter().map(AsRef::as_ref).filter(|run| run.spec.mode == RunMode::Run).collect();
    found.sort_by_cached_key(|run| (std::cmp::Reverse(run.ended_at()), run.name_any()));
    let mut counts: HashMap<(Option<String>, Option<String>), usize> = HashMap::new();
    found.retain(|run| {
        let of = (run.metadata.namespace.clone(), run.drill().map(str::to_owned));
        let count = counts.entry(of).or_default();
        *count += usize::from(run.ended_at().is_some());
        run.ended_at().is_none() || *count <= NEWEST
    });
    found
}

/// The gates at which somebody has to decide. One that has failed and left the namespace isolated still waits for whoever lifts that.
fn waits_at(status: &RecoveryRunStatus, end: Option<Timestamp>) -> impl Iterator<Item = GateName> {
    let isolated = status.left_as.as_ref().and_then(|left| left.isolation.as_deref()) == Some("Isolated");
    let open = status.gates.iter().filter(|gate| gate.answer.is_none()).map(|gate| gate.name);
    open.filter(move |gate| end.is_none() || (isolated && *gate == GateName::LiftIsolation))
}

fn label(run: &RecoveryRun) -> RunLabel {
    RunLabel {
        namespace: run.namespace().unwrap_or_default(),
        run: run.name_any(),
        scenario: Word(run.spec.scenario.as_str()),
        drill: run.drill().unwrap_or_default().to_owned(),
    }
}

fn phase_word(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Pending => "Pending",
        RunPhase::Planned => "Planned",
        RunPhase::AwaitingDecision => "AwaitingDecision",
        RunPhase::Running => "Running",
        RunPhase::Succeeded => "Succeeded",
        RunPhase::Failed => "Failed",
        RunPhase::Cancelled => "Cancelled",
    }
}

/// The word of a verdict.
pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "Passed",
        Verdict::Failed => "Failed",
        Verdict::Inconclusive => "Inconclusive",
        Verdict::Skipped => "Skipped",
    }
}
