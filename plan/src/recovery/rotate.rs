//! The step RotateCredentials: what an intruder may have read is replaced once everything is restored, and before anything is started. A mover does
//! it and marks the Secret in the same write, so that no value is replaced twice; what a provider has to know a Job of a CronJob's template
//! does. The run knows names alone, never a value.

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{Change, Report, Request, Rotated, Rotation};
use crds::names;
use crds::reference::ROTATE_ROLE;
use crds::run::{CredentialRotation, NextAction, RotationState, RotationStatus, StepPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::effect::Effect;
use super::mover::{self, Outcome, Wanted};
use super::seen::Observed;
use super::steps::Kind;
use super::{Draft, Progress, revoke, rotated, texts};
use crate::backup::objects::Wanted as Objects;
use crate::effect::{Account, Bound, JobState};

/// Why a run fails that has not replaced every credential.
pub(crate) const NOT_ROTATED: &str = "CredentialsNotRotated";

/// Name of the Job of a rotation that a provider does.
fn job_name(draft: &Draft<'_>, rotation: &str) -> String {
    let run = &draft.seen.run;
    names::job(&run.name, &run.uid, &format!("{}/{rotation}", Kind::RotateCredentials.as_str()), 1)
}

/// Names of those Jobs: they are needed for as long as the step runs.
pub(crate) fn names_of(draft: &Draft<'_>) -> Vec<String> {
    let all = draft.seen.run.spec.credential_rotations.iter();
    all.filter(|rotation| rotation.job.is_some()).map(|rotation| job_name(draft, &rotation.name)).collect()
}

/// The step.
pub(crate) fn advance(draft: &mut Draft<'_>, index: usize) -> Progress {
    let seen = draft.seen;
    let asked = &seen.run.spec.credential_rotations;
    if asked.is_empty() {
        return Progress::Skipped("spec.credentialRotations names none, so none was replaced".to_owned());
    }
    if draft.status.rotations.is_empty() {
        draft.status.rotations = asked.iter().map(begun).collect();
    }
    let rotating = |known: &RotationStatus| known.state == RotationState::Rotating;
    if draft.status.rotations.iter().any(rotating) {
        let wanted = match wanted(draft, asked) {
            Ok(wanted) => wanted,
            Err(progress) => return progress,
        };
        match mover::drive(draft, index, wanted) {
            Outcome::Pending(progress) => return progress,
            Outcome::Said(Report::Rotated(told)) => note(draft, &told),
            Outcome::Said(other) => return mover::unexpected(&other),
            Outcome::GaveUp(failure) => {
                let message = format!("{:?}: {}", failure.reason, failure.message);
                return failed(draft, message);
            }
        }
    }
    match jobs(draft) {
        Jobs::Pending(progress) => return progress,
        Jobs::Ended(ended) => ended.into_iter().for_each(|(name, end)| set(draft, &name, end)),
    }
    let told = match revoke::told(draft, index) {
        Ok(told) => told,
        Err(progress) => return progress,
    };
    let refused: Vec<String> = draft
        .status
        .rotations
        .iter()
        .filter(|known| known.state == RotationState::Refused)
        .map(|known| format!("{}: {}", known.name, known.message))
        .collect();
    if !refused.is_empty() {
        return failed(draft, format!("{}{told}", refused.join("; ")));
    }
    Progress::Done(format!("{}{told}", done(draft)))
}

fn begun(asked: &CredentialRotation) -> RotationStatus {
    RotationStatus {
        name: asked.name.clone(),
        secret: asked.secret_ref.name.clone(),
        state: RotationState::Rotating,
        message: String::new(),
    }
}

fn failed(draft: &mut Draft<'_>, message: String) -> Progress {
    rotated::line(draft);
    Progress::failed(NOT_ROTATED, message)
}

/// The mover that replaces what no provider has to know, and keeps what was there.
fn wanted(draft: &Draft<'_>, asked: &[CredentialRotation]) -> Result<Wanted, Progress> {
    let run = &draft.seen.run;
    // What keeps the old values goes when the run has ended, with what it remembers of the claims.
    let Some(memory) = &draft.seen.memory else {
        return Err(Progress::failed(NOT_ROTATED, "what the run remembers of the claims is gone"));
    };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: names::memory(&run.name, &run.uid),
        uid: memory.uid.clone(),
        ..OwnerReference::default()
    };
    let prepared = asked.iter().filter_map(|rotation| Some(rotation.from.as_ref()?.secret_ref.name.clone()));
    let objects = Objects::of_secrets(prepared.collect());
    Ok(Wanted {
        account: Some(Account {
            name: names::rotator(&run.uid),
            role: ROTATE_ROLE,
            bound: Bound::WithItsOwner,
        }),
        objects: (!objects.secrets.is_empty()).then(|| Box::new(objects)),
        ..Wanted::bare(
            Kind::RotateCredentials,
            mover::WHOLE.to_owned(),
            Request::Rotate {
                namespace: run.namespace.clone(),
                run: run.uid.clone(),
                keeper: names::revoked(&run.uid),
                owner,
                rotations: asked.iter().map(|rotation| change(draft.seen, rotation)).collect(),
            },
        )
    })
}

