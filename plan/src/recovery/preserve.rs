//! StorageFailure: the step Preserve, which keeps what can still be read of failing volumes, the check of what was kept, and whether that is what is
//! restored. What fails here holds no recovery up: the failure is told, and the newest healthy point is restored.

use crds::condition::Status;
use crds::job::{CaptureSource, Captured, Checked, Report, RepositoryAccess, Request, SourceContent};
use crds::run::{ChosenPoint, LiveLevels, PointChoice, PreservedPoint, RecoveryRunSpec, Scenario};
use jiff::SignedDuration;

use super::assess::{deadline, policy_gone};
use super::effect::Effect;
use super::mover::{self, Outcome, Wanted, drive};
use super::seen::{Access, Component, Observed};
use super::steps::Kind;
use super::stop::{NO_VOLUME, claims_of};
use super::{Draft, Progress, emergency, texts};
use crate::backup::objects::Wanted as Objects;
use crate::backup::points;
use crate::backup::source::{Content, Source};
use crate::effect::Event;

/// How long preserving may take, and how long a repository that can't be used is waited for.
pub(crate) fn patience(draft: &Draft<'_>) -> SignedDuration {
    let run = &draft.seen.run;
    deadline(run).duration_since(run.created) / 4
}

/// Where what can be read of a component is kept: the name of the repository, and how to reach it.
pub(crate) fn repository(component: &Component) -> (&str, &Result<Access, String>) {
    (&component.emergency.repository, &component.emergency.access)
}

/// Whether a run restores what was preserved where that is whole: nobody has asked for another point.
pub(crate) fn is_wanted(spec: &RecoveryRunSpec) -> bool {
    let asked = spec.point.clone().unwrap_or_default();
    spec.scenario == Scenario::StorageFailure && asked == PointChoice::default()
}

/// Why a run that needs other storage than what fails has none.
pub(crate) fn no_other_storage(seen: &Observed) -> Option<(&'static str, String)> {
    let spec = &seen.run.spec;
    if spec.scenario != Scenario::StorageFailure {
        return None;
    }
    let Some(class) = spec.in_place().and_then(|target| target.storage_class_name.as_deref()) else {
        return Some((
            "InvalidSpec",
            "spec.target.inPlace.storageClassName is missing: StorageFailure restores onto other storage than what fails. Create a new run that names another StorageClass (kubectl get storageclass)".to_owned(),
        ));
    };
    let sources = seen.restored().flat_map(|component| &component.source);
    let claims = sources.flat_map(|source| &source.claims).filter_map(|name| seen.claims.get(name));
    let same = claims.into_iter().find(|claim| claim.class.as_deref() == Some(class))?;
    Some((
        "InvalidSpec",
        format!(
            "spec.target.inPlace.storageClassName is {class}, which claim {} is of: StorageFailure restores onto other storage than what fails. Create a new run that names another StorageClass (kubectl get storageclass), or leave this component out of spec.policies",
            same.name
        ),
    ))
}

/// The step Preserve.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else { return policy_gone(draft, policy) };
    let Ok(source) = &component.source else {
        return Progress::Skipped("the volume could not be found in the pod template any more".to_owned());
    };
    let claims: Vec<String> = claims_of(seen, component).into_iter().map(str::to_owned).collect();
    if claims.is_empty() {
        return Progress::Skipped(NO_VOLUME.to_owned());
    }
    if component.workloads.iter().any(|workload| workload.deletes_claims) {
        return Progress::Skipped(
            "the StatefulSet deletes its claim when it is scaled down (whenScaled: Delete); its volume is retained and can't be mounted to be read".to_owned(),
        );
    }
    let (repository, access) = repository(component);
    let access = match access {
        Ok(access) => access,
        Err(why) => return out_of_reach(draft, index, why),
    };
    let wanted = Wanted {
        keys: Some(access.keys.clone()),
        sources: mover::read_only(&claims),
        objects: Some(Box::new(objects(draft, access, source))),
        place: source.place.clone(),
        identity: seen.identity(component),
        ..Wanted::bare(
            Kind::Preserve,
            policy.to_owned(),
            Request::Preserve {
                repository: RepositoryAccess { evidence: true, ..access.access.clone() },
                attempt: format!("{}/{policy}/preserve", seen.run.uid),
                source: captured(seen, component, source, &claims),
                stopped: true,
            },
        )
    };
    match drive(draft, index, wanted) {
        Outcome::Pending(progress) => progress,
        Outcome::Said(Report::Preserved(captured)) => record(draft, component, repository, &captured),
        Outcome::Said(other) => {
            not_preserved(draft, &format!("unexpected answer {}", mover::kind_of(&other)))
        }
        Outcome::GaveUp(failure) => {
            not_preserved(draft, &format!("{:?}: {}", failure.reason, failure.message))
        }
    }
}

