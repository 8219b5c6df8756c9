//! What only people know: the causes and the lessons. What nobody has written yet is asked for, by the field it goes into.

use crds::run::Incident;

use super::document::{Block, Cell, Field, Section, Text, Tone, field, section};
use super::facts::Facts;

/// The section on why it happened.
pub fn causes(facts: &Facts) -> Section {
    let incident = &facts.incident;
    let mut blocks = vec![Block::heading("Primary cause")];
    blocks.push(match &incident.root_cause {
        Some(cause) => Block::paragraph(cause.as_str()),
        None => Block::Note(open("rootCause")),
    });
    blocks.extend(found(facts));
    blocks.extend(listed("Contributing factors", &incident.contributing_factors, "contributingFactors"));
    blocks.extend(listed("Prevention measures", &incident.prevention, "prevention"));
    section("Root cause analysis", blocks)
}

/// What the run saw of the damage: a finding, not a cause.
fn found(facts: &Facts) -> Option<Block> {
    let steps = facts.begun().filter(|(step, _)| {
        let looks = ["Preserve", "CheckIntegrity", "Diagnose"].iter().any(|word| step.name.starts_with(word));
        looks && !step.message.is_empty()
    });
    let items: Vec<Text> = steps
        .map(|(step, _)| {
            Text::from("The run found, in ").code(&step.name).then(format!(": {}", step.message))
        })
        .collect();
    (!items.is_empty()).then_some(Block::List(items))
}

/// The section on what was learned.
pub fn lessons(facts: &Facts) -> Section {
    let lessons = facts.incident.lessons.clone().unwrap_or_default();
    let blocks = [
        listed("What worked well", &lessons.worked_well, "lessons.workedWell"),
        listed("What needs improvement", &lessons.to_improve, "lessons.toImprove"),
        listed("Updated procedures", &facts.incident.updated_procedures, "updatedProcedures"),
    ];
    section("Lessons learned", blocks.into_iter().flatten().collect())
}

/// A list under its title, or what to write where it is empty.
pub fn listed(title: &str, items: &[String], name: &str) -> [Block; 2] {
    let list = match items {
        [] => Block::Note(open(name)),
        items => Block::List(items.iter().map(|item| item.as_str().into()).collect()),
    };
    [Block::heading(title), list]
}

/// What nobody has written yet.
fn open(name: &str) -> Cell {
    Text::from("Not written yet: ").code(format!("spec.incident.{name}")).toned(Tone::Quiet)
}

fn told(value: Option<impl Into<String>>, name: &str) -> Cell {
    value.map_or_else(|| open(name), |value| Text::from(value.into()).into())
}

/// What is known of the incident as a whole, besides its summary.
pub fn particulars(incident: &Incident) -> Vec<Field> {
    let asked = field("Summary", open("summary"));
    let mut fields = if incident.summary.is_none() { vec![asked] } else { Vec::new() };
    fields.extend([
        field("Impact", told(incident.impact.as_deref(), "impact")),
        field(
            "Users affected",
            told(incident.users_affected.map(|users| users.to_string()), "usersAffected"),
        ),
        field("Data loss risk", told(incident.data_loss_risk.map(|risk| risk.as_str()), "dataLossRisk")),
        field("Coordinator", told(incident.coordinator.as_deref(), "coordinator")),
        field("Commander", told(incident.commander.as_deref(), "commander")),
        field("Technical lead", told(incident.technical_lead.as_deref(), "technicalLead")),
    ]);
    fields
}

/// Fields that may still be written, and an example of what.
pub fn unwritten(incident: &Incident) -> Vec<(&'static str, serde_json::Value)> {
    let lessons = incident.lessons.clone().unwrap_or_default();
    let text = || serde_json::json!("...");
    let list = || serde_json::json!(["..."]);
    let learned = |worked: bool, improve: bool| {
        let mut learned = serde_json::Map::new();
        if worked {
            learned.insert("workedWell".to_owned(), list());
        }
        if improve {
            learned.insert("toImprove".to_owned(), list());
        }
        serde_json::Value::Object(learned)
    };
    let (worked, improve) = (lessons.worked_well.is_empty(), lessons.to_improve.is_empty());
    [
        ("summary", incident.summary.is_none(), text()),
        ("impact", incident.impact.is_none(), text()),
        ("usersAffected", incident.users_affected.is_none(), serde_json::json!(0)),
        ("dataLossRisk", incident.data_loss_risk.is_none(), serde_json::json!("Unknown")),
        ("coordinator", incident.coordinator.is_none(), text()),
        ("commander", incident.commander.is_none(), text()),
        ("technicalLead", incident.technical_lead.is_none(), text()),
        ("rootCause", incident.root_cause.is_none(), text()),
        ("contributingFactors", incident.contributing_factors.is_empty(), list()),
        ("prevention", incident.prevention.is_empty(), list()),
        ("processImprovements", incident.process_improvements.is_empty(), list()),
        ("lessons", worked || improve, learned(worked, improve)),
        ("updatedProcedures", incident.updated_procedures.is_empty(), list()),
    ]
    .into_iter()
    .filter(|(_, open, _)| *open)
    .map(|(name, _, example)| (name, example))
    .collect()
}
