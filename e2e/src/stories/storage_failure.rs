//! A disk fails: of the database's volume some blocks can't be read any more, of the scholar's all can. What can be read is preserved, and both come
//! back on other storage: the database as its newest healthy point has it, the scholar without losing a paper.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::RecoveryPoint;
use crds::job::{Torn, UnreadableRange};
use crds::point::PointPhase;
use crds::run::{PreservedPoint, RecoveryRunStatus};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use serde_json::json;
use tests::broken_disk::{Bad, BrokenDisk};
use tests::writer::Writer;

use super::loss::Written;
use super::{by_cli, load};
use crate::manifests::{CHROMADB, CLAIM, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, SCHOLAR};
use crate::stage::Stage;

pub const STORY: Story = Story {
    name: "storage-failure",
    promise: "of a failing disk every readable byte is kept, and what was on it comes back on other storage",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// The other StorageClass of the cluster.
const OTHER: &str = "fast";
/// Papers that the scholar's point has, and those that it has when the disk fails.
const PAPERS: (u64, u64) = (10, 25);
/// Bytes of the database that can't be read.
const BAD: (u64, u64) = (5 * 4096, 2 * 4096);

async fn play(stage: &Stage) -> Result<()> {
    let written = working(stage).await?;
    let damaged = disk_of(stage, CLAIM).await?;
    let (before, healthy) = (files(&damaged)?, disk_of(stage, scholar::CLAIM).await?);
    let bad = Bad::Bytes("chroma.sqlite3".into(), BAD.0, BAD.1);
    let failing = BrokenDisk::mount(&damaged, &damaged, vec![bad]).context("a disk that fails")?;
    // The disk is what it says: the kernel gives EIO.
    let block = File::open(damaged.join("chroma.sqlite3"))?.read_at(&mut [0; 16], BAD.0);
    ensure!(block.is_err_and(|e| e.raw_os_error() == Some(5)), "the block can be read");
    stage.say("the disk of the database gives I/O errors");

    let declared = Timestamp::now();
    let run = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "disk"}, "spec": {
        "scenario": "StorageFailure",
        "target": {"inPlace": {"confirm": stage.namespace, "storageClassName": OTHER}},
        "incident": {"detectedAt": declared.to_string(), "summary": "I/O errors"}}});
    let run = written.recovered_by(stage, &run).await?;
    let status = run.status.clone().unwrap_or_default();
    let papers = scholar::serving(stage).await?.papers().await?;
    ensure!(papers == PAPERS.1, "{papers} papers are served, {} were there", PAPERS.1);
    stage.say("the scholar has every paper");

    chosen(&status, &written.point)?;
    on_other_storage(stage).await?;
    let point = preserved(stage, &status).await?;
    restored_by_cli(stage, &point, &before).await?;
    drop(failing);
    ensure!(files(&damaged)? == before, "the failing volume was written to");
    ensure!(scholar::papers_in(&healthy)? == PAPERS.1, "the scholar's old volume is not as it was");
    stage.say("both old volumes are as they were");
    Ok(())
}

/// Database and scholar at work, each with a point and more than that has.
async fn working(stage: &Stage) -> Result<Written> {
    let image = &stage.place.images.chromadb;
    let objects = scholar::objects(image);
    let (address, ()) = tokio::try_join!(stage.protected_chromadb(), stage.apply(&objects))?;
    stage.apply(&[scholar::policy(REPOSITORY)]).await?;
    let mut writer = Writer::start(address, load(23)).await?;
    let service = scholar::serving(stage).await?;
    for paper in 1..=PAPERS.0 {
        service.post(paper).await?;
    }
    stage.armed(SCHOLAR).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let (point, _) = tokio::try_join!(stage.capture(CHROMADB), stage.capture(SCHOLAR))?;
    for paper in PAPERS.0 + 1..=PAPERS.1 {
        service.post(paper).await?;
    }
    writer.progress(10, Duration::from_secs(60)).await?;
    Ok(Written { ledger: writer.stop().await?, point })
}

/// Where the volume of a claim lies on this machine.
async fn disk_of(stage: &Stage, claim: &str) -> Result<PathBuf> {
    let volumes = stage.place.volumes.as_ref();
    let volumes = volumes
        .context("only a disk of the local cluster can be made to fail: leave HOLDFAST_E2E_CLUSTER unset")?;
    let claim: PersistentVolumeClaim = stage.get(claim).await?;
    let name = claim.spec.and_then(|spec| spec.volume_name).context("the claim has no volume")?;
    let volume = Api::<PersistentVolume>::all(stage.place.client.clone()).get(&name).await?;
    let csi = volume.spec.and_then(|spec| spec.csi).context("the volume is not the driver's")?;
    Ok(volumes.join(csi.volume_handle))
}

