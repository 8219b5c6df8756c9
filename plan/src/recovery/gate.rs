//! Where a run waits for a human, and how a human ends it. A decision counts once: what stands in the status stands, whatever becomes of
//! the spec.

use crds::condition::{Status, clear};
use crds::run::{Answer, DesiredState, GateName, GateStatus, StepPhase};
use jiff::Timestamp;

use super::steps::{self, Kind, Step};
use super::{Draft, texts, walk};
use crate::effect::Event;

/// Whether a step may begin.
pub(crate) enum Ahead {
    Open,
    Waits,
    Failed(&'static str, String),
}

/// Looks at the gate in front of `step`, if there is one.
pub(crate) fn ahead(draft: &mut Draft<'_>, step: &Step, deadline: Timestamp) -> Ahead {
    let name = GateName::Start;
    let passed = |gate: &GateStatus| gate.name == name && gate.answer == Some(Answer::Approved);
    if step.kind == Kind::Assess || draft.status.gates.iter().any(passed) {
        return Ahead::Open;
    }
    let Some(required_by) = required(draft, name) else { return Ahead::Open };
    let known = draft.status.gates.iter().position(|gate| gate.name == name);
    let index = known.unwrap_or_else(|| {
        let gate = GateStatus { name, required_by, since: draft.now, answer: None, by: None, time: None };
        draft.status.gates.push(gate);
        draft.status.gates.len() - 1
    });
    let digest = draft.status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
    let decided = draft.seen.run.spec.decisions.iter().find(|decision| decision.gate == name);
    let other_plan = |read: &Option<String>| read.as_ref().is_some_and(|read| *read != digest);
    let fitting = decided.filter(|decision| !other_plan(&decision.plan_digest));
    let (now, gate) = (draft.now, &mut draft.status.gates[index]);
    if let (None, Some(decision)) = (gate.answer, fitting) {
        (gate.answer, gate.by, gate.time) = (Some(decision.answer), Some(decision.by.clone()), Some(now));
    }
    let (by, answer) = (gate.by.clone().unwrap_or_default(), gate.answer);
    match answer {
        Some(Answer::Approved) => {
            draft.condition("GatesPassed", Status::True, "Decided", format!("{by} approved gate Start"));
            clear(&mut draft.status.conditions, "Reconciling");
            Ahead::Open
        }
        Some(Answer::Rejected) => {
            let message = format!("{by} rejected the plan at gate Start; nothing was touched");
            draft.condition("GatesPassed", Status::False, "Rejected", message.clone());
            Ahead::Failed("Rejected", message)
        }
        None if draft.now >= deadline => {
            let message = "nobody decided at gate Start before the run's deadline; nothing was touched";
            Ahead::Failed("DeadlineExceeded", message.to_owned())
        }
        None => {
            let message = asked(draft, index, &digest, decided.is_some());
            if known.is_none() {
                draft.events.push(Event::normal("AwaitingDecision", message.clone()));
            }
            for (kind, is) in [("GatesPassed", false), ("Ready", false), ("Reconciling", true)] {
                draft.condition(kind, is, "AwaitingDecision", message.clone());
            }
            Ahead::Waits
        }
    }
}

/// Who asks for a gate: the run itself, or else the first of its policies that does.
fn required(draft: &Draft<'_>, name: GateName) -> Option<String> {
    let run = &draft.seen.run;
    if run.spec.gates.iter().any(|gate| gate.name == name) {
        return Some("run".to_owned());
    }
    let asking = draft.seen.components.iter().find(|component| component.approval);
    asking.map(|component| format!("policy/{}", component.policy))
}

fn asked(draft: &Draft<'_>, index: usize, digest: &str, other_plan: bool) -> String {
    let (gate, run) = (&draft.status.gates[index], &draft.seen.run);
    let before = match other_plan {
        true => "the decision that was given is on another plan; ",
        false => "",
    };
    format!(
        "{before}gate {name}, required by {by}: read status.steps, then kubectl patch hfrun {run} -n {namespace} --type=merge -p '{{\"spec\":{{\"decisions\":[{{\"gate\":\"{name}\",\"answer\":\"Approved\",\"by\":\"YOUR USER NAME\",\"planDigest\":\"{digest}\"}}]}}}}'",
        name = gate.name.as_str(),
        by = gate.required_by,
        run = run.name,
        namespace = run.namespace,
    )
}

/// Ends a run that is cancelled, unless a volume was exchanged already or is about to be. Returns whether it does.
pub(crate) fn cancel(draft: &mut Draft<'_>) -> bool {
    if draft.seen.run.spec.desired_state != DesiredState::Cancelled {
        return false;
    }
    if draft.status.steps.is_empty() {
        let step = Step { kind: Kind::Assess, policy: None };
        draft.status.steps = vec![steps::waiting(&step, "")];
    }
    let is_swap = |step: &&crds::run::StepStatus| Step::of(step).is_some_and(|step| step.kind == Kind::Swap);
    if draft.status.steps.iter().filter(is_swap).any(|step| step.phase != StepPhase::Waiting) {
        let message = "it was cancelled when its volumes were being exchanged: it goes on to its end, and the old volumes are kept in quarantine";
        draft.condition("Cancelled", Status::False, "TooLate", message);
        return false;
    }
    let at = walk::frontier(&draft.status);
    if at.is_empty() {
        return false;
    }
    for index in at {
        let message = texts::bounded(&format!("cancelled at {}", draft.status.steps[index].name));
        draft.condition("Cancelled", Status::True, "Cancelled", message.clone());
        steps::fail(draft, index, "Cancelled", &message);
    }
    true
}
