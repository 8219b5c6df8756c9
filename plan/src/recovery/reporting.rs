//! The report of a run in its repository, so that it outlives the cluster. It is written when the run has ended, which it holds up no moment, and again
//! whenever what it tells has changed: the texts of the incident, what was attested, how the namespace is left. Whatever fails here changes nothing of what
//! the run came to.

use crds::Span;
use crds::condition::{Status, get, is_true};
use crds::job::{Report, Request};
use crds::names;
use crds::reference::RUN_LABEL;
use crds::run::{RecoveryRunStatus, ReportStatus, RunMode, WrittenReport};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::effect::Effect;
use super::seen::Access;
use super::{Draft, mover, sandbox, settle, texts};
use crate::backoff;
use crate::effect::{Event, JobState, MoverJob, label_value};

/// The step in the names of its Jobs.
const STEP: &str = "Report";
/// How often one report is tried.
const ATTEMPTS: u32 = 6;
/// How long a mover may take.
const PATIENCE: Span = Span::from_mins(5);
/// When to look again at a repository that can't be used, and for how long after the end.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(24);

/// The Job that is still needed after the end of the run.
pub(crate) fn job(draft: &Draft<'_>) -> Option<String> {
    let known = draft.status.report.as_ref()?;
    let run = &draft.seen.run;
    (!is_done(known)).then(|| names::job(&run.name, &run.uid, STEP, known.attempt))
}

/// Whether the last attempt has come to something.
fn is_done(known: &ReportStatus) -> bool {
    known.failures >= ATTEMPTS
        || known.written.as_ref().is_some_and(|written| written.revision == known.attempt)
}

/// Sees to it that the repository has the report of a run that has ended.
pub(crate) fn write(draft: &mut Draft<'_>) {
    let (seen, now) = (draft.seen, draft.now);
    let run = &seen.run;
    if run.spec.mode != RunMode::Run || run.deleting || seen.namespace_terminating || !tells(&draft.status) {
        return;
    }
    let due = hash(draft);
    let Some(known) = draft.status.report.clone() else {
        draft.status.report = Some(ReportStatus {
            repository: repository(draft),
            written: None,
            attempt: 1,
            tells: due,
            failures: 0,
        });
        return;
    };
    if is_done(&known) {
        if known.tells != due {
            let attempt = known.attempt + 1;
            draft.status.report = Some(ReportStatus { attempt, tells: due, failures: 0, ..known });
        }
        return;
    }
    let name = names::job(&run.name, &run.uid, STEP, known.attempt);
    let job = seen.jobs.get(&name);
    match job.map(|job| &job.state) {
        None | Some(JobState::Absent) => match access(draft, &known.repository) {
            Ok(access) => draft.effects.push(make(draft, &known, name, &access)),
            Err(why) => {
                let since = ended(&draft.status).unwrap_or(now);
                unwritten(draft, &why);
                if now.duration_since(since) < GIVEN_UP {
                    draft.next = draft.next.or_at(now.checked_add(AGAIN).unwrap_or(Timestamp::MAX));
                }
            }
        },
        Some(JobState::Running { .. }) => {}
        Some(JobState::Ended(Report::ReportWritten { digest })) => {
            let written = WrittenReport {
                path: path(draft, known.attempt),
                digest: digest.clone(),
                revision: known.attempt,
                tells: known.tells.clone(),
            };
            let message = format!(
                "revision {} lies in repository {}: {}",
                written.revision,
                known.repository,
                how_to_read(draft)
            );
            draft.status.report = Some(ReportStatus { written: Some(written), ..known });
            draft.condition("Reported", Status::True, "Written", message.clone());
            draft.events.push(Event::normal("Reported", message));
        }
        Some(JobState::Ended(Report::Failed(failure))) => {
            let why = format!("{:?}: {}", failure.reason, failure.message);
            let failures = if failure.reason.is_transient() { known.failures + 1 } else { ATTEMPTS };
            again(draft, known, &name, failures, &why);
        }
        Some(JobState::Ended(other)) => {
            let why = format!(
                "the mover answered {}; are controller and mover of one version?",
                mover::kind_of(other)
            );
            again(draft, known, &name, ATTEMPTS, &why);
        }
        Some(JobState::Silent { why }) => {
            let (failures, why) = (known.failures + 1, format!("the mover ended without a report: {why}"));
            again(draft, known, &name, failures, &why);
        }
    }
}

