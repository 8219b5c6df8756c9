//! Examples a person can follow, and properties over all inputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Candidate, Reason, Retention};
use crate::point::PointId;

fn candidate(number: usize, time: Timestamp) -> Candidate {
    let id = format!("{number:032x}").parse().unwrap();
    Candidate { id, time, said: time, good: true, verified: false, held: false }
}

fn points(times: &[&str]) -> Vec<Candidate> {
    times.iter().enumerate().map(|(n, time)| candidate(n, time.parse().unwrap())).collect()
}

fn kept(rules: &Retention, points: &[Candidate], zone: &TimeZone, now: Timestamp) -> BTreeSet<PointId> {
    let decided = rules.decide(points, zone, now);
    assert_eq!(decided.len(), points.len(), "total: every point gets an answer");
    decided.into_iter().filter(|(_, reasons)| !reasons.is_empty()).map(|(id, _)| id).collect()
}

/// The kept ones by their places in the list.
fn places(rules: &Retention, points: &[Candidate], zone: &TimeZone) -> Vec<u128> {
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let number = |id: PointId| u128::from_str_radix(&id.to_string(), 16).unwrap();
    kept(rules, points, zone, now).into_iter().map(number).collect()
}

#[test]
fn a_period_keeps_its_newest_point_and_weeks_begin_on_monday() {
    let week = points(&[
        "2026-11-15T10:00:00Z", // Sunday
        "2026-11-16T10:00:00Z", // Monday
        "2026-11-22T10:00:00Z", // Sunday
        "2026-11-23T10:00:00Z", // Monday
        "2026-11-24T08:00:00Z",
        "2026-11-24T10:00:00Z",
    ]);
    let weekly = Retention { weekly: 9, ..Retention::default() };
    assert_eq!(places(&weekly, &week, &TimeZone::UTC), [0, 2, 5]);
    let daily = Retention { daily: 2, ..Retention::default() };
    assert_eq!(places(&daily, &week, &TimeZone::UTC), [3, 5]);
    let hourly = Retention { hourly: 2, ..Retention::default() };
    assert_eq!(places(&hourly, &week, &TimeZone::UTC), [4, 5]);
}

