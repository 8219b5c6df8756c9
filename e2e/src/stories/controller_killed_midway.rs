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
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tests::writer::Writer;
use tokio::task::JoinHandle;

use super::{holds, load};
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::place::Place;
use crate::runner::Story;
use crate::stage::Stage;
use crate::{damage, install, wait};

pub const STORY: Story = Story {
    name: "controller-killed-midway",
    promise: "a controller killed at any step is replaced, captures and recoveries finish, nothing runs twice",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// Where a capture is cut short: the Job exists, the status does not know its result.
const CAPTURE_MARK: &str = "after:CreateJob/Capture";
/// Where a recovery is: after what can't be told from the status alone, and in the middle of the swap.
const RECOVERY_MARKS: [&str; 3] =
    ["after:CreateJob/Restore", "after:DeleteClaims", "before:CreateJob/Validate"];

async fn play(stage: &Stage) -> Result<()> {
    let told = told(stage).await;
    // Whatever happened, the stories after this one find a controller that doesn't kill itself.
    let healed = fail_point(&stage.place, None).await;
    told.and(healed)
}

async fn told(stage: &Stage) -> Result<()> {
    let address = stage.protected_chromadb().await?;
    let jobs = JobsSeen::watch(stage);
    let mut writer = Writer::start(address, load(7)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;

    fail_point(&stage.place, Some(CAPTURE_MARK)).await?;
    // Nothing is due yet, so it lives until the request; an older one must not answer it.
    install::wait_ready(&stage.place).await?;
    let asked = stage.request_capture(CHROMADB).await?;
    killed(&stage.place).await?;
    stage.say(format!("killed {CAPTURE_MARK}"));
    fail_point(&stage.place, None).await?;
    let point = stage.captured_after(CHROMADB, asked).await?;
    writer.progress(10, Duration::from_secs(60)).await?;
    let ledger = writer.stop().await?;
    stage.say(format!("the capture was finished: {}", point.name_any()));

    damage::overwrite_pages(stage, CLAIM).await?;
    let mut epochs = BTreeSet::new();
    for (n, mark) in RECOVERY_MARKS.iter().enumerate() {
        fail_point(&stage.place, Some(mark)).await?;
        if n == 0 {
            install::wait_ready(&stage.place).await?;
            stage.apply(&[manifests::run("recover", &stage.namespace)]).await?;
        }
        killed(&stage.place).await?;
        let run: RecoveryRun = stage.get("recover").await?;
        let status = run.status.unwrap_or_default();
        ensure!(status.phase != Some(RunPhase::Failed), "failed at {mark}: {}", json!(status.conditions));
        ensure!(
            status.phase != Some(RunPhase::Succeeded),
            "the run ended before {mark}: nothing was killed midway"
        );
        epochs.insert(status.epoch);
        stage.say(format!("killed {mark}, in term {}", status.epoch));
    }
    fail_point(&stage.place, None).await?;
    let run = stage.succeeded("recover").await?;
    let last = run.status.map_or(0, |s| s.epoch);
    ensure!(epochs.iter().all(|epoch| *epoch < last), "terms {epochs:?}, finished in term {last}");
    let address = stage.chromadb_ready().await?;
    holds(&address, &ledger, &point).await?;
    jobs.none_ran_twice()
}

/// Sets or removes the mark at which the controller ends itself, and waits until a controller with it runs.
async fn fail_point(place: &Place, mark: Option<&str>) -> Result<()> {
    let setting = match mark {
        Some(mark) => format!("HOLDFAST_FAILPOINT={mark}"),
        None => "HOLDFAST_FAILPOINT-".to_owned(),
    };
    let target = format!("deployment/{}", install::DEPLOYMENT);
    let arguments = ["--namespace", install::NAMESPACE, "set", "env", &target, &setting];
    place.kubectl.run(&arguments, None).await?;
    match mark {
        // With a mark it may be killed before it is ever seen ready.
        Some(_) => Ok(()),
        None => install::wait_ready(place).await,
    }
}

/// Waits until the controller with the present settings has ended itself at its mark.
async fn killed(place: &Place) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(place.client.clone(), install::NAMESPACE);
    let deployment: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(place.client.clone(), install::NAMESPACE);
    let wanted = deployment
        .get(install::DEPLOYMENT)
        .await?
        .spec
        .and_then(|s| s.template.spec)
        .and_then(|s| s.containers.into_iter().next())
        .and_then(|c| c.env)
        .and_then(|env| env.into_iter().find(|e| e.name == "HOLDFAST_FAILPOINT"))
        .and_then(|e| e.value)
        .context("the Deployment has no HOLDFAST_FAILPOINT")?;
    wait::any(
        &api,
        "app.kubernetes.io/component=controller",
        "the controller's death",
        Duration::from_secs(120),
        |pod: &Pod| {
            let env = pod
                .spec
                .as_ref()
                .and_then(|s| s.containers.first())
                .and_then(|c| c.env.clone())
                .unwrap_or_default();
            if !env.iter().any(|e| e.name == "HOLDFAST_FAILPOINT" && e.value.as_ref() == Some(&wanted)) {
                return Ok(None);
            }
            let states = pod.status.as_ref().and_then(|s| s.container_statuses.clone()).unwrap_or_default();
            let ended = states.iter().find_map(|c| {
                let state = c.state.as_ref().and_then(|s| s.terminated.clone());
                state.or_else(|| c.last_state.as_ref().and_then(|s| s.terminated.clone()))
            });
            Ok(ended.filter(|end| end.exit_code != 0).map(|_| ()))
        },
    )
    .await
}

/// Every Job that ever existed in a namespace.
struct JobsSeen {
    uids: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    watch: JoinHandle<()>,
}

impl JobsSeen {
    fn watch(stage: &Stage) -> Self {
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

    /// One uid a name, and the names differ in more than the attempt.
    fn none_ran_twice(self) -> Result<()> {
        self.watch.abort();
        let seen = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(seen.len() >= 5, "only these Jobs were seen: {seen:?}");
        for (name, uids) in seen.iter() {
            ensure!(uids.len() == 1, "Job {name} existed {} times", uids.len());
        }
        // <owner>-<step>-<attempt>-<hash>: a step that needed a second attempt ran twice.
        for name in seen.keys() {
            let attempt = name.rsplit('-').nth(1).context("a Job's name has an attempt")?;
            let run = name.starts_with("recover-");
            if run && attempt != "1" {
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
