//! Servers that want a credential, as ChromaDB before 1.0 could: a point is held against each with the right one, a wrong one, with none
//! and with a Secret that is not there; and against a newer server over the same files, which asks for none and says nothing of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::{fs, path::Path, sync::Arc};

use crds::{
    job::{CREDENTIAL_WANTED, CheckResult, FailureReason, REVOKED_REFUSED, Report, Request},
    policy::ServerAuth,
    run::Verdict,
};
use serde_json::json;
use tests::{
    chroma_server::{ChromaServer, VERSION},
    writer::{Load, Settings, Writer},
};

use super::{
    chroma_capture::copy,
    pod::{Pod, chroma},
};

const TOKEN: &str = "a-token-that-nobody-may-read";
/// Without a colon: 0.4 takes what stands behind one for nothing that it knows.
const PASSWORD: &str = "pass word";
/// Its hash as `htpasswd -nbB curator` writes it.
const HTPASSWD: &str = "curator:$2b$04$1okb0nWIegc92KqK0RxZdOIOMX./FXpCdu05J4PP0l0K1AfGQ2kyC\n";

/// A way of asking, and what the server is started with that wants it.
struct Way {
    asked: ServerAuth,
    given: Vec<(&'static str, String)>,
    server: Vec<(&'static str, String)>,
}

fn auth(value: serde_json::Value) -> ServerAuth {
    serde_json::from_value(value).unwrap()
}

fn ways(release: &str, htpasswd: &Path) -> Vec<Way> {
    let old = release.starts_with("0.4");
    let class =
        |old_name: &str, new_name: &str| format!("chromadb.auth.{}", if old { old_name } else { new_name });
    let provider = if old { "CHROMA_SERVER_AUTH_PROVIDER" } else { "CHROMA_SERVER_AUTHN_PROVIDER" };
    let credentials = if old { "CHROMA_SERVER_AUTH_CREDENTIALS" } else { "CHROMA_SERVER_AUTHN_CREDENTIALS" };
    let file =
        if old { "CHROMA_SERVER_AUTH_CREDENTIALS_FILE" } else { "CHROMA_SERVER_AUTHN_CREDENTIALS_FILE" };
    let header =
        if old { "CHROMA_SERVER_AUTH_TOKEN_TRANSPORT_HEADER" } else { "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER" };
    let of_file = |kind: &str| {
        old.then(|| ("CHROMA_SERVER_AUTH_CREDENTIALS_PROVIDER", format!("chromadb.auth.{kind}")))
    };
    let token = || {
        let class = class("token.TokenAuthServerProvider", "token_authn.TokenAuthenticationServerProvider");
        let mut env = vec![(provider, class), (credentials, TOKEN.to_owned())];
        env.extend(of_file("token.TokenConfigServerAuthCredentialsProvider"));
        env
    };
    let mut with_header = token();
    with_header.push((header, if old { "X_CHROMA_TOKEN" } else { "X-Chroma-Token" }.to_owned()));
    let class = class("basic.BasicAuthServerProvider", "basic_authn.BasicAuthenticationServerProvider");
    let mut basic = vec![(provider, class), (file, htpasswd.display().to_string())];
    basic.extend(of_file("providers.HtpasswdFileServerAuthCredentialsProvider"));
    // A Secret that was made from a file ends in a newline.
    let given = || vec![("HOLDFAST_SERVER_TOKEN", format!("{TOKEN}\n"))];
    vec![
        Way {
            asked: auth(json!({"tokenSecretRef": {"name": "chromadb-auth"}})),
            given: given(),
            server: token(),
        },
        Way {
            asked: auth(
                json!({"tokenSecretRef": {"name": "chromadb-auth"}, "tokenHeader": "X-Chroma-Token"}),
            ),
            given: given(),
            server: with_header,
        },
        Way {
            asked: auth(json!({"basicSecretRef": {"name": "chromadb-auth"}})),
            given: vec![
                ("HOLDFAST_SERVER_USER", "curator".to_owned()),
                ("HOLDFAST_SERVER_PASSWORD", PASSWORD.to_owned()),
            ],
            server: basic,
        },
    ]
}

/// Asks as a pod does that has these variables. None of the secrets is in what it prints or reports.
fn ask(pod: &Pod, request: &Request, given: &[(&'static str, String)]) -> Report {
    let mut command = pod.command(request);
    command.envs(given.iter().map(|(name, value)| (name, value)));
    let _ = fs::remove_file(pod.log());
    let output = command.output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push_str(&fs::read_to_string(pod.log()).unwrap());
    assert!(!said.contains(TOKEN) && !said.contains(PASSWORD), "{said}");
    pod.report()
}

fn passed(report: Report) -> Vec<CheckResult> {
    let Report::Validated { checks } = report else { panic!("{report:?}") };
    let wrong: Vec<_> = checks
        .iter()
        .filter(|check| check.verdict != Verdict::Passed && check.name != CREDENTIAL_WANTED)
        .collect();
    assert!(wrong.is_empty() && checks.len() >= 5, "{checks:?}");
    checks
}

fn refused(report: &Report, reason: FailureReason, words: &[&str]) {
    let Report::Failed(failure) = report else { panic!("{report:?}") };
    assert_eq!(failure.reason, reason, "{failure:?}");
    for word in words.iter().chain(&["spec.component.chromaDB.auth"]) {
        assert!(failure.message.contains(word), "{failure:?}");
    }
}

/// The variable with what it was before it was replaced.
fn before(name: &str) -> &'static str {
    match name {
        "HOLDFAST_SERVER_TOKEN" => "HOLDFAST_REVOKED_TOKEN",
        "HOLDFAST_SERVER_USER" => "HOLDFAST_REVOKED_USER",
        _ => "HOLDFAST_REVOKED_PASSWORD",
    }
}

/// The same after a run has replaced the credential.
fn replaced(mut request: Request) -> Request {
    if let Request::Validate { revoked, .. } = &mut request {
        *revoked = Some("hf-revoked-u-1".to_owned());
    }
    request
}

async fn validated(release: &str) {
    let pod = Pod::with_directory();
    let server = ChromaServer::start_release(release, &pod.volume()).await.unwrap();
    let load = Load { sync_threshold: 40, settings: Settings::Metadata, ..Load::synthetic(31, 2, 16) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(40, std::time::Duration::from_secs(60)).await.unwrap();
    writer.stop().await.unwrap();
    pod.run(&pod.probe());
    let captured = pod.captured("first");
    server.stop().unwrap();
    assert_eq!(chroma(&captured).collection_count, 2);

    let htpasswd = pod.root.path().join("htpasswd");
    fs::write(&htpasswd, HTPASSWD).unwrap();
    let request = |url: &str, auth: Option<&ServerAuth>| Request::Validate {
        repository: pod.access(),
        point: captured.point.clone(),
        url: url.to_owned(),
        auth: auth.cloned(),
        revoked: None,
        counts: vec![],
        queries: vec![],
        mails: vec![],
        answers: vec![],
        endpoints: vec![],
    };
    let copied = || {
        let data = tempfile::tempdir().unwrap();
        copy(&pod.volume(), data.path());
        data
    };
    for Way { asked, given, server } in ways(release, &htpasswd) {
        let data = copied();
        let env: Vec<(&str, &str)> = server.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = ChromaServer::start_with(release, data.path(), &env).await.unwrap();
        let checks = passed(ask(&pod, &request(server.url(), Some(&asked)), &given));
        let wanted = checks.iter().find(|check| check.name == CREDENTIAL_WANTED).unwrap();
        assert_eq!(wanted.verdict, Verdict::Passed, "{wanted:?}");
        let none = ask(&pod, &request(server.url(), None), &given);
        refused(&none, FailureReason::ServerAccessDenied, &["wants a credential"]);
        let wrong: Vec<_> = given.iter().map(|(name, _)| (*name, "another".to_owned())).collect();
        let wrong = ask(&pod, &request(server.url(), Some(&asked)), &wrong);
        refused(&wrong, FailureReason::ServerAccessDenied, &["chromadb-auth"]);
        let missing = ask(&pod, &request(server.url(), Some(&asked)), &[]);
        refused(&missing, FailureReason::CredentialsMissing, &["chromadb-auth", "doesn't exist"]);
        let after = replaced(request(server.url(), Some(&asked)));
        let proof = |old: &[(&'static str, String)]| {
            let given: Vec<_> = given.iter().chain(old).cloned().collect();
            let Report::Validated { checks } = ask(&pod, &after, &given) else { panic!("no checks") };
            checks.into_iter().find(|check| check.name == REVOKED_REFUSED).unwrap()
        };
        let old = |value: &str| -> Vec<(&'static str, String)> {
            given.iter().map(|(name, _)| (before(name), value.to_owned())).collect()
        };
        // What the server was told of is taken, what it was before is not.
        let dead = proof(&old("what-it-was-before"));
        assert_eq!(dead.verdict, Verdict::Passed, "{dead:?}");
        assert!(dead.observed.starts_with("status 40"), "{dead:?}");
        // A server that nobody told of the new one takes the old one still.
        let same: Vec<_> = given.iter().map(|(name, value)| (before(name), value.clone())).collect();
        let alive = proof(&same);
        assert_eq!(alive.verdict, Verdict::Failed, "{alive:?}");
        let unknown = proof(&[]);
        assert_eq!(unknown.verdict, Verdict::Inconclusive, "{unknown:?}");
        server.stop().unwrap();
    }
    // The newest server is given the same settings and ignores them.
    let (data, mut ways) = (copied(), ways(release, &htpasswd));
    let Way { asked, given, server } = ways.remove(0);
    let env: Vec<(&str, &str)> = server.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ChromaServer::migrate(data.path()).await.unwrap();
    let server = ChromaServer::start_with(VERSION, data.path(), &env).await.unwrap();
    let checks = passed(ask(&pod, &request(server.url(), Some(&asked)), &given));
    let wanted = checks.iter().find(|check| check.name == CREDENTIAL_WANTED).unwrap();
    assert_eq!(wanted.verdict, Verdict::Skipped, "{wanted:?}");
    assert!(wanted.observed.contains("everybody is answered"), "{wanted:?}");
    // So what was replaced is taken by it as anything is.
    let old = [given, vec![("HOLDFAST_REVOKED_TOKEN", "what-it-was-before".to_owned())]].concat();
    let report = ask(&pod, &replaced(request(server.url(), Some(&asked))), &old);
    let Report::Validated { checks } = report else { panic!("{report:?}") };
    let alive = checks.iter().find(|check| check.name == REVOKED_REFUSED).unwrap();
    assert_eq!(alive.verdict, Verdict::Failed, "{alive:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_0_4_24_is_asked_with_a_token_or_a_password() {
    validated("0.4.24").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_0_6_3_is_asked_with_a_token_or_a_password() {
    validated("0.6.3").await;
}
