//! A controller that ends itself at named marks, and the proof that it did.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use crds::RecoveryPoint;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::JoinHandle;

use crate::install;
use crate::place::Place;
use crate::stage::{PATIENCE, Stage};

/// Sets the marks at which the controller ends itself; without any, waits until a controller runs that doesn't.
pub async fn fail_at(place: &Place, marks: &[&str]) -> Result<()> {
    let setting = match marks {
        [] => "HOLDFAST_FAILPOINT-".to_owned(),
        marks => format!("HOLDFAST_FAILPOINT={}", marks.join(",")),
    };
    let target = format!("deployment/{}", install::DEPLOYMENT);
    let arguments = ["--namespace", install::NAMESPACE, "set", "env", &target, &setting];
    place.kubectl.run(&arguments, None).await?;
    match marks {
        [] => install::wait_ready(place).await,
        _ => Ok(()),
    }
}

/// The last words of every controller that died since the watch began.
pub struct Deaths<'a> {
    stage: &'a Stage,
    words: tokio::sync::watch::Receiver<BTreeSet<String>>,
    watch: JoinHandle<()>,
}

impl<'a> Deaths<'a> {
    pub fn watch(stage: &'a Stage) -> Self {
        let api: Api<Pod> = Api::namespaced(stage.place.client.clone(), install::NAMESPACE);
        let config = watcher::Config::default().labels("app.kubernetes.io/component=controller");
        let (noted, words) = tokio::sync::watch::channel(BTreeSet::new());
        let watch = tokio::spawn(async move {
            let mut stream = std::pin::pin!(watcher(api, config).default_backoff().touched_objects());
            loop {
                if let Ok(Some(pod)) = stream.try_next().await {
                    let containers = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
                    let ends = containers.into_iter().flat_map(|c| [c.state, c.last_state]).flatten();
                    let last = ends.filter_map(|s| s.terminated?.message);
                    noted.send_modify(|words| words.extend(last));
                }
            }
        });
        Self { stage, words, watch }
    }

    /// Waits until one has died at a mark.
    pub async fn at(&mut self, mark: &str) -> Result<()> {
        let wanted = format!("fail point {mark}:");
        let said = self.words.wait_for(|words| words.iter().any(|said| said.contains(&wanted)));
        match tokio::time::timeout(PATIENCE, said).await {
            Ok(seen) => drop(seen.context("the watch of the controller ended")?),
            Err(_) => bail!("waited {PATIENCE:?} for the controller's death {mark}"),
        }
        self.stage.say(format!("killed {mark}"));
        Ok(())
    }
}

/// A capture on request whose controller ends itself at each of these marks. Its story plays alone.
pub async fn captured_through(stage: &Stage, policy: &str, marks: &[&str]) -> Result<RecoveryPoint> {
    let captured = async {
        let mut deaths = Deaths::watch(stage);
        fail_at(&stage.place, marks).await?;
        install::wait_ready(&stage.place).await?;
        let asked = stage.request_capture(policy).await?;
        for mark in marks {
            deaths.at(mark).await?;
        }
        stage.captured_after(policy, asked).await
    };
    let captured = captured.await;
    // Whatever happened, the stories after this one find a controller that doesn't kill itself.
    let healed = fail_at(&stage.place, &[]).await;
    captured.and_then(|point| healed.map(|()| point))
}

impl Drop for Deaths<'_> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
