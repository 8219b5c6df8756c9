//! The worst day: the whole namespace was deleted, volumes, Secrets, policies and all. Namespace, repository with its Secrets and one run are
//! typed, and nothing else.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use crds::run::{StepPhase, Verdict};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use futures::FutureExt;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::holds;
use super::loss::Written;
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, Feed, SCHOLAR};
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "complete-failure",
    promise: "a wholly deleted namespace comes back: one kubectl apply, every record, paper, setting and Secret as it was",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// What users wrote, besides the policies.
const OBJECTS: [&str; 9] = [
    "statefulset/chromadb",
    "service/chromadb",
    "deployment/scholar",
    "cronjob/scholar-fetch",
    "service/scholar",
    "networkpolicy/scholar-in",
    "configmap/scholar-config",
    "configmap/scholar-program",
    "secret/scholar-env",
];
const CLAIMS: [&str; 2] = [manifests::CLAIM, scholar::CLAIM];

async fn play(stage: &Stage) -> Result<()> {
    stage.apply(&scholar::objects(&stage.place.images.chromadb)).await?;
    let written = Written::captured(stage, 11, 1).await?;
    let mut policy = scholar::policy(REPOSITORY);
    policy["spec"]["dependsOn"] = json!([{"name": CHROMADB}]);
    policy["spec"]["priority"] = "High".into();
    stage.apply(&[policy]).await?;
    let service = scholar::serving(stage).await?;
    stage.armed(SCHOLAR).await?;
    let mut feed = Feed::start(service.clone());
    feed.progress(50).await?;
    let asked = stage.request_capture(SCHOLAR).await?;
    let before = feed.stored();
    let point = stage.captured_after(SCHOLAR, asked).await?;
    let after = feed.stop().await?;
    let config = service.get("config").await?;
    let truth = as_they_are(stage).await?;
    let repository = stage.get::<RecoveryRepository>(REPOSITORY).await?;
    stage.say(format!("captured: {} and {}", written.point.name_any(), point.name_any()));

    stage.lose_namespace().await?;
    stage.say("the namespace is gone, and every volume of it");

    stage.make_namespace().await?;
    typed(stage, &repository).await?;
    stage.say("namespace, repository, its Secrets and one run are typed");
    let run = stage.succeeded("total").await?;
    recovered(&run, &written.point, &point)?;
    stage.say(
        wait::condition(&run.status.clone().unwrap_or_default().conditions, "Ready")
            .map(|c| c.message.clone())
            .unwrap_or_default(),
    );

    let address = stage.chromadb_ready().await?;
    holds(&address, &written.ledger, &written.point).await?;
    let service = scholar::serving(stage).await?;
    let papers = service.papers().await?;
    ensure!((before..=after).contains(&papers), "{papers} papers came back, {before} to {after} may be in");
    ensure!(service.get("config").await? == config, "it is configured with something else");
    let back = as_they_are(stage).await?;
    for (name, what) in &truth {
        ensure!(back.get(name) == Some(what), "{name} was {what}, and is {:?}", back.get(name));
    }
    let cron: CronJob = stage.get("scholar-fetch").await?;
    ensure!(cron.spec.and_then(|spec| spec.suspend) != Some(true), "the CronJob was left suspended");
    stage.say(format!("{papers} papers, {} objects as they were", truth.len()));

    // It is protected as before: the policies came back too.
    for policy in [CHROMADB, SCHOLAR] {
        stage.armed(policy).await?;
        stage.capture(policy).await?;
    }
    let depends_on = stage.get::<BackupPolicy>(SCHOLAR).await?.spec.depends_on;
    ensure!(depends_on.iter().any(|needed| needed.name == CHROMADB), "it depends on {depends_on:?}");
    Ok(())
}

/// All that a human does.
async fn typed(stage: &Stage, before: &RecoveryRepository) -> Result<()> {
    let fingerprint = before.status.as_ref().and_then(|status| status.key_fingerprint.clone());
    let mut repository = manifests::repository(REPOSITORY, &stage.place.s3, &stage.prefix);
    repository["spec"]["encryption"]["escrow"] =
        json!({"acknowledged": {"fingerprint": fingerprint.context("the key had no fingerprint")?}});
    let run = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "total"},
        "spec": {"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": stage.namespace}}}});
    stage
        .apply(&[
            manifests::s3_secret("s3", &stage.place.s3.writer),
            manifests::key_secret("repository-key", &stage.key),
            repository,
            run,
        ])
        .await
}

/// Points, order, checks and numbers.
fn recovered(run: &RecoveryRun, chroma: &RecoveryPoint, papers: &RecoveryPoint) -> Result<()> {
    let status = run.status.clone().unwrap_or_default();
    ensure!(status.verdict == Some(Verdict::Passed), "verdict {:?}", status.verdict);
    let chosen: BTreeMap<&str, &str> =
        status.points.iter().map(|point| (point.policy.as_str(), point.id.as_str())).collect();
    ensure!(
        chosen == BTreeMap::from([(CHROMADB, chroma.spec.id.as_str()), (SCHOLAR, papers.spec.id.as_str())]),
        "restored {chosen:?}"
    );
    let step = |name: &str| {
        let found = status.steps.iter().find(|step| step.name == name);
        found.with_context(|| format!("no step {name}"))
    };
    for step in &status.steps {
        let ended = matches!(step.phase, StepPhase::Done | StepPhase::Skipped);
        ensure!(ended, "step {} is {:?}: {}", step.name, step.phase, step.message);
    }
    let validated = step("Validate/chromadb")?.end;
    ensure!(step("Start/scholar")?.end > validated, "the scholar ran before its database was validated");
    // Nothing was there to be kept.
    ensure!(status.quarantine.is_empty(), "in quarantine: {:?}", status.quarantine);
    for check in
        ["chromadb/corruption", "chromadb/counts", "scholar/workloads-ready", "scholar/cronjobs-scheduled"]
    {
        let found = status.checks.iter().find(|found| found.name == check);
        let found = found.with_context(|| format!("no check {check}"))?;
        ensure!(
            found.verdict == Verdict::Passed,
            "{check}: {} instead of {}",
            found.observed,
            found.expected
        );
    }
    ensure!(status.measured.len() == 2, "measured {:?}", status.measured);
    Ok(())
}

/// What somebody wrote into each object; of a claim, what it asks for.
async fn as_they_are(stage: &Stage) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for name in OBJECTS.map(str::to_owned).into_iter().chain(CLAIMS.map(|claim| format!("pvc/{claim}"))) {
        let mut object: Value =
            serde_json::from_str(&stage.kubectl(&["get", &name, "--output", "json"]).await?)?;
        for assigned in ["volumeName", "clusterIP", "clusterIPs"] {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove(assigned);
            }
        }
        let what = json!([object["spec"], object["data"], object["type"], object["metadata"]["labels"]]);
        found.insert(name, what);
    }
    Ok(found)
}