/// The volumes to read, and whose they are.
fn captured(seen: &Observed, component: &Component, source: &Source, claims: &[String]) -> CaptureSource {
    CaptureSource {
        policy: component.policy.clone(),
        namespace: seen.run.namespace.clone(),
        claims: claims.to_vec(),
        content: match &source.content {
            Content::ChromaDb { data_path, image, .. } => {
                SourceContent::ChromaDb { data_path: data_path.clone(), image: image.clone() }
            }
            Content::Application => SourceContent::Application,
        },
        max_writer_pause: SignedDuration::ZERO,
        policy_spec: component.policy_spec.clone(),
    }
}

/// The objects of the component, as they are when nothing is stopped. What opens the repository is not locked up in it.
fn objects(draft: &Draft<'_>, access: &Access, source: &Source) -> Objects {
    let mut wanted = source.objects.clone();
    let keys = &access.keys;
    for secret in keys.secrets() {
        wanted.secrets.remove(&secret.name);
    }
    wanted.stopped.clone_from(&draft.status.stopped);
    wanted
}

/// A repository that can't be used is waited for, not for ever.
fn out_of_reach(draft: &mut Draft<'_>, index: usize, why: &str) -> Progress {
    let begun = draft.status.steps[index].start.unwrap_or(draft.now);
    match begun.checked_add(patience(draft)).ok().filter(|until| *until > draft.now) {
        Some(at) => Progress::Polling { effects: Vec::new(), note: why.to_owned(), at },
        None => not_preserved(draft, why),
    }
}

fn not_preserved(draft: &mut Draft<'_>, why: &str) -> Progress {
    let message = format!("nothing was preserved, and the recovery goes on: {why}");
    draft.events.push(Event::warning("NotPreserved", message.clone()));
    Progress::Done(message)
}

/// Writes down what was preserved, and has it recorded.
fn record(draft: &mut Draft<'_>, component: &Component, repository: &str, captured: &Captured) -> Progress {
    let seen = draft.seen;
    let policy = &component.policy;
    let image = component.source.as_ref().map_or_else(
        |_| String::new(),
        |source| match &source.content {
            Content::ChromaDb { image, .. } => image.clone(),
            Content::Application => String::new(),
        },
    );
    let new = emergency::point(seen, (policy, repository), captured, image);
    let told = captured.emergency.as_ref();
    let preserved = PreservedPoint {
        policy: policy.clone(),
        name: new.name.clone(),
        id: captured.point.clone(),
        repository: repository.to_owned(),
        consistency_time: captured.consistency_time,
        unreadable_bytes: told.map_or(0, |told| told.unreadable_bytes),
        missed_count: told.map_or(0, |told| told.missed_count),
        complete: told.is_some_and(crds::job::Emergency::is_complete),
        whole: None,
    };
    // How it is named must not follow from what else was recorded meanwhile.
    let known = draft.status.preserved.iter().find(|known| known.policy == *policy).cloned();
    let Some(known) = known else {
        draft.status.preserved.push(preserved);
        return Progress::acting(Vec::new(), "recording what was preserved");
    };
    if !emergency::is_recorded(seen, repository, &known.id) {
        let new = points::NewPoint { name: known.name, ..new };
        let effect = Effect::RecordPoint(Box::new(new));
        return Progress::acting(vec![effect], "recording what was preserved");
    }
    let size = crate::size::bytes(captured.bytes);
    let files = texts::count(captured.files, "file");
    let what = told.map(points::emergency).unwrap_or_default();
    Progress::Done(format!("{} in repository {repository}: {files}, {size}; {what}", known.name))
}

