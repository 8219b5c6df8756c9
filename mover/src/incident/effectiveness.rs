//! The third section: what was promised, what was measured, and what is lost.

use crds::Span;
use crds::run::{LostRecords, Measured, ObjectiveVerdict, ObjectiveVerdicts, QuarantinedVolume};

use super::cause;
use super::document::{Block, Cell, Field, Section, Table, Text, Tone, field, section};
use super::facts::{Facts, Stage};
use super::words::{between, count, minutes, seconds, time, whole_seconds};

/// The section.
pub fn effectiveness(facts: &Facts) -> Section {
    let title = if facts.restores_nothing() { "RTO" } else { "RTO and RPO" };
    let mut blocks = vec![Block::heading(title)];
    blocks.extend(objectives(facts));
    for (number, measured) in facts.run.status.measured.iter().enumerate() {
        // Components that took the same time in the same parts are told of once.
        let earlier = &facts.run.status.measured[..number];
        if !earlier.iter().any(|other| other.breakdown == measured.breakdown && other.rto == measured.rto) {
            blocks.extend(breakdown(facts, measured));
        }
    }
    blocks.extend(not_measured(facts));
    blocks.push(Block::heading("Data loss"));
    blocks.extend(loss(facts));
    blocks.push(Block::heading("Points used"));
    blocks.push(points(facts));
    blocks.push(Block::heading("Volumes in quarantine"));
    blocks.extend(quarantine(facts));
    blocks.extend(cause::listed(
        "Process improvements",
        &facts.incident.process_improvements,
        "processImprovements",
    ));
    section("Recovery effectiveness", blocks)
}

fn objectives(facts: &Facts) -> Vec<Block> {
    let status = &facts.run.status;
    let Some(objectives) = &status.objectives else {
        let (rto, _) = facts.promised();
        let due = facts.clocks.detected.checked_add(rto.to_duration()).map(time).unwrap_or_default();
        let promise = facts.promise(&format!(", until {due}"));
        let state = match facts.stage {
            Stage::Interim => format!("Not measured yet. {promise}."),
            Stage::Ended | Stage::Plan if facts.restores_nothing() && facts.clocks.recovered.is_some() => {
                let text = format!("Not measured: no component had to go offline. {promise}.");
                return vec![Block::paragraph(text)];
            }
            Stage::Ended | Stage::Plan | Stage::Assessment => {
                format!("Not measured: no recovery was proved. {promise}.")
            }
        };
        let own = Text::from(state)
            .then(" What is promised for a component stands in its BackupPolicy, ")
            .code("spec.objectives")
            .then(".");
        return vec![Block::Note(own.toned(if facts.stage == Stage::Interim {
            Tone::Warn
        } else {
            Tone::Bad
        }))];
    };
    let mut table = Table::new("", ["For", "Objective", "Promised", "Measured", "Verdict"]);
    let scenario = format!("{}, its slowest component", facts.run.spec.scenario.as_str());
    held(
        &mut table,
        &scenario.as_str().into(),
        &objectives.scenario,
        &worst(&status.measured, |m| Some(&m.rto)),
        &worst(&status.measured, |m| m.rpo.as_ref()),
    );
    for policy in &objectives.policies {
        let measured = status.measured.iter().find(|measured| measured.policy == policy.policy);
        let of = |part: fn(&Measured) -> Option<&String>| {
            measured.and_then(part).map_or_else(|| "not measured".to_owned(), String::clone)
        };
        held(
            &mut table,
            &Text::from("component ").code(&policy.policy).into(),
            &policy.verdicts,
            &of(|m| Some(&m.rto)),
            &of(|m| m.rpo.as_ref()),
        );
    }
    vec![
        Block::Table(table),
        Block::paragraph(
            "A component's own objectives decide its verdict; the scenario's are shown beside them.",
        ),
    ]
}

fn held(table: &mut Table, of: &Cell, verdicts: &ObjectiveVerdicts, rto: &str, rpo: &str) {
    let recovery = Some(("RTO", verdicts.rto, verdicts.rto_verdict, rto));
    let loss =
        verdicts.rpo.zip(verdicts.rpo_verdict).map(|(promised, verdict)| ("RPO", promised, verdict, rpo));
    for (name, promised, verdict, measured) in recovery.into_iter().chain(loss) {
        table.row([of.clone(), name.into(), promised.to_string().into(), measured.into(), met(verdict)]);
    }
}

/// Whether a promise was kept.
pub fn met(verdict: ObjectiveVerdict) -> Cell {
    match verdict {
        ObjectiveVerdict::Met => Text::from("met").toned(Tone::Good),
        ObjectiveVerdict::Missed => Text::from("missed").toned(Tone::Bad),
    }
}

/// The longest of what was measured.
pub fn worst(measured: &[Measured], of: fn(&Measured) -> Option<&String>) -> String {
    let longest = measured.iter().filter_map(of).max_by_key(|told| seconds(told));
    longest.map_or_else(|| "not measured".to_owned(), String::clone)
}

