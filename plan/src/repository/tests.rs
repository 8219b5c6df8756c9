use super::*;
use crds::condition;
use crds::job::{LockTried, Probed};
use crds::reference::REQUESTED_AT;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-11-23T09:40:00Z";

fn repository() -> RecoveryRepository {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository",
        "metadata": {"name": "primary", "namespace": "arxiv", "uid": "u-1", "generation": 1},
        "spec": {
            "s3": {"endpoint": "https://s3.example.com", "bucket": "yourorg-dr", "prefix": "arxiv/",
                   "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
            "encryption": {"keySecretRef": {"name": "repository-key"},
                           "escrow": {"acknowledged": {"fingerprint": "7c1f-09aa-52d3"}}}
        }
    }))
    .unwrap()
}

fn probed() -> Probed {
    Probed {
        id: "repo-1".into(),
        format_version: 1,
        key_fingerprint: "7c1f-09aa-52d3".into(),
        key_slots: 1,
        conditional_writes: Some(true),
        seal: None,
        lock: None,
        points: 412,
        bytes: 2_576_980_378,
    }
}

/// A repository beside which there is nothing.
pub(super) fn alone(repository: &RecoveryRepository, now: Timestamp) -> Observed<'_> {
    Observed {
        repository,
        terminating: false,
        job: JobState::Absent,
        catalogue: JobState::Absent,
        marks: JobState::Absent,
        maintenance: JobState::Absent,
        run: None,
        sealing: None,
        coverage: crate::coverage::Look::NotNow,
        ended_jobs: vec![],
        policies: &[],
        points: &[],
        now,
    }
}

#[test]
fn what_a_run_has_sealed_or_unsealed_is_looked_at_again_at_once() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let later = at(NOW) + SignedDuration::from_mins(5);
    let begun = |sealing: Option<Timestamp>| {
        let plan = plan(&Observed { sealing, ..alone(&repository, later) });
        plan.start.is_some_and(|job| matches!(job.request, Request::Probe { .. }))
    };
    assert!(!begun(None) && !begun(Some(at(NOW) - SignedDuration::from_secs(1))));
    assert!(begun(Some(later)));
}

fn look(repository: &RecoveryRepository, job: JobState, now: Timestamp) -> Plan {
    plan(&Observed { job, ..alone(repository, now) })
}

fn condition_of<'a>(
    plan: &'a Plan,
    kind: &str,
) -> &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    condition::get(&plan.status.conditions, kind).unwrap_or_else(|| panic!("no condition {kind}"))
}

/// Carries `repository` through one whole probe that ends in `report`.
fn probe(repository: &mut RecoveryRepository, report: Report, now: Timestamp) -> Plan {
    let started = look(repository, JobState::Absent, now);
    assert!(started.start.is_some(), "a probe is due");
    repository.status = Some(started.status);
    let ended = look(repository, JobState::Ended(report), now);
    repository.status = Some(ended.status.clone());
    ended
}

fn locking(mode: &str) -> RecoveryRepository {
    let mut locking = repository();
    let lock = serde_json::json!({"mode": mode, "retainFor": "720h"});
    locking.spec.object_lock = Some(serde_json::from_value(lock).unwrap());
    locking
}

fn not_enforced() -> Option<LockTried> {
    Some(LockTried::NotEnforced("it has no Object Lock".into()))
}

fn failed(reason: FailureReason) -> Report {
    Report::Failed(Failure { reason, message: format!("it is {reason:?}") })
}

#[test]
fn a_new_repository_is_probed_at_once_and_then_armed() {
    let mut repository = repository();
    let started = look(&repository, JobState::Absent, at(NOW));
    assert_eq!(condition_of(&started, "Ready").status, "Unknown");
    assert_eq!(condition_of(&started, "Reconciling").reason, "Progressing");
    let job = started.start.clone().unwrap();
    assert!(matches!(&job.request, Request::Probe { repository } if repository.expected_id.is_none()));
    let ended = probe(&mut repository, Report::Probed(probed()), at(NOW));
    assert_eq!(condition_of(&ended, "Ready").reason, "Armed");
    assert_eq!(condition_of(&ended, "KeyEscrowed").reason, "Acknowledged");
    assert_eq!(ended.status.unique_id.as_deref(), Some("repo-1"));
    assert_eq!(ended.status.usage.as_ref().unwrap().size, "2.4Gi");
    assert_eq!(ended.delete, Some(job.name));
    assert_eq!(ended.next, Next::At(at("2026-11-23T10:40:00Z")));
    assert_eq!(ended.events.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>(), ["Armed", "ProbePassed"]);
    assert!(condition::get(&ended.status.conditions, "Reconciling").is_none());
}

