//! Counts the records that a replaced volume has and the point that was restored in its place does not. The volume is evidence: it is copied by plain reads, and
//! SQLite opens the copy only.

use std::fs;
use std::path::Path;

use chroma::compare::{CompareError, compare};
use crds::job::{FailureReason, LossRequest, Report};
use engine::{PutDocument, RestoreMode};

use super::{Desk, integrity};
use crate::access;
use crate::audit::MOST_IDS;
use crate::body::{Body, ChromaFacts};
use crate::capture::{blocking, unwritable};
use crate::failure::{Failure, Result, sentence};
use crate::losses::{DOCUMENTS, Losses};
use crate::places::data_dir;

pub(super) async fn count(desk: &Desk, asked: &LossRequest) -> Result<Report> {
    let repository = desk.open(&asked.repository).await?;
    // One that an earlier attempt has stored is told again: it is the one that people will read.
    if let Some(stored) = repository.document(DOCUMENTS, &asked.document).await? {
        return told(&stored.bytes, stored.digest());
    }
    let scratch = desk.places.scratch();
    let (replaced, restored, aside) =
        (scratch.join("replaced"), scratch.join("restored"), scratch.join("aside"));
    for dir in [&replaced, &restored, &aside] {
        // What an earlier container of the pod left.
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).map_err(|e| unwritable(dir, &e))?;
    }
    let source = data_dir(&desk.places.source(&asked.claim)?, &asked.data_path)?;
    desk.telling.say(format!("copy {} to look at the copy", source.display()));
    let copy = replaced.clone();
    blocking(move || copied(&source, &copy)).await?;
    let point = access::point(&repository, &asked.point).await?;
    let facts = ChromaFacts::of(&point)?;
    let part = Body::of(&point)?.volume(&point, None)?;
    desk.telling.say(format!("restore point {} to look at it", point.id));
    engine::restore(&repository, &part, &restored, RestoreMode::OntoExisting, desk.telling.stage("restore"))
        .await
        .map_err(|e| Failure::from(e).while_reading_a_point())?;
    desk.telling.end_stage();
    let earlier = data_dir(&restored, &facts.data_path)?;
    desk.telling.say("compare record by record");
    let collections =
        blocking(move || compare(&earlier, &replaced, &aside, MOST_IDS).map_err(|e| incomparable(&e)))
            .await?;
    let losses = Losses::new(asked.document.clone(), point.id.to_string(), collections);
    if asked.repository.read_only {
        return Ok(Report::LossCounted(losses.count(None)));
    }
    match repository.put_document(DOCUMENTS, &losses.name, &losses.to_bytes()).await? {
        PutDocument::Created(digest) => Ok(Report::LossCounted(losses.count(Some(digest)))),
        PutDocument::Exists(stored) => told(&stored.bytes, stored.digest()),
    }
}

/// What was stored says.
fn told(bytes: &[u8], digest: String) -> Result<Report> {
    let damaged = |why| Failure::new(FailureReason::RepositoryDamaged, why);
    let losses = Losses::from_bytes(bytes).map_err(damaged)?;
    Ok(Report::LossCounted(losses.count(Some(digest))))
}

/// A copy with holes would make lost records of whatever lay in them.
fn copied(source: &Path, copy: &Path) -> Result<()> {
    let mut unread = Vec::new();
    integrity::copy_dir(source, Path::new(""), copy, 0, &mut unread)?;
    let Some(first) = unread.first() else { return Ok(()) };
    let why = format!("the replaced volume can't be read whole: {}: {}", first.subject, first.message);
    Err(Failure::new(FailureReason::SourceUnreadable, why))
}

/// Of two states one can't be read: the replaced one, most likely, which is why it was replaced.
fn incomparable(error: &CompareError) -> Failure {
    let reason = match error {
        CompareError::State { which: "later", .. } => FailureReason::SourceUnreadable,
        CompareError::State { .. } => FailureReason::PointUnreadable,
        CompareError::Scratch { .. } => FailureReason::ScratchFull,
    };
    let which = match reason {
        FailureReason::SourceUnreadable => {
            "the database of the replaced volume is too damaged to count its records: "
        }
        _ => "",
    };
    Failure::new(reason, format!("{which}{}", sentence(error)))
}
