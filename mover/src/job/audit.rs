//! Holds what an emergency capture took of each component against its last known good, both from the repository, and stores all that was found beside
//! them. What can't be looked at is a finding; only a repository that can't be opened or written ends it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chroma::compare::compare;
use crds::job::{AuditRequest, AuditedComponent, Report};
use engine::{Point, PutDocument, Repository, RestoreMode};
use serde_json::Value;

use super::{Desk, inventory};
use crate::access;
use crate::audit::{Audit, Component, DOCUMENTS, MOST_IDS, changed, names, objects, unseen};
use crate::body::Body;
use crate::capture::{blocking, unwritable};
use crate::failure::{Failure, Result, sentence};
use crate::places::data_dir;
use crate::recorded;

pub(super) async fn audit(desk: &Desk, asked: AuditRequest) -> Result<Report> {
    let access = &asked.repository;
    let repository = desk.open(access).await?;
    // One that an earlier attempt has stored is told again: it is the one that people will read.
    if let Some(stored) = repository.document(DOCUMENTS, &asked.document).await? {
        return told(&stored.bytes, stored.digest());
    }
    let mut audit = Audit::new(asked.document, asked.time, asked.since);
    (audit.namespace, audit.left_out, audit.findings) = (asked.namespace, asked.left_out, asked.findings);
    let mut known: BTreeSet<String> = asked.known.into_iter().collect();
    let mut policies = Vec::new();
    for component in asked.components {
        let of = match both(desk, &repository, &component).await {
            Ok(of) => of,
            Err(why) => {
                audit
                    .findings
                    .push(unseen(format!("what policy {} captures", component.policy), why.message));
                continue;
            }
        };
        known.extend(of.good.objects.iter().map(objects::name_of));
        let id = &component.point;
        audit.findings.extend(objects::differing(id, &of.good.objects, &of.now.objects));
        if let Some(before) = &asked.network_policies {
            audit.findings.extend(objects::differing_policies(id, &of.good.objects, before));
        }
        let collections = match asked.data {
            true => data(desk, &repository, &component, &of).await,
            false => Err("an attempt with it came to nothing".to_owned()),
        };
        let collections = collections.unwrap_or_else(|why| {
            audit.findings.push(unseen(format!("the data of policy {}", component.policy), why));
            None
        });
        let differing = collections.iter().flatten();
        audit.findings.extend(differing.map(|change| changed(&component.policy, id, change)));
        policies.extend(of.good.objects.into_iter().filter(|object| object["kind"] == "NetworkPolicy"));
        let AuditedComponent { policy, point, captured } = component;
        audit.components.push(Component { policy, point, captured, collections });
    }
    if let Some(before) = &asked.network_policies {
        audit.findings.extend(objects::unknown_policies(policies.iter(), before));
    }
    match inventory::left(&desk.places.evidence()) {
        Some(Ok(left)) => audit.findings.extend(names::unknown(&left, &known, asked.since)),
        Some(Err(why)) => audit.findings.push(unseen("ConfigMaps and Secrets", why)),
        None => {}
    }
    audit.findings.sort();
    audit.findings.dedup();
    if access.read_only {
        return Ok(Report::Audited(Box::new(audit.report(None))));
    }
    desk.telling.say(format!("{} findings; store them", audit.findings.len()));
    match repository.put_document(DOCUMENTS, &audit.run, &audit.to_bytes()).await? {
        PutDocument::Created(digest) => Ok(Report::Audited(Box::new(audit.report(Some(digest))))),
        PutDocument::Exists(stored) => told(&stored.bytes, stored.digest()),
    }
}

/// What an audit that was stored says.
fn told(bytes: &[u8], digest: String) -> Result<Report> {
    let damaged = |why| Failure::new(crds::job::FailureReason::RepositoryDamaged, why);
    let audit = Audit::from_bytes(bytes).map_err(damaged)?;
    Ok(Report::Audited(Box::new(audit.report(Some(digest)))))
}

/// A point and what of it is looked at.
struct Held {
    point: Point,
    body: Body,
    objects: Vec<Value>,
}

struct Both {
    good: Held,
    now: Held,
}

async fn both(desk: &Desk, repository: &Repository, component: &AuditedComponent) -> Result<Both> {
    let good = held(desk, repository, &component.point).await?;
    let now = held(desk, repository, &component.captured).await?;
    Ok(Both { good, now })
}

async fn held(desk: &Desk, repository: &Repository, id: &str) -> Result<Held> {
    desk.telling.say(format!("read the objects of point {id}"));
    let point = access::point(repository, id).await?;
    let body = Body::of(&point)?;
    let scratch = desk.places.scratch().join("objects");
    fs::create_dir_all(&scratch).map_err(|e| unwritable(&scratch, &e))?;
    let objects = match body.objects {
        0 => Vec::new(),
        _ => recorded::read(repository, &point, &scratch).await?,
    };
    Ok(Held { point, body, objects })
}

/// The collections that differ, of a ChromaDB; a sentence where they can't be compared.
async fn data(
    desk: &Desk,
    repository: &Repository,
    component: &AuditedComponent,
    of: &Both,
) -> std::result::Result<Option<Vec<chroma::compare::CollectionChange>>, String> {
    let root = desk.places.scratch().join("compared");
    // What an earlier component left.
    let _ = fs::remove_dir_all(&root);
    let (earlier, later) = match (&of.good.body.chroma, &of.now.body.chroma) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err("nothing of its data was captured".to_owned()),
        (None, Some(_)) => return Err(format!("point {} holds no ChromaDB", component.point)),
        (Some(good), Some(now)) => {
            let same =
                now.collections == good.collections && now.unreadable.is_none() && good.unreadable.is_none();
            // Equal digests of both say that all records are.
            if same && !good.collections.is_empty() {
                return Ok(Some(Vec::new()));
            }
            let earlier = restored(desk, repository, &of.good, &root.join("good"), &good.data_path).await;
            let later = restored(desk, repository, &of.now, &root.join("captured"), &now.data_path).await;
            (earlier.map_err(|e| e.message)?, later.map_err(|e| e.message)?)
        }
    };
    desk.telling.say(format!("compare the records of policy {}", component.policy));
    let scratch = root.clone();
    let compared =
        blocking(move || Ok(compare(&earlier, &later, &scratch, MOST_IDS).map_err(|error| sentence(&error))))
            .await;
    let _ = fs::remove_dir_all(&root);
    compared.map_err(|failure| failure.message)?.map(Some)
}

/// The only volume of a point, in scratch space. Returns where the database lies in it.
async fn restored(
    desk: &Desk,
    repository: &Repository,
    held: &Held,
    to: &Path,
    data_path: &str,
) -> Result<PathBuf> {
    let part = held.body.volume(&held.point, None)?;
    fs::create_dir_all(to).map_err(|e| unwritable(to, &e))?;
    desk.telling.say(format!("restore point {} to look at it", held.point.id));
    engine::restore(repository, &part, to, RestoreMode::OntoExisting, desk.telling.stage("restore"))
        .await
        .map_err(|e| Failure::from(e).while_reading_a_point())?;
    desk.telling.end_stage();
    data_dir(to, data_path)
}