fn point(repository: &str, recorded: &str) -> RecoveryPoint {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint",
        "metadata": {"name": "chromadb-1", "namespace": "arxiv", "creationTimestamp": recorded},
        "spec": {"policy": "chromadb", "repositoryRef": {"name": repository}, "id": "p"},
        "status": {"sizes": {"bytes": 5_000_000, "newBytes": 1_000_000, "files": 3, "size": "", "newSize": ""}}
    }))
    .unwrap()
}

#[test]
fn points_recorded_since_the_last_count_are_added_once_and_only_here() {
    let mut repository = repository();
    let now = at("2026-11-23T09:50:00Z");
    let look = |repository: &RecoveryRepository, points: &[RecoveryPoint]| {
        plan(&Observed { points, ..alone(repository, now) }).status.usage
    };
    assert_eq!(
        look(&repository, &[point("primary", "2026-11-23T09:45:00Z")]),
        None,
        "nobody has counted yet"
    );
    probe(&mut repository, Report::Probed(Probed { points: 3, bytes: 10, ..probed() }), at(NOW));
    let shown = |repository: &RecoveryRepository, points: &[RecoveryPoint]| {
        let usage = look(repository, points).unwrap();
        (usage.points, usage.bytes, usage.size)
    };
    let before = point("primary", "2026-11-23T09:39:59Z");
    let elsewhere = point("offsite", "2026-11-23T09:45:00Z");
    assert_eq!(shown(&repository, &[before.clone(), elsewhere.clone()]), (3, 10, "10".into()));
    let mut bare = point("primary", "2026-11-23T09:49:00Z");
    bare.status = None;
    let points = [before, elsewhere, point("primary", "2026-11-23T09:45:00Z"), bare];
    assert_eq!(shown(&repository, &points), (5, 1_000_010, "977Ki".into()));
    // The stored sum is no new base, and a probe's own count is.
    repository.status.as_mut().unwrap().usage = look(&repository, &points);
    assert_eq!(shown(&repository, &points), (5, 1_000_010, "977Ki".into()));
    probe(
        &mut repository,
        Report::Probed(Probed { points: 5, bytes: 900_000, ..probed() }),
        at("2026-11-23T10:40:00Z"),
    );
    assert_eq!(shown(&repository, &points).0, 5);
    assert_eq!(shown(&repository, &points).1, 900_000);
}

#[test]
fn a_restarted_controller_starts_the_probe_that_was_announced_and_no_other() {
    let mut repository = repository();
    let first = look(&repository, JobState::Absent, at(NOW));
    repository.status = Some(first.status.clone());
    // Stopped between the status and the Job.
    let again = look(&repository, JobState::Absent, at(NOW));
    assert_eq!(again.start, first.start);
    assert_eq!(again.status, first.status);
}

#[test]
fn the_only_key_inside_the_cluster_is_not_ready_and_says_what_to_write() {
    let mut repository = repository();
    repository.spec.encryption.escrow = None;
    let ended = probe(&mut repository, Report::Probed(probed()), at(NOW));
    let ready = condition_of(&ended, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "KeyNotEscrowed"));
    assert_eq!(
        ready.message,
        "the only key is in this cluster; lost together, the points are worthless. Store it elsewhere and write encryption.escrow.acknowledged.fingerprint: \"7c1f-09aa-52d3\", or add a second key"
    );
    assert_eq!(ended.next, Next::At(at("2026-11-23T10:40:00Z")), "only the user can go on");
    // The user acknowledges: that is no matter for a probe.
    repository.spec.encryption.escrow = self::repository().spec.encryption.escrow;
    repository.metadata.generation = Some(2);
    let armed = look(&repository, JobState::Absent, at("2026-11-23T09:41:00Z"));
    assert_eq!((&armed.start, armed.next), (&None, Next::At(at("2026-11-23T10:40:00Z"))));
    let ready = condition_of(&armed, "Ready");
    assert_eq!((ready.reason.as_str(), ready.observed_generation), ("Armed", Some(2)));
    assert!(condition::get(&armed.status.conditions, "Stalled").is_none());
    assert_eq!(armed.events.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>(), ["Armed"]);
    // And takes the word back.
    repository.status = Some(armed.status);
    repository.spec.encryption.escrow = None;
    repository.metadata.generation = Some(3);
    let disarmed = look(&repository, JobState::Absent, at("2026-11-23T09:42:00Z"));
    assert_eq!(condition_of(&disarmed, "Ready").reason, "KeyNotEscrowed");
}

