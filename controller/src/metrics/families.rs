//! How a family of series about objects is made, for one scrape.

use std::sync::atomic::AtomicU64;

use kube::ResourceExt;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Values that are no whole numbers.
pub(super) type Float = Gauge<f64, AtomicU64>;
/// Times and lengths of time.
pub(super) type Seconds<L> = Family<L, Float>;
/// Whole numbers, and 1 or 0 for yes or no.
pub(super) type Numbers<L> = Family<L, Gauge>;

/// An object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ObjectLabel {
    /// Namespace.
    pub(super) namespace: String,
    /// Name.
    pub(super) name: String,
}

/// A namespace.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct NamespaceLabel {
    /// Namespace.
    pub(super) namespace: String,
}

/// A word that an enumeration has.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Word(pub(super) &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// The label of an object.
pub(super) fn label<K: ResourceExt>(object: &K) -> ObjectLabel {
    ObjectLabel { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// A family of seconds called `<name>_seconds`.
pub(super) fn seconds<L>(registry: &mut Registry, name: &str, help: &str) -> Seconds<L>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Seconds::<L>::default();
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

/// A family of whole numbers.
pub(super) fn numbers<L>(registry: &mut Registry, name: &str, help: &str) -> Numbers<L>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Numbers::<L>::default();
    registry.register(name, help, family.clone());
    family
}

/// Sets a whole number.
pub(super) fn put<L>(family: &Numbers<L>, label: &L, value: impl TryInto<i64>)
where
    L: Clone + std::hash::Hash + Eq,
{
    family.get_or_create(label).set(value.try_into().unwrap_or(i64::MAX));
}
