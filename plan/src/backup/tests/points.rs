//! Which points a policy has, which is the newest good one, and whether it keeps the RPO.

use crds::condition;
use crds::job::Report;
use crds::point::{PointPhase, Verification};
use crds::policy::LastPoint;
use crds::run::Verdict;

use super::world::*;
use crate::backup::points;
use crate::backup::source::Problem;
use crate::effect::Next;

#[test]
fn the_rpo_is_missed_at_exactly_one_instant_and_healed_by_the_next_point() {
    let mut world = World::new(CREATED);
    world.points.push(stored("p1", "2026-11-23T09:00:03Z", PointPhase::Available));
    world.source = Err(Problem { reason: "PodNotRunning", message: "it is down".into() });
    world.now = at("2026-11-23T09:30:03Z");
    let plan = world.settle();
    world.is("RPOMet", "True", "WithinObjective");
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:30:03.001Z")));
    world.wait(&plan);
    let plan = world.settle();
    world.is("RPOMet", "False", "PointTooOld");
    assert_eq!(
        world.condition("RPOMet").message,
        "since 2026-11-23T09:30:03Z the newest good point chromadb-20261123-090003 is older than 30m; what was written since 2026-11-23T09:00:03Z would be lost. See LastCaptureSucceeded"
    );
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:45:00Z")), "the next slot, nothing sooner");
    world.is("Ready", "False", "SourceNotReady");
    world.source = found();
    world.settle();
    world.report(Report::Captured(Box::new(captured("p2", "2026-11-23T09:31:00Z"))));
    world.settle();
    world.is("RPOMet", "True", "WithinObjective");
}

#[test]
fn a_policy_that_never_had_a_point_has_its_rpo_to_make_one() {
    let mut world = World::new(CREATED);
    world.repository = None;
    world.settle();
    world.is("RPOMet", "Unknown", "NoPoint");
    world.now = at("2026-11-23T09:32:00.001Z");
    world.settle();
    world.is("RPOMet", "False", "NoPoint");
}

#[test]
fn available_points_come_newest_first_and_others_not_at_all() {
    let mut foreign = stored("x", "2026-11-23T09:50:00Z", PointPhase::Available);
    foreign.spec.policy = "email".into();
    let points = [
        stored("old", "2026-11-23T08:00:00Z", PointPhase::Available),
        stored("bad", "2026-11-23T09:30:00Z", PointPhase::Quarantined),
        foreign,
        stored("new", "2026-11-23T09:00:00Z", PointPhase::Available),
    ];
    let ids: Vec<_> = points::available(&points, "chromadb").iter().map(|(p, _)| p.spec.id.clone()).collect();
    assert_eq!(ids, ["new", "old"]);
}

#[test]
fn a_capture_with_findings_is_quarantined_and_never_the_newest_good_point() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.points.push(stored("p0", "2026-11-23T09:00:03Z", PointPhase::Available));
    world.settle();
    world.report(Report::Captured(Box::new(suspect("p1", "2026-11-23T09:15:03Z"))));
    world.settle();
    let point = world.points.last().unwrap().status.as_ref().unwrap();
    assert_eq!(point.phase, Some(PointPhase::Quarantined));
    assert_eq!(condition::get(&point.conditions, "Ready").unwrap().reason, "OfflineCheckFailed");
    world.is("LastCaptureSucceeded", "False", "OfflineCheckFailed");
    let last: &LastPoint = world.status().last_point.as_ref().unwrap();
    assert_eq!(last.name, "chromadb-20261123-090003");
    assert_eq!(world.status().points, 2);
    assert_eq!(world.status().consecutive_failures, 1);
    let captures = world.status().captures.as_ref().unwrap();
    assert_eq!(
        (captures.succeeded, captures.failed),
        (0, 1),
        "a point that nobody may restore is no success"
    );
}

#[test]
fn the_newest_point_that_was_verified_is_told_beside_the_newest_one() {
    let mut world = World::new(CREATED);
    let verified = |id: &str, time: &str, verdict: Verdict, phase: PointPhase| {
        let mut point = stored(id, time, phase);
        let verification =
            Verification { verdict, time: at(CREATED), by: "run/weekly".into(), recorded: false };
        point.status.as_mut().unwrap().verification = Some(verification);
        point
    };
    world.points = vec![
        verified("p1", "2026-11-20T09:00:03Z", Verdict::Passed, PointPhase::Available),
        verified("p2", "2026-11-21T09:00:03Z", Verdict::Passed, PointPhase::Available),
        verified("p3", "2026-11-22T09:00:03Z", Verdict::Passed, PointPhase::Quarantined),
        verified("p4", "2026-11-22T10:00:03Z", Verdict::Inconclusive, PointPhase::Available),
        stored("p5", "2026-11-23T09:00:03Z", PointPhase::Available),
    ];
    world.settle();
    let verified = world.status().last_verified_point.as_ref().unwrap();
    assert_eq!(verified.name, "chromadb-20261121-090003");
    assert_eq!(world.status().last_point.as_ref().unwrap().name, "chromadb-20261123-090003");
    world.points.remove(1);
    world.points.remove(0);
    world.settle();
    assert_eq!(world.status().last_verified_point, None);
}

