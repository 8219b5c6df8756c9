//! How many records were lost with a corrupted database: those that its replaced volume has and the restored point does not. They are counted after the end of
//! the run, which it holds up no moment and changes nothing of. It is done as well as it can be: a database that can't be read any more says nothing, and that is
//! what the status says then.

use crds::Span;
use crds::condition::get;
use crds::job::{LossRequest, Report, Request};
use crds::names;
use crds::reference::{POLICY_LABEL, RUN_LABEL};
use crds::run::{CountedIn, DataLoss, LostRecords, RunMode, Scenario, StepPhase};
use jiff::{SignedDuration, Timestamp};

use super::effect::Effect;
use super::seen::Component;
use super::{Draft, Progress, mover, swap, texts};
use crate::backoff;
use crate::backup::source::Content;
use crate::effect::{Event, JobState, MoverJob, label_value};

/// The step in the names of its Jobs.
const STEP: &str = "CountLoss";
/// How often it is tried.
const ATTEMPTS: u32 = 3;
/// How long a mover may take: both states are written out and compared.
const PATIENCE: Span = Span::from_hours(2);
/// When to look again at a repository that can't be used, and for how long after the end.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(24);
/// How long after the end a report waits for the numbers. After that it is written without them, and once more with them.
const REPORT_WAITS: SignedDuration = SignedDuration::from_mins(10);
/// Longest reason, in bytes.
const MAX_REASON: usize = 512;

/// What is known of the loss when a component is recovered: the time. Its records are counted later, or here is why not.
pub(crate) fn foreseen(draft: &Draft<'_>, component: &Component, from: Timestamp) -> Option<DataLoss> {
    // Nothing is lost in a rehearsal.
    if draft.seen.run.spec.sandbox().is_some() {
        return None;
    }
    let swaps = draft.status.swaps.iter().filter(|swap| swap.policy == component.policy);
    let unknown = match draft.seen.run.spec.scenario {
        Scenario::SecurityBreach | Scenario::NetworkFailure | Scenario::BackupVerification => return None,
        Scenario::CompleteFailure | Scenario::StorageFailure => {
            Some("records are counted after a DatabaseCorruption only")
        }
        Scenario::DatabaseCorruption if component.application => {
            Some("the files of an application hold no records")
        }
        Scenario::DatabaseCorruption if swaps.filter(|swap| swap.old_volume.is_some()).count() != 1 => {
            Some("no volume of before the recovery was left")
        }
        Scenario::DatabaseCorruption => None,
    };
    let stop = draft.status.steps.iter().find(|step| step.name == "Stop" && step.phase == StepPhase::Done);
    Some(DataLoss {
        from,
        to: stop.and_then(|stop| stop.end),
        records: None,
        counted_in: None,
        count: None,
        unknown: unknown.map(str::to_owned),
        attempt: 1,
    })
}

/// The components whose records are not counted yet: where they stand in the status, the policy, and the attempt.
fn open(draft: &Draft<'_>) -> Vec<(usize, String, u32)> {
    let measured = draft.status.measured.iter().enumerate();
    let open = |loss: &&DataLoss| loss.count.is_none() && loss.unknown.is_none();
    measured
        .filter_map(|(index, of)| {
            let loss = of.data_loss.as_ref().filter(open)?;
            Some((index, of.policy.clone(), loss.attempt))
        })
        .collect()
}

fn job_name(draft: &Draft<'_>, policy: &str, attempt: u32) -> String {
    let run = &draft.seen.run;
    names::job(&run.name, &run.uid, &format!("{STEP}/{policy}"), attempt)
}

/// The Jobs that are still needed after the end of the run.
pub(crate) fn jobs(draft: &Draft<'_>) -> Vec<String> {
    open(draft).iter().map(|(_, policy, attempt)| job_name(draft, policy, *attempt)).collect()
}

/// Sees to it that lost records are counted, of a run that has ended.
pub(crate) fn count(draft: &mut Draft<'_>) {
    let run = &draft.seen.run;
    if run.spec.mode != RunMode::Run || run.deleting || draft.seen.namespace_terminating {
        return;
    }
    for (index, policy, attempt) in open(draft) {
        let name = job_name(draft, &policy, attempt);
        match draft.seen.jobs.get(&name).map(|job| &job.state) {
            None | Some(JobState::Absent) => match make(draft, &policy, name) {
                Ok(effect) => draft.effects.push(effect),
                Err(Hindrance::ForNow(why)) => wait(draft, index, &why),
                Err(Hindrance::ForGood(why)) => give_up(draft, index, &why),
            },
            Some(JobState::Running { .. }) => {}
            Some(JobState::Ended(Report::LossCounted(counted))) => {
                let counted = counted.clone();
                record(draft, index, &policy, counted);
            }
            Some(JobState::Ended(Report::Failed(failure))) => {
                let why = format!("{:?}: {}", failure.reason, failure.message);
                match failure.reason.is_transient() {
                    true => again(draft, index, &name, attempt, &why),
                    false => give_up(draft, index, &why),
                }
            }
            Some(JobState::Ended(other)) => {
                let kind = mover::kind_of(other);
                let why = format!("the mover answered {kind}; are controller and mover of one version?");
                give_up(draft, index, &why);
            }
            Some(JobState::Silent { why }) => {
                let why = format!("the mover ended without a report: {why}");
                again(draft, index, &name, attempt, &why);
            }
        }
    }
}