#[test]
fn whatever_else_changes_is_probed_anew_at_once() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let soon = at("2026-11-23T09:41:00Z");
    let second = serde_json::json!({"keySecretRef": {"name": "second"}});
    let changes: [fn(&mut RecoveryRepository, serde_json::Value); 3] = [
        |repository, _| s3(repository).endpoint = Some("https://other.example.com".into()),
        |repository, _| repository.spec.mode = RepositoryMode::ReadOnly,
        |repository, second| {
            repository.spec.encryption.escrow = Some(serde_json::from_value(second).unwrap());
        },
    ];
    for change in changes {
        let mut repository = repository.clone();
        change(&mut repository, second.clone());
        repository.metadata.generation = Some(2);
        let started = look(&repository, JobState::Absent, soon);
        assert!(started.start.is_some());
        assert!(condition::is_true(&started.status.conditions, "Reconciling"));
    }
}

#[test]
fn a_repository_awaits_its_second_key_by_the_minute() {
    let mut repository = repository();
    repository.spec.encryption.escrow =
        Some(serde_json::from_value(serde_json::json!({"keySecretRef": {"name": "second"}})).unwrap());
    let ended = probe(&mut repository, Report::Probed(probed()), at(NOW));
    assert_eq!(condition_of(&ended, "Ready").reason, "KeyNotEscrowed");
    assert_eq!(ended.next, Next::At(at("2026-11-23T09:41:00Z")));
    let ended = probe(
        &mut repository,
        Report::Probed(Probed { key_slots: 2, ..probed() }),
        at("2026-11-23T09:41:00Z"),
    );
    assert_eq!(condition_of(&ended, "KeyEscrowed").reason, "SecondSlot");
    assert_eq!(ended.next, Next::At(at("2026-11-23T10:41:00Z")));
}

#[test]
fn a_request_probes_once_and_only_a_later_one_probes_again() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let ask = |repository: &mut RecoveryRepository, text: &str| {
        repository.metadata.annotations = Some([(REQUESTED_AT.to_owned(), text.to_owned())].into());
    };
    ask(&mut repository, "2026-11-23T09:40:30Z");
    let later = at("2026-11-23T09:41:00Z");
    probe(&mut repository, Report::Probed(probed()), later);
    assert_eq!(repository.status.as_ref().unwrap().observed_requested_at, Some(at("2026-11-23T09:40:30Z")));
    for earlier in ["2026-11-23T09:40:30Z", "2026-11-20T00:00:00Z"] {
        ask(&mut repository, earlier);
        assert_eq!(look(&repository, JobState::Absent, later).start, None, "{earlier} is not later");
    }
    ask(&mut repository, "tomorrow");
    let refused = look(&repository, JobState::Absent, later);
    assert_eq!(refused.start, None);
    assert_eq!(condition_of(&refused, "RequestAccepted").reason, "InvalidTime");
    assert!(condition_of(&refused, "RequestAccepted").message.contains("\"tomorrow\" is no time"));
    assert_eq!(condition_of(&refused, "Ready").status, "True");
    repository.status = Some(refused.status);
    // One from a clock that runs ahead waits for its time.
    ask(&mut repository, "2026-11-23T09:41:10Z");
    let waits = look(&repository, JobState::Absent, later);
    assert_eq!((&waits.start, waits.next), (&None, Next::At(at("2026-11-23T09:41:10Z"))));
    assert!(condition::get(&waits.status.conditions, "RequestAccepted").is_none());
    // One that comes while a probe runs may mean what the probe has passed by, so there is another one.
    repository.status = Some(waits.status);
    let begun = look(&repository, JobState::Absent, at("2026-11-23T09:41:10Z"));
    repository.status = Some(begun.status);
    ask(&mut repository, "2026-11-23T09:41:11Z");
    let ended = look(&repository, JobState::Ended(Report::Probed(probed())), at("2026-11-23T09:41:12Z"));
    let status = ended.status;
    assert!(ended.start.is_some());
    assert_eq!(status.observed_requested_at, Some(at("2026-11-23T09:41:11Z")));
}

