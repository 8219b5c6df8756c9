//! The numbers of runs that the metrics and the reviews both tell, read from their objects in one place, so that they never differ.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::condition;
use crate::reference::DRILL_LABEL;
use crate::run::{
    Measured, ObjectiveVerdict, PolicyObjectiveVerdicts, RunMode, RunPhase, StepPhase, Verdict,
};
use crate::{RecoveryRun, Span};

/// What was measured of a component, beside what was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Policy.
    pub policy: String,
    /// Recovery time.
    pub rto: SignedDuration,
    /// What was promised of it.
    pub rto_objective: Option<Span>,
    /// Data loss, as time; absent where nothing was restored.
    pub rpo: Option<SignedDuration>,
    /// What was promised of it.
    pub rpo_objective: Option<Span>,
    /// A promise was broken.
    pub missed: bool,
}

impl RecoveryRun {
    /// The drill that the run is an execution of; none of a real recovery.
    #[must_use]
    pub fn drill(&self) -> Option<&str> {
        self.labels().get(DRILL_LABEL).map(String::as_str)
    }

    /// When it ended.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        let conditions = &self.status.as_ref()?.conditions;
        let of = |kind| condition::get(conditions, kind).filter(|found| found.status == "True");
        let found = of("Complete").or_else(|| of("Failed")).or_else(|| of("Cancelled"));
        found.map(|found| found.last_transition_time.0)
    }

    /// When the failure was declared, from which both clocks count.
    #[must_use]
    pub fn declared_at(&self) -> Option<Timestamp> {
        let told = self.spec.incident.as_ref().and_then(|incident| incident.detected_at);
        told.or_else(|| self.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// Whether it dealt with a real incident and has ended: no drill or other rehearsal, no look, no plan, nothing that was refused before it began, that turned
    /// out not to be needed or that somebody withdrew.
    #[must_use]
    pub fn is_incident(&self) -> bool {
        let sandboxed = self.spec.target.as_ref().is_some_and(|target| target.sandbox.is_some());
        let real = self.spec.mode == RunMode::Run && self.drill().is_none() && !sandboxed;
        let phase = self.status.as_ref().and_then(|status| status.phase);
        real && match phase {
            Some(RunPhase::Succeeded) => !self.measured().is_empty(),
            Some(RunPhase::Failed) => self.begun(),
            _ => false,
        }
    }

    fn begun(&self) -> bool {
        let mut steps = self.status.iter().flat_map(|status| &status.steps);
        steps.any(|step| step.name == "Assess" && step.phase == StepPhase::Done)
    }

    /// Whether it ended well, and was proved: an Inconclusive verdict is no success.
    #[must_use]
    pub fn passed(&self) -> bool {
        let status = self.status.as_ref();
        status.is_some_and(|status| {
            status.phase == Some(RunPhase::Succeeded) && status.verdict == Some(Verdict::Passed)
        })
    }

    /// What was measured, by component.
    #[must_use]
    pub fn measured(&self) -> Vec<Kept> {
        let Some(status) = &self.status else { return Vec::new() };
        let promised = status.objectives.as_ref().map(|objectives| objectives.policies.as_slice());
        let promised = promised.unwrap_or_default();
        status.measured.iter().filter_map(|measured| kept(measured, promised)).collect()
    }

    /// How long it took until the last component was recovered, from when the failure was declared.
    #[must_use]
    pub fn time_to_recover(&self) -> Option<SignedDuration> {
        self.measured().iter().map(|kept| kept.rto).max()
    }

    /// Most of what was lost, as time; nothing where nothing was restored.
    #[must_use]
    pub fn data_loss(&self) -> Option<SignedDuration> {
        self.measured().iter().filter_map(|kept| kept.rpo).max()
    }
}

/// A measured entry; absent where what stands there is no time.
fn kept(measured: &Measured, promised: &[PolicyObjectiveVerdicts]) -> Option<Kept> {
    let promised = promised.iter().find(|promised| promised.policy == measured.policy);
    let verdicts = promised.map(|promised| &promised.verdicts);
    let broken = |verdict: Option<ObjectiveVerdict>| verdict == Some(ObjectiveVerdict::Missed);
    Some(Kept {
        policy: measured.policy.clone(),
        rto: exact(measured).or_else(|| time(&measured.rto))?,
        rto_objective: verdicts.map(|verdicts| verdicts.rto),
        rpo: measured.rpo.as_deref().and_then(time),
        rpo_objective: verdicts.and_then(|verdicts| verdicts.rpo),
        missed: verdicts
            .is_some_and(|verdicts| broken(verdicts.rpo_verdict) || broken(Some(verdicts.rto_verdict))),
    })
}

/// The breakdown adds up to the recovery time, to the millisecond.
fn exact(measured: &Measured) -> Option<SignedDuration> {
    let parts = &measured.breakdown;
    let sum = parts.iter().fold(0i64, |sum, part| sum.saturating_add(part.millis));
    (!parts.is_empty()).then(|| SignedDuration::from_millis(sum))
}

fn time(text: &str) -> Option<SignedDuration> {
    // What takes less than a second is measured, and promised by nobody.
    if text == "0s" { Some(SignedDuration::ZERO) } else { text.parse().ok().map(Span::to_duration) }
}

/// Mean of times; none of none.
#[must_use]
pub fn mean(times: impl IntoIterator<Item = SignedDuration>) -> Option<SignedDuration> {
    let (mut sum, mut count) = (SignedDuration::ZERO, 0i32);
    for time in times {
        (sum, count) = (sum.saturating_add(time), count.saturating_add(1));
    }
    (count > 0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(status: Value, labels: Value, mode: &str) -> RecoveryRun {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun",
            "metadata": {"name": "r", "labels": labels, "creationTimestamp": "2026-11-23T09:30:00Z"},
            "spec": {"scenario": "DatabaseCorruption", "mode": mode, "target": {"inPlace": {"confirm": "arxiv"}}},
            "status": status
        }))
        .unwrap()
    }

    fn recovered() -> Value {
        json!({
            "phase": "Succeeded", "verdict": "Passed", "steps": [{"name": "Assess", "phase": "Done"}],
            "measured": [
                {"policy": "chromadb", "rpo": "27m57s", "rto": "8m43s", "breakdown": [{"part": "restore", "millis": 500_000}, {"part": "start", "millis": 23_250}], "notMeasured": []},
                {"policy": "scholar", "rpo": "0s", "rto": "9m", "breakdown": [], "notMeasured": []}],
            "objectives": {
                "scenario": {"rpo": "30m", "rpoVerdict": "Met", "rto": "2h", "rtoVerdict": "Met"},
                "policies": [{"policy": "chromadb", "rpo": "20m", "rpoVerdict": "Missed", "rto": "2h", "rtoVerdict": "Met"}]},
            "conditions": [
                {"type": "Complete", "status": "True", "reason": "Recovered", "message": "", "lastTransitionTime": "2026-11-23T09:39:00Z"},
                {"type": "Failed", "status": "False", "reason": "Recovered", "message": "", "lastTransitionTime": "2026-11-23T09:38:00Z"}]
        })
    }

    #[test]
    fn what_was_measured_is_told_beside_what_was_promised_to_the_millisecond_where_that_is_known() {
        let run = run(recovered(), json!({}), "Run");
        let [chroma, scholar] = run.measured().try_into().unwrap();
        assert_eq!(chroma.rto, SignedDuration::from_millis(523_250));
        assert_eq!(chroma.rpo, Some(SignedDuration::from_secs(27 * 60 + 57)));
        assert_eq!(chroma.rto_objective, Some(Span::from_hours(2)));
        assert_eq!(chroma.rpo_objective, Some(Span::from_mins(20)));
        assert!(chroma.missed && !scholar.missed);
        assert_eq!((scholar.rto, scholar.rto_objective), (SignedDuration::from_mins(9), None));
        assert_eq!(run.time_to_recover(), Some(SignedDuration::from_mins(9)));
        assert_eq!(run.data_loss(), Some(SignedDuration::from_secs(1677)));
        assert_eq!(run.ended_at(), Some("2026-11-23T09:39:00Z".parse().unwrap()));
    }

    #[test]
    fn an_incident_is_a_real_recovery_that_has_ended() {
        let of = |phase: &str, labels: Value, mode: &str| {
            let mut status = recovered();
            status["phase"] = phase.into();
            run(status, labels, mode).is_incident()
        };
        assert!(of("Succeeded", json!({}), "Run") && of("Failed", json!({}), "Run"));
        for phase in ["Pending", "Planned", "AwaitingDecision", "Running", "Cancelled"] {
            assert!(!of(phase, json!({}), "Run"), "{phase}");
        }
        assert!(!of("Succeeded", json!({"holdfast.dev/drill": "monthly"}), "Run"));
        assert!(!of("Succeeded", json!({}), "DryRun") && !of("Failed", json!({}), "Assess"));
        let nothing = json!({"phase": "Succeeded", "verdict": "Passed"});
        assert!(!run(nothing, json!({}), "Run").is_incident(), "nothing was to be done");
        let refused = json!({"phase": "Failed", "steps": [{"name": "Assess", "phase": "Failed"}]});
        assert!(!run(refused, json!({}), "Run").is_incident(), "nothing was begun");
    }

    #[test]
    fn nothing_is_made_of_what_was_not_measured() {
        let run = run(json!({"phase": "Failed"}), json!({}), "Run");
        assert_eq!((run.time_to_recover(), run.data_loss(), run.ended_at()), (None, None, None));
        assert!(!run.passed());
        assert_eq!(mean([]), None);
        let two = [SignedDuration::from_secs(1), SignedDuration::from_secs(2)];
        assert_eq!(mean(two), Some(SignedDuration::from_millis(1500)));
    }
}
