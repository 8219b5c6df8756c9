//! The head of a report, and which sections follow it.

use crds::Span;
use crds::run::{ObjectiveVerdict, ObjectiveVerdicts, RunPhase, Severity, Verdict};

use super::document::{Block, Cell, Document, Field, Meter, Section, Text, Tone, field, section};
use super::effectiveness::{effectiveness, worst};
use super::facts::{Facts, Stage};
use super::words::{count, seconds, time};
use super::{aftermath, assessment, audit, cause, checklist, story};

/// The whole report.
pub fn document(facts: &Facts) -> Document {
    let (outcome, tone) = facts.outcome();
    let kind = match facts.stage {
        Stage::Plan => "Recovery plan",
        Stage::Assessment => "Emergency assessment",
        Stage::Interim => "Interim incident report",
        Stage::Ended => "Incident report",
    };
    Document {
        kind: kind.to_owned(),
        subject: facts.run.name.clone(),
        summary: facts.incident.summary.as_deref().map(Text::from),
        outcome: Text::from(outcome).toned(tone),
        lead: lead(facts),
        notice: notice(facts),
        meters: match facts.stage {
            Stage::Plan | Stage::Assessment => Vec::new(),
            Stage::Interim | Stage::Ended => meters(facts),
        },
        head: head(facts),
        sections: match facts.stage {
            Stage::Plan => plan(facts),
            Stage::Assessment => assessment::assessment(facts).into_iter().collect(),
            Stage::Interim | Stage::Ended => sections(facts),
        },
        source: source(facts),
    }
}

/// How it came out or stands, in a sentence. The one of a run that waits for people is the command to type, and has a section.
fn lead(facts: &Facts) -> Text {
    let open = facts.run.status.gates.iter().find(|gate| gate.answer.is_none());
    match open.filter(|_| facts.run.phase == RunPhase::AwaitingDecision) {
        Some(gate) => Text::from("gate ")
            .code(gate.name.as_str())
            .then(", required by ")
            .code(&gate.required_by)
            .then(format!(", waits since {} for somebody who may approve it. What to type stands in the section \u{201c}{}\u{201d}.", time(gate.since), aftermath::DECISION)),
        None => facts.sentence().map(Text::from).unwrap_or_default(),
    }
}

fn sections(facts: &Facts) -> Vec<Section> {
    let mut sections = vec![
        story::timeline(facts),
        cause::causes(facts),
        effectiveness(facts),
        cause::lessons(facts),
        checklist::checklist(facts),
    ];
    sections.extend(assessment::assessment(facts));
    sections.extend(audit::audit(facts));
    sections.extend(aftermath::decision(facts));
    sections.extend(aftermath::left(facts));
    sections.push(aftermath::plan(facts));
    sections.extend(aftermath::completing(facts));
    sections
}

/// A run that changes nothing has no incident: what it would do is all there is to say.
fn plan(facts: &Facts) -> Vec<Section> {
    let promised = format!("{}.", facts.promise("").replace(", and", " and"));
    let steps = match facts.waiting().next() {
        Some(_) => Block::Table(story::planned(facts, "In this order")),
        None => Block::paragraph("There are no steps: the plan could not be made."),
    };
    let mut blocks = vec![steps, Block::paragraph(promised)];
    if facts.run.phase == RunPhase::Planned {
        let how = Text::from("To carry it out, create a run of another name with the same spec and ")
            .code("mode: Run");
        blocks.push(Block::Paragraph(how.then(".")));
    }
    let mut sections = vec![section("What would be done", blocks), aftermath::plan(facts)];
    sections.extend(aftermath::left(facts));
    sections
}

/// What has to be known about the report itself.
fn notice(facts: &Facts) -> Option<Text> {
    let run = &facts.run;
    let again = format!("kubectl get hfrun {}{} -o json | holdfast report -", run.name, run.in_namespace());
    match (facts.stage, run.phase) {
        (Stage::Interim, _) => Some(
            Text::from(format!("This is an interim report: the run goes on. The last that it tells of happened at {}. For a newer one: ", time(facts.clocks.latest))).code(again),
        ),
        (Stage::Assessment, RunPhase::Succeeded) => Some("This run only looked: it changed nothing.".into()),
        (Stage::Assessment, _) => Some(Text::from("This run only looks, and has not seen everything yet. For a newer report: ").code(again)),
        (Stage::Plan, RunPhase::Planned) => Some("This run is a DryRun: it changed nothing.".into()),
        (Stage::Plan, RunPhase::Failed | RunPhase::Cancelled) => Some("This run is a DryRun: it changed nothing, and it did not come to a plan.".into()),
        (Stage::Plan, _) => Some(Text::from("This run is a DryRun, and its plan is not made yet. For a newer report: ").code(again)),
        (Stage::Ended, _) => too_late(facts),
    }
}

/// Somebody wanted the run to end when it no longer could.
fn too_late(facts: &Facts) -> Option<Text> {
    let cancelled = crds::condition::get(&facts.run.status.conditions, "Cancelled")?;
    (cancelled.reason == "TooLate").then(|| Text::from(cancelled.message.as_str()))
}

fn meters(facts: &Facts) -> Vec<Meter> {
    let measured = &facts.run.status.measured;
    let (rto, rpo) = facts.promised();
    let recovery = worst(measured, |m| Some(&m.rto));
    let mut meters =
        vec![meter(facts, "Recovery time (RTO)", rto, recovery, |v| Some((v.rto, v.rto_verdict)))];
    meters.extend(rpo.map(|rpo| {
        let loss = worst(measured, |m| m.rpo.as_ref());
        meter(facts, "Data loss (RPO)", rpo, loss, |v| v.rpo.zip(v.rpo_verdict))
    }));
    meters.push(validation(facts));
    meters
}

