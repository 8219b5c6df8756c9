//! Emergency captures: asked for by an annotation, of whatever can be read, whatever state the component is in. They neither hold up ordinary
//! captures nor are held up by them, by a run, by a suspension or by a database that is down; they take no lock and stop nothing. Everything
//! is written down before it is done, as for ordinary captures. What can't be mounted is left out at the next attempt, so that configuration,
//! logs and what the cluster says are there at least.

use std::collections::BTreeMap;

use crds::condition::{self, Status};
use crds::job::{CaptureSource, Captured, FailureReason, Report, Request, SourceContent};
use crds::policy::{ActiveEmergency, EmergencyStatus, LastEmergency, Origin};
use crds::reference::{COLLECT_ROLE, EMERGENCY_REQUESTED_AT, POLICY_LABEL};
use crds::{BackupPolicy, RecoveryRepository, Span, names};
use jiff::{SignedDuration, Timestamp};

use super::source::Readable;
use super::{CONFIRMS, Observed, Plan, conditions, name_of, points};
use crate::backoff;
use crate::effect::{Account, Bound, JobState, MoverJob, OTHER_ANSWER, Volume, label_value};
use crate::{repository, request};

/// Jobs that one may take.
const ATTEMPTS: u32 = 3;
/// How long logs and what the cluster says may take.
pub(crate) const COLLECTING: SignedDuration = SignedDuration::from_mins(2);
/// How long a pod may take that mounts volumes until its first container has ended.
const MOUNTING: SignedDuration = SignedDuration::from_mins(5);
/// Sentences on what is left out that a Job is told.
const LEFT_OUT: usize = 32;
/// Its condition.
const CONDITION: &str = "EmergencyCaptured";
/// Its condition where the request is no time.
const REQUEST: &str = "EmergencyRequestAccepted";

/// What was seen of it.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The repository that it goes to: see [`repository_of`].
    pub repository: Option<&'a RecoveryRepository>,
    /// What can be read; absent while nothing asks for it.
    pub readable: Option<Readable>,
    /// The Job of the capture in `status.emergency.active`, see [`job_name`]; Absent when there is none.
    pub job: JobState,
    /// What its containers have reported, each when it has ended.
    pub turns: Vec<Option<Report>>,
}

/// The repository that an emergency capture goes to: that of the one under way, or what the policy names.
#[must_use]
pub fn repository_of(policy: &BackupPolicy) -> &str {
    let active = policy.status.as_ref().and_then(|status| status.emergency.as_ref()?.active.as_ref());
    active.map_or_else(|| policy.spec.emergency_repository(), |active| &active.repository)
}

/// Whether one is under way or asked for.
#[must_use]
pub fn is_wanted(policy: &BackupPolicy) -> bool {
    let status = policy.status.as_ref().and_then(|status| status.emergency.as_ref());
    let acted = status.and_then(|status| status.observed_requested_at);
    let asked = request::newest(&policy.metadata, EMERGENCY_REQUESTED_AT, acted);
    status.is_some_and(|status| status.active.is_some()) || matches!(asked, Ok(Some(_)))
}

/// The name of the Job that works on `active` now.
#[must_use]
pub fn job_name(policy: &BackupPolicy, active: &ActiveEmergency) -> String {
    match active.confirming {
        true => {
            let step = format!("EmergencyConfirm-{}-{}", active.slot, active.attempt);
            name_of(policy, &step, active.confirms)
        }
        false => capture_job(policy, active),
    }
}

fn capture_job(policy: &BackupPolicy, active: &ActiveEmergency) -> String {
    name_of(policy, &format!("Emergency-{}", active.slot), active.attempt)
}

/// Jobs that are needed while this one is under way.
pub(super) fn kept(policy: &BackupPolicy, status: Option<&EmergencyStatus>) -> Vec<String> {
    let active = status.and_then(|status| status.active.as_ref());
    active.map(|active| vec![job_name(policy, active), capture_job(policy, active)]).unwrap_or_default()
}

