//! Somebody is inside: the namespace is isolated and that is proved, the state from before is back, what they wrote is kept as evidence, and nothing
//! is opened before a human says so. Once in a network that enforces NetworkPolicies, and once in one that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::run::{HeldConnection, Isolation, IsolationStatus, RecoveryRunStatus, RunPhase};
use crds::{RecoveryPoint, RecoveryRun};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tests::writer::{Load, Writer};

use super::left_behind;
use super::loss::Written;
use crate::damage;
use crate::enforcer::Enforcer;
use crate::leak;
use crate::manifests::CHROMADB;
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "security-breach",
    promise: "after a breach the namespace is isolated until somebody lifts that, and serves the state from before it with another credential",
    alone: false,
    play: |stage| enforced(stage).boxed(),
};

pub const UNENFORCED: Story = Story {
    name: "security-breach-unenforced",
    promise: "an isolation that the network does not enforce is found out, and nothing is started in it unasked",
    alone: false,
    play: |stage| unenforced(stage).boxed(),
};

/// What the intruder writes into.
const COLLECTION: &str = "intruder";

async fn enforced(stage: &Stage) -> Result<()> {
    let enforcer = Enforcer::start(stage).await?;
    let breach = Breach::happens(stage, 41).await?;
    leak::happens(stage).await?;
    left_behind::leave(stage).await?;
    let mut run = breach.run(stage);
    run["spec"]["credentialRotations"] = leak::rotations();
    stage.apply(&[run]).await?;
    let status = at_gate(stage, "LiftIsolation").await?;
    let known = isolation(&status)?;
    ensure!(known.result == Some(Isolation::ProbeBlocked) && known.control, "{known:?}");
    ensure!(known.held == Some(HeldConnection::Ended), "a connection from before goes on: {known:?}");
    let isolated = wait::condition(&status.conditions, "Isolated").context("no condition Isolated")?;
    ensure!((isolated.status.as_str(), isolated.reason.as_str()) == ("True", "ProbeBlocked"), "{isolated:?}");
    stage.say(format!("it says: {}", isolated.message));

    // Seen from the database itself: the namespace answers, and nobody else.
    let endpoint = stage.place.s3.endpoint.trim_start_matches("http://").to_owned();
    let inside = format!("{CHROMADB}:8000");
    ensure!(connects(stage, &inside).await?, "the pods of the namespace can't talk to each other");
    ensure!(!connects(stage, &endpoint).await?, "the database reaches {endpoint}");
    let said = stage.refused(&allow_all()).await?;
    ensure!(said.contains("is isolated by RecoveryRun breach"), "{said}");
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/none:1"}]});
    let template = json!({"metadata": {"labels": {"holdfast.dev/mover": "true"}}, "spec": pod});
    let disguised = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "disguised"},
        "spec": {"template": template}});
    let said = stage.refused(&disguised).await?;
    ensure!(said.contains("only the movers of Holdfast carry it"), "{said}");
    breach.is_undone(stage, &status).await?;
    leak::is_replaced(stage, &status).await?;
    left_behind::is_named(stage, &status, COLLECTION, &breach.ids).await?;
    left_behind::clear(stage).await?;

    approve(stage, &status, &["LiftIsolation"]).await?;
    let status = at_gate(stage, "Unseal").await?;
    breach.policies_are_back(stage).await?;
    ensure!(connects(stage, &endpoint).await?, "the database does not reach {endpoint} again");
    approve(stage, &status, &["LiftIsolation", "Unseal"]).await?;
    let status = stage.succeeded("breach").await?.status.unwrap_or_default();
    measured(&status)?;
    leak::is_forgotten(stage).await?;
    left_behind::is_cleared(stage, &status).await?;
    // The repository takes captures again.
    stage.capture(CHROMADB).await?;
    enforcer.stop().await
}

