//! When a repository is probed and what a probe's result means. A repository that can't be used parks whatever needs it
//! and heals by itself: every failure is tried again, one that somebody must mend every minute at the latest. It refuses to
//! call a repository Ready whose only key is inside the cluster.

pub mod catalogue;
mod conditions;
mod coverage;
pub mod deletion;
pub mod maintenance;
pub mod marks;
mod usage;
mod work;

use crds::job::{Failure, FailureReason, Report, RepositoryAccess, RepositoryPlace, Request};
use crds::point::RecoveryPointStatus;
use crds::reference::REQUESTED_AT;
use crds::repository::{PlaceRef, Probe, RecoveryRepositoryStatus, RepositoryMode};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, Span};
use jiff::{SignedDuration, Timestamp};

use crate::backoff;
use crate::backup::points::NewPoint;
use crate::coverage::Look;
use crate::effect::{Event, JobState, MoverJob, Next, RepositoryKeys, transitions};
use crate::request;

/// How long a good probe is believed.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// The longest wait after a failure that somebody must mend: a Secret is repaired without any event reaching us, as nobody
/// without the right to read Secrets may watch them.
const PERMANENT: SignedDuration = SignedDuration::from_secs(60);
/// How long a probe may take, waiting for its pod included.
const DEADLINE: Span = Span::from_mins(5);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The repository.
    pub repository: &'a RecoveryRepository,
    /// It or its namespace is being deleted.
    pub terminating: bool,
    /// The Job of the probe numbered in its status.
    pub job: JobState,
    /// The Job of the round of the catalogue in its status, see [`catalogue::job_name`].
    pub catalogue: JobState,
    /// The Job of the round of marks in its status, see [`marks::job_name`].
    pub marks: JobState,
    /// The Job of the round of maintenance in its status, see [`maintenance::job_name`].
    pub maintenance: JobState,
    /// Jobs of this repository that have ended, by name.
    pub ended_jobs: Vec<String>,
    /// A RecoveryRun of the namespace that has not ended: it may need any point.
    pub run: Option<String>,
    /// When a run last told the bucket to seal or unseal it: what the last probe saw before that is no longer so.
    pub sealing: Option<Timestamp>,
    /// What of the namespace no policy covers, where somebody looked.
    pub coverage: Look,
    /// Every policy of the namespace.
    pub policies: &'a [BackupPolicy],
    /// Every point of the namespace.
    pub points: &'a [RecoveryPoint],
    /// The time.
    pub now: Timestamp,
}

/// What to do, in this order: record and forget points, write the status, then delete and start Jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status as it has to be.
    pub status: RecoveryRepositoryStatus,
    /// A Job to start unless it exists.
    pub start: Option<MoverJob>,
    /// A Job to delete: its result is in the status.
    pub delete: Option<String>,
    /// What to do for the catalogue.
    pub catalogue: Catalogue,
    /// What to do for maintenance.
    pub maintain: Maintain,
    /// Finalizers of points that change. After the status, and after points were forgotten.
    pub finalizers: Vec<deletion::Finalizer>,
    /// Statuses of points that change, by name: what is trusted. Before the status, which forgets what was told.
    pub judged: Vec<(String, RecoveryPointStatus)>,
    /// A Job to start unless it exists: it tells the bucket what is on hold and what is trusted.
    pub mark: Option<MoverJob>,
    /// Other Jobs to delete whose results are in the status, those of earlier rounds too.
    pub over: Vec<String>,
    /// What to tell.
    pub events: Vec<Event>,
    /// When to look again.
    pub next: Next,
}

/// What to do for the catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// Points to record unless they are recorded. Before the status, which forgets that they were found.
    pub record: Vec<NewPoint>,
    /// A Job to start unless it exists.
    pub start: Option<MoverJob>,
}

/// What to do for maintenance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maintain {
    /// RecoveryPoints to delete, by name: their points were removed. Before the status, which forgets which they were.
    pub forget: Vec<String>,
    /// A Job to start unless it exists.
    pub start: Option<MoverJob>,
}

/// The name of the Job of probe `number`.
#[must_use]
pub fn job_name(repository: &RecoveryRepository, number: u32) -> String {
    work::name(repository, "Probe", number)
}

