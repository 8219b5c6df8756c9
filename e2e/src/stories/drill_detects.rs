//! Drills that must fail: a point whose objects are damaged, one that is older than was promised, and a server that is up and serves nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::run::Verdict;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::loss::Written;
use crate::drill::{Execution, again, drill, execute, quiet, swept};
use crate::enforcer::Enforcer;
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const CORRUPTION: Story = Story {
    name: "drill-detects-corruption",
    promise: "a drill of a point whose objects in the bucket are damaged fails and says so; one of a good point passes",
    alone: false,
    play: |stage| corruption(stage).boxed(),
};

pub const STALE: Story = Story {
    name: "drill-detects-stale-point",
    promise: "a drill whose point is older than was promised fails, however well it was restored",
    alone: false,
    play: |stage| stale(stage).boxed(),
};

pub const SILENT: Story = Story {
    name: "drill-detects-silent-chroma",
    promise: "a drill of a server that answers its heartbeat and serves nothing fails",
    alone: false,
    play: |stage| silent(stage).boxed(),
};

/// A database with a point, isolated drills, and a drill of it.
async fn first(stage: &Stage, seed: u64, more: Value) -> Result<(Enforcer, Execution)> {
    let enforcer = Enforcer::start(stage).await?;
    Written::captured(stage, seed, 1).await?;
    quiet(stage, CHROMADB).await?;
    Ok((enforcer, execute(stage, &drill("database", "DatabaseRecovery", more)).await?))
}

/// Which of the reasons a drill tells hangs on what it comes upon first.
fn failed(done: &Execution, reasons: &[&str]) -> Result<()> {
    let result = &done.result;
    ensure!(result.verdict == Verdict::Failed, "{:?}: {}", result.verdict, result.message);
    ensure!(reasons.contains(&result.reason.as_str()), "{}: {}", result.reason, result.message);
    Ok(())
}

async fn corruption(stage: &Stage) -> Result<()> {
    let (_enforcer, done) = first(stage, 73, json!({})).await?;
    done.is(Verdict::Passed, "Passed")?;
    swept(stage, &done.result.run).await?;
    stage.bucket().await?.damage("packs/").await?;
    stage.say("the packs in the bucket are damaged");
    let done = again(stage, "database").await?;
    failed(&done, &["PointUnreadable", "IntegrityMismatch"])?;
    swept(stage, &done.result.run).await.map(drop)
}

async fn stale(stage: &Stage) -> Result<()> {
    let (_enforcer, done) = first(stage, 74, json!({"objectives": {"rpo": "1s"}})).await?;
    done.is(Verdict::Failed, "PointTooOld")?;
    ensure!(done.run.verdict == Some(Verdict::Passed), "it was not restored well: {:?}", done.run.verdict);
    ensure!(done.result.message.contains("restored and validated well, but"), "{}", done.result.message);
    let missed = wait::condition(&done.drill.conditions, "ObjectivesMet");
    ensure!(missed.is_some_and(|found| found.reason == "RPOMissed"), "{missed:?}");
    swept(stage, &done.result.run).await.map(drop)
}

/// A server that says it is alive, and nothing else.
const ALIVE: &str = "
from http.server import BaseHTTPRequestHandler, HTTPServer
class Alive(BaseHTTPRequestHandler):
    def do_GET(self):
        alive = self.path.endswith('/heartbeat')
        self.send_response(200 if alive else 503)
        self.end_headers()
        self.wfile.write(b'{\"nanosecond heartbeat\": 1}' if alive else b'{}')
    do_POST = do_GET
HTTPServer(('', 8000), Alive).serve_forever()
";

async fn silent(stage: &Stage) -> Result<()> {
    let (_enforcer, done) = first(stage, 75, json!({"deadline": "5m"})).await?;
    done.is(Verdict::Passed, "Passed")?;
    swept(stage, &done.result.run).await?;
    // What a drill starts is what the newest point holds: by now a server that only seems to live.
    let container = json!({"name": CHROMADB, "command": ["python3", "-c", ALIVE]});
    let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
    stage.kubectl(&["patch", "statefulset", CHROMADB, "--type=strategic", "--patch", &change]).await?;
    wait::object(&stage.api::<StatefulSet>(), CHROMADB, "the other server", PATIENCE, |set| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        let rolled = status.current_revision == status.update_revision && status.ready_replicas == Some(1);
        Ok((rolled && status.observed_generation == set.and_then(|set| set.metadata.generation))
            .then_some(()))
    })
    .await?;
    stage.patch::<crds::BackupPolicy>(CHROMADB, &json!({"spec": {"mode": "Active"}})).await?;
    stage.armed(CHROMADB).await?;
    stage.capture(CHROMADB).await?;
    quiet(stage, CHROMADB).await?;
    let done = tokio::time::timeout(Duration::from_secs(400), again(stage, "database")).await??;
    failed(&done, &["ValidationFailed", "NotServing"])?;
    swept(stage, &done.result.run).await.map(drop)
}