/// Goes on with the one that is under way, or begins one.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    let before = plan.status.emergency.clone().unwrap_or_default();
    if let Some(active) = before.active {
        return go_on(seen, plan, active);
    }
    let asked = request::newest(&seen.policy.metadata, EMERGENCY_REQUESTED_AT, before.observed_requested_at);
    match &asked {
        Err(message) => conditions::put(seen, plan, REQUEST, false, "InvalidTime", message),
        Ok(_) => condition::clear(&mut plan.status.conditions, REQUEST),
    }
    let Ok(Some(time)) = asked else { return };
    // One from a clock that runs ahead waits for its time.
    if time > seen.now {
        plan.next = plan.next.or_at(time);
        return;
    }
    let active = ActiveEmergency {
        slot: format!("e{}", time.strftime("%Y%m%d-%H%M%S%3f")),
        attempt: 1,
        started: seen.now,
        since: seen.now,
        repository: seen.policy.spec.emergency_repository().to_owned(),
        without_volumes: None,
        confirming: false,
        confirms: 0,
        not_before: None,
    };
    let status = plan.status.emergency.get_or_insert_default();
    status.observed_requested_at = Some(time);
    status.active = Some(active.clone());
    begin(seen, plan, &active);
}

/// Starts its Job when its time has come and the repository can be used.
fn begin(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveEmergency) {
    if let Some(time) = active.not_before.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
        return;
    }
    let usable = conditions::repository(&active.repository, seen.emergency.repository);
    match (usable, seen.emergency.repository) {
        (Err(problem), _) => {
            let told = format!("the emergency capture waits: {}", problem.message);
            conditions::put(seen, plan, CONDITION, Status::Unknown, "WaitingForRepository", told);
        }
        (Ok(()), Some(repository)) => {
            conditions::put(
                seen,
                plan,
                CONDITION,
                Status::Unknown,
                "Progressing",
                "what can be read is captured",
            );
            let mut readable = seen.emergency.readable.clone().unwrap_or_default();
            // As they are when no capture has stopped them.
            let stopped = plan.status.stopped.iter().flat_map(|stopped| stopped.workloads.clone());
            readable.objects.stopped = stopped.collect();
            plan.emergency = Some(Box::new(job(seen.policy, repository, active, readable)));
        }
        (Ok(()), None) => {}
    }
}

fn go_on(seen: &Observed<'_>, plan: &mut Plan, active: ActiveEmergency) {
    let name = job_name(seen.policy, &active);
    match &seen.emergency.job {
        JobState::Absent => return begin(seen, plan, &active),
        JobState::Running { waiting } => return running(seen, plan, active, waiting.as_deref()),
        JobState::Ended(Report::Preserved(captured)) => succeeded(seen, plan, &active, captured),
        JobState::Ended(Report::NotCommitted) if active.confirming => {
            let why = format!("attempt {} ended without a report and committed nothing", active.attempt);
            again(seen, plan, active, FailureReason::MoverFailed, &why, true);
        }
        JobState::Ended(Report::Failed(failure)) if active.confirming => {
            confirm_again(seen, plan, active, &failure.message);
        }
        JobState::Ended(Report::Failed(failure)) => {
            // The volumes may be the reason.
            let lighter = !failure.reason.is_transient() || failure.reason == FailureReason::ScratchFull;
            again(seen, plan, active, failure.reason, &failure.message, lighter);
        }
        JobState::Ended(_) => again(seen, plan, active, FailureReason::InvalidRequest, OTHER_ANSWER, false),
        JobState::Silent { why } if active.confirming => confirm_again(seen, plan, active, why),
        JobState::Silent { .. } => {
            // Its Job stays until the commit record was looked for, for people who want to see its logs.
            let next = ActiveEmergency { confirming: true, confirms: 1, not_before: None, ..active };
            begin(seen, plan, &next);
            set_active(plan, Some(next));
            return;
        }
    }
    plan.delete.push(name);
}

/// Waits, but not for a volume that does not come.
fn running(seen: &Observed<'_>, plan: &mut Plan, active: ActiveEmergency, waiting: Option<&str>) {
    let begun = seen.emergency.turns.first().is_some_and(Option::is_some);
    let until = active.since.checked_add(MOUNTING).unwrap_or(Timestamp::MAX);
    if active.confirming || active.without_volumes.is_some() || begun {
        return;
    }
    if seen.now < until {
        plan.next = plan.next.or_at(until);
        if let Some(why) = waiting {
            let told = format!("the emergency capture waits: {why}");
            conditions::put(seen, plan, CONDITION, Status::Unknown, "Progressing", told);
        }
        return;
    }
    let why = format!(
        "its pod did not start within {}m: {}",
        MOUNTING.as_mins(),
        waiting.unwrap_or("a volume may not be mountable")
    );
    plan.delete.push(job_name(seen.policy, &active));
    again(seen, plan, active, FailureReason::MoverFailed, &why, true);
}

