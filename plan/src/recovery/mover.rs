//! The steps that a mover Job does: CheckIntegrity, Restore, VerifyOffline; and what every Job of a run has in common. A
//! Job that ended without a Report is neither success nor failure, and every request here may be repeated, so it is.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::job::{Checked, Failure, Finding, Report, RepositoryAccess, Request, RunMark, Verified};
use crds::names;
use crds::reference::{POLICY_LABEL, RUN_LABEL, SANDBOX_LABEL};
use crds::run::{LiveLevels, Scenario};

use super::assess::{deadline, policy_gone};
use super::effect::Effect;
use super::seen::{Access, Component};
use super::steps::Kind;
use super::stop::{NO_VOLUME, claims_of};
pub(crate) use super::wanted::Wanted;
use super::{Draft, Progress, audit, emergency, preserve, room, texts};
use jiff::SignedDuration;

use crate::backoff;
use crate::backup::source::{Content, Source};
use crate::effect::{JobState, MoverJob, Volume, label_value};

/// What stands for the policy in the Job of a step that concerns the whole run.
pub(crate) const WHOLE: &str = "";

/// How often a step is tried when nothing says that trying again is useless.
const MAX_ATTEMPTS: u32 = 3;

/// How long an assessment waits for what only a mover can see.
const ASSESSED: jiff::SignedDuration = jiff::SignedDuration::from_mins(2);

/// What a Job came to.
pub(crate) enum Outcome {
    /// It has not ended, or has to be made first.
    Pending(Progress),
    /// It said this; a Failure is final.
    Said(Report),
    /// It failed for good, also after all attempts.
    GaveUp(Failure),
}

/// Name of the Job of `kind` for `policy` in `attempt`.
pub(crate) fn job_name(draft: &Draft<'_>, kind: Kind, policy: &str, attempt: u32) -> String {
    let run = &draft.seen.run;
    names::job(&run.name, &run.uid, &format!("{}/{policy}", kind.as_str()), attempt)
}

/// Looks at the Job of step `index`, or makes it.
pub(crate) fn drive(draft: &Draft<'_>, index: usize, wanted: Wanted) -> Outcome {
    let attempt = draft.status.steps[index].attempts.max(1);
    // What these find is worth knowing, not worth waiting for.
    let last = match wanted.kind {
        Kind::CheckIntegrity | Kind::Assess => 1,
        // A repository may be out of reach for a moment; a disk that fails gets no better.
        Kind::Preserve => 2,
        Kind::Emergency => emergency::ATTEMPTS,
        Kind::Audit => audit::ATTEMPTS,
        _ => MAX_ATTEMPTS,
    };
    let name = job_name(draft, wanted.kind, &wanted.policy, attempt);
    let state = draft.seen.jobs.get(&name).map(|job| &job.state);
    match state {
        None | Some(JobState::Absent) => Outcome::Pending(make(draft, attempt, name, wanted)),
        Some(JobState::Running { waiting }) => {
            let note = waiting.clone().unwrap_or_else(|| format!("Job {name} runs"));
            Outcome::Pending(Progress::acting(Vec::new(), note))
        }
        Some(JobState::Ended(Report::Failed(failure))) => {
            if failure.reason.is_transient() && attempt < last {
                let why = format!("{:?}: {}", failure.reason, failure.message);
                Outcome::Pending(again(draft, &name, attempt, why))
            } else {
                Outcome::GaveUp(failure.clone())
            }
        }
        Some(JobState::Ended(report)) => Outcome::Said(report.clone()),
        Some(JobState::Silent { why }) => {
            if attempt < last {
                let why = format!("attempt {attempt} ended without a report: {why}");
                Outcome::Pending(again(draft, &name, attempt, why))
            } else {
                Outcome::GaveUp(Failure {
                    reason: crds::job::FailureReason::MoverFailed,
                    message: format!("attempt {attempt}, the last one, ended without a report: {why}"),
                })
            }
        }
    }
}

