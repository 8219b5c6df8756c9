//! The mailer, and somebody's mail server, which it sends by.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::EMAIL;
use crate::service::Client;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// The mail server's pod and Service.
pub const MAIL_SERVER: &str = "mail-server";

/// A mail server that keeps in memory what it gets, and says over HTTP what that is.
pub fn mail_server(image: &str) -> Vec<Value> {
    let labels = json!({"app": MAIL_SERVER});
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAIL_SERVER},
            "data": {"sink.py": include_str!("sink.py")}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": MAIL_SERVER}, "spec": {"selector": labels,
            "ports": [{"name": "http", "port": 8000}, {"name": "smtp", "port": 2525}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": MAIL_SERVER}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsUser": 1500, "runAsGroup": 1500},
                "containers": [{
                    "name": MAIL_SERVER, "image": image, "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "/program/sink.py"],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "program", "mountPath": "/program"}]}],
                "volumes": [{"name": "program", "configMap": {"name": MAIL_SERVER}}]}}}}),
    ]
}

/// What the mail server has got: id, recipient and subject of each message, by subject.
pub async fn received(stage: &Stage) -> Result<Vec<Value>> {
    by_subject(Client::serving(stage, MAIL_SERVER).await?.get("mails").await?)
}

/// Messages in an order that doesn't depend on when which of them was put off.
fn by_subject(messages: Value) -> Result<Vec<Value>> {
    let mut messages: Vec<Value> = serde_json::from_value(messages)?;
    messages.sort_by_key(|message| message["subject"].to_string());
    Ok(messages)
}

/// Has the mail server put everybody off.
pub async fn refuse(stage: &Stage) -> Result<()> {
    Client::serving(stage, MAIL_SERVER).await?.post("refusing", &json!(true)).await.map(drop)
}

/// Whoever sends mail.
pub struct Mailer(Client);

impl Mailer {
    /// It, once it answers.
    pub async fn serving(stage: &Stage) -> Result<Self> {
        Ok(Self(Client::serving(stage, EMAIL).await?))
    }

    /// Hands over messages with these subjects, each of which is queued then.
    pub async fn send(&self, subjects: &[&str]) -> Result<()> {
        for subject in subjects {
            let message = json!({"to": "admin@yourorg.com", "subject": subject, "text": "See the subject."});
            self.0.post("messages", &message).await?;
        }
        Ok(())
    }

    /// Waits until so many messages are queued and so many were sent.
    pub async fn has(&self, queued: u64, sent: u64) -> Result<()> {
        wait::answer("the mailer to have sent what it can", PATIENCE, || async {
            let status = self.0.get("status").await?;
            let counts = [&status["queued"], &status["sent"], &status["refused"]];
            ensure!(counts == [&json!(queued), &json!(sent), &json!(0)], "it says {status}");
            Ok(())
        })
        .await
    }

    /// What it has queued, as a mail server gets it, by subject.
    pub async fn queue(&self) -> Result<Vec<Value>> {
        let mut queued = by_subject(self.0.get("queue").await?)?;
        for message in &mut queued {
            message["id"] = format!("<{}@yourorg.com>", message["id"].as_str().unwrap_or_default()).into();
        }
        Ok(queued)
    }
}
