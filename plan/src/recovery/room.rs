//! The lines about what a recovery stands on: room on the restored volumes, CPU and memory of the nodes, the network. What is short of something is
//! recovered all the same, and told: nothing that was lost would come back by calling the recovery failed.

use crds::job::CheckResult;
use crds::run::{CheckStatus, Verdict};

use super::seen::Component;
use super::surroundings::NodeUsage;
use super::{Draft, checklist, quantity};
use crate::effect::Event;

/// Share of a node that may be in use, in percent.
const BUSY: u64 = 80;

/// The line about the room on the restored volumes of `component`.
pub(crate) fn disk(draft: &mut Draft<'_>, component: &Component, free_percent: u8) {
    let check = CheckResult {
        name: "disk".to_owned(),
        verdict: if free_percent > 20 { Verdict::Passed } else { Verdict::Failed },
        expected: "> 20% free".to_owned(),
        observed: format!("{free_percent}% free"),
    };
    let line = checklist::line(draft.seen.components.len() > 1, component, check);
    let message = format!(
        "the volumes of policy {} are nearly full, {}: make them larger before writers fill them",
        component.policy, line.observed
    );
    tell(draft, line, "DiskNearlyFull", message);
}

/// Name of the line about what a component needs from outside.
pub(crate) const NETWORK: &str = "network";

/// The line about what `component` needs from outside.
pub(crate) fn network(draft: &mut Draft<'_>, component: &Component, check: CheckResult) {
    let message = format!(
        "what policy {} needs from outside does not answer: {}. A run with scenario NetworkFailure switches it to offline mode and back",
        component.policy, check.observed
    );
    let line = checklist::line(draft.seen.components.len() > 1, component, check);
    tell(draft, line, "EndpointSilent", message);
}

/// What is in use of the nodes.
pub(crate) fn used(usage: Option<&Result<Vec<NodeUsage>, String>>) -> [CheckResult; 2] {
    [("cpu", cpu as fn(&NodeUsage) -> Option<u64>), ("memory", memory)].map(|(name, of)| match usage {
        Some(Ok(nodes)) => busiest(name, nodes, of),
        Some(Err(why)) => CheckResult { verdict: Verdict::Skipped, ..said(name, why.clone()) },
        None => CheckResult { verdict: Verdict::Skipped, ..said(name, "nobody looked".to_owned()) },
    })
}

/// The lines about the nodes that are in use, of the whole run.
pub(crate) fn nodes(draft: &mut Draft<'_>) {
    for check in used(draft.seen.usage.as_ref()) {
        let name = check.name.clone();
        let message = format!(
            "{name} of {}: what starts now may be slow, or be put to an end; take load away or add a node",
            check.observed
        );
        tell(draft, checklist::whole(check), "NodeBusy", message);
    }
}

fn said(name: &str, observed: String) -> CheckResult {
    let expected = format!("< {BUSY}% of every node");
    CheckResult { name: name.to_owned(), verdict: Verdict::Inconclusive, expected, observed }
}

/// The node with the largest share in use decides.
fn busiest(name: &str, nodes: &[NodeUsage], of: fn(&NodeUsage) -> Option<u64>) -> CheckResult {
    let unread = nodes.iter().find(|node| of(node).is_none());
    let busiest = nodes.iter().filter_map(|node| Some((of(node)?, &node.name))).max();
    match (busiest, unread) {
        (Some((share, node)), _) if share >= BUSY => {
            CheckResult { verdict: Verdict::Failed, ..said(name, format!("{share}% of {node}")) }
        }
        (_, Some(node)) => said(name, format!("what node {} uses could not be read", node.name)),
        (Some((share, node)), None) => {
            CheckResult { verdict: Verdict::Passed, ..said(name, format!("{share}% of {node}")) }
        }
        (None, None) => said(name, "no node was told of".to_owned()),
    }
}

fn cpu(node: &NodeUsage) -> Option<u64> {
    share(quantity::nano_cores(&node.cpu)?, quantity::nano_cores(&node.allocatable_cpu)?)
}

fn memory(node: &NodeUsage) -> Option<u64> {
    share(quantity::bytes(&node.memory)?, quantity::bytes(&node.allocatable_memory)?)
}

fn share(used: u64, of: u64) -> Option<u64> {
    u64::try_from(u128::from(used) * 100 / u128::from(of.max(1))).ok()
}

/// Puts a line into the checklist, in the place of what it said before, and tells once when it is bad.
pub(crate) fn tell(draft: &mut Draft<'_>, line: CheckStatus, reason: &str, message: String) {
    let before = draft.status.checks.iter().find(|known| known.name == line.name).map(|known| known.verdict);
    if line.verdict == Verdict::Failed && before != Some(Verdict::Failed) {
        draft.events.push(Event::warning(reason, message));
    }
    draft.status.checks.retain(|known| known.name != line.name);
    draft.status.checks.push(line);
}
