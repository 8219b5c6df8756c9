//! The security audit of a namespace in which somebody was: what they may have left there to come back by, or to go on. Pure: the objects come in as
//! they were listed. What can't be listed is a finding of its own, never a clean answer. What differs from a point a mover says, which reads both.

mod grants;
mod metadata;
mod pods;
mod power;
mod unknown;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use jiff::Timestamp;
use serde_json::Value;

/// Objects of a kind as they were listed, each with its kind; or a sentence why they can't be.
pub type Listed = Result<Vec<Value>, String>;

/// What was seen of a namespace and of what reaches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The namespace.
    pub namespace: String,
    /// Since when somebody may have been inside.
    pub since: Timestamp,
    /// Uid of the run that looks: what was made for it is nobody else's.
    pub run: String,
    /// Every ClusterRole.
    pub cluster_roles: Listed,
    /// Every ClusterRoleBinding.
    pub cluster_role_bindings: Listed,
    /// The Roles of the namespace.
    pub roles: Listed,
    /// Its RoleBindings.
    pub role_bindings: Listed,
    /// Its ServiceAccounts.
    pub service_accounts: Listed,
    /// What makes pods in it: StatefulSets, Deployments, DaemonSets, ReplicaSets, CronJobs and Jobs.
    pub workloads: Listed,
    /// Its pods.
    pub pods: Listed,
}

/// What a policy knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Workloads, as `Deployment scholar`.
    pub workloads: BTreeSet<String>,
}

/// Everything that is worth a look, the worst first. Total; an empty list means that all of it was looked at, and nothing was found.
#[must_use]
pub fn look(seen: &Seen, known: &Known) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    grants::look(seen, &mut found);
    let running = pods::Running::of(seen, known, &mut found);
    pods::look(&running, &mut found);
    unknown::workloads(&running, &mut found);
    unknown::accounts(seen, &running, &mut found);
    found.sort();
    found.dedup();
    found
}

/// Longest name and longest sentence, in bytes.
const LONGEST: (usize, usize) = (320, 512);

/// A finding, in its bounds.
#[must_use]
pub fn finding(severity: AuditSeverity, kind: AuditKind, object: &str, message: &str) -> AuditFinding {
    let (object, message) = (cut(object, LONGEST.0), cut(message, LONGEST.1));
    AuditFinding { severity, kind, object, message }
}

fn cut(text: &str, limit: usize) -> String {
    crate::recovery::cut(text, limit)
}

/// The objects that were listed; where they were not, that is found.
fn listed<'a>(what: &str, listed: &'a Listed, found: &mut Vec<AuditFinding>) -> &'a [Value] {
    match listed {
        Ok(objects) => objects,
        Err(why) => {
            found.push(finding(AuditSeverity::Unknown, AuditKind::NotSeen, what, why));
            &[]
        }
    }
}

/// The text of a field; empty where there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a field that is a list.
fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

/// `RoleBinding helper`.
fn name_of(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}
