//! How a run that ended without success left the world, what to type next, which plan it followed, and what of the report is still
//! to be written.

use crds::run::{GateStatus, LeftAs, RunPhase};
use serde_json::{Map, Value, json};

use super::cause::unwritten;
use super::document::{Block, Field, Section, Text, Tone, field, section};
use super::facts::{Facts, Stage};
use super::words::count;

/// What the section on an open gate is called.
pub const DECISION: &str = "The decision that is asked for";

/// What to type at a gate that waits; nothing where none does.
pub fn decision(facts: &Facts) -> Option<Section> {
    let run = &facts.run;
    let open: Vec<&GateStatus> = run.status.gates.iter().filter(|gate| gate.answer.is_none()).collect();
    if open.is_empty() || run.phase != RunPhase::AwaitingDecision {
        return None;
    }
    let digest = run.status.plan.as_ref().map(|plan| plan.digest.as_str());
    // The list is replaced as a whole: what was decided at other gates stays.
    let decided =
        run.spec.decisions.iter().filter(|decision| !open.iter().any(|gate| gate.name == decision.gate));
    let mut decisions: Vec<Value> =
        decided.filter_map(|decision| serde_json::to_value(decision).ok()).collect();
    for gate in &open {
        let mut decision = json!({"gate": gate.name.as_str(), "answer": "Approved", "by": "YOUR USER NAME"});
        if let Some(digest) = digest {
            decision["planDigest"] = json!(digest);
        }
        decisions.push(decision);
    }
    let patch = quoted(&json!({"spec": {"decisions": decisions}}));
    let blocks = vec![
        Block::Paragraph(Text::from(
            "Nothing was touched yet. Whoever has the verb approve on this run reads the steps that are still to come, and types, with Approved or Rejected and in their own name:",
        )),
        Block::Command(format!(
            "kubectl patch hfrun {}{} --type=merge -p {patch}",
            run.name,
            run.in_namespace()
        )),
    ];
    Some(section(DECISION, blocks))
}

/// JSON as an argument for a shell.
fn quoted(value: &Value) -> String {
    format!("'{}'", value.to_string().replace('\'', "'\\''"))
}

/// How the world was left; nothing of a run that succeeded or goes on.
pub fn left(facts: &Facts) -> Option<Section> {
    let status = &facts.run.status;
    let mut blocks = Vec::new();
    match &status.left_as {
        Some(left) => blocks.push(Block::Fields(words(left))),
        None if matches!(facts.run.phase, RunPhase::Failed | RunPhase::Cancelled) => {
            let text = "The run does not say how it left the world: look at the claims and workloads before anything else is done.";
            blocks.push(Block::Note(Text::from(text).toned(Tone::Bad)));
        }
        None => {}
    }
    if !status.next_actions.is_empty() {
        blocks.push(Block::heading("What to do next, the recommended first"));
        for action in &status.next_actions {
            blocks.push(Block::Paragraph(
                Text::default().strong(&action.name).then(format!(": {}", action.message)),
            ));
            blocks.push(Block::Command(action.command.clone()));
        }
    } else if !blocks.is_empty() {
        blocks.push(Block::paragraph("The run names nothing to be done next."));
    }
    (!blocks.is_empty()).then(|| section("How the world was left", blocks))
}

fn words(left: &LeftAs) -> Vec<Field> {
    let workloads = match left.workloads.as_str() {
        "Running" => "they run",
        "Stopped" => "they are stopped",
        "Mixed" => "some run, some are stopped",
        _ => "in a state of another version's",
    };
    let data = match left.data.as_str() {
        "Untouched" => "the volumes hold what they held before the run",
        "Restored" => "the workloads' volumes are restored ones",
        _ => "in a state of another version's",
    };
    let claims = match left.claims.as_str() {
        "Original" => "the claims hold their old volumes",
        "Swapped" => "the claims hold the restored volumes, the old ones are in quarantine",
        "Between" => {
            "the claims are between two volumes, both kept: look which holds which before anything else is done"
        }
        _ => "in a state of another version's",
    };
    let tone = |quiet: bool| if quiet { Tone::Plain } else { Tone::Warn };
    let of = |word: &str, meaning: &str, tone| Text::name(word).then(format!(": {meaning}")).toned(tone);
    vec![
        field("Workloads", of(&left.workloads, workloads, tone(left.workloads == "Running"))),
        field("Data", of(&left.data, data, Tone::Plain)),
        field("Claims", of(&left.claims, claims, tone(left.claims != "Between"))),
    ]
}

/// The plan that the run followed.
pub fn plan(facts: &Facts) -> Section {
    let blocks = match &facts.run.status.plan {
        Some(plan) => {
            let size = format!("{} for {}", count(plan.steps as usize, "step"), policies(plan.policies));
            let mut fields = vec![field("Digest", Text::name(&plan.digest)), field("Size", size)];
            for decision in &facts.run.spec.decisions {
                let read = match &decision.plan_digest {
                    None => Text::from("no plan was named").toned(Tone::Quiet),
                    Some(digest) if *digest == plan.digest => Text::from("this plan").toned(Tone::Good),
                    Some(digest) => Text::from("another plan, ").code(digest).toned(Tone::Bad),
                };
                fields.push(field(format!("Read for gate {}", decision.gate.as_str()), read));
            }
            vec![Block::Fields(fields)]
        }
        None => vec![Block::paragraph("No plan was made.")],
    };
    section("Plan", blocks)
}

fn policies(n: u32) -> String {
    if n == 1 { "1 policy".to_owned() } else { format!("{n} policies") }
}

/// What is still to be written, and how; nothing when all is.
pub fn completing(facts: &Facts) -> Option<Section> {
    let open = unwritten(&facts.incident);
    if open.is_empty() {
        return None;
    }
    let (name, namespace) = (&facts.run.name, facts.run.in_namespace());
    let mut text = Text::from(format!("{} of ", count(open.len(), "field")))
        .code("spec.incident")
        .then(if open.len() == 1 { " is" } else { " are" })
        .then(" not written yet: ");
    for (number, (field, _)) in open.iter().enumerate() {
        text = if number > 0 { text.then(", ").code(*field) } else { text.code(*field) };
    }
    let when = match facts.stage {
        Stage::Ended => ". They may be written now that the run has ended, and written again",
        Stage::Interim | Stage::Plan | Stage::Assessment => {
            ". They may be written while the run goes on and after its end"
        }
    };
    let example: Map<String, Value> =
        open.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    let patch = quoted(&json!({"spec": {"incident": example}}));
    let blocks = vec![
        Block::Paragraph(
            text.then(when).then("; this report then says them. A list is replaced as a whole."),
        ),
        Block::Command(format!("kubectl edit hfrun {name}{namespace}")),
        Block::paragraph("or, with what is known in place of the dots and without the rest:"),
        Block::Command(format!("kubectl patch hfrun {name}{namespace} --type=merge -p {patch}")),
        Block::Command(format!("kubectl get hfrun {name}{namespace} -o json | holdfast report -")),
    ];
    Some(section("To complete this report", blocks))
}