async fn unenforced(stage: &Stage) -> Result<()> {
    let breach = Breach::happens(stage, 42).await?;
    stage.apply(&[breach.run(stage)]).await?;
    let status = at_gate(stage, "StartUnisolated").await?;
    let known = isolation(&status)?;
    ensure!(known.result == Some(Isolation::NotEnforced) && known.control, "{known:?}");
    ensure!(known.held == Some(HeldConnection::StillOpen), "{known:?}");
    let isolated = wait::condition(&status.conditions, "Isolated").context("no condition Isolated")?;
    ensure!((isolated.status.as_str(), isolated.reason.as_str()) == ("False", "NotEnforced"), "{isolated:?}");
    stage.say(format!("it says: {}", isolated.message));
    let set: StatefulSet = stage.get(CHROMADB).await?;
    ensure!(set.spec.and_then(|spec| spec.replicas) == Some(0), "the database was started unasked");
    approve(stage, &status, &["StartUnisolated", "LiftIsolation", "Unseal"]).await?;
    let status = stage.succeeded("breach").await?.status.unwrap_or_default();
    breach.is_undone(stage, &status).await?;
    breach.policies_are_back(stage).await
}

/// A database whose last good point was captured before somebody wrote into it, and captured again since.
struct Breach {
    written: Written,
    /// Since when somebody is inside.
    since: Timestamp,
    /// What they wrote, by its ids.
    ids: BTreeSet<String>,
    /// The newest point, which carries what they wrote.
    after: RecoveryPoint,
    /// The NetworkPolicies by name, without what a server adds.
    policies: BTreeMap<String, Value>,
}

impl Breach {
    async fn happens(stage: &Stage, seed: u64) -> Result<Self> {
        let written = Written::captured(stage, seed, 1).await?;
        let stored = written.point.status.as_ref().and_then(|status| status.stored_at);
        // A store tells whole seconds.
        let since = stored.context("the point says no time of the store")? + SignedDuration::from_secs(1);
        stage.apply(&policies()).await?;
        let mut load = Load::synthetic(seed + 1, 1, 64);
        load.collections = load.collections.into_values().map(|pool| (COLLECTION.to_owned(), pool)).collect();
        let mut intruder = Writer::start(stage.chromadb_ready().await?, load).await?;
        intruder.progress(20, Duration::from_secs(60)).await?;
        let ids = intruder.stop().await?.state(COLLECTION).into_keys().collect();
        let after = stage.capture(CHROMADB).await?;
        stage.say("somebody has written, and it was captured");
        Ok(Self { written, since, ids, after, policies: seen(stage).await? })
    }

    fn run(&self, stage: &Stage) -> Value {
        json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "breach"},
            "spec": {"scenario": "SecurityBreach", "target": {"inPlace": {"confirm": stage.namespace}},
                "incident": {"summary": "a stranger wrote", "suspectedSince": self.since.to_string()}}})
    }

    /// The state from before is served, and what was written since lies in quarantine.
    async fn is_undone(&self, stage: &Stage, status: &RecoveryRunStatus) -> Result<()> {
        let chosen: Vec<&str> = status.points.iter().map(|point| point.name.as_str()).collect();
        ensure!(
            chosen == [self.written.point.name_any()],
            "restored {chosen:?}; {} carries what the intruder wrote",
            self.after.name_any()
        );
        let after: RecoveryPoint = stage.get(&self.after.name_any()).await?;
        let conditions = after.status.map(|status| status.conditions).unwrap_or_default();
        let quarantined = wait::condition(&conditions, "Quarantined").context("no condition Quarantined")?;
        ensure!(quarantined.reason == "SuspectedBreach", "the intruder's point: {quarantined:?}");
        // Every record, and no collection more.
        self.written.is_served(stage).await?;
        let kept = status.quarantine.first().context("nothing is in quarantine")?;
        let names = damage::collections(stage, &kept.claim).await?;
        ensure!(names.iter().any(|name| name == COLLECTION), "the evidence holds {names:?}");
        Ok(())
    }

    async fn policies_are_back(&self, stage: &Stage) -> Result<()> {
        let now = seen(stage).await?;
        ensure!(now == self.policies, "the NetworkPolicies were {:?}, and are {now:?}", self.policies);
        Ok(())
    }
}

