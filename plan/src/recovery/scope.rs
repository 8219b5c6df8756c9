//! Which components a run concerns, and in which order they get their turn. Total: what contradicts itself is found by [`circle`] and refused
//! by whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::Priority;
use crds::run::{RecoveryRunSpec, Scenario, StepStatus};

use super::seen::{PointSeen, PolicySeen, Role};

/// A component that a run concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of its policy.
    pub policy: String,
    /// What is done with it.
    pub role: Role,
}

/// The members of a run. Once it has its steps, those that these are about, whatever becomes of the policies. Before, what was asked for, or what
/// its scenario is about, and whatever depends on one of these. The most urgent come first; a component is as urgent as whatever depends on it.
///
/// `forgotten` are components that only the repository knows: they are meant when they are named, or when everything is to be recovered and
/// no policy is left.
#[must_use]
pub fn scope(
    run: (&RecoveryRunSpec, &[StepStatus]),
    policies: &[PolicySeen],
    forgotten: &[PolicySeen],
) -> Vec<Member> {
    let (spec, steps) = run;
    if !steps.iter().all(|step| step.policy.is_none()) {
        return planned(steps);
    }
    let none_left = policies.is_empty();
    let asked = |policy: &PolicySeen, lost: bool| match (&spec.policies, spec.scenario) {
        (_, Scenario::NetworkFailure) if lost || !policy.offline => false,
        (Some(asked), _) => asked.iter().any(|name| name.name == policy.name),
        (None, Scenario::NetworkFailure) => true,
        (None, Scenario::CompleteFailure) => !lost || none_left,
        (None, Scenario::StorageFailure) => !lost,
        (None, Scenario::DatabaseCorruption) => !lost && !policy.application,
        (None, Scenario::SecurityBreach | Scenario::BackupVerification) => !lost,
    };
    let of = |list: &'_ [PolicySeen], lost: bool| -> Vec<String> {
        list.iter().filter(|policy| asked(policy, lost)).map(|policy| policy.name.clone()).collect()
    };
    let mut restored: BTreeSet<String> = of(policies, false).into_iter().collect();
    if spec.sandbox().is_some() {
        return with_what_they_need(restored, policies);
    }
    if spec.scenario == Scenario::CompleteFailure {
        restored.extend(of(forgotten, true));
    }
    let mut concerned = restored.clone();
    let network = spec.scenario == Scenario::NetworkFailure;
    let verified = spec.scenario == Scenario::BackupVerification;
    // Who depends on a component that is offline is not touched: it has an offline mode of its own, or needs none.
    while !network
        && !verified
        && let Some(more) = policies.iter().find(|policy| {
            !concerned.contains(&policy.name) && policy.depends_on.iter().any(|name| concerned.contains(name))
        })
    {
        concerned.insert(more.name.clone());
    }
    // Who broke in does not keep to components: nothing of the namespace runs on.
    if spec.scenario == Scenario::SecurityBreach {
        concerned.extend(policies.iter().map(|policy| policy.name.clone()));
    }
    let role = |policy: &String| match restored.contains(policy) {
        true if network => Role::Offline,
        true if verified => Role::Verified,
        true => Role::Restored,
        false => Role::Dependent,
    };
    let members = concerned.iter().map(|policy| Member { role: role(policy), policy: policy.clone() });
    by_urgency(members.collect(), policies)
}

/// The members of a rehearsal: in a sandbox nothing is there yet, so what somebody depends on is restored as well, and nobody else is concerned.
fn with_what_they_need(mut restored: BTreeSet<String>, policies: &[PolicySeen]) -> Vec<Member> {
    let needs = |policy: &PolicySeen, restored: &BTreeSet<String>| {
        policy
            .depends_on
            .iter()
            .find(|name| !restored.contains(*name) && policies.iter().any(|p| p.name == **name))
            .cloned()
    };
    while let Some(more) = policies
        .iter()
        .filter(|policy| restored.contains(&policy.name))
        .find_map(|policy| needs(policy, &restored))
    {
        restored.insert(more);
    }
    let members = restored.into_iter().map(|policy| Member { policy, role: Role::Restored });
    by_urgency(members.collect(), policies)
}

fn by_urgency(mut members: Vec<Member>, policies: &[PolicySeen]) -> Vec<Member> {
    let urgency = urgency(policies);
    members.sort_by_key(|member| {
        let urgency = urgency.get(member.policy.as_str()).copied().unwrap_or_default();
        (urgency, member.policy.clone())
    });
    members
}

/// What the steps of a run are about.
fn planned(steps: &[StepStatus]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for step in steps {
        let Some(policy) = &step.policy else { continue };
        let is = |words: &[&str]| words.iter().any(|word| step.name.starts_with(word));
        let offline = is(&["Diagnose/", "EnterOffline/", "Watch/", "LeaveOffline/"]);
        let verified = is(&["VerifyPoints/"]);
        let restores = !offline && !verified && !is(&["Start/", "Validate/"]);
        let role = match (offline, restores) {
            _ if verified => Role::Verified,
            (true, _) => Role::Offline,
            (false, true) => Role::Restored,
            (false, false) => Role::Dependent,
        };
        match members.iter_mut().find(|member| member.policy == *policy) {
            Some(known) if restores => known.role = role,
            Some(_) => {}
            None => members.push(Member { policy: policy.clone(), role }),
        }
    }
    members
}

/// The components of these points that have no policy any more. What they are the newest point of each says.
#[must_use]
pub fn forgotten(points: &[PointSeen], policies: &[PolicySeen]) -> Vec<PolicySeen> {
    let mut newest: BTreeMap<&str, &PointSeen> = BTreeMap::new();
    for point in points.iter().filter(|point| policies.iter().all(|known| known.name != point.policy)) {
        let known = newest.entry(&point.policy).or_insert(point);
        if point.consistency_time > known.consistency_time {
            *known = point;
        }
    }
    newest
        .into_iter()
        .map(|(name, point)| PolicySeen {
            name: name.to_owned(),
            application: !point.chroma,
            priority: Priority::default(),
            depends_on: Vec::new(),
            offline: false,
        })
        .collect()
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
    all.keys().find_map(|start| from(&all, start))
}

/// The same, of those alone that the component of `policy` is among.
#[must_use]
pub fn circle_of<'a>(
    policy: &'a str,
    depends_on: impl Iterator<Item = (&'a str, &'a [String])>,
) -> Option<String> {
    from(&depends_on.collect(), policy)
}

fn from<'a>(all: &BTreeMap<&'a str, &'a [String]>, start: &'a str) -> Option<String> {
    let mut path = vec![start];
    leads_back(all, start, &mut path, &mut BTreeSet::new()).then(|| path.join(" -> "))
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
