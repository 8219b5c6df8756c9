//! Whatever can be read is captured when somebody is in a hurry: beside a database that is written to, of one that is down, of an application
//! that lacks its configuration; with logs and what the cluster says. And no recovery ever chooses it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::job::Torn;
use crds::point::PointPhase;
use crds::policy::Origin;
use crds::reference::EMERGENCY_REQUESTED_AT;
use crds::{BackupPolicy, RecoveryPoint, names};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use serde_json::{Value, json};
use tests::writer::Writer;

use super::{by_cli, load};
use crate::manifests::{self, CHROMADB, CLAIM, REPOSITORY};
use crate::runner::Story;
use crate::scholar::{self, CONFIG, DOTENV, SCHOLAR};
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "emergency-capture",
    promise: "in an emergency whatever can be read is kept, with logs, settings, Secrets and what the cluster says",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// Another repository, where the scholar's emergency captures go.
const VAULT: &str = "vault";
const PAPERS: u64 = 3;

async fn play(stage: &Stage) -> Result<()> {
    let (address, scholar) = tokio::try_join!(stage.protected_chromadb(), prepared(stage))?;
    let mut writer = Writer::start(address, load(5)).await?;
    writer.progress(30, Duration::from_secs(60)).await?;
    let good = stage.capture(CHROMADB).await?;
    let begun = emergency(stage, CHROMADB, REPOSITORY).await?;
    writer.progress(5, Duration::from_secs(60)).await?;
    let ledger = writer.stop().await?;
    let torn = begun.status.as_ref().and_then(|status| status.emergency.as_ref()).map(|seen| seen.torn);
    ensure!(torn != Some(Torn::No), "it was written to, and the point says that nothing wrote");
    beside_a_running_database(stage, &begun).await?;

    for paper in 1..=PAPERS {
        scholar.post(paper).await?;
    }
    of_a_broken_application(stage, &scholar).await?;

    stopped(stage, "statefulset", CHROMADB).await?;
    let down = emergency(stage, CHROMADB, REPOSITORY).await?;
    let seen =
        down.status.clone().unwrap_or_default().emergency.context("it says nothing of an emergency")?;
    ensure!(seen.torn == Torn::No && seen.unreadable_count == 0, "nothing ran: {seen:?}");
    by_cli::restored(stage, &down, &ledger).await?;
    never_chosen(stage, &good, &[&begun, &down]).await?;
    let lent = |binding: &RoleBinding| binding.name_any().starts_with(names::COLLECTOR);
    wait::none(&stage.api::<RoleBinding>(), "the rights of who collected to go with the Job", lent).await
}

/// A scholar whose emergency captures go elsewhere.
async fn prepared(stage: &Stage) -> Result<scholar::Scholar> {
    let mut policy = scholar::policy(REPOSITORY);
    policy["spec"]["emergency"] = json!({"repositoryRef": {"name": VAULT}, "logsSince": "1h"});
    stage.apply(&scholar::objects(&stage.place.images.chromadb)).await?;
    stage.apply(&[policy]).await?;
    scholar::serving(stage).await
}

