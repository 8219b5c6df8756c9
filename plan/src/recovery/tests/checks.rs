//! The checks that policies add to the checklist.

use crds::job::{CheckResult, Report};
use crds::policy::PolicyCheck;
use crds::run::CheckGroup;

use super::*;

pub(super) fn checks(value: serde_json::Value) -> Vec<PolicyCheck> {
    serde_json::from_value(value).unwrap()
}

fn http(name: &str, service: &str, port: Option<u16>) -> serde_json::Value {
    let mut check =
        serde_json::json!({"name": name, "http": {"serviceRef": {"name": service}, "path": "/healthz"}});
    if let Some(port) = port {
        check["http"]["port"] = port.into();
    }
    check
}

pub(super) fn line<'a>(cluster: &'a Cluster, name: &str) -> &'a crds::run::CheckStatus {
    cluster.status().checks.iter().find(|check| check.name == name).unwrap()
}

#[test]
fn what_a_policy_wants_to_answer_is_asked_by_its_services_name_and_told_by_both_names() {
    let mut seen = arxiv();
    seen.components[1].checks = checks(serde_json::json!([http("operational", "scholar", None)]));
    seen.services.insert("scholar".into(), vec![8080]);
    let mut cluster = Cluster::of(seen);
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let check = line(&cluster, "scholar/operational");
    assert_eq!(
        (check.group, check.observed.as_str()),
        (CheckGroup::ApplicationFunctions, "200 from http://scholar.arxiv.svc:8080/healthz")
    );
}

#[test]
fn the_policys_name_stands_before_its_check_in_a_run_with_one_component_too() {
    let mut cluster = Cluster::new();
    cluster.seen.components[0].checks = checks(
        serde_json::json!([{"name": "floor", "group": "DataIntegrity", "chromaCount": {"collection": "papers", "atLeast": 3}}]),
    );
    let said = |name: &str, verdict| CheckResult {
        name: name.into(),
        verdict,
        expected: ">= 3".into(),
        observed: "2".into(),
    };
    let answer = vec![said("counts", Verdict::Passed), said("floor", Verdict::Failed)];
    cluster.answers.insert("Validate", vec![JobState::Ended(Report::Validated { checks: answer })]);
    cluster.run(1000);
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
    assert_eq!(line(&cluster, "chromadb/floor").group, CheckGroup::DataIntegrity);
    assert!(message(&cluster, "Failed").contains("chromadb/floor: expected >= 3, observed 2"));
    assert_eq!(line(&cluster, "counts").verdict, Verdict::Passed);
}

#[test]
fn a_mail_goes_to_its_services_name_and_what_an_index_has_to_find_is_asked_of_the_database() {
    let mut seen = arxiv();
    seen.components[0].checks = checks(serde_json::json!([
        {"name": "near", "chromaQuery": {}}, {"name": "sends", "smtp": {"serviceRef": {"name": "mail"}, "to": "dr@yourorg.com"}, "inDrills": "Skip"}]));
    seen.components[1].checks = checks(
        serde_json::json!([{"name": "sends", "smtp": {"serviceRef": {"name": "gone"}, "to": "dr@yourorg.com"}}]),
    );
    seen.services.insert("mail".into(), vec![25]);
    assert_eq!(seen.components[0].checks[1].in_drills, crds::policy::InDrills::Skip);
    let mut cluster = Cluster::of(seen);
    let mut asked = None;
    for _ in 0..600 {
        let validate = cluster.plan().effects.into_iter().find_map(|effect| match effect {
            Effect::CreateJob { job, .. } => match job.request {
                crds::job::Request::Validate { queries, mails, .. } => Some((queries, mails)),
                _ => None,
            },
            _ => None,
        });
        asked = asked.or(validate);
        cluster.reconcile(1);
        cluster.settle();
        cluster.seen.now += jiff::SignedDuration::from_millis(250);
    }
    let (queries, mails) = asked.unwrap();
    let (name, query) = &queries[0];
    assert_eq!((name.as_str(), query.samples_per_collection, query.min_recall_percent), ("near", 20, 95));
    assert_eq!((mails[0].host.as_str(), mails[0].port), ("mail.arxiv.svc", 25));
    assert_eq!(mails[0].from, "holdfast@arxiv");
    assert_eq!(line(&cluster, "scholar/sends").observed, "no Service gone");
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
}

