//! I4: a shrunken or empty capture never displaces good points. Whether the newest point of a policy is one, judged by the
//! largest of those before it.

use crds::{BackupPolicy, RecoveryPoint};

use super::points::available;

/// A point that is much smaller than one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// A reason of AnomalyDetected.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// What is measured of a point.
struct Measured {
    name: String,
    /// Of a ChromaDB only.
    records: Option<u64>,
    bytes: u64,
}

fn measured(point: &RecoveryPoint) -> Option<Measured> {
    let status = point.status.as_ref()?;
    Some(Measured {
        name: point.metadata.name.clone()?,
        records: status.chroma_db.as_ref().map(|content| content.records),
        bytes: status.sizes.as_ref()?.bytes,
    })
}

/// Whether the newest Available point of `policy` has fewer records or bytes than another one, by more than is allowed.
/// Points before the one that was acknowledged are no measure; an acknowledgement of a point that there is not counts for nothing.
#[must_use]
pub fn of(policy: &BackupPolicy, points: &[RecoveryPoint]) -> Option<Anomaly> {
    let capture = &policy.spec.capture;
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let newest_first = available(points, name);
    let acknowledged = capture.shrink_acknowledged.as_ref().and_then(|wanted| {
        newest_first.iter().find(|(point, _)| point.metadata.name.as_deref() == Some(&wanted.name))
    });
    let since = acknowledged.map(|(_, time)| *time);
    let mut counted = newest_first
        .iter()
        .filter(|(_, time)| since.is_none_or(|since| *time >= since))
        .filter_map(|(point, _)| measured(point));
    let newest = counted.next()?;
    let earlier: Vec<Measured> = counted.collect();
    let allowed = u64::from(capture.max_shrink_percent.min(100));
    let shrunken =
        |now: u64, before: u64| u128::from(now) * 100 < u128::from(before) * u128::from(100 - allowed);
    let most_records = earlier.iter().max_by_key(|point| point.records)?;
    let most_bytes = earlier.iter().max_by_key(|point| point.bytes)?;
    let (now, before) = (newest.records.unwrap_or(0), most_records.records.unwrap_or(0));
    let what = if shrunken(now, before) {
        format!("{now} records, {} has {before}", most_records.name)
    } else if shrunken(newest.bytes, most_bytes.bytes) {
        format!("{} bytes, {} has {}", newest.bytes, most_bytes.name, most_bytes.bytes)
    } else {
        return None;
    };
    let reason = if newest.records.unwrap_or(newest.bytes) == 0 { "Empty" } else { "Shrunken" };
    let message = format!(
        "point {0} has {what}: more than {allowed} % less (capture.maxShrinkPercent). No point of this policy is removed until this is settled. \
         Was it meant? Write capture.shrinkAcknowledged: {{name: {0}}}. Else recover an earlier point",
        newest.name
    );
    Some(Anomaly { reason, message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(percent: u8, acknowledged: Option<&str>) -> BackupPolicy {
        let mut capture = json!({"live": {}, "maxShrinkPercent": percent});
        if let Some(name) = acknowledged {
            capture["shrinkAcknowledged"] = json!({"name": name});
        }
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "chromadb", "namespace": "arxiv"},
            "spec": {"component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": "chromadb"}]},
                     "capture": capture, "repositoryRef": {"name": "primary"}}
        }))
        .unwrap()
    }

    /// Points of one a minute: their records and bytes; none for one in quarantine.
    fn points(of: &[(u64, u64, bool)]) -> Vec<RecoveryPoint> {
        let point = |(minute, (records, bytes, good)): (usize, &(u64, u64, bool))| {
            serde_json::from_value(json!({
                "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": format!("p{minute}"), "namespace": "arxiv"},
                "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": format!("id{minute}")},
                "status": {
                    "phase": if *good { "Available" } else { "Quarantined" }, "consistencyTime": format!("2026-11-23T09:{minute:02}:00Z"),
                    "sizes": {"bytes": bytes, "newBytes": 1, "files": 1, "size": "1", "newSize": "1"},
                    "chromaDB": {"migrations": "2/6/10", "image": "i", "writerPause": "0s", "releasedAt": "2026-11-23T09:00:00Z",
                                 "collectionCount": 1, "records": records, "collections": []}
                }
            }))
            .unwrap()
        };
        of.iter().enumerate().map(point).collect()
    }

    fn reason(percent: u8, acknowledged: Option<&str>, of: &[(u64, u64, bool)]) -> Option<&'static str> {
        super::of(&policy(percent, acknowledged), &points(of)).map(|anomaly| anomaly.reason)
    }

    #[test]
    fn i4_the_newest_point_is_held_against_the_largest_before_it() {
        let full = (1000, 9000, true);
        assert_eq!(reason(20, None, &[]), None);
        assert_eq!(reason(20, None, &[(0, 0, true)]), None, "nothing to compare with");
        assert_eq!(reason(20, None, &[full, full]), None);
        assert_eq!(reason(20, None, &[full, (800, 9000, true)]), None, "as much as is allowed");
        assert_eq!(reason(20, None, &[full, (799, 9000, true)]), Some("Shrunken"));
        assert_eq!(reason(20, None, &[full, (1000, 7199, true)]), Some("Shrunken"));
        assert_eq!(reason(20, None, &[full, (0, 9000, true)]), Some("Empty"));
        assert_eq!(
            reason(20, None, &[full, (850, 9000, true), (750, 9000, true)]),
            Some("Shrunken"),
            "by little steps"
        );
        assert_eq!(reason(20, None, &[full, (0, 0, true), full]), None, "it is whole again");
        assert_eq!(reason(20, None, &[full, (0, 0, false)]), None, "a point in quarantine is told otherwise");
        assert_eq!(reason(100, None, &[full, (0, 0, true)]), None);
        assert_eq!(reason(0, None, &[full, (999, 9000, true)]), Some("Shrunken"));
    }

    #[test]
    fn i4_what_was_acknowledged_is_the_measure_from_then_on() {
        let of = [(1000, 9000, true), (500, 9000, true), (490, 9000, true)];
        assert_eq!(reason(20, None, &of), Some("Shrunken"));
        assert_eq!(reason(20, Some("p1"), &of), None);
        assert_eq!(reason(20, Some("p2"), &of), None);
        assert_eq!(reason(20, Some("p0"), &of), Some("Shrunken"));
        assert_eq!(reason(20, Some("gone"), &of), Some("Shrunken"));
        assert_eq!(reason(20, Some("p1"), &[of[0], of[1], (300, 9000, true)]), Some("Shrunken"));
    }
}
