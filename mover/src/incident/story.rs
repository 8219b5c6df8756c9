//! The first section: what happened when, who decided what, and how long nobody was served.

use crds::run::{Answer, GateStatus, OfflineStatus, RunPhase, StepPhase, StepStatus};
use jiff::Timestamp;

use super::document::{Block, Cell, Field, Section, Table, Text, Tone, field, section};
use super::facts::{Facts, Stage};
use super::timeline::Timeline;
use super::words::{between, clock, date, duration, time};

/// The section.
pub fn timeline(facts: &Facts) -> Section {
    let mut blocks = vec![Block::Fields(instants(facts))];
    blocks.extend(Timeline::of(facts).map(Block::Timeline));
    blocks.push(Block::Table(events(facts)));
    blocks.extend(to_come(facts));
    section("Incident timeline", blocks)
}

/// The four times of the section.
fn instants(facts: &Facts) -> Vec<Field> {
    let clocks = &facts.clocks;
    let detection = match clocks.declared {
        true => Text::from(format!("{}, as declared in ", time(clocks.detected))).code("spec.incident.detectedAt"),
        false => Text::from("not declared: ")
            .code("spec.incident.detectedAt")
            .then(format!(" was not given with the run, and can't be afterwards. Both clocks start with the run's creation, {}", time(clocks.detected))),
    };
    let response = match clocks.declared && clocks.created > clocks.detected {
        true => format!(
            "{}, when the run was created: {} after the detection",
            time(clocks.created),
            facts.since_detection(clocks.created)
        ),
        false => format!("{}, when the run was created", time(clocks.created)),
    };
    let mut fields = vec![
        field("Detection time", if clocks.declared { detection.into() } else { detection.toned(Tone::Warn) }),
        field("Response time", response),
        field("Recovery completion time", completion(facts)),
        field("Total downtime", downtime(facts)),
    ];
    fields.extend(facts.run.status.offline.iter().filter_map(offline));
    fields
}

/// For how long a component worked offline.
fn offline(known: &OfflineStatus) -> Option<Field> {
    let entered = known.entered?;
    let text = match known.left {
        Some(left) => {
            format!("from {} to {}, {}", time(entered), time(left), between(entered, left))
        }
        None => format!("since {}", time(entered)),
    };
    Some(field(format!("Offline mode, {}", known.policy), text))
}

fn completion(facts: &Facts) -> Cell {
    let ended = facts.clocks.ended.map(|at| format!(": the run ended at {}", time(at))).unwrap_or_default();
    match (facts.run.phase, facts.clocks.recovered) {
        (_, Some(at)) => format!("{}, {} after the detection", time(at), facts.since_detection(at)).into(),
        (RunPhase::Failed, None) => {
            Text::from(format!("not recovered{ended} without success")).toned(Tone::Bad)
        }
        (RunPhase::Cancelled, None) => {
            Text::from(format!("not recovered{ended}, because somebody wanted it so")).toned(Tone::Warn)
        }
        (RunPhase::Succeeded, None) => {
            Text::from(format!("unknown{ended}, and its steps don't say when")).toned(Tone::Warn)
        }
        _ => Text::from("not yet: the run goes on").toned(Tone::Warn),
    }
}

/// What of it is known: the part before the detection never is.
fn downtime(facts: &Facts) -> Cell {
    let clocks = &facts.clocks;
    let (recovered, tone) = match (clocks.recovered, facts.stage) {
        (Some(at), _) => {
            (format!("{} from the detection to the proved recovery", facts.since_detection(at)), Tone::Plain)
        }
        (None, Stage::Interim) => (
            format!(
                "still lasting; {} from the detection to the last that the run tells of ({})",
                facts.since_detection(clocks.latest),
                time(clocks.latest)
            ),
            Tone::Warn,
        ),
        (None, _) => match clocks.ended {
            Some(at) => (
                format!(
                    "not ended by this run; {} from the detection to the run's end",
                    facts.since_detection(at)
                ),
                Tone::Bad,
            ),
            None => ("not known".to_owned(), Tone::Warn),
        },
    };
    let stood = standstill(facts)
        .map(|stood| format!(" Of this the run kept the workloads stopped for {stood}."))
        .unwrap_or_default();
    Text::from(format!("{recovered}.{stood} What passed between the failure and its detection is not measured and comes on top.")).toned(tone)
}

/// From the beginning of Stop to the end of Start.
fn standstill(facts: &Facts) -> Option<String> {
    let step = |name: &str| {
        facts.run.status.steps.iter().find(|step| step.name == name && step.phase == StepPhase::Done)
    };
    let (stopped, started) = (step("Stop")?.start?, step("Start")?.end?);
    Some(between(stopped, started))
}

/// An event: when, and the other cells of its row.
struct Event {
    at: Timestamp,
    cells: [Cell; 5],
}