#[test]
fn two_points_of_one_second_have_two_names() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.points.push(stored("other", "2026-11-23T09:15:03Z", PointPhase::Available));
    world.settle();
    world.report(Report::Captured(Box::new(captured("AB12cd34ef", "2026-11-23T09:15:03.5Z"))));
    world.settle();
    let names: Vec<_> = world.points.iter().filter_map(|p| p.metadata.name.clone()).collect();
    assert_eq!(names, ["chromadb-20261123-091503", "chromadb-20261123-091503-ab12cd34"]);
    assert_eq!(world.status().last_point.as_ref().unwrap().name, "chromadb-20261123-091503-ab12cd34");
}

#[test]
fn an_emergency_capture_is_recorded_as_quarantined_with_what_it_has_not_whatever_it_holds() {
    let about = || points::About {
        policy: "chromadb",
        repository: "primary",
        origin: crds::policy::Origin::Emergency,
        image: String::new(),
        hold: None,
        trust: None,
        verification: None,
    };
    let new = points::new(about(), &emergency("e1", "2026-11-23T10:00:00Z"), [], at("2026-11-23T10:01:00Z"));
    let status = &new.status;
    assert_eq!((status.phase, status.verification.as_ref()), (Some(PointPhase::Quarantined), None));
    assert_eq!(status.emergency.as_ref().unwrap().unreadable_bytes, 12_288);
    let quarantined = condition::get(&status.conditions, "Quarantined").unwrap();
    assert_eq!((quarantined.status.as_str(), quarantined.reason.as_str()), ("True", "EmergencyCapture"));
    assert_eq!(
        quarantined.message,
        "never chosen by latest: it is an emergency capture; something may have written meanwhile; 12288 bytes in 2 ranges could not be \
         read, the first 4096 at 8192 of data/chroma.sqlite3; 1 files or objects are missing, such as data/x: can't be opened; it stays \
         until it is deleted by hand"
    );
    // The newest good point stays the one before it.
    let mut world = World::new(CREATED);
    world.points.push(stored("p1", "2026-11-23T09:00:03Z", PointPhase::Available));
    let mut point = stored("e1", "2026-11-23T10:00:00Z", PointPhase::Quarantined);
    point.status = Some(new.status);
    world.points.push(point);
    world.now = at("2026-11-23T10:05:00Z");
    world.settle();
    world.is("RPOMet", "False", "PointTooOld");
    assert_eq!(points::available(&world.points, "chromadb").len(), 1);
}

/// Says on a point of the world that a run has verified it.
fn verified(world: &mut World, id: &str, verdict: Verdict, time: &str) {
    let point = world.points.iter_mut().find(|point| point.spec.id == id).unwrap();
    let stamp = crate::verification::Stamp {
        name: id.into(),
        verification: Verification { verdict, time: at(time), by: format!("run/{time}"), recorded: false },
        found: "its hash is not the point's".into(),
    };
    point.status = crate::verification::stamped(point, &stamp, at(time));
}

#[test]
fn a_policy_tells_whether_its_points_were_verified_and_turns_when_that_is_too_long_ago() {
    let mut world = World::new(CREATED);
    for (id, time) in [("p1", "2026-11-23T08:00:03Z"), ("p2", "2026-11-23T09:00:03Z")] {
        world.points.push(stored(id, time, PointPhase::Available));
    }
    world.settle();
    world.is("Verified", "Unknown", "NeverVerified");
    verified(&mut world, "p1", Verdict::Passed, "2026-11-23T09:10:00Z");
    world.settle();
    world.is("Verified", "True", "Passed");
    assert_eq!(world.status().last_verified, Some(at("2026-11-23T09:10:00Z")));
    // One look that finds one point good and another not has found one that is not.
    verified(&mut world, "p2", Verdict::Failed, "2026-11-23T09:10:00Z");
    world.settle();
    world.is("Verified", "False", "Failed");
    verified(&mut world, "p1", Verdict::Passed, "2026-11-23T09:11:00Z");
    world.settle();
    world.is("Verified", "True", "Passed");
    // That it passed is remembered when the point is gone.
    world.points.clear();
    world.policy.spec.mode = crds::policy::PolicyMode::Suspended;
    world.now = at("2026-11-23T09:11:00Z") + jiff::SignedDuration::from_hours(1116)
        - jiff::SignedDuration::from_secs(1);
    let plan = world.settle();
    world.is("Verified", "True", "Passed");
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:11:00Z") + jiff::SignedDuration::from_hours(1116)));
    world.wait(&plan);
    world.settle();
    world.is("Verified", "False", "Stale");
}

#[test]
fn what_the_bucket_says_was_verified_is_known_of_a_point_that_is_found_again() {
    let known = Verification {
        verdict: Verdict::Passed,
        time: at("2026-11-22T09:00:00Z"),
        by: "run/weekly".into(),
        recorded: true,
    };
    let about = |verification| points::About {
        policy: "chromadb",
        repository: "primary",
        origin: crds::policy::Origin::Discovered,
        image: String::new(),
        hold: None,
        trust: None,
        verification,
    };
    let none = std::iter::empty();
    let found = points::new(about(Some(known.clone())), &captured("p1", CREATED), none, at(CREATED));
    assert_eq!(found.status.verification, Some(known.clone()));
    assert_eq!(condition::get(&found.status.conditions, "Verified").unwrap().status, "True");
    // What its capture found counts for more.
    let none = std::iter::empty();
    let found = points::new(about(Some(known)), &suspect("p1", CREATED), none, at(CREATED));
    assert_eq!(found.status.verification.unwrap().by, "Capture");
}
