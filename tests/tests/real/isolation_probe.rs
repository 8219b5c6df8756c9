//! A probe of an isolation, on the loopback: what connected before, and what still does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crds::job::{IsolationProbed, Report, Request};
use crds::policy::Endpoint;
use crds::run::HeldConnection;
use tokio::net::{TcpListener, TcpStream};

use super::pod::Pod;

/// Accepts what comes, and keeps it, until it is dropped.
async fn server_of_nothing() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_connected_before_and_what_still_does() {
    let (api, api_task) = server_of_nothing().await;
    let (service, service_task) = server_of_nothing().await;
    let free = || async { TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap() };
    let (gone, port) = (free().await, free().await.port());
    let endpoint = |address: SocketAddr| Endpoint { host: address.ip().to_string(), port: address.port() };
    let request = |control: bool, seconds: i64| Request::ProbeIsolation {
        endpoints: vec![endpoint(service), endpoint(gone)],
        ready_on: control.then_some(port),
        patience: jiff::SignedDuration::from_secs(seconds),
    };
    let probe = move |request: Request| async move {
        let pod = Pod::with_directory();
        let run = move || {
            let mut command = pod.command(&request);
            command.env("KUBERNETES_SERVICE_HOST", api.ip().to_string());
            command.env("KUBERNETES_SERVICE_PORT", api.port().to_string());
            pod.run_with(command)
        };
        let (report, code) = tokio::task::spawn_blocking(run).await.unwrap();
        let (Report::IsolationProbed(probed), 0) = (report, code) else { panic!("{code}") };
        probed
    };
    // Nothing is cut off: it says so when its patience is over, and its connection goes on.
    let probed = probe(request(true, 2)).await;
    let both = vec![api.to_string(), service.to_string()];
    let wanted = IsolationProbed {
        connected: both.clone(),
        open: both,
        held: HeldConnection::StillOpen,
        message: String::new(),
    };
    assert_eq!(probed, wanted);
    // Everything is, once it is ready.
    let probing = tokio::spawn(probe(request(true, 60)));
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        assert!(!probing.is_finished(), "it ended before it was ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    api_task.abort();
    service_task.abort();
    let probed = probing.await.unwrap();
    assert_eq!((probed.connected.len(), probed.open.len()), (2, 0), "{probed:?}");
    // Where nothing connects before, nothing is proved, and why is said.
    let probed = probe(request(true, 60)).await;
    assert!(probed.connected.is_empty() && probed.message.contains("refused"), "{probed:?}");
}