/// The next attempt, once its time has come. That time follows from the end of Job `name`, which stays until then, so that
/// a restarted controller neither forgets the wait nor begins it anew.
fn again(draft: &Draft<'_>, name: &str, attempt: u32, why: String) -> Progress {
    let ended = draft.seen.jobs.get(name).and_then(|job| job.ended);
    let due = ended.and_then(|ended| ended.checked_add(backoff::after(attempt, name)).ok());
    match due.filter(|due| *due > draft.now) {
        Some(at) => Progress::Polling {
            effects: Vec::new(),
            note: format!("{why}; attempt {} follows at {}", attempt + 1, at.strftime("%H:%M:%SZ")),
            at,
        },
        None => Progress::Again { why },
    }
}

pub(crate) fn make(draft: &Draft<'_>, attempt: u32, name: String, wanted: Wanted) -> Progress {
    let seen = draft.seen;
    // Two writers in one volume would tear it: an earlier attempt must be gone, its pod included.
    for earlier in 1..attempt {
        let name = job_name(draft, wanted.kind, &wanted.policy, earlier);
        if seen.jobs.contains_key(&name) {
            return Progress::acting(Vec::new(), format!("waiting until Job {name} is gone"));
        }
    }
    for target in wanted.targets.values().filter(|target| !target.read_only) {
        if let Some(pod) = seen.pods_of(&target.claim).next() {
            return Progress::acting(
                Vec::new(),
                format!("waiting until pod {} lets go of claim {}", pod.name, target.claim),
            );
        }
    }
    let end = deadline(&seen.run);
    let left = match wanted.kind {
        Kind::CheckIntegrity => end.duration_since(seen.run.created) / 8,
        Kind::Preserve => preserve::patience(draft),
        Kind::Emergency | Kind::Audit => emergency::of_a_job(&seen.run),
        Kind::Assess => ASSESSED,
        // A look that takes longer is none.
        Kind::Diagnose | Kind::Watch | Kind::Isolate | Kind::Sandbox => SignedDuration::from_mins(3),
        _ => end.duration_since(draft.now),
    };
    let deadline = crds::Span::from_secs(crds::Span::floor(left).as_secs().max(60));
    let of_policy = (wanted.policy != WHOLE).then(|| (POLICY_LABEL.to_owned(), label_value(&wanted.policy)));
    let of_run = (RUN_LABEL.to_owned(), label_value(&seen.run.name));
    let of_sandbox = wanted.namespace.as_ref().map(|_| (SANDBOX_LABEL.to_owned(), seen.run.uid.clone()));
    let job = MoverJob {
        labels: BTreeMap::from_iter(of_policy.into_iter().chain([of_run]).chain(of_sandbox)),
        before: wanted.before,
        service_account: wanted.account,
        keys: wanted.keys,
        sources: wanted.sources,
        objects: wanted.objects,
        targets: wanted.targets,
        place: wanted.place,
        identity: wanted.identity,
        namespace: wanted.namespace,
        ..MoverJob::bare(name.clone(), wanted.request, deadline)
    };
    Progress::acting(
        vec![Effect::CreateJob { step: wanted.kind.as_str(), job: Box::new(job) }],
        format!("Job {name} runs"),
    )
}

/// Claims to read, each at a directory of its name.
pub(crate) fn read_only<'a>(claims: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, Volume> {
    let volume = |claim: &String| Volume { claim: claim.clone(), read_only: true };
    claims.into_iter().map(|claim| (claim.clone(), volume(claim))).collect()
}

/// The run in the repository's replay guard.
pub(crate) fn mark(draft: &Draft<'_>) -> RunMark {
    let run = &draft.seen.run;
    RunMark {
        namespace: run.namespace.clone(),
        name: run.name.clone(),
        uid: run.uid.clone(),
        spec_hash: run.spec.identity_hash(),
    }
}

/// How the repository is opened that something is restored from: a rehearsal writes nothing into it.
pub(crate) fn opened(draft: &Draft<'_>, access: &Access) -> RepositoryAccess {
    let rehearsal = draft.seen.run.spec.sandbox().is_some();
    RepositoryAccess { read_only: access.access.read_only || rehearsal, ..access.access.clone() }
}

