//! An RPO of a minute: captures in a row, one pod after the other, whenever the controller is killed.

use crds::job::{FailureReason, Report, Request, Turn};
use crds::policy::{Offline, PolicyMode};
use jiff::{SignedDuration, Timestamp};

use super::world::*;
use crate::backup::source::Problem;
use crate::effect::{JobState, MoverJob};

/// A policy with an RPO of a minute whose first series runs.
fn continuous() -> World {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.policy.spec.objectives.rpo = "1m".parse().unwrap();
    let started = world.settle_until_started();
    assert_eq!(world.status().resolved.as_ref().unwrap().schedule.cron, "@every 30s");
    assert_eq!(started.before.len(), 7);
    world
}

fn slot(number: u32) -> Timestamp {
    at("2026-11-23T09:15:00Z") + SignedDuration::from_secs(30 * i64::from(number))
}

/// What the capture of this number says, four seconds after its slot.
fn whole(number: u32) -> Report {
    let time = slot(number) + SignedDuration::from_secs(4);
    Report::Captured(Box::new(captured(&format!("p{number}"), &time.to_string())))
}

impl World {
    fn settle_until_started(&mut self) -> MoverJob {
        for _ in 0..3 {
            let plan = self.plan();
            self.carry_out(&plan, usize::MAX);
            if let Some(job) = plan.start {
                return *job;
            }
        }
        panic!("nothing is started");
    }

    /// The next capture of the series ends so.
    fn turn(&mut self, report: Option<Report>) {
        self.now = slot(u32::try_from(self.turns.len()).unwrap()) + SignedDuration::from_secs(8);
        self.turns.push(report);
    }
}

#[test]
fn the_captures_of_a_pod_are_due_one_after_the_other_and_one_of_them_checks_all_there_is() {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.policy.spec.objectives.rpo = "1m".parse().unwrap();
    let job = world.settle_until_started();
    let turns: Vec<(String, Turn)> = job
        .before
        .iter()
        .chain([&job.request])
        .map(|request| {
            let Request::Capture { attempt, turn: Some(turn), .. } = request else { panic!("{request:?}") };
            (attempt.clone(), turn.clone())
        })
        .collect();
    assert_eq!(turns.len(), 8);
    for (number, (attempt, turn)) in (0..).zip(&turns) {
        assert_eq!((turn.at, turn.until), (slot(number), slot(number + 1)));
        assert_eq!(*attempt, format!("u-1/{}/1", slot(number).strftime("%Y%m%d-%H%M%S")));
    }
    assert_eq!(turns.iter().filter(|(_, turn)| turn.full_check).count(), 1);
    assert_eq!(job.deadline.as_secs(), 8 * 30 + 600, "the last one may take as long as any");
}

#[test]
fn each_capture_is_recorded_when_it_has_ended_and_the_rpo_is_kept_over_the_end_of_a_pod() {
    let mut world = continuous();
    for number in 0..8 {
        world.turn(Some(whole(number)));
        world.settle();
        assert_eq!(world.points.len() as u32, number + 1);
        assert_eq!(world.status().last_slot, Some(slot(number)));
        world.is("RPOMet", "True", "WithinObjective");
        world.is("LastCaptureSucceeded", "True", "Captured");
    }
    assert!(world.status().active.is_none() && world.jobs.is_empty(), "the pod has done all it had to");
    world.turns.clear();
    world.now = slot(8);
    world.settle();
    let active = world.status().active.as_ref().unwrap();
    assert_eq!((active.slot.as_str(), active.series.as_ref().unwrap().first), ("20261123-091900", slot(8)));
    assert_eq!(world.running().len(), 1);
}

#[test]
fn i5_killed_after_any_write_no_point_is_lost_or_recorded_twice_and_no_pod_runs_beside_another() {
    for killed in 0..40 {
        let mut world = World::new("2026-11-23T09:15:00Z");
        world.policy.spec.objectives.rpo = "1m".parse().unwrap();
        let mut left = killed;
        let mut looks = 0;
        while world.points.len() < 8 || world.status().active.is_some() {
            let plan = world.plan();
            left = world.carry_out(&plan, left);
            if left == 0 {
                // The next controller.
                left = usize::MAX;
            }
            assert!(world.running().len() <= 1);
            let next = u32::try_from(world.turns.len()).unwrap();
            if next < 8 && !world.jobs.is_empty() && looks % 3 == 2 {
                world.turn(Some(whole(next)));
            }
            looks += 1;
            assert!(looks < 300, "killed after {killed} writes it hangs: {:?}", world.status());
        }
        let ids: Vec<_> = world.points.iter().map(|point| point.spec.id.clone()).collect();
        assert_eq!(ids, (0..8).map(|n| format!("p{n}")).collect::<Vec<_>>(), "killed after {killed} writes");
        assert_eq!(world.requests.len(), 1);
        let captures = world.status().captures.as_ref().unwrap();
        assert_eq!((captures.succeeded, captures.failed), (8, 0), "killed after {killed} writes");
    }
}

