//! When a policy captures and what became of each capture. Everything is written down before it is done: the capture in
//! `status.active` before its Job, the point before `active` is cleared; so a controller that dies between any two
//! writes goes on where the last one stopped. A Job that ended without a word is never called failed by guess: another
//! Job looks for its commit record.

pub mod anomaly;
mod conditions;
mod counts;
pub mod emergency;
pub mod fresh;
pub mod hooks;
mod job;
pub mod objects;
mod offline;
mod outcome;
pub mod points;
mod retention;
mod series;
pub mod snapshot;
pub mod source;

use crds::cron::Schedule;
use crds::job::Report;
use crds::policy::{
    ActiveCapture, BackupPolicyStatus, Method, Origin, PolicyMode, Resolved, ResolvedSchedule,
};
use crds::reference::REQUESTED_AT;
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, Span, names};
use jiff::Timestamp;

use crate::effect::{Event, JobState, MoverJob, Next, transitions};
use crate::request;
use crate::schedule::{self, Slots};
use crate::workload::{PodSeen, Scale, WorkloadSeen};
use points::NewPoint;
use source::{Problem, Source};

/// Jobs that one capture may take.
const ATTEMPTS: u32 = 3;
/// Confirm Jobs for one lost Report.
const CONFIRMS: u32 = 5;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The policy.
    pub policy: &'a BackupPolicy,
    /// It or its namespace is being deleted.
    pub terminating: bool,
    /// Its namespace is being deleted: nothing can be started there any more.
    pub namespace_terminating: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// The repository that it names.
    pub repository: Option<&'a RecoveryRepository>,
    /// What is captured.
    pub source: Result<Source, Problem>,
    /// Its workloads that exist.
    pub workloads: &'a [WorkloadSeen],
    /// Pods that mount one of the claims, movers of this policy left out.
    pub pods: &'a [PodSeen],
    /// An older policy that captures one of the claims.
    pub shared_with: Option<String>,
    /// Components that wait for each other, this one among them, as `ai-scholar -> chromadb -> ai-scholar`.
    pub circle: Option<String>,
    /// Snapshots, as far as the policy asks for them or a capture under way reads them.
    pub snapshots: snapshot::Seen,
    /// Hooks may be run in this installation.
    pub hooks_allowed: bool,
    /// The Job of the hooks in `status.hooked`, see [`hooks::job_name`]; Absent when there is none.
    pub hook_job: JobState,
    /// A RecoveryRun that has not ended and works on this policy.
    pub held_by: Option<String>,
    /// What that run asks for, see [`fresh`].
    pub fresh: Option<fresh::Asked>,
    /// The Job of the capture in `status.active`, see [`job_name`]; Absent when there is none.
    pub job: JobState,
    /// What the captures of its series have reported, each when it has ended; empty when it is no series.
    pub turns: Vec<Option<Report>>,
    /// What concerns emergency captures.
    pub emergency: emergency::Seen<'a>,
    /// Jobs of this policy that have ended, by name.
    pub ended_jobs: Vec<String>,
    /// Every point of the namespace: those of other policies tell which names are taken.
    pub points: &'a [RecoveryPoint],
    /// The time.
    pub now: Timestamp,
}

/// What to do, in this order: record the point, remove what captures have left, write the status, then put on or take away the
/// finalizer, scale, delete Jobs, make claims and start Jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// A point to record unless it is recorded. Before the status, which forgets where it came from.
    pub record: Option<Box<NewPoint>>,
    /// The same of an emergency capture.
    pub preserved: Option<Box<NewPoint>>,
    /// Snapshots and clones that nothing needs. Before the status, which forgets what they were for.
    pub sweep: snapshot::Leftovers,
    /// The status as it has to be.
    pub status: BackupPolicyStatus,
    /// Whether the policy is to carry our finalizer, where that changes.
    pub finalizer: Option<bool>,
    /// Workloads to scale. What they are given back stands in the status.
    pub scale: Vec<Scale>,
    /// Jobs to delete: their results are in the status.
    pub delete: Vec<String>,
    /// Claims to make from snapshots unless they exist. The Job reads them.
    pub clones: Vec<snapshot::NewClone>,
    /// A Job to start unless it exists, for a hook.
    pub hook: Option<Box<MoverJob>>,
    /// A Job to start unless it exists.
    pub start: Option<Box<MoverJob>>,
    /// A Job to start unless it exists, for an emergency capture.
    pub emergency: Option<Box<MoverJob>>,
    /// What to tell.
    pub events: Vec<Event>,
    /// When to look again.
    pub next: Next,
}

