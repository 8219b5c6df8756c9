//! The validation checklist, by its five groups. What was not looked at is said to be so, never ticked.

use crds::run::{CheckGroup, Verdict};

use super::document::{Block, Cell, Section, Table, Text, Tone, section};
use super::facts::{Facts, Stage};
use super::words::count;

/// The groups in their order: how they are called, and what to look at where no check did.
const GROUPS: [(CheckGroup, &str, &str); 5] = [
    (
        CheckGroup::SystemResources,
        "System resources",
        "CPU and memory below 80%, 20% of the disk free, the network",
    ),
    (
        CheckGroup::CoreServices,
        "Core services",
        "whether ChromaDB responds, workloads and containers are healthy, CronJobs are scheduled",
    ),
    (
        CheckGroup::DataIntegrity,
        "Data integrity",
        "whether collections are accessible, counts are as expected, nothing is corrupt, captures work again",
    ),
    (
        CheckGroup::ApplicationFunctions,
        "Application functions",
        "whether each application is operational, its pipelines work, notifications are sent",
    ),
    (
        CheckGroup::Security,
        "Security",
        "access controls, credentials that were to be rotated after a breach, audit logs, security monitoring",
    ),
];

/// The section.
pub fn checklist(facts: &Facts) -> Section {
    let mut blocks = vec![Block::paragraph(summary(facts))];
    for (group, title, by_hand) in GROUPS {
        let checks: Vec<_> = facts.run.status.checks.iter().filter(|check| check.group == group).collect();
        blocks.push(Block::heading(title));
        if checks.is_empty() {
            let text = match facts.stage {
                Stage::Interim => format!("Not looked at yet. To look at: {by_hand}."),
                Stage::Ended | Stage::Plan | Stage::Assessment => {
                    format!("Not looked at by this run. To look at by hand: {by_hand}.")
                }
            };
            blocks.push(Block::Note(Text::from(text).toned(Tone::Quiet)));
            continue;
        }
        let mut table = Table::new("", ["Check", "Expected", "Observed", "Verdict"]);
        for check in checks {
            table.row([
                Text::name(&check.name).into(),
                check.expected.as_str().into(),
                check.observed.as_str().into(),
                verdict(check.verdict),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    section("Validation checklist", blocks)
}

/// How many came out how.
pub fn summary(facts: &Facts) -> String {
    let checks = facts.run.status.checks.len();
    if checks == 0 {
        return "No check was made.".to_owned();
    }
    let mut text = format!("{}: {} passed", count(checks, "check"), facts.checks(Verdict::Passed));
    for (verdict, word) in [
        (Verdict::Failed, "failed"),
        (Verdict::Inconclusive, "could not be made"),
        (Verdict::Skipped, "skipped"),
    ] {
        let many = facts.checks(verdict);
        if many > 0 {
            text.push_str(&format!(", {many} {word}"));
        }
    }
    text.push('.');
    text
}

fn verdict(verdict: Verdict) -> Cell {
    let (word, tone) = match verdict {
        Verdict::Passed => ("passed", Tone::Good),
        Verdict::Failed => ("failed", Tone::Bad),
        Verdict::Inconclusive => ("inconclusive", Tone::Warn),
        Verdict::Skipped => ("skipped", Tone::Quiet),
    };
    Text::from(word).toned(tone)
}
