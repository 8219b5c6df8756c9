//! Verifies points: each is restored into scratch space, which is emptied before the next one, and held against its record. What a point says of itself is
//! enough for it: no policy, no volume and no server is asked. Nothing is written to the repository; what came out others say there.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use chroma::fingerprint::Key;
use crds::job::{
    FailureReason, Finding, MAX_VERIFIED, PointVerified, PointsVerified, Report, RepositoryAccess, Verified,
};
use engine::{Point, Repository, RestoreMode};

use super::{Desk, verify};
use crate::access;
use crate::application;
use crate::body::Body;
use crate::capture::{blocking, unwritable};
use crate::failure::{Failure, Result};
use crate::places::data_dir;
use crate::recorded;
use crate::report::finding;
use crate::trust::Trust;

/// Findings that are told of a point; each of them alone makes it useless.
const TOLD: usize = 2;

pub(super) async fn verify(
    desk: &Desk,
    access: &RepositoryAccess,
    points: &[String],
    within: Duration,
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let trust = Trust::of(&repository).await?;
    let begun = Instant::now();
    let (mut seen, mut longest) = (PointsVerified::default(), Duration::ZERO);
    for id in points.iter().take(MAX_VERIFIED) {
        if !seen.points.is_empty() && begun.elapsed() + longest > within {
            break;
        }
        let started = Instant::now();
        match one(desk, &repository, &trust, id).await {
            // Somebody has said that it is not to be restored: then nobody asks what it holds.
            Ok(None) => continue,
            Ok(Some(findings)) => seen.points.push(told(id, &findings)),
            Err(failure) if is_of_the_point(failure.reason) => {
                seen.points.push(told(id, &[finding("", failure.message)]));
            }
            // What was found so far is worth knowing, whatever keeps the rest from being seen.
            Err(failure) if !seen.points.is_empty() => {
                seen.stopped = Some(format!("{:?}: {}", failure.reason, failure.message));
                break;
            }
            Err(failure) => return Err(failure),
        }
        longest = longest.max(started.elapsed());
    }
    Ok(Report::PointsVerified(seen))
}

/// Whether it is the point that is not as it was, and not the way to it.
fn is_of_the_point(reason: FailureReason) -> bool {
    matches!(
        reason,
        FailureReason::PointNotFound
            | FailureReason::PointUnreadable
            | FailureReason::RepositoryDamaged
            | FailureReason::IntegrityMismatch
    )
}

fn told(point: &str, findings: &[Finding]) -> PointVerified {
    let line = |found: &Finding| match found.subject.as_str() {
        "" => found.message.clone(),
        subject => format!("{subject}: {}", found.message),
    };
    let more = findings.len().saturating_sub(TOLD);
    let mut found = findings.iter().take(TOLD).map(line).collect::<Vec<_>>().join("; ");
    if more > 0 {
        found.push_str(&format!("; and {more} more"));
    }
    PointVerified { point: point.to_owned(), passed: findings.is_empty(), found }
}

/// Everything that is not as recorded; nothing where it is quarantined in the repository.
async fn one(desk: &Desk, repository: &Repository, trust: &Trust, id: &str) -> Result<Option<Vec<Finding>>> {
    let point = access::point(repository, id).await?;
    if trust.quarantine(&point.id).is_some() {
        return Ok(None);
    }
    let to = desk.places.scratch().join("verify");
    empty(&to)?;
    let findings = held_against(desk, repository, &point, &to).await;
    empty(&to)?;
    findings.map(Some)
}

async fn held_against(
    desk: &Desk,
    repository: &Repository,
    point: &Point,
    to: &Path,
) -> Result<Vec<Finding>> {
    let body = Body::of(point)?;
    let reading = |e: engine::Error| Failure::from(e).while_reading_a_point();
    let mut verified = Verified::default();
    let mut volumes = Vec::new();
    for (claim, part) in body.parts(point, &body.volumes)? {
        let volume = to.join(&claim);
        fs::create_dir_all(&volume).map_err(|e| unwritable(&volume, &e))?;
        desk.telling.say(format!("restore {claim} of point {} to hold it against its record", point.id));
        engine::restore(repository, &part, &volume, RestoreMode::EmptyTarget, desk.telling.stage("restore"))
            .await
            .map_err(reading)?;
        desk.telling.end_stage();
        let compared = engine::compare(repository, &part, &volume, desk.telling.stage("compare"));
        let compared = compared.await.map_err(reading)?;
        desk.telling.end_stage();
        let named = |path: &Path| format!("{claim}/{}", path.display());
        verified.findings.extend(compared.differences.iter().map(|d| finding(named(&d.path), &d.what)));
        volumes.push((claim, volume));
    }
    if body.objects > 0 {
        // In memory: Secrets are among them.
        recorded::read(repository, point, &desk.places.scratch()).await?;
    }
    match (&body.chroma, volumes.as_slice()) {
        (Some(expected), [(_, volume)]) => {
            let data = data_dir(volume, &expected.data_path)?;
            let key = Key::new(repository.digest_key());
            verify::database(desk, key, expected, data, &mut verified).await?;
        }
        (Some(_), _) => {
            verified.findings.push(finding("volumes", "a ChromaDB has one, and the record has not"))
        }
        (None, _) => {
            let known = body.application.map(|facts| facts.findings).unwrap_or_default();
            let (at, scratch) = (point.attributes.consistency_time, to.join(".check"));
            let facts = blocking(move || application::look(&volumes, at, &scratch)).await?;
            let new = facts.findings.iter().filter(|found| !known.contains(found));
            verified.findings.extend(new.map(|found| finding(&found.file, &found.what)));
        }
    }
    Ok(verified.findings)
}

/// Nothing lies there afterwards.
fn empty(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(dir, &e)),
        _ => Ok(()),
    }
}