fn set_active(plan: &mut Plan, active: Option<ActiveEmergency>) {
    plan.status.emergency.get_or_insert_default().active = active;
}

/// The next attempt, `lighter`: without volumes; or the end.
fn again(
    seen: &Observed<'_>,
    plan: &mut Plan,
    active: ActiveEmergency,
    reason: FailureReason,
    why: &str,
    lighter: bool,
) {
    if active.confirming {
        plan.delete.push(capture_job(seen.policy, &active));
    }
    // Without volumes the same final failure would only come again.
    let in_vain = lighter && active.without_volumes.is_some();
    if active.attempt >= ATTEMPTS || in_vain {
        let told = format!(
            "after {} attempts nothing was captured: {why}; correct that and ask again (annotation {EMERGENCY_REQUESTED_AT})",
            active.attempt
        );
        return ended(seen, plan, &active, (Status::False, &format!("{reason:?}")), &told, None, 0);
    }
    let without = lighter.then(|| why.chars().take(500).collect());
    // A lighter one has nothing to wait for.
    let wait = (!lighter).then(|| backoff::after(active.attempt, &capture_job(seen.policy, &active)));
    let at = seen.now + wait.unwrap_or_default();
    plan.next = plan.next.or_at(at);
    let next = ActiveEmergency {
        attempt: active.attempt + 1,
        since: at,
        without_volumes: active.without_volumes.clone().or(without),
        confirming: false,
        confirms: 0,
        not_before: Some(at),
        ..active
    };
    let told = format!("attempt {} of {ATTEMPTS} captured nothing: {why}", next.attempt - 1);
    conditions::put(seen, plan, CONDITION, Status::Unknown, "Progressing", told);
    set_active(plan, Some(next));
}

fn confirm_again(seen: &Observed<'_>, plan: &mut Plan, active: ActiveEmergency, why: &str) {
    if active.confirms >= CONFIRMS {
        let why = format!(
            "attempt {} ended without a report, and whether it committed a point could not be found out: {why}",
            active.attempt
        );
        return again(seen, plan, active, FailureReason::MoverFailed, &why, true);
    }
    let at = seen.now + backoff::after(active.confirms, &job_name(seen.policy, &active));
    plan.next = plan.next.or_at(at);
    set_active(plan, Some(ActiveEmergency { confirms: active.confirms + 1, not_before: Some(at), ..active }));
}

fn succeeded(seen: &Observed<'_>, plan: &mut Plan, active: &ActiveEmergency, captured: &Captured) {
    if active.confirming {
        plan.delete.push(capture_job(seen.policy, active));
    }
    let readable = seen.emergency.readable.clone().unwrap_or_default();
    let about = points::About {
        policy: seen.policy.metadata.name.as_deref().unwrap_or_default(),
        repository: &active.repository,
        origin: Origin::Emergency,
        image: readable.chroma_db.map(|(_, image)| image).unwrap_or_default(),
        hold: None,
        trust: None,
        verification: None,
    };
    let beside = plan.record.iter().map(|new| (new.name.as_str(), &new.spec));
    let point = points::new(about, captured, points::taken(seen.points).chain(beside), seen.now);
    let (missing, told) = told(&point.name, captured);
    let reason = if missing == 0 { "Captured" } else { "CapturedInPart" };
    plan.preserved = Some(Box::new(point.clone()));
    ended(seen, plan, active, (Status::True, reason), &told, Some(&point.name), missing);
}

/// How much is not in an emergency capture, and a sentence on what is and what is not.
pub(crate) fn told(point: &str, captured: &Captured) -> (u64, String) {
    let emergency = captured.emergency.as_ref();
    let missing = emergency.map_or(0, |seen| seen.unreadable_count.saturating_add(seen.missed_count));
    let what = emergency.map_or_else(String::new, |seen| format!("; {}", points::emergency(seen)));
    let evidence = emergency.map_or(0, |seen| seen.evidence);
    let (files, objects) =
        (captured.files.saturating_sub(evidence).saturating_sub(captured.objects), captured.objects);
    (
        missing,
        format!("{point} holds {files} files, {objects} objects and {evidence} files of evidence{what}"),
    )
}

