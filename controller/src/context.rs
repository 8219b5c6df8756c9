//! What every reconciliation shares: the client, the clock, this controller's term, what movers are made of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::events::Recorder;
use plan::recovery::seen::NodeUsage;

use crate::error;
use crate::metrics::Metrics;

/// What every reconciliation shares.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// The clock. `main` makes it; tests pass their own.
    pub now: fn() -> Timestamp,
    /// Term of this controller: how often the Lease changed hands. A controller that finds a higher one in a status no
    /// longer acts.
    pub epoch: i64,
    /// The namespace that it runs in, and so that of its own ServiceAccount.
    pub namespace: String,
    /// What mover Jobs are made of.
    pub mover: MoverConfig,
    /// Writes events.
    pub recorder: Recorder,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// What the nodes use, as it was read last.
    pub(crate) usage: Mutex<Option<(Timestamp, Usage)>>,
    /// When it was last looked at what a repository's namespace has, and with which policies, by the repository.
    pub(crate) covered: Mutex<HashMap<String, (Timestamp, u64)>>,
    failures: Mutex<HashMap<String, u32>>,
}

/// What the nodes use, or a sentence why that is not known.
pub(crate) type Usage = Result<Vec<NodeUsage>, String>;

/// What mover Jobs are made of, from the chart.
#[derive(Clone, Debug)]
pub struct MoverConfig {
    /// Image with the `holdfast` binary.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent: the kubelet's choice by tag.
    pub pull_policy: Option<String>,
    /// Names of image pull Secrets in the namespaces where movers run.
    pub pull_secrets: Vec<String>,
    /// Movers may run hooks in pods.
    pub hooks: bool,
}

impl Context {
    /// A context.
    #[must_use]
    pub fn new(
        client: kube::Client,
        now: fn() -> Timestamp,
        epoch: i64,
        namespace: String,
        mover: MoverConfig,
        recorder: Recorder,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (usage, covered, failures) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { client, now, epoch, namespace, mover, recorder, metrics, usage, covered, failures }
    }

    /// Counts a failure of `object` and says how long to wait.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.to_owned()).or_default();
        *count = count.saturating_add(1);
        error::backoff(*count)
    }

    /// Forgets the failures of `object`.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}
