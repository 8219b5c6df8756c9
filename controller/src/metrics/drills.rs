//! Of each drill: how its last execution came out, how all did that still exist, and when one last passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::RecoveryRun;
use crds::run::Verdict;
use jiff::Timestamp;
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

pub(super) fn measure(registry: &mut Registry, runs: &[Arc<RecoveryRun>]) {
    let last = numbers(registry, "drill_last_result", "Whether the last execution came out so");
    let counts = numbers(registry, "drill_runs", "Executions whose runs exist, by verdict");
    let passed = seconds(registry, "drill_last_pass_timestamp", "When an execution last passed");
    let mut by_drill: BTreeMap<(String, String), Vec<(Timestamp, Verdict)>> = BTreeMap::new();
    for run in runs {
        let Some((drill, end)) = run.drill().zip(run.ended_at()) else { continue };
        // One without a verdict was never carried out: it proves nothing.
        let verdict = run.status.as_ref().and_then(|status| status.verdict).unwrap_or(Verdict::Inconclusive);
        let of = (run.namespace().unwrap_or_default(), drill.to_owned());
        by_drill.entry(of).or_default().push((end, verdict));
    }
    for ((namespace, drill), mut results) in by_drill {
        results.sort_by_key(|(end, _)| *end);
        let newest = results.last().map(|(_, verdict)| *verdict);
        for verdict in VERDICTS {
            let word = Word(verdict_word(verdict));
            let label = VerdictLabel { namespace: namespace.clone(), drill: drill.clone(), verdict: word };
            put(&last, &label, newest == Some(verdict));
            put(&counts, &label, results.iter().filter(|(_, found)| *found == verdict).count());
        }
        let pass = results.iter().rev().find(|(_, verdict)| *verdict == Verdict::Passed);
        if let Some((end, _)) = pass {
            let label = DrillLabel { namespace, drill };
            passed.get_or_create(&label).set(end.as_duration().as_secs_f64());
        }
    }
}
