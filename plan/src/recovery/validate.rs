//! The step Validate: the running ChromaDB held against the point through its API, and what the controller itself sees of
//! the workloads. What could not be seen never counts as passed.

use crds::condition::Status;
use crds::job::{CREDENTIAL_WANTED, CheckResult, Report, Request};
use crds::run::{CheckGroup, CheckStatus, StepPhase, Verdict};

use super::mover::{self, Outcome, Wanted, chosen};
use super::steps::Kind;
use super::{Draft, Progress, stop, texts};
use crate::effect::Event;

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize) -> Progress {
    if draft.status.steps.iter().any(|step| step.name == "Start" && step.phase == StepPhase::Skipped) {
        draft.status.verdict = Some(Verdict::Inconclusive);
        let message = "no replica ran before the run, so no server answers; the files were verified offline. Scale the workload up and look";
        draft.condition("Validated", Status::Unknown, "ValidationFailed", message);
        return Progress::Skipped(message.to_owned());
    }
    let policies: Vec<String> =
        draft.seen.components.iter().map(|component| component.policy.clone()).collect();
    for policy in &policies {
        if draft.status.checks.iter().any(|check| check.name == named(&policies, policy, "workloads-ready")) {
            continue;
        }
        match look(draft, index, &policies, policy) {
            Ok(checks) => {
                draft.events.extend(open_to_everybody(policy, &checks));
                draft.status.checks.extend(checks);
            }
            Err(progress) => return progress,
        }
    }
    verdict(draft)
}

/// What to do about a server that answers everybody.
const OPEN: &str = "it has no authentication of its own since 1.0. Keep others away by a NetworkPolicy or a proxy, or leave spec.component.chromaDB.auth of the policy out";

/// The server that was asked with a credential answers without one: known before anybody relies on it, and no reason to call the recovery
/// failed.
fn open_to_everybody(policy: &str, checks: &[CheckStatus]) -> Option<Event> {
    let wanted = checks.iter().find(|check| {
        check.name.rsplit('/').next() == Some(CREDENTIAL_WANTED) && check.verdict == Verdict::Skipped
    })?;
    let message = format!("the ChromaDB of policy {policy} wants no credential, {}: {OPEN}", wanted.observed);
    Some(Event::warning("CredentialNotWanted", message))
}

fn verdict(draft: &mut Draft<'_>) -> Progress {
    let of = |verdict: Verdict| {
        draft.status.checks.iter().filter(|check| check.verdict == verdict).collect::<Vec<_>>()
    };
    let (passed, failed, unseen, skipped) =
        (of(Verdict::Passed), of(Verdict::Failed), of(Verdict::Inconclusive), of(Verdict::Skipped));
    let mut text = format!("{} passed", passed.len());
    for (list, word) in [(&failed, "failed"), (&unseen, "inconclusive"), (&skipped, "skipped")] {
        if !list.is_empty() {
            text.push_str(&format!(", {} {word}", list.len()));
        }
    }
    for check in &skipped {
        text.push_str(&format!("; {}: {}", check.name, check.observed));
    }
    if failed.is_empty() && unseen.is_empty() && !passed.is_empty() {
        draft.condition("ApplicationReady", Status::True, "Serving", "every collection answers");
        draft.condition("Validated", Status::True, "AllRequiredPassed", text.clone());
        return Progress::Done(text);
    }
    let named: Vec<String> = failed
        .iter()
        .chain(&unseen)
        .take(4)
        .map(|check| format!("{}: expected {}, observed {}", check.name, check.expected, check.observed))
        .collect();
    let message = format!("{text}: {}", named.join("; "));
    let verdict = if failed.is_empty() { Verdict::Inconclusive } else { Verdict::Failed };
    draft.status.verdict = Some(verdict);
    draft.condition("Validated", false, "ValidationFailed", message.clone());
    Progress::failed("ValidationFailed", message)
}

