//! The worst controller on the worst day: it dies once in front of each of its writes and once after each, through the whole recovery of a namespace of
//! which nothing is left, and through that of a corrupted database. Nothing is lost, nothing runs twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::run::RunPhase;
use crds::{RecoveryRepository, RecoveryRun};
use futures::FutureExt;
use serde_json::{Value, json};
use tests::writer::Writer;

use super::controller_killed_midway::JobsSeen;
use super::load;
use super::loss::{Loss, Written};
use crate::deaths::fail_at;
use crate::install;
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, SCHOLAR};
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "killed-at-every-write",
    promise: "a controller that dies before and after each of its writes recovers everything, and does nothing twice",
    alone: true,
    play: |stage| play(stage).boxed(),
};

/// A run of so many deaths ends within this.
const PATIENCE: Duration = Duration::from_secs(420);
const PAPERS: u64 = 5;

async fn play(stage: &Stage) -> Result<()> {
    stage.apply(&scholar::objects(&stage.place.images.chromadb)).await?;
    let (address, scholar) = tokio::try_join!(stage.protected_chromadb(), scholar::serving(stage))?;
    let mut policy = scholar::policy(REPOSITORY);
    policy["spec"]["dependsOn"] = json!([{"name": CHROMADB}]);
    stage.apply(&[policy]).await?;
    stage.armed(SCHOLAR).await?;
    for paper in 1..=PAPERS {
        scholar.post(paper).await?;
    }
    stage.capture(SCHOLAR).await?;
    let mut writer = Writer::start(address, load(83)).await?;
    writer.progress(60, Duration::from_secs(60)).await?;
    let point = stage.capture(CHROMADB).await?;
    let written = Written { ledger: writer.stop().await?, point };
    let repository: RecoveryRepository = stage.get(REPOSITORY).await?;

    let _turn = stage.alone().await?;
    let told = told(stage, &written, &repository).await;
    // Whatever happened, the stories after this one find a controller that doesn't kill itself.
    let healed = fail_at(&stage.place, &[]).await;
    told.and(healed)
}

async fn told(stage: &Stage, written: &Written, repository: &RecoveryRepository) -> Result<()> {
    fail_at(&stage.place, &["every"]).await?;
    install::wait_ready(&stage.place).await?;
    let jobs = JobsSeen::watch(stage);
    stage.lose_namespace().await?;
    stage.make_namespace().await?;
    let status = repository.status.clone().unwrap_or_default();
    let mut again = manifests::repository(REPOSITORY, &stage.place.s3, &stage.prefix);
    again["spec"]["encryption"]["escrow"] = json!({"acknowledged": {"fingerprint": status.key_fingerprint.context("the key had no fingerprint")?}});
    let mut run = manifests::run("total", &stage.namespace);
    run["spec"]["scenario"] = "CompleteFailure".into();
    let key = manifests::key_secret("repository-key", &stage.key);
    stage.apply(&[manifests::s3_secret("s3", &stage.place.s3.writer), key, again, run]).await?;
    let total = succeeded(stage, "total").await?;
    written.is_served(stage).await?;
    let scholar = scholar::serving(stage).await?;
    ensure!(scholar.papers().await? == PAPERS, "papers are missing");
    died(stage, "total", &total).await?;
    jobs.none_ran_twice("total")?;

    let jobs = JobsSeen::watch(stage);
    let loss = Loss::inflict(stage).await?;
    stage.apply(&[manifests::run("corrupted", &stage.namespace)]).await?;
    let corrupted = succeeded(stage, "corrupted").await?;
    written.is_served(stage).await?;
    loss.is_kept_by(stage, &corrupted).await?;
    died(stage, "corrupted", &corrupted).await?;
    jobs.none_ran_twice("corrupted")
}

async fn succeeded(stage: &Stage, name: &str) -> Result<RecoveryRun> {
    let runs = stage.api::<RecoveryRun>();
    let run = wait::object(&runs, name, "the end of the run", PATIENCE, |run| {
        let conditions = run.and_then(|run| run.status.as_ref()).map(|status| status.conditions.as_slice());
        let is = |kind: &str| wait::condition(conditions?, kind).filter(|found| found.status == "True");
        Ok(run.filter(|_| is("Complete").or(is("Failed")).is_some()).cloned())
    });
    let run = run.await?;
    let status = run.status.clone().unwrap_or_default();
    ensure!(status.phase == Some(RunPhase::Succeeded), "run {name} ended so: {}", json!(status.conditions));
    Ok(run)
}

/// Every effect that was carried out for the run has its deaths, as the controller's own log has them, and each was a term of its own.
async fn died(stage: &Stage, name: &str, run: &RecoveryRun) -> Result<()> {
    let target = format!("deployment/{}", install::DEPLOYMENT);
    let arguments = ["--namespace", install::NAMESPACE, "logs", &target, "--tail=-1"];
    let log = stage.place.kubectl.run(&arguments, None).await?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let full = format!("{}/{name}", stage.namespace);
    let carried = lines.iter().filter(|line| line["fields"]["run"] == full.as_str());
    let carried: BTreeSet<&str> = carried.filter_map(|line| line["fields"]["effect"].as_str()).collect();
    let deaths: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["fields"]["message"].as_str()?.strip_prefix("fail point "))
        .filter_map(|said| said.strip_suffix(": starting anew as HOLDFAST_FAILPOINT asks"))
        .collect();
    ensure!(carried.len() > 8, "only {carried:?} was carried out");
    for effect in &carried {
        for side in ["before", "after"] {
            let mark = format!("{side}:{effect}");
            ensure!(deaths.iter().any(|death| **death == mark), "it never died {mark}: {deaths:?}");
        }
    }
    let term = run.status.as_ref().map_or(0, |status| status.epoch);
    stage.say(format!(
        "{name}: {} kinds of effects, {} deaths so far, term {term}",
        carried.len(),
        deaths.len()
    ));
    ensure!(deaths.iter().filter(|death| death.ends_with(":StatusWritten")).count() > 10, "{deaths:?}");
    Ok(())
}