/// Who may reach the database, as its owner wrote it.
fn policies() -> [Value; 2] {
    let metadata =
        json!({"name": "database", "labels": {"team": "search"}, "annotations": {"why": "scholars read it"}});
    [
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": {"matchLabels": {"app": CHROMADB}}, "policyTypes": ["Ingress"], "ingress": [{}]}}),
        allow_all(),
    ]
}

fn allow_all() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "everything"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}})
}

async fn seen(stage: &Stage) -> Result<BTreeMap<String, Value>> {
    let all = stage.api::<NetworkPolicy>().list(&ListParams::default()).await?;
    let told = |policy: &NetworkPolicy| {
        let value = json!({"labels": policy.labels(), "annotations": policy.annotations(),
            "owners": policy.owner_references(), "spec": policy.spec});
        (policy.name_any(), value)
    };
    Ok(all.items.iter().map(told).collect())
}

/// Waits until the run waits at a gate.
async fn at_gate(stage: &Stage, gate: &str) -> Result<RecoveryRunStatus> {
    let limit = PATIENCE * 2;
    wait::object(&stage.api::<RecoveryRun>(), "breach", "a run that waits at its gate", limit, |run| {
        let Some(status) = run.and_then(|run| run.status.clone()) else { return Ok(None) };
        ensure!(status.phase != Some(RunPhase::Failed), "the run failed: {}", json!(status.conditions));
        let waits = status.gates.iter().any(|known| known.name.as_str() == gate && known.answer.is_none());
        Ok((waits && status.phase == Some(RunPhase::AwaitingDecision)).then_some(status))
    })
    .await
}

async fn approve(stage: &Stage, status: &RecoveryRunStatus, gates: &[&str]) -> Result<()> {
    let who = stage.kubectl(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).await?;
    let plan = status.plan.as_ref().context("no plan to read")?.digest.clone();
    let one = |gate: &&str| json!({"gate": gate, "answer": "Approved", "by": who.trim(), "planDigest": plan});
    let decisions: Vec<Value> = gates.iter().map(one).collect();
    stage.patch::<RecoveryRun>("breach", &json!({"spec": {"decisions": decisions}})).await
}

fn isolation(status: &RecoveryRunStatus) -> Result<&IsolationStatus> {
    status.isolation.as_ref().context("nothing is known of an isolation")
}

/// Whether the database's pod gets a connection.
async fn connects(stage: &Stage, endpoint: &str) -> Result<bool> {
    let (host, port) = endpoint.rsplit_once(':').context("an endpoint without a port")?;
    let program = format!(
        "import socket\ntry:\n  socket.create_connection(({host:?}, {port}), 3)\n  print('connected')\nexcept OSError as e:\n  print(e)"
    );
    let printed = stage.kubectl(&["exec", "chromadb-0", "--", "/usr/bin/python3", "-c", &program]).await?;
    Ok(printed.trim() == "connected")
}

/// Nothing is lost that lies in quarantine, and how far the database was taken back is told.
fn measured(status: &RecoveryRunStatus) -> Result<()> {
    let measured = status.measured.first().context("nothing was measured")?;
    ensure!(measured.rpo.as_deref() == Some("0s") && measured.rewind.is_some(), "{measured:?}");
    let promised = status.objectives.as_ref().context("no objectives")?;
    let (rpo, rto) = (promised.scenario.rpo.map(|rpo| rpo.to_string()), promised.scenario.rto.to_string());
    ensure!((rpo.as_deref(), rto.as_str()) == (Some("0s"), "1h"), "{promised:?}");
    Ok(())
}
