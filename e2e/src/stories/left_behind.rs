//! What an intruder leaves besides what they wrote: a right, something that would run, a changed object, a Secret. The audit names each of it and
//! nothing else as bad, with every record that they wrote.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use crds::RecoveryRun;
use crds::run::{AuditFinding, AuditKind, AuditSeverity, RecoveryRunStatus, Verdict};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::by_cli;
use crate::manifests::CHROMADB;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// Leaves it. Nothing of it runs: that it would is enough.
pub async fn leave(stage: &Stage) -> Result<()> {
    let rbac = "rbac.authorization.k8s.io";
    let privileged =
        json!({"name": "miner", "image": "localhost/none:1", "securityContext": {"privileged": true}});
    let template = json!({"metadata": {"labels": {"app": "miner"}}, "spec": {"containers": [privileged]}});
    stage
        .apply(&[
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "helper"},
                "rules": [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["create", "get"]}]}),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "helper"},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "helper"},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": "mallory"}]}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "miner"}, "spec": {"replicas": 0,
                "selector": {"matchLabels": {"app": "miner"}}, "template": template}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "loot"}, "stringData": {"KEY": "hunter2"}}),
        ])
        .await?;
    stage.patch::<Service>(CHROMADB, &json!({"spec": {"sessionAffinity": "ClientIP"}})).await
}

/// Takes away what gives somebody a way back.
pub async fn clear(stage: &Stage) -> Result<()> {
    for object in ["rolebinding/helper", "role/helper", "deployment/miner", "secret/loot"] {
        stage.kubectl(&["delete", object, "--cascade=foreground"]).await?;
    }
    Ok(())
}

/// The audit of the run names all of it, and whatever else it names is not bad. `ids` are those of the records that the intruder wrote.
pub async fn is_named(
    stage: &Stage,
    status: &RecoveryRunStatus,
    collection: &str,
    ids: &BTreeSet<String>,
) -> Result<()> {
    let audit = status.audit.as_ref().context("nothing was audited")?;
    let bad = |finding: &&AuditFinding| finding.severity == AuditSeverity::High;
    let bad: Vec<(AuditKind, &str)> =
        audit.findings.iter().filter(bad).map(|found| (found.kind, found.object.as_str())).collect();
    let expected = [
        (AuditKind::Access, "RoleBinding helper"),
        (AuditKind::Privilege, "Deployment miner"),
        (AuditKind::UnknownObject, "Deployment miner"),
    ];
    ensure!(bad == expected && audit.counts.high == 3, "of high severity: {bad:?} of {:?}", audit.counts);
    ensure!(audit.counts.unknown == 0, "not seen: {:?}", audit.findings);
    for finding in &audit.findings {
        stage.say(format!("{}: {}: {}", finding.severity.as_str(), finding.object, finding.message));
    }
    let line = check(status, "access-controls")?;
    ensure!(line == Verdict::Failed, "access-controls is {line:?} while the RoleBinding is there");

    let document = audit.documents.first().context("no audit is stored")?;
    let printed = by_cli::run(stage, &["audit", &document.name, "--output", "json"]).await?;
    ensure!(!printed.contains("hunter2"), "the audit holds a Secret");
    let printed: Value = serde_json::from_str(printed.trim().lines().last().unwrap_or_default())?;
    let found = |object: &str| {
        let of = |list: &Value| list.as_array().into_iter().flatten().any(|found| found["object"] == object);
        of(&printed["namespace"]) || of(&printed["findings"])
    };
    for object in ["RoleBinding helper", "Deployment miner", "Secret loot", "Service chromadb"] {
        ensure!(found(object), "{object} is not in the audit: {printed}");
    }
    let changes = printed["components"][0]["collections"].as_array().context("no data was compared")?;
    let theirs = changes.iter().find(|change| change["collection"] == collection);
    let added = theirs.context("the intruder's collection is not in the audit")?["ids"]["added"].clone();
    let added: BTreeSet<String> = serde_json::from_value(added)?;
    ensure!(added == *ids, "the intruder wrote {ids:?}, the audit says {added:?}");
    stage.say(format!("the audit names each of {} records that the intruder wrote", added.len()));
    Ok(())
}

/// The end of the run: nothing is left that came since, and what only people can read is waited for until they say so.
pub async fn is_cleared(stage: &Stage, status: &RecoveryRunStatus) -> Result<()> {
    let access = check(status, "access-controls")?;
    ensure!(access == Verdict::Passed, "access-controls is {access:?}: {:?}", status.checks);
    ensure!(check(status, "audit-logs-reviewed")? == Verdict::Inconclusive, "{:?}", status.checks);
    ensure!(status.verdict == Some(Verdict::Inconclusive), "nobody has read any log: {:?}", status.verdict);
    let who = stage.kubectl(&["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"]).await?;
    let given = json!([{"check": "audit-logs-reviewed", "answer": "Approved", "by": who.trim()}]);
    stage.patch::<RecoveryRun>("breach", &json!({"spec": {"attestations": given}})).await?;
    let what = "the attestation in the verdict";
    wait::object(&stage.api::<RecoveryRun>(), "breach", what, PATIENCE, |run| {
        let status = run.and_then(|run| run.status.as_ref());
        Ok(status.filter(|status| status.verdict == Some(Verdict::Passed)).map(drop))
    })
    .await
}

fn check(status: &RecoveryRunStatus, name: &str) -> Result<Verdict> {
    let line = status.checks.iter().find(|check| check.name == name);
    Ok(line.with_context(|| format!("no check {name}"))?.verdict)
}
