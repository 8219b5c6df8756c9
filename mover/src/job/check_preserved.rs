//! Checks what was preserved of failing volumes: the point is restored into scratch space and looked at there, so that the check tells of what
//! the repository holds, and the original is left alone. What could not be read can't be checked, which is said. A repair is tried with the copy.

use std::fs;
use std::path::{Path, PathBuf};

use chroma::check::{CheckOptions, check_dir_with, rebuild_indices};
use chroma::files::DATABASE;
use crds::job::{Checked, Report, RepositoryAccess};
use engine::RestoreMode;

use super::Desk;
use crate::access;
use crate::application;
use crate::body::{Body, EmergencyFacts};
use crate::capture::{blocking, unwritable};
use crate::failure::{Failure, Result};
use crate::places::data_dir;
use crate::report::{checked, finding};
use crate::telling::Telling;

pub(super) async fn check(
    desk: &Desk,
    access: &RepositoryAccess,
    point: &str,
    data_path: Option<&str>,
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    let body = Body::of(&point)?;
    let copy = desk.places.scratch().join("preserved");
    let mut volumes = Vec::new();
    for (claim, part) in body.parts(&point, &body.volumes)? {
        let to = copy.join(&claim);
        fs::create_dir_all(&to).map_err(|e| unwritable(&to, &e))?;
        desk.telling.say(format!("restore {claim} of point {} to look at it", point.id));
        engine::restore(&repository, &part, &to, RestoreMode::OntoExisting, desk.telling.stage("restore"))
            .await
            .map_err(|e| Failure::from(e).while_reading_a_point())?;
        desk.telling.end_stage();
        volumes.push((claim, to));
    }
    let unchecked = body.emergency.as_ref().and_then(unchecked);
    let data = match (data_path, volumes.as_slice()) {
        (Some(path), [(_, only)]) => Some(data_dir(only, path)?),
        _ => None,
    };
    let (scratch, telling, at) =
        (desk.places.scratch(), desk.telling.clone(), point.attributes.consistency_time);
    let seen = blocking(move || match data {
        Some(data) => database(&data, scratch, &telling),
        None => {
            let facts = application::look(&volumes, at, &scratch.join("check"))?;
            let findings: Vec<_> =
                facts.findings.iter().map(|found| finding(&found.file, &found.what)).collect();
            let finding_count = findings.len() as u64;
            Ok(Checked { findings, finding_count, migrations: None, unchecked: None, repair: None })
        }
    })
    .await?;
    Ok(Report::Checked(Checked { unchecked, ..seen }))
}

/// Checks a ChromaDB, and tries to repair it where something is wrong.
fn database(data: &Path, scratch: PathBuf, telling: &Telling) -> Result<Checked> {
    telling.say("check what was preserved");
    let options = CheckOptions { scratch: Some(scratch.join("rolled-back")), ..CheckOptions::default() };
    let look = || check_dir_with(data, &options).map_err(|e| Failure::unexpected("can't check the copy", &e));
    let before = look()?;
    let mut seen = checked(&before, Vec::new());
    if seen.finding_count > 0 && data.join(DATABASE).is_file() {
        telling.say("build the indices of the copy anew");
        seen.repair = Some(match rebuild_indices(data) {
            Err(why) => format!("indices can't be built anew: {why}"),
            Ok(()) => match look()?.findings {
                after if after.is_empty() => {
                    "only indices are broken: built anew from what they index, the copy is whole".to_owned()
                }
                after => format!(
                    "indices were built anew in the copy, and {} of {} findings stay: what is broken is more than indices",
                    after.findings.len() as u64 + after.more,
                    seen.finding_count
                ),
            },
        });
    }
    Ok(seen)
}

/// What can't be checked because it could not be read.
fn unchecked(emergency: &EmergencyFacts) -> Option<String> {
    let mut parts = Vec::new();
    if emergency.unreadable_count > 0 {
        let first = emergency.unreadable.first();
        let first =
            first.map(|range| format!(", the first {} at {} of {}", range.length, range.offset, range.file));
        parts.push(format!(
            "{} bytes in {} ranges could not be read and were not checked{}",
            emergency.unreadable_bytes,
            emergency.unreadable_count,
            first.unwrap_or_default()
        ));
    }
    if emergency.missed_count > 0 {
        let first =
            emergency.missed.first().map(|missed| format!(", such as {}: {}", missed.file, missed.what));
        parts.push(format!(
            "{} files or directories are missing{}",
            emergency.missed_count,
            first.unwrap_or_default()
        ));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
