//! What was seen before anything was touched.

use crds::run::Health;

use super::document::{Block, Cell, Section, Table, Text, Tone, section};
use super::facts::Facts;
use super::words::count;

/// The section; none where nothing was looked at.
pub fn assessment(facts: &Facts) -> Option<Section> {
    let lines = &facts.run.status.assessment;
    if lines.is_empty() {
        return None;
    }
    let of = |state: Health| lines.iter().filter(|line| line.state == state).count();
    let summary = format!(
        "{}: {} bad, {} that could not be told, {} good.",
        count(lines.len(), "line"),
        of(Health::Bad),
        of(Health::Unknown),
        of(Health::Good)
    );
    let mut table = Table::new("", ["What", "State", "Observed"]);
    for line in lines {
        table.row([Text::name(&line.subject).into(), state(line.state), line.observed.as_str().into()]);
    }
    Some(section("Assessment", vec![Block::paragraph(summary), Block::Table(table)]))
}

fn state(state: Health) -> Cell {
    let tone = match state {
        Health::Bad => Tone::Bad,
        Health::Unknown => Tone::Warn,
        Health::Good => Tone::Good,
    };
    Text::from(state.as_str().to_lowercase()).toned(tone)
}
