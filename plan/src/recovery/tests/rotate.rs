//! Credentials after a breach: each is replaced once whatever is killed, before anything is started, and a run that could not replace them all does
//! not call itself recovered.

use std::collections::BTreeSet;

use crds::job::{CheckResult, NotRotated, REVOKED_REFUSED, Request, Rotated};
use crds::names;
use crds::run::{CheckStatus, RotationState, RunMode};

use super::isolation::{approved, denying, has, over, step};
use super::*;
use crate::recovery::seen::Observed;

/// What a mover does to Secrets: what is marked already it leaves alone.
pub(super) fn apply(seen: &Observed, rotated: &mut BTreeSet<String>, request: &Request) {
    if let Request::Revoke { keeper, values, .. } = request {
        assert_eq!(keeper, &names::revoked(RUN_UID));
        assert!(seen.run.status.rotations.iter().all(|known| known.state != RotationState::Rotating));
        assert!(!values.is_empty() && values.iter().all(|of| of.secret != "s3"), "{values:?}");
    }
    let Request::Rotate { keeper, owner, rotations, run, .. } = request else { return };
    assert_eq!((run.as_str(), keeper), (RUN_UID, &names::revoked(RUN_UID)));
    assert_eq!(Some(&owner.uid), seen.memory.as_ref().map(|memory| &memory.uid), "what it kept would stay");
    assert!(seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 0), "something runs");
    for rotation in rotations {
        let known = seen.run.status.rotations.iter().find(|known| known.name == rotation.name);
        assert_eq!(known.map(|known| known.state), Some(RotationState::Rotating), "the admission refuses it");
        rotated.insert(rotation.name.clone());
    }
}

/// A breach after which a token, a password and what a provider knows are replaced.
fn leaked() -> Cluster {
    let mut cluster = approved();
    let rotations = serde_json::json!([
        {"name": "chroma-token", "secretRef": {"name": "chromadb-auth"}, "generate": {"key": "token"}},
        {"name": "mail", "secretRef": {"name": "mail"}, "from": {"secretRef": {"name": "mail-new"}, "keys": ["USER", "PASSWORD"]}},
        {"name": "s3", "secretRef": {"name": "s3"}, "job": {"cronJobRef": {"name": "rotate-s3"}}},
    ]);
    cluster.seen.run.spec.credential_rotations = serde_json::from_value(rotations).unwrap();
    cluster.seen.cron_jobs.push("rotate-s3".into());
    cluster
}

/// The database wants the token.
fn asked_with_it(mut cluster: Cluster) -> Cluster {
    let auth = serde_json::json!({"tokenSecretRef": {"name": "chromadb-auth"}});
    cluster.seen.components[0].auth = Some(serde_json::from_value(auth).unwrap());
    cluster
}

fn line(cluster: &Cluster) -> &CheckStatus {
    cluster.status().checks.iter().find(|check| check.name == "credentials-rotated").unwrap()
}

fn rotated(cluster: &Cluster) {
    over(cluster);
    assert!(cluster.status().rotations.iter().all(|known| known.state == RotationState::Rotated));
    assert_eq!(cluster.rotated, BTreeSet::from(["chroma-token", "mail", "s3"].map(str::to_owned)));
    let made = cluster.log.marks.iter().filter(|mark| *mark == "CreateCheckJob").count();
    assert_eq!(made, 1, "a provider was asked twice");
    let first = |mark: &str| cluster.log.marks.iter().position(|known| known == mark).unwrap();
    let (rotates, last_swap) =
        (first("CreateJob/RotateCredentials"), cluster.log.marks.iter().rposition(|m| m == "DeleteClaims"));
    assert!(last_swap.unwrap() < rotates && rotates < first("CreateCheckJob"));
    assert_eq!(line(cluster).verdict, Verdict::Passed);
}

fn refused(why: &str) -> JobState {
    let not = NotRotated { name: "mail".into(), why: why.into() };
    let done = vec!["chroma-token".into(), "s3".into()];
    JobState::Ended(Report::Rotated(Rotated { done, refused: vec![not] }))
}

#[test]
fn credentials_are_replaced_once_when_everything_is_restored_and_nothing_runs() {
    let mut cluster = leaked();
    cluster.run(1000);
    rotated(&cluster);
    assert_eq!(
        step(&cluster, "RotateCredentials").message,
        "3 rotated: Secret chromadb-auth (chroma-token), Secret mail (mail), Secret s3 (s3); no point of primary brings back what they were"
    );
    assert_eq!(line(&cluster).observed, "3 rotated, not proved: nothing tells where they count");
}

#[test]
fn a_controller_killed_after_any_number_of_writes_replaces_each_once() {
    killed_after_any_number_of_writes(leaked, rotated);
}

#[test]
fn a_controller_of_the_next_term_replaces_each_once_after_a_kill_at_any_single_write() {
    killed_at_any_single_write(leaked, rotated, 80);
}

