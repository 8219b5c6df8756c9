//! The review of a month, a quarter or a year: what was promised and what was kept, from the objects of one namespace or several. A pure
//! function, as the report of an incident is, and written down by the same two formats.

mod now;
mod numbers;
mod past;
mod period;
mod read;

use jiff::Timestamp;

use crate::incident::Format;
use crate::incident::document::{Cell, Document, Meter, Section, Text, Tone, field};
use crate::incident::{html, markdown, words};
use numbers::Numbers;
pub use period::{Length, Period};
pub use read::Objects;

/// What all sections are made from.
struct Review<'a> {
    objects: &'a Objects,
    period: &'a Period,
    /// More than one namespace, so that names need theirs.
    several: bool,
    now: Numbers<'a>,
    before: Numbers<'a>,
    at: Timestamp,
}

/// The review of `period` as things stand `at` this time.
pub fn render(objects: &Objects, period: &Period, at: Timestamp, format: Format) -> String {
    let several = objects.namespaces().len() > 1;
    let review = Review {
        objects,
        period,
        several,
        now: Numbers::of(objects, period, several),
        before: Numbers::of(objects, &period.previous(), several),
        at,
    };
    let document = document(&review);
    match format {
        Format::Markdown => markdown::write(&document),
        Format::Html => html::write(&document),
    }
}

fn document(review: &Review<'_>) -> Document {
    let mut sections: Vec<Section> =
        vec![past::changes(review), past::backups(review), past::recoveries(review), past::tests(review)];
    sections.push(now::promises(review));
    if review.period.length != Length::Month {
        sections.push(now::coverage(review));
        sections.push(now::procedures(review));
    }
    if review.period.length == Length::Year {
        sections.push(past::by_month(review));
    }
    let broken = broken(review);
    let outcome: Cell = match broken.len() {
        0 => Text::from("Every promise kept").toned(Tone::Good),
        n => Text::from(format!("{} broken", words::count(n, "promise"))).toned(Tone::Bad),
    };
    let running = !review.period.is_over(review.at);
    let kind = match review.period.length {
        Length::Month => "Monthly review",
        Length::Quarter => "Quarterly review",
        Length::Year => "Annual review",
    };
    let policies = words::count(review.objects.policies.len(), "component");
    Document {
        kind: kind.to_owned(),
        subject: review.period.name(),
        summary: None,
        outcome,
        lead: broken.join("; ").into(),
        notice: running.then(|| {
            format!("The {} is not over: this is what there was until {}.", review.period.length.as_str(), words::time(review.at)).into()
        }),
        meters: meters(review),
        head: vec![
            field("Namespaces", review.objects.namespaces().join(", ")),
            field("Components", policies),
            field("As of", words::time(review.at)),
        ],
        sections,
        source: Text::from("Made by ").code("holdfast review").then(
            " from BackupPolicies, RecoveryRuns, DrDrills and RecoveryRepositories as they were printed. Captures are counted by the policies; incidents and tests of which no object is left are not in it.",
        ),
    }
}

/// Promises that were broken, each in a few words.
fn broken(review: &Review<'_>) -> Vec<String> {
    let mut found = now::beyond(review);
    let (kept, measured) = review.now.kept();
    if kept < measured {
        found.push(format!(
            "{} recovered later, or with a greater loss, than promised",
            words::count(measured - kept, "component")
        ));
    }
    let lost = review.now.incidents.iter().filter(|run| numbers::failed(run)).count();
    if lost > 0 {
        found.push(format!(
            "{} ended without success",
            words::count(lost, "recovery").replace("recoverys", "recoveries")
        ));
    }
    let bad = review.now.tests.iter().filter(|test| test.verdict == crds::run::Verdict::Failed).count();
    if bad > 0 {
        found.push(format!("{} failed", words::count(bad, "test")));
    }
    found
}

fn meters(review: &Review<'_>) -> Vec<Meter> {
    let rate = |label: &str, of: fn(&Numbers<'_>) -> Option<f64>, good: f64| {
        let (now, before) = (of(&review.now), of(&review.before));
        let tone = now.map_or(Tone::Quiet, |now| if now >= good { Tone::Good } else { Tone::Bad });
        let before = before
            .map_or_else(|| "nothing to compare".to_owned(), |before| format!("{} before", percent(before)));
        Meter {
            label: label.to_owned(),
            value: now.map_or_else(|| "none".to_owned(), percent),
            verdict: Text::from(before).toned(tone),
            used: now.map(|now| (now * 100.0).floor() as u64),
        }
    };
    let (mttr, before) = (review.now.mttr(), review.before.mttr());
    let shown = |time: Option<jiff::SignedDuration>| time.map_or_else(|| "none".to_owned(), words::duration);
    vec![
        rate("Backup success rate", |numbers| numbers.backup_success(), 0.99),
        rate("Test success rate", |numbers| numbers.test_success(), 1.0),
        Meter {
            label: "Mean time to recovery".to_owned(),
            value: shown(mttr),
            verdict: Text::from(format!("{} before", shown(before))).toned(Tone::Quiet),
            used: None,
        },
    ]
}

/// A part in percent, never rounded up to all of it.
fn percent(part: f64) -> String {
    let tenths = (part * 1000.0).floor() as i64;
    let text = format!("{}.{}", tenths / 10, tenths % 10);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests;
