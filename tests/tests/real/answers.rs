//! Whether Services answer, as the real mover sees it: one that answers, one that answers with something else, one that comes up late, one
//! that nobody is behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use crds::{
    job::{Answer, CheckResult, Report, Request},
    policy::Endpoint,
    run::Verdict,
};
use jiff::SignedDuration;
use tests::ports;

use super::pod::Pod;

/// Answers every request with this status line, the first ones with another.
fn server(first: usize, unready: &'static str, ready: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let status = if n < first { unready } else { ready };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: /elsewhere\r\nconnection: close\r\n\r\n"
            );
        }
    });
    port
}

fn answer(name: &str, port: u16, patience: Duration) -> Answer {
    let patience = SignedDuration::try_from(patience).unwrap();
    Answer { name: name.into(), url: format!("http://127.0.0.1:{port}/healthz"), status: 200, patience }
}

#[test]
fn each_is_asked_until_it_answers_as_it_should_or_its_time_is_over() {
    let pod = Pod::with_directory();
    let (long, short) = (Duration::from_secs(60), Duration::from_secs(1));
    let asked = vec![
        answer("ready", server(0, "", "200 OK"), long),
        answer("late", server(3, "503 Service Unavailable", "200 OK"), long),
        answer("moved", server(0, "", "302 Found"), short),
        answer("broken", server(0, "", "500 Internal Server Error"), short),
        answer("nobody", ports::free::<1>().unwrap()[0], short),
    ];
    let endpoint = |host: &str, port| Endpoint { host: host.into(), port };
    let silent = ports::free::<1>().unwrap()[0];
    let endpoints = vec![
        endpoint("127.0.0.1", server(0, "", "200 OK")),
        endpoint("localhost", silent),
        endpoint("nowhere.invalid", 443),
    ];
    let Report::Validated { checks } =
        pod.run(&Request::Check { answers: asked, mails: vec![], endpoints }).0
    else {
        panic!()
    };
    let of = |name: &str| -> CheckResult { checks.iter().find(|check| check.name == name).unwrap().clone() };
    let network = of("network");
    assert_eq!((network.verdict, network.expected.as_str()), (Verdict::Failed, "3 reached by name"));
    let names = format!("not localhost:{silent}, nowhere.invalid:443: 127.0.0.1: ");
    assert!(network.observed.starts_with(&names), "{network:?}");
    for name in ["ready", "late"] {
        assert_eq!(of(name).verdict, Verdict::Passed, "{checks:?}");
        assert!(of(name).observed.starts_with("200 in "), "{checks:?}");
    }
    for (name, observed) in [("moved", "302"), ("broken", "500"), ("nobody", "onnect")] {
        assert_eq!((of(name).verdict, of(name).expected.as_str()), (Verdict::Failed, "200"), "{checks:?}");
        assert!(of(name).observed.contains(observed), "{name}: {checks:?}");
    }
}