/// The recovery time in its parts, in whole seconds that add up to it.
fn breakdown(facts: &Facts, measured: &Measured) -> Vec<Block> {
    if measured.breakdown.is_empty() {
        return Vec::new();
    }
    let of =
        if facts.run.status.measured.len() > 1 { format!(" of {}", measured.policy) } else { String::new() };
    let mut table = Table::new(
        format!("The recovery time{of} by its parts, in whole seconds that add up"),
        ["Part", "What it is", "Time"],
    );
    let millis: Vec<i64> = measured.breakdown.iter().map(|part| part.millis).collect();
    let whole = whole_seconds(&millis);
    for (part, seconds) in measured.breakdown.iter().zip(&whole) {
        let shown = if *seconds == 0 && part.millis > 0 {
            "under 1s".to_owned()
        } else {
            Span::from_secs(*seconds).to_string()
        };
        table.row([Text::name(&part.part).into(), meaning(&part.part).into(), shown.into()]);
    }
    let sum = Span::from_secs(whole.iter().sum()).to_string();
    let differs = sum != measured.rto;
    table.row(["Sum".into(), "from the detection to the proved recovery".into(), sum.as_str().into()]);
    table.total = true;
    let mut blocks = vec![Block::Table(table)];
    if differs {
        let text = format!(
            "The parts add up to {sum}, and the run says {}: the status was written by another version.",
            measured.rto
        );
        blocks.push(Block::Note(Text::from(text).toned(Tone::Bad)));
    }
    blocks
}

/// What a part of the recovery time is.
fn meaning(part: &str) -> &'static str {
    match part {
        "beforeRun" => "from the detection to the creation of the run",
        "queued" => "until the controller began",
        "decision" => "what people took to decide",
        "between" => "between two steps",
        "assess" => "looking whether it can be carried out",
        "isolate" => "isolating the namespace and proving it",
        "seal" => "sealing the repositories",
        "mark" => "quarantining what was stored since somebody may have been inside",
        "objects" => "creating what was missing",
        "stop" => "stopping the workloads",
        "emergency" => "capturing what could still be read",
        "quarantine" => "keeping the old volume as it is",
        "integrity" => "finding out what is broken",
        "diagnose" => "looking whether what it needs from outside answers",
        "offline" => "entering offline mode",
        "watch" => "waiting for the network",
        "leave" => "leaving offline mode",
        "select" => "choosing the point",
        "provision" => "making the new volume",
        "restore" => "restoring the point into it",
        "verify" => "holding every file and collection against the point",
        "swap" => "exchanging the volumes",
        "start" => "starting the workloads",
        "validate" => "holding what is served against the point",
        _ => "a step of this name",
    }
}

fn not_measured(facts: &Facts) -> Vec<Block> {
    let mut items: Vec<Text> = Vec::new();
    for measured in &facts.run.status.measured {
        for what in &measured.not_measured {
            let text = Text::from(what.as_str());
            if !items.contains(&text) {
                items.push(text);
            }
        }
    }
    if items.is_empty() {
        return Vec::new();
    }
    vec![Block::heading("What was not measured"), Block::List(items)]
}

/// What is lost: by the state that was restored, or not at all where nothing was replaced.
fn loss(facts: &Facts) -> Vec<Block> {
    let status = &facts.run.status;
    if facts.restores_nothing() {
        let text = "This run restores nothing and replaces no volume, so nothing is lost by it. What could not be fetched meanwhile has to be fetched afterwards.";
        return vec![Block::paragraph(text)];
    }
    if facts.stage == Stage::Ended && facts.clocks.recovered.is_none() && !facts.replaced() {
        let text = match facts.undone() {
            true => {
                "This run lost nothing: it was cancelled, and the volumes of before serve again. What was written to the restored ones meanwhile is kept with them, in quarantine. What the failure itself damaged is not measured."
            }
            false => {
                "This run lost nothing: no volume was replaced. What the failure itself damaged is not measured."
            }
        };
        return vec![Block::paragraph(text)];
    }
    if status.points.is_empty() {
        let text = match facts.stage {
            Stage::Interim => "Not known yet: no point is chosen until the volume is stopped.",
            Stage::Ended | Stage::Plan | Stage::Assessment => "Not known: the run names no point.",
        };
        return vec![Block::Note(Text::from(text).toned(Tone::Warn))];
    }
    let clocks = &facts.clocks;
    let mut fields = Vec::new();
    let not = match clocks.recovered.is_some() || facts.replaced() {
        true => "is not in the restored state",
        false => "will not be in the restored state",
    };
    for point in &status.points {
        let from = point.consistency_time;
        let rpo = status.measured.iter().find(|measured| measured.policy == point.policy);
        let computed = u64::try_from(clocks.detected.duration_since(from).as_secs()).unwrap_or(0);
        let rewind = rpo.and_then(|measured| seconds(measured.rewind.as_ref()?));
        let lost = rewind.or_else(|| rpo.and_then(|measured| seconds(measured.rpo.as_ref()?)));
        let lost = lost.unwrap_or(computed);
        let counts = match rewind {
            Some(_) => {
                "none of which counts as lost while the volume that has it is kept in quarantine (RPO 0s)"
            }
            None => "the RPO",
        };
        let until = match clocks.stopped {
            Some(stopped) => format!(
                "; until the writers stood still, at {} at the latest, {} ({})",
                time(stopped),
                between(from, stopped),
                minutes(u64::try_from(stopped.duration_since(from).as_secs()).unwrap_or(0))
            ),
            None => "; the run has not stopped the writers, so it grows".to_owned(),
        };
        let text = format!(
            "what was written after {} {not}. Until the detection that is {} ({}), {counts}{until}",
            time(from),
            Span::from_secs(lost),
            minutes(lost)
        );
        fields.push(field(format!("Time, {}", point.policy), text));
    }
    fields.extend(records(facts));
    let kept = match status.quarantine.len() {
        0 => "no volume was put into quarantine yet",
        _ => "in the volumes in quarantine, which are as they were found: whatever of it is not damaged",
    };
    fields.push(field("Where it may still be", kept));
    vec![Block::Fields(fields)]
}

