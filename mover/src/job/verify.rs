//! Holds restored volumes against their point: every file's digest, and of a ChromaDB the structure check and every collection's
//! fingerprint.

use std::path::{Path, PathBuf};

use chroma::check::{CheckOptions, check_dir_with};
use chroma::fingerprint::{CollectionFingerprint, Key, of_dir_with};
use crds::job::{Report, RepositoryAccess, Verified};

use super::Desk;
use crate::access;
use crate::body::{Body, ChromaFacts};
use crate::capture::blocking;
use crate::content::differing;
use crate::failure::{Failure, Result, sentence};
use crate::places::data_dir;
use crate::report::{finding, translated};

pub(super) async fn verify(
    desk: &Desk,
    access: &RepositoryAccess,
    point: &str,
    claims: &[String],
    data_path: Option<&str>,
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    // Before anything long is done: what was asked for can't be held against this point.
    let expected = data_path.map(|_| ChromaFacts::of(&point)).transpose()?;
    let mut verified = Verified::default();
    for (claim, part) in Body::of(&point)?.parts(&point, claims)? {
        let target = desk.places.target(&claim)?;
        desk.telling.say(format!("hold {} against point {}", target.display(), point.id));
        let files = engine::compare(&repository, &part, &target, desk.telling.stage("compare"))
            .await
            .map_err(|e| Failure::from(e).while_reading_a_point())?;
        desk.telling.end_stage();
        verified.files += files.files;
        verified.free_percent = [verified.free_percent, free(&target)].into_iter().flatten().min();
        verified.files_equal += files.files_equal;
        let named = |path: &Path| match claims {
            [_] => path.display().to_string(),
            _ => format!("{claim}/{}", path.display()),
        };
        verified.findings.extend(files.differences.iter().map(|d| finding(named(&d.path), &d.what)));
    }
    if let (Some(expected), Some(data_path), [claim]) = (expected, data_path, claims) {
        let data = data_dir(&desk.places.target(claim)?, data_path)?;
        database(desk, Key::new(repository.digest_key()), &expected, data, &mut verified).await?;
    }
    Ok(Report::Verified(verified))
}

/// How much of the filesystem at `path` an unprivileged writer may still use, in percent.
fn free(path: &Path) -> Option<u8> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let percent = stat.f_bavail.checked_mul(100)?.checked_div(stat.f_blocks)?;
    u8::try_from(percent).ok()
}

/// Holds the structure and the collections of a restored ChromaDB against what was captured.
pub(super) async fn database(
    desk: &Desk,
    key: Key,
    expected: &ChromaFacts,
    data: PathBuf,
    verified: &mut Verified,
) -> Result<()> {
    let (scratch, telling) = (desk.places.scratch(), desk.telling.clone());
    let (report, seen) = blocking(move || {
        telling.say("check the structure");
        let options = CheckOptions { scratch: Some(scratch.clone()), ..CheckOptions::default() };
        let report =
            check_dir_with(&data, &options).map_err(|e| Failure::unexpected("can't check the volume", &e))?;
        telling.say("fingerprint the collections");
        Ok((report, of_dir_with(&data, &key, Some(&scratch)).map_err(|e| sentence(&e))))
    })
    .await?;
    // A point with findings may be restored on request; what it was captured with is no damage of the restore.
    let new = report.findings.findings.iter().filter(|f| !expected.findings.contains(f));
    verified.findings.extend(new.map(translated));
    verified.collections = expected.collections.len() as u64;
    match seen {
        Ok(seen) => {
            verified.collections_equal =
                expected.collections.iter().filter(|c| matches(c, &seen)).count() as u64;
            verified.findings.extend(differing(&expected.collections, &seen));
        }
        Err(why) if expected.unreadable.is_some() => {
            tracing::warn!("the collections can't be read, as they couldn't at capture: {why}");
        }
        Err(why) => verified.findings.push(finding("collections", why)),
    }
    Ok(())
}

fn matches(expected: &CollectionFingerprint, seen: &[CollectionFingerprint]) -> bool {
    seen.iter().any(|seen| expected.same_content(seen))
}
