//! The step Validate: the running ChromaDB held against the point through its API, and what the controller itself sees of
//! the workloads. What could not be seen never counts as passed.

use std::collections::BTreeMap;

use crds::condition::{Status, get};
use crds::job::{Answer, CREDENTIAL_WANTED, CheckResult, Report, Request};
use crds::reference::{WorkloadKind, WorkloadRef};
use crds::run::{CheckGroup, CheckStatus, StepPhase, StoppedWorkload, Verdict};

use super::mover::{self, Outcome, Wanted, chosen};
use super::seen::{Component, Observed, PodSeen, Role};
use super::steps::{Kind, Step};
use super::{Draft, Progress, assess, stop, texts};
use crate::backup::source::{Address, Source};
use crate::effect::{Event, Identity, Place};

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let Some(component) = draft.seen.component(policy) else { return assess::policy_gone(draft, policy) };
    let start = Step { kind: Kind::Start, policy: Some(policy.to_owned()) }.name();
    if draft.status.steps.iter().any(|step| step.name == start && step.phase == StepPhase::Skipped) {
        return unstarted(draft, component);
    }
    let mut checks = match look(draft, index, component) {
        Ok(checks) => checks,
        Err(progress) => return progress,
    };
    checks.extend(own(draft, component));
    let several = draft.seen.components.len() > 1;
    let checks: Vec<CheckStatus> = checks.into_iter().map(|check| line(several, component, check)).collect();
    draft.events.extend(open_to_everybody(policy, &checks));
    draft.status.checks.retain(|known| checks.iter().all(|check| check.name != known.name));
    draft.status.checks.extend(checks.iter().cloned());
    verdict(draft, &checks)
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
fn worse(draft: &mut Draft<'_>, verdict: Verdict) {
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
    let restored = component.role == Role::Restored && !component.application;
    if !restored && answers.is_empty() {
        return Ok(unasked);
    }
    let (request, keys, place) = if restored {
        let (_, access, source) = mover::parts(draft, &component.policy)?;
        let url = url(&draft.seen.run.namespace, source)
            .map_err(|why| Progress::failed("ValidationFailed", why))?;
        let request = Request::Validate {
            repository: access.access.clone(),
            point: chosen(draft, &component.policy).unwrap_or_default(),
            url,
            auth: component.auth.clone(),
            counts: component
                .checks
                .iter()
                .filter_map(|check| Some((check.name.clone(), check.chroma_count.clone()?)))
                .collect(),
            answers,
        };
        (request, Some(access.keys.clone()), source.place.clone())
    } else {
        (Request::Check { answers }, None, Place::default())
    };
    let wanted = Wanted {
        kind: Kind::Validate,
        policy: component.policy.clone(),
        request,
        before: Vec::new(),
        account: None,
        keys,
        source: None,
        targets: BTreeMap::new(),
        place,
        identity: Identity::default(),
    };
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
                url: format!("http://{service}.{}.svc:{port}{}", seen.run.namespace, http.path),
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

/// What the controller sees by itself.
fn own(draft: &Draft<'_>, component: &Component) -> Vec<CheckResult> {
    let check = |name: &str, passed: bool, expected: String, observed: String| {
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        CheckResult { name: name.to_owned(), verdict, expected, observed }
    };
    let is_cron = |workload: &WorkloadRef| workload.kind == WorkloadKind::CronJob;
    let owed = |cron: bool| -> i32 {
        let known = |stopped: &&StoppedWorkload| {
            is_cron(&stopped.workload) == cron
                && component.workloads.iter().any(|seen| seen.workload == stopped.workload)
        };
        draft.status.stopped.iter().filter(known).map(|stopped| stopped.replicas).sum()
    };
    let ready = |cron: bool| -> i32 {
        let of = component.workloads.iter().filter(|seen| is_cron(&seen.workload) == cron);
        of.map(|workload| workload.ready).sum()
    };
    let mut checks = Vec::new();
    if component.workloads.iter().any(|seen| !is_cron(&seen.workload)) {
        let (wanted, ready) = (owed(false), ready(false));
        checks.push(check("workloads-ready", ready >= wanted, format!("{wanted} ready"), ready.to_string()));
    }
    if component.workloads.iter().any(|seen| is_cron(&seen.workload)) {
        let (wanted, scheduled) = (owed(true), ready(true));
        let expected = format!("{wanted} not suspended");
        checks.push(check("cronjobs-scheduled", scheduled >= wanted, expected, scheduled.to_string()));
    }
    let claims = stop::claims_of(draft.seen, component);
    if !claims.is_empty() && component.role == Role::Restored {
        let pods = claims.iter().flat_map(|claim| draft.seen.pods_of(claim));
        let mut pods: Vec<&PodSeen> = pods.filter(|pod| !pod.ended).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods.dedup_by(|a, b| a.name == b.name);
        let restarts: i32 = pods.iter().map(|pod| pod.restarts).sum();
        let ready = pods.iter().filter(|pod| pod.ready).count();
        let healthy = restarts == 0 && !pods.is_empty() && ready == pods.len();
        let observed = format!("{ready} of {} ready, {}", pods.len(), restarts_text(restarts));
        let expected = "ready, no restart since the start".to_owned();
        checks.push(check("containers-healthy", healthy, expected, observed));
    }
    checks
}

fn restarts_text(restarts: i32) -> String {
    if restarts == 1 { "1 restart".to_owned() } else { format!("{restarts} restarts") }
}

/// A line of the checklist. What is checked of every component has the plain name in a run with one; the policy's own is always told by both.
fn line(several: bool, component: &Component, check: CheckResult) -> CheckStatus {
    let own = component.checks.iter().find(|own| own.name == check.name);
    CheckStatus {
        group: own.map_or_else(|| group(&check.name), |own| own.group),
        name: if several || own.is_some() {
            format!("{}/{}", component.policy, check.name)
        } else {
            check.name
        },
        verdict: check.verdict,
        expected: texts::cut(&check.expected, 256),
        observed: texts::cut(&check.observed, 256),
    }
}

/// The line about the room on the restored volumes. What is nearly full is recovered all the same: somebody is told.
pub(crate) fn disk(draft: &mut Draft<'_>, component: &Component, free_percent: u8) {
    let check = CheckResult {
        name: "disk".to_owned(),
        verdict: if free_percent > 20 { Verdict::Passed } else { Verdict::Failed },
        expected: "> 20% free".to_owned(),
        observed: format!("{free_percent}% free"),
    };
    let line = line(draft.seen.components.len() > 1, component, check);
    if line.verdict == Verdict::Failed {
        let message = format!(
            "the volumes of policy {} are nearly full, {}: make them larger before writers fill them",
            component.policy, line.observed
        );
        draft.events.push(Event::warning("DiskNearlyFull", message));
    }
    draft.status.checks.retain(|known| known.name != line.name);
    draft.status.checks.push(line);
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
        "checks" => CheckGroup::ApplicationFunctions,
        _ => CheckGroup::DataIntegrity,
    }
}
