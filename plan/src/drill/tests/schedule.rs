//! A week and a year of schedule, outages, suspensions, and clocks that jump.

use super::*;

fn drill(cron: &str, zone: &str, more: Value) -> Value {
    let mut spec = monthly();
    spec["schedule"] = json!({"cron": cron, "timeZone": zone});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec["schedule"][key] = value.clone();
    }
    spec
}

fn failed(_: Timestamp) -> RecoveryRunStatus {
    ended(&[("Failed", "True", "StepFailed"), ("Ready", "False", "StepFailed")])
}

#[test]
fn a_week_of_nights_over_the_change_of_the_clock_is_seven_drills() {
    // 2026-03-29: 02:30 does not exist in Berlin; 2026-10-25: it comes twice.
    for (from, to) in
        [("2026-03-26T12:00:00Z", "2026-04-02T12:00:00Z"), ("2026-10-22T12:00:00Z", "2026-10-29T12:00:00Z")]
    {
        let mut world = World::new(drill("30 2 * * *", "Europe/Berlin", json!({})), from);
        world.simulate(at(to), passed);
        assert_eq!(world.created.len(), 7, "{:?}", world.created);
        let mut days: Vec<&str> = world.created.iter().map(|(_, name)| &name[3..11]).collect();
        days.dedup();
        assert_eq!(days.len(), 7, "one a day");
        assert!(world.status().results.iter().all(|result| result.verdict == Verdict::Passed));
        assert_eq!(world.condition("EvidenceFresh").0, "True");
    }
}

#[test]
fn a_year_of_the_seeds_schedule() {
    for (cron, slots) in [
        ("0 4 * * 0", 52),
        ("0 5 1 * *", 12),
        ("0 5 15 1,4,7,10 *", 4),
        ("0 5 20 3,9 *", 2),
        ("0 5 20 5 *", 1),
    ] {
        let mut world = World::new(drill(cron, "America/New_York", json!({})), "2026-01-01T12:00:00Z");
        world.simulate(at("2027-01-01T11:00:00Z"), passed);
        assert_eq!(world.created.len(), slots, "{cron}: {:?}", world.created);
        let five = |time: &Timestamp| {
            let hour = time.to_zoned(jiff::tz::TimeZone::get("America/New_York").unwrap()).hour();
            hour == 4 || hour == 5
        };
        assert!(world.created.iter().all(|(time, _)| five(time)), "the zone's own hour, summer and winter");
        assert_eq!(
            world.condition("EvidenceFresh").0,
            "True",
            "one and a half times the wait is never over: {cron}"
        );
    }
}

#[test]
fn after_an_outage_the_newest_slot_is_made_up_for_and_no_other() {
    let mut world = World::new(drill("0 5 * * *", "UTC", json!({})), "2026-11-01T12:00:00Z");
    world.settle();
    world.now = at("2026-11-20T12:00:00Z");
    world.simulate(at("2026-11-21T04:00:00Z"), passed);
    assert_eq!(world.created, [(at("2026-11-20T12:00:00Z"), "db-20261120-050000".to_owned())]);
    assert_eq!(
        world.status().results[0].started,
        at("2026-11-20T12:00:00Z"),
        "clocks begin when it is started"
    );
}

#[test]
fn a_slot_that_is_too_late_is_skipped_and_recorded() {
    let mut world =
        World::new(drill("0 5 * * *", "UTC", json!({"startingDeadline": "4h"})), "2026-11-01T12:00:00Z");
    world.settle();
    world.now = at("2026-11-02T09:00:01Z");
    world.settle();
    assert!(world.created.is_empty());
    let result = &world.status().results[0];
    assert_eq!((result.verdict, result.reason.as_str()), (Verdict::Skipped, "StartingDeadlineExceeded"));
    assert_eq!(result.run, "db-20261102-050000");
    world.simulate(at("2026-11-03T12:00:00Z"), passed);
    assert_eq!(world.created.len(), 1);
}

#[test]
fn a_slot_that_comes_while_the_last_drill_runs_is_skipped_and_recorded() {
    let mut world = World::new(drill("0 * * * *", "UTC", json!({})), "2026-11-01T04:30:00Z");
    world.now = at("2026-11-01T05:00:00Z");
    world.settle();
    assert_eq!(world.created.len(), 1);
    world.now = at("2026-11-01T06:00:00Z");
    world.settle();
    world.now = at("2026-11-01T07:00:00Z");
    world.settle();
    assert_eq!(world.created.len(), 1);
    let status = world.status();
    let told: Vec<_> =
        status.results.iter().map(|r| (r.run.as_str(), r.verdict, r.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("db-20261101-070000", Verdict::Skipped, "StillRunning"),
            ("db-20261101-060000", Verdict::Skipped, "StillRunning")
        ]
    );
    world.end(passed(at("2026-11-01T05:00:00Z")));
    world.settle();
    assert_eq!(world.created.len(), 1, "what was skipped is not made up for");
    assert_eq!(world.status().results[0].run, "db-20261101-050000", "the newest to come out is the first");
    assert_eq!(world.condition("LastDrillPassed").0, "True");
}

#[test]
fn what_was_missed_while_suspended_is_not_made_up_for() {
    let mut world = World::new(drill("0 5 * * *", "UTC", json!({})), "2026-11-01T12:00:00Z");
    world.drill.spec.mode = DrillMode::Suspended;
    world.simulate(at("2026-11-10T12:00:00Z"), passed);
    assert!(world.created.is_empty() && world.status().next_run.is_none());
    assert_eq!(world.condition("Ready"), ("False".into(), "Suspended".into()));
    world.drill.spec.mode = DrillMode::Active;
    world.settle();
    assert!(world.created.is_empty(), "no storm");
    world.simulate(at("2026-11-11T12:00:00Z"), passed);
    assert_eq!(world.created.len(), 1);
}