/// How a mover reaches this repository.
#[must_use]
pub fn access(repository: &RecoveryRepository) -> RepositoryAccess {
    let place = match repository.spec.place() {
        PlaceRef::S3(s3) => RepositoryPlace::S3 {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            bucket: s3.bucket.clone(),
            prefix: s3.prefix.clone(),
            addressing: s3.addressing,
        },
        PlaceRef::Volume(claim) => RepositoryPlace::Volume { claim: claim.to_owned() },
    };
    RepositoryAccess {
        place,
        expected_id: repository.status.as_ref().and_then(|status| status.unique_id.clone()),
        read_only: repository.spec.mode == RepositoryMode::ReadOnly,
        sealed: repository.spec.mode == RepositoryMode::Sealed,
        evidence: false,
        lock: repository.spec.lock(),
    }
}

/// The mode in force: the stricter of what the spec and what a seal in the bucket says.
#[must_use]
pub fn mode(repository: &RecoveryRepository, status: &RecoveryRepositoryStatus) -> RepositoryMode {
    match &status.seal {
        Some(_) => RepositoryMode::Sealed,
        None => repository.spec.mode,
    }
}

/// The Secrets that a mover needs for this repository. The second key is not among them: only a probe adds it.
#[must_use]
pub fn keys(repository: &RecoveryRepository) -> RepositoryKeys {
    let s3 = repository.spec.s3.as_ref();
    RepositoryKeys {
        credentials: s3.map(|s3| s3.credentials.writer.secret_ref.clone()),
        key: repository.spec.encryption.key_secret_ref.clone(),
        escrow: None,
        ca: s3.and_then(|s3| s3.ca_bundle_ref.clone()),
    }
}

/// Decides.
#[must_use]
pub fn plan(seen: &Observed<'_>) -> Plan {
    let repository = seen.repository;
    let generation = repository.metadata.generation.unwrap_or_default();
    let before = repository.status.clone().unwrap_or_default();
    let mut plan = Plan {
        status: before.clone(),
        start: None,
        delete: None,
        catalogue: Catalogue::default(),
        maintain: Maintain::default(),
        finalizers: vec![],
        judged: vec![],
        mark: None,
        over: vec![],
        events: vec![],
        next: Next::OnChange,
    };
    if seen.terminating {
        // No Job can start any more, and what is in the bucket stays there.
        return plan;
    }
    plan.status.observed_generation = Some(generation);
    // Facts of the running probe.
    match (before.probe.clone(), &seen.job) {
        (Some(probe @ Probe { finished: None, .. }), state) => match state {
            JobState::Absent => plan.start = Some(job(repository, probe.number)),
            JobState::Running { waiting } => conditions::waiting(seen, &mut plan.status, waiting.as_deref()),
            JobState::Ended(report) => {
                ended(seen, &mut plan.status, &probe, Ok(report));
                plan.delete = Some(job_name(repository, probe.number));
            }
            JobState::Silent { why } => {
                ended(seen, &mut plan.status, &probe, Err(why));
                plan.delete = Some(job_name(repository, probe.number));
            }
        },
        // Recorded, but we were stopped before the Job was deleted.
        (Some(probe), JobState::Running { .. } | JobState::Ended(_) | JobState::Silent { .. }) => {
            plan.delete = Some(job_name(repository, probe.number));
        }
        (Some(_), JobState::Absent) | (None, _) => {}
    }

    plan.status.mode = Some(mode(repository, &plan.status));
    conditions::sealed(seen, &mut plan.status);
    usage::add_recorded(seen, &mut plan.status);
    conditions::lock_in_force(seen, &mut plan.status);
    if is_known(repository, &plan.status) {
        conditions::escrowed(seen, &mut plan.status);
    }

    // The next probe.
    let asked = request::newest(&repository.metadata, REQUESTED_AT, plan.status.observed_requested_at);
    let maintenance =
        maintenance::asked(repository, plan.status.maintenance.as_ref().and_then(|round| round.asked));
    conditions::requested(seen, &mut plan.status, asked.as_ref().err().or(maintenance.as_ref().err()));
    let asked = asked.ok().flatten();
    match due(repository, &plan.status, asked, seen.sealing) {
        None => {}
        Some(due) if due > seen.now => plan.next = plan.next.or_at(due),
        Some(_) => {
            if let Some(time) = asked.filter(|time| *time <= seen.now) {
                plan.status.observed_requested_at = Some(time);
            }
            let last = plan.status.probe.as_ref();
            let number = last.map_or(1, |probe| probe.number.saturating_add(1));
            plan.start = Some(job(repository, number));
            plan.status.probe = Some(Probe {
                number,
                started: seen.now,
                spec: repository.spec.probed_hash(),
                finished: None,
                failures: last.map_or(0, |probe| probe.failures),
            });
            conditions::begun(seen, &mut plan.status);
        }
    }
    catalogue::follow(seen, &mut plan);
    maintenance::follow(seen, &mut plan);
    deletion::follow(seen, &mut plan);
    marks::follow(seen, &mut plan);
    coverage::follow(seen, &mut plan);
    plan.over = work::over(repository, &plan.status, &seen.ended_jobs);
    plan.over.retain(|job| plan.delete.as_ref() != Some(job));
    // That nothing is locked where nothing was asked for is no news.
    let told: &[&str] = match repository.spec.lock() {
        Some(_) => &[
            "Ready",
            "ConditionalWrites",
            "RequestAccepted",
            "ImmutabilityEnforced",
            "MaintenanceHealthy",
            "Sealed",
            "CoverageComplete",
        ],
        None => &[
            "Ready",
            "ConditionalWrites",
            "RequestAccepted",
            "MaintenanceHealthy",
            "Sealed",
            "CoverageComplete",
        ],
    };
    plan.events.extend(transitions(&before.conditions, &plan.status.conditions, told));
    plan
}

