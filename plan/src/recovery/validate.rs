//! The step Validate: the running ChromaDB held against the point through its API, and what the controller itself sees of
//! the workloads. What could not be seen never counts as passed.

use crds::condition::{Status, get};
use crds::job::{Answer, CREDENTIAL_WANTED, CheckResult, Report, Request};
use crds::run::{CheckStatus, StepPhase, Verdict};

use super::mover::{self, Outcome, Wanted, chosen};
use super::seen::{Component, Observed, Role};
use super::steps::{Kind, Step};
use super::{
    Draft, Progress, assess, check_jobs, checklist, exec_checks, manual, room, rotated, sandbox, security,
    status_checks,
};
use crate::backup::source::{Address, Source};
use crate::effect::{Event, Place};

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let Some(component) = draft.seen.component(policy) else { return assess::policy_gone(draft, policy) };
    let start = Step { kind: Kind::Start, policy: Some(policy.to_owned()) }.name();
    if draft.status.steps.iter().any(|step| step.name == start && step.phase == StepPhase::Skipped) {
        return unstarted(draft, component);
    }
    let checks = match look(draft, index, component) {
        Ok(checks) => checks,
        Err(progress) => return progress,
    };
    // Of what is around it, not of what was restored.
    let (around, mut checks): (Vec<CheckResult>, Vec<_>) =
        checks.into_iter().partition(|check| check.name == room::NETWORK);
    let rehearsal = draft.seen.run.spec.sandbox().is_some();
    match if rehearsal { Ok(sandbox::left_out(component)) } else { inside(draft, component) } {
        Ok(made) => checks.extend(made),
        Err(progress) => return progress,
    }
    match status_checks::look(draft, index, component) {
        Ok(made) => checks.extend(made),
        Err(progress) => return progress,
    }
    checks.extend(checklist::own(draft, component));
    let several = draft.seen.components.len() > 1;
    let lines = checks.into_iter().map(|check| checklist::line(several, component, check));
    let mut checks: Vec<CheckStatus> = lines.collect();
    if !rehearsal {
        checks.extend(manual::lines(draft, component));
    }
    draft.events.extend(open_to_everybody(policy, &checks));
    draft.status.checks.retain(|known| checks.iter().all(|check| check.name != known.name));
    draft.status.checks.extend(checks.iter().cloned());
    // A rehearsal tells nothing of the nodes, the network and who has access.
    if !rehearsal {
        rotated::line(draft);
        room::nodes(draft);
        security::lines(draft);
        around.into_iter().for_each(|check| room::network(draft, component, check));
        manual::tell(draft);
    }
    verdict(draft, &checks)
}

/// What is done inside of the component: Jobs of its own, and commands in its pods.
fn inside(draft: &mut Draft<'_>, component: &Component) -> Result<Vec<CheckResult>, Progress> {
    let mut checks = check_jobs::look(draft, component)?;
    checks.extend(exec_checks::look(draft, component)?);
    Ok(checks)
}

/// What ran nowhere before the run runs nowhere after it.
fn unstarted(draft: &mut Draft<'_>, component: &Component) -> Progress {
    if component.role == Role::Dependent {
        return Progress::Skipped("it did not run before".to_owned());
    }
    let message = "no replica ran before the run, so no server answers; the files were verified offline. Scale the workload up and look";
    worse(draft, Verdict::Inconclusive);
    draft.condition("Validated", Status::Unknown, "ValidationFailed", message);
    Progress::Skipped(message.to_owned())
}

