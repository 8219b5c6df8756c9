use crds::point::PointPhase;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn point() -> RecoveryPoint {
    let mut point: RecoveryPoint = serde_json::from_value(serde_json::json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": "p", "generation": 1},
        "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": "1"},
    }))
    .unwrap();
    point.status.get_or_insert_default().phase = Some(PointPhase::Available);
    point
}

fn stamp(verdict: Verdict, time: &str, by: &str) -> Stamp {
    let verification = Verification { verdict, time: at(time), by: by.into(), recorded: false };
    Stamp { name: "p".into(), verification, found: "it was restored".into() }
}

fn apply(point: &mut RecoveryPoint, stamp: &Stamp) -> bool {
    let status = stamped(point, stamp, stamp.verification.time);
    let news = status.is_some();
    point.status = status.or(point.status.take());
    news
}

fn condition_of(point: &RecoveryPoint, kind: &str) -> (String, String) {
    let found = condition::get(&point.status.as_ref().unwrap().conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

#[test]
fn a_point_that_passed_is_verified_and_told_the_repository_once() {
    let mut point = point();
    assert!(!is_to_be_told(&point));
    assert!(apply(&mut point, &stamp(Verdict::Passed, "2026-11-29T09:01:00Z", "run/a")));
    assert_eq!(condition_of(&point, "Verified"), ("True".into(), "Passed".into()));
    assert_eq!(condition_of(&point, "Quarantined").0, "False");
    assert!(is_to_be_told(&point));
    assert!(
        !apply(&mut point, &stamp(Verdict::Passed, "2026-11-29T09:02:00Z", "run/a")),
        "the same run again"
    );
    assert!(!apply(&mut point, &stamp(Verdict::Failed, "2026-11-22T09:02:00Z", "run/older")), "an older one");
    point.status.as_mut().unwrap().verification.as_mut().unwrap().recorded = true;
    assert!(apply(&mut point, &stamp(Verdict::Passed, "2026-12-06T09:01:00Z", "run/b")));
    assert!(!is_to_be_told(&point), "that it passed stands there");
}

#[test]
fn a_point_that_failed_is_quarantined_at_once_whatever_was_known_of_it() {
    for before in [None, Some(true), Some(false)] {
        let mut point = point();
        if let Some(recorded) = before {
            apply(&mut point, &stamp(Verdict::Passed, "2026-11-22T09:01:00Z", "run/a"));
            point.status.as_mut().unwrap().verification.as_mut().unwrap().recorded = recorded;
        }
        assert!(apply(&mut point, &stamp(Verdict::Failed, "2026-11-29T09:01:00Z", "run/b")));
        assert_eq!(condition_of(&point, "Verified"), ("False".into(), "Failed".into()));
        assert_eq!(condition_of(&point, "Quarantined"), ("True".into(), "VerificationFailed".into()));
        assert_eq!(point.status.as_ref().unwrap().phase, Some(PointPhase::Quarantined));
        assert!(is_to_be_told(&point) && crate::trust::is_evidence(&point) && !crate::trust::by_name(&point));
    }
}

#[test]
fn a_point_that_is_not_recorded_whole_has_no_stamp() {
    let mut point = point();
    point.status = None;
    assert!(
        stamped(&point, &stamp(Verdict::Passed, "2026-11-29T09:01:00Z", "run/a"), at("2026-11-29T09:01:00Z"))
            .is_none()
    );
}
