//! `holdfast-controller`: reads its arguments, takes the Lease, runs the reconcilers until SIGTERM or until the Lease is
//! lost. The only place that knows the environment and the clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use clap::Parser;
use controller::context::{Context, MoverConfig};
use controller::controllers;
use controller::health::{self, Health};
use controller::lease::Candidate;
use controller::metrics::Metrics;
use jiff::Timestamp;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps ChromaDB recoverable: captures, recoveries, and what was measured of both.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Image of the movers, with the `holdfast` binary.
    #[arg(long, env = "HOLDFAST_MOVER_IMAGE")]
    mover_image: String,
    /// Pull policy of that image: Always, IfNotPresent or Never.
    #[arg(long, env = "HOLDFAST_MOVER_PULL_POLICY")]
    mover_pull_policy: Option<String>,
    /// Image pull Secrets of the movers, by name, in the namespaces where movers run.
    #[arg(long, env = "HOLDFAST_MOVER_PULL_SECRETS", value_delimiter = ',')]
    mover_pull_secrets: Vec<String>,
    /// Whether policies may have hooks: commands that movers run in pods.
    #[arg(long, env = "HOLDFAST_HOOKS")]
    hooks: bool,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "HOLDFAST_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Namespace of this pod, where the Lease is.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of this pod.
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// Uid of this pod: its restarted container takes over the Lease without waiting.
    #[arg(long, env = "POD_UID")]
    pod_uid: Option<String>,
    /// Name of the Lease.
    #[arg(long, env = "HOLDFAST_LEASE", default_value = "holdfast-controller")]
    lease: String,
}

#[allow(clippy::disallowed_methods, reason = "the one clock of this process")]
fn clock() -> Timestamp {
    Timestamp::now()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| "info".into()),
        )
        .init();
    let client = Client::try_default().await.context("can't find the API server")?;
    let metrics = Arc::new(Metrics::new());
    let ready = Arc::new(AtomicBool::new(false));
    let health = Health { metrics: Arc::clone(&metrics), ready: Arc::clone(&ready), now: clock };
    let mut health = tokio::spawn(health::serve(arguments.listen, health));
    let mut candidate = Candidate::new(
        Api::namespaced(client.clone(), &arguments.namespace),
        arguments.lease.clone(),
        identity(&arguments),
        clock,
    );

    let version = client.apiserver_version().await.context("can't reach the API server")?;
    tracing::info!(server = version.git_version, version = env!("CARGO_PKG_VERSION"), "started");
    ready.store(true, Ordering::Relaxed);

    let mut stop = std::pin::pin!(stopped()?);
    let epoch = tokio::select! {
        epoch = candidate.lead() => epoch,
        () = &mut stop => return Ok(()),
        end = &mut health => bail!("can't serve {}: {:?}", arguments.listen, end),
    };
    tracing::info!(epoch, "leads");
    metrics.leader.set(1);
    let reporter =
        Reporter { controller: "holdfast.dev/controller".into(), instance: Some(arguments.pod_name.clone()) };
    let mover = MoverConfig {
        image: arguments.mover_image,
        pull_policy: arguments.mover_pull_policy,
        pull_secrets: arguments.mover_pull_secrets.into_iter().filter(|name| !name.is_empty()).collect(),
        hooks: arguments.hooks,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let ctx = Arc::new(Context::new(client, clock, epoch, arguments.namespace, mover, recorder, metrics));
    // Leaving this select drops the reconcilers: nothing is written after the Lease is lost or given back.
    tokio::select! {
        why = candidate.keep() => bail!("{why}; stopped, so that only one controller acts"),
        () = controllers::run_all(ctx) => bail!("the watches ended"),
        () = &mut stop => {}
        end = &mut health => bail!("can't serve {}: {:?}", arguments.listen, end),
    }
    candidate.release().await;
    Ok(())
}

/// Ends at SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Two containers of one pod never run at once, so its uid is an identity that may take over from itself. Without it,
/// the start time keeps a restarted process from mistaking an old record for its own.
fn identity(arguments: &Arguments) -> String {
    match &arguments.pod_uid {
        Some(uid) => format!("{}_{uid}", arguments.pod_name),
        None => format!("{}_{}", arguments.pod_name, clock().as_nanosecond()),
    }
}