/// Whether there is something to tell: the run has done what it is for, or has touched something.
fn tells(status: &RecoveryRunStatus) -> bool {
    is_true(&status.conditions, "Complete") || settle::begun(status) || status.sandbox.is_some()
}

/// The next attempt, once its time has come; that follows from the end of the Job, which stays until then.
fn again(draft: &mut Draft<'_>, known: ReportStatus, name: &str, failures: u32, why: &str) {
    let ended = draft.seen.jobs.get(name).and_then(|job| job.ended);
    let due = ended.and_then(|ended| ended.checked_add(backoff::after(failures, name)).ok());
    unwritten(draft, why);
    match due.filter(|due| *due > draft.now && failures < ATTEMPTS) {
        Some(at) => draft.next = draft.next.or_at(at),
        None if failures < ATTEMPTS => {
            draft.status.report = Some(ReportStatus { attempt: known.attempt + 1, failures, ..known });
        }
        None => draft.status.report = Some(ReportStatus { failures, ..known }),
    }
}

fn unwritten(draft: &mut Draft<'_>, why: &str) {
    let run = &draft.seen.run;
    let message = format!(
        "the report is not in the repository: {why}. It can be printed all the same: kubectl get hfrun {} -n {} -o json | holdfast report -",
        run.name, run.namespace
    );
    draft.condition("Reported", false, "RepositoryUnavailable", texts::bounded(&message));
}

/// What to type to read it, where the bucket is all that is left too.
fn how_to_read(draft: &Draft<'_>) -> String {
    format!("holdfast report {} --repo URL --format html", draft.seen.run.name)
}

fn make(draft: &Draft<'_>, known: &ReportStatus, name: String, access: &Access) -> Effect {
    let request =
        Request::WriteReport { repository: access.access.clone(), path: path(draft, known.attempt) };
    let job = MoverJob {
        labels: [(RUN_LABEL.to_owned(), label_value(&draft.seen.run.name))].into(),
        keys: Some(access.keys.clone()),
        ..MoverJob::bare(name, request, PATIENCE)
    };
    Effect::CreateJob { step: STEP, job: Box::new(job) }
}

fn path(draft: &Draft<'_>, revision: u32) -> String {
    let run = &draft.seen.run;
    format!("{}/{}/{revision}", run.name, run.uid)
}

/// The repository that the first component was restored from; where nothing was restored, that of the first component.
fn repository(draft: &Draft<'_>) -> String {
    let restored = draft.status.points.first().map(|point| point.repository.clone());
    let first = || draft.seen.components.first().map(|component| component.repository.clone());
    restored.or_else(first).unwrap_or_default()
}

fn access(draft: &Draft<'_>, repository: &str) -> Result<Access, String> {
    let mut of = draft.seen.components.iter().flat_map(|component| {
        [
            (&component.repository, &component.access),
            (&component.emergency.repository, &component.emergency.access),
        ]
    });
    match of.find(|(name, _)| *name == repository) {
        Some((_, access)) => access.clone(),
        None => Err(format!("no policy of the run names repository {repository} any more")),
    }
}

fn ended(status: &RecoveryRunStatus) -> Option<Timestamp> {
    let of = |kind| get(&status.conditions, kind).map(|found| found.last_transition_time.0);
    of("Complete").or_else(|| of("Failed"))
}

/// A hash over what the report tells. What changes after the end by itself is left out: how long something is kept, whose turn it is to act.
fn hash(draft: &Draft<'_>) -> String {
    let spec = &draft.seen.run.spec;
    let conditions: Vec<_> = draft
        .status
        .conditions
        .iter()
        .filter(|found| found.type_ != "Reported" && found.type_ != "SandboxCleaned")
        .map(|found| (&found.type_, &found.status, &found.reason))
        .collect();
    let status = RecoveryRunStatus {
        observed_generation: None,
        epoch: 0,
        report: None,
        notices: None,
        // How long it is kept, and when it went.
        sandbox: draft.status.sandbox.clone().map(sandbox::as_rehearsed),
        quarantine: Vec::new(),
        fenced: Vec::new(),
        conditions: Vec::new(),
        ..draft.status.clone()
    };
    let told = json!({"incident": spec.incident, "attestations": spec.attestations, "status": status, "conditions": conditions});
    names::short_hash(&[&told.to_string()])
}
