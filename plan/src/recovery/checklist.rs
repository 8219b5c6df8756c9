//! The lines of the validation checklist: what they are called, where they stand, and those that the controller sees by itself.

use crds::job::{CREDENTIAL_WANTED, CREDENTIALS_ROTATED, CheckResult, REVOKED_REFUSED};
use crds::reference::{WorkloadKind, WorkloadRef};
use crds::run::{CheckGroup, CheckStatus, StoppedWorkload, Verdict};

use super::seen::{Component, PodSeen, Role};
use super::{Draft, stop, texts};

/// What the controller sees by itself.
pub(crate) fn own(draft: &Draft<'_>, component: &Component) -> Vec<CheckResult> {
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
pub(crate) fn line(several: bool, component: &Component, check: CheckResult) -> CheckStatus {
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
        manual: false,
    }
}

/// A line that is about the whole run.
pub(crate) fn whole(check: CheckResult) -> CheckStatus {
    CheckStatus {
        group: group(&check.name),
        name: check.name,
        verdict: check.verdict,
        expected: texts::cut(&check.expected, 256),
        observed: texts::cut(&check.observed, 256),
        manual: false,
    }
}

fn group(check: &str) -> CheckGroup {
    match check {
        "cpu" | "memory" | "disk" | "network" => CheckGroup::SystemResources,
        "chromadb-responds" | "workloads-ready" | "containers-healthy" | "cronjobs-scheduled" => {
            CheckGroup::CoreServices
        }
        CREDENTIAL_WANTED
        | REVOKED_REFUSED
        | CREDENTIALS_ROTATED
        | "access-controls"
        | "audit-logs-reviewed"
        | "security-monitoring" => CheckGroup::Security,
        "checks" => CheckGroup::ApplicationFunctions,
        _ => CheckGroup::DataIntegrity,
    }
}
