//! From what was done to the Report of the contract: chosen, shortened, and always made from what the repository holds, so
//! that a Report that was lost and one that was rebuilt say the same.

use chroma::check::{CheckReport, Finding as Found};
use crds::job::{
    Captured, CapturedChroma, CapturedFiles, Checked, CollectionSummary, Content, Emergency, FailureReason,
    Finding, Report,
};
use jiff::{SignedDuration, Timestamp};

use crate::body::{ApplicationFacts, Body, ChromaFacts, EmergencyFacts, levels_text};
use crate::failure::{Failure, Result};

/// How much of a digest a Report shows.
const DIGEST_SHOWN: usize = 16;

/// The Report of a capture, from its point: of an emergency capture another one.
pub fn captured(point: &engine::Point) -> Result<Report> {
    let body = Body::of(point)?;
    let (held_ms, findings, content) = match (&body.chroma, &body.application) {
        (Some(chroma), _) => (chroma.guard.longest_hold_ms, findings_of(chroma), chroma_content(chroma)),
        (None, Some(files)) => {
            let held = files.databases.iter().map(|database| database.held_ms).max();
            let findings = files.findings.iter().map(|found| finding(&found.file, &found.what));
            (held.unwrap_or(0), findings.collect(), files_content(&body, files))
        }
        (None, None) => {
            let why = format!("point {} was not captured for a policy", point.id);
            return Err(Failure::new(FailureReason::PointUnreadable, why));
        }
    };
    let captured = Box::new(Captured {
        point: point.id.to_string(),
        digest: point.digest.clone(),
        consistency_time: point.attributes.consistency_time,
        stored_at: point.stored_at.map(second),
        longest_hold: SignedDuration::from_millis(held_ms.try_into().unwrap_or(i64::MAX)),
        locked_until: point.locked_until,
        bytes: point.totals.bytes,
        new_bytes: point.totals.bytes_stored,
        files: point.totals.files,
        objects: body.objects,
        content,
        findings,
        emergency: body.emergency.as_ref().map(emergency),
    });
    Ok(if body.emergency.is_some() { Report::Preserved(captured) } else { Report::Captured(captured) })
}

/// What an emergency capture could not read, in the words of the contract.
pub fn emergency(facts: &EmergencyFacts) -> Emergency {
    let missed = facts.missed.iter().map(|missed| format!("{}: {}", missed.file, missed.what));
    Emergency {
        torn: facts.torn(),
        unreadable_bytes: facts.unreadable_bytes,
        unreadable_count: facts.unreadable_count,
        unreadable: facts.unreadable.iter().take(crds::job::MAX_UNREADABLE).cloned().collect(),
        missed_count: facts.missed_count,
        missed: missed.take(crds::job::MAX_MISSED).collect(),
        evidence: facts.evidence,
    }
}

/// A store's list may know the time to the millisecond, while what it says of one object knows seconds alone: both have to say the same.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn chroma_content(chroma: &ChromaFacts) -> Content {
    Content::ChromaDb(CapturedChroma {
        released_at: chroma.guard.released_at,
        attempts: chroma.guard.attempts,
        migrations: levels_text(chroma.levels),
        collection_count: chroma.collections.len() as u64,
        records: chroma.records(),
        collections: summaries(chroma),
    })
}

fn files_content(body: &Body, files: &ApplicationFacts) -> Content {
    Content::Application(CapturedFiles {
        volumes: body.volumes.len() as u64,
        databases: files.databases.len() as u64,
        unstable: files.unstable.clone(),
        unstable_count: files.unstable.len() as u64,
    })
}

/// The collections, the largest first.
fn summaries(chroma: &ChromaFacts) -> Vec<CollectionSummary> {
    let mut collections: Vec<_> = chroma.collections.iter().collect();
    collections.sort_by(|a, b| (b.count, a.full_name()).cmp(&(a.count, b.full_name())));
    let summary = |c: &chroma::fingerprint::CollectionFingerprint| CollectionSummary {
        tenant: c.tenant.clone(),
        database: c.database.clone(),
        name: c.collection.clone(),
        count: c.count,
        dimension: c.dimension,
        digest: c.digest.to_string().chars().take(DIGEST_SHOWN).collect(),
    };
    collections.into_iter().take(crds::job::MAX_COLLECTIONS).map(summary).collect()
}

/// What is wrong with captured bytes, in the words of the contract.
fn findings_of(chroma: &ChromaFacts) -> Vec<Finding> {
    let unreadable = chroma.unreadable.iter().map(|why| finding("collections", why.clone()));
    let without = chroma.collections.iter().filter(|c| c.without_vector > 0).map(|c| {
        finding(c.full_name(), format!("{} of {} records have no vector", c.without_vector, c.count))
    });
    chroma.findings.iter().map(translated).chain(unreadable).chain(without).collect()
}

/// The Report of a check. `unread` are files that could not be read at all.
pub fn checked(report: &CheckReport, unread: Vec<Finding>) -> Checked {
    let finding_count = unread.len() as u64 + report.findings.findings.len() as u64 + report.findings.more;
    let findings = unread.into_iter().chain(report.findings.findings.iter().map(translated)).collect();
    let migrations = report.levels.map(|levels| levels_text(Some(levels)));
    Checked { findings, finding_count, migrations, unchecked: None, repair: None }
}

/// A finding of the check: where, and what.
pub fn translated(found: &Found) -> Finding {
    let subject = match &found.collection {
        Some(collection) => format!("{collection} ({})", found.file),
        None => found.file.clone(),
    };
    let message = match (found.record, &found.id) {
        (Some(record), _) => format!("record {record}: {}", found.what),
        (None, Some(id)) => format!("id {id}: {}", found.what),
        (None, None) => found.what.clone(),
    };
    finding(subject, message)
}

/// A finding of our own.
pub fn finding(subject: impl Into<String>, message: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), message: message.into() }
}