/// Whether the last probe was good and told of the spec as it is.
fn is_known(repository: &RecoveryRepository, status: &RecoveryRepositoryStatus) -> bool {
    status.probe.as_ref().is_some_and(|probe| {
        probe.finished.is_some() && probe.failures == 0 && probe.spec == repository.spec.probed_hash()
    })
}

/// When the next probe starts; never while one runs.
fn due(
    repository: &RecoveryRepository,
    status: &RecoveryRepositoryStatus,
    asked: Option<Timestamp>,
    sealing: Option<Timestamp>,
) -> Option<Timestamp> {
    let Some(probe) = &status.probe else { return Some(Timestamp::MIN) };
    let finished = probe.finished?;
    if probe.failures == 0 && sealing.is_some_and(|time| time >= probe.started) {
        return Some(finished);
    }
    if probe.spec != repository.spec.probed_hash() {
        return Some(finished);
    }
    let wait = match probe.failures {
        0 if conditions::awaits_second_key(&repository.spec, status) => PERMANENT,
        0 => INTERVAL,
        failures => {
            let wait = backoff::after(failures, &job_name(repository, probe.number));
            if conditions::is_stalled(status) { wait.min(PERMANENT) } else { wait }
        }
    };
    let due = finished + wait;
    Some(asked.map_or(due, |asked| asked.min(due)))
}

fn job(repository: &RecoveryRepository, number: u32) -> MoverJob {
    let escrow = repository.spec.encryption.escrow.as_ref().and_then(|escrow| escrow.key_secret_ref.clone());
    let keys = RepositoryKeys { escrow, ..keys(repository) };
    let request = Request::Probe { repository: access(repository) };
    work::job(repository, job_name(repository, number), request, keys, DEADLINE)
}

fn ended(
    seen: &Observed<'_>,
    status: &mut RecoveryRepositoryStatus,
    probe: &Probe,
    report: Result<&Report, &String>,
) {
    let mut probe = Probe { finished: Some(seen.now), ..probe.clone() };
    match report {
        Ok(Report::Probed(probed)) => {
            let replaced = status.unique_id.as_ref().is_some_and(|id| *id != probed.id);
            if replaced {
                probe.failures = probe.failures.saturating_add(1);
                let failure = conditions::replaced(seen.repository, status, &probed.id);
                conditions::failed(seen, status, &failure, probe.failures);
            } else {
                probe.failures = 0;
                status.unique_id = Some(probed.id.clone());
                status.format_version = Some(probed.format_version);
                status.key_fingerprint = Some(probed.key_fingerprint.clone());
                status.key_slots = Some(probed.key_slots);
                status.seal = probed.seal.clone();
                status.usage = Some(usage::counted(probed.points, probed.bytes, seen.now));
                conditions::probed(seen, status, probed);
            }
        }
        Ok(Report::Failed(failure)) => {
            probe.failures = probe.failures.saturating_add(1);
            conditions::failed(seen, status, failure, probe.failures);
        }
        Ok(_) => {
            probe.failures = probe.failures.saturating_add(1);
            let failure = Failure {
                reason: FailureReason::InvalidRequest,
                message: crate::effect::OTHER_ANSWER.to_owned(),
            };
            conditions::failed(seen, status, &failure, probe.failures);
        }
        Err(why) => {
            probe.failures = probe.failures.saturating_add(1);
            let message = format!("probe {} ended without a report: {why}", probe.number);
            let failure = Failure { reason: FailureReason::MoverFailed, message };
            conditions::failed(seen, status, &failure, probe.failures);
        }
    }
    status.probe = Some(probe);
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
