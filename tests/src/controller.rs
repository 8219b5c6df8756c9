//! The real controller beside a real API server, without a cluster: it sees objects and writes their status, and nothing that it starts runs.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::apiserver::ApiServer;
use crate::{ports, shell};

/// A running controller. It ends with this value.
#[derive(Debug)]
pub struct Controller {
    process: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl Controller {
    /// Starts one that acts in a server whose namespace `system` exists, and waits until it leads.
    ///
    /// # Errors
    /// When it does not lead within a minute; the error has its log.
    pub fn start(server: &ApiServer, system: &str) -> Result<Self> {
        let [port] = ports::free()?;
        let log = tempfile::NamedTempFile::new()?;
        let process = Command::new(shell::built("holdfast-controller"))
            .args(["--mover-image", "holdfast:test", "--namespace", system, "--pod-name", "test"])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .env("KUBECONFIG", server.kubeconfig())
            .stdin(Stdio::null())
            .stdout(File::create(log.path())?)
            .stderr(Stdio::inherit())
            .spawn()
            .context("the controller can't be started")?;
        let controller = Self { process, port, log };
        controller.wait(|text| text.lines().any(|line| line == "holdfast_leader 1"))?;
        Ok(controller)
    }

    /// What it answers at `/metrics`, as anybody gets it who asks for nothing particular.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: controller\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{head}");
        }
        Ok(body.to_owned())
    }

    /// Waits until what is scraped is so, a minute at most, and returns it.
    ///
    /// # Errors
    /// When it does not become so; the error has what was scraped last, and the log.
    pub fn wait(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let began = Instant::now();
        loop {
            let scraped = self.scrape();
            if let Ok(text) = &scraped
                && wanted(text)
            {
                return Ok(text.clone());
            }
            if began.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
                bail!("it does not become so: {scraped:?}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