#[test]
fn a_mover_that_died_is_followed_by_another_which_finds_what_is_done() {
    let mut cluster = leaked();
    let silent = || JobState::Silent { why: "evicted".into() };
    cluster.answers.insert("RotateCredentials", vec![silent(), failed(FailureReason::MoverFailed)]);
    cluster.run(1);
    rotated(&cluster);
    assert_eq!(step(&cluster, "RotateCredentials").attempts, 3);
}

#[test]
fn what_could_not_be_replaced_leaves_everything_stopped_and_isolated_and_says_what_to_do() {
    for writes in [1, 2, 3, 5, 1000] {
        let mut cluster = leaked();
        cluster.seen.run.spec.decisions.clear();
        cluster.answers.insert("RotateCredentials", vec![refused("Secret mail has no key USER")]);
        cluster.run(writes);
        assert_eq!(reason(&cluster, "Failed"), "CredentialsNotRotated");
        let told = message(&cluster, "Failed");
        for words in
            ["mail: Secret mail has no key USER", "no point of primary", "Namespace arxiv stays isolated"]
        {
            assert!(told.contains(words), "{told}");
        }
        assert!(cluster.seen.components.iter().flat_map(|c| &c.workloads).all(|w| w.replicas == 0));
        assert!(has(&cluster, &denying()));
        let actions: Vec<&str> =
            cluster.status().next_actions.iter().map(|action| action.name.as_str()).collect();
        assert_eq!((actions[0], actions.contains(&"lift-isolation")), ("rotate-mail", true), "{actions:?}");
        assert!(actions.iter().all(|name| !name.starts_with("older-point")), "{actions:?}");
        assert_eq!(
            (line(&cluster).verdict, line(&cluster).observed.as_str()),
            (Verdict::Failed, "2 rotated")
        );
        // The mover's attempt counts as a whole: what it did is known.
        let states: Vec<_> = cluster.status().rotations.iter().map(|known| known.state).collect();
        assert_eq!(states, [RotationState::Rotated, RotationState::Refused, RotationState::Rotated]);
        assert_eq!(cluster.seen.claims[CLAIM].annotations["team"], "search");
    }
}

#[test]
fn every_repository_is_told_what_is_void_and_one_that_can_not_be_holds_nothing_up() {
    let mut cluster = leaked();
    cluster.seen.components[2].repository = "other".into();
    let points = cluster.seen.points.iter_mut().filter(|point| point.policy == "mailer");
    points.for_each(|point| point.repository = "other".into());
    cluster.answers.insert("Revoke", vec![failed(FailureReason::AccessDenied)]);
    cluster.run(1);
    rotated(&cluster);
    let told = &step(&cluster, "RotateCredentials").message;
    for words in ["no point of primary brings back", "could not be written down: other: 2 of 3112"] {
        assert!(told.contains(words), "{told}");
    }
    // A mover that died is followed by another.
    let mut cluster = leaked();
    cluster.answers.insert("Revoke", vec![JobState::Silent { why: "evicted".into() }]);
    cluster.run(1);
    rotated(&cluster);
    assert!(step(&cluster, "RotateCredentials").message.contains("no point of primary brings back"));
}

#[test]
fn a_mover_that_can_not_run_a_job_that_fails_and_a_cron_job_that_is_not_there_are_no_recovery() {
    let mut cluster = leaked();
    let silent = || JobState::Silent { why: "evicted".into() };
    cluster.answers.insert("RotateCredentials", vec![silent(), silent(), silent()]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "CredentialsNotRotated");
    let mut cluster = leaked();
    cluster.answers.insert("Check", vec![JobState::Silent { why: "it failed".into() }]);
    cluster.run(1000);
    assert!(message(&cluster, "Failed").contains("s3: its Job failed, it failed; look at kubectl logs job/"));
    let mut cluster = leaked();
    cluster.seen.cron_jobs.clear();
    cluster.run(1000);
    assert!(message(&cluster, "Failed").contains("s3: CronJob rotate-s3 does not exist"));
}

fn proof(verdict: Verdict, observed: &str) -> JobState {
    let checks = [("counts", Verdict::Passed, "all"), (REVOKED_REFUSED, verdict, observed)];
    JobState::Ended(Report::Validated {
        checks: checks
            .map(|(name, verdict, observed)| CheckResult {
                name: name.into(),
                verdict,
                expected: "so".into(),
                observed: observed.into(),
            })
            .into(),
    })
}

#[test]
fn an_old_value_that_counts_somewhere_is_proved_dead_there_or_the_run_fails() {
    let mut cluster = asked_with_it(leaked());
    cluster.answers.insert("Validate/chromadb", vec![proof(Verdict::Passed, "status 401")]);
    cluster.run(1000);
    rotated(&cluster);
    assert_eq!(line(&cluster).observed, "3 rotated, and what was there is refused by 1 ChromaDB");

    for verdict in [Verdict::Failed, Verdict::Inconclusive] {
        let mut cluster = asked_with_it(leaked());
        cluster.answers.insert("Validate/chromadb", vec![proof(verdict, "it is accepted")]);
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        assert!(
            message(&cluster, "Failed").contains("old-credential-refused"),
            "{}",
            message(&cluster, "Failed")
        );
        assert_eq!(
            (line(&cluster).verdict, line(&cluster).observed.as_str()),
            (verdict, "3 rotated; it is accepted")
        );
    }
}