/// What a step about `policy` needs to know of its component.
pub(crate) fn parts<'a>(
    draft: &Draft<'a>,
    policy: &str,
) -> Result<(&'a Component, &'a Access, &'a Source), Progress> {
    let Some(component) = draft.seen.component(policy) else { return Err(policy_gone(draft, policy)) };
    let source = component.source.as_ref().map_err(|why| Progress::failed("StepFailed", why.clone()))?;
    let chosen = draft.status.points.iter().find(|point| point.policy == policy);
    let access = match chosen {
        // What was preserved of a failing disk may lie elsewhere than the points of the policy.
        Some(chosen) if chosen.repository != component.repository => preserve::repository(component).1,
        _ => &component.access,
    };
    // Unreachable for now is not a failure of the step.
    let access = access.as_ref().map_err(|why| Progress::acting(Vec::new(), why.clone()))?;
    Ok((component, access, source))
}

pub(crate) fn found(findings: &[Finding], count: u64) -> String {
    let named: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect();
    let more = count.saturating_sub(findings.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", named.join("; "))
}

/// The step CheckIntegrity: says what is broken. Whatever comes out, the recovery goes on.
pub(crate) fn check_integrity(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let Some(component) = draft.seen.component(policy) else { return policy_gone(draft, policy) };
    if draft.seen.run.spec.scenario == Scenario::StorageFailure {
        return preserve::check(draft, index, component);
    }
    if component.application {
        return Progress::Skipped("the files of an application have no structure that is known".to_owned());
    }
    let Ok(source) = &component.source else {
        return Progress::Skipped("the volume could not be found in the pod template any more".to_owned());
    };
    if component.workloads.iter().any(|workload| workload.deletes_claims) {
        let claims = draft.seen.remembered(policy).unwrap_or_default();
        let volumes: Vec<&str> = claims.iter().filter_map(|claim| claim.volume.as_deref()).collect();
        let volume = volumes.join(", ");
        return Progress::Skipped(format!(
            "the StatefulSet deletes its claim when it is scaled down (whenScaled: Delete); volume {volume} is retained and was not opened"
        ));
    }
    let claims = claims_of(draft.seen, component);
    let (Content::ChromaDb { data_path, .. }, [claim]) = (&source.content, claims.as_slice()) else {
        return Progress::Skipped("the claim is not known any more".to_owned());
    };
    let claim = (*claim).to_owned();
    let wanted = Wanted {
        sources: read_only([&claim]),
        place: source.place.clone(),
        identity: draft.seen.identity(component),
        ..Wanted::bare(
            Kind::CheckIntegrity,
            policy.to_owned(),
            Request::CheckIntegrity { claim: claim.clone(), data_path: data_path.clone() },
        )
    };
    let outcome = drive(draft, index, wanted);
    if let Outcome::Said(Report::Checked(Checked { migrations: Some(migrations), .. })) = &outcome {
        draft.status.levels.retain(|known| known.policy != policy);
        draft.status.levels.push(LiveLevels { policy: policy.to_owned(), migrations: migrations.clone() });
    }
    match outcome {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::Checked(checked))
            if checked.finding_count == 0 && checked.findings.is_empty() =>
        {
            Progress::Done("nothing is broken in the files; the recovery goes on, as asked".to_owned())
        }
        Outcome::Said(Report::Checked(checked)) => {
            Progress::Done(found(&checked.findings, checked.finding_count))
        }
        Outcome::Said(other) => Progress::Done(format!("not checked: unexpected answer {}", kind_of(&other))),
        Outcome::GaveUp(failure) => Progress::Done(format!("not checked: {}", failure.message)),
    }
}

