//! In which order things are read: what is concluded from two of them has to hold whatever changes in between.

use std::sync::{Arc, Mutex};

use axum::http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tower_test::mock;

use super::*;
use crate::context::MoverConfig;
use crate::metrics::Metrics;

/// What an API server answers a path, and the paths that were asked.
type Answers = dyn Fn(&str, &[String]) -> Option<Value> + Send + Sync;

/// A client of an API server that answers so; whatever it has no answer for does not exist, or is an empty list.
fn client(answers: Box<Answers>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let path = request.uri().path().to_owned();
            let before = noted.lock().unwrap().clone();
            let found = answers(&path, &before);
            noted.lock().unwrap().push(path.clone());
            let is_list =
                path.rsplit('/').next().is_some_and(|last| last.ends_with('s') && !last.contains('-'));
            let empty =
                is_list.then(|| json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}));
            let (code, answer) = match found.or(empty) {
                Some(found) => (StatusCode::OK, found),
                None => {
                    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""});
                    (StatusCode::NOT_FOUND, gone)
                }
            };
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "arxiv"), asked)
}

fn context(client: Client) -> Context {
    let recorder = Recorder::new(client.clone(), Reporter { controller: "holdfast".into(), instance: None });
    let mover = MoverConfig { image: "i".into(), pull_policy: None, pull_secrets: vec![], hooks: false };
    let now = || "2026-11-23T09:40:00Z".parse().unwrap();
    Context::new(client, now, 1, "holdfast-system".into(), mover, recorder, Arc::new(Metrics::new()))
}

fn run() -> RecoveryRun {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun",
        "metadata": {"name": "total", "namespace": "arxiv", "uid": "u", "creationTimestamp": "2026-11-23T09:39:00Z"},
        "spec": {"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": "arxiv"}}},
    }))
    .unwrap()
}

fn list(items: Value) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// A repository, before or after what it holds was recorded.
fn repository(whole: bool) -> Value {
    let current = json!({"type": "CatalogueCurrent", "status": if whole { "True" } else { "False" }, "reason": "Recorded", "message": "m",
        "lastTransitionTime": "2026-11-23T09:39:30Z"});
    json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRepository", "metadata": {"name": "primary", "namespace": "arxiv"},
        "spec": {"s3": {"bucket": "dr", "credentials": {"writer": {"secretRef": {"name": "s3"}}}}, "encryption": {"keySecretRef": {"name": "key"}}},
        "status": {"conditions": [current]},
    })
}

fn point() -> Value {
    json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": "chromadb-1", "namespace": "arxiv"},
        "spec": {"policy": "chromadb", "repositoryRef": {"name": "primary"}, "id": "p1"},
    })
}

#[tokio::test]
async fn a_catalogue_that_is_called_whole_has_its_points_whatever_is_recorded_between_two_reads() {
    let of = |path: &str| {
        let kinds = ["recoveryrepositories", "recoverypoints"];
        kinds.into_iter().find(|kind| path.ends_with(kind))
    };
    // Between the first of both reads and the second everything is recorded.
    let answers = move |path: &str, before: &[String]| {
        let recorded = before.iter().any(|path| of(path).is_some());
        match of(path)? {
            "recoveryrepositories" => Some(list(json!([repository(recorded)]))),
            _ if recorded => Some(list(json!([point()]))),
            _ => None,
        }
    };
    let (client, asked) = client(Box::new(answers));
    let seen = observe(&context(client), &run()).await.unwrap();
    let read = asked.lock().unwrap().iter().filter(|path| of(path).is_some()).count();
    assert!(read >= 2, "{:?}", asked.lock().unwrap());
    assert_eq!(seen.points.len(), 1);
    assert!(seen.repositories[0].catalogued.is_err(), "a catalogue that was not whole yet is called whole");
}

#[tokio::test]
async fn a_catalogue_that_is_whole_is_called_whole() {
    let answers = |path: &str, _: &[String]| {
        path.ends_with("recoveryrepositories").then(|| list(json!([repository(true)])))
    };
    let (client, _) = client(Box::new(answers));
    let seen = observe(&context(client), &run()).await.unwrap();
    assert_eq!(seen.repositories[0].catalogued, Ok(()));
}

#[tokio::test]
async fn classes_are_asked_for_by_a_run_that_names_one() {
    for named in [false, true] {
        let answers = |path: &str, _: &[String]| {
            let classes = json!([{"metadata": {"name": "fast"}, "provisioner": "p"}]);
            path.ends_with("storageclasses").then(|| list(classes))
        };
        let (client, asked) = client(Box::new(answers));
        let mut run = run();
        if named {
            run.spec.target.as_mut().unwrap().in_place.as_mut().unwrap().storage_class_name =
                Some("slow".into());
        }
        let seen = observe(&context(client), &run).await.unwrap();
        assert_eq!(seen.storage_classes, named.then(|| vec!["fast".to_owned()]));
        assert_eq!(asked.lock().unwrap().iter().any(|path| path.ends_with("storageclasses")), named);
    }
}

#[tokio::test]
async fn what_nodes_use_is_not_asked_for_at_every_look() {
    let answers = |path: &str, _: &[String]| {
        let used = json!([{"metadata": {"name": "node1"}, "usage": {"cpu": "1", "memory": "1Mi"}}]);
        path.starts_with("/apis/metrics.k8s.io/").then(|| list(used))
    };
    let (client, asked) = client(Box::new(answers));
    let mut ctx = context(client);
    let first = super::super::usage::look(&ctx).await;
    assert!(first.is_ok() && super::super::usage::look(&ctx).await == first);
    assert_eq!(asked.lock().unwrap().len(), 2, "the metrics and the nodes, once");
    ctx.now = || "2026-11-23T09:40:31Z".parse().unwrap();
    assert_eq!(super::super::usage::look(&ctx).await, first);
    assert_eq!(asked.lock().unwrap().len(), 4, "later it may be otherwise");
}
