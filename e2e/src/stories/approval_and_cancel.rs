//! A run that a human ends gives back what it stopped and what it exchanged, and one that waits for a human touches nothing until the right one has agreed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use crds::BackupPolicy;
use crds::RecoveryRun;
use crds::run::{Answer, RecoveryRunStatus, RunPhase, StepPhase, StepStatus, Verdict};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde_json::{Value, json};
use tests::writer::{Server, truth};

use super::loss::Written;
use super::{by_cli, content};
use crate::manifests::{self, CHROMADB, CLAIM};
use crate::runner::Story;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub const STORY: Story = Story {
    name: "approval-and-cancel",
    promise: "a run waits untouched until somebody who may has approved it, and a cancelled one gives everything back, also what it had exchanged",
    alone: false,
    play: |stage| play(stage).boxed(),
};

async fn play(stage: &Stage) -> Result<()> {
    let written = Written::captured(stage, 31, 1).await?;
    cancelled(stage, &written).await?;
    let live = undone(stage, &written).await?;
    approved(stage, &written).await?;
    counted(stage, &written, live).await
}

/// The run has stopped the server and can make no Job: that is where it is cancelled.
async fn cancelled(stage: &Stage, written: &Written) -> Result<()> {
    let claim: PersistentVolumeClaim = stage.get(CLAIM).await?;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-jobs"},
        "spec": {"hard": {"count/jobs.batch": "0"}}});
    stage.apply(&[quota, manifests::run("withdrawn", &stage.namespace)]).await?;
    wait::any(&stage.api::<Event>(), "", "the refusal to be told", PATIENCE, |event: &Event| {
        let refused = event.reason.as_deref() == Some("Refused");
        let of_the_run =
            event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some("withdrawn");
        Ok((refused && of_the_run).then_some(()))
    })
    .await?;
    stage.say("the server is stopped, and the run can go no further");
    stage.patch::<RecoveryRun>("withdrawn", &json!({"spec": {"desiredState": "Cancelled"}})).await?;
    let status = stage.ended("withdrawn").await?.status.unwrap_or_default();
    ensure!(status.phase == Some(RunPhase::Cancelled), "phase {:?}: {:?}", status.phase, status.conditions);
    let failed = wait::condition(&status.conditions, "Failed").context("no condition Failed")?;
    stage.say(format!("it says: {}", failed.message));
    ensure!(
        failed.reason == "Cancelled" && failed.message.contains("cancelled at CheckIntegrity"),
        "{failed:?}"
    );
    stage.kubectl(&["delete", "resourcequota", "no-jobs"]).await?;
    let now: PersistentVolumeClaim = stage.get(CLAIM).await?;
    ensure!(now.uid() == claim.uid(), "the claim is another one");
    as_before(stage, written).await.map(drop)
}

/// What is served is all that was ever acknowledged, also what was written after the point.
async fn as_before(stage: &Stage, written: &Written) -> Result<u64> {
    let (server, now) = (Server::new(stage.chromadb_ready().await?)?, Timestamp::now());
    let found = truth::hold(&server, &written.ledger, now, now).await?;
    stage.say(format!("{} records are served as they were", found.records()));
    Ok(found.records())
}