#[test]
fn slots_of_a_schedule_that_was_changed_lie_ahead() {
    let mut world = World::new(drill("0 5 1 * *", "UTC", json!({})), "2026-11-02T12:00:00Z");
    world.settle();
    assert_eq!(world.status().resolved.unwrap().max_staleness.to_string(), "1116h");
    world.now = at("2026-11-20T12:00:00Z");
    world.drill.spec.schedule.cron = "0 5 * * *".into();
    world.drill.metadata.generation = Some(2);
    world.settle();
    assert!(world.created.is_empty());
    assert_eq!(world.status().next_run.as_deref(), Some("2026-11-21T05:00:00Z"));
    assert_eq!(world.status().resolved.unwrap().max_staleness.to_string(), "36h");
    world.drill.spec.max_staleness = Some(crds::Span::from_hours(100));
    world.drill.metadata.generation = Some(3);
    world.settle();
    assert_eq!(world.status().resolved.unwrap().max_staleness.to_string(), "100h");
}

#[test]
fn a_clock_that_jumps_starts_nothing_twice_and_stops_nothing_for_long() {
    let mut world = World::new(drill("0 5 * * *", "UTC", json!({})), "2026-11-01T12:00:00Z");
    world.simulate(at("2026-11-02T05:30:00Z"), passed);
    assert_eq!(world.created.len(), 1);
    // An hour back: the slot of this morning is not started again.
    world.now = at("2026-11-02T04:30:00Z");
    world.simulate(at("2026-11-02T12:00:00Z"), passed);
    assert_eq!(world.created.len(), 1);
    // A year ahead by mistake, and back: one drill there, and the next one here as if nothing had been.
    world.now = at("2027-11-02T12:00:00Z");
    world.settle();
    assert_eq!(world.created.len(), 2);
    world.end(passed(at("2027-11-02T12:00:00Z")));
    world.settle();
    world.now = at("2026-11-02T13:00:00Z");
    world.settle();
    world.simulate(at("2026-11-04T12:00:00Z"), passed);
    assert_eq!(world.created.len(), 4, "{:?}", world.created);
    world.simulate(at("2026-11-09T12:00:00Z"), failed);
    assert_eq!(world.condition("EvidenceFresh").0, "False", "no evidence is of the future");
}

#[test]
fn evidence_turns_stale_exactly_when_its_time_is_over_and_is_looked_at_then() {
    let mut spec = drill("0 5 1 * *", "UTC", json!({}));
    spec["maxStaleness"] = json!("840h");
    let mut world = World::new(spec, "2026-11-23T09:40:00Z");
    world.ask();
    world.settle();
    world.end(passed(world.now));
    world.drill.spec.mode = DrillMode::Suspended;
    world.settle();
    let turn = at("2026-11-23T09:40:00Z") + SignedDuration::from_hours(840);
    let Next::At(look) = world.plan().next else { panic!("nobody looks") };
    assert!(look > turn && look <= turn + SignedDuration::from_millis(1), "{look}");
    world.now = turn;
    world.settle();
    assert_eq!(world.condition("EvidenceFresh"), ("True".into(), "Fresh".into()));
    world.now = look;
    world.settle();
    assert_eq!(world.condition("EvidenceFresh"), ("False".into(), "Stale".into()));
    assert!(world.events.iter().any(|event| event.reason == "Stale"));
}

#[test]
fn a_request_acts_once_per_later_time() {
    let mut world = World::new(monthly(), "2026-11-23T09:40:00Z");
    world.ask();
    world.settle();
    world.end(passed(world.now));
    world.settle();
    world.now += SignedDuration::from_hours(1);
    world.settle();
    assert_eq!(world.created.len(), 1);
    // A tool writes an older value back.
    let annotations = world.drill.metadata.annotations.as_mut().unwrap();
    let _ = annotations.insert(REQUESTED_AT.to_owned(), "2026-11-23T09:00:00Z".to_owned());
    world.settle();
    assert_eq!(world.created.len(), 1);
    // A clock that runs ahead waits for its time.
    let annotations = world.drill.metadata.annotations.as_mut().unwrap();
    let _ = annotations.insert(REQUESTED_AT.to_owned(), "2026-11-23T11:00:00Z".to_owned());
    world.settle();
    assert_eq!(world.created.len(), 1);
    let Next::At(look) = world.plan().next else { panic!("nobody looks") };
    assert_eq!(look, at("2026-11-23T11:00:00Z"));
    world.now = look;
    world.settle();
    assert_eq!(world.created.len(), 2);
    let annotations = world.drill.metadata.annotations.as_mut().unwrap();
    let _ = annotations.insert(REQUESTED_AT.to_owned(), "today".to_owned());
    world.settle();
    assert_eq!(world.condition("Ready"), ("False".into(), "InvalidSpec".into()));
}

#[test]
fn a_drill_waits_for_the_run_of_another_one_after_an_outage() {
    let mut world = World::new(drill("0 5 * * *", "UTC", json!({})), "2026-11-01T12:00:00Z");
    let mut other = run_of("other-1", "u-other", world.now, world.created_spec());
    other.metadata.owner_references.as_mut().unwrap()[0].uid = "u-other-drill".into();
    world.runs.push(other);
    world.now = at("2026-11-05T12:00:00Z");
    world.settle();
    assert!(world.created.is_empty());
    assert_eq!(world.condition("Reconciling"), ("True".into(), "WaitingForRun".into()));
    world.runs[0].status = Some(passed(world.now));
    world.settle();
    assert_eq!(world.created.len(), 1);
}
