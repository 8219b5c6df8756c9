//! The collections of a point held against those that were seen somewhere.

use chroma::fingerprint::CollectionFingerprint;
use crds::job::Finding;

use crate::report::finding;

/// What differs between the collections of the point and those seen.
pub fn differing(expected: &[CollectionFingerprint], seen: &[CollectionFingerprint]) -> Vec<Finding> {
    let name = CollectionFingerprint::full_name;
    let of = |all: &[CollectionFingerprint], wanted: &str| all.iter().find(|c| name(c) == wanted).cloned();
    let mut findings = Vec::new();
    for point in expected {
        let what = match of(seen, &name(point)) {
            None => Some("it is missing".to_owned()),
            Some(found) => point.difference(&found, "the point"),
        };
        findings.extend(what.map(|what| finding(name(point), what)));
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
