//! Of each drill: how its last execution came out, how the last ten did, and how old its evidence is beside how old that may be.

use std::sync::Arc;

use crds::DrDrill;
use crds::drill::DrillMode;
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
struct InfoLabel {
    namespace: String,
    drill: String,
    test: Word,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    namespace: String,
    drill: String,
    verdict: Word,
}

pub(super) fn measure(registry: &mut Registry, drills: &[Arc<DrDrill>]) {
    let info = numbers(registry, "drill_info", "What a drill rehearses; always 1");
    let active = numbers(registry, "drill_active", "Whether drills are started: 0 is Suspended");
    let created = seconds(registry, "drill_created_timestamp", "When the drill was created");
    let last = numbers(registry, "drill_last_result", "Whether the last execution came out so");
    let counts = numbers(registry, "drill_results", "The last ten executions, by verdict");
    let failures = numbers(registry, "drill_failures", "Executions in a row that did not pass");
    let passed =
        seconds(registry, "drill_last_pass_timestamp", "When the last execution that passed was started");
    let staleness = seconds(registry, "drill_max_staleness", "How old the last pass may be");
    for drill in drills {
        let label = DrillLabel { namespace: drill.namespace().unwrap_or_default(), drill: drill.name_any() };
        let of = || (label.namespace.clone(), label.drill.clone());
        let ((namespace, name), test) = (of(), Word(drill.spec.test.as_str()));
        put(&info, &InfoLabel { namespace, drill: name, test }, 1);
        put(&active, &label, drill.spec.mode == DrillMode::Active);
        if let Some(time) = &drill.metadata.creation_timestamp {
            created.get_or_create(&label).set(time.0.as_duration().as_secs_f64());
        }
        let Some(status) = &drill.status else { continue };
        put(&failures, &label, status.consecutive_failures);
        let newest = status.results.first().map(|result| result.verdict);
        for verdict in VERDICTS {
            let ((namespace, drill), word) = (of(), Word(verdict_word(verdict)));
            let label = VerdictLabel { namespace, drill, verdict: word };
            put(&last, &label, newest == Some(verdict));
            put(&counts, &label, status.results.iter().filter(|result| result.verdict == verdict).count());
        }
        if let Some(time) = status.last_passed {
            passed.get_or_create(&label).set(time.as_duration().as_secs_f64());
        }
        if let Some(resolved) = &status.resolved {
            staleness.get_or_create(&label).set(resolved.max_staleness.as_secs() as f64);
        }
    }
}