#[test]
fn an_acknowledged_fingerprint_of_another_key_is_told_with_both() {
    let mut repository = repository();
    let other = Probed { key_fingerprint: "aaaa-bbbb-cccc".into(), ..probed() };
    let ended = probe(&mut repository, Report::Probed(other), at(NOW));
    let escrowed = condition_of(&ended, "KeyEscrowed");
    assert_eq!(escrowed.reason, "FingerprintMismatch");
    assert!(escrowed.message.contains("7c1f-09aa-52d3") && escrowed.message.contains("aaaa-bbbb-cccc"));
    assert_eq!(condition_of(&ended, "Ready").status, "False");
}

#[test]
fn a_second_slot_is_an_escrow() {
    let mut repository = repository();
    repository.spec.encryption.escrow = None;
    let ended = probe(&mut repository, Report::Probed(Probed { key_slots: 2, ..probed() }), at(NOW));
    assert_eq!(condition_of(&ended, "KeyEscrowed").reason, "SecondSlot");
    assert_eq!(condition_of(&ended, "Ready").status, "True");
}

#[test]
fn missing_conditional_writes_are_said_and_do_not_stop_captures() {
    let mut repository = repository();
    let ended = probe(
        &mut repository,
        Report::Probed(Probed { conditional_writes: Some(false), ..probed() }),
        at(NOW),
    );
    assert_eq!(condition_of(&ended, "ConditionalWrites").reason, "ConditionalWriteMissing");
    assert_eq!(condition_of(&ended, "Ready").status, "True");
    assert!(ended.events.iter().any(|event| event.reason == "ConditionalWriteMissing"));
}

#[test]
fn conditional_writes_that_were_not_tried_are_not_claimed() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let untried = Probed { conditional_writes: None, ..probed() };
    let ended = probe(&mut repository, Report::Probed(untried), at("2026-11-23T10:40:00Z"));
    assert!(ended.status.conditions.iter().all(|condition| condition.type_ != "ConditionalWrites"));
    assert_eq!(condition_of(&ended, "Ready").status, "True");
}

#[test]
fn immutability_is_what_was_asked_for_and_what_was_seen() {
    use LockTried::{Enforced, Shown};
    let cases = [
        (None, None, Some(("False", "NotRequested")), "None"),
        (None, Some(Enforced), Some(("False", "NotRequested")), "None"),
        (None, not_enforced(), Some(("False", "NotRequested")), "None"),
        (Some("None"), None, Some(("False", "NotRequested")), "None"),
        (Some("Governance"), None, None, "Governance/720h"),
        (Some("Governance"), Some(Enforced), Some(("True", "ProbePassed")), "Governance/720h"),
        (Some("Governance"), Some(Shown), Some(("True", "ProbePassed")), "Governance/720h"),
        (Some("Governance"), not_enforced(), Some(("False", "LockNotEnforced")), "NotEnforced"),
        (Some("Compliance"), Some(Enforced), Some(("True", "ProbePassed")), "Compliance/720h"),
        (Some("Compliance"), not_enforced(), Some(("False", "LockNotEnforced")), "NotEnforced"),
        (Some("Compliance"), None, None, "Compliance/720h"),
    ];
    for (mode, lock, expected, column) in cases {
        let mut repository = mode.map_or_else(repository, locking);
        let ended = probe(&mut repository, Report::Probed(Probed { lock, ..probed() }), at(NOW));
        let found = condition::get(&ended.status.conditions, "ImmutabilityEnforced");
        assert_eq!(found.map(|c| (c.status.as_str(), c.reason.as_str())), expected, "{mode:?}");
        assert_eq!(ended.status.lock.as_deref(), Some(column));
        assert_eq!(condition_of(&ended, "Ready").reason, "Armed", "a recovery needs no lock");
        let told = ended.events.iter().any(|e| {
            expected
                .is_some_and(|(_, reason)| e.message.to_lowercase().contains("lock") && e.reason == reason)
        });
        assert_eq!(told, expected.is_some_and(|(_, reason)| reason != "NotRequested"), "{mode:?}");
    }
}

