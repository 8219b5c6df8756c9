//! Uninstalling Holdfast takes nothing along: not the objects, not the bucket, not the database. Installed again under
//! another name it recovers from what is there.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

use super::loss::{Loss, Written};
use crate::install;
use crate::manifests::{self, CHROMADB};
use crate::runner::Story;
use crate::stage::Stage;

pub const STORY: Story = Story {
    name: "uninstall-keeps-data",
    promise: "helm uninstall leaves objects, points and data; another release recovers from them",
    alone: true,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let place = &stage.place;
    let written = Written::captured(stage, 5, 1).await?;
    let bucket = stage.bucket().await?;
    let pod = stage.get::<Pod>("chromadb-0").await?.uid();
    // Until the end: what is left is a release that the next story does not expect.
    let _turn = stage.alone().await?;
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

    // The disaster comes while nobody watches.
    let again = install::helm_install(place, "second");
    tokio::try_join!(again, Loss::inflict(stage))?;
    stage.say("installed as another release");
    let since = jiff::Timestamp::now();
    stage.armed(CHROMADB).await?;
    let run = written.recovered_by(stage, &manifests::run("recover", &stage.namespace)).await?;
    let chosen = run.status.unwrap_or_default().points;
    let point = written.point.name_any();
    ensure!(chosen.iter().any(|p| p.name == point), "restored {chosen:?}, not {point}");
    // Ready may be left over from the first installation: what proves the second is a capture of its own.
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
