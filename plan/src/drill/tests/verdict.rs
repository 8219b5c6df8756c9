//! The one function from a run's status to a verdict, over every reason that a run ends with.

use crds::drill::DrillObjectives;
use crds::run::{CheckGroup, CheckStatus, ObjectiveVerdict, StepPhase, StepStatus};

use super::*;
use crate::drill::verdict::{Outcome, Promised, of};

const STARTED: &str = "2026-12-01T10:00:00Z";

fn promised(test: DrillTest) -> Promised {
    let world = World::new(monthly(), STARTED);
    let mut application = world.policies[0].clone();
    application.metadata.name = Some("ai-scholar".into());
    application.spec.objectives =
        crds::policy::Objectives { rto: crds::Span::from_hours(4), rpo: crds::Span::from_hours(1) };
    let policies = world.policies.iter().chain([&application]);
    let all = policies.map(|policy| (policy.metadata.name.clone().unwrap(), policy.spec.objectives));
    Promised { test, started: at(STARTED), asked: DrillObjectives::default(), policies: all.collect() }
}

fn judge(run: &RecoveryRunStatus) -> Outcome {
    of(run, &promised(DrillTest::DatabaseRecovery)).unwrap()
}

fn step(name: &str, phase: StepPhase, reason: Option<&str>) -> StepStatus {
    StepStatus {
        name: name.into(),
        policy: None,
        phase,
        start: None,
        end: None,
        attempts: 1,
        message: format!("{name} says"),
        reason: reason.map(str::to_owned),
    }
}

fn check(name: &str, verdict: Verdict) -> CheckStatus {
    CheckStatus {
        name: name.into(),
        group: CheckGroup::DataIntegrity,
        verdict,
        expected: String::new(),
        observed: String::new(),
        manual: false,
    }
}

fn failed(reason: &str) -> RecoveryRunStatus {
    let mut status = ended(&[("Failed", "True", reason), ("Ready", "False", reason)]);
    status.verdict = Some(Verdict::Failed);
    status
}

#[test]
fn a_run_that_has_not_ended_has_no_verdict() {
    for status in [RecoveryRunStatus::default(), ended(&[("Ready", "False", "Running")])] {
        assert_eq!(of(&status, &promised(DrillTest::DatabaseRecovery)), None);
    }
}

