//! The lines about who may get in again after a breach. What is left of an intruder fails no recovery that is through: it is told while the namespace
//! is isolated, and decides the verdict when the run ends.

use crds::condition::Status;
use crds::job::CheckResult;
use crds::run::{AuditFinding, AuditKind, AuditSeverity, CheckGroup, CheckStatus, Verdict};

use super::{Draft, audit, checklist, manual, room, validate};

/// Name of the line about what somebody may have left.
const ACCESS: &str = "access-controls";
/// Name of the line about what only people can read.
const LOGS: &str = "audit-logs-reviewed";
/// What is observed of both where nobody broke in.
const ELSEWHERE: &str = "only after a breach";

/// Puts both lines into the checklist as they are now.
pub(crate) fn lines(draft: &mut Draft<'_>) {
    let access = checklist::whole(access(draft));
    let logs = logs(draft);
    let message = format!(
        "{}: look at it (kubectl describe), and remove it before the isolation is lifted; all that was found: status.audit",
        access.observed
    );
    room::tell(draft, access, "AccessLeftOpen", message);
    draft.status.checks.retain(|known| known.name != logs.name);
    draft.status.checks.push(logs);
}

/// Looks for the last time, when the run ends.
pub(crate) fn conclude(draft: &mut Draft<'_>) {
    if !draft.seen.run.spec.is_breach() {
        return;
    }
    lines(draft);
    manual::tell(draft);
    let verdict = |name: &str| draft.status.checks.iter().find(|line| line.name == name).cloned();
    let (access, logs) = (verdict(ACCESS), verdict(LOGS));
    if logs.is_some_and(|line| line.verdict == Verdict::Inconclusive) {
        validate::worse(draft, Verdict::Inconclusive);
    }
    let Some(access) = access else { return };
    let message = format!("{ACCESS}: expected {}, observed {}", access.expected, access.observed);
    match access.verdict {
        Verdict::Failed => {
            validate::worse(draft, Verdict::Failed);
            draft.condition("Validated", false, "ValidationFailed", message);
        }
        Verdict::Inconclusive => {
            validate::worse(draft, Verdict::Inconclusive);
            draft.condition("Validated", Status::Unknown, "ValidationFailed", message);
        }
        Verdict::Passed | Verdict::Skipped => {}
    }
}

fn access(draft: &Draft<'_>) -> CheckResult {
    let line = |verdict, observed: String| CheckResult {
        name: ACCESS.to_owned(),
        verdict,
        expected: "no right, workload or pod is left that came since".to_owned(),
        observed,
    };
    let seen = draft.seen;
    if !seen.run.spec.is_breach() {
        return line(Verdict::Skipped, ELSEWHERE.to_owned());
    }
    let Some(around) = &seen.audit else { return line(Verdict::Inconclusive, "nobody looked".to_owned()) };
    let found = crate::audit::look(around, &audit::known(seen));
    let left: Vec<&AuditFinding> =
        found.iter().filter(|found| found.severity == AuditSeverity::High).collect();
    let unseen = found.iter().find(|found| found.kind == AuditKind::NotSeen);
    match (left.as_slice(), unseen) {
        ([first, more @ ..], _) => {
            let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            line(Verdict::Failed, format!("{}: {}{more}", first.object, first.message))
        }
        ([], Some(unseen)) => {
            line(Verdict::Inconclusive, format!("{} could not be listed: {}", unseen.object, unseen.message))
        }
        ([], None) => line(Verdict::Passed, "none".to_owned()),
    }
}

fn logs(draft: &Draft<'_>) -> CheckStatus {
    let expected = "the API server's audit log and the applications' logs were read";
    if !draft.seen.run.spec.is_breach() {
        return checklist::whole(CheckResult {
            name: LOGS.to_owned(),
            verdict: Verdict::Skipped,
            expected: expected.to_owned(),
            observed: ELSEWHERE.to_owned(),
        });
    }
    let since = audit::since(draft.seen);
    manual::line(draft, LOGS.to_owned(), CheckGroup::Security, &format!("{expected} from {since:.0} on"))
}