/// Every file below a directory.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(root)?.to_owned(), fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}

/// Of the database its newest point, of the scholar what was preserved; and that says what it costs.
fn chosen(status: &RecoveryRunStatus, point: &RecoveryPoint) -> Result<()> {
    let of = |policy: &str| {
        status.points.iter().find(|chosen| chosen.policy == policy).context("no point was chosen")
    };
    ensure!(of(CHROMADB)?.id == point.spec.id, "the database has {:?}", of(CHROMADB)?);
    let kept = kept(status, SCHOLAR)?;
    ensure!(of(SCHOLAR)?.id == kept.id && kept.complete && kept.whole == Some(true), "{kept:?}");
    let kept = self::kept(status, CHROMADB)?;
    ensure!(!kept.complete && kept.unreadable_bytes == BAD.1 && kept.missed_count == 0, "{kept:?}");
    let message = |step: &str| {
        let step = status.steps.iter().find(|seen| seen.name == step);
        step.map(|step| step.message.clone()).unwrap_or_default()
    };
    let told = message("SelectPoint/chromadb");
    ensure!(told.contains("is lost") && told.contains(&kept.name), "it does not say what that costs: {told}");
    let told = message("CheckIntegrity/chromadb");
    ensure!(
        told.contains("could not be read and were not checked"),
        "it does not say what was not checked: {told}"
    );
    let measured =
        status.measured.iter().find(|measured| measured.policy == SCHOLAR).context("nothing was measured")?;
    ensure!(measured.rpo.as_deref() == Some("0s"), "the scholar lost nothing: {measured:?}");
    Ok(())
}

fn kept<'a>(status: &'a RecoveryRunStatus, policy: &str) -> Result<&'a PreservedPoint> {
    status
        .preserved
        .iter()
        .find(|kept| kept.policy == policy)
        .with_context(|| format!("nothing of {policy} was preserved"))
}

async fn on_other_storage(stage: &Stage) -> Result<()> {
    for claim in [CLAIM, scholar::CLAIM] {
        let seen: PersistentVolumeClaim = stage.get(claim).await?;
        let class = seen.spec.and_then(|spec| spec.storage_class_name);
        ensure!(class.as_deref() == Some(OTHER), "claim {claim} is of StorageClass {class:?}");
    }
    Ok(())
}

/// The database's preserved point as the cluster has it.
async fn preserved(stage: &Stage, status: &RecoveryRunStatus) -> Result<RecoveryPoint> {
    let point: RecoveryPoint = stage.get(&kept(status, CHROMADB)?.name).await?;
    let told = point.status.clone().context("the point has no status")?;
    ensure!(told.phase == Some(PointPhase::Quarantined), "it is {:?}", told.phase);
    let emergency = told.emergency.context("it is no emergency capture")?;
    let range = UnreadableRange { file: format!("{CLAIM}/chroma.sqlite3"), offset: BAD.0, length: BAD.1 };
    ensure!(emergency.unreadable == [range] && emergency.torn == Torn::No, "{emergency:?}");
    stage.say("the preserved point names the range that can't be read");
    Ok(point)
}

/// From the bucket: every byte of the disk but those, for which zeros stand.
async fn restored_by_cli(
    stage: &Stage,
    point: &RecoveryPoint,
    before: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let target = directory.path().join("volume");
    let into = target.to_string_lossy();
    let printed =
        by_cli::attempt(stage, &["restore", "--point", &point.spec.id, "--volume", CLAIM, "--target", &into])
            .await?;
    ensure!(printed.success, "{}", printed.err);
    let (from, to) = (BAD.0, BAD.0 + BAD.1);
    ensure!(
        printed.err.contains(&format!("bytes {from} to {to} could not be read")),
        "it says: {}",
        printed.err
    );
    let mut truth = before.clone();
    let database = truth.get_mut(Path::new("chroma.sqlite3")).context("no database")?;
    database[usize::try_from(from)?..usize::try_from(to)?].fill(0);
    let restored = files(&target)?;
    let differing: Vec<&PathBuf> =
        truth.keys().chain(restored.keys()).filter(|file| truth.get(*file) != restored.get(*file)).collect();
    ensure!(differing.is_empty(), "these are not as they were on the disk: {differing:?}");
    stage.say("the CLI restores every byte that could be read, and warns of the others");
    Ok(())
}
