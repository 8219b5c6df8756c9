//! The conditions of a policy, in the user's words. No message holds an age: it would be wrong a minute later, or cost a
//! write a minute.

use crds::condition::{self, Status};
use crds::policy::PolicyMode;
use crds::repository::RepositoryMode;
use crds::{RecoveryRepository, Span};

use super::source::Problem;
use super::{Calendar, Observed, Parked, Plan, points, retention, snapshot, usable};
use crate::expression::Expression;

/// Reasons of a failed capture that say something about the source.
const SOURCE_REASONS: [&str; 4] =
    ["ChromaDBNotFound", "ChromaDBFound", "VersionUnsupported", "LocksNotShared"];

pub(super) fn put(
    seen: &Observed<'_>,
    plan: &mut Plan,
    kind: &str,
    status: impl Into<Status>,
    reason: &str,
    message: impl Into<String>,
) {
    let generation = seen.policy.metadata.generation.unwrap_or_default();
    condition::set(&mut plan.status.conditions, kind, status.into(), reason, message, generation, seen.now);
}

/// How the last capture ended.
pub(super) fn captured(seen: &Observed<'_>, plan: &mut Plan, succeeded: bool, reason: &str, message: &str) {
    put(seen, plan, "LastCaptureSucceeded", succeeded, reason, message);
}

/// The capture's pod does not run yet, and the cluster says why.
pub(super) fn waiting(seen: &Observed<'_>, plan: &mut Plan, why: Option<&str>) {
    match why {
        Some(why) => put(seen, plan, "Reconciling", true, "Progressing", format!("the capture waits: {why}")),
        None => condition::clear(&mut plan.status.conditions, "Reconciling"),
    }
}

/// Whether captures may be kept in the repository.
pub(super) fn repository(name: &str, repository: Option<&RecoveryRepository>) -> Result<(), Problem> {
    let problem = |reason, message: String| Err(Problem { reason, message });
    let Some(repository) = repository else {
        return problem(
            "NotFound",
            format!(
                "RecoveryRepository {name} does not exist in this namespace; create it or correct spec.repositoryRef"
            ),
        );
    };
    if repository.metadata.deletion_timestamp.is_some() {
        return problem("NotFound", format!("RecoveryRepository {name} is being deleted"));
    }
    let conditions =
        repository.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match condition::get(conditions, "Ready") {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => {
            let reason = if matches!(ready.reason.as_str(), "BucketUnreachable" | "Throttled") {
                "Unreachable"
            } else {
                "NotReady"
            };
            return problem(
                reason,
                format!("RecoveryRepository {name} is not Ready ({}): {}", ready.reason, ready.message),
            );
        }
        None => return problem("NotReady", format!("RecoveryRepository {name} was not probed yet")),
    }
    let status = repository.status.clone().unwrap_or_default();
    match crate::repository::mode(repository, &status) {
        RepositoryMode::ReadWrite => Ok(()),
        RepositoryMode::ReadOnly => problem(
            "ReadOnly",
            format!(
                "RecoveryRepository {name} is ReadOnly; set its spec.mode: ReadWrite or name another one"
            ),
        ),
        RepositoryMode::Sealed => problem(
            "Sealed",
            format!(
                "RecoveryRepository {name} is Sealed, so nothing but evidence is captured; its condition Sealed says by whom, and how that is lifted"
            ),
        ),
    }
}

/// Everything but LastCaptureSucceeded.
pub(super) fn set(
    seen: &Observed<'_>,
    plan: &mut Plan,
    calendar: &Calendar,
    parked: Option<&Parked>,
    bad_request: Option<&String>,
) {
    let name = seen.policy.spec.repository_ref.name.clone();
    match repository(&name, seen.repository) {
        Ok(()) => {
            put(seen, plan, "RepositoryReady", true, "Ready", format!("RecoveryRepository {name} is Ready"))
        }
        Err(problem) => put(seen, plan, "RepositoryReady", false, problem.reason, problem.message),
    }
    let source = source(seen, plan);
    match &source {
        Ok(message) => put(seen, plan, "SourceReady", true, "Found", message),
        Err(problem) => put(seen, plan, "SourceReady", false, problem.reason, &problem.message),
    }
    rpo(seen, plan);
    verified(seen, plan);
    retention::set(seen, plan);
    match bad_request {
        Some(message) => put(seen, plan, "RequestAccepted", false, "InvalidTime", message),
        None => condition::clear(&mut plan.status.conditions, "RequestAccepted"),
    }
    if plan.status.active.is_none() {
        condition::clear(&mut plan.status.conditions, "Reconciling");
    }
    ready(seen, plan, calendar, parked, source.err());
}

