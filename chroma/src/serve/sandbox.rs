//! A server of one's own on loopback, over a directory that may be spoiled. Some damage makes it ignore a request to end, so it is
//! never asked. It ends when it is dropped, hence also when whoever waits for it is interrupted; what only a `kill -9` of this
//! process leaves is a server over a copy in the scratch space.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::{ServeError, ServeOptions};
use crate::check::{Finding, Problem};
use crate::client::{Auth, Client};

/// Between two looks whether it answers.
const PAUSE: Duration = Duration::from_millis(50);
/// How often another port is tried when somebody took the one that was free a moment ago.
const PORTS: u32 = 3;
/// How much of its log is told.
const LAST_WORDS: usize = 300;

/// A running server.
pub(super) struct Sandbox {
    child: Child,
    url: String,
    log: PathBuf,
}

impl Sandbox {
    /// Starts a server over `data` and waits until it answers. The inner error is a sentence: what it did instead.
    pub(super) async fn start(
        data: &Path,
        options: &ServeOptions,
    ) -> Result<Result<Self, String>, ServeError> {
        let log = options.scratch.join("server.log");
        let mut last = String::new();
        for _ in 0..PORTS {
            let mut sandbox = Self::spawn(data, &log, &options.program)?;
            match sandbox.answers(options.start).await? {
                Ok(()) => return Ok(Ok(sandbox)),
                Err(why) => last = why,
            }
            sandbox.end().await;
            if !last.contains("ddress already in use") {
                break;
            }
        }
        Ok(Err(last))
    }

    fn spawn(data: &Path, log: &Path, program: &Path) -> Result<Self, ServeError> {
        let cannot = |source| ServeError::Program { program: program.to_owned(), source };
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(cannot)?.port();
        let out = File::create(log).map_err(cannot)?;
        let child = Command::new(program)
            .args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(cannot)?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { child, url: format!("http://127.0.0.1:{port}"), log: log.to_owned() })
    }

    async fn answers(&mut self, limit: Duration) -> Result<Result<(), String>, ServeError> {
        let client = Client::new(&self.url, Auth::None, limit)?;
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(Err(format!("the server ends at its start ({status}){}", self.log_end())));
            }
            if client.heartbeat().await.is_ok() {
                return Ok(Ok(()));
            }
            if begun.elapsed() > limit {
                return Ok(Err(format!("the server does not answer within {limit:?}{}", self.log_end())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Where it answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Adds what the server said last to a finding about its answers.
    pub(super) fn last_words(&self, finding: &mut Finding) {
        if finding.problem == Problem::NotServing {
            finding.what.push_str(&self.log_end());
        }
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS)..]).trim().to_owned();
        if text.is_empty() { String::new() } else { format!("; it said: {}", text.replace('\n', " ")) }
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn end(mut self) {
        // It fails only where it has ended already.
        let _ = self.child.kill().await;
    }
}
