//! That a run ends well only when what it recovered is protected again, and what stands in the way is said.

use crds::policy::RunCapture;
use jiff::SignedDuration;

use super::*;
use crate::recovery::seen::{CaptureSeen, PointSeen, PointState};

/// What becomes of a capture that a run asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Captures {
    /// Its point is Available.
    Good,
    /// It fails.
    Fails,
    /// It never begins.
    Never,
    /// It begins and does not end.
    Hangs,
}

/// The policies' planner, one round.
pub(super) fn settle(cluster: &mut Cluster) {
    let (asked, run) = (cluster.status().fresh_captures.clone(), cluster.seen.run.uid.clone());
    for asked in asked {
        let now = cluster.seen.now;
        let found = cluster.seen.components.iter_mut().find(|seen| seen.policy == asked.policy);
        let Some(component) = found else { continue };
        let answer = |point: Option<&str>, reason: &str| RunCapture {
            run: run.clone(),
            requested_at: asked.requested_at,
            point: point.map(str::to_owned),
            reason: reason.into(),
        };
        let known = component.capture.answer.as_ref();
        if known.is_some_and(|known| known.run == run && known.requested_at == asked.requested_at) {
            continue;
        }
        assert!(component.workloads.iter().all(|seen| seen.ready > 0), "what does not run is captured");
        match cluster.captures {
            Captures::Good => {
                let name = format!("fresh-{}", asked.policy);
                component.capture.answer = Some(answer(Some(&name), "Captured"));
                let (state, now) = (PointState::Available, now + SignedDuration::from_secs(1));
                cluster.seen.points.push(PointSeen {
                    policy: asked.policy.clone(),
                    ..point(&name, &now.to_string(), state)
                });
            }
            Captures::Fails => {
                let message = "the bucket is full".to_owned();
                component.capture.failed = Some(("BucketFull".into(), message));
                component.capture.answer = Some(answer(None, "BucketFull"));
            }
            Captures::Never => component.capture.waits = Some("SourceNotReady: no pod is Ready".into()),
            Captures::Hangs => component.capture.begun = true,
        }
    }
}

fn line(cluster: &Cluster, name: &str) -> (Verdict, String) {
    let line = cluster.status().checks.iter().find(|line| line.name == name);
    line.map(|line| (line.verdict, line.observed.clone())).unwrap()
}

fn one() -> Cluster {
    Cluster::new()
}

fn protected(cluster: &Cluster) {
    recovered(cluster);
    assert_eq!(line(cluster, "backup-functional"), (Verdict::Passed, "fresh-chromadb".to_owned()));
    assert_eq!(cluster.status().fresh_captures.len(), 1);
}

#[test]
fn what_was_recovered_is_captured_once_whenever_the_controller_dies() {
    killed_after_any_number_of_writes(one, protected);
    killed_at_any_single_write(one, protected, 20);
}

#[test]
fn every_restored_component_is_captured_and_none_before_all_are_validated() {
    let mut cluster = Cluster::of(arxiv());
    while cluster.status().fresh_captures.is_empty() {
        let wrote = cluster.reconcile(1);
        assert!(cluster.settle() || wrote > 0, "{:#?}", cluster.status().steps);
    }
    let open = |word: &str| {
        let of = cluster.status().steps.iter().filter(|step| step.name.starts_with(word));
        of.filter(|step| step.phase != StepPhase::Done).count()
    };
    assert_eq!(open("Validate/"), 0);
    cluster.run(1000);
    for policy in ["chromadb", "scholar", "mailer"] {
        assert_eq!(line(&cluster, &format!("{policy}/backup-functional")).0, Verdict::Passed);
    }
}

/// A run that asked for a capture and waits.
fn waiting(captures: Captures) -> Cluster {
    let mut cluster = one();
    cluster.captures = captures;
    for _ in 0..200 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    cluster
}

