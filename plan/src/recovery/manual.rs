//! Checks that only a person can make. They are Inconclusive until somebody attests them, which ends no run and may come after its end. What was
//! attested stands.

use crds::condition::{Status, get};
use crds::run::{Answer, CheckGroup, CheckStatus, Verdict};

use super::seen::Component;
use super::{Draft, texts};
use crate::effect::Event;

/// What nobody has attested yet.
const OPEN: &str = "nobody has attested it";

/// The lines of the manual checks of `component`, as far as they are attested.
pub(crate) fn lines(draft: &Draft<'_>, component: &Component) -> Vec<CheckStatus> {
    let manual = component.checks.iter().filter_map(|check| Some((check, check.manual.as_ref()?)));
    manual
        .map(|(check, manual)| {
            line(draft, format!("{}/{}", component.policy, check.name), check.group, &manual.expected)
        })
        .collect()
}

/// The line of a manual check, as far as it is attested.
pub(crate) fn line(draft: &Draft<'_>, name: String, group: CheckGroup, expected: &str) -> CheckStatus {
    let line = CheckStatus {
        name,
        group,
        verdict: Verdict::Inconclusive,
        expected: texts::cut(expected, 256),
        observed: OPEN.to_owned(),
        manual: true,
    };
    let known = draft.status.checks.iter().find(|known| known.name == line.name);
    attested(draft, known.cloned().unwrap_or(line))
}

/// `line` as it is by now.
fn attested(draft: &Draft<'_>, line: CheckStatus) -> CheckStatus {
    let given = &draft.seen.run.spec.attestations;
    let Some(given) = given.iter().find(|given| given.check == line.name).filter(|_| is_open(&line)) else {
        return line;
    };
    let (verdict, word) = match given.answer {
        Answer::Approved => (Verdict::Passed, "attested"),
        Answer::Rejected => (Verdict::Failed, "rejected"),
    };
    let comment = given.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
    let observed = texts::cut(&format!("{word} by {}{comment}", given.by), 256);
    CheckStatus { verdict, observed, ..line }
}

/// The line in a sentence.
fn said(line: &CheckStatus) -> String {
    format!("{}: expected {}, {}", line.name, line.expected, line.observed)
}

fn is_open(line: &CheckStatus) -> bool {
    line.manual && line.verdict == Verdict::Inconclusive
}

/// After the end of a run: takes what was attested since into its checklist and its verdict.
pub(crate) fn late(draft: &mut Draft<'_>) {
    let lines: Vec<CheckStatus> =
        draft.status.checks.iter().map(|line| attested(draft, line.clone())).collect();
    let changed: Vec<CheckStatus> =
        lines.iter().filter(|line| !draft.status.checks.contains(line)).cloned().collect();
    draft.status.checks = lines;
    for line in &changed {
        let message = said(line);
        draft.events.push(match line.verdict {
            Verdict::Failed => Event::warning("Rejected", message),
            Verdict::Passed | Verdict::Inconclusive | Verdict::Skipped => Event::normal("Attested", message),
        });
    }
    if changed.is_empty() || draft.status.verdict == Some(Verdict::Failed) {
        return;
    }
    tell(draft);
    let (rejected, open) = (of(draft, Verdict::Failed), of(draft, Verdict::Inconclusive));
    if let Some(line) = rejected.first() {
        let message = said(line);
        draft.status.verdict = Some(Verdict::Failed);
        draft.condition("Validated", false, "ValidationFailed", message);
    } else if open.is_empty()
        && get(&draft.status.conditions, "Validated").is_some_and(|c| c.status == "True")
    {
        draft.status.verdict = Some(Verdict::Passed);
    }
}

fn of(draft: &Draft<'_>, verdict: Verdict) -> Vec<CheckStatus> {
    draft.status.checks.iter().filter(|line| line.manual && line.verdict == verdict).cloned().collect()
}

/// Says in the condition Attested what is waited for, and what to type.
pub(crate) fn tell(draft: &mut Draft<'_>) {
    let open = of(draft, Verdict::Inconclusive);
    let rejected = of(draft, Verdict::Failed);
    if let Some(line) = rejected.first() {
        let message = said(line);
        return draft.condition("Attested", false, "Rejected", message);
    }
    match open.first() {
        Some(first) => {
            let run = &draft.seen.run;
            let others = match open.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more of status.checks)"),
            };
            let message = format!(
                "{}{others}: {}. Look, then kubectl patch hfrun {} -n {} --type=json -p '[{{\"op\":\"add\",\"path\":\"/spec/attestations{}\",\"value\":{}}}]'",
                first.name,
                first.expected,
                run.name,
                run.namespace,
                if run.spec.attestations.is_empty() { "" } else { "/-" },
                value(&first.name, run.spec.attestations.is_empty()),
            );
            draft.condition("Attested", false, "AwaitingAttestation", message);
        }
        None if draft.status.checks.iter().any(|line| line.manual) => {
            draft.condition("Attested", Status::True, "Attested", "every manual check is attested");
        }
        None => {}
    }
}

fn value(check: &str, first: bool) -> String {
    let one = format!("{{\"check\":\"{check}\",\"answer\":\"Approved\",\"by\":\"YOUR USER NAME\"}}");
    if first { format!("[{one}]") } else { one }
}
