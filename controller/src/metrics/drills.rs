//! Of each drill: what its last execution came to, what the last ten did, when one last passed and how old that may be.

use std::sync::Arc;

use crds::DrDrill;
use crds::run::Verdict;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::families::{Word, numbers, put, seconds};
use super::runs::verdict_word;

/// Every verdict has a series, so that one which has come is seen to go again.
const VERDICTS: [Verdict; 4] = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::Skipped];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DrillLabel {
    namespace: String,
    drill: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    namespace: String,
    drill: String,
    verdict: Word,
}

pub(super) fn measure(registry: &mut Registry, drills: &[Arc<DrDrill>]) {
    let last = numbers(registry, "drill_last_result", "Whether the last execution came out so");
    let counts = numbers(registry, "drill_results", "The last ten executions, by verdict");
    let passed = seconds(registry, "drill_last_pass_timestamp", "When one that passed was started last");
    let stale = seconds(registry, "drill_max_staleness", "How old the last one that passed may be");
    for drill in drills {
        let (namespace, name) = (drill.namespace().unwrap_or_default(), drill.name_any());
        let Some(status) = &drill.status else { continue };
        let label = DrillLabel { namespace: namespace.clone(), drill: name.clone() };
        if let Some(time) = status.last_passed {
            passed.get_or_create(&label).set(time.as_duration().as_secs_f64());
        }
        if let Some(resolved) = &status.resolved {
            stale.get_or_create(&label).set(resolved.max_staleness.to_duration().as_secs_f64());
        }
        let newest = status.results.first().map(|result| result.verdict);
        for verdict in VERDICTS.into_iter().filter(|_| newest.is_some()) {
            let word = Word(verdict_word(verdict));
            let label = VerdictLabel { namespace: namespace.clone(), drill: name.clone(), verdict: word };
            put(&last, &label, newest == Some(verdict));
            put(&counts, &label, status.results.iter().filter(|result| result.verdict == verdict).count());
        }
    }
}