/// The name of the Job that works on `active` now.
#[must_use]
pub fn job_name(policy: &BackupPolicy, active: &ActiveCapture) -> String {
    if active.confirming {
        let step = format!("Confirm-{}-{}", active.slot, active.attempt);
        name_of(policy, &step, active.confirms)
    } else if snapshot::is_cutting(active) {
        name_of(policy, &format!("Cut-{}", active.slot), active.attempt)
    } else {
        capture_job(policy, &active.slot, active.attempt)
    }
}

fn capture_job(policy: &BackupPolicy, slot: &str, attempt: u32) -> String {
    name_of(policy, &format!("Capture-{slot}"), attempt)
}

fn name_of(policy: &BackupPolicy, step: &str, attempt: u32) -> String {
    let meta = &policy.metadata;
    names::job(
        meta.name.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
        step,
        attempt,
    )
}

/// The name of an attempt in its commit record.
fn attempt_id(policy: &BackupPolicy, slot: &str, attempt: u32) -> String {
    format!("{}/{slot}/{attempt}", policy.metadata.uid.as_deref().unwrap_or_default())
}

/// What a scheduled capture is called.
fn slot_name(slot: Timestamp) -> String {
    slot.strftime("%Y%m%d-%H%M%S").to_string()
}

/// Why no capture may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    Repository(Problem),
    Source(Problem),
    Shared(String),
    Held(String),
    Suspended,
}

/// What the schedule says, or why it says nothing.
struct Calendar {
    schedule: ResolvedSchedule,
    slots: Result<Slots, String>,
    derived: bool,
    /// Captures follow each other in one pod.
    continuous: Option<Span>,
}

/// Decides.
#[must_use]
pub fn plan(seen: &Observed<'_>) -> Plan {
    let policy = seen.policy;
    let before = policy.status.clone().unwrap_or_default();
    let mut plan = Plan {
        record: None,
        preserved: None,
        status: before.clone(),
        sweep: snapshot::Leftovers::default(),
        finalizer: None,
        scale: vec![],
        delete: vec![],
        clones: vec![],
        hook: None,
        start: None,
        emergency: None,
        events: vec![],
        next: Next::OnChange,
    };
    if seen.terminating {
        // No capture can start any more; points stay, and what is in the bucket too. What is owed is given back, where it can be.
        if !seen.namespace_terminating {
            plan.status.active = None;
            if let Some(emergency) = &mut plan.status.emergency {
                emergency.active = None;
            }
            offline::start(seen, &mut plan);
            hooks::follow(seen, &mut plan);
        }
        hold(seen, &mut plan);
        return plan;
    }
    let calendar = calendar(policy);
    plan.status.observed_generation = policy.metadata.generation;
    plan.status.mode = Some(policy.spec.mode);
    plan.status.resolved = Some(resolved(&before, &calendar, &seen.source));

    // What became of the capture under way, and whether it needs the workloads to be stopped.
    let mut stopped = match before.active.clone() {
        Some(active) if active.series.is_some() => {
            series::follow(seen, &mut plan, active, calendar.continuous);
            false
        }
        Some(active) => outcome::follow(seen, &mut plan, active),
        None => false,
    };

    // The next capture.
    let parked = parked(seen);
    let request = request::newest(&policy.metadata, REQUESTED_AT, plan.status.observed_requested_at);
    if plan.status.active.is_none() {
        let request = request.as_ref().ok().copied().flatten();
        stopped = next_capture(seen, &mut plan, &calendar, parked.as_ref(), request);
    }
    if !stopped {
        offline::start(seen, &mut plan);
    }
    hooks::follow(seen, &mut plan);
    hold(seen, &mut plan);
    emergency::follow(seen, &mut plan);
    plan.status.next_capture = calendar
        .slots
        .as_ref()
        .ok()
        .filter(|_| policy.spec.mode == PolicyMode::Active)
        .and_then(|slots| slots.after(seen.now))
        .map(|slot| slot.to_string());

    sweep(seen, &mut plan);
    plan.sweep = snapshot::leftovers(seen, &plan.status);

    // What is known about points.
    points::summarize(seen, &mut plan);
    conditions::set(seen, &mut plan, &calendar, parked.as_ref(), request.as_ref().err());

    if let Some(slot) = plan.status.next_capture.as_ref().and_then(|slot| slot.parse().ok()) {
        plan.next = plan.next.or_at(slot);
    }
    let told = [
        "Ready",
        "RepositoryReady",
        "SourceReady",
        "LastCaptureSucceeded",
        "RPOMet",
        "Verified",
        "RequestAccepted",
        "RetentionEnforced",
        "EmergencyCaptured",
        "EmergencyRequestAccepted",
    ];
    let mut events = transitions(&before.conditions, &plan.status.conditions, &told);
    events.append(&mut plan.events);
    plan.events = events;
    plan
}

