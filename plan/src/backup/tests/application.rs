//! Policies of applications: the same life of a point, without a ChromaDB in it.

use crds::job::{Captured, CapturedFiles, Content, FailureReason, Report, Request, SourceContent};
use crds::point::PointPhase;
use serde_json::json;

use super::world::*;
use crate::backup::{anomaly, objects, source};

fn application() -> World {
    let mut world = World::new("2026-11-23T09:15:00Z");
    world.policy.spec.component.chroma_db = None;
    world.policy.spec.component.application = Some(crds::policy::Application::default());
    let mut found = found().unwrap();
    found.claims = vec!["cache".into(), "data".into()];
    found.content = source::Content::Application;
    found.objects.secrets = ["env", "s3", "repository-key"].map(str::to_owned).into();
    world.source = Ok(found);
    world
}

fn files(unstable: u64) -> Captured {
    let unstable_files = (0..unstable).map(|n| format!("data/{n}.log")).collect();
    let content =
        CapturedFiles { volumes: 2, databases: 1, unstable: unstable_files, unstable_count: unstable };
    Captured {
        files: 12,
        objects: 7,
        content: Content::Application(content),
        ..captured("p1", "2026-11-23T09:15:03Z")
    }
}

#[test]
fn all_claims_are_asked_for_and_the_secrets_that_open_the_repository_are_left_out() {
    let mut world = application();
    world.settle();
    world.is("SourceReady", "True", "Found");
    assert_eq!(world.condition("SourceReady").message, "claims cache, data of pod chromadb-0");
    let Some(Request::Capture { source, .. }) = world.requests.values().next() else { panic!() };
    assert_eq!(
        (source.claims.as_slice(), &source.content),
        (["cache".to_owned(), "data".to_owned()].as_slice(), &SourceContent::Application)
    );
    let world = application();
    let start = world.plan().start.or_else(|| world.plan().start).expect("a Job");
    let secrets: Vec<_> = start.objects.unwrap_or_default().secrets.into_iter().collect();
    assert_eq!(secrets, ["env"]);
    assert_eq!(
        start.sources.values().map(|volume| volume.claim.as_str()).collect::<Vec<_>>(),
        ["cache", "data"]
    );
}

#[test]
fn a_point_says_what_the_volumes_held_and_which_files_never_stood_still() {
    let mut world = application();
    world.settle();
    world.report(Report::Captured(Box::new(files(2))));
    world.settle();
    let status = world.points[0].status.clone().unwrap();
    assert_eq!((status.phase, status.chroma_db, status.objects), (Some(PointPhase::Available), None, 7));
    let content = status.application.unwrap();
    assert_eq!((content.volumes, content.databases, content.unstable_count), (2, 1, 2));
    assert_eq!(content.unstable, ["data/0.log", "data/1.log"]);
    assert_eq!(
        world.condition("LastCaptureSucceeded").message,
        "chromadb-20261123-091503 holds 12 files, 2 of which changed whenever they were read, and 7 objects; writers were held for 0.18s"
    );
}

#[test]
fn a_chromadb_in_the_volume_of_an_application_is_a_problem_of_the_source() {
    let mut world = application();
    world.settle();
    world.report(failure(FailureReason::ChromaDBFound));
    world.settle();
    world.is("LastCaptureSucceeded", "False", "ChromaDBFound");
    world.is("SourceReady", "False", "ChromaDBFound");
}

#[test]
fn an_application_that_shrinks_is_an_anomaly_by_its_bytes_and_one_that_is_empty_by_name() {
    let point = |name: &str, minute: u32, bytes: u64| {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": name, "namespace": "arxiv"},
            "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": name},
            "status": {"phase": "Available", "consistencyTime": format!("2026-11-23T09:{minute:02}:00Z"),
                "sizes": {"bytes": bytes, "newBytes": 1, "files": 1, "size": "1", "newSize": "1"},
                "application": {"volumes": 1, "databases": 0, "writerPause": "0s"}}}))
        .unwrap()
    };
    let policy = application().policy;
    let reason = |bytes: &[u64]| {
        let points: Vec<_> =
            (0_u32..).zip(bytes).map(|(n, bytes)| point(&format!("p{n}"), n, *bytes)).collect();
        anomaly::of(&policy, &points).map(|anomaly| anomaly.reason)
    };
    assert_eq!(reason(&[1000, 900]), None);
    assert_eq!(reason(&[1000, 700]), Some("Shrunken"));
    assert_eq!(reason(&[1000, 0]), Some("Empty"));
}

#[test]
fn without_a_claim_there_is_nothing_to_run_beside_and_the_policy_says_so() {
    let mut world = application();
    let mut found = found().unwrap();
    (found.claims, found.content, found.pod) = (vec![], source::Content::Application, None);
    found.objects = objects::Wanted::default();
    world.source = Ok(found);
    world.settle();
    assert_eq!(world.condition("SourceReady").message, "objects only: no workload mounts a claim");
    let mut stopped = application();
    let mut found = found_without_pod();
    found.claims = vec!["data".into()];
    stopped.source = Ok(found);
    stopped.settle();
    assert_eq!(stopped.condition("SourceReady").message, "claim data, which no pod mounts now");
}

fn found_without_pod() -> source::Source {
    source::Source { pod: None, content: source::Content::Application, ..found().unwrap() }
}
