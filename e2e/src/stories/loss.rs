//! What recoveries begin and end with: a database that was protected, written to and captured, its destruction, and the
//! proof that what was lost is back and what was replaced is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::run::QuarantinedVolume;
use crds::{RecoveryPoint, RecoveryRun};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::Value;
use tests::writer::{Address, Ledger, Writer};

use super::{holds, load};
use crate::damage;
use crate::manifests::{CHROMADB, CLAIM};
use crate::stage::Stage;

/// A database with one point or more.
pub struct Written {
    /// Up to where the writer stopped, some requests after the newest point.
    pub ledger: Ledger,
    /// The newest.
    pub point: RecoveryPoint,
}

impl Written {
    /// A ChromaDB under protection, written to and captured `captures` times meanwhile.
    pub async fn captured(stage: &Stage, seed: u64, captures: usize) -> Result<Self> {
        let address = stage.protected_chromadb().await?;
        Self::of(stage, address, seed, captures).await
    }

    /// The same of one that is under protection already.
    pub async fn of(stage: &Stage, address: Arc<dyn Address>, seed: u64, captures: usize) -> Result<Self> {
        let mut writer = Writer::start(address, load(seed)).await?;
        let mut newest = None;
        for _ in 0..captures {
            writer.progress(60, Duration::from_secs(60)).await?;
            newest = Some(stage.capture(CHROMADB).await?);
        }
        writer.progress(10, Duration::from_secs(60)).await?;
        let ledger = writer.stop().await?;
        Ok(Self { ledger, point: newest.context("no capture was asked for")? })
    }

    /// Applies a RecoveryRun, waits until it has Succeeded, and holds what is served then against ledger and point.
    pub async fn recovered_by(&self, stage: &Stage, run: &Value) -> Result<RecoveryRun> {
        let name = run["metadata"]["name"].as_str().context("a run without a name")?;
        stage.apply(std::slice::from_ref(run)).await?;
        let ended = stage.succeeded(name).await?;
        stage.say(format!("run {name} has Succeeded"));
        self.is_served(stage).await?;
        Ok(ended)
    }

    /// Holds what is served against ledger and point.
    pub async fn is_served(&self, stage: &Stage) -> Result<()> {
        let address = stage.chromadb_ready().await?;
        holds(&address, &self.ledger, &self.point).await?;
        stage.say("what is served equals the ledger and the point");
        Ok(())
    }
}

/// A destroyed volume.
pub struct Loss {
    /// The claim as it was.
    pub claim: PersistentVolumeClaim,
    /// Digest of every file after the destruction.
    files: BTreeMap<String, String>,
    /// When it was noticed.
    pub declared: Timestamp,
}

impl Loss {
    /// Overwrites pages of the database's volume.
    pub async fn inflict(stage: &Stage) -> Result<Self> {
        let claim = stage.get(CLAIM).await?;
        let files = damage::overwrite_pages(stage, CLAIM).await?;
        stage.say("pages overwritten");
        Ok(Self { claim, files, declared: Timestamp::now() })
    }

    /// The volume that was destroyed.
    pub fn volume(&self) -> Result<String> {
        let spec = self.claim.spec.as_ref();
        spec.and_then(|s| s.volume_name.clone()).context("the claim had no volume")
    }

    /// It is kept in quarantine by `run`, byte for byte as it was.
    pub async fn is_kept_by(&self, stage: &Stage, run: &RecoveryRun) -> Result<QuarantinedVolume> {
        let status = run.status.as_ref().context("the run has no status")?;
        let kept = status.quarantine.first().context("nothing is in quarantine")?;
        let old = self.volume()?;
        ensure!(kept.volume == old, "volume {} is in quarantine, the damaged one is {old}", kept.volume);
        let (before, now) = (&self.files, damage::digests(stage, &kept.claim).await?);
        if now != *before {
            let names = before.keys().chain(now.keys());
            let changed: Vec<&String> = names.filter(|name| before.get(*name) != now.get(*name)).collect();
            bail!("the quarantined volume is not as it was: {changed:?}");
        }
        Ok(kept.clone())
    }
}
