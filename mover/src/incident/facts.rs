//! What a report says, drawn from the run once: its clocks, where it stands, what was measured. Nothing here is known from anywhere
//! else, not even the time of day: the same run has the same report whenever it is written.

use crds::Span;
use crds::condition::{get, is_true};
use crds::run::{
    CheckStatus, Direction, Incident, RunMode, RunPhase, Scenario, StepPhase, StepStatus, Verdict,
};
use jiff::{SignedDuration, Timestamp};

use super::document::Tone;
use super::read::Run;
use super::words;

/// What kind of report a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It changes nothing: its report is a plan.
    Plan,
    /// It only looks: its report is what was seen.
    Assessment,
    /// It goes on.
    Interim,
    /// It has ended.
    Ended,
}

/// The instants that a run's times are counted from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// When both clocks started.
    pub detected: Timestamp,
    /// Whether somebody said so; else it is the creation of the run.
    pub declared: bool,
    /// When the run was created.
    pub created: Timestamp,
    /// When the recovery was proved. Absent unless it was.
    pub recovered: Option<Timestamp>,
    /// When the run ended.
    pub ended: Option<Timestamp>,
    /// From when the writers stood still, at the latest. Absent unless the run stopped them.
    pub stopped: Option<Timestamp>,
    /// The last instant that the status knows of.
    pub latest: Timestamp,
}

/// A run and what follows from it.
#[derive(Debug)]
pub struct Facts {
    /// The run.
    pub run: Run,
    /// What people wrote; empty where nobody wrote anything.
    pub incident: Incident,
    /// What kind of report it has.
    pub stage: Stage,
    /// Its clocks.
    pub clocks: Clocks,
}

impl Facts {
    /// What follows from `run`.
    pub fn of(run: Run) -> Self {
        let stage = match run.phase {
            _ if run.spec.mode == RunMode::Assess => Stage::Assessment,
            RunPhase::Planned => Stage::Plan,
            _ if run.spec.mode == RunMode::DryRun => Stage::Plan,
            RunPhase::Succeeded | RunPhase::Failed | RunPhase::Cancelled => Stage::Ended,
            RunPhase::Pending | RunPhase::AwaitingDecision | RunPhase::Running => Stage::Interim,
        };
        let incident = run.spec.incident.clone().unwrap_or_default();
        let clocks = clocks(&run, &incident);
        Self { run, incident, stage, clocks }
    }

    /// The sentence of the condition that says where the run stands.
    pub fn sentence(&self) -> Option<&str> {
        let conditions = &self.run.status.conditions;
        let failed = get(conditions, "Failed").filter(|failed| failed.status == "True");
        let said = failed.or_else(|| get(conditions, "Ready"));
        said.map(|condition| condition.message.as_str()).filter(|message| !message.is_empty())
    }

    /// Steps that were begun, in their order.
    pub fn begun(&self) -> impl Iterator<Item = (&StepStatus, Timestamp)> {
        self.run.status.steps.iter().filter_map(|step| step.start.map(|start| (step, start)))
    }

    /// Steps that were not.
    pub fn waiting(&self) -> impl Iterator<Item = &StepStatus> {
        self.run.status.steps.iter().filter(|step| step.start.is_none())
    }

    /// How many checks came out like this.
    pub fn checks(&self, verdict: Verdict) -> usize {
        self.run.status.checks.iter().filter(|check: &&CheckStatus| check.verdict == verdict).count()
    }

    /// The scenario's objectives: the RTO, and the RPO where something is restored.
    pub fn promised(&self) -> (Span, Option<Span>) {
        match &self.run.status.objectives {
            Some(objectives) => (objectives.scenario.rto, objectives.scenario.rpo),
            None => self.run.spec.scenario.objectives(),
        }
    }

    /// How the run came out, and how that is meant.
    pub fn outcome(&self) -> (&'static str, Tone) {
        let inconclusive = self.run.status.verdict == Some(Verdict::Inconclusive);
        match self.run.phase {
            RunPhase::Succeeded if inconclusive => ("Succeeded, not validated", Tone::Warn),
            RunPhase::Succeeded => ("Succeeded", Tone::Good),
            RunPhase::Failed => ("Failed", Tone::Bad),
            RunPhase::Cancelled => ("Cancelled", Tone::Warn),
            RunPhase::AwaitingDecision => ("Waits for a decision", Tone::Warn),
            RunPhase::Running => ("Running", Tone::Plain),
            RunPhase::Pending => ("Pending", Tone::Quiet),
            RunPhase::Planned => ("Planned", Tone::Plain),
        }
    }

    /// What the scenario promises, in words.
    pub fn promise(&self, until: &str) -> String {
        let (rto, rpo) = self.promised();
        let rpo = rpo.map(|rpo| format!(", and an RPO of {rpo}")).unwrap_or_default();
        format!("{} promises an RTO of {rto}{until}{rpo}", self.run.spec.scenario.as_str())
    }

    /// Whether the run is about the network: it restores nothing, so nothing is lost by it.
    pub fn restores_nothing(&self) -> bool {
        self.run.spec.scenario == Scenario::NetworkFailure
    }

    /// Since the detection.
    pub fn since_detection(&self, at: Timestamp) -> String {
        words::between(self.clocks.detected, at)
    }

    /// Whether all volumes that were exchanged have their places again.
    pub fn undone(&self) -> bool {
        let swaps = &self.run.status.swaps;
        !swaps.is_empty() && swaps.iter().all(|swap| swap.direction == Direction::Back)
    }

    /// Whether restored volumes have taken the place of others.
    pub fn replaced(&self) -> bool {
        (!self.run.status.quarantine.is_empty() && !self.undone())
            || self.run.status.left_as.as_ref().is_some_and(|left| left.claims != "Original")
    }
}

fn clocks(run: &Run, incident: &Incident) -> Clocks {
    let status = &run.status;
    let detected = incident.detected_at.unwrap_or(run.created);
    let over = |kind: &str| {
        let condition = get(&status.conditions, kind).filter(|_| is_true(&status.conditions, kind));
        condition.map(|condition| condition.last_transition_time.0)
    };
    let ended = over("Failed").or_else(|| over("Complete"));
    let done = |word: &str| {
        let steps = status.steps.iter().filter(|step| step.name.split('/').next() == Some(word));
        steps.filter(|step| step.phase == StepPhase::Done).filter_map(|step| step.end).max()
    };
    // What was measured ends where the recovery was proved; without a measurement the steps say it.
    let measured = status.measured.iter().map(|component| {
        let millis = component.breakdown.iter().map(|part| part.millis).sum();
        detected.checked_add(SignedDuration::from_millis(millis)).unwrap_or(detected)
    });
    let recovered = (run.phase == RunPhase::Succeeded)
        .then(|| measured.max().or_else(|| ["Validate", "Start", "Diagnose"].into_iter().find_map(done)))
        .flatten();
    let known = status.steps.iter().flat_map(|step| [step.start, step.end]);
    let asked = status.gates.iter().flat_map(|gate| [Some(gate.since), gate.time]);
    let changed = status.conditions.iter().map(|condition| Some(condition.last_transition_time.0));
    let latest = known.chain(asked).chain(changed).flatten().chain([detected, run.created]).max();
    Clocks {
        detected,
        declared: incident.detected_at.is_some(),
        created: run.created,
        recovered,
        ended,
        stopped: done("Stop"),
        latest: latest.unwrap_or(run.created),
    }
}