#[test]
fn days_are_those_of_the_zone_and_the_repeated_hour_of_a_clock_change_counts_twice() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    // 23:30 UTC is the next day in Berlin.
    let evening = points(&["2026-11-20T21:30:00Z", "2026-11-20T23:30:00Z"]);
    let daily = Retention { daily: 5, ..Retention::default() };
    assert_eq!(places(&daily, &evening, &berlin), [0, 1]);
    assert_eq!(places(&daily, &evening, &TimeZone::UTC), [1]);
    let repeated = points(&["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    let hourly = Retention { hourly: 5, ..Retention::default() };
    assert_eq!(places(&hourly, &repeated, &berlin), [0, 1]);
}

#[test]
fn a_period_prefers_a_good_point_and_a_damaged_series_never_pushes_the_last_good_one_out() {
    let mut series = points(&["2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z"]);
    series[1].good = false;
    series[2].good = false;
    let daily = Retention { daily: 2, ..Retention::default() };
    assert_eq!(places(&daily, &series, &TimeZone::UTC), [0, 2]);
    let last = Retention { last: 1, ..Retention::default() };
    let decided = last.decide(&series, &TimeZone::UTC, "2026-11-24T12:00:00Z".parse().unwrap());
    assert_eq!(decided[&series[0].id], [Reason::NewestGood].into());
    assert_eq!(decided[&series[1].id], [].into());
    assert_eq!(decided[&series[2].id], [Reason::Newest, Reason::Last].into());
}

#[test]
fn age_ends_what_the_calendar_keeps_and_not_what_the_minimum_holds() {
    let old = points(&["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-11-24T00:00:00Z"]);
    let month = Some(SignedDuration::from_hours(24 * 30));
    let rules = Retention { monthly: 12, max_age: month, ..Retention::default() };
    assert_eq!(places(&rules, &old, &TimeZone::UTC), [2]);
    let rules = Retention { minimum: 2, ..rules };
    assert_eq!(places(&rules, &old, &TimeZone::UTC), [1, 2]);
    let alone = Retention { max_age: month, ..Retention::default() };
    assert_eq!(places(&alone, &old, &TimeZone::UTC), [2]);
    assert_eq!(places(&Retention::default(), &old, &TimeZone::UTC), [0, 1, 2]);
}

/// After the youngest point of [`any_points`].
const NOW: i64 = 1_794_000_500;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// Points of a month in which a clock changes, dense enough for every rule to matter.
#[test]
fn i3_of_points_that_the_store_saw_within_a_second_the_later_capture_is_the_newest() {
    let time: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
    for later in [0, 1] {
        let mut points = vec![candidate(0, time), candidate(1, time)];
        points[later].said = "2026-11-23T09:00:00.7Z".parse().unwrap();
        let rules = Retention { last: 1, ..Retention::default() };
        assert_eq!(kept(&rules, &points, &TimeZone::UTC, time), [points[later].id].into());
    }
}

fn any_points() -> impl Strategy<Value = Vec<Candidate>> {
    let point = (NOW - 3_000_000..NOW, any::<bool>(), any::<bool>(), 0..12_u8);
    vec(point, 0..60).prop_map(|points| {
        let of = |(number, (second, good, verified, held)): (usize, (i64, bool, bool, u8))| Candidate {
            good,
            verified,
            held: held == 0,
            ..candidate(number, Timestamp::from_second(second).unwrap())
        };
        points.into_iter().enumerate().map(of).collect()
    })
}

fn any_rules() -> impl Strategy<Value = Retention> {
    let ages = proptest::option::of((0..1_000_i64).prop_map(SignedDuration::from_hours));
    (vec(0..6_u32, 8), ages).prop_map(|(n, max_age)| Retention {
        last: n[0],
        hourly: n[1],
        daily: n[2],
        weekly: n[3],
        monthly: n[4],
        yearly: n[5],
        minimum: n[6],
        keep_verified: n[7],
        max_age,
    })
}

/// Rules that ask for at least as much as the first.
fn more(rules: &Retention, by: &Retention) -> Retention {
    Retention {
        last: rules.last + by.last,
        hourly: rules.hourly + by.hourly,
        daily: rules.daily + by.daily,
        weekly: rules.weekly + by.weekly,
        monthly: rules.monthly + by.monthly,
        yearly: rules.yearly + by.yearly,
        minimum: rules.minimum + by.minimum,
        keep_verified: rules.keep_verified + by.keep_verified,
        max_age: rules.max_age.zip(by.max_age).map(|(a, b)| a.max(b)),
    }
}

proptest! {
    #[test]
    fn asking_for_more_never_keeps_less(points in any_points(), rules in any_rules(), by in any_rules()) {
        prop_assume!(!rules.counts_nothing());
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let more = kept(&more(&rules, &by), &points, &zone, now());
        prop_assert!(kept(&rules, &points, &zone, now()).is_subset(&more));
    }

    #[test]
    fn i3_the_newest_the_newest_good_the_newest_verified_and_the_held_stay(
        points in any_points(),
        rules in any_rules(),
    ) {
        let kept = kept(&rules, &points, &TimeZone::UTC, now());
        for of in [|_: &Candidate| true, |p: &Candidate| p.good, |p: &Candidate| p.verified] {
            let newest = points.iter().filter(|p| of(p)).max_by_key(|p| (p.time, p.id));
            prop_assert!(newest.is_none_or(|p| kept.contains(&p.id)));
        }
        prop_assert!(points.iter().filter(|p| p.held).all(|p| kept.contains(&p.id)));
    }

    #[test]
    fn the_minimum_and_the_verified_hold_whatever_their_age(points in any_points(), rules in any_rules()) {
        let kept = kept(&rules, &points, &TimeZone::UTC, now());
        let among = |of: fn(&Candidate) -> bool| {
            let all = points.iter().filter(|p| of(p)).count();
            (points.iter().filter(|p| of(p) && kept.contains(&p.id)).count(), all)
        };
        let (good, of_good) = among(|p| p.good);
        prop_assert!(good >= of_good.min(rules.minimum as usize));
        let (verified, of_verified) = among(|p| p.verified);
        prop_assert!(verified >= of_verified.min(rules.keep_verified as usize));
    }

    #[test]
    fn what_is_kept_once_is_kept_by_the_next_look(points in any_points(), rules in any_rules()) {
        let first = kept(&rules, &points, &TimeZone::UTC, now());
        let rest: Vec<Candidate> = points.into_iter().filter(|p| first.contains(&p.id)).collect();
        prop_assert_eq!(&first, &kept(&rules, &rest, &TimeZone::UTC, now()));
    }

    #[test]
    fn the_order_of_the_points_plays_no_part(points in any_points(), rules in any_rules()) {
        let turned: Vec<Candidate> = points.iter().rev().cloned().collect();
        let decided = rules.decide(&points, &TimeZone::UTC, now());
        prop_assert_eq!(decided, rules.decide(&turned, &TimeZone::UTC, now()));
    }

    #[test]
    fn no_more_is_kept_than_the_rules_ask_for(points in any_points(), rules in any_rules()) {
        prop_assume!(!rules.counts_nothing());
        let Retention { last, hourly, daily, weekly, monthly, yearly, minimum, keep_verified, .. } = rules;
        let most = 3 + last + hourly + daily + weekly + monthly + yearly + minimum + keep_verified;
        let held = points.iter().filter(|p| p.held).count();
        prop_assert!(kept(&rules, &points, &TimeZone::UTC, now()).len() <= most as usize + held);
    }
}