/// How many records were lost, as far as somebody has counted them.
fn records(facts: &Facts) -> Vec<Field> {
    let again = "What was written in that time has to be ingested again from its source";
    let measured = facts.run.status.measured.iter();
    let of = |measured: &Measured| {
        let loss = measured.data_loss.as_ref()?;
        let text: Cell = match (&loss.count, &loss.unknown) {
            (Some(count), _) => counted(facts, count).into(),
            (None, Some(why)) => {
                let why = why.strip_prefix("not counted: ").unwrap_or(why);
                Text::from(format!("not counted: {why}. {again}")).toned(Tone::Warn)
            }
            (None, None) => {
                Text::from("they are being counted in the volume in quarantine").toned(Tone::Quiet)
            }
        };
        Some(field(format!("Records, {}", measured.policy), text))
    };
    let told: Vec<Field> = measured.filter_map(of).collect();
    if !told.is_empty() {
        return told;
    }
    let unknown = format!("their number is not known, for they are not counted. {again}");
    vec![field("Records", Text::from(unknown).toned(Tone::Quiet))]
}

fn counted(facts: &Facts, count: &LostRecords) -> Text {
    let LostRecords { added, altered, removed, collections, rounded, digest } = count;
    let lost = added.saturating_add(*altered);
    if lost == 0 && *removed == 0 {
        return "none: the volume in quarantine and the restored point hold the same".into();
    }
    let rounded = match rounded {
        0 => String::new(),
        n => format!(" (up to {n} of them by the last bit of a vector alone)"),
    };
    let text = format!(
        "{lost}, in {collections} collections: {added} were written after the point, {altered} are others there, written over or damaged{rounded}; {removed} that were removed or damaged there are back"
    );
    match digest {
        Some(_) => Text::from(format!("{text}. Their ids: "))
            .code(format!("holdfast report {} --repo URL --lost-records", facts.run.name)),
        None => text.into(),
    }
}

fn points(facts: &Facts) -> Block {
    if facts.run.status.points.is_empty() {
        let text = if facts.restores_nothing() {
            "None: this run restores nothing."
        } else if facts.stage == Stage::Interim {
            "None yet."
        } else {
            "None: the run ended before it chose one."
        };
        return Block::paragraph(text);
    }
    let mut table =
        Table::new("", ["Component", "Point", "Consistent at", "Before the detection", "Repository", "Id"]);
    for point in &facts.run.status.points {
        table.row([
            Text::name(&point.policy).into(),
            Text::name(&point.name).into(),
            time(point.consistency_time).into(),
            between(point.consistency_time, facts.clocks.detected).into(),
            Text::name(&point.repository).into(),
            Text::name(&point.id).into(),
        ]);
    }
    Block::Table(table)
}

/// How long a volume is kept, and what it takes to be rid of it.
fn kept_until(volume: &QuarantinedVolume) -> String {
    let size = if volume.size.is_empty() { String::new() } else { format!("{}, ", volume.size) };
    match (volume.released, volume.keep_until, &volume.kept_because) {
        (Some(at), ..) => format!("{size}deleted at {}", time(at)),
        (None, Some(until), Some(why)) => {
            format!("{size}since {} no longer than needed, and still: {why}", time(until))
        }
        (None, Some(until), None) => {
            format!("{size}until {}, and until a newer point was captured", time(until))
        }
        (None, None, _) => format!(
            "{size}until somebody deletes the claim and then the volume: Holdfast removes neither, and the volume is set to Retain"
        ),
    }
}

fn quarantine(facts: &Facts) -> Vec<Block> {
    let kept = &facts.run.status.quarantine;
    if kept.is_empty() {
        return vec![Block::paragraph("None.")];
    }
    let mut table = Table::new(
        format!("{} kept as found", count(kept.len(), "volume")),
        ["Component", "Claim", "Volume", "Kept"],
    );
    for volume in kept {
        table.row([
            Text::name(&volume.policy).into(),
            Text::name(&volume.claim).into(),
            Text::name(&volume.volume).into(),
            kept_until(volume).into(),
        ]);
    }
    vec![Block::Table(table)]
}
