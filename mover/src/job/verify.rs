//! Holds a restored volume against its point: every file's digest, the structure check, every collection's fingerprint.

use chroma::check::{CheckOptions, check_dir_with};
use chroma::fingerprint::{CollectionFingerprint, Key, of_dir_with};
use crds::job::{Finding, Report, RepositoryAccess, Verified};

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
    data_path: &str,
) -> Result<Report> {
    let target = desk.places.target();
    let data = data_dir(&target, data_path)?;
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    let expected = ChromaFacts::of(&point)?;
    let point = Body::of(&point)?.volume(&point, None)?;
    desk.telling.say(format!("hold {} against point {}", target.display(), point.id));
    let files = engine::compare(&repository, &point, &target, desk.telling.stage("compare"))
        .await
        .map_err(|e| Failure::from(e).while_reading_a_point())?;
    desk.telling.end_stage();
    let mut findings: Vec<Finding> =
        files.differences.iter().map(|d| finding(d.path.display().to_string(), &d.what)).collect();

    let (key, scratch, telling) =
        (Key::new(repository.digest_key()), desk.places.scratch(), desk.telling.clone());
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
    findings
        .extend(report.findings.findings.iter().filter(|f| !expected.findings.contains(f)).map(translated));
    let collections_equal = match seen {
        Ok(seen) => {
            let differing = differing(&expected.collections, &seen);
            let equal = expected.collections.iter().filter(|c| matches(c, &seen)).count() as u64;
            findings.extend(differing);
            equal
        }
        Err(why) if expected.unreadable.is_some() => {
            tracing::warn!("the collections can't be read, as they couldn't at capture: {why}");
            0
        }
        Err(why) => {
            findings.push(finding("collections", why));
            0
        }
    };
    Ok(Report::Verified(Verified {
        files_equal: files.files_equal,
        files: files.files,
        collections_equal,
        collections: expected.collections.len() as u64,
        findings,
    }))
}

fn matches(expected: &CollectionFingerprint, seen: &[CollectionFingerprint]) -> bool {
    seen.iter().any(|seen| expected.same_content(seen))
}
