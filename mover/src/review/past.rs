//! What happened in the period: captures, recoveries and tests, and what is different from the one before.

use crds::Span;
use crds::run::Verdict;
use jiff::SignedDuration;

use super::numbers::{Numbers, captures, failed, named, part};
use super::{Review, percent};
use crate::incident::bars::{Bars, Part};
use crate::incident::document::{Block, Cell, Section, Table, Text, Tone, section};
use crate::incident::words;

/// Captures that fail no more often than this are nothing to look into.
const GOOD: f64 = 0.99;

/// The numbers beside those of the period before.
pub(super) fn changes(review: &Review<'_>) -> Section {
    let mut table = Table::new("", ["What", "This period", "The one before", "Change"]);
    let (now, before) = (&review.now, &review.before);
    let mut rate = |what: &str, of: fn(&Numbers<'_>) -> Option<f64>| {
        let shown = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), percent);
        let change = of(now).zip(of(before)).map(|(now, before)| (now - before) * 100.0);
        let cell = change.map_or_else(Cell::default, |points| {
            signed(points, &format!("{:.1} points", points.abs()), false)
        });
        table.row([what.into(), shown(of(now)).into(), shown(of(before)).into(), cell]);
    };
    rate("Backup success rate", |numbers| numbers.backup_success());
    rate("Test success rate", |numbers| numbers.test_success());
    rate("Recoveries within their objectives", |numbers| {
        let (kept, all) = numbers.kept();
        part(kept as u64, all as u64)
    });
    let mut count = |what: &str, of: fn(&Numbers<'_>) -> usize| {
        let (now, before) = (of(now), of(before));
        let change = now as f64 - before as f64;
        let cell = signed(change, &format!("{:.0}", change.abs()), true);
        table.row([what.into(), now.to_string().into(), before.to_string().into(), cell]);
    };
    count("Incidents", |numbers| numbers.incidents.len());
    count("Data loss incidents", |numbers| numbers.losses());
    let shown = |time: Option<SignedDuration>| time.map_or_else(|| "none".to_owned(), words::duration);
    let change = now.mttr().zip(before.mttr()).map(|(now, before)| now - before);
    let cell = change.map_or_else(Cell::default, |change| {
        signed(change.as_secs_f64(), &words::duration(change.abs()), true)
    });
    table.row(["Mean time to recovery".into(), shown(now.mttr()).into(), shown(before.mttr()).into(), cell]);
    section("What changed", vec![Block::Table(table)])
}

/// A change in words; whether more of it is worse decides how it is meant.
fn signed(change: f64, size: &str, worse: bool) -> Cell {
    let (word, tone) = match change {
        change if change > 0.0 => ("more", if worse { Tone::Bad } else { Tone::Good }),
        change if change < 0.0 => ("less", if worse { Tone::Good } else { Tone::Bad }),
        _ => return Text::from("the same").toned(Tone::Quiet),
    };
    Text::from(format!("{size} {word}")).toned(tone)
}