/// What was measured beside what was promised: for one component its own promise, for several the scenario's, and whoever's was missed.
fn meter(
    facts: &Facts,
    label: &str,
    promised: Span,
    value: String,
    told: fn(&ObjectiveVerdicts) -> Option<(Span, ObjectiveVerdict)>,
) -> Meter {
    let of = |verdicts: &ObjectiveVerdicts| told(verdicts).unwrap_or((promised, ObjectiveVerdict::Met));
    let scenario = facts.run.spec.scenario.as_str();
    let (promised, verdict) = match &facts.run.status.objectives {
        None => (promised, Text::from(format!("{promised} promised for {scenario}")).toned(Tone::Quiet)),
        Some(objectives) => {
            // A policy promises how soon its component is restored, and of an outage nothing.
            let policies = if facts.restores_nothing() { &[][..] } else { objectives.policies.as_slice() };
            let missed: Vec<&str> = policies
                .iter()
                .filter(|policy| of(&policy.verdicts).1 == ObjectiveVerdict::Missed)
                .map(|policy| policy.policy.as_str())
                .collect();
            match (policies, missed.as_slice()) {
                ([one], []) => (of(&one.verdicts).0, kept(format!("met, {} promised", of(&one.verdicts).0))),
                ([one], _) => {
                    (of(&one.verdicts).0, broken(format!("missed, {} promised", of(&one.verdicts).0)))
                }
                (_, []) => match of(&objectives.scenario) {
                    (promised, ObjectiveVerdict::Met) => {
                        (promised, kept(format!("met, {promised} promised for {scenario}")))
                    }
                    (promised, ObjectiveVerdict::Missed) => {
                        let text = match policies {
                            [] => format!("missed, {promised} promised for {scenario}"),
                            _ => {
                                format!("met for each component, {promised} missed that {scenario} promises")
                            }
                        };
                        (promised, Text::from(text).toned(Tone::Warn))
                    }
                },
                (_, missed) => {
                    (of(&objectives.scenario).0, broken(format!("missed for {}", missed.join(", "))))
                }
            }
        }
    };
    let used = seconds(&value).map(|seconds| seconds.saturating_mul(100) / promised.as_secs().max(1));
    Meter { label: label.to_owned(), value, verdict, used }
}

fn kept(text: String) -> Cell {
    Text::from(text).toned(Tone::Good)
}

fn broken(text: String) -> Cell {
    Text::from(text).toned(Tone::Bad)
}

fn validation(facts: &Facts) -> Meter {
    let skipped = facts.checks(Verdict::Skipped);
    let checked = facts.run.status.checks.len() - skipped;
    let passed = facts.checks(Verdict::Passed);
    let tone = match (checked, facts.checks(Verdict::Failed)) {
        (0, _) => Tone::Quiet,
        (_, 0) if passed == checked => Tone::Good,
        (_, 0) => Tone::Warn,
        (_, _) => Tone::Bad,
    };
    let (value, text) = match (checked, skipped) {
        (0, _) => ("none".to_owned(), "no check was made".to_owned()),
        (_, 0) => (format!("{passed}/{checked}"), "checks passed".to_owned()),
        (_, n) => (format!("{passed}/{checked}"), format!("checks passed, {n} skipped")),
    };
    Meter { label: "Validation".to_owned(), value, verdict: Text::from(text).toned(tone), used: None }
}

fn head(facts: &Facts) -> Vec<Field> {
    let run = &facts.run;
    let scenario = run.spec.scenario;
    let namespace = run
        .namespace
        .as_ref()
        .map_or_else(|| Text::from("not told").toned(Tone::Quiet), |name| Text::name(name).into());
    let mut fields = vec![
        field("Scenario", scenario.as_str()),
        field("Namespace", namespace),
        field("Components", components(facts)),
    ];
    if matches!(facts.stage, Stage::Plan | Stage::Assessment) {
        return fields;
    }
    let severity = match facts.incident.severity {
        Some(severity) => severity.as_str().to_owned(),
        None => format!("{}, as of every {}", Severity::of(scenario).as_str(), scenario.as_str()),
    };
    fields.push(field("Severity", severity));
    fields.extend(cause::particulars(&facts.incident));
    fields
}

/// What the run concerns, as its steps and points say.
fn components(facts: &Facts) -> Cell {
    let status = &facts.run.status;
    let mut names: Vec<&str> = Vec::new();
    let stepped = status.steps.iter().filter_map(|step| step.policy.as_deref());
    let asked = facts.run.spec.policies.iter().flatten().map(|policy| policy.name.as_str());
    for name in stepped.chain(status.points.iter().map(|point| point.policy.as_str())).chain(asked) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Text::from("every BackupPolicy of the namespace").toned(Tone::Quiet);
    }
    let text = names.iter().enumerate().fold(Text::default(), |text, (number, name)| {
        if number > 0 { text.then(", ").code(*name) } else { text.code(*name) }
    });
    text.into()
}

fn source(facts: &Facts) -> Text {
    let run = &facts.run;
    let mut text = Text::from("From RecoveryRun ").code(match &run.namespace {
        Some(namespace) => format!("{namespace}/{}", run.name),
        None => run.name.clone(),
    });
    for (what, value) in [("uid", &run.uid), ("resourceVersion", &run.resource_version)] {
        text = value.iter().fold(text, |text, value| text.then(format!(", {what} ")).code(value));
    }
    text.then(format!(
        ", with {} and {} in its status, and from nothing else. Times are UTC; durations are in whole seconds, cut off.",
        count(run.status.steps.len(), "step"),
        count(run.status.checks.len(), "check")
    ))
}