#[test]
fn a_mover_is_told_the_lock_and_a_changed_lock_is_probed_at_once() {
    let mut repository = locking("Compliance");
    let lock = access(&repository).lock.unwrap();
    assert_eq!(lock.to_string(), "Compliance/720h");
    probe(&mut repository, Report::Probed(Probed { lock: not_enforced(), ..probed() }), at(NOW));
    repository.spec = self::repository().spec;
    repository.metadata.generation = Some(2);
    let ended = probe(&mut repository, Report::Probed(probed()), at(NOW));
    assert_eq!(condition_of(&ended, "ImmutabilityEnforced").reason, "NotRequested");
    assert_eq!(ended.status.lock.as_deref(), Some("None"));
}

#[test]
fn another_repository_in_the_place_of_ours_is_refused_and_ours_stays_pinned() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let later = at("2026-11-23T10:40:00Z");
    let ended = probe(&mut repository, Report::Probed(Probed { id: "repo-2".into(), ..probed() }), later);
    assert_eq!(condition_of(&ended, "Ready").reason, "RepositoryReplaced");
    assert_eq!(ended.status.unique_id.as_deref(), Some("repo-1"));
    let access = access(&repository);
    assert_eq!(access.expected_id.as_deref(), Some("repo-1"), "and the mover refuses it as well");
}

#[test]
fn an_unreachable_bucket_is_tried_again_ever_more_slowly_and_heals_by_itself() {
    let mut repository = repository();
    let mut now = at(NOW);
    for whole in [10, 20, 40, 80, 160, 300, 300, 300] {
        let ended = probe(&mut repository, failed(FailureReason::BucketUnreachable), now);
        assert_eq!(condition_of(&ended, "Ready").reason, "BucketUnreachable");
        assert_eq!(condition_of(&ended, "BackendReachable").status, "False");
        assert!(condition::get(&ended.status.conditions, "Stalled").is_none(), "nobody has to act");
        let Next::At(next) = ended.next else { panic!("it is tried again") };
        let (wait, whole) = (next.duration_since(now), SignedDuration::from_secs(whole));
        assert!(wait <= whole && wait >= whole / 4 * 3, "{wait} of {whole}");
        now = next;
    }
    let healed = probe(&mut repository, Report::Probed(probed()), now);
    assert_eq!(condition_of(&healed, "Ready").reason, "Armed");
    assert_eq!(healed.status.probe.as_ref().unwrap().failures, 0);
}

#[test]
fn what_somebody_must_mend_is_stalled_and_still_tried_every_minute_at_the_latest() {
    for (reason, kind) in [
        (FailureReason::KeyMissing, "KeyVerified"),
        (FailureReason::KeyMismatch, "KeyVerified"),
        (FailureReason::CredentialsMissing, "CredentialsValid"),
        (FailureReason::AccessDenied, "CredentialsValid"),
    ] {
        let mut repository = repository();
        let mut now = at(NOW);
        // What is applied a little later than the repository is found soon.
        for whole in [10, 20, 40, 60, 60, 60] {
            let ended = probe(&mut repository, failed(reason), now);
            assert_eq!(condition_of(&ended, kind).reason, format!("{reason:?}"));
            assert_eq!(condition_of(&ended, "Stalled").reason, format!("{reason:?}"));
            let Next::At(next) = ended.next else { panic!("it is tried again") };
            let (wait, whole) = (next.duration_since(now), SignedDuration::from_secs(whole));
            assert!(wait <= whole && wait >= whole / 4 * 3, "{wait} of {whole}");
            now = next;
        }
    }
}