fn ended(
    seen: &Observed<'_>,
    plan: &mut Plan,
    active: &ActiveEmergency,
    (status, reason): (Status, &str),
    told: &str,
    point: Option<&str>,
    missing: u64,
) {
    let told: String = told.chars().take(2000).collect();
    conditions::put(seen, plan, CONDITION, status, reason, told);
    let emergency = plan.status.emergency.get_or_insert_default();
    emergency.active = None;
    emergency.last = Some(LastEmergency {
        time: seen.now,
        reason: reason.to_owned(),
        point: point.map(str::to_owned),
        repository: active.repository.clone(),
        missing,
    });
}

/// The Job: what people need to see is collected by a container with a token, and stored with what can be read by one with a key.
fn job(
    policy: &BackupPolicy,
    repository: &RecoveryRepository,
    active: &ActiveEmergency,
    readable: Readable,
) -> MoverJob {
    let meta = &policy.metadata;
    let (name, uid) = (meta.name.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default());
    let access = repository::access(repository);
    let attempt = format!("{uid}/{}/{}", active.slot, active.attempt);
    let labels = BTreeMap::from([(POLICY_LABEL.to_owned(), label_value(&name))]);
    let keys = repository::keys(repository);
    if active.confirming {
        let confirm = Request::Confirm { repository: access, attempt };
        let bare = MoverJob::bare(job_name(policy, active), confirm, Span::from_mins(5));
        return MoverJob { labels, keys: Some(keys), ..bare };
    }
    let asked = Asked {
        policy: name,
        namespace: meta.namespace.clone().unwrap_or_default(),
        workloads: policy.spec.component.workloads.clone(),
        policy_spec: serde_json::to_value(&policy.spec).unwrap_or_default(),
        logs_since: policy.spec.emergency.clone().unwrap_or_default().logs_since,
        without_volumes: active.without_volumes.clone(),
    };
    let deadline = Span::from_secs(policy.spec.objectives.rpo.as_secs().clamp(1800, 6 * 3600));
    let account = names::collector(&uid);
    MoverJob {
        labels,
        ..captures(job_name(policy, active), account, (access, keys), attempt, asked, readable, deadline)
    }
}

/// What is captured, for whom.
pub(crate) struct Asked {
    pub(crate) policy: String,
    pub(crate) namespace: String,
    pub(crate) workloads: Vec<crds::reference::WorkloadRef>,
    pub(crate) policy_spec: serde_json::Value,
    pub(crate) logs_since: Span,
    /// Why its volumes are left out, where they are.
    pub(crate) without_volumes: Option<String>,
}

/// A Job that captures what is readable.
pub(crate) fn captures(
    name: String,
    account: String,
    (access, keys): (crds::job::RepositoryAccess, crate::effect::RepositoryKeys),
    attempt: String,
    asked: Asked,
    readable: Readable,
    deadline: Span,
) -> MoverJob {
    let with_volumes = asked.without_volumes.is_none();
    let claims = if with_volumes { readable.claims } else { Vec::new() };
    let mut missing = readable.left_out;
    missing.extend(asked.without_volumes.map(|why| format!("the volumes are left out: {why}")));
    missing.truncate(LEFT_OUT);
    let content = match readable.chroma_db {
        Some((data_path, image)) if !claims.is_empty() => SourceContent::ChromaDb { data_path, image },
        _ => SourceContent::Application,
    };
    let within = COLLECTING.min(deadline.to_duration() / 4);
    let collect = Request::Collect {
        namespace: asked.namespace.clone(),
        workloads: asked.workloads,
        claims: claims.clone(),
        logs_since: asked.logs_since.to_duration(),
        within,
        missing,
    };
    // What opens the repository is not locked up in it.
    let mut objects = readable.objects;
    for secret in keys.secrets() {
        objects.secrets.remove(&secret.name);
    }
    let volume = |claim: &String| (claim.clone(), Volume { claim: claim.clone(), read_only: true });
    let sources = claims.iter().map(volume).collect();
    let source = CaptureSource {
        policy: asked.policy,
        namespace: asked.namespace,
        claims,
        content,
        max_writer_pause: SignedDuration::ZERO,
        policy_spec: asked.policy_spec,
    };
    let request = Request::Preserve { repository: access, attempt, source, stopped: !readable.written };
    MoverJob {
        before: vec![collect],
        keys: Some(keys),
        sources,
        objects: Some(Box::new(objects)),
        place: if with_volumes { readable.place } else { crate::effect::Place::default() },
        identity: readable.identity,
        service_account: Some(Account { name: account, role: COLLECT_ROLE, bound: Bound::WithItsJob }),
        ..MoverJob::bare(name, request, deadline)
    }
}
