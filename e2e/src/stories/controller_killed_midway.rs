//! The controller dies at named marks, during a capture and during a recovery. The next one, of a later term, finishes
//! both, and no Job runs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::RecoveryRun;
use crds::run::RunPhase;
use futures::{FutureExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tests::writer::{Address, Writer};
use tokio::task::JoinHandle;

use super::load;
use super::loss::{Loss, Written};
use crate::deaths::{Deaths, fail_at};
use crate::install;
use crate::manifests::{self, CHROMADB};
use crate::runner::Story;
use crate::stage::Stage;

pub const STORY: Story = Story {
    name: "controller-killed-midway",
    promise: "a controller killed at any step is replaced, captures and recoveries finish, nothing runs twice",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// Where it dies, in this order. A capture is cut short when its Job exists and the status does not know its result; a
/// recovery after what can't be told from the status alone, in the middle of the swap, and for good: at the last mark
/// every restart dies again, until another pod without marks takes the Lease over.
const MARKS: [&str; 4] =
    ["after:CreateJob/Capture", "after:CreateJob/Restore", "after:DeleteClaims", "before:CreateJob/Validate"];

async fn play(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let _turn = stage.alone().await?;
    let told = told(stage, address).await;
    // Whatever happened, the stories after this one find a controller that doesn't kill itself.
    let healed = fail_at(&stage.place, &[]).await;
    told.and(healed)
}

async fn told(stage: &Stage, address: Arc<dyn Address>) -> Result<()> {
    let jobs = JobsSeen::watch(stage);
    let mut deaths = Deaths::watch(stage);
    let mut writer = Writer::start(address, load(7)).await?;
    let patience = Duration::from_secs(60);
    tokio::try_join!(fail_at(&stage.place, &MARKS), writer.progress(60, patience))?;
    // Nothing is due yet, so it lives until the request; an older one must not answer it.
    install::wait_ready(&stage.place).await?;
    let asked = stage.request_capture(CHROMADB).await?;
    deaths.at(MARKS[0]).await?;
    let point = stage.captured_after(CHROMADB, asked).await?;
    writer.progress(10, patience).await?;
    let ledger = writer.stop().await?;
    stage.say(format!("the capture was finished: {}", point.name_any()));
    let written = Written { ledger, point };

    Loss::inflict(stage).await?;
    let run = manifests::run("recover", &stage.namespace);
    let killed = async {
        let mut epochs = BTreeSet::new();
        for mark in &MARKS[1..] {
            deaths.at(mark).await?;
            let status = stage.get::<RecoveryRun>("recover").await?.status.unwrap_or_default();
            let ended = matches!(status.phase, Some(RunPhase::Failed | RunPhase::Succeeded));
            ensure!(!ended, "the run had ended before {mark}: {}", json!(status.conditions));
            epochs.insert(status.epoch);
        }
        fail_at(&stage.place, &[]).await?;
        Ok(epochs)
    };
    let (run, epochs) = tokio::try_join!(written.recovered_by(stage, &run), killed)?;
    let last = run.status.map_or(0, |s| s.epoch);
    let grew = epochs.len() == MARKS.len() - 1 && epochs.iter().all(|epoch| *epoch < last);
    ensure!(grew, "terms {epochs:?}, finished in term {last}");
    jobs.none_ran_twice("recover")
}

/// Every Job that ever existed in a namespace.
pub struct JobsSeen {
    uids: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    watch: JoinHandle<()>,
}

impl JobsSeen {
    pub fn watch(stage: &Stage) -> Self {
        let uids: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
        let api = stage.api::<Job>();
        let noted = uids.clone();
        let watch = tokio::spawn(async move {
            let mut stream =
                std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().touched_objects());
            loop {
                if let Ok(Some(job)) = stream.try_next().await {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.entry(job.name_any()).or_default().insert(job.uid().unwrap_or_default());
                }
            }
        });
        Self { uids, watch }
    }

    /// One uid a name, and those of `run` differ in more than the attempt.
    pub fn none_ran_twice(self, run: &str) -> Result<()> {
        self.watch.abort();
        let seen = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.len() >= 5, "only these Jobs were seen: {seen:?}");
        for (name, uids) in seen.iter() {
            ensure!(uids.len() == 1, "Job {name} existed {} times", uids.len());
        }
        // <owner>-<step>-<attempt>-<hash>: a step that needed a second attempt ran twice.
        for name in seen.keys() {
            let attempt = name.rsplit('-').nth(1).context("a Job's name has an attempt")?;
            if name.starts_with(&format!("{run}-")) && attempt != "1" {
                bail!("a step of the run was started again: {name}; all Jobs: {:?}", seen.keys());
            }
        }
        Ok(())
    }
}

impl Drop for JobsSeen {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
