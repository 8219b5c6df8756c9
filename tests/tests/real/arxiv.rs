//! The programs of examples/arxiv as they are deployed, beside a real ChromaDB: what they were given outlives their death, and theirs and the
//! database's state agree again whichever of the two came back older.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::apiserver::repository;
use tests::chroma_server::ChromaServer;
use tests::writer::Server;

/// A running program.
pub(crate) struct Service {
    child: Child,
    url: String,
}

impl Service {
    /// Runs a program of the system on a free port, with the settings and the state that lie below `home`, until it answers.
    pub(crate) async fn start(program: &str, home: &Path) -> Service {
        let root = repository();
        let [port] = tests::ports::free().unwrap();
        for directory in ["config", "state"] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        let child = Command::new("/usr/bin/python3")
            .arg(root.join(program))
            .env("PYTHONPATH", root.join("examples/arxiv"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs([("CONFIG", home.join("config")), ("STATE", home.join("state"))])
            .envs([("DOTENV", home.join(".env"))])
            .envs([("HOST", "127.0.0.1"), ("PORT", &port.to_string())])
            .env("SMTP_PORT", fs::read_to_string(home.join("config/SMTP_PORT")).unwrap_or_default())
            .spawn()
            .unwrap();
        let service = Service { child, url: format!("http://127.0.0.1:{port}") };
        until("its health", async || service.get("healthz").await == json!("ok")).await;
        service
    }

    async fn ask(&self, path: &str, body: Option<&Value>) -> Option<(StatusCode, Value)> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/{path}", self.url);
        let request = match body {
            Some(body) => http.post(url).json(body),
            None => http.get(url),
        };
        let answer = request.bearer_auth("sesame").send().await.ok()?;
        Some((answer.status(), answer.json().await.ok()?))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask(path, None).await.map_or(Value::Null, |(_, told)| told)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> u16 {
        self.ask(path, Some(&body)).await.unwrap().0.as_u16()
    }

    async fn papers(&self, papers: std::ops::RangeInclusive<u32>) {
        for n in papers {
            let paper = json!({"id": n, "title": format!("On the number {n}"), "abstract": "It is shown."});
            assert_eq!(self.post("papers", paper).await, 201);
        }
    }

    /// Waits until so many papers lie on both sides.
    async fn agrees(&self, papers: u32) {
        let wanted = json!({"papers": papers, "ingested": papers, "waiting": 0, "hindered": ""});
        until("scholar and ChromaDB to agree", async || self.get("status").await == wanted).await;
    }
}

impl Drop for Service {
    /// As by a power failure.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The state of a service at one instant, copied while it doesn't run.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let done = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success());
}

/// Settings as a mounted ConfigMap has them.
fn set(home: &Path, settings: &[(&str, &str)]) {
    fs::create_dir_all(home.join("config")).unwrap();
    for (name, value) in settings {
        fs::write(home.join("config").join(name), value).unwrap();
    }
}

const SCHOLAR: &str = "examples/arxiv/scholar/scholar.py";

fn scholar_home(dir: &Path) -> PathBuf {
    let home = dir.join("scholar");
    set(&home, &[("COLLECTION", "ai-papers"), ("CHECK_SECONDS", "0.1"), ("ASK_TOKEN", "true")]);
    fs::write(home.join(".env"), "TOKEN=sesame\n").unwrap();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scholar_and_its_database_agree_whichever_comes_back_older() {
    let dir = tempfile::tempdir().unwrap();
    let (home, data) = (scholar_home(dir.path()), dir.path().join("chroma"));
    // Nobody listens there: papers are taken all the same.
    set(&home, &[("CHROMA_URL", "http://127.0.0.1:9")]);
    let scholar = Service::start(SCHOLAR, &home).await;
    scholar.papers(1..=60).await;
    assert_eq!(scholar.get("status").await["waiting"], 60);
    assert_eq!(scholar.ask("query?text=x", None).await.unwrap().0, 503);

    let server = ChromaServer::start(&data).await.unwrap();
    set(&home, &[("CHROMA_URL", server.url())]);
    scholar.agrees(60).await;
    let records = Server::new(std::sync::Arc::new(server.url().to_owned())).unwrap();
    assert_eq!(records.everything("ai-papers").await.unwrap()["7"].document, "On the number 7\nIt is shown.");
    let changed = json!({"id": 7, "title": "On something else entirely"});
    assert_eq!(scholar.post("papers", changed).await, 201);
    scholar.agrees(60).await;
    let nearest = scholar.get("query?n=1&text=something+else+entirely").await;
    assert_eq!((&nearest[0]["id"], nearest.as_array().unwrap().len()), (&json!(7), 1));

    // The database comes back older.
    server.stop().unwrap();
    copy(&data, &dir.path().join("older"));
    let server = ChromaServer::start(&data).await.unwrap();
    set(&home, &[("CHROMA_URL", server.url())]);
    scholar.papers(61..=70).await;
    scholar.agrees(70).await;
    server.stop().unwrap();
    let server = ChromaServer::start(&dir.path().join("older")).await.unwrap();
    set(&home, &[("CHROMA_URL", server.url())]);
    scholar.agrees(70).await;

    // The scholar comes back older.
    drop(scholar);
    copy(&home.join("state"), &dir.path().join("older-state"));
    let scholar = Service::start(SCHOLAR, &home).await;
    scholar.papers(71..=130).await;
    scholar.agrees(130).await;
    let truth = scholar.get("papers").await;
    drop(scholar);
    fs::remove_dir_all(home.join("state")).unwrap();
    copy(&dir.path().join("older-state"), &home.join("state"));
    let scholar = Service::start(SCHOLAR, &home).await;
    scholar.agrees(130).await;
    assert_eq!(scholar.get("papers").await, truth);
    assert_eq!(truth.as_object().unwrap().len(), 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_scholar_takes_no_paper_ingests_those_that_are_here_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let home = scholar_home(dir.path());
    set(&home, &[("CHROMA_URL", "http://127.0.0.1:9"), ("OFFLINE_MODE", "false")]);
    let scholar = Service::start(SCHOLAR, &home).await;
    scholar.papers(1..=5).await;
    let feed = r#"<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>http://arxiv.org/abs/2311.01234v2</id>
        <title>Brought
        by a CronJob</title><summary>x &lt; y</summary></entry></feed>"#;
    let feed_url = format!("file://{}", home.join("config/papers.atom").display());
    set(&home, &[("papers.atom", feed), ("FEED", &feed_url), ("SCHOLAR_URL", &scholar.url)]);
    let fetch = || {
        let fetching = Command::new("/usr/bin/python3")
            .arg(repository().join("examples/arxiv/scholar/fetch.py"))
            .env("PYTHONPATH", repository().join("examples/arxiv"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs([("CONFIG", home.join("config")), ("DOTENV", home.join(".env"))])
            .output()
            .unwrap();
        (fetching.status.success(), String::from_utf8(fetching.stdout).unwrap())
    };

    set(&home, &[("OFFLINE_MODE", "true")]);
    let (ok, said) = fetch();
    assert!(ok && said.contains("offline"), "{said}");
    let (code, sentence) = scholar.ask("papers", Some(&json!({"id": 6, "title": "x"}))).await.unwrap();
    assert!(code == 503 && sentence.as_str().unwrap().contains("OFFLINE_MODE"), "{code}: {sentence}");
    let server = ChromaServer::start(&dir.path().join("chroma")).await.unwrap();
    set(&home, &[("CHROMA_URL", server.url())]);
    scholar.agrees(5).await;
    assert_eq!(scholar.get("query?n=1&text=On+the+number+3+It+is+shown").await[0]["id"], 3);

    set(&home, &[("OFFLINE_MODE", "false")]);
    let (ok, said) = fetch();
    assert!(ok && said.contains("1 papers brought"), "{said}");
    scholar.agrees(6).await;
    assert_eq!(scholar.get("query?n=1&text=Brought+by+a+CronJob").await[0]["id"], 231_101_234);
    fs::write(home.join(".env"), "TOKEN=another\n").unwrap();
    assert_eq!(scholar.post("papers", json!({"id": 6, "title": "x"})).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_keeps_every_answer_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let watched = Service::start(SCHOLAR, &scholar_home(dir.path())).await;
    let home = dir.path().join("monitor");
    let targets = format!("scholar={}/healthz\nnobody=http://127.0.0.1:9/\n", watched.url);
    set(&home, &[("TARGETS", &targets), ("POLL_SECONDS", "0.05")]);
    let program = "examples/arxiv/monitoring/monitor.py";
    let monitor = Service::start(program, &home).await;
    let up = async |monitor: &Service, name: &str| monitor.get("status").await["targets"][name]["up"].clone();
    until("a poll", async || up(&monitor, "scholar").await == true && up(&monitor, "nobody").await == false)
        .await;
    drop(watched);
    until("it to notice", async || up(&monitor, "scholar").await == false).await;
    let before = monitor.get("history").await;
    drop(monitor);
    let monitor = Service::start(program, &home).await;
    let rows = before.as_array().unwrap();
    until("more", async || monitor.get("status").await["newest"].as_u64() > Some(rows.len() as u64 + 4))
        .await;
    let after = monitor.get("history").await;
    let after = after.as_array().unwrap();
    assert_eq!(after[..rows.len()], rows[..]);
    assert!((1..).zip(after).all(|(number, row)| row[0] == number), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailer_keeps_what_can_t_be_sent_through_its_death_and_sends_it_later() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("mailer");
    let [port] = tests::ports::free().unwrap();
    let settings =
        [("SMTP_HOST", "127.0.0.1"), ("SMTP_PORT", &port.to_string()), ("MAIL_FROM", "us@yourorg.com")];
    set(&home, &settings);
    set(&home, &[("RETRY_SECONDS", "0.1"), ("RETRY_SECONDS_MOST", "0.2")]);
    let (program, sink) = ("examples/arxiv/email/mailer.py", "e2e/src/arxiv/sink.py");
    let mailer = Service::start(program, &home).await;
    let message = |to: &str, subject: &str| json!({"to": to, "subject": subject, "text": "Look at it.\n.\n"});
    for subject in ["one", "two"] {
        assert_eq!(mailer.post("messages", message("admin@yourorg.com", subject)).await, 202);
    }
    assert_eq!(mailer.post("messages", message("admin@yourorg.com\nBcc: all", "no")).await, 400);
    until("the trouble to be told", async || mailer.get("status").await["hindered"] != "").await;
    let queue = mailer.get("queue").await;
    drop(mailer);

    let server = Service::start(sink, &home).await;
    assert_eq!(server.post("refusing", json!(true)).await, 200);
    let mailer = Service::start(program, &home).await;
    let hindered = async || mailer.get("status").await["hindered"].to_string().contains("451");
    until("it to be put off", hindered).await;
    assert_eq!(mailer.get("queue").await, queue);
    assert_eq!(server.post("refusing", json!(false)).await, 200);
    let sent = json!({"queued": 0, "sent": 2, "refused": 0, "hindered": ""});
    until("all to be sent", async || mailer.get("status").await == sent).await;
    // One that is put off holds back no other, so their order is not promised.
    let ids = |list: &Value, around: &dyn Fn(&str) -> String| {
        let ids = list.as_array().unwrap().iter().map(|mail| around(mail["id"].as_str().unwrap()));
        ids.collect::<std::collections::BTreeSet<String>>()
    };
    let mails = server.get("mails").await;
    assert_eq!(mails.as_array().unwrap().len(), 2, "{mails}");
    let message_id = |id: &str| format!("<{id}@yourorg.com>");
    assert_eq!(ids(&mails, &str::to_owned), ids(&queue, &message_id));
}