#[test]
fn a_capture_that_fails_makes_the_run_failed_and_nothing_is_taken_back() {
    let cluster = waiting(Captures::Fails);
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
    let said = message(&cluster, "Failed");
    assert!(said.contains("is not protected") && said.contains("BucketFull: the bucket is full"), "{said}");
    assert!(said.contains("Recovered: chromadb"), "{said}");
    assert_eq!(cluster.status().verdict, Some(Verdict::Failed));
    assert_eq!(line(&cluster, "backup-functional").0, Verdict::Failed);
    assert_ne!(cluster.seen.claims[CLAIM].volume.as_deref(), Some("pv-old"), "what serves stays");
    assert!(cluster.seen.volumes.contains_key("pv-old"), "what was replaced is kept");
    assert_eq!(replicas(&cluster), [0, 1], "it serves on");
    assert_eq!(cluster.status().measured.len(), 1, "the recovery is measured all the same");
}

#[test]
fn a_capture_that_does_not_begin_or_end_is_waited_for_in_bounds_and_told_of_with_its_reason() {
    for (captures, minutes, said) in [
        (Captures::Never, 5, "no capture began within 6 minutes: SourceNotReady: no pod is Ready"),
        (Captures::Hangs, 35, "the capture has not ended within 36 minutes"),
    ] {
        let mut cluster = waiting(captures);
        assert!(!ended(cluster.status()) && cluster.plan().next != crate::effect::Next::OnChange);
        cluster.seen.now += SignedDuration::from_mins(minutes);
        cluster.settle();
        cluster.reconcile(1000);
        assert!(!ended(cluster.status()), "{captures:?} is given up too soon");
        cluster.seen.now += SignedDuration::from_mins(1);
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        assert_eq!(line(&cluster, "backup-functional"), (Verdict::Failed, said.to_owned()));
    }
}

#[test]
fn it_is_no_part_of_the_recovery_time_and_makes_no_run_late() {
    let mut cluster = waiting(Captures::Hangs);
    let restored = cluster.status().steps.iter().find(|step| step.name == "Validate/chromadb").unwrap().end;
    cluster.seen.run.spec.deadline = Some(crds::Span::from_secs(1));
    cluster.seen.now += SignedDuration::from_mins(20);
    cluster.captures = Captures::Good;
    cluster.run(1000);
    recovered(&cluster);
    let declared = at("2026-11-23T09:28:00Z");
    let rto = crds::Span::floor(restored.unwrap().duration_since(declared)).to_string();
    assert_eq!(cluster.status().measured[0].rto, rto);
}

#[test]
fn where_nothing_is_to_be_captured_that_is_said_and_fails_nothing() {
    let refused =
        CaptureSeen { refused: Some("repository primary is ReadOnly".into()), ..CaptureSeen::default() };
    let sealed =
        CaptureSeen { sealed: Some("repository primary is sealed by ops".into()), ..CaptureSeen::default() };
    for (capture, said) in [(refused, "is ReadOnly"), (sealed, "is sealed by ops")] {
        let mut cluster = one();
        cluster.seen.components[0].capture = capture;
        cluster.run(1000);
        recovered(&cluster);
        assert!(cluster.status().fresh_captures.is_empty());
        let (verdict, observed) = line(&cluster, "backup-functional");
        assert!(verdict == Verdict::Skipped && observed.contains(said), "{observed}");
        assert_eq!(cluster.status().verdict, Some(Verdict::Passed));
    }
}

#[test]
fn the_answer_to_another_run_is_none() {
    let mut cluster = one();
    cluster.captures = Captures::Never;
    cluster.seen.components[0].capture.answer = Some(RunCapture {
        run: "another".into(),
        requested_at: at("2026-11-23T09:00:00Z"),
        point: Some("old".into()),
        reason: "Captured".into(),
    });
    for _ in 0..200 {
        cluster.reconcile(1000);
        cluster.settle();
    }
    assert!(!ended(cluster.status()));
}