#[test]
fn one_lost_probe_does_not_disarm_but_three_do() {
    let mut repository = repository();
    probe(&mut repository, Report::Probed(probed()), at(NOW));
    let mut now = at("2026-11-23T10:40:00Z");
    for (round, ready) in [(1, "True"), (2, "True"), (3, "Unknown")] {
        let started = look(&repository, JobState::Absent, now);
        repository.status = Some(started.status);
        let ended = look(&repository, JobState::Silent { why: "evicted".into() }, now);
        assert_eq!(condition_of(&ended, "Ready").status, ready, "round {round}");
        let Next::At(next) = ended.next else { panic!("it is tried again") };
        repository.status = Some(ended.status);
        now = next;
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_said() {
    let mut repository = repository();
    repository.status = Some(look(&repository, JobState::Absent, at(NOW)).status);
    let waiting = Some("pod primary-probe-1 waits: ImagePullBackOff: Back-off pulling image".to_owned());
    let seen = look(&repository, JobState::Running { waiting }, at(NOW));
    assert!(condition_of(&seen, "Ready").message.contains("ImagePullBackOff"));
}

#[test]
fn a_read_only_repository_is_never_created_or_written() {
    let mut repository = repository();
    repository.spec.mode = RepositoryMode::ReadOnly;
    let started = look(&repository, JobState::Absent, at(NOW));
    assert!(matches!(started.start.unwrap().request, Request::Probe { repository } if repository.read_only));
    let untried = Probed { conditional_writes: None, ..probed() };
    let ended = probe(&mut repository, Report::Probed(untried), at(NOW));
    assert!(condition::get(&ended.status.conditions, "ConditionalWrites").is_none());
    assert_eq!(ended.status.mode, Some(RepositoryMode::ReadOnly));
}

#[test]
fn a_repository_is_sealed_by_its_spec_or_by_a_mark_and_by_the_mark_whatever_its_spec_says() {
    let seal = crds::repository::SealMark {
        by: "run/breach".into(),
        reason: "INC-2041".into(),
        since: at("2026-11-23T08:00:00Z"),
    };
    for spec in [RepositoryMode::ReadWrite, RepositoryMode::ReadOnly, RepositoryMode::Sealed] {
        let mut repository = repository();
        repository.spec.mode = spec;
        let sealed =
            probe(&mut repository, Report::Probed(Probed { seal: Some(seal.clone()), ..probed() }), at(NOW));
        assert_eq!(sealed.status.mode, Some(RepositoryMode::Sealed));
        assert_eq!(sealed.status.seal, Some(seal.clone()));
        let told = condition_of(&sealed, "Sealed");
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "SealedByMark"));
        assert!(
            told.message.contains("run/breach") && told.message.contains("holdfast repo unseal"),
            "{}",
            told.message
        );
        // The next probe finds that it was lifted.
        repository.status = Some(sealed.status);
        let later = at("2026-11-23T23:40:00Z");
        repository.status = Some(look(&repository, JobState::Absent, later).status);
        let lifted = look(&repository, JobState::Ended(Report::Probed(probed())), later);
        assert_eq!((lifted.status.mode, lifted.status.seal.as_ref()), (Some(spec), None));
        let reason = if spec == RepositoryMode::Sealed { "SealedBySpec" } else { "NotSealed" };
        assert_eq!(condition_of(&lifted, "Sealed").reason, reason);
    }
}

#[test]
fn of_a_repository_that_never_was_sealed_nothing_is_said() {
    let mut repository = repository();
    let known = probe(&mut repository, Report::Probed(probed()), at(NOW));
    assert!(condition::get(&known.status.conditions, "Sealed").is_none());
    assert!(!super::access(&repository).sealed && !super::access(&repository).evidence);
    repository.spec.mode = RepositoryMode::Sealed;
    assert!(super::access(&repository).sealed && !super::access(&repository).read_only);
}