fn look(
    draft: &Draft<'_>,
    index: usize,
    policies: &[String],
    policy: &str,
) -> Result<Vec<CheckStatus>, Progress> {
    let (_, access, source) = mover::parts(draft, policy)?;
    let url = source.url.as_ref().map_err(|why| Progress::failed("ValidationFailed", why.clone()))?;
    let point = chosen(draft, policy).unwrap_or_default();
    let wanted = Wanted {
        kind: Kind::Validate,
        policy: policy.to_owned(),
        request: Request::Validate {
            repository: access.access.clone(),
            point,
            url: url.clone(),
            auth: source.auth.clone(),
        },
        keys: Some(access.keys.clone()),
        source: None,
        target: None,
        place: source.place.clone(),
        identity: crate::effect::Identity::default(),
    };
    let mut checks = match mover::drive(draft, index, wanted) {
        Outcome::Pending(progress) => return Err(progress),
        Outcome::Said(Report::Validated { checks }) => {
            checks.into_iter().map(|check| line(policies, policy, check)).collect()
        }
        Outcome::Said(other) => return Err(mover::unexpected(&other)),
        Outcome::GaveUp(failure) => vec![line(
            policies,
            policy,
            CheckResult {
                name: "chromadb-responds".to_owned(),
                verdict: if failure.reason == crds::job::FailureReason::NotServing {
                    Verdict::Failed
                } else {
                    Verdict::Inconclusive
                },
                expected: "heartbeat, counts, queries".to_owned(),
                observed: format!("{:?}: {}", failure.reason, failure.message),
            },
        )],
    };
    checks.extend(own(draft, policies, policy));
    Ok(checks)
}

/// What the controller sees by itself.
fn own(draft: &Draft<'_>, policies: &[String], policy: &str) -> Vec<CheckStatus> {
    let Some(component) = draft.seen.component(policy) else { return Vec::new() };
    let wanted: i32 = draft
        .status
        .stopped
        .iter()
        .filter(|stopped| component.workloads.iter().any(|seen| seen.workload == stopped.workload))
        .map(|stopped| stopped.replicas)
        .sum();
    let ready: i32 = component.workloads.iter().map(|workload| workload.ready).sum();
    let pods: Vec<_> = stop::claim_of(draft.seen, component)
        .into_iter()
        .flat_map(|claim| draft.seen.pods_of(claim))
        .filter(|pod| !pod.ended)
        .collect();
    let restarts: i32 = pods.iter().map(|pod| pod.restarts).sum();
    let healthy = restarts == 0 && !pods.is_empty() && pods.iter().all(|pod| pod.ready);
    let check = |name: &str, passed: bool, expected: String, observed: String| {
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        line(policies, policy, CheckResult { name: name.to_owned(), verdict, expected, observed })
    };
    vec![
        check("workloads-ready", ready >= wanted, format!("{wanted} ready"), ready.to_string()),
        check(
            "containers-healthy",
            healthy,
            "ready, no restart since the start".to_owned(),
            format!(
                "{} of {} ready, {}",
                pods.iter().filter(|pod| pod.ready).count(),
                pods.len(),
                restarts_text(restarts)
            ),
        ),
    ]
}

fn restarts_text(restarts: i32) -> String {
    if restarts == 1 { "1 restart".to_owned() } else { format!("{restarts} restarts") }
}

fn line(policies: &[String], policy: &str, check: CheckResult) -> CheckStatus {
    CheckStatus {
        group: group(&check.name),
        name: named(policies, policy, &check.name),
        verdict: check.verdict,
        expected: texts::cut(&check.expected, 256),
        observed: texts::cut(&check.observed, 256),
    }
}

/// With one policy the plain name; with several each has its own.
fn named(policies: &[String], policy: &str, check: &str) -> String {
    if policies.len() == 1 { check.to_owned() } else { format!("{policy}/{check}") }
}

fn group(check: &str) -> CheckGroup {
    match check {
        "cpu" | "memory" | "disk" | "network" => CheckGroup::SystemResources,
        "chromadb-responds" | "workloads-ready" | "containers-healthy" | "cronjobs-scheduled" => {
            CheckGroup::CoreServices
        }
        CREDENTIAL_WANTED
        | "access-controls"
        | "credentials-rotated"
        | "audit-logs-reviewed"
        | "security-monitoring" => CheckGroup::Security,
        _ => CheckGroup::DataIntegrity,
    }
}