/// Asks for one as the user does, and waits for its point.
async fn emergency(stage: &Stage, policy: &str, repository: &str) -> Result<RecoveryPoint> {
    let asked = Timestamp::now();
    let annotation = json!({"metadata": {"annotations": {EMERGENCY_REQUESTED_AT: asked.to_string()}}});
    stage.patch::<BackupPolicy>(policy, &annotation).await?;
    let points = stage.api::<RecoveryPoint>();
    let waiting = wait::any(&points, "", "an emergency capture", PATIENCE, |point: &RecoveryPoint| {
        let status = point.status.as_ref().filter(|_| point.spec.policy == policy);
        let young = status.filter(|status| status.consistency_time.is_some_and(|time| time >= asked));
        Ok(young.filter(|status| status.emergency.is_some()).map(|_| point.clone()))
    });
    let point = match waiting.await {
        Ok(point) => point,
        Err(error) => {
            let status = stage.get::<BackupPolicy>(policy).await?.status;
            return Err(error).with_context(|| format!("the policy says: {}", json!(status)));
        }
    };
    ensure!(point.spec.repository_ref.name == repository, "it went to {}", point.spec.repository_ref.name);
    let status = point.status.clone().unwrap_or_default();
    ensure!(
        (status.phase, status.origin) == (Some(PointPhase::Quarantined), Some(Origin::Emergency)),
        "it is recorded as {:?}, {:?}",
        status.phase,
        status.origin
    );
    let told =
        wait::object(&stage.api::<BackupPolicy>(), policy, "the policy to tell of it", PATIENCE, |seen| {
            let status = seen.and_then(|policy| policy.status.as_ref());
            let told = status.and_then(|status| wait::condition(&status.conditions, "EmergencyCaptured"));
            Ok(told.filter(|told| told.message.contains(&point.name_any())).map(|told| told.message.clone()))
        })
        .await?;
    stage.say(told);
    Ok(point)
}

/// What lies beside volumes and objects, by the CLI alone.
async fn evidence(stage: &Stage, prefix: &str, point: &RecoveryPoint, into: &Path) -> Result<Value> {
    let path = into.to_string_lossy();
    by_cli::run_on(stage, prefix, &["restore", "--point", &point.spec.id, "--evidence", "--target", &path])
        .await?;
    Ok(serde_json::from_slice(&fs::read(into.join("cluster.json"))?)?)
}

fn named<'a>(told: &'a Value, kind: &str, name: &str) -> Result<&'a Value> {
    let mut listed = told[kind].as_array().into_iter().flatten();
    let found = listed.find(|object| object["metadata"]["name"] == name);
    found.with_context(|| format!("no {name} among {kind}: {}", told[kind]))
}

async fn beside_a_running_database(stage: &Stage, point: &RecoveryPoint) -> Result<()> {
    let target = tempfile::tempdir()?;
    let told = evidence(stage, &stage.prefix, point, &target.path().join("evidence")).await?;
    let pod: Pod = stage.get("chromadb-0").await?;
    let seen = named(&told, "pods", "chromadb-0")?;
    ensure!(seen["metadata"]["uid"] == json!(pod.metadata.uid) && seen["ofComponent"] == true, "{seen}");
    let node = pod.spec.and_then(|spec| spec.node_name).context("the pod is on no node")?;
    ensure!(
        named(&told, "nodes", &node)?["status"]["capacity"]["memory"].is_string(),
        "the node tells no capacity"
    );
    ensure!(named(&told, "claims", CLAIM)?["status"]["phase"] == "Bound", "the claim is not told");
    let volumes = told["volumes"].as_array().context("no volume is told")?;
    ensure!(volumes.iter().any(|volume| volume["spec"]["claim"] == CLAIM), "{volumes:?}");
    for (kind, name) in [("statefulSets", CHROMADB), ("services", CHROMADB)] {
        named(&told, kind, name)?;
    }
    ensure!(
        told["server"]["gitVersion"].is_string() && told["disks"][0]["bytes"].is_u64(),
        "{}",
        told["disks"]
    );
    let failures = fs::read_to_string(target.path().join("evidence/failures.json"))?;
    ensure!(serde_json::from_str::<Vec<Value>>(&failures)?.is_empty(), "not collected: {failures}");
    let log = fs::read_to_string(target.path().join("evidence/logs/chromadb-0/chromadb.log"))?;
    let truth = stage.kubectl(&["logs", "chromadb-0", "--timestamps"]).await?;
    ensure!(!log.is_empty() && truth.starts_with(log.trim_end()), "the log was {truth}, and is {log}");
    stage.say(format!("{} bytes of log and what the cluster says, as they were", log.len()));
    Ok(())
}