/// What was found, or what the last capture found out about it.
fn source(seen: &Observed<'_>, plan: &Plan) -> Result<String, Problem> {
    let source = usable(seen)?;
    if let Some(reason) = plan
        .status
        .last_attempt
        .as_ref()
        .and_then(|last| SOURCE_REASONS.into_iter().find(|reason| *reason == last.reason))
    {
        let told = condition::get(&plan.status.conditions, "LastCaptureSucceeded");
        return Err(Problem { reason, message: told.map(|c| c.message.clone()).unwrap_or_default() });
    }
    source.service().map_err(Clone::clone)?;
    let claims = match source.claims.as_slice() {
        [] => return Ok("objects only: no workload mounts a claim".to_owned()),
        [claim] => format!("claim {claim}"),
        several => format!("claims {}", several.join(", ")),
    };
    let cut = snapshot::class(seen, source).and_then(Result::ok);
    let cut = cut.map(|class| format!(", by snapshots of class {class}")).unwrap_or_default();
    Ok(match &source.pod {
        Some(pod) => format!("{claims} of pod {pod}{cut}"),
        None if !cut.is_empty() => format!("{claims}{cut}"),
        None if seen.policy.spec.capture.offline.is_some() => {
            format!("{claims}, with the workloads stopped for each capture")
        }
        None => format!("{claims}, which no pod mounts now"),
    })
}

/// RPOMet, which turns False at one instant that is known beforehand.
fn rpo(seen: &Observed<'_>, plan: &mut Plan) {
    let rpo = seen.policy.spec.objectives.rpo;
    let deadline = points::deadline(seen, plan);
    let met = seen.now < deadline;
    if met {
        plan.next = plan.next.or_at(deadline);
    }
    match (plan.status.last_point.clone(), met) {
        (Some(point), true) => {
            put(
                seen,
                plan,
                "RPOMet",
                true,
                "WithinObjective",
                format!("the newest good point {} is not older than {rpo}", point.name),
            );
        }
        (Some(point), false) => {
            let since = point.consistency_time + rpo.to_duration();
            let message = format!(
                "since {} the newest good point {} is older than {rpo}; what was written since {} would be lost. See LastCaptureSucceeded",
                since.strftime("%Y-%m-%dT%H:%M:%SZ"),
                point.name,
                point.consistency_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            );
            put(seen, plan, "RPOMet", false, "PointTooOld", message);
        }
        (None, true) => put(
            seen,
            plan,
            "RPOMet",
            Status::Unknown,
            "NoPoint",
            format!("the first capture is to come; it has {rpo} from the policy's creation"),
        ),
        (None, false) => put(
            seen,
            plan,
            "RPOMet",
            false,
            "NoPoint",
            "there is no good point; everything would be lost. See LastCaptureSucceeded and SourceReady",
        ),
    }
}

/// How long a verification counts: one and a half months, as for a drill every month.
const VERIFIED_FOR: Span = Span::from_hours(1116);

/// Whether points of the policy were restored and found as captured, which turns False at one instant, too.
fn verified(seen: &Observed<'_>, plan: &mut Plan) {
    let policy = seen.policy.metadata.name.as_deref().unwrap_or_default();
    let failed = points::failed(seen.points, policy);
    let passed = plan.status.last_verified;
    // What failed together with what passed counts: they are of one look.
    if let Some((point, time)) = failed.filter(|(_, time)| passed.is_none_or(|passed| *time >= passed)) {
        let name = point.metadata.name.as_deref().unwrap_or_default();
        let message = format!(
            "point {name} was restored and is not what was captured ({time:.0}); it is Quarantined. Look at the bucket, and at its condition Verified"
        );
        return put(seen, plan, "Verified", false, "Failed", message);
    }
    let Some(passed) = passed else {
        let message =
            "no point was restored and compared yet; a DrDrill with test: BackupVerification does that";
        return put(seen, plan, "Verified", Status::Unknown, "NeverVerified", message);
    };
    let until = passed.checked_add(VERIFIED_FOR.to_duration()).unwrap_or(jiff::Timestamp::MAX);
    if seen.now < until {
        plan.next = plan.next.or_at(until);
        put(
            seen,
            plan,
            "Verified",
            true,
            "Passed",
            format!("points were last found as captured at {passed:.0}"),
        );
    } else {
        let message = format!(
            "points were last found as captured at {passed:.0}, more than {VERIFIED_FOR} ago; let a DrDrill with test: BackupVerification look again"
        );
        put(seen, plan, "Verified", false, "Stale", message);
    }
}