fn change(seen: &Observed, asked: &CredentialRotation) -> Rotation {
    let change = match (&asked.generate, &asked.from) {
        (Some(generate), _) => Change::Generate { key: generate.key.clone(), length: generate.length },
        (None, Some(from)) => Change::Copy { from: from.secret_ref.name.clone(), keys: from.keys.clone() },
        (None, None) => Change::Elsewhere { keys: keys(seen, asked) },
    };
    Rotation { name: asked.name.clone(), secret: asked.secret_ref.name.clone(), change }
}

/// The keys whose values are replaced. Of what a provider replaces nobody knows which, but for those that a database is asked with.
pub(crate) fn keys(seen: &Observed, asked: &CredentialRotation) -> Vec<String> {
    if asked.job.is_none() {
        return asked.keys().to_vec();
    }
    let secret = asked.secret_ref.name.as_str();
    let of = seen.components.iter().flat_map(rotated::counts).filter(|(name, _)| *name == secret);
    let keys: BTreeSet<String> = of.map(|(_, key)| key.to_owned()).collect();
    keys.into_iter().collect()
}

/// Writes down what the mover came to.
fn note(draft: &mut Draft<'_>, told: &Rotated) {
    let seen = draft.seen;
    let by_a_job = |name: &str| {
        let mut all = seen.run.spec.credential_rotations.iter();
        all.any(|asked| asked.name == name && asked.job.is_some())
    };
    for known in draft.status.rotations.iter_mut().filter(|known| known.state == RotationState::Rotating) {
        if told.done.contains(&known.name) {
            known.state = if by_a_job(&known.name) { RotationState::Kept } else { RotationState::Rotated };
            continue;
        }
        let why = told.refused.iter().find(|not| not.name == known.name).map(|not| not.why.as_str());
        known.state = RotationState::Refused;
        known.message = texts::cut(why.unwrap_or("it was not replaced, for a reason like the others'"), 512);
    }
}

fn set(draft: &mut Draft<'_>, name: &str, end: Result<(), String>) {
    for known in draft.status.rotations.iter_mut().filter(|known| known.name == name) {
        (known.state, known.message) = match &end {
            Ok(()) => (RotationState::Rotated, String::new()),
            Err(why) => (RotationState::Refused, texts::cut(why, 512)),
        };
    }
}

/// What the Jobs of providers come to.
enum Jobs {
    Pending(Progress),
    /// By the names of their rotations.
    Ended(Vec<(String, Result<(), String>)>),
}