const REASONS: [FailureReason; 32] = [
    FailureReason::CredentialsMissing,
    FailureReason::AccessDenied,
    FailureReason::BucketUnreachable,
    FailureReason::Throttled,
    FailureReason::KeyMissing,
    FailureReason::KeyMismatch,
    FailureReason::KeyUnsafe,
    FailureReason::RepositoryReplaced,
    FailureReason::RepositoryMissing,
    FailureReason::FormatTooNew,
    FailureReason::RepositoryDamaged,
    FailureReason::LockNotEnforced,
    FailureReason::ChromaDBNotFound,
    FailureReason::VersionUnsupported,
    FailureReason::LocksNotShared,
    FailureReason::Torn,
    FailureReason::WriterPauseExceeded,
    FailureReason::SourceUnreadable,
    FailureReason::ClockBehind,
    FailureReason::PointNotFound,
    FailureReason::PointUnreadable,
    FailureReason::PointQuarantined,
    FailureReason::Sealed,
    FailureReason::TargetNotEmpty,
    FailureReason::IntegrityMismatch,
    FailureReason::NotServing,
    FailureReason::ServerAccessDenied,
    FailureReason::AlreadyExecuted,
    FailureReason::ScratchFull,
    FailureReason::NoSpaceLeft,
    FailureReason::InvalidRequest,
    FailureReason::MoverFailed,
];

fn every_job_state() -> Vec<JobState> {
    let mut states = vec![
        JobState::Absent,
        JobState::Running { waiting: None },
        JobState::Running { waiting: Some("ImagePullBackOff".into()) },
        JobState::Silent { why: "evicted".into() },
        JobState::Ended(Report::NotCommitted),
        JobState::Ended(Report::Probed(probed())),
        JobState::Ended(Report::Probed(Probed { id: "repo-2".into(), ..probed() })),
        JobState::Ended(Report::Probed(Probed { key_fingerprint: "aaaa-bbbb-cccc".into(), ..probed() })),
        JobState::Ended(Report::Probed(Probed { conditional_writes: Some(false), ..probed() })),
        JobState::Ended(Report::Probed(Probed { lock: Some(LockTried::Enforced), ..probed() })),
        JobState::Ended(Report::Probed(Probed { lock: not_enforced(), ..probed() })),
    ];
    states.extend(REASONS.map(|reason| JobState::Ended(failed(reason))));
    states
}

fn every_status() -> Vec<Option<RecoveryRepositoryStatus>> {
    let mut statuses = vec![None];
    let mut fresh = repository();
    fresh.status = Some(look(&fresh, JobState::Absent, at("2026-11-23T09:39:00Z")).status);
    statuses.push(fresh.status.clone());
    for earlier in ["2026-11-23T08:00:00Z", "2026-11-23T09:39:59Z"] {
        let mut armed = repository();
        probe(&mut armed, Report::Probed(probed()), at(earlier));
        statuses.push(armed.status.clone());
        for reason in REASONS {
            let mut broken = repository();
            probe(&mut broken, failed(reason), at(earlier));
            statuses.push(broken.status.clone());
            let next = look(&broken, JobState::Absent, at(NOW));
            statuses.push(Some(next.status));
        }
    }
    statuses
}

/// As it was probed, acknowledged no more, elsewhere, asked for in every way, and locking.
fn every_spec() -> Vec<RecoveryRepository> {
    let mut specs = vec![repository(); 6];
    specs.push(locking("Governance"));
    specs[1].spec.encryption.escrow = None;
    s3(&mut specs[2]).endpoint = Some("https://other.example.com".into());
    for (spec, asked) in specs[3..6].iter_mut().zip(["2026-11-23T09:39:30Z", "2026-11-23T09:41:00Z", "now"]) {
        spec.metadata.annotations = Some([(REQUESTED_AT.to_owned(), asked.to_owned())].into());
    }
    for changed in [1, 2, 6] {
        specs[changed].metadata.generation = Some(2);
    }
    specs
}

#[test]
fn in_every_observation_the_plan_is_safe_and_does_not_wake_itself() {
    let every_points = [vec![], vec![point("primary", "2026-11-23T09:39:59.5Z")]];
    for status in every_status() {
        for job in every_job_state() {
            for mut repository in every_spec() {
                repository.status = status.clone();
                // Where nothing may start, points change nothing.
                for (terminating, points) in
                    [(false, &every_points[0]), (false, &every_points[1]), (true, &every_points[0])]
                {
                    let job = job.clone();
                    holds(&Observed { terminating, job, points, ..alone(&repository, at(NOW)) });
                }
            }
        }
    }
}