/// The restored database serves and is being validated: a check waits for something that never comes. There it is cancelled.
async fn undone(stage: &Stage, written: &Written) -> Result<u64> {
    let claim: PersistentVolumeClaim = stage.get(CLAIM).await?;
    let volume = |claim: &PersistentVolumeClaim| claim.spec.clone().and_then(|spec| spec.volume_name);
    let old = volume(&claim).context("the claim has no volume")?;
    let never = json!([{"name": "never", "timeout": "10m", "status": {
        "objectRef": {"kind": "StatefulSet", "name": "chromadb"}, "expression": "object.spec.replicas == 7"}}]);
    stage.patch::<BackupPolicy>(CHROMADB, &json!({"spec": {"checks": never}})).await?;
    stage.apply(&[manifests::run("reconsidered", &stage.namespace)]).await?;
    let what = "a run that validates";
    wait::object(&stage.api::<RecoveryRun>(), "reconsidered", what, PATIENCE, |run| {
        let steps = run.and_then(|run| run.status.as_ref()).map(|status| status.steps.as_slice());
        let validates =
            |step: &StepStatus| step.name == "Validate/chromadb" && step.phase == StepPhase::Running;
        Ok(steps.is_some_and(|steps| steps.iter().any(validates)).then_some(()))
    })
    .await?;
    let serving: PersistentVolumeClaim = stage.get(CLAIM).await?;
    let restored = volume(&serving).context("the claim has no volume")?;
    ensure!(restored != old, "nothing was exchanged before the cancel");
    stage.say(format!("volume {restored} serves instead of {old}, and somebody reconsiders"));
    stage.patch::<RecoveryRun>("reconsidered", &json!({"spec": {"desiredState": "Cancelled"}})).await?;
    let status = stage.ended("reconsidered").await?.status.unwrap_or_default();
    let cancelled = wait::condition(&status.conditions, "Cancelled").context("no condition Cancelled")?;
    ensure!(
        status.phase == Some(RunPhase::Cancelled) && cancelled.reason == "Undone",
        "phase {:?}: {:?}",
        status.phase,
        status.conditions
    );
    stage.say(format!("it says: {}", cancelled.message));
    let left = status.left_as.clone().context("it does not say how it left the world")?;
    ensure!((left.data.as_str(), left.claims.as_str()) == ("Untouched", "Original"), "{left:?}");
    let now: PersistentVolumeClaim = stage.get(CLAIM).await?;
    ensure!(volume(&now).as_ref() == Some(&old), "the claim holds {:?}, and held {old}", volume(&now));
    ensure!(now.metadata.labels == claim.metadata.labels, "the claim lost what its owner wrote on it");
    let kept = status.quarantine.first().context("nothing is kept")?;
    ensure!(kept.volume == restored && status.quarantine.len() == 1, "{:?}", status.quarantine);
    let keeper: PersistentVolumeClaim = stage.get(&kept.claim).await?;
    ensure!(volume(&keeper).as_ref() == Some(&restored), "{} holds {:?}", kept.claim, volume(&keeper));
    for name in [&old, &restored] {
        let policy = "--output=jsonpath={.spec.persistentVolumeReclaimPolicy}";
        let reclaim = stage.kubectl(&["get", "pv", name, policy]).await?;
        ensure!(reclaim.trim() == "Retain", "volume {name} would be deleted with its claim: {reclaim}");
    }
    as_before(stage, written).await
}

/// The policy asks for it; somebody without the right, and somebody in another's name, are refused.
async fn approved(stage: &Stage, written: &Written) -> Result<()> {
    let question = json!([{"name": "audit-read", "group": "Security", "manual": {"expected": "nobody from outside was in"}}]);
    let required = json!({"spec": {"recovery": {"approval": "Required"}, "checks": question}});
    stage.patch::<BackupPolicy>(CHROMADB, &required).await?;
    let pod: Pod = stage.get("chromadb-0").await?;
    stage.apply(&[manifests::run("approved", &stage.namespace)]).await?;
    let waiting =
        wait::object(&stage.api::<RecoveryRun>(), "approved", "a run that waits", PATIENCE, |run| {
            let status = run.and_then(|run| run.status.clone());
            Ok(status.filter(|status| status.phase == Some(RunPhase::AwaitingDecision)))
        })
        .await?;
    ensure!(waiting.gates[0].required_by == "policy/chromadb", "{:?}", waiting.gates);
    untouched(stage, &pod, &waiting).await?;
    let plan = waiting.plan.context("no plan to read")?.digest;
    let who = stage.kubectl(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).await?;
    let stranger = "intern@yourorg.com";
    let edit = format!("--clusterrole=holdfast-recover --user={stranger}");
    let mut bind = vec!["create", "rolebinding", "intern"];
    bind.extend(edit.split(' '));
    stage.kubectl(&bind).await?;
    let decision = |by: &str| json!([{"gate": "Start", "answer": "Approved", "by": by, "planDigest": plan}]);
    for (user, by, sentence) in [
        (Some(stranger), stranger, "lacks the verb approve on recoveryruns.holdfast.dev"),
        (None, stranger, "must be your own user name"),
    ] {
        let said = refused(stage, user, &decision(by)).await?;
        ensure!(said.contains(sentence), "{user:?} as {by}: {said}");
    }
    untouched(stage, &pod, &waiting_of(stage).await?).await?;
    stage.say("nobody else may: nothing is touched");
    stage.patch::<RecoveryRun>("approved", &json!({"spec": {"decisions": decision(who.trim())}})).await?;
    let status = stage.succeeded("approved").await?.status.unwrap_or_default();
    let gate = &status.gates[0];
    ensure!((gate.answer, gate.by.as_deref()) == (Some(Answer::Approved), Some(who.trim())), "{gate:?}");
    let parts: BTreeMap<&str, i64> =
        status.measured[0].breakdown.iter().map(|part| (part.part.as_str(), part.millis)).collect();
    ensure!(parts.get("decision").is_some_and(|millis| *millis > 0), "{parts:?}");
    written.is_served(stage).await?;
    attested(stage, &status, who.trim()).await
}

