use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

type Handle = mock::Handle<Request<Body>, Response<Body>>;

/// What the API server keeps of the Lease, with its rule for versions: a write that names another version than the stored
/// one is refused, a write that names none is not.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Option<Value>>>);

impl Store {
    fn answer(&self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        let mut stored = self.0.lock().unwrap();
        let sent: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        match (method, stored.clone()) {
            (&Method::GET, Some(lease)) => (StatusCode::OK, lease),
            (&Method::GET, None) => refusal(404),
            (&Method::POST, Some(_)) => refusal(409),
            (&Method::POST, None) => (StatusCode::CREATED, keep(&mut stored, sent, 1)),
            (&Method::PUT, Some(lease)) => {
                let (ours, theirs) =
                    (&lease["metadata"]["resourceVersion"], &sent["metadata"]["resourceVersion"]);
                if !theirs.is_null() && theirs != ours {
                    return refusal(409);
                }
                let version: u64 = ours.as_str().unwrap().parse().unwrap();
                (StatusCode::OK, keep(&mut stored, sent, version + 1))
            }
            (method, _) => panic!("the Lease is never written by {method}"),
        }
    }

    fn holder(&self) -> String {
        let stored = self.0.lock().unwrap();
        let holder = stored.as_ref().map(|lease| lease["spec"]["holderIdentity"].clone());
        holder.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

fn keep(stored: &mut Option<Value>, mut lease: Value, version: u64) -> Value {
    lease["metadata"]["resourceVersion"] = json!(version.to_string());
    lease["apiVersion"] = json!("coordination.k8s.io/v1");
    lease["kind"] = json!("Lease");
    *stored = Some(lease.clone());
    lease
}

fn refusal(code: u16) -> (StatusCode, Value) {
    let reason = if code == 404 { "NotFound" } else { "Conflict" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": ""});
    (StatusCode::from_u16(code).unwrap(), status)
}

/// Answers requests; `gets` reads are held back until all of them have arrived, so that every candidate decides on the
/// same record.
async fn serve(store: Store, mut handle: Handle, gets: usize) {
    let mut held = Vec::new();
    while let Some((request, reply)) = handle.next_request().await {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let (code, answer) = store.answer(&parts.method, &body);
        let response =
            Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap();
        if parts.method == Method::GET && held.len() < gets {
            held.push((reply, response));
            if held.len() == gets {
                for (reply, response) in std::mem::take(&mut held) {
                    reply.send_response(response);
                }
                return Box::pin(serve(store, handle, 0)).await;
            }
        } else {
            reply.send_response(response);
        }
    }
}

fn cluster(gets: usize) -> (Store, Client) {
    let store = Store::default();
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(serve(store.clone(), handle, gets));
    (store, Client::new(service, "holdfast-system"))
}

fn clock() -> Timestamp {
    "2026-11-23T09:40:00Z".parse().unwrap()
}

fn candidate(client: &Client, identity: &str) -> Candidate {
    Candidate::new(Api::default_namespaced(client.clone()), "holdfast".into(), identity.into(), clock)
}

#[tokio::test]
async fn of_two_candidates_that_make_the_lease_at_once_only_one_leads() {
    let (store, client) = cluster(2);
    let (mut a, mut b) = (candidate(&client, "a"), candidate(&client, "b"));
    let at = Instant::now();
    let (one, two) = tokio::join!(a.attempt(at), b.attempt(at));
    let led = [one.unwrap(), two.unwrap()];
    assert_eq!(led.iter().flatten().count(), 1, "{led:?}");
    assert!(["a", "b"].contains(&store.holder().as_str()));
}

#[tokio::test]
async fn of_two_candidates_that_take_over_the_same_dead_holder_only_one_leads() {
    let (store, client) = cluster(0);
    let mut dead = candidate(&client, "dead");
    assert!(dead.attempt(Instant::now()).await.unwrap().is_some());

    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    // The first two reads are answered one by one, the two that decide are held back until both have arrived.
    tokio::spawn(async move {
        let mut handle = handle;
        for _ in 0..2 {
            let (request, reply) = handle.next_request().await.unwrap();
            let (code, answer) = store.answer(request.method(), &[]);
            reply.send_response(
                Response::builder()
                    .status(code)
                    .body(Body::from(serde_json::to_vec(&answer).unwrap()))
                    .unwrap(),
            );
        }
        serve(store, handle, 2).await;
    });
    let client = Client::new(service, "holdfast-system");
    let (mut a, mut b) = (candidate(&client, "a"), candidate(&client, "b"));
    let start = Instant::now();
    assert_eq!(a.attempt(start).await.unwrap(), None, "the holder may live");
    assert_eq!(b.attempt(start).await.unwrap(), None);
    let late = start + DURATION;
    let (one, two) = tokio::join!(a.attempt(late), b.attempt(late));
    let led = [one.unwrap(), two.unwrap()];
    assert_eq!(led.iter().flatten().count(), 1, "{led:?}");
}

#[tokio::test]
async fn a_holder_is_believed_as_long_as_its_record_changes_whatever_its_clock_says() {
    let (_, client) = cluster(0);
    let (mut holder, mut rival) = (candidate(&client, "a"), candidate(&client, "b"));
    // Its clock stands still, an hour ago for all we know.
    holder.attempt(Instant::now()).await.unwrap();
    let start = Instant::now();
    for seconds in [0, 14, 28, 42] {
        assert_eq!(
            rival.attempt(start + Duration::from_secs(seconds)).await.unwrap(),
            None,
            "after {seconds} s"
        );
        assert!(holder.renew().await.unwrap());
    }
    assert_eq!(
        rival.attempt(start + Duration::from_secs(56)).await.unwrap(),
        None,
        "renewed since the last look"
    );
    assert!(rival.attempt(start + Duration::from_secs(71)).await.unwrap().is_some(), "15 s without a change");
    assert!(!holder.renew().await.unwrap(), "the old holder finds out and stops");
}

#[tokio::test]
async fn every_term_has_a_greater_number_also_after_the_lease_was_deleted() {
    let (store, client) = cluster(0);
    let mut first = candidate(&client, "a");
    let one = first.attempt(Instant::now()).await.unwrap().unwrap();
    // The same pod, its container restarted: at once, and another term.
    let two = candidate(&client, "a").attempt(Instant::now()).await.unwrap().unwrap();
    assert_eq!(two, one + 1);
    first.release().await;
    *store.0.lock().unwrap() = None;
    let mut later = Candidate::new(Api::default_namespaced(client), "holdfast".into(), "c".into(), || {
        "2026-11-23T09:43:00Z".parse().unwrap()
    });
    assert!(later.attempt(Instant::now()).await.unwrap().unwrap() > two);
}

#[tokio::test]
async fn a_released_lease_is_free_at_once() {
    let (store, client) = cluster(0);
    let mut holder = candidate(&client, "a");
    holder.attempt(Instant::now()).await.unwrap();
    holder.release().await;
    assert_eq!(store.holder(), "");
    assert!(candidate(&client, "b").attempt(Instant::now()).await.unwrap().is_some());
}
