//! When a capture starts: slots, requests, and what is no schedule.

use crds::condition;
use crds::job::{Report, Request};
use crds::point::PointPhase;
use crds::policy::Origin;
use crds::reference::REQUESTED_AT;
use serde_json::json;

use super::world::*;
use crate::effect::Next;

#[test]
fn a_new_policy_captures_nothing_until_its_first_slot() {
    let mut world = World::new(CREATED);
    let plan = world.settle();
    assert!(world.jobs.is_empty());
    world.is("Ready", "True", "Armed");
    world.is("RPOMet", "Unknown", "NoPoint");
    assert_eq!(world.status().resolved.as_ref().unwrap().schedule.cron, "*/15 * * * *");
    assert_eq!(world.status().next_capture.as_deref(), Some("2026-11-23T09:15:00Z"));
    assert_eq!(plan.next, Next::At(at("2026-11-23T09:15:00Z")));
}

#[test]
fn a_slot_becomes_a_point() {
    let mut world = World::new(CREATED);
    let plan = world.settle();
    world.wait(&plan);
    world.settle();
    let request = world.requests.values().next().unwrap();
    let Request::Capture { source, attempt, .. } = request else { panic!("{request:?}") };
    assert_eq!(attempt, "u-1/20261123-091500/1");
    assert_eq!(source.claims, ["data-chromadb-0"]);
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T09:15:00Z")));
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z"))));
    world.now = at("2026-11-23T09:15:20Z");
    world.settle();
    assert_eq!(world.points.len(), 1);
    let point = &world.points[0];
    assert_eq!(point.metadata.name.as_deref(), Some("chromadb-20261123-091503"));
    assert!(point.metadata.owner_references.is_none());
    let status = point.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(PointPhase::Available));
    assert_eq!(status.sizes.as_ref().unwrap().size, "700Mi");
    assert_eq!(status.chroma_db.as_ref().unwrap().writer_pause, "0.18s");
    world.is("LastCaptureSucceeded", "True", "Captured");
    world.is("RPOMet", "True", "WithinObjective");
    assert_eq!(world.status().points, 1);
    assert_eq!(world.status().active, None);
    assert!(world.jobs.is_empty(), "the Job goes once its result is written down");
}

#[test]
fn missed_slots_are_made_up_for_by_one_capture() {
    let mut world = World::new("2026-11-23T12:07:00Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T12:00:00Z")));
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T12:07:03Z"))));
    world.settle();
    assert!(world.running().is_empty());
}

#[test]
fn a_slot_that_is_too_late_is_left_out_and_told() {
    let mut world = World::new("2026-11-23T12:07:00Z");
    world.policy.spec.schedule =
        Some(serde_json::from_value(json!({"cron": "*/15 * * * *", "startingDeadline": "5m"})).unwrap());
    let plan = world.plan();
    assert!(plan.events.iter().any(|event| event.reason == "SlotSkipped"));
    world.settle();
    assert!(world.jobs.is_empty());
    assert_eq!(world.status().last_slot, Some(at("2026-11-23T12:00:00Z")));
}

#[test]
fn a_request_acts_once_and_only_a_later_one_acts_again() {
    let mut world = World::new("2026-11-23T09:03:00Z");
    let ask = |world: &mut World, text: &str| {
        world.policy.metadata.annotations = Some([(REQUESTED_AT.to_owned(), text.to_owned())].into());
    };
    ask(&mut world, "2026-11-23T09:02:30Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:03:03Z"))));
    world.settle();
    assert_eq!(world.points[0].status.as_ref().unwrap().origin, Some(Origin::Requested));
    for earlier in ["2026-11-23T09:02:30Z", "2026-11-20T00:00:00Z"] {
        ask(&mut world, earlier);
        world.settle();
        assert!(world.running().is_empty(), "{earlier} is not later");
    }
    ask(&mut world, "tomorrow");
    world.settle();
    world.is("RequestAccepted", "False", "InvalidTime");
    assert!(world.condition("RequestAccepted").message.contains("\"tomorrow\" is no time; write RFC3339"));
    world.is("Ready", "True", "Armed");
    ask(&mut world, "2026-11-23T09:03:10Z");
    let plan = world.settle();
    assert!(condition::get(&world.status().conditions, "RequestAccepted").is_none());
    assert!(world.running().is_empty(), "a clock that runs ahead is waited for");
    world.wait(&plan);
    world.settle();
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_slot_during_a_capture_waits_for_its_end() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.settle();
    world.now = at("2026-11-23T09:45:10Z");
    world.settle();
    assert_eq!(world.running().len(), 1);
    world.report(Report::Captured(Box::new(captured("p1", "2026-11-23T09:15:03Z"))));
    world.settle();
    assert_eq!(world.running().len(), 1, "the slot of 09:45, once");
    assert_eq!(world.status().active.as_ref().unwrap().slot, "20261123-094500");
}

#[test]
fn what_is_no_schedule_is_said_with_field_and_remedy_and_requests_still_work() {
    for (schedule, field) in [
        (json!({"cron": "61 * * * *"}), "spec.schedule.cron"),
        (json!({"cron": "* * * * *", "timeZone": "Mars/Olympus"}), "spec.schedule.timeZone"),
    ] {
        let mut world = World::new("2026-11-23T12:00:00Z");
        world.policy.spec.schedule = Some(serde_json::from_value(schedule).unwrap());
        world.settle();
        world.is("Ready", "False", "InvalidSpec");
        world.is("Stalled", "True", "InvalidSpec");
        assert!(world.condition("Ready").message.starts_with(field));
        assert!(world.jobs.is_empty());
        world.policy.metadata.annotations =
            Some([(REQUESTED_AT.to_owned(), "2026-11-23T11:59:00Z".to_owned())].into());
        world.settle();
        assert_eq!(world.running().len(), 1);
    }
}

#[test]
fn a_schedule_slower_than_the_rpo_is_said_and_followed() {
    let mut world = World::new("2026-11-23T10:00:00Z");
    world.policy.spec.schedule = Some(serde_json::from_value(json!({"cron": "0 * * * *"})).unwrap());
    world.settle();
    world.is("Ready", "False", "ScheduleMissesRPO");
    assert_eq!(
        world.condition("Ready").message,
        "schedule captures every 1h, the RPO is 30m; capture at \"*/15 * * * *\" (leave schedule out) or set objectives.rpo: 2h"
    );
    assert_eq!(world.running().len(), 1);
}
