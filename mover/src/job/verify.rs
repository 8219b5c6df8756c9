//! Holds a restored volume against its point: every file's digest, the structure check, every collection's fingerprint.

use chroma::check::{CheckOptions, check_dir_with};
use chroma::fingerprint::{CollectionFingerprint, Key, of_dir_with};
use crds::job::{FailureReason, Finding, Report, RepositoryAccess, Verified};

use super::Desk;
use crate::access;
use crate::body::Body;
use crate::capture::blocking;
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
    let expected = Body::of(&point)?.chroma.ok_or_else(|| {
        Failure::new(
            FailureReason::PointUnreadable,
            format!("point {} was not captured from a ChromaDB", point.id),
        )
    })?;
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

/// What differs between the collections of the point and those seen.
pub(super) fn differing(expected: &[CollectionFingerprint], seen: &[CollectionFingerprint]) -> Vec<Finding> {
    let name = CollectionFingerprint::full_name;
    let of = |all: &[CollectionFingerprint], wanted: &str| all.iter().find(|c| name(c) == wanted).cloned();
    let mut findings = Vec::new();
    for point in expected {
        let what = match of(seen, &name(point)) {
            None => "it is missing".to_owned(),
            Some(found) if found.count != point.count => {
                format!("it has {} records, the point has {}", found.count, point.count)
            }
            Some(found) if found.dimension != point.dimension => {
                "its vectors have another dimension".to_owned()
            }
            Some(found) if !point.same_content(&found) => {
                format!(
                    "its digest is {:.16}, the point's is {:.16}",
                    found.digest.to_string(),
                    point.digest.to_string()
                )
            }
            Some(_) => continue,
        };
        findings.push(finding(name(point), what));
    }
    let foreign = seen.iter().filter(|found| of(expected, &name(found)).is_none());
    findings.extend(foreign.map(|found| finding(name(found), "the point has no such collection")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use chroma::fingerprint::Digest;

    fn collection(name: &str, count: u64, digest: u8) -> CollectionFingerprint {
        CollectionFingerprint {
            tenant: "t".into(),
            database: "d".into(),
            collection: name.into(),
            id: String::new(),
            count,
            dimension: Some(3),
            digest: Digest([digest; 32]),
            normalised_here: 0,
            without_vector: 0,
        }
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let point =
            [collection("a", 1, 1), collection("b", 2, 2), collection("c", 3, 3), collection("same", 4, 4)];
        let seen =
            [collection("b", 9, 2), collection("c", 3, 9), collection("same", 4, 4), collection("new", 1, 1)];
        let told = differing(&point, &seen);
        let told: Vec<_> = told.iter().map(|f| (f.subject.as_str(), f.message.as_str())).collect();
        assert_eq!(told[0], ("t/d/a", "it is missing"));
        assert_eq!(told[1], ("t/d/b", "it has 9 records, the point has 2"));
        assert!(told[2].1.contains("digest"), "{told:?}");
        assert_eq!(told[3], ("t/d/new", "the point has no such collection"));
        assert_eq!(told.len(), 4);
        assert!(differing(&point, &point).is_empty());
    }
}
