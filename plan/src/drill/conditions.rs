//! What a drill tells. Ready says that it is armed and nothing else, so that a tool that waits for health is not red for a drill that found something.

use crds::condition::{self, Status};
use crds::drill::{DrillMode, DrillResult, DrillTest};
use crds::run::{Isolation, ObjectiveVerdict, SandboxState, SandboxStatus, Verdict};

use super::{Observed, Plan, child, results};
use crate::schedule::{NotASchedule, Slots};

/// What was found out before.
pub(super) struct Known<'a> {
    pub(super) slots: &'a Result<Slots, NotASchedule>,
    /// Why the annotation can't be read.
    pub(super) asked: Option<&'a String>,
    /// Why what is due is not started.
    pub(super) waits: Option<String>,
}

/// Why a drill could not be carried out whenever it is started.
pub(super) fn impossible(seen: &Observed<'_>) -> Option<(&'static str, String)> {
    let exists =
        |name: &str| seen.policies.iter().any(|policy| policy.metadata.name.as_deref() == Some(name));
    let namespace = seen.drill.metadata.namespace.as_deref().unwrap_or_default();
    let named = seen.drill.spec.policies.iter().flatten();
    if let Some(missing) = named.map(|named| &named.name).find(|name| !exists(name)) {
        let why = format!(
            "BackupPolicy {missing} of spec.policies does not exist in namespace {namespace}; apply it, or leave it out"
        );
        return Some(("PolicyNotFound", why));
    }
    let concerned =
        seen.policies.iter().any(|policy| match (&seen.drill.spec.policies, seen.drill.spec.test) {
            (None, DrillTest::DatabaseRecovery) => policy.spec.component.chroma_db.is_some(),
            (_, DrillTest::NetworkFailure) => policy.spec.offline.is_some(),
            (_, _) => true,
        });
    let of = match seen.drill.spec.test {
        DrillTest::DatabaseRecovery => " of a ChromaDB",
        DrillTest::NetworkFailure => " with spec.offline",
        DrillTest::BackupVerification | DrillTest::FullSystemRecovery | DrillTest::SecurityBreach => "",
    };
    let why = || {
        format!("namespace {namespace} has no BackupPolicy{of}, so there is nothing to rehearse; apply one")
    };
    (!concerned).then(|| ("PolicyNotFound", why()))
}

pub(super) fn set(seen: &Observed<'_>, plan: &mut Plan, known: &Known<'_>) {
    ready(seen, plan, known);
    reconciling(seen, plan, known);
    let newest = results::newest(&plan.status).cloned();
    passed(seen, plan, newest.as_ref());
    objectives(seen, plan, newest.as_ref());
    evidence(seen, plan);
    sandbox(seen, plan);
}

fn put(
    seen: &Observed<'_>,
    plan: &mut Plan,
    kind: &str,
    status: impl Into<Status>,
    reason: &str,
    message: impl Into<String>,
) {
    let generation = seen.drill.metadata.generation.unwrap_or_default();
    condition::set(&mut plan.status.conditions, kind, status.into(), reason, message, generation, seen.now);
}

fn ready(seen: &Observed<'_>, plan: &mut Plan, known: &Known<'_>) {
    let spec = &seen.drill.spec;
    let (status, reason, message) = if let Err(error) = known.slots {
        (false, "InvalidSpec", error.to_string())
    } else if let Some(why) = known.asked {
        (false, "InvalidSpec", why.clone())
    } else if spec.mode == DrillMode::Suspended {
        (false, "Suspended", "spec.mode is Suspended; no drill is started".to_owned())
    } else if let Some((reason, why)) = impossible(seen) {
        (false, reason, why)
    } else {
        let what = match &spec.policies {
            Some(named) => named.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>().join(", "),
            None if spec.test == DrillTest::DatabaseRecovery => "every ChromaDB".to_owned(),
            None => "every policy".to_owned(),
        };
        let schedule = &spec.schedule;
        let message = format!(
            "rehearses {} of {what} at \"{}\" {}",
            spec.test.as_str(),
            schedule.cron,
            schedule.time_zone
        );
        (true, "Armed", message)
    };
    put(seen, plan, "Ready", status, reason, message.clone());
    if reason == "InvalidSpec" {
        put(seen, plan, "Stalled", true, reason, message);
    } else {
        condition::clear(&mut plan.status.conditions, "Stalled");
    }
}

fn reconciling(seen: &Observed<'_>, plan: &mut Plan, known: &Known<'_>) {
    let running = plan.status.running.clone();
    match (running, &known.waits) {
        (Some(running), _) => {
            let message = format!("RecoveryRun {} is under way since {:.0}", running.run, running.started);
            put(seen, plan, "Reconciling", true, "Progressing", message);
        }
        (None, Some(why)) => put(seen, plan, "Reconciling", true, "WaitingForRun", why.clone()),
        (None, None) => condition::clear(&mut plan.status.conditions, "Reconciling"),
    }
}

/// The reason of LastDrillPassed for a result.
fn reason(result: &DrillResult) -> &'static str {
    match (result.verdict, result.reason.as_str()) {
        (Verdict::Passed, _) => "Passed",
        (Verdict::Inconclusive | Verdict::Skipped, _) => "Inconclusive",
        (Verdict::Failed, "PointTooOld") => "PointTooOld",
        (Verdict::Failed, "CanaryMissing") => "CanaryMissing",
        (Verdict::Failed, "DeadlineExceeded") => "DeadlineExceeded",
        (Verdict::Failed, "ValidationFailed" | "NotServing") => "ValidationFailed",
        (Verdict::Failed, _) => "RestoreFailed",
    }
}

