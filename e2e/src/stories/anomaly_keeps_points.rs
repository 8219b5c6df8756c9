//! Somebody empties the database. Its next capture is a good one and the newest, and displaces nothing until a person has looked.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::BackupPolicy;
use futures::FutureExt;
use kube::ResourceExt;
use serde_json::json;
use tests::writer::{Request, Server, Verb, Writer};

use super::retention_and_pin::{is_left, maintained};
use super::{by_cli, load};
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "anomaly-keeps-points",
    promise: "a capture of an emptied database displaces no point until somebody says that it was meant",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"retention": {"last": 2}}})).await?;
    let mut writer = Writer::start(address.clone(), load(8)).await?;
    writer.progress(20, Duration::from_secs(60)).await?;
    let first = stage.capture(CHROMADB).await?;
    writer.progress(20, Duration::from_secs(60)).await?;
    let second = stage.capture(CHROMADB).await?;
    let ledger = writer.stop().await?;

    let server = Server::new(address)?;
    for (name, id) in server.collections().await? {
        let records = server.everything(&name).await?.into_keys().map(|id| (id, None)).collect();
        let emptied = server.send(&id, &Request { verb: Verb::Delete, records }).await;
        ensure!(emptied.is_ok(), "the records of {name} can't be deleted: {emptied:?}");
    }
    let empty = stage.capture(CHROMADB).await?;
    let policies = stage.api::<BackupPolicy>();
    let told = wait::reason(&policies, CHROMADB, "AnomalyDetected", "True", &["Empty"]).await?;
    ensure!(told.contains(&empty.name_any()) && told.contains("shrinkAcknowledged"), "it says: {told}");
    wait::reason(&policies, CHROMADB, "RetentionEnforced", "False", &["Held"]).await?;
    maintained(stage).await?;
    is_left(stage, &[&first, &second, &empty]).await?;
    by_cli::restored(stage, &second, &ledger).await?;

    // It was meant.
    let meant = json!({"spec": {"capture": {"shrinkAcknowledged": {"name": empty.name_any()}}}});
    stage.patch::<BackupPolicy>(CHROMADB, &meant).await?;
    wait::reason(&policies, CHROMADB, "AnomalyDetected", "False", &["None"]).await?;
    maintained(stage).await?;
    is_left(stage, &[&second, &empty]).await?;
    by_cli::run(stage, &["verify", "--level", "full"]).await?;
    Ok(())
}
