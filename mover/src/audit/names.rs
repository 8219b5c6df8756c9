//! ConfigMaps and Secrets of which no policy and no point knows. By their names alone: what is in them nobody here has read.

use std::collections::BTreeSet;

use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{finding, unseen};

/// Every namespace has it.
const ROOT_CA: &str = "ConfigMap kube-root-ca.crt";

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// By what was listed.
    pub objects: Vec<Listed>,
    /// What could not be listed, and why.
    pub missed: Vec<(String, String)>,
}

/// An object by its metadata: without annotations, for these hold what was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// `Secret env`.
    pub name: String,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who wrote to it last, as they call themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Holdfast has made it.
    #[serde(default)]
    pub ours: bool,
    /// The ServiceAccount of which it holds a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_of: Option<String>,
}

/// Those of nobody.
pub fn unknown(inventory: &Inventory, known: &BTreeSet<String>, since: Timestamp) -> Vec<AuditFinding> {
    // What is told of creations is whole seconds.
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let mut found: Vec<AuditFinding> = inventory.missed.iter().map(|(what, why)| unseen(what, why)).collect();
    for object in &inventory.objects {
        if object.name == ROOT_CA || object.ours || known.contains(&object.name) {
            continue;
        }
        let created = object.created.filter(|created| *created >= since);
        let by = object.manager.as_ref().map(|manager| format!(" by {manager}")).unwrap_or_default();
        let when = created.map(|at| format!("; created at {at:.0}{by}")).unwrap_or_default();
        let (severity, what) = match (&object.token_of, created) {
            (Some(account), Some(_)) => {
                (AuditSeverity::High, format!("a token of ServiceAccount {account} that does not expire"))
            }
            (Some(account), None) => {
                (AuditSeverity::Medium, format!("a token of ServiceAccount {account} that does not expire"))
            }
            (None, Some(_)) => {
                (AuditSeverity::Medium, "no policy and no last known good knows of it".to_owned())
            }
            (None, None) => (AuditSeverity::Low, "no policy and no last known good knows of it".to_owned()),
        };
        found.push(finding(severity, AuditKind::UnknownObject, &object.name, format!("{what}{when}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SINCE: &str = "2026-11-23T09:05:00.7Z";

    fn listed(kind: &str, name: &str, created: &str, more: serde_json::Value) -> Listed {
        let mut metadata = json!({"name": name, "creationTimestamp": created,
            "managedFields": [{"manager": "kubectl-create", "time": created}]});
        for (key, value) in more.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        crate::job::inventory::told(kind, &serde_json::from_value(metadata).unwrap())
    }

    fn found(objects: Vec<Listed>) -> Vec<(AuditSeverity, String, String)> {
        let known = BTreeSet::from(["Secret env".to_owned(), "ConfigMap config".to_owned()]);
        let inventory = Inventory { objects, missed: Vec::new() };
        let found = unknown(&inventory, &known, SINCE.parse().unwrap());
        found.into_iter().map(|f| (f.severity, f.object, f.message)).collect()
    }

    #[test]
    fn what_a_policy_a_point_or_kubernetes_knows_of_is_not_found() {
        let before = "2026-11-01T08:00:00Z";
        let ours = json!({"labels": {"app.kubernetes.io/managed-by": "holdfast"}});
        let objects = vec![
            listed("ConfigMap", "kube-root-ca.crt", before, json!({})),
            listed("ConfigMap", "config", before, json!({})),
            listed("ConfigMap", "breach-claims", before, ours),
            listed("Secret", "env", before, json!({})),
        ];
        assert_eq!(found(objects), []);
    }

    #[test]
    fn everything_else_is_and_what_was_created_since_is_worse() {
        use AuditSeverity::{High, Low, Medium};
        let (before, after) = ("2026-11-01T08:00:00Z", "2026-11-23T09:05:00Z");
        let token = || json!({"annotations": {"kubernetes.io/service-account.name": "default"}});
        let ours = json!({"labels": {"app.kubernetes.io/managed-by": "holdfast"}});
        for (object, severity, message) in [
            (listed("Secret", "x", before, json!({})), Low, "no policy and no last known good knows of it"),
            (
                listed("ConfigMap", "x", after, json!({})),
                Medium,
                "no policy and no last known good knows of it; created at 2026-11-23T09:05:00Z by kubectl-create",
            ),
            // The label is no excuse for a Secret.
            (
                listed("Secret", "x", after, ours),
                Medium,
                "no policy and no last known good knows of it; created at 2026-11-23T09:05:00Z by kubectl-create",
            ),
            (
                listed("Secret", "x", after, token()),
                High,
                "a token of ServiceAccount default that does not expire; created at 2026-11-23T09:05:00Z by kubectl-create",
            ),
            (
                listed("Secret", "x", before, token()),
                Medium,
                "a token of ServiceAccount default that does not expire",
            ),
        ] {
            let name = object.name.clone();
            assert_eq!(found(vec![object]), [(severity, name, message.to_owned())]);
        }
    }

    #[test]
    fn what_could_not_be_listed_is_told() {
        let inventory = Inventory { objects: vec![], missed: vec![("Secrets".into(), "403".into())] };
        let found = unknown(&inventory, &BTreeSet::new(), SINCE.parse().unwrap());
        assert_eq!(found, [unseen("Secrets", "403")]);
    }
}