fn events(facts: &Facts) -> Table {
    let clocks = &facts.clocks;
    let mut events: Vec<Event> = facts
        .run
        .status
        .points
        .iter()
        .map(|point| {
            told(
                point.consistency_time,
                Text::from("Point ").code(&point.name),
                Text::from("the state of ").code(&point.policy).then(" that was chosen to be restored"),
            )
        })
        .collect();
    if clocks.declared {
        events.push(told(clocks.detected, "Failure declared", "both clocks start here"));
    }
    events.push(told(clocks.created, "Run created", Text::name(&facts.run.name)));
    events.extend(facts.run.status.gates.iter().map(|gate| decision(facts, gate)));
    events.extend(facts.begun().map(|(step, start)| carried_out(step, start)));
    // What began at the same instant stays in the order of the plan.
    events.sort_by_key(|event| event.at);
    // The end comes last: it is known to the second only, and some steps took less.
    if let Some(at) = clocks.ended {
        let (outcome, tone) = facts.outcome();
        let mut end = told(at, "Run ended", Text::default());
        end.cells[3] = Text::from(outcome).toned(tone);
        events.push(end);
    }
    let one_day = events.iter().all(|event| date(event.at) == date(clocks.detected));
    let when = |at| if one_day { clock(at) } else { format!("{} {}", date(at), clock(at)) };
    let caption = if one_day {
        format!("What happened on {}, in UTC", date(clocks.detected))
    } else {
        "What happened, in UTC".to_owned()
    };
    let mut table = Table::new(caption, ["Time", "What", "Duration", "Attempts", "Result", "Message"]);
    for event in events {
        let [what, took, attempts, result, message] = event.cells;
        table.row([when(event.at).into(), what, took, attempts, result, message]);
    }
    table
}

fn told(at: Timestamp, what: impl Into<Text>, message: impl Into<Text>) -> Event {
    Event {
        at,
        cells: [what.into().into(), Cell::default(), Cell::default(), Cell::default(), message.into().into()],
    }
}

fn carried_out(step: &StepStatus, start: Timestamp) -> Event {
    let took = step.end.map(|end| duration(end.duration_since(start))).unwrap_or_default();
    Event {
        at: start,
        cells: [
            Text::name(&step.name).into(),
            took.into(),
            step.attempts.to_string().into(),
            phase(step.phase),
            step.message.as_str().into(),
        ],
    }
}

fn phase(phase: StepPhase) -> Cell {
    let (word, tone) = match phase {
        StepPhase::Waiting => ("not begun", Tone::Quiet),
        StepPhase::Running => ("running", Tone::Plain),
        StepPhase::Done => ("done", Tone::Good),
        StepPhase::Skipped => ("skipped", Tone::Quiet),
        StepPhase::Failed => ("failed", Tone::Bad),
        StepPhase::Undone => ("undone", Tone::Warn),
    };
    Text::from(word).toned(tone)
}

/// A gate: who asked, who decided, when, and why as far as they said.
fn decision(facts: &Facts, gate: &GateStatus) -> Event {
    let asked = Text::from("required by ").code(&gate.required_by);
    let (result, message) = match gate.answer {
        None => (Text::from("waits").toned(Tone::Warn), asked.then("; nobody has decided yet")),
        Some(answer) => {
            let by = gate.by.as_deref().unwrap_or("somebody who is not named");
            let (word, tone) = match answer {
                Answer::Approved => ("approved", Tone::Good),
                Answer::Rejected => ("rejected", Tone::Bad),
            };
            let at = gate.time.map(|at| format!(" at {}", clock(at))).unwrap_or_default();
            let mut message = asked.then(format!("; {word} by {by}{at}"));
            // What stands in the status stands; the spec may have been written anew since.
            let written = facts.run.spec.decisions.iter().find(|decision| {
                decision.gate == gate.name
                    && decision.answer == answer
                    && Some(&decision.by) == gate.by.as_ref()
            });
            if let Some(decision) = written {
                message = match &decision.plan_digest {
                    Some(digest) => message.then(", having read plan ").code(digest),
                    None => message.then(", without naming the plan that was read"),
                };
                message = decision
                    .comment
                    .iter()
                    .fold(message, |message, why| message.then(format!(": \u{201c}{why}\u{201d}")));
            }
            (Text::from(word).toned(tone), message)
        }
    };
    let took = gate.time.map(|time| between(gate.since, time)).unwrap_or_default();
    Event {
        at: gate.since,
        cells: [
            Text::from("Gate ").code(gate.name.as_str()).into(),
            took.into(),
            Cell::default(),
            result,
            message.into(),
        ],
    }
}

/// Steps that were not begun: of a run that goes on what they will do, of one that ended that they never did.
fn to_come(facts: &Facts) -> Vec<Block> {
    let mut waiting = facts.waiting().peekable();
    if waiting.peek().is_none() {
        return Vec::new();
    }
    if facts.stage == Stage::Interim {
        return vec![Block::Table(planned(facts, "Still to come"))];
    }
    let mut text = Text::from("Never begun: ");
    for (number, step) in waiting.enumerate() {
        text = if number > 0 { text.then(", ").code(&step.name) } else { text.code(&step.name) };
    }
    vec![Block::Paragraph(text.then("."))]
}

/// What steps that were not begun would do.
pub fn planned(facts: &Facts, caption: &str) -> Table {
    let mut table = Table::new(caption, ["Step", "What it does, and how it is undone"]);
    for step in facts.waiting() {
        table.row([Text::name(&step.name).into(), step.message.as_str().into()]);
    }
    table
}