fn passed(seen: &Observed<'_>, plan: &mut Plan, newest: Option<&DrillResult>) {
    match newest {
        None => put(seen, plan, "LastDrillPassed", Status::Unknown, "NeverRun", "no drill has run yet"),
        Some(result) => {
            let plain = result.reason == reason(result) || result.verdict == Verdict::Passed;
            let message = match plain {
                true => result.message.clone(),
                false => format!("{}: {}", result.reason, result.message),
            };
            put(seen, plan, "LastDrillPassed", result.verdict == Verdict::Passed, reason(result), message);
        }
    }
}

fn objectives(seen: &Observed<'_>, plan: &mut Plan, newest: Option<&DrillResult>) {
    let Some((result, verdicts)) = newest.and_then(|result| Some((result, result.objectives.as_ref()?)))
    else {
        put(seen, plan, "ObjectivesMet", Status::Unknown, "NoObjective", "nothing was measured yet");
        return;
    };
    let missed = |verdict| verdict == Some(ObjectiveVerdict::Missed);
    let (met, reason) = match (missed(verdicts.rpo_verdict), missed(verdicts.rto_verdict)) {
        (false, false) => (Status::True, "Met"),
        (true, false) => (Status::False, "RPOMissed"),
        (false, true) => (Status::False, "RTOMissed"),
        (true, true) => (Status::False, "BothMissed"),
    };
    let of = |name: &str, measured: &Option<String>, promised: Option<crds::Span>| {
        Some(format!("{name} {} of {}", measured.as_ref()?, promised?))
    };
    let parts: Vec<String> = [of("RPO", &result.rpo, verdicts.rpo), of("RTO", &result.rto, verdicts.rto)]
        .into_iter()
        .flatten()
        .collect();
    put(seen, plan, "ObjectivesMet", met, reason, parts.join("; "));
}

/// Turns when the last pass gets too old, and is looked at again just then.
fn evidence(seen: &Observed<'_>, plan: &mut Plan) {
    let Some(limit) = plan.status.resolved.as_ref().map(|resolved| resolved.max_staleness) else { return };
    let Some(passed) = plan.status.last_passed else {
        let (status, message) = match results::newest(&plan.status) {
            None => (Status::Unknown, "no drill has run yet"),
            Some(_) => (Status::False, "no drill has passed yet"),
        };
        put(seen, plan, "EvidenceFresh", status, "NeverPassed", message);
        return;
    };
    let until = passed.checked_add(limit.to_duration()).unwrap_or(jiff::Timestamp::MAX);
    let fresh = seen.now <= until;
    let message = match fresh {
        true => format!("the last drill that passed is of {passed:.0}, and counts until {until:.0}"),
        false => {
            format!("the last drill that passed is of {passed:.0}, more than {limit} ago (maxStaleness)")
        }
    };
    put(seen, plan, "EvidenceFresh", fresh, if fresh { "Fresh" } else { "Stale" }, message);
    if fresh && until < jiff::Timestamp::MAX {
        // Not older than the limit is fresh: the look is due right after.
        let after = until.checked_add(jiff::SignedDuration::from_millis(1)).unwrap_or(until);
        plan.next = plan.next.or_at(after);
    }
}

/// As the newest run tells of its sandbox. What is told stays when that run is gone.
fn sandbox(seen: &Observed<'_>, plan: &mut Plan) {
    let ours = seen.runs.iter().filter(|run| child::is_of(run, seen.drill));
    let newest = ours.max_by_key(|run| (run.metadata.creation_timestamp.clone(), run.metadata.name.clone()));
    let Some(known) = newest.and_then(|run| run.status.as_ref()?.sandbox.clone()) else { return };
    let namespace = &known.namespace;
    match known.isolation {
        Some(Isolation::ProbeBlocked) => {
            let message = format!("what connected to production before connects no more from {namespace}");
            put(seen, plan, "SandboxIsolated", true, "ProbeBlocked", message);
        }
        Some(Isolation::NotEnforced) => {
            let message = format!(
                "a pod in {namespace} still reached production through deny-all: this cluster enforces no NetworkPolicy, or not all of them. The drill is Inconclusive; no workload was started"
            );
            put(seen, plan, "SandboxIsolated", false, "NotEnforced", message);
        }
        Some(Isolation::ControlFailed) => {
            let message = format!(
                "the probe in {namespace} connected to nothing while nothing was denied, or did not run: nothing is proved. The drill is Inconclusive; no workload was started"
            );
            put(seen, plan, "SandboxIsolated", false, "ControlFailed", message);
        }
        None => {}
    }
    let (status, reason, message) = cleaned(&known);
    put(seen, plan, "SandboxCleaned", status, reason, message);
}

fn cleaned(sandbox: &SandboxStatus) -> (Status, &'static str, String) {
    let namespace = &sandbox.namespace;
    match sandbox.state {
        SandboxState::Cleaned => {
            (Status::True, "Cleaned", format!("nothing of namespace {namespace} is left"))
        }
        SandboxState::Kept => {
            let until = sandbox.keep_until.map(|time| format!(" until {time:.0}")).unwrap_or_default();
            let message = format!(
                "namespace {namespace} stays{until} (sandbox.keepOnFailure); remove it now: kubectl delete namespace {namespace}"
            );
            (Status::False, "KeptForInspection", message)
        }
        SandboxState::Removing => {
            (Status::Unknown, "Removing", format!("namespace {namespace} is being removed"))
        }
        SandboxState::Creating | SandboxState::Probing | SandboxState::Isolated => {
            (Status::Unknown, "InUse", format!("the drill works in namespace {namespace}"))
        }
    }
}
