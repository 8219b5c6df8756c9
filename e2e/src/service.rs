//! The small services of `examples/arxiv`: what each consists of in the cluster, and whoever talks to one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::writer::Address;

use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// What all of them share.
pub const SHARED: (&str, &str) = ("service.py", include_str!("../../examples/arxiv/service.py"));

/// A service as users deploy it. Its settings are in the ConfigMap `NAME-config`, its state on the claim `NAME-state`, and what is secret in
/// the .env file of the Secret `NAME-env`.
pub struct Deployed<'a> {
    /// Of the Deployment and its Service.
    pub name: &'a str,
    /// The ConfigMap with its programs.
    pub programs: &'a str,
    /// The one that it runs.
    pub program: &'a str,
    pub settings: Value,
    pub dotenv: Option<&'a str>,
}

impl Deployed<'_> {
    /// The service itself.
    fn serving(&self, image: &str) -> Value {
        let mut pod = self.pod(image, self.program);
        let claim = format!("{}-state", self.name);
        let state = json!({"name": "state", "persistentVolumeClaim": {"claimName": claim}});
        if let Some(volumes) = pod["volumes"].as_array_mut() {
            volumes.push(state);
        }
        let container = &mut pod["containers"][0];
        if let Some(mounts) = container["volumeMounts"].as_array_mut() {
            mounts.push(json!({"name": "state", "mountPath": "/state"}));
        }
        container["readinessProbe"] =
            json!({"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 1});
        pod
    }

    /// A pod that runs one of its programs beside it, without its state, as nobody in particular.
    pub fn pod(&self, image: &str, program: &str) -> Value {
        let Self { name, programs, .. } = self;
        let mut mounts = vec![
            json!({"name": "program", "mountPath": "/program"}),
            json!({"name": "config", "mountPath": "/config"}),
        ];
        let mut volumes = vec![
            json!({"name": "program", "configMap": {"name": programs}}),
            json!({"name": "config", "configMap": {"name": format!("{name}-config")}}),
        ];
        if self.dotenv.is_some() {
            mounts.push(json!({"name": "secret", "mountPath": "/secret"}));
            volumes.push(json!({"name": "secret", "secret": {"secretName": format!("{name}-env")}}));
        }
        json!({
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": 1500, "runAsGroup": 1500, "fsGroup": 1500},
            "containers": [{
                "name": name, "image": image, "imagePullPolicy": "IfNotPresent",
                "command": ["python3", format!("/program/{program}")],
                "env": [{"name": "STATE", "value": "/state"}, {"name": "DOTENV", "value": "/secret/.env"}],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        })
    }

    /// Settings, claim, Service, Deployment and Secret.
    pub fn objects(&self, image: &str) -> Vec<Value> {
        let name = self.name;
        let labels = json!({"app": name});
        let secret = self.dotenv.map(|text| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-env")},
                "stringData": {".env": text}})
        });
        let mut made = vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{name}-config")},
                "data": self.settings}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": format!("{name}-state")},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 8000}]}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
                "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": self.serving(image)}}}),
        ];
        made.extend(secret);
        made
    }
}

/// A ConfigMap with programs, that which all share among them.
pub fn programs(name: &str, files: &[(&str, &str)]) -> Value {
    let files = std::iter::once(&SHARED).chain(files);
    let data: serde_json::Map<String, Value> =
        files.map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Whoever talks to a service.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: Arc<dyn Address>,
    token: Option<&'static str>,
}

impl Client {
    /// The service `name` once it is ready and answers.
    pub async fn serving(stage: &Stage, name: &str) -> Result<Self> {
        let what = format!("a ready {name}");
        wait::object(&stage.api::<Deployment>(), name, &what, PATIENCE, |deployment| {
            let ready = deployment.and_then(|d| d.status.as_ref()).and_then(|status| status.ready_replicas);
            Ok((ready == Some(1)).then_some(()))
        })
        .await?;
        let address = stage.place.reach.service(&stage.namespace, name).await?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let client = Self { http, address, token: None };
        wait::answer(&format!("the health of {name}"), PATIENCE, || client.get("healthz")).await?;
        Ok(client)
    }

    /// The same, showing a token.
    pub fn with_token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let request = match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await?;
        let (status, url, text) = (answer.status(), answer.url().clone(), answer.text().await?);
        if !status.is_success() {
            bail!("{url} is answered with {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} is answered with {text}"))
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}/{path}", self.address.url().await?);
        self.send(self.http.get(url)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/{path}", self.address.url().await?);
        self.send(self.http.post(url).json(body)).await
    }
}
