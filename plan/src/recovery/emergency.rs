//! The step Emergency: before the old volumes are put aside, whatever can still be read of a component is captured. Best effort: what fails is
//! told in the step's message, and holds up no recovery for longer than the step may take.

use crds::Span;
use crds::names;
use crds::point::{DeletionPolicy, RecoveryPointSpec, Trust};
use crds::policy::Origin;
use crds::reference::NameRef;
use jiff::{SignedDuration, Timestamp};

use super::assess;
use super::effect::Effect;
use super::mover::{self, Outcome, Wanted};
use super::seen::{Component, EmergencySeen, Observed, PointSeen, PointState, RunSeen};
use super::steps::Kind;
use super::{Draft, Progress};
use crate::backup::emergency::{Asked, captures, told};
use crate::backup::points::{self, About, NewPoint};
use crate::backup::source::Readable;
use crate::effect::MoverJob;
use crds::job::{Captured, Report};

/// Jobs of the step: with the volumes, and without them.
pub(crate) const ATTEMPTS: u32 = 2;
/// How much longer than its Jobs the step may take until one of them is heard of.
const GRACE: SignedDuration = SignedDuration::from_mins(1);

/// How long the step may take: an eighth of what the run may.
pub(crate) fn limit(run: &RunSeen) -> SignedDuration {
    let whole = assess::deadline(run).duration_since(run.created);
    (whole / 8).max(SignedDuration::from_mins(2))
}

/// After what time nobody waits for it any more.
pub(crate) fn patience(run: &RunSeen) -> SignedDuration {
    limit(run) + GRACE
}

/// How long each of its Jobs may take.
pub(crate) fn of_a_job(run: &RunSeen) -> SignedDuration {
    limit(run) / i32::try_from(ATTEMPTS).unwrap_or(1)
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else {
        return Progress::Skipped(format!("policy {policy} does not exist any more"));
    };
    if is_nothing_left(seen, component) {
        return Progress::Skipped(
            "nothing of it was left when the run began: no volume, no workload".to_owned(),
        );
    }
    let nothing =
        |why: &str| Progress::Done(format!("nothing was captured, and the recovery goes on: {why}"));
    let access = match &component.emergency.access {
        Ok(access) => access,
        Err(why) => return nothing(why),
    };
    let begun = draft.status.steps[index].start.unwrap_or(draft.now);
    let end = begun.checked_add(patience(&seen.run)).unwrap_or(Timestamp::MAX);
    if draft.now >= end {
        let limit = Span::floor(limit(&seen.run));
        return nothing(&format!("it did not end within {limit}, an eighth of what the run may take"));
    }
    draft.next = draft.next.or_at(end);
    let attempt = draft.status.steps[index].attempts.max(1);
    let without_volumes = (attempt > 1).then(|| "the attempt before, with them, came to nothing".to_owned());
    let run = &seen.run;
    let EmergencySeen { logs_since, policy_spec, readable, .. } = component.emergency.clone();
    let mut readable = Readable { identity: seen.identity(component), ..readable };
    // As they are when nothing is stopped.
    readable.objects.stopped.clone_from(&draft.status.stopped);
    let asked = Asked {
        policy: policy.to_owned(),
        namespace: run.namespace.clone(),
        workloads: component.workloads.iter().map(|seen| seen.workload.clone()).collect(),
        policy_spec,
        logs_since,
        without_volumes,
    };
    // One id for both: an attempt that was not heard of may have committed.
    let id = format!("{}/Emergency/{policy}", run.uid);
    let (account, keys) = (names::collector(&run.uid), (access.access.clone(), access.keys.clone()));
    let deadline = Span::floor(of_a_job(run));
    let job = captures(String::new(), account, keys, id, asked, readable, deadline);
    match mover::drive(draft, index, wanted(policy, job)) {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::Preserved(captured)) => record(draft, component, &captured),
        Outcome::Said(other) => match mover::unexpected(&other) {
            Progress::Failed { message, .. } => nothing(&message),
            other => other,
        },
        Outcome::GaveUp(failure) if attempt < ATTEMPTS => {
            Progress::Again { why: format!("{:?}: {}", failure.reason, failure.message) }
        }
        Outcome::GaveUp(failure) => nothing(&format!("{:?}: {}", failure.reason, failure.message)),
    }
}

/// Whether all that there is of a component was created by this run.
fn is_nothing_left(seen: &Observed, component: &Component) -> bool {
    let made = |workload: &crate::workload::WorkloadSeen| {
        workload.recreated.as_ref().is_some_and(|recreated| recreated.by == seen.run.uid)
    };
    component.emergency.readable.claims.is_empty() && component.workloads.iter().all(made)
}

fn wanted(policy: &str, job: MoverJob) -> Wanted {
    Wanted {
        kind: Kind::Emergency,
        policy: policy.to_owned(),
        request: job.request,
        before: job.before,
        account: job.service_account,
        keys: job.keys,
        sources: job.sources,
        objects: job.objects,
        targets: job.targets,
        place: job.place,
        identity: job.identity,
        namespace: job.namespace,
    }
}

/// Records the point unless it is, and says what it holds.
fn record(draft: &Draft<'_>, component: &Component, captured: &Captured) -> Progress {
    let repository = &component.emergency.repository;
    let image = component.emergency.readable.chroma_db.clone().map(|(_, image)| image).unwrap_or_default();
    let point = point(draft.seen, (&component.policy, repository), captured, image);
    if is_recorded(draft.seen, repository, &captured.point) {
        return Progress::Done(told(&point.name, captured).1);
    }
    let note = format!("recording point {}", point.name);
    Progress::acting(vec![Effect::RecordPoint(Box::new(point))], note)
}

/// Whether a point is recorded whole: object and status are two writes.
pub(crate) fn is_recorded(seen: &Observed, repository: &str, id: &str) -> bool {
    let mut own = seen.points.iter().filter(|point| point.id == id && point.repository == repository);
    own.any(|point| point.state != PointState::Unknown)
}

/// The point for what a step has captured of the component of a policy, into a repository: called as it is recorded already, or as no other is.
pub(crate) fn point(
    seen: &Observed,
    (policy, repository): (&str, &str),
    captured: &Captured,
    image: String,
) -> NewPoint {
    let spec = |point: &PointSeen| RecoveryPointSpec {
        policy: point.policy.clone(),
        repository_ref: NameRef::new(&point.repository),
        id: point.id.clone(),
        deletion_policy: DeletionPolicy::default(),
        hold: None,
        trust: Trust::Auto,
    };
    let specs: Vec<(&str, RecoveryPointSpec)> =
        seen.points.iter().map(|point| (point.name.as_str(), spec(point))).collect();
    let about =
        About { policy, repository, origin: Origin::Run, image, hold: None, trust: None, verification: None };
    let taken = specs.iter().map(|(name, spec)| (*name, spec));
    let new = points::new(about, captured, taken, captured.consistency_time);
    let known = seen.points.iter().find(|point| point.id == captured.point && point.repository == repository);
    NewPoint { name: known.map_or(new.name, |known| known.name.clone()), ..new }
}