fn of<'a>(draft: &'a mut Draft<'_>, index: usize) -> Option<&'a mut DataLoss> {
    draft.status.measured.get_mut(index)?.data_loss.as_mut()
}

fn record(draft: &mut Draft<'_>, index: usize, policy: &str, counted: LostRecords) {
    let records = counted.added.saturating_add(counted.altered);
    if let Some(loss) = of(draft, index) {
        (loss.records, loss.counted_in) = (Some(records), Some(CountedIn::Quarantine));
        loss.count = Some(counted.clone());
    }
    let run = &draft.seen.run.name;
    let listed = match &counted.digest {
        Some(_) => format!(": holdfast report {run} --repo URL --lost-records"),
        None => String::new(),
    };
    let message = format!(
        "{policy}: {} that the replaced volume has and the restored point does not, {} that were removed or damaged there and are back{listed}",
        texts::count(records, "record"),
        counted.removed
    );
    draft.events.push(Event::normal("LossCounted", message));
}

fn give_up(draft: &mut Draft<'_>, index: usize, why: &str) {
    if let Some(loss) = of(draft, index) {
        loss.unknown = Some(texts::cut(&format!("not counted: {why}"), MAX_REASON));
    }
}

/// The next attempt, once its time has come; that follows from the end of the Job, which stays until then.
fn again(draft: &mut Draft<'_>, index: usize, name: &str, attempt: u32, why: &str) {
    if attempt >= ATTEMPTS {
        give_up(draft, index, why);
        return;
    }
    let ended = draft.seen.jobs.get(name).and_then(|job| job.ended);
    let due = ended.and_then(|ended| ended.checked_add(backoff::after(attempt, name)).ok());
    match due.filter(|due| *due > draft.now) {
        Some(at) => draft.next = draft.next.or_at(at),
        None => {
            if let Some(loss) = of(draft, index) {
                loss.attempt += 1;
            }
        }
    }
}

/// Something that may come true; not for ever.
fn wait(draft: &mut Draft<'_>, index: usize, why: &str) {
    if draft.now.duration_since(ended(draft)) >= GIVEN_UP {
        give_up(draft, index, why);
        return;
    }
    draft.next = draft.next.or_at(draft.now.checked_add(AGAIN).unwrap_or(Timestamp::MAX));
}

fn ended(draft: &Draft<'_>) -> Timestamp {
    let of = |kind| get(&draft.status.conditions, kind).map(|found| found.last_transition_time.0);
    of("Complete").or_else(|| of("Failed")).unwrap_or(draft.now)
}

/// Whether the first report is better written a little later, when the numbers are known.
pub(crate) fn holds_the_report(draft: &mut Draft<'_>) -> bool {
    if draft.status.report.is_some() || open(draft).is_empty() {
        return false;
    }
    let until = ended(draft).checked_add(REPORT_WAITS).unwrap_or(Timestamp::MAX);
    draft.next = draft.next.or_at(until);
    draft.now < until
}

enum Hindrance {
    ForNow(String),
    ForGood(String),
}

fn make(draft: &Draft<'_>, policy: &str, name: String) -> Result<Effect, Hindrance> {
    let seen = draft.seen;
    let (component, access, source) = mover::parts(draft, policy).map_err(|progress| match progress {
        Progress::Failed { message, .. } => Hindrance::ForGood(message),
        Progress::Acting { note, .. } | Progress::Polling { note, .. } | Progress::Another { note } => {
            Hindrance::ForNow(note)
        }
        Progress::Again { why } | Progress::Done(why) | Progress::Skipped(why) => Hindrance::ForNow(why),
    })?;
    let Content::ChromaDb { data_path, .. } = &source.content else {
        return Err(Hindrance::ForGood(format!("policy {policy} protects no ChromaDB any more")));
    };
    let point = mover::chosen(draft, policy)
        .ok_or_else(|| Hindrance::ForGood(format!("no point was chosen for policy {policy}")))?;
    let kept = draft.status.swaps.iter().find(|swap| swap.policy == policy && swap.old_volume.is_some());
    let there = kept.filter(|swap| {
        swap.old_volume.as_deref().is_some_and(|old| swap::bound(seen, &swap.quarantine_claim, old))
    });
    let Some(kept) = there else {
        return Err(Hindrance::ForGood("the replaced volume is not kept any more".to_owned()));
    };
    let run = &seen.run;
    let request = Request::CountLoss(Box::new(LossRequest {
        repository: access.access.clone(),
        document: format!("{}/{}/{policy}", run.name, run.uid),
        point,
        claim: kept.quarantine_claim.clone(),
        data_path: data_path.clone(),
    }));
    let labels =
        [(POLICY_LABEL.to_owned(), label_value(policy)), (RUN_LABEL.to_owned(), label_value(&run.name))];
    let job = MoverJob {
        labels: labels.into(),
        keys: Some(access.keys.clone()),
        sources: mover::read_only([&kept.quarantine_claim]),
        // Not beside the server: the replaced volume may be on another node.
        place: source.anywhere.clone(),
        identity: seen.identity(component),
        ..MoverJob::bare(name, request, PATIENCE)
    };
    Ok(Effect::CreateJob { step: STEP, job: Box::new(job) })
}
