//! An emergency capture: what can still be read of a component is kept, whatever state it is in. Only a repository that can't be written to,
//! or scratch space that fails, ends it; everything else that goes wrong is recorded in the point.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chroma::check::{CheckOptions, CheckReport};
use chroma::fingerprint::Key;
use crds::job::{CaptureSource, Report, RepositoryAccess, SourceContent};
use engine::PointAttributes;
use jiff::Timestamp;

use super::{Desk, capture, collect, confirm, writable};
use crate::application;
use crate::body::{
    ApplicationFacts, Body, ChromaFacts, EmergencyFacts, FileFinding, GuardFacts, Policy, VOLUMES,
};
use crate::capture::{Look, blocking, look, store, unwritable};
use crate::failure::Result;
use crate::places::data_dir;
use crate::preserve::{EVIDENCE, LIST, Preserved};
use crate::report;

/// What the commit record names of ranges and of what is missing; the list in the tree has all.
const NAMED: usize = 200;

pub(super) async fn preserve(
    desk: &Desk,
    access: &RepositoryAccess,
    attempt: String,
    source: CaptureSource,
    stopped: bool,
) -> Result<Report> {
    writable(access, "nothing is preserved in it")?;
    let repository = desk.open_locking(access).await?;
    if let Some(point) = repository.find_by_attempt(&attempt).await? {
        desk.telling.say(format!("attempt {attempt} was committed before, as point {}", point.id));
        return confirm::committed(desk, &repository, &point).await;
    }
    let clock = desk.environment.clock;
    let root = desk.places.scratch().join("mirror");
    let read_from = clock();
    let mut seen = Preserved::default();
    let (objects, objects_missing) = capture::objects_into(&root, desk, &source).unwrap_or_else(|failure| {
        seen.miss("objects", failure.message);
        (0, Vec::new())
    });
    let volumes = source.claims.iter().map(|claim| Ok((claim.clone(), desk.places.source(claim)?)));
    let volumes: Vec<_> = volumes.collect::<Result<_>>()?;
    let (evidence, telling, to) = (desk.places.evidence(), desk.telling.clone(), root.clone());
    for missed in collect::failures(&evidence) {
        seen.miss(missed.what, missed.why);
    }
    let (mut seen, evidence) = blocking(move || {
        for (claim, from) in &volumes {
            telling.say(format!("read what can be read of claim {claim}"));
            seen.copy(claim, from, &to.join(VOLUMES).join(claim))?;
        }
        let before = seen.files;
        if evidence.is_dir() {
            seen.copy(EVIDENCE, &evidence, &to.join(EVIDENCE))?;
        }
        let found = seen.files - before;
        Ok((seen, found))
    })
    .await?;
    let read_until = clock();
    list(&seen, &root.join(EVIDENCE))?;
    let bytes: u64 = seen.unreadable.iter().map(|range| range.length).sum();
    desk.telling.say(format!(
        "{} files, {bytes} bytes in {} ranges could not be read, {} files, directories or objects are missing",
        seen.files,
        seen.unreadable.len(),
        seen.missed.len()
    ));
    let mut body = Body { volumes: source.claims.clone(), objects, objects_missing, ..Body::new() };
    let read = Read { from: read_from, until: read_until };
    content(&mut body, desk, Key::new(repository.digest_key()), &source, &root, read, &mut seen).await?;
    body.emergency = Some(EmergencyFacts {
        read_from,
        read_until,
        stopped,
        unreadable_count: seen.unreadable.len() as u64,
        unreadable_bytes: bytes,
        missed_count: seen.missed.len() as u64,
        unreadable: seen.unreadable.into_iter().take(NAMED).collect(),
        missed: seen.missed.into_iter().take(NAMED).collect(),
        unstable: seen.unstable.into_iter().take(NAMED).collect(),
        evidence,
    });
    let (policy, namespace) = (source.policy, source.namespace);
    body.policy =
        Some(Policy { name: policy.clone(), namespace: namespace.clone(), spec: source.policy_spec });
    let attributes = PointAttributes {
        component: policy,
        consistency_time: read_from,
        started: read_from,
        tags: BTreeMap::from([("namespace".to_owned(), namespace)]),
        body: body.to_value(),
        attempt: Some(attempt),
    };
    let committed = store(&repository, root, None, attributes, &desk.telling).await?;
    report::captured(&committed.point)
}

/// The whole list of what could not be read, where there is something to list.
fn list(seen: &Preserved, to: &Path) -> Result<()> {
    if seen.is_complete() && seen.unstable.is_empty() {
        return Ok(());
    }
    let file = to.join(LIST);
    let mut text = serde_json::to_vec_pretty(seen).expect("a list of ranges is JSON");
    text.push(b'\n');
    fs::create_dir_all(to).and_then(|()| fs::write(&file, text)).map_err(|e| unwritable(&file, &e))
}

/// From when to when files were read.
#[derive(Clone, Copy)]
struct Read {
    from: Timestamp,
    until: Timestamp,
}

/// Says in the body what the copy holds, and what is wrong with it. That it can't be told is no failure.
async fn content(
    body: &mut Body,
    desk: &Desk,
    key: Key,
    source: &CaptureSource,
    root: &Path,
    read: Read,
    seen: &mut Preserved,
) -> Result<()> {
    let (scratch, telling) = (desk.places.scratch(), desk.telling.clone());
    let volumes: Vec<_> =
        source.claims.iter().map(|claim| (claim.clone(), root.join(VOLUMES).join(claim))).collect();
    match &source.content {
        SourceContent::ChromaDb { data_path, image } => {
            let (_, volume) = capture::only(volumes)?;
            let data = data_dir(&volume, data_path)?;
            let (image, data_path) = (image.clone(), data_path.clone());
            let guard = plainly(read, &seen.unstable);
            body.chroma = Some(
                blocking(move || {
                    let options = CheckOptions {
                        scratch: Some(scratch.join("rolled-back")),
                        ..CheckOptions::default()
                    };
                    let asked = Look {
                        data,
                        options,
                        image: image.clone(),
                        data_path: data_path.clone(),
                        guard: guard.clone(),
                    };
                    Ok(look(asked, &key, &telling).unwrap_or_else(|failure| {
                        ChromaFacts::new(
                            &image,
                            &data_path,
                            guard,
                            CheckReport::unchecked(),
                            Err(failure.message),
                        )
                    }))
                })
                .await?,
            );
        }
        SourceContent::Application => {
            let facts = blocking(move || {
                Ok(application::look(&volumes, read.from, &scratch.join("check")).unwrap_or_else(|failure| {
                    let finding = FileFinding { file: "volumes".to_owned(), what: failure.message };
                    ApplicationFacts {
                        cut_at: read.from,
                        databases: Vec::new(),
                        unstable: Vec::new(),
                        owners_left: 0,
                        findings: vec![finding],
                    }
                }))
            })
            .await?;
            let unstable = seen.unstable.iter().take(NAMED).cloned().collect();
            body.application = Some(ApplicationFacts { unstable, owners_left: seen.owners_left, ..facts });
        }
    }
    Ok(())
}

/// No guard was there.
fn plainly(read: Read, unstable: &[String]) -> GuardFacts {
    GuardFacts {
        locked_at: read.from,
        released_at: read.until,
        longest_hold_ms: 0,
        attempts: 1,
        torn_because: Vec::new(),
        unstable: unstable.iter().take(NAMED).cloned().collect(),
        filesystem: String::new(),
    }
}
