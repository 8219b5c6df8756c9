//! Of each namespace: its incidents, as far as their runs exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::RecoveryRun;
use crds::kpi::mean;
use crds::run::RunPhase;
use jiff::SignedDuration;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::families::{NamespaceLabel, Word, numbers, put, seconds};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    namespace: String,
    result: Word,
}

pub(super) fn measure(registry: &mut Registry, runs: &[Arc<RecoveryRun>]) {
    let incidents =
        numbers(registry, "namespace_incidents", "Ended recoveries that were no drills, by result");
    let losses = numbers(
        registry,
        "namespace_data_loss_incidents",
        "Incidents after which something written was lost",
    );
    let mttr = seconds(
        registry,
        "namespace_mean_time_to_recovery",
        "Mean time from the declared failure to the last component recovered",
    );
    let mut by_namespace: BTreeMap<String, Vec<&RecoveryRun>> = BTreeMap::new();
    for run in runs {
        let of = by_namespace.entry(run.namespace().unwrap_or_default()).or_default();
        of.extend(Some(run.as_ref()).filter(|run| run.is_incident()));
    }
    for (namespace, runs) in by_namespace {
        let phase = |run: &RecoveryRun| run.status.as_ref().and_then(|status| status.phase);
        let (well, badly): (Vec<&RecoveryRun>, Vec<&RecoveryRun>) =
            runs.iter().partition(|run| phase(run) == Some(RunPhase::Succeeded));
        for (result, count) in [("recovered", well.len()), ("failed", badly.len())] {
            let label = ResultLabel { namespace: namespace.clone(), result: Word(result) };
            put(&incidents, &label, count);
        }
        let lost = runs.iter().filter(|run| run.data_loss() > Some(SignedDuration::ZERO)).count();
        let label = NamespaceLabel { namespace };
        put(&losses, &label, lost);
        if let Some(mean) = mean(well.iter().filter_map(|run| run.time_to_recover())) {
            mttr.get_or_create(&label).set(mean.as_secs_f64());
        }
    }
}
