//! What was there before something happened and has to be there unchanged afterwards: every object of the namespace and its volumes by uid and version,
//! what happened to them by events, and the bucket byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// uid and resourceVersion of everything in the namespace, whatever kinds the cluster has, and of its volumes; without the
/// runs and without the events about them.
pub async fn versions(stage: &Stage) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for item in everything(stage).await? {
        let kind = item["kind"].as_str().unwrap_or_default();
        let about = about(&item).is_some_and(|about| about.starts_with("RecoveryRun/"));
        // metrics.k8s.io and its like have no versions: they are measurements, not objects.
        let Some(version) = item["metadata"]["resourceVersion"].as_str().filter(|_| !about) else { continue };
        let name = format!("{kind}/{}", item["metadata"]["name"].as_str().unwrap_or_default());
        versions.insert(name, format!("{} {version}", item["metadata"]["uid"].as_str().unwrap_or_default()));
    }
    Ok(versions)
}

async fn everything(stage: &Stage) -> Result<Vec<Value>> {
    let kinds = stage.kubectl(&["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("recoveryruns.")).collect();
    let listed = stage.kubectl(&["get", &kinds.join(","), "--ignore-not-found", "--output=json"]).await?;
    let volumes = stage.kubectl(&["get", "persistentvolumes", "--output=json"]).await?;
    let mut all = Vec::new();
    for text in [listed, volumes] {
        let value: Value = serde_json::from_str(&text)?;
        all.extend(value["items"].as_array().into_iter().flatten().cloned());
    }
    all.retain(|item| {
        let of = &item["spec"]["claimRef"]["namespace"];
        item["kind"] != "PersistentVolume" || *of == stage.namespace.as_str()
    });
    Ok(all)
}

/// What an event is about.
fn about(item: &Value) -> Option<String> {
    let object = ["involvedObject", "regarding"].iter().map(|key| &item[*key]).find(|o| o.is_object())?;
    Some(format!("{}/{}", object["kind"].as_str()?, object["name"].as_str()?))
}

/// Production, as it was.
pub struct Before {
    objects: BTreeMap<String, String>,
    bucket: BTreeMap<String, String>,
}

/// Kinds whose objects change by themselves while nothing happens, or tell of what was found: that a point was verified its policy tells, too. And the
/// account of a run, which goes with that.
const OWN: [&str; 8] = [
    "BackupPolicy/",
    "RecoveryPoint/",
    "RecoveryRepository/",
    "DrDrill/",
    "Event/",
    "Lease/",
    "ServiceAccount/hf-recreate-",
    "RoleBinding/hf-recreate-",
];

impl Before {
    pub async fn seen(stage: &Stage) -> Result<Self> {
        Ok(Self { objects: versions(stage).await?, bucket: stage.bucket().await?.listing().await? })
    }

    /// Nothing of production has changed, nothing happened to it, nothing new is left in its namespace, and the bucket holds what it held, byte for byte,
    /// and nothing else but evidence and marks.
    pub async fn is_untouched(&self, stage: &Stage) -> Result<()> {
        self.is_untouched_but(stage, &[]).await
    }

    /// The same while a rehearsal is still held, whose objects are known by parts of their names. What goes by itself, as the Job that writes a report
    /// after the end, is waited for.
    pub async fn is_untouched_but(&self, stage: &Stage, held: &[&str]) -> Result<()> {
        wait::answer("production as it was", PATIENCE, || self.look(stage, held)).await
    }

    async fn look(&self, stage: &Stage, held: &[&str]) -> Result<()> {
        let now = versions(stage).await?;
        let own = |name: &&String| OWN.iter().any(|kind| name.starts_with(kind));
        let changed: Vec<&String> = self
            .objects
            .keys()
            .filter(|name| !own(name) && self.objects.get(*name) != now.get(*name))
            .collect();
        ensure!(changed.is_empty(), "changed or gone: {changed:?}");
        let new: BTreeSet<&String> = now
            .keys()
            .filter(|name| !own(name) && !self.objects.contains_key(*name))
            .filter(|name| !held.iter().any(|part| name.contains(part)))
            .collect();
        ensure!(new.is_empty(), "left in production: {new:?}");
        let happened: Vec<String> = everything(stage)
            .await?
            .iter()
            .filter(|item| item["kind"] == "Event")
            .filter(|item| {
                let name = format!("Event/{}", item["metadata"]["name"].as_str().unwrap_or_default());
                let production = about(item).is_some_and(|about| {
                    self.objects.contains_key(&about) && !OWN.iter().any(|kind| about.starts_with(kind))
                });
                let version = item["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                production && !self.objects.get(&name).is_some_and(|known| known.ends_with(version))
            })
            .map(|item| {
                format!("{}: {} {}", about(item).unwrap_or_default(), item["reason"], item["message"])
            })
            .collect();
        ensure!(happened.is_empty(), "happened to production: {happened:?}");
        let bucket = stage.bucket().await?.listing().await?;
        let differs: Vec<&String> = self
            .bucket
            .iter()
            .filter(|(name, is)| bucket.get(*name) != Some(is))
            .map(|(name, _)| name)
            .collect();
        ensure!(differs.is_empty(), "changed or gone in the bucket: {differs:?}");
        let evidence = |name: &&String| name.starts_with("documents/") || name.starts_with("marks/");
        let written: Vec<&String> =
            bucket.keys().filter(|name| !self.bucket.contains_key(*name) && !evidence(name)).collect();
        ensure!(written.is_empty(), "written into the bucket: {written:?}");
        Ok(())
    }
}