/// The policy stays for as long as something is owed; a namespace that goes takes with it whom it was owed.
fn hold(seen: &Observed<'_>, plan: &mut Plan) {
    let owed = plan.status.stopped.is_some() || plan.status.hooked.is_some();
    let owed = owed && !seen.namespace_terminating;
    plan.finalizer = (owed != seen.finalizer).then_some(owed);
}

/// Jobs whose result was recorded by a controller that was stopped before it deleted them.
fn sweep(seen: &Observed<'_>, plan: &mut Plan) {
    let kept = plan.status.active.iter().flat_map(|active| {
        [job_name(seen.policy, active), capture_job(seen.policy, &active.slot, active.attempt)]
    });
    let hook = plan.status.hooked.iter().map(|hooked| hooks::job_name(seen.policy, hooked));
    let emergency = emergency::kept(seen.policy, plan.status.emergency.as_ref());
    let kept: Vec<String> = kept.chain(hook).chain(emergency).collect();
    for job in &seen.ended_jobs {
        if !kept.contains(job) && !plan.delete.contains(job) {
            plan.delete.push(job.clone());
        }
    }
}

fn calendar(policy: &BackupPolicy) -> Calendar {
    let uid = policy.metadata.uid.as_deref().unwrap_or_default();
    match &policy.spec.schedule {
        Some(schedule) => Calendar {
            slots: Slots::parse(schedule, uid).map_err(|error| error.to_string()),
            schedule: told(schedule),
            derived: false,
            continuous: None,
        },
        None => {
            let rpo = policy.spec.objectives.rpo;
            // Only beside a running ChromaDB: nothing is stopped or cut by the storage twice a minute.
            let live = matches!(policy.spec.capture.method(), Method::Live(_));
            // Hooks are of one capture, and take longer than one of a row.
            let alone = policy.spec.capture.hooks.is_some();
            let beside = policy.spec.component.chroma_db.is_some() && live && !alone;
            let continuous = schedule::continuous(rpo).filter(|_| beside);
            let schedule = schedule::derived(rpo);
            match continuous {
                Some(every) => Calendar {
                    slots: Ok(Slots::every(every)),
                    schedule: ResolvedSchedule { cron: format!("@every {every}"), ..told(&schedule) },
                    derived: true,
                    continuous,
                },
                None => Calendar {
                    slots: Slots::parse(&schedule, uid).map_err(|error| error.to_string()),
                    schedule: told(&schedule),
                    derived: true,
                    continuous,
                },
            }
        }
    }
}

fn told(schedule: &Schedule) -> ResolvedSchedule {
    ResolvedSchedule { cron: schedule.cron.clone(), time_zone: schedule.time_zone.clone() }
}

/// What was found keeps standing while it can't be found: a restarting pod must not blink in the status.
fn resolved(before: &BackupPolicyStatus, calendar: &Calendar, source: &Result<Source, Problem>) -> Resolved {
    let last = before.resolved.as_ref();
    match source {
        Ok(source) => Resolved {
            schedule: calendar.schedule.clone(),
            claims: source.claims.clone(),
            service: source.service().ok().flatten().map(|address| address.service.clone()),
            node: source.place.node.clone(),
        },
        Err(_) => Resolved {
            schedule: calendar.schedule.clone(),
            claims: last.map(|r| r.claims.clone()).unwrap_or_default(),
            service: last.and_then(|r| r.service.clone()),
            node: last.and_then(|r| r.node.clone()),
        },
    }
}