/// The run's verdict is that of its worst component.
pub(crate) fn worse(draft: &mut Draft<'_>, verdict: Verdict) {
    if draft.status.verdict != Some(Verdict::Failed) {
        draft.status.verdict = Some(verdict);
    }
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

fn verdict(draft: &mut Draft<'_>, checks: &[CheckStatus]) -> Progress {
    let of = |verdict: Verdict| checks.iter().filter(|check| check.verdict == verdict).collect::<Vec<_>>();
    let (passed, failed, skipped) = (of(Verdict::Passed), of(Verdict::Failed), of(Verdict::Skipped));
    // What waits for a person holds up nobody.
    let (asked, unseen): (Vec<&CheckStatus>, Vec<_>) =
        of(Verdict::Inconclusive).into_iter().partition(|check| check.manual);
    if !asked.is_empty() {
        worse(draft, Verdict::Inconclusive);
    }
    let mut text = format!("{} passed", passed.len());
    let counted =
        [(&failed, "failed"), (&unseen, "inconclusive"), (&skipped, "skipped"), (&asked, "to attest")];
    for (list, word) in counted {
        if !list.is_empty() {
            text.push_str(&format!(", {} {word}", list.len()));
        }
    }
    for check in &skipped {
        text.push_str(&format!("; {}: {}", check.name, check.observed));
    }
    if failed.is_empty() && unseen.is_empty() && !passed.is_empty() {
        // What was found wrong with another component stays said.
        let refused = get(&draft.status.conditions, "Validated").is_some_and(|found| found.status != "True");
        if !refused {
            draft.condition("ApplicationReady", Status::True, "Serving", "whatever was asked answers");
            draft.condition("Validated", Status::True, "AllRequiredPassed", text.clone());
        }
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
    worse(draft, verdict);
    draft.condition("Validated", false, "ValidationFailed", message.clone());
    Progress::failed("ValidationFailed", message)
}

/// What a mover sees of the running component: a ChromaDB that was restored is held against its point, and the policy's own checks are made.
fn look(draft: &Draft<'_>, index: usize, component: &Component) -> Result<Vec<CheckResult>, Progress> {
    let (answers, unasked) = asked(draft.seen, component);
    // From a sandbox nothing outside is reached, and whether production could is not asked.
    let offline = component.offline.as_ref().filter(|_| draft.seen.run.spec.sandbox().is_none());
    let endpoints = offline.map(|mode| mode.endpoints.clone()).unwrap_or_default();
    let restored = component.role == Role::Restored && !component.application;
    if !restored && answers.is_empty() && endpoints.is_empty() {
        return Ok(unasked);
    }
    let (request, keys, place) = if restored {
        let (_, access, source) = mover::parts(draft, &component.policy)?;
        let url = url(&draft.seen.home(), source).map_err(|why| Progress::failed("ValidationFailed", why))?;
        let request = Request::Validate {
            repository: mover::opened(draft, access),
            point: chosen(draft, &component.policy).unwrap_or_default(),
            url,
            auth: component.auth.clone(),
            revoked: rotated::kept(draft, component),
            counts: component
                .checks
                .iter()
                .filter_map(|check| Some((check.name.clone(), check.chroma_count.clone()?)))
                .collect(),
            answers,
            endpoints,
        };
        (request, Some(access.keys.clone()), source.place.clone())
    } else {
        (Request::Check { answers, endpoints }, None, Place::default())
    };
    let wanted = Wanted { keys, place, ..Wanted::bare(Kind::Validate, component.policy.clone(), request) };
    let mut checks = match mover::drive(draft, index, wanted) {
        Outcome::Pending(progress) => return Err(progress),
        Outcome::Said(Report::Validated { checks }) => checks,
        Outcome::Said(other) => return Err(mover::unexpected(&other)),
        Outcome::GaveUp(failure) => vec![CheckResult {
            name: if restored { "chromadb-responds" } else { "checks" }.to_owned(),
            verdict: if failure.reason == crds::job::FailureReason::NotServing {
                Verdict::Failed
            } else {
                Verdict::Inconclusive
            },
            expected: if restored { "heartbeat, counts, queries" } else { "the policy's checks made" }
                .to_owned(),
            observed: format!("{:?}: {}", failure.reason, failure.message),
        }],
    };
    checks.extend(unasked);
    Ok(checks)
}

/// The Services that the policy wants to answer, and what comes of those that can't be asked.
fn asked(seen: &Observed, component: &Component) -> (Vec<Answer>, Vec<CheckResult>) {
    let (mut answers, mut unasked) = (Vec::new(), Vec::new());
    for (check, http) in component.checks.iter().filter_map(|check| Some((check, check.http.as_ref()?))) {
        let service = &http.service_ref.name;
        let port = match (seen.services.get(service).map(Vec::as_slice), http.port) {
            (None, _) => Err(format!("no Service {service}")),
            (Some(ports), Some(port)) if ports.contains(&port) => Ok(port),
            (Some([only]), None) => Ok(*only),
            (Some(_), Some(port)) => Err(format!("Service {service} has no port {port}")),
            (Some(ports), None) => Err(format!("Service {service} has {} ports: set http.port", ports.len())),
        };
        match port {
            Ok(port) => answers.push(Answer {
                name: check.name.clone(),
                url: format!("http://{service}.{}.svc:{port}{}", seen.home(), http.path),
                status: http.status,
                patience: check.timeout.to_duration(),
            }),
            Err(why) => unasked.push(CheckResult {
                name: check.name.clone(),
                verdict: Verdict::Failed,
                expected: http.status.to_string(),
                observed: why,
            }),
        }
    }
    (answers, unasked)
}

/// Base URL of the server behind the Service, or a sentence why there is none.
pub(crate) fn url(namespace: &str, source: &Source) -> Result<String, String> {
    match source.service() {
        Ok(Some(Address { service, port })) => Ok(format!("http://{service}.{namespace}.svc:{port}")),
        Ok(None) => Err(format!(
            "no Service in namespace {namespace} selects the pods, so the running server can't be validated; create one or set spec.component.chromaDB.serviceRef"
        )),
        Err(problem) => Err(problem.message.clone()),
    }
}