/// The step Restore: the point into the new volumes.
pub(crate) fn restore(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let (component, access, source) = match parts(draft, policy) {
        Ok(parts) => parts,
        Err(progress) => return progress,
    };
    let Some(point) = chosen(draft, policy) else { return no_point(policy) };
    let (claims, targets) = targets(draft, component, false);
    if claims.is_empty() {
        return Progress::Skipped(NO_VOLUME.to_owned());
    }
    let wanted = Wanted {
        keys: Some(access.keys.clone()),
        targets,
        place: source.place.clone(),
        identity: draft.seen.identity(component),
        ..Wanted::bare(
            Kind::Restore,
            policy.to_owned(),
            Request::Restore { repository: opened(draft, access), point, claims, run: mark(draft) },
        )
    };
    match drive(draft, index, wanted) {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::Restored(restored)) => {
            let reused = if restored.reused_bytes > 0 {
                format!(", {} of them from an earlier attempt", crate::size::bytes(restored.reused_bytes))
            } else {
                String::new()
            };
            Progress::Done(format!(
                "{}, {}{reused}",
                texts::count(restored.files, "file"),
                crate::size::bytes(restored.bytes)
            ))
        }
        Outcome::Said(other) => unexpected(&other),
        Outcome::GaveUp(failure) => {
            let (reason, message) = reason_of(&failure);
            draft.condition("DataRestored", false, &reason, message.clone());
            Progress::failed(reason, message)
        }
    }
}

/// The step VerifyOffline: the new volumes against the point, before anything is swapped.
pub(crate) fn verify(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let (component, access, source) = match parts(draft, policy) {
        Ok(parts) => parts,
        Err(progress) => return progress,
    };
    let Some(point) = chosen(draft, policy) else { return no_point(policy) };
    let (claims, targets) = targets(draft, component, true);
    if claims.is_empty() {
        return Progress::Skipped(NO_VOLUME.to_owned());
    }
    let restored: Vec<String> = targets.values().map(|target| target.claim.clone()).collect();
    let data_path = match &source.content {
        Content::ChromaDb { data_path, .. } => Some(data_path.clone()),
        Content::Application => None,
    };
    let wanted = Wanted {
        keys: Some(access.keys.clone()),
        targets,
        place: source.place.clone(),
        identity: draft.seen.identity(component),
        ..Wanted::bare(
            Kind::VerifyOffline,
            policy.to_owned(),
            Request::VerifyOffline { repository: opened(draft, access), point, claims, data_path },
        )
    };
    let refused = |draft: &mut Draft<'_>, reason: String, message: String| {
        draft.condition("DataRestored", false, &reason, message.clone());
        Progress::failed(reason, message)
    };
    match drive(draft, index, wanted) {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::Verified(verified)) => {
            let equal = equal(&verified, component.application);
            if let Some(free) = verified.free_percent {
                room::disk(draft, component, free);
            }
            if verified.findings.is_empty()
                && verified.files_equal == verified.files
                && verified.collections_equal == verified.collections
            {
                draft.condition("DataRestored", Status::True, "DigestsMatch", equal.clone());
                Progress::Done(equal)
            } else {
                let what = found(&verified.findings, verified.findings.len() as u64);
                let message =
                    format!("claim {} is not what was captured ({equal}): {what}", restored.join(", "));
                refused(draft, "IntegrityMismatch".to_owned(), message)
            }
        }
        Outcome::Said(other) => unexpected(&other),
        Outcome::GaveUp(failure) => {
            let (reason, message) = reason_of(&failure);
            refused(draft, reason, message)
        }
    }
}

/// What of the point was found again.
fn equal(verified: &Verified, application: bool) -> String {
    let digests = format!("{} of {} digests", verified.files_equal, verified.files);
    match application {
        true => format!("{digests} as captured"),
        false => format!(
            "{digests}, {} of {} collections as captured",
            verified.collections_equal, verified.collections
        ),
    }
}

pub(crate) fn no_point(policy: &str) -> Progress {
    Progress::failed("StepFailed", format!("no point was chosen for policy {policy}"))
}

