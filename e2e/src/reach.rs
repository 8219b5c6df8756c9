//! How this program talks to a ChromaDB in the cluster: straight to its Service where the cluster's network is ours, by a
//! forwarded port elsewhere.

use std::fmt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tests::writer::Address;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::Mutex;

use crate::program::Program;

/// The way in.
#[derive(Clone)]
pub enum Reach {
    /// To the Service's address.
    Direct(Client),
    /// By `kubectl port-forward`.
    Forwarded(Program),
}

impl Reach {
    pub fn direct(client: Client) -> Self {
        Self::Direct(client)
    }

    pub fn forwarded(kubectl: Program) -> Self {
        Self::Forwarded(kubectl)
    }

    /// The address of a Service's port 8000.
    pub async fn service(&self, namespace: &str, name: &str) -> Result<Arc<dyn Address>> {
        match self {
            Self::Direct(client) => {
                let service: Service = Api::namespaced(client.clone(), namespace).get(name).await?;
                let ip =
                    service.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
                Ok(Arc::new(format!("http://{ip}:8000")))
            }
            Self::Forwarded(kubectl) => Ok(Arc::new(Forward {
                kubectl: kubectl.clone(),
                namespace: namespace.to_owned(),
                service: name.to_owned(),
                child: Mutex::new(None),
            })),
        }
    }
}

/// A forwarded port, opened again when the pod behind it was replaced.
struct Forward {
    kubectl: Program,
    namespace: String,
    service: String,
    child: Mutex<Option<(Child, String)>>,
}

impl Address for Forward {
    fn url(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async {
            let mut held = self.child.lock().await;
            if let Some((child, url)) = held.as_mut()
                && child.try_wait()?.is_none()
            {
                return Ok(url.clone());
            }
            let mut child = self
                .kubectl
                .attendant()
                .args([
                    "port-forward",
                    "--namespace",
                    &self.namespace,
                    &format!("service/{}", self.service),
                    ":8000",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .context("kubectl port-forward can't be started")?;
            let out = child.stdout.take().context("kubectl port-forward has no output")?;
            let mut lines = BufReader::new(out).lines();
            let first = tokio::time::timeout(Duration::from_secs(10), lines.next_line())
                .await
                .context("kubectl port-forward says nothing for 10 s")??;
            // "Forwarding from 127.0.0.1:40123 -> 8000"
            let port = first
                .as_deref()
                .and_then(|line| line.strip_prefix("Forwarding from 127.0.0.1:"))
                .and_then(|rest| rest.split(' ').next());
            let Some(port) = port else { bail!("kubectl port-forward to {} failed", self.service) };
            let url = format!("http://127.0.0.1:{port}");
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            *held = Some((child, url.clone()));
            Ok(url)
        })
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forward({}/{})", self.namespace, self.service)
    }
}