#[test]
fn one_that_is_left_out_or_fails_for_now_hinders_the_next_in_nothing() {
    let mut world = continuous();
    world.turn(Some(whole(0)));
    world.turn(Some(Report::LeftOut));
    world.turn(Some(failure(FailureReason::Torn)));
    world.settle();
    world.is("LastCaptureSucceeded", "False", "Torn");
    assert_eq!((world.status().consecutive_failures, world.running().len()), (1, 1));
    world.turn(Some(whole(3)));
    world.settle();
    world.is("LastCaptureSucceeded", "True", "Captured");
    assert_eq!((world.points.len(), world.status().consecutive_failures), (2, 0));
    world.turn(Some(failure(FailureReason::KeyMismatch)));
    let plan = world.plan();
    assert_eq!((plan.delete.len(), &plan.status.active), (1, &None), "no other would fare better");
    world.is("LastCaptureSucceeded", "True", "Captured");
    world.carry_out(&plan, usize::MAX);
    world.is("LastCaptureSucceeded", "False", "KeyMismatch");
}

#[test]
fn the_report_that_a_killed_pod_owes_is_looked_for_in_the_bucket() {
    let mut world = continuous();
    world.turn(Some(whole(0)));
    world.settle();
    world.turn(None);
    world.end(JobState::Silent { why: "out of memory".into() });
    world.settle();
    let active = world.status().active.clone().unwrap();
    assert_eq!((active.slot.as_str(), active.confirming, active.series), ("20261123-091530", true, None));
    let asked = world.requests.values().find_map(|request| match request {
        Request::Confirm { attempt, .. } => Some(attempt.as_str()),
        _ => None,
    });
    assert_eq!(asked, Some("u-1/20261123-091530/1"));
    world.turns.clear();
    world.report(whole(1));
    world.settle();
    assert_eq!(world.points.len(), 2, "it had committed");
    let series = world.status().active.as_ref().and_then(|active| active.series.clone());
    assert!(series.is_none_or(|series| series.first > slot(1)), "and is not taken again");
}

#[test]
fn a_pod_that_stands_in_somebodys_way_goes_at_once() {
    let gone = |name: &str, change: &dyn Fn(&mut World)| {
        let mut world = continuous();
        world.turn(Some(whole(0)));
        change(&mut world);
        // What had ended by then is recorded.
        let plan = world.plan();
        assert_eq!(plan.delete.len(), 1, "{name}");
        world.carry_out(&plan, usize::MAX);
        assert_eq!(world.points.len(), 1, "{name}");
        let mut still = continuous();
        change(&mut still);
        assert_eq!(still.plan().delete.len(), 1, "{name}, with nothing to record");
        world
    };
    gone("a recovery", &|world| world.held_by = Some("db-2026-11-23".into()));
    gone("another policy", &|world| world.shared_with = Some("older".into()));
    gone("suspended", &|world| world.policy.spec.mode = PolicyMode::Suspended);
    gone("a longer RPO", &|world| world.policy.spec.objectives.rpo = "1h".parse().unwrap());
    gone("offline", &|world| {
        world.policy.spec.capture.live = None;
        world.policy.spec.capture.offline = Some(Offline::default());
    });
    gone("no server", &|world| {
        world.source = Err(Problem { reason: "PodNotRunning", message: "it is down".into() });
    });
    // Its volume could not follow it.
    let mut moved = gone("another node", &|world| {
        world.source.as_mut().unwrap().place.node = Some("node-2".into());
    });
    moved.turns.clear();
    moved.settle();
    assert_eq!(moved.status().resolved.as_ref().unwrap().node.as_deref(), Some("node-2"));
}

#[test]
fn a_capture_that_is_asked_for_meanwhile_is_the_next_one() {
    let mut world = continuous();
    let asked = slot(1) - SignedDuration::from_secs(5);
    let annotations = world.policy.metadata.annotations.get_or_insert_default();
    annotations.insert(crds::reference::REQUESTED_AT.to_owned(), asked.to_string());
    world.turn(Some(whole(0)));
    world.settle();
    assert_eq!(world.status().observed_requested_at, None, "it was cut before");
    world.turn(Some(whole(1)));
    world.settle();
    assert_eq!(world.status().observed_requested_at, Some(asked));
    assert_eq!(world.running().len(), 1);
}