fn jobs(draft: &Draft<'_>) -> Jobs {
    let (mut ended, mut effects, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for known in draft.status.rotations.iter().filter(|known| known.state == RotationState::Kept) {
        let all = &draft.seen.run.spec.credential_rotations;
        let Some(by) = all.iter().find(|asked| asked.name == known.name).and_then(|a| a.job.as_ref()) else {
            continue;
        };
        let (name, cron_job) = (job_name(draft, &known.name), &by.cron_job_ref.name);
        match draft.seen.jobs.get(&name) {
            Some(job) if job.completed => ended.push((known.name.clone(), Ok(()))),
            Some(job) => match &job.state {
                JobState::Silent { why } => {
                    let namespace = &draft.seen.run.namespace;
                    let why =
                        format!("its Job failed, {why}; look at kubectl logs job/{name} -n {namespace}");
                    ended.push((known.name.clone(), Err(why)));
                }
                // No Job of ours: whatever its containers wrote means nothing here.
                JobState::Ended(_) => ended.push((known.name.clone(), Err("its Job failed".to_owned()))),
                JobState::Running { waiting } => {
                    waits.push(waiting.clone().unwrap_or_else(|| format!("Job {name} runs")));
                }
                JobState::Absent => waits.push(format!("Job {name} is made")),
            },
            None if !draft.seen.cron_jobs.iter().any(|there| there == cron_job) => {
                let why = format!("CronJob {cron_job} does not exist; apply it, or rotate by hand");
                ended.push((known.name.clone(), Err(why)));
            }
            None => {
                effects.push(Effect::CreateCheckJob {
                    name: name.clone(),
                    policy: None,
                    cron_job: cron_job.clone(),
                    timeout: by.timeout,
                });
                waits.push(format!("Job {name} is made"));
            }
        }
    }
    if waits.is_empty() {
        Jobs::Ended(ended)
    } else {
        Jobs::Pending(Progress::acting(effects, waits.join("; ")))
    }
}

/// What was replaced, and who still runs with what was there.
fn done(draft: &Draft<'_>) -> String {
    let mut secrets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for known in &draft.status.rotations {
        secrets.entry(&known.secret).or_default().push(&known.name);
    }
    let each: Vec<String> =
        secrets.iter().map(|(secret, names)| format!("Secret {secret} ({})", names.join(", "))).collect();
    let mut message = format!("{} rotated: {}", draft.status.rotations.len(), each.join(", "));
    for (secret, pods) in
        draft.seen.readers.iter().filter(|(secret, _)| secrets.contains_key(secret.as_str()))
    {
        message.push_str(&format!(
            "; pod {} reads Secret {secret} and belongs to no component, so it goes on with what it has read until somebody starts it anew",
            texts::cut(&pods.join(", "), 200)
        ));
    }
    message
}

/// What a human does about the credentials that a run has failed to replace. What runs again then has what was restored.
pub(crate) fn by_hand(draft: &Draft<'_>) -> Vec<NextAction> {
    let step = draft.status.steps.iter().find(|step| step.name == Kind::RotateCredentials.as_str());
    if step.is_none_or(|step| step.phase != StepPhase::Failed) {
        return Vec::new();
    }
    let open = draft.status.rotations.iter().filter(|known| known.state != RotationState::Rotated);
    let action = |known: &RotationStatus| NextAction {
        name: format!("rotate-{}", known.name),
        message: texts::cut(
            &format!(
                "put another value into Secret {} before anything is started that reads it",
                known.secret
            ),
            512,
        ),
        command: format!("kubectl edit secret {} -n {}", known.secret, draft.seen.run.namespace),
    };
    open.take(3).map(action).collect()
}

/// What the step would do.
pub(crate) fn foretell(seen: &Observed) -> String {
    let say = |asked: &CredentialRotation| {
        let secret = &asked.secret_ref.name;
        match (&asked.generate, &asked.from, &asked.job) {
            (Some(generate), _, _) => {
                format!("{} of Secret {secret} by {} random characters", generate.key, generate.length)
            }
            (_, Some(from), _) => {
                let (keys, prepared) = (from.keys.join(", "), &from.secret_ref.name);
                format!("{keys} of Secret {secret} by those of Secret {prepared}")
            }
            (_, _, Some(job)) => format!("Secret {secret} by a Job of CronJob {}", job.cron_job_ref.name),
            (None, None, None) => format!("Secret {secret}"),
        }
    };
    let each: Vec<String> = seen.run.spec.credential_rotations.iter().map(say).collect();
    match each.as_slice() {
        [] => "replace no credential: spec.credentialRotations names none".to_owned(),
        each => format!("replace {}; undo: none, what they were is void", texts::cut(&each.join(", "), 600)),
    }
}

/// What no waiting changes: what would break what it is to protect, or contradicts itself.
pub(crate) fn refusal(seen: &Observed) -> Option<String> {
    let asked = &seen.run.spec.credential_rotations;
    for (n, rotation) in asked.iter().enumerate() {
        let (name, secret) = (&rotation.name, &rotation.secret_ref.name);
        for repository in &seen.repositories {
            let is = |found: &[String]| found.contains(secret);
            if is(&repository.key_secrets) {
                return Some(format!(
                    "spec.credentialRotations {name} names Secret {secret}, the key of repository {}: with another one nothing there could be read. The repository has to be told first: holdfast repo rotate-key. Create a new run without it",
                    repository.name
                ));
            }
            if is(&repository.credential_secrets) && rotation.generate.is_some() {
                return Some(format!(
                    "spec.credentialRotations {name} makes up a value for Secret {secret}, the credential of repository {}, which the store would not know: make a new one there, and name it by from or job. Create a new run",
                    repository.name
                ));
            }
        }
        let from = rotation.from.as_ref().map(|from| &from.secret_ref.name);
        let of_key = |from: &String| seen.repositories.iter().find(|known| known.key_secrets.contains(from));
        if let Some(repository) = from.and_then(of_key) {
            return Some(format!(
                "spec.credentialRotations {name} copies the key of repository {}, which nobody else is to have. Create a new run without it",
                repository.name
            ));
        }
        if from == Some(secret) {
            return Some(format!(
                "spec.credentialRotations {name} copies Secret {secret} into itself: name the one that was prepared. Create a new run"
            ));
        }
        let same = |other: &&CredentialRotation| {
            let shared = other.keys().iter().any(|key| rotation.keys().contains(key));
            let job = other.job.is_some() || rotation.job.is_some();
            other.secret_ref.name == *secret && (shared || job)
        };
        if let Some(other) = asked[..n].iter().find(same) {
            return Some(format!(
                "spec.credentialRotations {} and {name} both replace the same of Secret {secret}: leave one out. Create a new run",
                other.name
            ));
        }
    }
    None
}