/// Captures by component.
pub(super) fn backups(review: &Review<'_>) -> Section {
    let (months, earlier) = (review.period.months(), review.period.previous().months());
    let mut table = Table::new("", ["Component", "Succeeded", "Failed", "Rate", "The one before"]);
    let mut rows = Vec::new();
    for policy in &review.objects.policies {
        let name = named(
            policy.metadata.namespace.clone(),
            &policy.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        let (succeeded, failed) = captures(policy, &months);
        let (before, lost) = captures(policy, &earlier);
        let rate = part(succeeded, succeeded + failed);
        let tone = rate.map_or(Tone::Quiet, |rate| if rate >= GOOD { Tone::Good } else { Tone::Bad });
        let said = rate.map_or_else(|| "none".to_owned(), percent);
        let was = part(before, before + lost).map_or_else(|| "none".to_owned(), percent);
        rows.push(Part { label: name.clone(), part: rate.unwrap_or(0.0), tone, said: said.clone() });
        let cells = [succeeded.to_string(), failed.to_string()].map(Cell::from);
        let [succeeded, failed] = cells;
        table.row([Text::name(name).into(), succeeded, failed, Text::from(said).toned(tone), was.into()]);
    }
    let caption = "Captures that made a good point, of all that ended".to_owned();
    section(
        "Backups",
        vec![Block::Bars(Bars { caption, whole: "all of them".to_owned(), rows }), Block::Table(table)],
    )
}

/// Recoveries by component, measured beside promised.
pub(super) fn recoveries(review: &Review<'_>) -> Section {
    if review.now.incidents.is_empty() {
        return section(
            "Recoveries",
            vec![Block::paragraph("There was no incident, as far as runs tell that still exist.")],
        );
    }
    let mut table = Table::new(
        "",
        ["Date", "Run", "Scenario", "Component", "RTO", "Promised", "RPO", "Promised", "Outcome"],
    );
    let mut rows = Vec::new();
    let span = |span: Option<Span>| span.map(|span| span.to_string()).unwrap_or_default();
    for run in &review.now.incidents {
        let date = run.declared_at().map(words::date).unwrap_or_default();
        let name = named(
            run.metadata.namespace.clone(),
            &run.metadata.name.clone().unwrap_or_default(),
            review.several,
        );
        let scenario = run.spec.scenario.as_str();
        let outcome = |missed: bool| match (failed(run), missed, run.passed()) {
            (true, ..) => Text::from("Failed").toned(Tone::Bad),
            (_, true, _) => Text::from("Missed").toned(Tone::Bad),
            (.., true) => Text::from("Kept").toned(Tone::Good),
            _ => Text::from("Inconclusive").toned(Tone::Warn),
        };
        let measured = run.measured();
        if measured.is_empty() {
            let empty = || Cell::default();
            table.row([
                date.into(),
                Text::name(name).into(),
                scenario.into(),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
                outcome(false),
            ]);
            continue;
        }
        for kept in measured {
            let took = words::duration(kept.rto);
            if let Some(promised) = kept.rto_objective {
                let part = kept.rto.as_secs_f64() / promised.to_duration().as_secs_f64().max(1.0);
                let tone = if part > 1.0 { Tone::Bad } else { Tone::Good };
                rows.push(Part {
                    label: format!("{} {}", kept.policy, date),
                    part,
                    tone,
                    said: took.clone(),
                });
            }
            let lost = kept.rpo.map(words::duration).unwrap_or_default();
            table.row([
                date.clone().into(),
                Text::name(name.clone()).into(),
                scenario.into(),
                Text::name(kept.policy).into(),
                took.into(),
                span(kept.rto_objective).into(),
                lost.into(),
                span(kept.rpo_objective).into(),
                outcome(kept.missed),
            ]);
        }
    }
    let mut blocks = Vec::new();
    if !rows.is_empty() {
        let caption = "Recovery time of what was promised".to_owned();
        blocks.push(Block::Bars(Bars { caption, whole: "RTO".to_owned(), rows }));
    }
    blocks.push(Block::Table(table));
    section("Recoveries", blocks)
}

/// Executions of drills.
pub(super) fn tests(review: &Review<'_>) -> Section {
    if review.now.tests.is_empty() {
        let note = Text::from("No drill was carried out. That a recovery works is a hope until one passes.")
            .toned(Tone::Warn);
        return section("Recovery tests", vec![Block::Note(note)]);
    }
    let mut table = Table::new("", ["Date", "Drill", "Result", "RTO", "RPO", "Reason"]);
    for test in &review.now.tests {
        let (word, tone) = match test.verdict {
            Verdict::Passed => ("Passed", Tone::Good),
            Verdict::Failed => ("Failed", Tone::Bad),
            Verdict::Inconclusive => ("Inconclusive", Tone::Warn),
            Verdict::Skipped => ("Skipped", Tone::Warn),
        };
        table.row([
            words::date(test.started).into(),
            Text::name(test.drill.clone()).into(),
            Text::from(word).toned(tone),
            test.rto.clone().unwrap_or_default().into(),
            test.rpo.clone().unwrap_or_default().into(),
            test.reason.clone().into(),
        ]);
    }
    section("Recovery tests", vec![Block::Table(table)])
}

/// The captures of each month.
pub(super) fn by_month(review: &Review<'_>) -> Section {
    let mut table = Table::new("", ["Month", "Succeeded", "Failed", "Rate"]);
    let mut rows = Vec::new();
    for month in review.period.months() {
        let only = [month.clone()];
        let of = review.objects.policies.iter().map(|policy| captures(policy, &only));
        let (succeeded, failed) = of.fold((0, 0), |(s, f), (more, less)| (s + more, f + less));
        let rate = part(succeeded, succeeded + failed);
        let tone = rate.map_or(Tone::Quiet, |rate| if rate >= GOOD { Tone::Good } else { Tone::Bad });
        let said = rate.map_or_else(|| "none".to_owned(), percent);
        rows.push(Part { label: month.clone(), part: rate.unwrap_or(0.0), tone, said: said.clone() });
        table.row([
            month.into(),
            succeeded.to_string().into(),
            failed.to_string().into(),
            Text::from(said).toned(tone),
        ]);
    }
    let caption = "Captures that made a good point, of all that ended".to_owned();
    section(
        "Month by month",
        vec![Block::Bars(Bars { caption, whole: "all of them".to_owned(), rows }), Block::Table(table)],
    )
}
