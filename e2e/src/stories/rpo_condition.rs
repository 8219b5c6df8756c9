//! RPOMet turns False at the instant at which the newest good point gets older than the RPO, and True with the next one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use futures::FutureExt;
use jiff::SignedDuration;
use serde_json::json;
use tests::writer::Writer;

use super::{content, load};
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "rpo-condition",
    promise: "RPOMet turns false when the newest good point gets older than the RPO, and true again",
    alone: false,
    play: |stage| play(stage).boxed(),
};

const RPO: SignedDuration = SignedDuration::from_secs(30);
/// How long after the instant it may be written down on a busy machine, conditions being whole seconds.
const LATE: SignedDuration = SignedDuration::from_secs(5);

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let mut writer = Writer::start(address, load(14)).await?;
    writer.progress(10, Duration::from_secs(60)).await?;
    let point = stage.capture(CHROMADB).await?;
    let policies = stage.api::<BackupPolicy>();
    let short = json!({"spec": {"objectives": {"rpo": format!("{}s", RPO.as_secs())}}});
    stage.patch::<BackupPolicy>(CHROMADB, &short).await?;

    let (consistent, _) = content(&point)?;
    let told = wait::reason(&policies, CHROMADB, "RPOMet", "False", &["PointTooOld"]).await?;
    let policy: BackupPolicy = stage.get(CHROMADB).await?;
    let conditions = policy.status.context("the policy has no status")?.conditions;
    let turned = wait::condition(&conditions, "RPOMet").context("no condition")?.last_transition_time.0;
    let late = turned.duration_since(consistent + RPO);
    stage.say(format!("RPOMet is False {late:?} after the point got too old: {told}"));
    // Whole seconds are cut off.
    ensure!(late > SignedDuration::from_secs(-1) && late < LATE, "it turned {late:?} after the instant");
    let ready = wait::condition(&conditions, "Ready").context("no condition")?;
    ensure!(ready.reason == "ScheduleMissesRPO", "Ready says {}: {}", ready.reason, ready.message);

    let next = stage.capture(CHROMADB).await?;
    wait::reason(&policies, CHROMADB, "RPOMet", "True", &["WithinObjective"]).await?;
    ensure!(next.metadata.name != point.metadata.name, "the same point");
    writer.stop().await.map(drop)
}
