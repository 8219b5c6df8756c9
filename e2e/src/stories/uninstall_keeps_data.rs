//! Uninstalling Holdfast takes nothing along: not the objects, not the bucket, not the database. Installed again under
//! another name it recovers from what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::{holds, written_and_captured};
use crate::manifests::{self, CHROMADB, CLAIM, REPOSITORY};
use crate::runner::Story;
use crate::stage::Stage;
use crate::{damage, install, wait};

pub const STORY: Story = Story {
    name: "uninstall-keeps-data",
    promise: "helm uninstall leaves objects, points and data; another release recovers from them",
    alone: true,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    let (_, ledger, point) = written_and_captured(stage, 5).await?;
    let bucket = stage.bucket().await?;
    let pod = stage.get::<Pod>("chromadb-0").await?.uid();
    let (objects, listing) = (ours(stage).await?, bucket.listing().await?);

    install::helm_uninstall(place, install::RELEASE).await?;
    stage.say("uninstalled");
    ensure!(
        ours(stage).await? == objects,
        "objects went with the release: {objects:?}, then {:?}",
        ours(stage).await?
    );
    ensure!(bucket.listing().await? == listing, "the bucket changed");
    ensure!(stage.get::<Pod>("chromadb-0").await?.uid() == pod, "the database was restarted");

    let reinstalled = second_release(stage, &ledger, &point).await;
    // The stories after this one find the usual release again.
    install::helm_uninstall(place, "second").await?;
    install::helm_install(place, install::RELEASE).await?;
    reinstalled
}

async fn second_release(stage: &Stage, ledger: &tests::writer::Ledger, point: &RecoveryPoint) -> Result<()> {
    install::helm_install(&stage.place, "second").await?;
    stage.say("installed as another release");
    let since = jiff::Timestamp::now();
    // Ready may be left over from the first installation: what proves the second is a capture of its own.
    wait::object(
        &stage.api::<RecoveryRepository>(),
        REPOSITORY,
        "the repository",
        Duration::from_secs(60),
        |r| Ok(r.map(|_| ())),
    )
    .await?;
    stage.armed(CHROMADB).await?;
    damage::overwrite_pages(stage, CLAIM).await?;
    stage.apply(&[manifests::run("recover", &stage.namespace)]).await?;
    let run = stage.succeeded("recover").await?;
    let chosen = run.status.unwrap_or_default().points;
    ensure!(
        chosen.iter().any(|p| p.name == point.name_any()),
        "restored {chosen:?}, not {}",
        point.name_any()
    );
    let address = stage.chromadb_ready().await?;
    holds(&address, ledger, point).await?;
    let next = stage.capture(CHROMADB).await?;
    ensure!(next.creation_timestamp().is_some_and(|t| t.0.as_second() >= since.as_second()), "no new point");
    Ok(())
}

/// uid of every object of ours.
async fn ours(stage: &Stage) -> Result<BTreeMap<String, Option<String>>> {
    let all = ListParams::default();
    let mut found = BTreeMap::new();
    for object in stage.api::<RecoveryRepository>().list(&all).await? {
        found.insert(format!("repository {}", object.name_any()), object.uid());
    }
    for object in stage.api::<BackupPolicy>().list(&all).await? {
        found.insert(format!("policy {}", object.name_any()), object.uid());
    }
    for object in stage.api::<RecoveryPoint>().list(&all).await? {
        found.insert(format!("point {}", object.name_any()), object.uid());
    }
    Ok(found)
}
