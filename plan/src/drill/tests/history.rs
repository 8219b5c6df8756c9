//! What is kept of the runs of a drill, and what is learned of them later.

use crds::run::{Isolation, SandboxState, SandboxStatus};

use super::*;

fn nightly(history: Value) -> World {
    let mut spec = monthly();
    spec["schedule"] = json!({"cron": "0 5 * * *"});
    spec["history"] = history;
    World::new(spec, "2026-11-01T09:00:00Z")
}

fn failed(_: Timestamp) -> RecoveryRunStatus {
    ended(&[("Failed", "True", "IntegrityMismatch"), ("Ready", "False", "IntegrityMismatch")])
}

fn sandbox(state: SandboxState) -> Option<SandboxStatus> {
    Some(SandboxStatus {
        namespace: "arxiv-drill-1".into(),
        uid: None,
        state,
        control: true,
        since: None,
        isolation: Some(Isolation::ProbeBlocked),
        keep_until: None,
        cleaned: None,
    })
}

#[test]
fn the_oldest_runs_go_and_the_newest_that_passed_stays() {
    let mut world = nightly(json!({"passed": 2, "failed": 3}));
    world.simulate(at("2026-11-08T12:00:00Z"), passed);
    let names =
        |world: &World| world.runs.iter().map(|run| run.metadata.name.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(names(&world), ["db-20261107-050000", "db-20261108-050000"]);
    world.simulate(at("2026-11-20T12:00:00Z"), failed);
    assert_eq!(
        names(&world),
        [
            "db-20261107-050000",
            "db-20261108-050000",
            "db-20261118-050000",
            "db-20261119-050000",
            "db-20261120-050000"
        ]
    );
    let status = world.status();
    assert_eq!(status.results.len(), 10);
    assert!(status.results.iter().all(|result| result.verdict == Verdict::Failed));
    assert_eq!(status.consecutive_failures, 12);
    assert_eq!(
        status.last_passed,
        Some(at("2026-11-08T05:00:00Z")),
        "a pass is remembered beyond its result"
    );
    assert_eq!(world.condition("EvidenceFresh"), ("False".into(), "Stale".into()));
    assert_eq!(world.condition("LastDrillPassed"), ("False".into(), "RestoreFailed".into()));
    assert_eq!(
        world.condition("Ready"),
        ("True".into(), "Armed".into()),
        "what failed is no fault of the drill"
    );
}

#[test]
fn a_run_stays_while_it_runs_or_its_sandbox_is_there() {
    for (state, stays) in [
        (SandboxState::Creating, true),
        (SandboxState::Probing, true),
        (SandboxState::Isolated, true),
        (SandboxState::Kept, true),
        (SandboxState::Removing, true),
        (SandboxState::Cleaned, false),
    ] {
        let mut world = nightly(json!({"passed": 1, "failed": 1}));
        world.simulate(at("2026-11-02T12:00:00Z"), failed);
        let first = world.runs[0].metadata.name.clone();
        world.runs[0].status.as_mut().unwrap().sandbox = sandbox(state);
        world.simulate(at("2026-11-05T12:00:00Z"), failed);
        assert_eq!(world.runs.iter().any(|run| run.metadata.name == first), stays, "{state:?}");
    }
    let mut world = nightly(json!({"passed": 1, "failed": 1}));
    world.simulate(at("2026-11-02T12:00:00Z"), failed);
    world.now = at("2026-11-03T05:00:00Z");
    world.settle();
    assert_eq!(world.runs.len(), 2, "the one under way counts for nothing, and is not removed");
}

#[test]
fn somebody_elses_runs_are_never_removed() {
    let mut world = nightly(json!({"passed": 1, "failed": 1}));
    for number in 0..5 {
        let mut run =
            run_of(&format!("real-{number}"), &format!("r-{number}"), world.now, world.created_spec());
        run.status = Some(passed(world.now));
        // A label is not enough, nor is an owner of another uid.
        match number % 2 {
            0 => run.metadata.owner_references = None,
            _ => run.metadata.owner_references.as_mut().unwrap()[0].uid = "u-earlier".into(),
        }
        world.runs.push(run);
    }
    world.simulate(at("2026-11-08T12:00:00Z"), passed);
    assert_eq!(
        world.runs.iter().filter(|run| run.metadata.name.as_ref().unwrap().starts_with("real")).count(),
        5
    );
}

#[test]
fn reports_and_attestations_are_learned_after_the_end() {
    let mut world = nightly(json!({}));
    world.ask();
    world.settle();
    let started = world.status().running.unwrap().started;
    let mut status = passed(started);
    status.verdict = Some(Verdict::Inconclusive);
    let waits = ("Attested", "Unknown", "AwaitingAttestation");
    status.conditions.extend(ended(&[waits]).conditions);
    world.end(status);
    world.settle();
    let result = &world.status().results[0];
    assert_eq!((result.verdict, result.reason.as_str()), (Verdict::Inconclusive, "AwaitingAttestation"));
    assert_eq!((world.status().last_passed, &result.report), (None, &None));

    let run = world.runs[0].status.as_mut().unwrap();
    run.verdict = Some(Verdict::Passed);
    run.conditions.retain(|known| known.type_ != "Attested");
    run.report = Some(crds::run::ReportStatus {
        repository: "primary".into(),
        written: Some(crds::run::WrittenReport {
            path: "db/u/1".into(),
            digest: "sha256:0f".into(),
            revision: 1,
            tells: "t".into(),
        }),
        attempt: 1,
        tells: "t".into(),
        failures: 0,
    });
    // What a policy promises by now was not promised then, but only what was open is judged again.
    world.settle();
    let status = world.status();
    assert_eq!(status.results[0].verdict, Verdict::Passed);
    assert_eq!(status.last_passed, Some(started));
    assert_eq!(status.results[0].report.as_ref().unwrap().path, "db/u/1");
    assert_eq!(world.condition("LastDrillPassed"), ("True".into(), "Passed".into()));
    world.policies[0].spec.objectives.rpo = crds::Span::from_secs(1);
    world.runs.clear();
    world.settle();
    assert_eq!(world.status().results[0].verdict, Verdict::Passed, "it stands");
    assert_eq!(world.status().results[0].report.as_ref().unwrap().digest, "sha256:0f");
}

#[test]
fn the_sandbox_of_the_newest_run_is_told() {
    let mut world = nightly(json!({}));
    world.ask();
    world.settle();
    for (state, isolation, cleaned, isolated) in [
        (SandboxState::Creating, None, ("Unknown", "InUse"), ("", "")),
        (
            SandboxState::Isolated,
            Some(Isolation::ProbeBlocked),
            ("Unknown", "InUse"),
            ("True", "ProbeBlocked"),
        ),
        (
            SandboxState::Kept,
            Some(Isolation::NotEnforced),
            ("False", "KeptForInspection"),
            ("False", "NotEnforced"),
        ),
        (
            SandboxState::Removing,
            Some(Isolation::ControlFailed),
            ("Unknown", "Removing"),
            ("False", "ControlFailed"),
        ),
        (SandboxState::Cleaned, Some(Isolation::ProbeBlocked), ("True", "Cleaned"), ("True", "ProbeBlocked")),
    ] {
        let known = SandboxStatus { isolation, ..sandbox(state).unwrap() };
        world.runs[0].status.get_or_insert_default().sandbox = Some(known);
        world.settle();
        assert_eq!(world.condition("SandboxCleaned"), (cleaned.0.into(), cleaned.1.into()));
        assert_eq!(world.condition("SandboxIsolated"), (isolated.0.into(), isolated.1.into()));
    }
}