fn holds(seen: &Observed<'_>) {
    let first = plan(seen);
    // Only a red test pays for it: there are ten thousand observations.
    let context = || format!("{seen:?}\n{first:?}");
    if seen.terminating {
        assert!(
            first.start.is_none() && first.delete.is_none(),
            "nothing starts in a Terminating namespace: {}",
            context()
        );
        return;
    }
    if let Some(job) = &first.start {
        let probe = first.status.probe.as_ref().unwrap();
        assert_eq!(probe.finished, None, "a Job starts only after it was announced: {}", context());
        assert_eq!(job.name, job_name(seen.repository, probe.number), "{}", context());
        let running = matches!(seen.job, JobState::Running { .. });
        let announced = seen.repository.status.as_ref().and_then(|s| s.probe.as_ref());
        assert!(
            !(running && announced.is_some_and(|p| p.finished.is_none())),
            "no second probe beside a running one: {}",
            context()
        );
    }
    if condition::is_true(&first.status.conditions, "Ready") {
        assert!(condition::is_true(&first.status.conditions, "KeyEscrowed"), "{}", context());
        assert!(!condition::is_true(&first.status.conditions, "Stalled"), "{}", context());
    }
    let enforced = condition::get(&first.status.conditions, "ImmutabilityEnforced");
    if seen.repository.spec.lock().is_none() {
        assert_eq!(first.status.lock.as_deref(), Some("None"), "{}", context());
    } else if enforced.is_some_and(|c| c.reason == "LockNotEnforced") {
        assert_eq!(first.status.lock.as_deref(), Some("NotEnforced"), "{}", context());
    }
    // The world after the plan was carried out, at the same instant.
    let mut repository = seen.repository.clone();
    repository.status = Some(first.status.clone());
    let job = match (&first.start, &first.delete) {
        (Some(_), _) => JobState::Running { waiting: None },
        (None, Some(_)) => JobState::Absent,
        (None, None) => seen.job.clone(),
    };
    let second = plan(&Observed { repository: &repository, terminating: false, job, ..seen.clone() });
    assert_eq!(second.status, first.status, "an unchanged world is an unchanged status: {}", context());
    assert_eq!((second.start, second.delete), (None, None), "{}", context());
    assert_eq!(second.events, vec![], "{}", context());
    if let Next::At(time) = second.next {
        assert!(time > seen.now, "no hot loop: {}", context());
    }
}

#[test]
fn a_volume_is_probed_without_credentials_and_told_by_its_claim() {
    let mut repository = repository();
    repository.spec.s3 = None;
    let claim_ref = crds::reference::NameRef::new("emergency-storage");
    repository.spec.volume = Some(crds::repository::VolumePlace { claim_ref });
    let begun = look(&repository, JobState::Absent, at(NOW));
    let job = begun.start.unwrap();
    assert_eq!(job.request.repository_claim(), Some("emergency-storage"));
    assert_eq!(
        job.keys.unwrap().secrets().map(|secret| secret.name.as_str()).collect::<Vec<_>>(),
        ["repository-key"]
    );
    repository.status = Some(begun.status);
    let armed = look(&repository, JobState::Ended(Report::Probed(probed())), at(NOW));
    let told = |kind: &str| condition::get(&armed.status.conditions, kind).unwrap().message.clone();
    assert_eq!(told("Ready"), "keeps points in the volume of claim emergency-storage");
    assert_eq!(told("BackendReachable"), "the volume of claim emergency-storage answers");
    assert!(told("CredentialsValid").starts_with("a volume needs no credentials"));
    // What it can't be read for is the volume's fault, and no Secret's.
    let failure = Failure { reason: FailureReason::AccessDenied, message: "no right".into() };
    let refused = look(&repository, JobState::Ended(Report::Failed(failure)), at(NOW));
    assert_eq!(condition::get(&refused.status.conditions, "Ready").unwrap().message, "no right");
}

fn s3(repository: &mut RecoveryRepository) -> &mut crds::repository::S3 {
    repository.spec.s3.as_mut().unwrap()
}
