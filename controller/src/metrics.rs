//! What is measured, in the OpenMetrics text form; `docs/metrics.md` has every name, and a test holds it to that. What is about an object is
//! made from what the leader watches at every scrape, so that an age is true then and not when the object was last reconciled, and a
//! deleted object leaves no series behind. No reconciliation does anything for it.

mod drills;
mod families;
mod incidents;
mod policies;
mod repositories;
mod runs;

use std::collections::HashMap;
use std::fmt::Error;
use std::sync::{Mutex, PoisonError};

use crds::{BackupPolicy, DrDrill, RecoveryRepository, RecoveryRun};
use jiff::Timestamp;
use kube::runtime::reflector::Store;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Kind of the object reconciled.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// E.g. BackupPolicy.
    pub kind: &'static str,
}

/// Kind of the object and category of the error.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ErrorLabel {
    /// E.g. BackupPolicy.
    pub kind: &'static str,
    /// See [`crate::error::Category`].
    pub category: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Reconciliations begun.
    pub reconciliations: Family<KindLabel, Counter>,
    /// Reconciliations that ended in an error.
    pub errors: Family<ErrorLabel, Counter>,
    /// Time that reconciliations took.
    pub duration: Family<KindLabel, Histogram>,
    /// Whether this process leads: 1 or 0.
    pub leader: Gauge,
    watched: Mutex<Option<Watched>>,
    intervals: Mutex<Intervals>,
}

/// The objects that the leader watches.
pub struct Watched {
    /// Policies.
    pub policies: Store<BackupPolicy>,
    /// Repositories.
    pub repositories: Store<RecoveryRepository>,
    /// Runs.
    pub runs: Store<RecoveryRun>,
    /// Drills.
    pub drills: Store<DrDrill>,
}

/// How often a schedule captures, in seconds, by its cron and zone: costly to find out, and what schedules say does not change.
pub(crate) type Intervals = HashMap<(String, String), f64>;

impl Metrics {
    /// Metrics, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        let reconciliations = Family::default();
        registry.register("reconciliations", "Reconciliations begun", reconciliations.clone());
        let errors = Family::default();
        registry.register("reconciliation_errors", "Reconciliations that ended in an error", errors.clone());
        let duration = Family::<KindLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.005, 2.0, 13))
        });
        registry.register_with_unit(
            "reconciliation_duration",
            "Time that reconciliations took",
            Unit::Seconds,
            duration.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this process leads", leader.clone());
        let build = Family::<VersionLabel, Gauge>::default();
        registry.register("build_info", "The version of the controller; always 1", build.clone());
        build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        let (watched, intervals) = (Mutex::default(), Mutex::default());
        Self { registry, reconciliations, errors, duration, leader, watched, intervals }
    }

    /// From now on, tell about these objects.
    pub fn watch(&self, watched: Watched) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(watched);
    }

    /// The text form at the instant `now`.
    ///
    /// # Errors
    /// When a metric can't be written, which would be a defect of the encoder.
    pub fn encode(&self, now: Timestamp) -> Result<String, Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        if let Some(watched) = self.watched.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            encode_registry(&mut text, &self.measure(watched, now))?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// What is about objects, as they are.
    fn measure(&self, watched: &Watched, now: Timestamp) -> Registry {
        let mut registry = Registry::with_prefix("holdfast");
        let (policies, repositories) = (watched.policies.state(), watched.repositories.state());
        let runs = watched.runs.state();
        let mut intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        policies::measure(&mut registry, &policies, &mut intervals, now);
        repositories::measure(&mut registry, &repositories, &policies);
        runs::measure(&mut registry, &runs, now);
        incidents::measure(&mut registry, &runs);
        drills::measure(&mut registry, &watched.drills.state());
        registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