#[test]
fn a_service_that_can_not_be_meant_fails_the_check_with_its_name() {
    for (check, ports, told) in [
        (http("a", "gone", None), vec![], "no Service gone"),
        (http("a", "scholar", None), vec![1, 2], "Service scholar has 2 ports: set http.port"),
        (http("a", "scholar", Some(9)), vec![1], "Service scholar has no port 9"),
    ] {
        let mut seen = arxiv();
        seen.components[1].checks = checks(serde_json::json!([check]));
        seen.services.insert("scholar".into(), ports);
        let mut cluster = Cluster::of(seen);
        cluster.run(1000);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        assert_eq!(line(&cluster, "scholar/a").observed, told);
    }
}

#[test]
fn what_depends_on_a_database_is_asked_too_when_it_was_only_stopped() {
    let mut cluster = Cluster::of(arxiv());
    cluster.seen.run.spec = spec(serde_json::json!({"policies": null}));
    cluster.seen.components.truncate(2);
    cluster.seen.components[1].role = crate::recovery::seen::Role::Dependent;
    cluster.seen.components[1].checks =
        checks(serde_json::json!([http("operational", "scholar", Some(8000))]));
    cluster.seen.services.insert("scholar".into(), vec![8000, 9000]);
    cluster.run(1);
    assert_eq!(line(&cluster, "scholar/operational").verdict, Verdict::Passed);
}

#[test]
fn a_restored_volume_that_is_nearly_full_is_told_and_recovered_all_the_same() {
    for (free, verdict) in [(21, Verdict::Passed), (20, Verdict::Failed), (0, Verdict::Failed)] {
        let mut cluster = Cluster::new();
        let verified = Verified {
            files_equal: 16,
            files: 16,
            collections_equal: 3,
            collections: 3,
            free_percent: Some(free),
            findings: Vec::new(),
        };
        cluster.answers.insert("VerifyOffline", vec![JobState::Ended(Report::Verified(verified))]);
        let mut told = false;
        for _ in 0..400 {
            let planned = cluster.plan();
            told |= planned.events.iter().any(|event| event.reason == "DiskNearlyFull");
            cluster.seen.run.status = planned.status;
            planned.effects.iter().for_each(|effect| cluster.apply(effect));
            cluster.settle();
        }
        let check = line(&cluster, "disk");
        assert_eq!((check.verdict, check.group), (verdict, CheckGroup::SystemResources));
        assert_eq!(check.observed, format!("{free}% free"));
        assert_eq!(told, verdict == Verdict::Failed);
        assert_eq!(phase(&cluster), Some(RunPhase::Succeeded));
    }
}

fn pipeline() -> Cluster {
    let mut seen = arxiv();
    seen.components[1].checks = checks(serde_json::json!([
        {"name": "pipeline", "job": {"cronJobRef": {"name": "pipeline-check"}}, "timeout": "2m"},
    ]));
    seen.cron_jobs.push("pipeline-check".into());
    Cluster::of(seen)
}

#[test]
fn a_job_is_made_of_a_cronjob_once_the_component_runs_and_has_to_complete() {
    let mut cluster = pipeline();
    cluster.run(1);
    assert_eq!(phase(&cluster), Some(RunPhase::Succeeded), "{}", message(&cluster, "Ready"));
    let check = line(&cluster, "scholar/pipeline");
    assert_eq!((check.verdict, check.observed.as_str()), (Verdict::Passed, "Complete"));
    let made = cluster.log.marks.iter().filter(|mark| *mark == "CreateCheckJob").count();
    assert_eq!(made, 1);
    assert!(cluster.seen.jobs.is_empty(), "{:?}", cluster.seen.jobs);
}

#[test]
fn a_job_that_fails_fails_the_check_with_where_to_look_whatever_it_wrote() {
    let silent = JobState::Silent { why: "its container ended with code 3".into() };
    for (state, told) in [(silent, "kubectl logs job/"), (JobState::Ended(Report::Marked), "it failed")] {
        let mut cluster = pipeline();
        cluster.answers.insert("Check", vec![state]);
        cluster.run(1);
        assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
        let check = line(&cluster, "scholar/pipeline");
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(check.observed.contains(told), "{check:?}");
    }
}

#[test]
fn a_cronjob_that_is_not_there_fails_the_check_with_its_name() {
    let mut cluster = pipeline();
    cluster.seen.cron_jobs.clear();
    cluster.run(1);
    assert_eq!(line(&cluster, "scholar/pipeline").observed, "no CronJob pipeline-check");
    assert_eq!(reason(&cluster, "Failed"), "ValidationFailed");
}
