//! What somebody may have left who broke in, as far as the status of the run tells it.

use crds::run::{AuditCounts, AuditSeverity};

use super::document::{Block, Cell, Section, Table, Text, Tone, section};
use super::facts::Facts;

/// The section; none where nobody looked.
pub fn audit(facts: &Facts) -> Option<Section> {
    let audit = facts.run.status.audit.as_ref()?;
    let AuditCounts { high, medium, unknown, low } = audit.counts;
    let summary = format!(
        "Looked at {:.0}: {high} findings of high severity, {medium} of medium, {low} of low; {unknown} things could not be looked at.",
        audit.time
    );
    let mut blocks = vec![Block::paragraph(summary)];
    if !audit.findings.is_empty() {
        let mut table = Table::new("", ["Severity", "What", "Found"]);
        for finding in &audit.findings {
            table.row([
                severity(finding.severity),
                Text::name(&finding.object).into(),
                finding.message.as_str().into(),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    let listed = u32::try_from(audit.findings.len()).unwrap_or(u32::MAX);
    let more = audit.counts.all().saturating_sub(listed);
    if more > 0 {
        let text = format!("{more} more are not listed here.");
        blocks.push(Block::Note(Text::from(text).toned(Tone::Quiet)));
    }
    if !audit.data.is_empty() {
        let mut table = Table::new(
            "Data since the last known good",
            ["Policy", "Added", "Removed", "Altered", "Collections"],
        );
        for data in &audit.data {
            table.row([
                Text::name(&data.policy).into(),
                data.added.to_string().as_str().into(),
                data.removed.to_string().as_str().into(),
                data.altered.to_string().as_str().into(),
                data.collections.to_string().as_str().into(),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    for document in &audit.documents {
        let text = format!(
            "All of it, with the ids of records, lies in repository {} as audit {}, {}: holdfast audit {}.",
            document.repository, document.name, document.digest, document.name
        );
        blocks.push(Block::Note(Text::from(text).toned(Tone::Quiet)));
    }
    Some(section("Security audit", blocks))
}

fn severity(severity: AuditSeverity) -> Cell {
    let tone = match severity {
        AuditSeverity::High => Tone::Bad,
        AuditSeverity::Medium | AuditSeverity::Unknown => Tone::Warn,
        AuditSeverity::Low => Tone::Quiet,
    };
    Text::from(severity.as_str().to_lowercase()).toned(tone)
}
