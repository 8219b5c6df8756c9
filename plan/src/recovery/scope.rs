//! Which components a run concerns, and in which order they get their turn. Total: what contradicts itself is found by [`circle`] and refused
//! by whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::Priority;
use crds::run::{RecoveryRunSpec, Scenario};

use super::seen::{PolicySeen, Role};

/// A component that a run concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of its policy.
    pub policy: String,
    /// What is done with it.
    pub role: Role,
}

/// The members of a run: what was asked for, or what its scenario is about, and whatever depends on one of these. The most urgent come first; a
/// component is as urgent as whatever depends on it.
#[must_use]
pub fn scope(spec: &RecoveryRunSpec, policies: &[PolicySeen]) -> Vec<Member> {
    let asked = |policy: &PolicySeen| match (&spec.policies, spec.scenario) {
        (Some(asked), _) => asked.iter().any(|name| name.name == policy.name),
        (None, Scenario::CompleteFailure) => true,
        (None, Scenario::DatabaseCorruption) => !policy.application,
    };
    let restored: BTreeSet<&str> =
        policies.iter().filter(|policy| asked(policy)).map(|p| p.name.as_str()).collect();
    let mut concerned = restored.clone();
    while let Some(more) = policies.iter().find(|policy| {
        !concerned.contains(policy.name.as_str())
            && policy.depends_on.iter().any(|name| concerned.contains(name.as_str()))
    }) {
        concerned.insert(&more.name);
    }
    let urgency = urgency(policies);
    let mut members: Vec<Member> = concerned
        .into_iter()
        .map(|name| Member {
            policy: name.to_owned(),
            role: if restored.contains(name) { Role::Restored } else { Role::Dependent },
        })
        .collect();
    members.sort_by_key(|member| (urgency.get(member.policy.as_str()).copied(), member.policy.clone()));
    members
}

/// Priorities, each not lower than that of what depends on the component: a P1 that waits for a P4 is as late as that one.
fn urgency(policies: &[PolicySeen]) -> BTreeMap<&str, Priority> {
    let mut urgency: BTreeMap<&str, Priority> =
        policies.iter().map(|policy| (policy.name.as_str(), policy.priority)).collect();
    // Each round carries it one dependency further, and no chain is longer than there are policies.
    for _ in policies {
        for policy in policies {
            let own = urgency[policy.name.as_str()];
            for needed in &policy.depends_on {
                if let Some(known) = urgency.get_mut(needed.as_str()) {
                    *known = own.min(*known);
                }
            }
        }
    }
    urgency
}

/// Components that wait for each other, as `ai-scholar -> chromadb -> ai-scholar`.
#[must_use]
pub fn circle<'a>(depends_on: impl Iterator<Item = (&'a str, &'a [String])>) -> Option<String> {
    let all: BTreeMap<&str, &[String]> = depends_on.collect();
    all.keys().find_map(|start| {
        let mut path = vec![*start];
        let mut seen = BTreeSet::new();
        leads_back(&all, start, &mut path, &mut seen).then(|| path.join(" -> "))
    })
}

fn leads_back<'a>(
    all: &BTreeMap<&'a str, &'a [String]>,
    start: &str,
    path: &mut Vec<&'a str>,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    let last = path.last().copied().unwrap_or_default();
    for next in all.get(last).copied().unwrap_or_default() {
        path.push(next);
        if next == start || (seen.insert(next) && leads_back(all, start, path, seen)) {
            return true;
        }
        path.pop();
    }
    false
}

#[cfg(test)]
mod tests;
