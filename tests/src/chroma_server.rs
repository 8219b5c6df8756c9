//! A real ChromaDB server on loopback, over a data directory of the test's choice. It ends with the test that started it,
//! however that ends.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The release that the tests run.
pub const VERSION: &str = "1.5.9";

const TENANT: &str = "default_tenant";
const DATABASE: &str = "default_database";

/// A running server.
#[derive(Debug)]
pub struct ChromaServer {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl ChromaServer {
    /// Starts a server that persists to `data`, and returns once it answers. Fails, saying how to get it, when Chroma isn't set up.
    pub async fn start(data: &Path) -> Result<ChromaServer> {
        ChromaServer::start_release(VERSION, data).await
    }

    /// The same of another release.
    pub async fn start_release(version: &str, data: &Path) -> Result<ChromaServer> {
        ChromaServer::start_with(version, data, &[]).await
    }

    /// The same with more in its environment, where servers before 1.0 take their settings from.
    pub async fn start_with(version: &str, data: &Path, env: &[(&str, &str)]) -> Result<ChromaServer> {
        let program = program_of(version)?;
        let data = std::path::absolute(data)?;
        let [port] = crate::ports::free()?;
        let child = Command::new(&program)
            // A relative path would be taken from wherever the server starts.
            .args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"])
            .arg(&data)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build()?;
        let mut server = ChromaServer { child, url: format!("http://127.0.0.1:{port}"), http };
        server.wait_until_it_answers().await?;
        Ok(server)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the Chroma server ended at its start: {status}");
            }
            // 0.4 has the first version of the API alone.
            for version in ["v2", "v1"] {
                let asked = self.http.get(format!("{}/api/{version}/heartbeat", self.url)).send().await;
                if asked.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(());
                }
            }
            ensure!(begun.elapsed() < PATIENCE, "the Chroma server did not answer within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has the newest server migrate `data`, and end. 1.x that has just migrated files of 0.4 dies of its first questions one time in ten
    /// (`ColumnNotFound("bool_value")`, a statement of before the migration), and never again once it was restarted.
    pub async fn migrate(data: &Path) -> Result<()> {
        ChromaServer::start(data).await?.stop()
    }

    /// Ends the server as Kubernetes would and waits until it is gone.
    pub fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Makes a collection and returns its id.
    pub async fn create(&self, name: &str, space: &str, sync_threshold: u32) -> Result<String> {
        let body = json!({
            "name": name,
            "configuration": { "hnsw": { "space": space, "sync_threshold": sync_threshold } },
        });
        let made = self.post("collections", &body).await?;
        Ok(made["id"].as_str().context("the new collection has no id")?.to_owned())
    }

    /// Sends a body to a path below the default database, such as `collections/ID/add`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/api/v2/tenants/{TENANT}/databases/{DATABASE}/{path}", self.url);
        let answer = self.http.post(&url).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} is answered with {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends a body to a path below `/api/v2`.
    pub async fn post_anywhere(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.http.post(format!("{}/api/v2/{path}", self.url)).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} is answered with {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that `e2e/cluster/python.sh chroma` makes. Fails, saying how to get it, when it isn't there.
pub fn program() -> Result<PathBuf> {
    program_of(VERSION)
}

fn program_of(version: &str) -> Result<PathBuf> {
    let cache = match env::var_os("HOLDFAST_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/holdfast"),
    };
    let program = cache.join("bin").join(format!("chroma-{version}"));
    ensure!(
        program.is_file(),
        "ChromaDB {version} is not at {}. Set it up with: e2e/cluster/python.sh chromadb older",
        program.display()
    );
    Ok(program)
}