/// A ConfigMap that is gone, a suspended policy; and another repository.
async fn of_a_broken_application(stage: &Stage, scholar: &scholar::Scholar) -> Result<()> {
    let prefix = format!("{}vault/", stage.prefix);
    stage.apply(&[manifests::repository(VAULT, &stage.place.s3, &prefix)]).await?;
    stage.acknowledge(VAULT).await?;
    stage.kubectl(&["delete", "configmap", CONFIG]).await?;
    stage.patch::<BackupPolicy>(SCHOLAR, &json!({"spec": {"mode": "Suspended"}})).await?;
    let point = emergency(stage, SCHOLAR, VAULT).await?;

    let target = tempfile::tempdir()?;
    let told = evidence(stage, &prefix, &point, &target.path().join("evidence")).await?;
    let own = told["pods"].as_array().into_iter().flatten().filter(|pod| pod["ofComponent"] == true);
    let names: Vec<&str> = own.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    ensure!(names.len() == 1, "its pods are told as {names:?}");

    let listed = by_cli::run_on(stage, &prefix, &["objects", "--point", &point.spec.id]).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    let object = |kind: &str, name: &str| {
        let mut items = listed["items"].as_array().into_iter().flatten();
        items.find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
    };
    let secret = object("Secret", &format!("{SCHOLAR}-env")).context("its Secret is not there")?;
    let values = secret["data"].as_object().context("the Secret is empty")?;
    let decoded = stage.kubectl(&["get", "secret", &format!("{SCHOLAR}-env"), "-o", "json"]).await?;
    let truth: Value = serde_json::from_str(&decoded)?;
    ensure!(truth["data"] == json!(values), "the Secret is another one: {} keys", values.len());
    ensure!(!listed.to_string().contains(DOTENV.trim()), "a Secret in clear text");
    ensure!(
        object("ConfigMap", scholar::PROGRAMS).is_some() && object("ConfigMap", CONFIG).is_none(),
        "ConfigMaps"
    );
    let volume = target.path().join("state");
    let path = volume.to_string_lossy();
    by_cli::run_on(
        stage,
        &prefix,
        &["restore", "--point", &point.spec.id, "--volume", scholar::CLAIM, "--target", &path],
    )
    .await?;
    ensure!(scholar::papers_in(&volume)? == PAPERS, "{} papers", scholar::papers_in(&volume)?);
    ensure!(scholar.papers().await? == PAPERS, "the application was disturbed");
    stage.say(format!("{PAPERS} papers and its Secret are in the other repository"));
    Ok(())
}

async fn stopped(stage: &Stage, kind: &str, name: &str) -> Result<()> {
    stage.kubectl(&["scale", kind, name, "--replicas=0"]).await?;
    let own = |pod: &Pod| pod.name_any().starts_with(&format!("{name}-0"));
    wait::none(&stage.api::<Pod>(), "the database to stop", own).await
}

/// A recovery takes the point that was captured as it should be, although the others are younger.
async fn never_chosen(stage: &Stage, good: &RecoveryPoint, others: &[&RecoveryPoint]) -> Result<()> {
    let mut run = manifests::run("afterwards", &stage.namespace);
    run["spec"]["mode"] = "DryRun".into();
    run["spec"]["policies"] = json!([{"name": CHROMADB}]);
    stage.apply(&[run]).await?;
    let ended = stage.ended("afterwards").await?;
    let steps = ended.status.unwrap_or_default().steps;
    let chosen = steps.iter().find(|step| step.name == format!("SelectPoint/{CHROMADB}"));
    let said = &chosen.context("no point was chosen")?.message;
    ensure!(said.contains(&good.name_any()), "it chooses: {said}");
    ensure!(others.iter().all(|other| !said.contains(&other.name_any())), "it chooses: {said}");
    let policy: BackupPolicy = stage.get(CHROMADB).await?;
    let last = policy.status.and_then(|status| status.last_point).context("no last point")?;
    ensure!(last.name == good.name_any(), "the newest point is said to be {}", last.name);
    stage.say(format!("a recovery would {said}"));
    Ok(())
}
