//! Captures the component of a policy: its volumes, each in the way that suits what is on it, and its objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::job::{CaptureSource, FailureReason, Report, RepositoryAccess, SourceContent, Turn};
use crds::policy::Cut;
use engine::{PointAttributes, Repository};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Desk, clones, positive, writable};
use crate::application::{self, Volumes};
use crate::body::{Body, Policy, VOLUMES};
use crate::capture::{Source, blocking, lock_command, mirror, store};
use crate::failure::{Failure, Result};
use crate::objects::{self, OBJECTS};
use crate::places::data_dir;
use crate::report;
use crate::seal::{spec_allows, takes_captures};

pub(super) async fn capture(
    desk: &Desk,
    access: &RepositoryAccess,
    attempt: String,
    source: CaptureSource,
    turn: Option<Turn>,
    cut: Option<Cut>,
) -> Result<Report> {
    writable(access, "no capture is taken")?;
    if !access.evidence {
        spec_allows(access, "nothing but evidence is captured")?;
    }
    // Clones are ours alone and are stored from where they are mounted.
    let root = match &cut {
        Some(_) => desk.places.tree(),
        None => desk.places.scratch().join("mirror"),
    };
    // Before anything can go wrong: only the first of several was sent the objects of all.
    let (written, missing) = objects_into(&root, desk, &source)?;
    if let Some(turn) = &turn
        && !its_turn(desk, turn).await
    {
        return Ok(Report::LeftOut);
    }
    let volumes: Vec<(String, PathBuf)> = source
        .claims
        .iter()
        .map(|claim| {
            let at = match &cut {
                Some(_) => desk.places.clone_of(claim)?,
                None => desk.places.source(claim)?,
            };
            Ok((claim.clone(), at))
        })
        .collect::<Result<_>>()?;
    let pause = positive("maxWriterPause", source.max_writer_pause)?;
    // Opened before a lock is taken: a wrong key must not hold writers for nothing.
    let repository = desk.open_locking(access).await?;
    if let Some(point) = repository.find_by_attempt(&attempt).await? {
        desk.telling.say(format!("attempt {attempt} was committed before, as point {}", point.id));
        return super::confirm::committed(desk, &repository, &point).await;
    }
    takes_captures(&repository, access.evidence).await?;
    let started = (desk.environment.clock)();
    for missing in &missing {
        tracing::warn!("{missing} belongs to the component, and there is none or it is empty");
    }
    let mut body =
        Body { volumes: source.claims.clone(), objects: written, objects_missing: missing, ..Body::new() };
    // Captures in a row meet the same pages again and again.
    let aside = turn.as_ref().and_then(|_| aside(&desk.places.scratch()));
    let full_check = turn.is_none_or(|turn| turn.full_check);
    let how = How { max_writer_pause: pause, full_check, aside: aside.clone() };
    let consistency_time = match cut {
        Some(cut) => {
            clones::look_at(&mut body, desk, &repository, &source.content, volumes, &cut).await?;
            cut.at
        }
        None => {
            volumes_into(&mut body, desk, &repository, &source.content, volumes, &root.join(VOLUMES), how)
                .await?
        }
    };
    let (policy, namespace) = (source.policy, source.namespace);
    body.policy =
        Some(Policy { name: policy.clone(), namespace: namespace.clone(), spec: source.policy_spec });
    let attributes = PointAttributes {
        component: policy,
        consistency_time,
        started,
        tags: BTreeMap::from([("namespace".to_owned(), namespace)]),
        body: body.to_value(),
        attempt: Some(attempt),
    };
    let committed = store(&repository, root, aside, attributes, &desk.telling).await?;
    report::captured(&committed.point)
}

/// Waits until the turn has come. Returns false when it is over already.
async fn its_turn(desk: &Desk, turn: &Turn) -> bool {
    let now = || (desk.environment.clock)();
    loop {
        let left = turn.at.duration_since(now());
        let Ok(left) = Duration::try_from(left) else { break };
        if left.is_zero() {
            break;
        }
        // A clock that is set meanwhile is looked at again.
        tokio::time::sleep(left.min(Duration::from_secs(10))).await;
    }
    now() < turn.until
}

/// Where pages that change are laid aside in scratch space. None where that can't be made: it saves work and no more.
fn aside(scratch: &Path) -> Option<PathBuf> {
    let dir = scratch.join("aside");
    std::fs::create_dir_all(&dir).is_ok().then_some(dir)
}

/// How volumes are captured.
struct How {
    max_writer_pause: Duration,
    full_check: bool,
    aside: Option<PathBuf>,
}

/// Copies the volumes to `to`, says in the body what they hold, and returns the instant of the earliest cut.
async fn volumes_into(
    body: &mut Body,
    desk: &Desk,
    repository: &Repository,
    content: &SourceContent,
    volumes: Vec<(String, PathBuf)>,
    to: &Path,
    how: How,
) -> Result<Timestamp> {
    let How { max_writer_pause, full_check, aside } = how;
    let (scratch, telling) = (desk.places.scratch(), desk.telling.clone());
    match content {
        SourceContent::ChromaDb { data_path, image } => {
            let (claim, volume) = only(volumes)?;
            data_dir(&volume, data_path)?;
            let source = Source {
                mirror: to.join(claim),
                volume,
                data_path: data_path.clone(),
                scratch,
                max_writer_pause,
                image: image.clone(),
                full_check,
                aside,
            };
            let chroma = mirror(repository, source, &telling).await?;
            let cut = chroma.guard.locked_at;
            body.chroma = Some(chroma);
            Ok(cut)
        }
        SourceContent::Application => {
            let request = Volumes {
                volumes,
                mirror: to.to_owned(),
                scratch: scratch.join("check"),
                max_writer_pause,
                lock: lock_command()?,
            };
            let clock = desk.environment.clock;
            let facts = blocking(move || application::copy(&request, clock, &telling)).await?;
            let cut = facts.cut_at;
            body.application = Some(facts);
            Ok(cut)
        }
    }
}

/// The volume of a ChromaDB.
pub(super) fn only(volumes: Vec<(String, PathBuf)>) -> Result<(String, PathBuf)> {
    let [only] = <[_; 1]>::try_from(volumes).map_err(|volumes| {
        let why = format!("a ChromaDB lies on one volume, not on {}", volumes.len());
        Failure::new(FailureReason::InvalidRequest, why)
    })?;
    Ok(only)
}

/// Writes the objects of the component into the mirror. Returns how many there are, and those that there are not.
pub(super) fn objects_into(root: &Path, desk: &Desk, source: &CaptureSource) -> Result<(u64, Vec<String>)> {
    let mut sent = sent(desk)?;
    sent.push(policy_of(source));
    objects::write(&root.join(OBJECTS), &source.namespace, &sent, &desk.places.objects())
}

/// The objects that the controller read.
fn sent(desk: &Desk) -> Result<Vec<Value>> {
    let parsed = desk.environment.objects.iter().map(|text| serde_json::from_str(text));
    parsed.collect::<std::result::Result<_, _>>().map_err(|e| {
        Failure::new(FailureReason::InvalidRequest, format!("an object of the Job can't be read: {e}"))
    })
}

/// The policy as an object, so that a namespace can be brought back with what protects it.
fn policy_of(source: &CaptureSource) -> Value {
    json!({
        "apiVersion": format!("{}/{}", crds::GROUP, crds::VERSION), "kind": "BackupPolicy",
        "metadata": {"name": source.policy, "namespace": source.namespace}, "spec": source.policy_spec,
    })
}
