//! What the `holdfast` program does alone, with the bucket and the key and no cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crds::RecoveryPoint;
use tests::writer::{Address, Ledger, Server};

use super::holds;
use crate::program::{Printed, Program};
use crate::stage::Stage;
use crate::wait;

/// Runs a command on the story's repository, which must succeed; returns what it prints.
pub async fn run(stage: &Stage, arguments: &[&str]) -> Result<String> {
    run_on(stage, &stage.prefix, arguments).await
}

/// The same on a repository at another prefix.
pub async fn run_on(stage: &Stage, prefix: &str, arguments: &[&str]) -> Result<String> {
    let (holdfast, arguments) = on_repository(stage, prefix, arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    holdfast.run(&arguments, None).await
}

/// Runs a command on the story's repository; returns whatever came out.
pub async fn attempt(stage: &Stage, arguments: &[&str]) -> Result<Printed> {
    let (holdfast, arguments) = on_repository(stage, &stage.prefix, arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    holdfast.attempt(&arguments, None).await
}

fn on_repository(stage: &Stage, prefix: &str, arguments: &[&str]) -> (Program, Vec<String>) {
    let s3 = &stage.place.s3;
    let url = format!("s3://{}/{prefix}", s3.bucket);
    let holdfast = stage
        .place
        .holdfast
        .clone()
        .with("AWS_ACCESS_KEY_ID", &s3.writer.access_key)
        .with("AWS_SECRET_ACCESS_KEY", &s3.writer.secret_key)
        .with("AWS_REGION", &s3.region)
        .with("AWS_ENDPOINT_URL", &s3.endpoint_here)
        .with("HOLDFAST_PASSWORD", &stage.key);
    let mut all: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    all.splice(1..1, ["--repo".to_owned(), url]);
    (holdfast, all)
}

/// No cluster, only the binary, the bucket and the key: the point comes back on this machine and a ChromaDB serves it.
pub async fn restored(stage: &Stage, point: &RecoveryPoint, ledger: &Ledger) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("holdfast-e2e-{}-{}", stage.place.token, stage.story));
    let keep = Removed(directory.clone());
    std::fs::create_dir_all(&directory)?;
    let target = directory.join("data");
    let into = target.to_string_lossy();
    let printed = run(stage, &["restore", "--point", &point.spec.id, "--target", &into]).await?;
    stage.say(format!("the CLI: {}", printed.trim().replace('\n', "; ")));
    let port = free_port()?;
    let log = std::fs::File::create(directory.join("chroma.log"))?;
    let mut server = stage
        .place
        .chroma
        .attendant()
        .args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"])
        .arg(&target)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("ChromaDB can't be started on this machine")?;
    let address: Arc<dyn Address> = Arc::new(format!("http://127.0.0.1:{port}"));
    let client = Server::new(address.clone())?;
    let served = async {
        wait::answer("ChromaDB over the restored directory", Duration::from_secs(40), || client.heartbeat())
            .await?;
        holds(&address, ledger, point).await
    };
    let found = served.await;
    server.kill().await?;
    let found = match found {
        Ok(found) => found,
        Err(error) => bail!("{error:#}; its log: {}", std::fs::read_to_string(directory.join("chroma.log"))?),
    };
    drop(keep);
    stage.say(format!(
        "{} records equal the ledger, {} of {} requests in between are in",
        found.records(),
        found.included,
        found.in_between
    ));
    Ok(())
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A directory that goes with this value.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