/// The volume that the approved run replaced is whole: what was written after the point is counted in it, and listed.
async fn counted(stage: &Stage, written: &Written, live: u64) -> Result<()> {
    let what = "the lost records to be counted";
    let loss = wait::object(&stage.api::<RecoveryRun>(), "approved", what, PATIENCE, |run| {
        let measured = run.and_then(|run| run.status.as_ref()).and_then(|status| status.measured.first());
        let loss = measured.and_then(|measured| measured.data_loss.clone());
        Ok(loss.filter(|loss| loss.records.is_some() || loss.unknown.is_some()))
    })
    .await?;
    let count = loss.count.clone().with_context(|| format!("nothing was counted: {:?}", loss.unknown))?;
    let (_, content) = content(&written.point)?;
    let in_the_point: u64 = content.collections.iter().map(|collection| collection.count).sum();
    ensure!(
        in_the_point + count.added == live + count.removed,
        "{in_the_point} records in the point, {live} before the run, counted {count:?}"
    );
    ensure!(loss.records == Some(count.added + count.altered), "{loss:?}");
    let listed = by_cli::run(stage, &["report", "approved", "--lost-records", "--output", "json"]).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    let ids = |change: &Value| change["ids"]["added"].as_array().map_or(0, Vec::len) as u64;
    let collections = listed["losses"][0]["collections"].as_array().context("no collections")?;
    let named: u64 = collections.iter().map(ids).sum();
    ensure!(named == count.added, "{named} ids are listed, {} records were counted", count.added);
    stage.say(format!("{} records were written after the point, and each is named", count.added));
    Ok(())
}

/// What only a person can know held up nothing, and is said after the end.
async fn attested(stage: &Stage, status: &RecoveryRunStatus, who: &str) -> Result<()> {
    ensure!(
        status.verdict == Some(Verdict::Inconclusive),
        "nobody has attested anything: {:?}",
        status.verdict
    );
    let waits = wait::condition(&status.conditions, "Attested").context("no condition Attested")?;
    ensure!(waits.reason == "AwaitingAttestation" && waits.message.contains("audit-read"), "{waits:?}");
    let given =
        json!([{"check": "chromadb/audit-read", "answer": "Approved", "by": who, "comment": "read it all"}]);
    stage.patch::<RecoveryRun>("approved", &json!({"spec": {"attestations": given}})).await?;
    let what = "the attestation in the verdict";
    wait::object(&stage.api::<RecoveryRun>(), "approved", what, PATIENCE, |run| {
        let status = run.and_then(|run| run.status.as_ref());
        Ok(status.filter(|status| status.verdict == Some(Verdict::Passed)).map(drop))
    })
    .await?;
    stage.say("the manual check is attested, the verdict is Passed");
    Ok(())
}

async fn waiting_of(stage: &Stage) -> Result<RecoveryRunStatus> {
    stage.get::<RecoveryRun>("approved").await?.status.context("no status")
}

/// The server's pod is the same, and no step but the first was begun.
async fn untouched(stage: &Stage, pod: &Pod, status: &RecoveryRunStatus) -> Result<()> {
    let now: Pod = stage.get("chromadb-0").await?;
    ensure!(now.uid() == pod.uid(), "the server was stopped before anybody agreed");
    let begun = status.steps.iter().skip(1).find(|step| step.phase != StepPhase::Waiting);
    ensure!(begun.is_none() && status.stopped.is_empty(), "{begun:?} was begun");
    Ok(())
}

async fn refused(stage: &Stage, user: Option<&str>, decisions: &Value) -> Result<String> {
    let patch = json!({"spec": {"decisions": decisions}}).to_string();
    let user = user.map(|user| format!("--as={user}"));
    let mut arguments = vec![
        "--namespace",
        &stage.namespace,
        "patch",
        "hfrun",
        "approved",
        "--type=merge",
        "--patch",
        &patch,
    ];
    arguments.extend(user.as_deref());
    let printed = stage.place.kubectl.attempt(&arguments, None).await?;
    ensure!(!printed.success, "this was taken and should have been refused: {patch}");
    Ok(printed.err)
}
