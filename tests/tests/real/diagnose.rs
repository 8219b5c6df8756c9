//! What a mover says of endpoints, on the loopback: one that answers, one that refuses, one that is silent, and a name that nobody has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crds::job::{Diagnosed, Report, Request};
use crds::policy::Endpoint;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::pod::Pod;

/// A listener whose queue is full, with those who fill it: the kernel answers nobody else.
async fn silent() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
    while let Ok(connected) = timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (address, waiting, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_answers_when_a_connection_is_made_and_never_otherwise() {
    let there = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let (silent, _waiting, _listener) = silent().await;
    let endpoint = |host: &str, port| Endpoint { host: host.into(), port };
    let request = Request::Diagnose {
        endpoints: vec![
            endpoint("127.0.0.1", there.local_addr().unwrap().port()),
            endpoint("127.0.0.1", gone.port()),
            endpoint("127.0.0.1", silent.port()),
            endpoint("archive.invalid", 443),
        ],
        patience: None,
    };
    let pod = Pod::with_directory();
    let (report, code) = tokio::task::spawn_blocking(move || pod.run(&request)).await.unwrap();
    let (Report::Diagnosed(Diagnosed { endpoints, .. }), 0) = (&report, code) else { panic!("{report:?}") };
    let answers: Vec<bool> = endpoints.iter().map(|endpoint| endpoint.answers).collect();
    assert_eq!(answers, [true, false, false, false], "{endpoints:#?}");
    assert_eq!(endpoints[0].addresses, ["127.0.0.1"]);
    for (endpoint, said) in endpoints.iter().zip([
        "connected in",
        "refused",
        "no connection within 5s",
        "the name does not resolve",
    ]) {
        assert!(endpoint.message.contains(said), "{endpoint:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_to_answer_it_is_waited_until_none_does() {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (always, late) = (bind().await.unwrap(), bind().await.unwrap());
    let look = |listener: &TcpListener, seconds| {
        let port = listener.local_addr().unwrap().port();
        let endpoints = vec![Endpoint { host: "127.0.0.1".into(), port }];
        let patience = Some(jiff::SignedDuration::from_secs(seconds));
        let request = Request::Diagnose { endpoints, patience };
        let pod = Pod::with_directory();
        tokio::task::spawn_blocking(move || pod.run(&request).0)
    };
    let answers = |report: Report| match report {
        Report::Diagnosed(Diagnosed { endpoints, .. }) => endpoints[0].answers,
        other => panic!("{other:?}"),
    };
    assert!(answers(look(&always, 1).await.unwrap()), "it still answers when the patience is over");
    let looking = look(&late, 60);
    // Denied once it was reached, as by a network that is a moment late.
    let _ = late.accept().await.unwrap();
    drop(late);
    assert!(!answers(looking.await.unwrap()));
}
