//! Commands around a capture: the last one runs whatever happens, and in its time.

use crds::Span;
use crds::job::{Failure, FailureReason, Report, Request};
use crds::policy::{CaptureMethod, Cut, Hook, HookStage, Hooks, PolicyMode, Snapshot};

use super::world::*;
use crate::backup::Plan;
use crate::effect::JobState;

fn hook(program: &str) -> Hook {
    Hook { command: vec![program.into()], container: None, timeout: Span::from_mins(1) }
}

fn hooked() -> World {
    let mut world = World::new("2026-11-23T09:15:00Z");
    let hooks = Hooks { before: Some(hook("quiesce")), after: Some(hook("resume")) };
    world.policy.spec.capture.hooks = Some(hooks);
    world
}

/// What a Job does, by the names of the commands and Capture.
fn does(request: &Request) -> String {
    match request {
        Request::Hook { hook, .. } => hook.command[0].clone(),
        Request::Capture { .. } => "Capture".into(),
        Request::Cut { .. } => "Cut".into(),
        Request::Confirm { .. } => "Confirm".into(),
        other => panic!("{other:?}"),
    }
}

/// Reconciles until a Job is started, and says what it does.
fn started(world: &mut World) -> String {
    for _ in 0..8 {
        let known = world.requests.clone();
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX);
        let new: Vec<&String> = world.requests.keys().filter(|name| !known.contains_key(*name)).collect();
        if let [name] = new[..] {
            return does(&world.requests[name]);
        }
    }
    panic!("no Job: {:?}", world.status());
}

fn whole() -> Report {
    Report::Captured(Box::new(captured("p-1", "2026-11-23T09:15:10Z")))
}

fn failed() -> Report {
    failure(FailureReason::HookFailed)
}

fn told(plan: &Plan, reason: &str) -> bool {
    plan.events.iter().any(|event| event.reason == reason)
}

#[test]
fn a_capture_stands_between_its_hooks() {
    let mut world = hooked();
    let first = world.plan();
    assert!(first.hook.is_none() && first.start.is_none(), "nothing runs before it is written down");
    assert_eq!(started(&mut world), "quiesce");
    let job = world.running()[0].clone();
    let Request::Hook { namespace, pods, all_or_none: true, .. } = &world.requests[&job] else { panic!() };
    assert_eq!((namespace.as_str(), pods.as_slice()), ("arxiv", ["chromadb-0".to_owned()].as_slice()));
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    assert_eq!(started(&mut world), "resume");
    assert!(world.finalizer && world.points.len() == 1);
    world.report(Report::Ran);
    world.settle();
    assert_eq!((&world.status().hooked, world.finalizer, world.jobs.len()), (&None, false, 0));
    world.is("LastCaptureSucceeded", "True", "Captured");
}

#[test]
fn by_snapshot_the_hooks_surround_the_cut_alone() {
    let mut world = hooked();
    let hooks = world.policy.spec.capture.hooks.clone();
    let snapshot = Some(Snapshot::default());
    world.policy.spec.capture = CaptureMethod { live: None, snapshot, hooks, ..CaptureMethod::default() };
    world.snapshots = super::snapshot::by_snapshot().snapshots;
    assert_eq!(started(&mut world), "quiesce");
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "Cut");
    let cut = Cut { at: world.now, until: world.now, held_ms: 200, attempts: 1, filesystem: "ext4".into() };
    world.report(Report::Cut(cut));
    assert_eq!(started(&mut world), "resume", "the clone is not even there");
}

#[test]
fn i5_killed_after_any_write_every_command_runs_once_and_the_last_one_last() {
    for killed in 0..24 {
        let mut world = hooked();
        let (mut left, mut order) = (killed, vec![]);
        for _ in 0..30 {
            let known = world.requests.clone();
            let plan = world.plan();
            left = world.carry_out(&plan, left);
            if left == 0 {
                // The next controller.
                left = usize::MAX;
            }
            order.extend(
                world.requests.iter().filter(|(name, _)| !known.contains_key(*name)).map(|(_, r)| does(r)),
            );
            if let [running] = world.running()[..] {
                let capture = matches!(world.requests[running], Request::Capture { .. });
                world.report(if capture { whole() } else { Report::Ran });
            }
        }
        assert_eq!(order, ["quiesce", "Capture", "resume"], "killed after {killed} writes");
        assert_eq!((&world.status().hooked, world.finalizer, world.points.len()), (&None, false, 1));
    }
}

#[test]
fn where_the_first_fails_nothing_is_captured_and_the_last_runs_before_it_is_tried_again() {
    let mut world = hooked();
    for attempt in 1..=3 {
        assert_eq!(started(&mut world), "quiesce");
        assert_eq!(world.status().hooked.as_ref().unwrap().attempt, attempt);
        world.report(failed());
        assert_eq!(started(&mut world), "resume");
        world.report(Report::Ran);
        let plan = world.settle();
        if attempt < 3 {
            world.wait(&plan);
        }
    }
    world.is("LastCaptureSucceeded", "False", "HookFailed");
    assert!(world.points.is_empty() && world.status().active.is_none() && world.status().hooked.is_none());
}