#[test]
fn only_a_run_that_succeeded_in_time_with_a_point_young_enough_passes() {
    for complete in [None, Some("Recovered"), Some("NotNeeded")] {
        for verdict in [
            None,
            Some(Verdict::Passed),
            Some(Verdict::Failed),
            Some(Verdict::Inconclusive),
            Some(Verdict::Skipped),
        ] {
            for failure in [None, Some("StepFailed"), Some("IntegrityMismatch")] {
                for age in [None, Some(30 * 60), Some(30 * 60 + 1)] {
                    let mut run = match (complete, failure) {
                        (None, None) => continue,
                        (Some(reason), None) => ended(&[("Complete", "True", reason)]),
                        (_, Some(reason)) => failed(reason),
                    };
                    run.verdict = verdict;
                    run.points.extend(
                        age.map(|age| point("chromadb", "p", at(STARTED) - SignedDuration::from_secs(age))),
                    );
                    let passes = (complete, failure, verdict, age)
                        == (Some("Recovered"), None, Some(Verdict::Passed), Some(1800));
                    let outcome = judge(&run);
                    assert_eq!(
                        outcome.verdict == Verdict::Passed,
                        passes,
                        "{complete:?} {verdict:?} {failure:?} {age:?}: {outcome:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_fault_of_the_data_fails_and_what_could_not_be_seen_is_inconclusive() {
    for (reason, verdict) in [
        ("IntegrityMismatch", Verdict::Failed),
        ("NoHealthyPoint", Verdict::Failed),
        ("PointNotFound", Verdict::Failed),
        ("PointUnreadable", Verdict::Failed),
        ("PointQuarantined", Verdict::Failed),
        ("VerificationFailed", Verdict::Failed),
        ("ValidationFailed", Verdict::Failed),
        ("CanaryMissing", Verdict::Failed),
        ("NotServing", Verdict::Failed),
        ("DowngradeRefused", Verdict::Failed),
        ("CredentialRevoked", Verdict::Failed),
        ("StepFailed", Verdict::Inconclusive),
        ("IsolationNotEnforced", Verdict::Inconclusive),
        ("NotEnforced", Verdict::Inconclusive),
        ("ControlFailed", Verdict::Inconclusive),
        ("MoverFailed", Verdict::Inconclusive),
        ("Unschedulable", Verdict::Inconclusive),
        ("ObjectRefused", Verdict::Inconclusive),
        ("BucketUnreachable", Verdict::Inconclusive),
        ("TargetTerminating", Verdict::Inconclusive),
        ("TargetNotEmpty", Verdict::Inconclusive),
        ("InvalidSpec", Verdict::Inconclusive),
        ("AlreadyExecuted", Verdict::Inconclusive),
        ("NotAuthorized", Verdict::Inconclusive),
        ("Cancelled", Verdict::Inconclusive),
        ("Rejected", Verdict::Inconclusive),
        ("OfflineSwitchUnusable", Verdict::Inconclusive),
        ("CredentialsNotRotated", Verdict::Inconclusive),
        ("SomethingOfALaterVersion", Verdict::Inconclusive),
        ("DeadlineExceeded", Verdict::Inconclusive),
    ] {
        let outcome = judge(&failed(reason));
        assert_eq!((outcome.verdict, outcome.reason.as_str()), (verdict, reason));
        assert!(outcome.message.contains(reason));
    }
}

#[test]
fn what_is_late_after_something_was_restored_is_the_recovery() {
    for (name, phase, verdict) in [
        ("Restore/chromadb", StepPhase::Done, Verdict::Failed),
        ("EnterOffline/ai-scholar", StepPhase::Done, Verdict::Failed),
        ("VerifyPoints/chromadb", StepPhase::Done, Verdict::Failed),
        ("Restore/chromadb", StepPhase::Failed, Verdict::Inconclusive),
        ("Restore/chromadb", StepPhase::Running, Verdict::Inconclusive),
        ("Assess", StepPhase::Done, Verdict::Inconclusive),
        ("Isolate", StepPhase::Done, Verdict::Inconclusive),
    ] {
        let mut run = failed("DeadlineExceeded");
        run.steps = vec![step(name, phase, None)];
        assert_eq!(judge(&run).verdict, verdict, "{name} {phase:?}");
    }
}

#[test]
fn a_fault_of_the_data_in_one_lane_outweighs_the_cluster_in_another() {
    let mut run = failed("StepFailed");
    run.steps = vec![
        step("Provision/ai-scholar", StepPhase::Failed, Some("StepFailed")),
        step("VerifyOffline/chromadb", StepPhase::Failed, Some("IntegrityMismatch")),
    ];
    let outcome = judge(&run);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Failed, "IntegrityMismatch"));
    assert_eq!(outcome.message, "VerifyOffline/chromadb: VerifyOffline/chromadb says");
}

#[test]
fn a_check_that_failed_fails_and_one_that_could_not_be_made_proves_nothing() {
    for (checks, verdict, reason) in [
        (vec![check("counts", Verdict::Failed)], Verdict::Failed, "ValidationFailed"),
        (
            vec![check("counts", Verdict::Failed), check("disk", Verdict::Inconclusive)],
            Verdict::Failed,
            "ValidationFailed",
        ),
        (vec![check("counts", Verdict::Inconclusive)], Verdict::Inconclusive, "ValidationFailed"),
        (vec![check("counts", Verdict::Passed)], Verdict::Failed, "ValidationFailed"),
        (vec![], Verdict::Failed, "ValidationFailed"),
        (vec![check("canary", Verdict::Failed)], Verdict::Failed, "CanaryMissing"),
        (vec![check("chromadb/canary", Verdict::Failed)], Verdict::Failed, "CanaryMissing"),
    ] {
        let mut run = failed("ValidationFailed");
        run.checks = checks.clone();
        let outcome = judge(&run);
        assert_eq!((outcome.verdict, outcome.reason.as_str()), (verdict, reason), "{checks:?}");
    }
}

#[test]
fn a_point_that_is_too_old_fails_the_drill_and_is_told_as_it_is() {
    let mut run = passed(at(STARTED));
    run.points = vec![point("chromadb", "chromadb-20261123-094502", at("2026-11-23T09:45:02Z"))];
    let outcome = judge(&run);
    assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Failed, "PointTooOld"));
    assert_eq!(
        outcome.message,
        "chromadb-20261123-094502 restored and validated well, but it is the newest point and 8 days old: look at policy chromadb, conditions RPOMet and LastCaptureSucceeded"
    );
    assert_eq!(outcome.rpo.unwrap().to_string(), "192h14m58s");
    let verdicts = outcome.objectives.unwrap();
    assert_eq!(
        (verdicts.rpo_verdict, verdicts.rto_verdict),
        (Some(ObjectiveVerdict::Missed), Some(ObjectiveVerdict::Met))
    );
}

#[test]
fn every_policy_has_to_keep_its_own_rpo_and_the_drill_may_ask_for_another() {
    let mut run = passed(at(STARTED));
    let ago = |mins| at(STARTED) - SignedDuration::from_mins(mins);
    run.points = vec![point("chromadb", "c", ago(31)), point("ai-scholar", "a", ago(45))];
    let outcome = judge(&run);
    assert_eq!(outcome.verdict, Verdict::Failed);
    assert_eq!(
        (outcome.rpo.unwrap().to_string(), outcome.point.as_deref()),
        ("31m".into(), Some("2 points")),
        "the one that missed"
    );
    run.points = vec![point("chromadb", "c", ago(29)), point("ai-scholar", "a", ago(45))];
    let outcome = judge(&run);
    assert_eq!(
        (outcome.verdict, outcome.rpo.unwrap().to_string()),
        (Verdict::Passed, "45m".into()),
        "else the oldest"
    );
    let mut stricter = promised(DrillTest::DatabaseRecovery);
    stricter.asked.rpo = Some(crds::Span::from_mins(40));
    assert_eq!(of(&run, &stricter).unwrap().verdict, Verdict::Failed);
    // Who promises nothing any more is held against nothing.
    let mut gone = promised(DrillTest::DatabaseRecovery);
    gone.policies.clear();
    let outcome = of(&run, &gone).unwrap();
    assert_eq!((outcome.verdict, outcome.objectives), (Verdict::Passed, None));
}

#[test]
fn a_missed_rto_is_told_and_fails_nothing() {
    let mut run = passed(at(STARTED));
    run.measured = vec![measured("chromadb", "2h0m1s"), measured("ai-scholar", "3h")];
    let outcome = judge(&run);
    assert_eq!((outcome.verdict, outcome.rto.unwrap().to_string()), (Verdict::Passed, "2h1s".into()));
    let verdicts = outcome.objectives.unwrap();
    assert_eq!(
        (verdicts.rto_verdict, verdicts.rpo_verdict),
        (Some(ObjectiveVerdict::Missed), Some(ObjectiveVerdict::Met))
    );
    run.measured = vec![measured("chromadb", "0s")];
    assert_eq!(judge(&run).rto, Some(crds::Span::from_secs(0)));
}

#[test]
fn a_network_failure_has_no_point_and_one_that_was_not_needed_rehearsed_nothing() {
    let mut run = ended(&[("Complete", "True", "Recovered"), ("Ready", "True", "Recovered")]);
    run.verdict = Some(Verdict::Passed);
    let network = promised(DrillTest::NetworkFailure);
    assert_eq!(of(&run, &network).unwrap().verdict, Verdict::Passed);
    assert_eq!(judge(&run).reason, "NothingRestored", "of a restore it proves nothing");
    let mut run = ended(&[("Complete", "True", "NotNeeded")]);
    run.verdict = Some(Verdict::Passed);
    assert_eq!(of(&run, &network).unwrap().verdict, Verdict::Inconclusive);
}