/// What is captured, when it can be in the way that the policy asks for.
fn usable<'a>(seen: &'a Observed<'_>) -> Result<&'a Source, Problem> {
    hooks::allowed(seen)?;
    let source = offline::source(seen)?;
    snapshot::class(seen, source).transpose()?;
    Ok(source)
}

fn parked(seen: &Observed<'_>) -> Option<Parked> {
    let spec = &seen.policy.spec;
    if let Err(problem) = conditions::repository(&spec.repository_ref.name, seen.repository) {
        return Some(Parked::Repository(problem));
    }
    if let Err(problem) = usable(seen) {
        return Some(Parked::Source(problem));
    }
    if let Some(other) = &seen.shared_with {
        return Some(Parked::Shared(other.clone()));
    }
    if let Some(run) = &seen.held_by {
        return Some(Parked::Held(run.clone()));
    }
    (spec.mode == PolicyMode::Suspended).then_some(Parked::Suspended)
}

/// Starts a capture when one is due and nothing stands in its way. What is due stays due while parked, several missed
/// slots as one. Returns whether it needs the workloads to be stopped.
fn next_capture(
    seen: &Observed<'_>,
    plan: &mut Plan,
    calendar: &Calendar,
    parked: Option<&Parked>,
    request: Option<Timestamp>,
) -> bool {
    let slot = due_slot(seen, plan, calendar);
    // The run that holds the component waits for this one.
    let fresh = fresh::due(seen, &plan.status);
    let parked = parked.filter(|parked| fresh.is_none() || !matches!(parked, Parked::Held(_)));
    // Whatever the last one stopped runs again before the next one begins.
    if parked.is_some() || plan.status.stopped.is_some() || plan.status.hooked.is_some() {
        return false;
    }
    // A request from a clock that runs ahead waits for its time.
    if let Some(time) = request.filter(|time| *time > seen.now) {
        plan.next = plan.next.or_at(time);
    }
    let request = request.filter(|time| *time <= seen.now);
    let (origin, name) = match (request, slot) {
        _ if let Some(asked) = fresh => (Origin::Run, fresh::slot(asked)),
        (Some(time), _) => (Origin::Requested, format!("r{}", time.strftime("%Y%m%d-%H%M%S%3f"))),
        (None, Some(slot)) => (Origin::Scheduled, slot_name(slot)),
        (None, None) => return false,
    };
    // One capture serves all: a slot that is due at a request is not captured a second time.
    if let Some(time) = request {
        plan.status.observed_requested_at = Some(time);
    }
    if let Some(slot) = slot {
        plan.status.last_slot = Some(slot);
    }
    let active = ActiveCapture {
        slot: name,
        attempt: 1,
        origin,
        started: seen.now,
        snapshot: snapshot::first_stage(seen),
        series: calendar
            .continuous
            .filter(|_| fresh.is_none())
            .map(|every| series::from(slot.unwrap_or(seen.now), every)),
        confirming: false,
        confirms: 0,
        not_before: None,
    };
    plan.status.active = Some(active.clone());
    outcome::begin(seen, plan, &active)
}

/// The newest slot that was missed or is due now. One that is too late is skipped for good.
fn due_slot(seen: &Observed<'_>, plan: &mut Plan, calendar: &Calendar) -> Option<Timestamp> {
    let slots = calendar.slots.as_ref().ok()?;
    let created = seen.policy.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    let since = plan.status.last_slot.unwrap_or(created);
    let slot = slots.newest_due(since, seen.now)?;
    let late = seen.now.duration_since(slot);
    match slots.starting_deadline {
        Some(deadline) if late > deadline.to_duration() => {
            plan.status.last_slot = Some(slot);
            plan.events.push(Event::warning(
                "SlotSkipped",
                format!("the capture of {slot} could not start within {deadline} (schedule.startingDeadline) and is left out"),
            ));
            None
        }
        _ => Some(slot),
    }
}

#[cfg(test)]
mod tests;