#[test]
fn a_capture_that_fails_or_is_lost_or_withdrawn_is_followed_by_its_hook() {
    let ends: [fn(&mut World); 4] = [
        |world| world.report(failure(FailureReason::Torn)),
        |world| world.report(failure(FailureReason::ChromaDBNotFound)),
        |world| world.end(JobState::Silent { why: "evicted".into() }),
        // Somebody deleted the Job, and a run begins.
        |world| {
            world.jobs.clear();
            world.held_by = Some("db-2026-11-23".into());
        },
    ];
    for end in ends {
        let mut world = hooked();
        assert_eq!(started(&mut world), "quiesce");
        world.report(Report::Ran);
        assert_eq!(started(&mut world), "Capture");
        end(&mut world);
        // The search for a commit record holds up nobody.
        let mut all = vec![];
        for _ in 0..6 {
            let plan = world.plan();
            world.carry_out(&plan, usize::MAX);
        }
        all.extend(world.running().into_iter().map(|name| does(&world.requests[name])));
        assert!(all.contains(&"resume".to_owned()), "{all:?}");
    }
}

#[test]
fn a_policy_suspended_or_changed_or_deleted_meanwhile_is_given_what_it_is_owed() {
    let mut world = hooked();
    assert_eq!(started(&mut world), "quiesce");
    world.policy.spec.mode = PolicyMode::Suspended;
    world.policy.spec.capture.hooks = None;
    world.hooks_allowed = false;
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "resume");

    let mut world = hooked();
    assert_eq!(started(&mut world), "quiesce");
    let plan = world.plan_of(true);
    world.carry_out(&plan, usize::MAX);
    assert!(plan.finalizer.is_none() && plan.start.is_none(), "the first command is waited for");
    world.report(Report::Ran);
    for _ in 0..3 {
        let plan = world.plan_of(true);
        world.carry_out(&plan, usize::MAX);
    }
    assert!(does(&world.requests[world.running()[0]]) == "resume" && world.finalizer);
    world.report(Report::Ran);
    let plan = world.plan_of(true);
    assert_eq!(plan.finalizer, Some(false));
}

#[test]
fn the_last_command_is_tried_again_and_never_for_ever() {
    let mut world = hooked();
    assert_eq!(started(&mut world), "quiesce");
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    for _ in 0..3 {
        assert_eq!(started(&mut world), "resume");
        world.report(Report::Failed(Failure { reason: FailureReason::HookFailed, message: "code 3".into() }));
    }
    let plan = world.plan();
    assert!(told(&plan, "HookFailed"));
    world.settle();
    world.is("LastCaptureSucceeded", "False", "HookFailed");
    let message = &world.condition("LastCaptureSucceeded").message;
    assert!(message.contains("by hand in chromadb-0") && message.ends_with("code 3"), "{message}");
    assert_eq!((&world.status().hooked, world.finalizer, world.points.len()), (&None, false, 1));

    // One whose Job is removed as often as it is made.
    let mut world = hooked();
    assert_eq!(started(&mut world), "quiesce");
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    assert_eq!(started(&mut world), "resume");
    world.jobs.clear();
    let plan = world.plan();
    world.requests.clear();
    world.carry_out(&plan, usize::MAX);
    assert_eq!(world.status().hooked.as_ref().unwrap().stage, HookStage::After);
    world.policy.spec.mode = PolicyMode::Suspended;
    world.now = at("2026-11-23T09:33:00Z");
    world.settle();
    assert_eq!((&world.status().hooked, world.finalizer), (&None, false));
}

#[test]
fn a_hook_whose_job_can_never_be_made_ends_its_attempt() {
    let mut world = hooked();
    for _ in 0..2 {
        // All but the Job, which the API server refuses.
        let plan = world.plan();
        world.carry_out(&Plan { hook: None, ..plan }, usize::MAX);
    }
    let plan = world.plan();
    assert!(plan.hook.is_some());
    world.wait(&plan);
    assert_eq!(world.now, at("2026-11-23T09:21:00Z"));
    let plan = world.plan();
    assert!(told(&plan, "HookFailed"), "{:?}", plan.events);
    assert_eq!(plan.status.hooked.unwrap().stage, HookStage::After);
    assert_eq!(plan.status.active.unwrap().attempt, 2);
}

#[test]
fn where_hooks_are_not_allowed_nothing_is_captured_without_them() {
    let mut world = hooked();
    world.hooks_allowed = false;
    world.settle();
    assert!(world.requests.is_empty());
    world.is("Ready", "False", "SourceNotReady");
    world.is("SourceReady", "False", "HooksNotAllowed");
    assert!(world.condition("Ready").message.contains("hooks.enabled=true"));
}

#[test]
fn what_has_one_hook_only_has_no_other() {
    let mut world = hooked();
    world.policy.spec.capture.hooks.as_mut().unwrap().before = None;
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    assert_eq!(started(&mut world), "resume");

    let mut world = hooked();
    world.policy.spec.capture.hooks.as_mut().unwrap().after = None;
    assert_eq!(started(&mut world), "quiesce");
    world.report(Report::Ran);
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    world.settle();
    assert_eq!((&world.status().hooked, world.finalizer), (&None, false));
}

#[test]
fn what_nobody_runs_is_captured_without_a_command() {
    let mut world = hooked();
    world.source.as_mut().unwrap().pod = None;
    assert_eq!(started(&mut world), "Capture");
    world.report(whole());
    world.settle();
    assert_eq!((&world.status().hooked, world.requests.len()), (&None, 1));
}

#[test]
fn captures_with_hooks_are_taken_one_by_one() {
    let mut world = hooked();
    world.policy.spec.objectives.rpo = Span::from_mins(1);
    world.settle();
    assert_eq!(world.status().resolved.as_ref().unwrap().schedule.cron, "* * * * *");
}
