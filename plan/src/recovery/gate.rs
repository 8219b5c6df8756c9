//! Where a run waits for a human. A decision counts once: what stands in the status stands, whatever becomes of
//! the spec.

use crds::condition::{Status, clear};
use crds::run::{Answer, Decision, GateName, GateStatus};
use jiff::Timestamp;

use super::steps::{Kind, Step};
use super::{Draft, evidence, isolation};
use crate::effect::Event;

/// Whether a step may begin.
pub(crate) enum Ahead {
    Open,
    Waits,
    Failed(&'static str, String),
}

/// Looks at the gates in front of `step`.
pub(crate) fn ahead(draft: &mut Draft<'_>, step: &Step, deadline: Timestamp) -> Ahead {
    if step.kind == Kind::Assess {
        return Ahead::Open;
    }
    for name in [GateName::Start, GateName::StartUnisolated, GateName::LiftIsolation, GateName::Unseal] {
        let required_by = required(draft, name, step);
        match at(draft, name, required_by, deadline, None) {
            Ahead::Open => {}
            closed => return closed,
        }
    }
    Ahead::Open
}

/// Looks at one gate, which `required_by` asks for. `why`: what whoever decides has to know; absent: the steps.
pub(crate) fn at(
    draft: &mut Draft<'_>,
    name: GateName,
    required_by: Option<String>,
    deadline: Timestamp,
    why: Option<&str>,
) -> Ahead {
    let passed = |gate: &GateStatus| gate.name == name && gate.answer == Some(Answer::Approved);
    if draft.status.gates.iter().any(passed) {
        return Ahead::Open;
    }
    let Some(required_by) = required_by else { return Ahead::Open };
    let known = draft.status.gates.iter().position(|gate| gate.name == name);
    let index = known.unwrap_or_else(|| {
        let gate = GateStatus { name, required_by, since: draft.now, answer: None, by: None, time: None };
        draft.status.gates.push(gate);
        draft.status.gates.len() - 1
    });
    let digest = digest(draft);
    let decided = draft.seen.run.spec.decisions.iter().find(|decision| decision.gate == name);
    let fitting = decided.filter(|decision| !is_on_another_plan(decision, &digest));
    let (now, gate) = (draft.now, &mut draft.status.gates[index]);
    if let (None, Some(decision)) = (gate.answer, fitting) {
        (gate.answer, gate.by, gate.time) = (Some(decision.answer), Some(decision.by.clone()), Some(now));
    }
    let (by, answer) = (gate.by.clone().unwrap_or_default(), gate.answer);
    // What was done before a breach's own gates is not undone by what is decided there.
    let (reason, refused, late) = match name {
        GateName::Start => ("Rejected", "the plan", "nothing was touched"),
        GateName::ForceStop => (
            "DecisionRejected",
            "to go on without a pod of which nothing is known",
            "nothing is restored in its place",
        ),
        GateName::StartUnisolated => (
            "DecisionRejected",
            "to start workloads in a namespace whose isolation is not proved",
            "they stay stopped",
        ),
        GateName::Unseal => ("DecisionRejected", "to unseal the repositories", "they stay sealed"),
        GateName::LiftIsolation => {
            ("DecisionRejected", "to lift the isolation", "the namespace stays isolated")
        }
    };
    // Who broke in is kept out for as long as it takes somebody to say that they are gone.
    let patient = matches!(name, GateName::LiftIsolation | GateName::Unseal);
    let name = name.as_str();
    match answer {
        Some(Answer::Approved) => {
            draft.condition("GatesPassed", Status::True, "Decided", format!("{by} approved gate {name}"));
            clear(&mut draft.status.conditions, "Reconciling");
            Ahead::Open
        }
        Some(Answer::Rejected) => {
            let message = format!("{by} rejected {refused} at gate {name}; {late}");
            draft.condition("GatesPassed", Status::False, reason, message.clone());
            Ahead::Failed(reason, message)
        }
        None if draft.now >= deadline && !patient => {
            let message = format!("nobody decided at gate {name} before the run's deadline; {late}");
            Ahead::Failed("DeadlineExceeded", message)
        }
        None => {
            let message = asked(draft, index, &digest, decided.is_some(), why);
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

fn digest(draft: &Draft<'_>) -> String {
    draft.status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default()
}

fn is_on_another_plan(decision: &Decision, digest: &str) -> bool {
    decision.plan_digest.as_ref().is_some_and(|read| read != digest)
}

/// Whether somebody has approved a gate in the spec, of a run that has ended and does not come to it any more. Returns who.
pub(crate) fn approved_late<'a>(draft: &'a Draft<'_>, name: GateName) -> Option<&'a str> {
    let digest = digest(draft);
    let fits = |decision: &&Decision| {
        decision.gate == name && decision.answer == Answer::Approved && !is_on_another_plan(decision, &digest)
    };
    draft.seen.run.spec.decisions.iter().find(fits).map(|decision| decision.by.as_str())
}

/// Who asks for a gate in front of `step`: the scenario, the run itself, or else the first of its policies that does.
fn required(draft: &Draft<'_>, name: GateName, step: &Step) -> Option<String> {
    match name {
        GateName::StartUnisolated => {
            let unproved = step.kind == Kind::Start && isolation::is_unproved(&draft.status);
            return unproved.then(|| "scenario".to_owned());
        }
        GateName::LiftIsolation => {
            return (step.kind == Kind::LiftIsolation).then(|| "scenario".to_owned());
        }
        GateName::Unseal => {
            let sealed = step.kind == Kind::Unseal && evidence::is_sealed(&draft.status);
            return sealed.then(|| "scenario".to_owned());
        }
        GateName::ForceStop => return None,
        GateName::Start => {}
    }
    let run = &draft.seen.run;
    if run.spec.gates.iter().any(|gate| gate.name == name) {
        return Some("run".to_owned());
    }
    // What is done to a component in production needs approval; a rehearsal does nothing to it.
    let rehearsal = run.spec.sandbox().is_some();
    let asking = draft.seen.components.iter().find(|component| component.approval && !rehearsal);
    asking.map(|component| format!("policy/{}", component.policy))
}

fn asked(draft: &Draft<'_>, index: usize, digest: &str, other_plan: bool, why: Option<&str>) -> String {
    let gate = &draft.status.gates[index];
    let before = match other_plan {
        true => "the decision that was given is on another plan; ",
        false => "",
    };
    format!(
        "{before}gate {}, required by {}: {}, then {}",
        gate.name.as_str(),
        gate.required_by,
        why.unwrap_or("read status.steps"),
        how_to_approve(draft, gate.name, digest)
    )
}

/// What to type to approve a gate.
pub(crate) fn how_to_approve(draft: &Draft<'_>, gate: GateName, digest: &str) -> String {
    let (run, gate) = (&draft.seen.run, gate.as_str());
    format!(
        "kubectl patch hfrun {} -n {} --type=merge -p '{{\"spec\":{{\"decisions\":[{{\"gate\":\"{gate}\",\"answer\":\"Approved\",\"by\":\"YOUR USER NAME\",\"planDigest\":\"{digest}\"}}]}}}}'",
        run.name, run.namespace,
    )
}