/// What the mover is asked that validates the database.
fn validating(mut cluster: Cluster) -> Option<String> {
    loop {
        let asked = cluster.plan().effects.into_iter().find_map(|effect| match effect {
            Effect::CreateJob { job, .. } => match job.request {
                Request::Validate { revoked, .. } => Some(revoked),
                _ => None,
            },
            _ => None,
        });
        if let Some(revoked) = asked {
            return revoked;
        }
        assert!(!ended(cluster.status()));
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += jiff::SignedDuration::from_millis(250);
    }
}

#[test]
fn the_old_value_is_asked_for_only_where_that_very_key_was_replaced() {
    assert_eq!(validating(leaked()), None);
    assert_eq!(validating(asked_with_it(leaked())), Some(names::revoked(RUN_UID)));
    let mut other_key = asked_with_it(leaked());
    let rotation = &mut other_key.seen.run.spec.credential_rotations[0];
    rotation.generate.as_mut().unwrap().key = "admin".into();
    assert_eq!(validating(other_key), None);
    // What a provider replaced is tried as well: its Secret is known, the keys that count are.
    let mut by_a_job = asked_with_it(leaked());
    let rotations = &mut by_a_job.seen.run.spec.credential_rotations;
    rotations.remove(0);
    rotations[1].secret_ref.name = "chromadb-auth".into();
    assert_eq!(validating(by_a_job), Some(names::revoked(RUN_UID)));
}

#[test]
fn pods_of_nobody_that_read_it_are_named() {
    let mut cluster = leaked();
    cluster.seen.readers.insert("mail".into(), vec!["cron-by-hand".into()]);
    cluster.run(1000);
    rotated_but_told(&cluster, "pod cron-by-hand reads Secret mail and belongs to no component");
}

fn rotated_but_told(cluster: &Cluster, words: &str) {
    over(cluster);
    let told = &step(cluster, "RotateCredentials").message;
    assert!(told.contains(words), "{told}");
}

#[test]
fn a_breach_that_names_none_says_so_and_no_other_scenario_is_asked() {
    let mut cluster = approved();
    cluster.run(1000);
    over(&cluster);
    assert_eq!(step(&cluster, "RotateCredentials").phase, StepPhase::Skipped);
    assert_eq!(line(&cluster).verdict, Verdict::Inconclusive);
    let mut cluster = Cluster::new();
    cluster.run(1000);
    recovered(&cluster);
    assert_eq!(
        (line(&cluster).verdict, line(&cluster).observed.as_str()),
        (Verdict::Skipped, "only after a breach")
    );
}

#[test]
fn what_would_break_what_it_is_to_protect_is_refused_before_anything_is_touched() {
    let rotation = |name: &str, secret: &str, by: serde_json::Value| {
        let mut value = serde_json::json!({"name": name, "secretRef": {"name": secret}});
        value.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        value
    };
    let generate = || serde_json::json!({"generate": {"key": "token"}});
    let from = |secret: &str| serde_json::json!({"from": {"secretRef": {"name": secret}, "keys": ["token"]}});
    for (rotations, words) in [
        (
            vec![rotation("a", "primary-key", from("b"))],
            "names Secret primary-key, the key of repository primary",
        ),
        (
            vec![rotation("a", "s3", generate())],
            "makes up a value for Secret s3, the credential of repository primary",
        ),
        (vec![rotation("a", "x", from("primary-key"))], "copies the key of repository primary"),
        (vec![rotation("a", "x", from("x"))], "copies Secret x into itself"),
        (
            vec![rotation("a", "x", generate()), rotation("b", "x", from("y"))],
            "a and b both replace the same of Secret x",
        ),
    ] {
        let mut cluster = approved();
        cluster.seen.run.spec.credential_rotations = serde_json::from_value(rotations.into()).unwrap();
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "InvalidSpec");
        assert!(message(&cluster, "Failed").contains(words), "{}", message(&cluster, "Failed"));
        assert!(cluster.log.marks.is_empty());
    }
}

#[test]
fn a_dry_run_says_what_would_be_replaced() {
    let mut cluster = leaked();
    cluster.seen.run.spec.mode = RunMode::DryRun;
    cluster.run(1000);
    assert_eq!(
        step(&cluster, "RotateCredentials").message,
        "replace token of Secret chromadb-auth by 48 random characters, USER, PASSWORD of Secret mail by those of Secret mail-new, Secret s3 by a Job of CronJob rotate-s3; undo: none, what they were is void"
    );
}