/// The claims of a component, and what is mounted for each: the claim that its volume is restored into.
fn targets(
    draft: &Draft<'_>,
    component: &Component,
    read_only: bool,
) -> (Vec<String>, BTreeMap<String, Volume>) {
    let claims: Vec<String> = claims_of(draft.seen, component).into_iter().map(str::to_owned).collect();
    let restored =
        |claim: &String| Volume { claim: names::restore_claim(claim, &draft.seen.run.uid), read_only };
    let targets = claims.iter().map(|claim| (claim.clone(), restored(claim))).collect();
    (claims, targets)
}

/// Id of the point that was chosen for `policy`.
pub(crate) fn chosen(draft: &Draft<'_>, policy: &str) -> Option<String> {
    draft.status.points.iter().find(|point| point.policy == policy).map(|point| point.id.clone())
}

/// A mover's failure as a reason of the condition Failed.
pub(crate) fn reason_of(failure: &Failure) -> (String, String) {
    use crds::job::FailureReason as R;
    let reason = match failure.reason {
        R::PointNotFound
        | R::PointUnreadable
        | R::PointQuarantined
        | R::CredentialRevoked
        | R::TargetNotEmpty
        | R::IntegrityMismatch
        | R::AlreadyExecuted => {
            format!("{:?}", failure.reason)
        }
        R::RepositoryDamaged => "PointUnreadable".to_owned(),
        R::CredentialsMissing
        | R::AccessDenied
        | R::BucketUnreachable
        | R::Throttled
        | R::KeyMissing
        | R::KeyMismatch
        | R::KeyUnsafe
        | R::Sealed
        | R::RepositoryReplaced
        | R::RepositoryMissing
        | R::FormatTooNew
        | R::LockNotEnforced
        | R::ChromaDBNotFound
        | R::ChromaDBFound
        | R::VersionUnsupported
        | R::LocksNotShared
        | R::Torn
        | R::WriterPauseExceeded
        | R::SnapshotRefused
        | R::SnapshotFailed
        | R::HookFailed
        | R::ObjectRefused
        | R::SourceUnreadable
        | R::ClockBehind
        | R::NotServing
        | R::ServerAccessDenied
        | R::ScratchFull
        | R::NoSpaceLeft
        | R::InvalidRequest
        | R::MoverFailed => {
            return ("StepFailed".to_owned(), format!("{:?}: {}", failure.reason, failure.message));
        }
    };
    (reason, failure.message.clone())
}

/// A mover of another version.
pub(crate) fn unexpected(report: &Report) -> Progress {
    Progress::failed(
        "StepFailed",
        format!(
            "the mover answered {}, which is no answer to this request; are controller and mover of one version?",
            kind_of(report)
        ),
    )
}

pub(crate) fn kind_of(report: &Report) -> &'static str {
    match report {
        Report::Catalogued(_) => "Catalogued",
        Report::Judged(_) => "Judged",
        Report::Marked => "Marked",
        Report::Sealed { .. } => "Sealed",
        Report::Pruned(_) => "Pruned",
        Report::Probed(_) => "Probed",
        Report::Captured(_) => "Captured",
        Report::Preserved(_) => "Preserved",
        Report::Cut(_) => "Cut",
        Report::ReportWritten { .. } => "ReportWritten",
        Report::NotCommitted => "NotCommitted",
        Report::LeftOut => "LeftOut",
        Report::Ran => "Ran",
        Report::Extracted { .. } => "Extracted",
        Report::Recreated(_) => "Recreated",
        Report::Rotated(_) => "Rotated",
        Report::Collected(_) => "Collected",
        Report::Inventoried { .. } => "Inventoried",
        Report::Audited(_) => "Audited",
        Report::LossCounted(_) => "LossCounted",
        Report::Checked(_) => "Checked",
        Report::Restored(_) => "Restored",
        Report::Verified(_) => "Verified",
        Report::PointsVerified(_) => "PointsVerified",
        Report::Validated { .. } => "Validated",
        Report::Diagnosed(_) => "Diagnosed",
        Report::IsolationProbed(_) => "IsolationProbed",
        Report::Failed(_) => "Failed",
    }
}