/// The step CheckIntegrity: looks at what was preserved, and says what could not be.
pub(crate) fn check(draft: &mut Draft<'_>, index: usize, component: &Component) -> Progress {
    let policy = &component.policy;
    let Some(preserved) = draft.status.preserved.iter().find(|known| known.policy == *policy).cloned() else {
        return Progress::Skipped("nothing was preserved that could be checked".to_owned());
    };
    let (Ok(source), (_, Ok(access))) = (&component.source, repository(component)) else {
        return Progress::Done("not checked: the repository can't be used".to_owned());
    };
    let data_path = match &source.content {
        Content::ChromaDb { data_path, .. } => Some(data_path.clone()),
        Content::Application => None,
    };
    let wanted = Wanted {
        keys: Some(access.keys.clone()),
        identity: draft.seen.identity(component),
        ..Wanted::bare(
            Kind::CheckIntegrity,
            policy.clone(),
            Request::CheckPreserved { repository: access.access.clone(), point: preserved.id, data_path },
        )
    };
    let checked = match drive(draft, index, wanted) {
        Outcome::Pending(progress) => return progress,
        Outcome::Said(Report::Checked(checked)) => checked,
        Outcome::Said(other) => {
            return Progress::Done(format!("not checked: unexpected answer {}", mover::kind_of(&other)));
        }
        Outcome::GaveUp(failure) => return Progress::Done(format!("not checked: {}", failure.message)),
    };
    let whole = checked.finding_count == 0 && checked.findings.is_empty();
    for known in draft.status.preserved.iter_mut().filter(|known| known.policy == *policy) {
        known.whole = Some(whole);
    }
    if let Some(migrations) = &checked.migrations {
        draft.status.levels.retain(|known| known.policy != *policy);
        draft.status.levels.push(LiveLevels { policy: policy.clone(), migrations: migrations.clone() });
    }
    Progress::Done(told(checked, whole))
}

fn told(checked: Checked, whole: bool) -> String {
    let Checked { findings, finding_count, unchecked, repair, .. } = checked;
    let seen = match whole {
        true => "nothing is broken in what was preserved".to_owned(),
        // Two will do: what was not checked and what a repair came to have to fit as well.
        false => mover::found(&findings[..findings.len().min(2)], finding_count),
    };
    [Some(seen), unchecked, repair].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Whether what was preserved is the newest truth: all of it was read after the stop, and nothing is broken in it.
pub(crate) fn is_restorable(preserved: &PreservedPoint) -> bool {
    preserved.complete && preserved.whole == Some(true)
}

/// What is said of something preserved that is not restored.
pub(crate) fn evidence(preserved: &PreservedPoint) -> String {
    let PreservedPoint { name, unreadable_bytes, missed_count, complete, whole, .. } = preserved;
    let why = match (complete, whole) {
        (false, _) => format!(
            "{unreadable_bytes} bytes of it could not be read, {missed_count} files or objects are missing"
        ),
        (true, Some(true)) => "another point was asked for".to_owned(),
        (true, Some(false)) => "it is broken".to_owned(),
        (true, None) => "it could not be checked".to_owned(),
    };
    format!("what was preserved stays as evidence in {name} ({why})")
}

/// The step SelectPoint where what was preserved is whole.
pub(crate) fn select(draft: &mut Draft<'_>, component: &Component, preserved: &PreservedPoint) -> Progress {
    let policy = &component.policy;
    let mut message = format!(
        "{}: all of it was read after the stop, nothing is broken in it, nothing is lost",
        preserved.name
    );
    // What it depends on may have gone back further.
    let older = draft.status.points.iter().find(|point| {
        component.depends_on.contains(&point.policy)
            && point.consistency_time < preserved.consistency_time
            && draft.status.preserved.iter().all(|known| known.id != point.id)
    });
    if let Some(older) = older {
        let ahead = texts::between(older.consistency_time, preserved.consistency_time);
        message.push_str(&format!(
            "; {ahead} younger than the point of {0}, which it depends on: it may know of what {0} has lost",
            older.policy
        ));
    }
    draft.condition("SourceResolved", Status::True, "Preserved", message.clone());
    draft.status.points.retain(|point| point.policy != *policy);
    draft.status.points.push(ChosenPoint {
        policy: policy.clone(),
        name: preserved.name.clone(),
        id: preserved.id.clone(),
        repository: preserved.repository.clone(),
        consistency_time: preserved.consistency_time,
    });
    Progress::Done(message)
}
