//! What is measured, in the OpenMetrics text form. Few, and each one answers a question that an alert asks.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use crds::{BackupPolicy, RecoveryRepository};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
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

/// An object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ObjectLabel {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

type Seconds = Gauge<f64, AtomicU64>;

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
    /// The promised recovery point objective of a policy.
    pub rpo_objective: Family<ObjectLabel, Seconds>,
    /// Age of a policy's newest Available point; +Inf while there is none.
    pub recovery_point_age: Family<ObjectLabel, Seconds>,
    /// Captures of a policy that failed in a row.
    pub capture_failures: Family<ObjectLabel, Gauge>,
    /// Whether a repository is Ready: 1 or 0.
    pub repository_up: Family<ObjectLabel, Gauge>,
    /// What the leader watches. The series about objects are made from it at every scrape, so that an age is true then
    /// and not when the object was last reconciled, and a deleted object leaves no series behind.
    watched: Mutex<Option<Watched>>,
}

/// The objects that the leader watches.
pub struct Watched {
    /// Policies.
    pub policies: Store<BackupPolicy>,
    /// Repositories.
    pub repositories: Store<RecoveryRepository>,
}

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
        let rpo_objective = Family::default();
        registry.register_with_unit(
            "policy_rpo_objective",
            "Promised recovery point objective",
            Unit::Seconds,
            rpo_objective.clone(),
        );
        let recovery_point_age = Family::default();
        registry.register_with_unit(
            "policy_recovery_point_age",
            "Age of the newest Available point",
            Unit::Seconds,
            recovery_point_age.clone(),
        );
        let capture_failures = Family::default();
        registry.register("policy_capture_failures", "Captures failed in a row", capture_failures.clone());
        let repository_up = Family::default();
        registry.register("repository_up", "Whether the repository is Ready", repository_up.clone());
        Self {
            registry,
            reconciliations,
            errors,
            duration,
            leader,
            rpo_objective,
            recovery_point_age,
            capture_failures,
            repository_up,
            watched: Mutex::default(),
        }
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
        // Held to the end: two scrapes at once must not see each other's half-filled families.
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = watched.as_ref() {
            self.measure(watched, now);
        }
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn measure(&self, watched: &Watched, now: Timestamp) {
        self.rpo_objective.clear();
        self.recovery_point_age.clear();
        self.capture_failures.clear();
        self.repository_up.clear();
        for policy in watched.policies.state() {
            let label = label(policy.as_ref());
            let status = policy.status.as_ref();
            self.rpo_objective.get_or_create(&label).set(policy.spec.objectives.rpo.as_secs() as f64);
            let last = status.and_then(|s| s.last_point.as_ref()).map(|p| p.consistency_time);
            let age = last.map_or(f64::INFINITY, |time| now.duration_since(time).as_secs_f64());
            self.recovery_point_age.get_or_create(&label).set(age);
            let failures = status.map_or(0, |s| s.consecutive_failures);
            self.capture_failures.get_or_create(&label).set(i64::from(failures));
        }
        for repository in watched.repositories.state() {
            let up =
                repository.status.as_ref().is_some_and(|s| crds::condition::is_true(&s.conditions, "Ready"));
            self.repository_up.get_or_create(&label(repository.as_ref())).set(i64::from(up));
        }
    }
}

fn label<K: ResourceExt>(object: &K) -> ObjectLabel {
    ObjectLabel { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