fn ready(
    seen: &Observed<'_>,
    plan: &mut Plan,
    calendar: &Calendar,
    parked: Option<&Parked>,
    source: Option<Problem>,
) {
    let spec = &seen.policy.spec;
    let mut stalled = false;
    let (status, reason, message) = match (&calendar.slots, parked) {
        (Err(message), _) => {
            stalled = true;
            (false, "InvalidSpec", message.clone())
        }
        (Ok(slots), _) if !calendar.derived && gap(seen, slots) > spec.objectives.rpo => {
            let gap = gap(seen, slots);
            let derived = crate::schedule::derived(spec.objectives.rpo);
            (
                false,
                "ScheduleMissesRPO",
                format!(
                    "schedule captures every {gap}, the RPO is {}; capture at \"{}\" (leave schedule out) or set objectives.rpo: {}",
                    spec.objectives.rpo,
                    derived.cron,
                    Span::from_secs(gap.as_secs().saturating_mul(2)),
                ),
            )
        }
        // Captures go on; a recovery would come to no verdict.
        (Ok(_), None | Some(Parked::Suspended)) if let Err((reason, message)) = checks(seen) => {
            (false, reason, message)
        }
        // Captures go on; a recovery would be refused.
        (Ok(_), None | Some(Parked::Suspended)) if seen.circle.is_some() => (
            false,
            "DependencyCycle",
            format!(
                "{}: each waits for the next to be recovered, so no recovery can begin. Remove one of these dependsOn",
                seen.circle.as_deref().unwrap_or_default()
            ),
        ),
        (Ok(_), Some(Parked::Shared(other))) => (
            false,
            "VolumeShared",
            format!("BackupPolicy {other} captures one of the same claims and is older; delete one of them"),
        ),
        (Ok(_), Some(Parked::Repository(problem))) => (false, "RepositoryNotReady", problem.message.clone()),
        (Ok(_), Some(Parked::Source(problem))) => (false, "SourceNotReady", problem.message.clone()),
        (Ok(_), Some(Parked::Held(run))) => (
            false,
            "HeldByRun",
            format!("RecoveryRun {run} works on this component; captures go on when it has ended"),
        ),
        (Ok(_), Some(Parked::Suspended)) => {
            (false, "Suspended", "spec.mode is Suspended; no capture is started".to_owned())
        }
        (Ok(_), None) => match source {
            // Captures are tried all the same: the next one finds out whether it was mended.
            Some(problem) => (false, "SourceNotReady", problem.message),
            None => (
                true,
                "Armed",
                format!(
                    "captures {} at \"{}\" {} to {}",
                    seen.policy.metadata.name.as_deref().unwrap_or_default(),
                    calendar.schedule.cron,
                    calendar.schedule.time_zone,
                    spec.repository_ref.name,
                ),
            ),
        },
    };
    put(seen, plan, "Ready", status, reason, message.clone());
    if stalled && spec.mode == PolicyMode::Active {
        put(seen, plan, "Stalled", true, reason, message);
    } else {
        condition::clear(&mut plan.status.conditions, "Stalled");
    }
}

/// Why a check of the policy's own could not be made.
fn checks(seen: &Observed<'_>) -> Result<(), (&'static str, String)> {
    for check in &seen.policy.spec.checks {
        if let Some(Err(why)) = check.status.as_ref().map(|status| Expression::parse(&status.expression)) {
            let message = format!("spec.checks {}: status.expression can't be read: {why}", check.name);
            return Err(("InvalidSpec", message));
        }
        if check.exec.is_some() && !seen.hooks_allowed {
            let message = format!(
                "spec.checks {} runs a command in a pod, which this installation doesn't allow: install the chart with hooks.enabled=true, or remove the check",
                check.name
            );
            return Err(("HooksNotAllowed", message));
        }
    }
    Ok(())
}

fn gap(seen: &Observed<'_>, slots: &crate::schedule::Slots) -> Span {
    // From a fixed instant, so that the same schedule always gives the same message.
    let from = seen.policy.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    Span::floor(slots.longest_gap(from))
}
