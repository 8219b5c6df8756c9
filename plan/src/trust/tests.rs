use crds::point::{RecoveryPointSpec, TrustReason};
use crds::reference::NameRef;

use super::*;
use crate::backup::points::is_available;

const NOW: &str = "2026-11-23T09:40:00Z";

fn mark(word: TrustWord, reason: TrustReason) -> TrustMark {
    TrustMark { word, reason, by: "security@yourorg.com".into(), since: NOW.parse().unwrap() }
}

/// A point that was captured whole or damaged.
fn point(whole: bool, said: Trust, mark: Option<TrustMark>) -> RecoveryPoint {
    let spec = RecoveryPointSpec {
        policy: "chromadb".into(),
        repository_ref: NameRef::new("primary"),
        id: "1".into(),
        deletion_policy: Default::default(),
        hold: None,
        trust: said,
    };
    let now: Timestamp = NOW.parse().unwrap();
    let mut status = RecoveryPointStatus { trust: mark, ..RecoveryPointStatus::default() };
    let (holds, reason) =
        if whole { (Status::True, "Available") } else { (Status::False, "OfflineCheckFailed") };
    condition::set(&mut status.conditions, "Ready", holds, reason, "as it was captured".to_owned(), 1, now);
    judge(&mut status, said, 1, now);
    let mut point = RecoveryPoint::new("chromadb-1", spec);
    point.status = Some(status);
    point
}

fn every(mut look: impl FnMut(bool, Trust, Option<TrustMark>)) {
    let marks = [
        None,
        Some(mark(TrustWord::Trusted, TrustReason::ByUser)),
        Some(mark(TrustWord::Quarantined, TrustReason::ByUser)),
        Some(mark(TrustWord::Quarantined, TrustReason::SuspectedBreach)),
    ];
    for whole in [true, false] {
        for said in [Trust::Auto, Trust::Trusted, Trust::Quarantined] {
            for mark in &marks {
                look(whole, said, mark.clone());
            }
        }
    }
}

#[test]
fn the_strictest_counts_and_nothing_but_a_mark_lifts_a_mark() {
    every(|whole, said, mark| {
        let point = point(whole, said, mark.clone());
        let status = point.status.clone().unwrap();
        let told = condition::get(&status.conditions, "Quarantined").unwrap();
        let word = mark.as_ref().map(|mark| mark.word);
        let by_people = said == Trust::Quarantined || word == Some(TrustWord::Quarantined);
        let expected = match (said, &mark) {
            (Trust::Quarantined, _) => "ByUser",
            (_, Some(mark)) if mark.word == TrustWord::Quarantined => mark.reason.as_str(),
            _ if !whole => "OfflineCheckFailed",
            _ => "NotQuarantined",
        };
        assert_eq!(told.reason, expected, "{whole} {said:?} {mark:?}");
        assert_eq!(told.status == "True", expected != "NotQuarantined");
        assert_eq!(is_available(&point), whole && !by_people);
        assert_eq!(is_evidence(&point), by_people);
        assert_eq!(by_name(&point), !by_people && word == Some(TrustWord::Trusted));
        assert!(told.message.len() > 20);
    });
}

#[test]
fn what_is_known_already_is_not_written_again_and_what_people_say_is_at_once() {
    let now = "2026-11-24T09:40:00Z".parse().unwrap();
    every(|whole, said, mark| {
        let known = point(whole, said, mark);
        assert_eq!(status(&known, None, now), None);
        let mut told = known.clone();
        told.spec.trust = Trust::Quarantined;
        if let Some(status) = status(&told, None, now) {
            assert_eq!(status.phase, Some(PointPhase::Quarantined));
            told.status = Some(status);
        }
        assert_eq!(status(&told, None, now), None, "once");
        assert!(!is_available(&told));
    });
}

#[test]
fn a_mark_that_was_written_just_now_is_shown_and_lifts_what_it_lifts() {
    let now = "2026-11-24T09:40:00Z".parse().unwrap();
    let breached =
        point(true, Trust::Trusted, Some(mark(TrustWord::Quarantined, TrustReason::SuspectedBreach)));
    let told = condition::get(&breached.status.as_ref().unwrap().conditions, "Quarantined").unwrap();
    assert!(told.message.contains("write Auto, then Trusted again"), "{}", told.message);
    let lifted = status(&breached, Some(mark(TrustWord::Trusted, TrustReason::ByUser)), now).unwrap();
    assert_eq!(lifted.phase, Some(PointPhase::Available));
    assert_eq!(lifted.trust.unwrap().by, "security@yourorg.com");
}
