//! What rules of a Role let somebody do that serves who broke in: read and write Secrets, run something, or get further rights.

use serde_json::Value;

use super::{list, text};

/// Groups, resources, verbs, and how it is said. A rule that has one of each lets its subjects do it.
type Power = (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static str);

const WRITES: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const MAKES: &[&str] = &["create", "update", "patch"];

const POWERS: [Power; 12] = [
    (&[""], &["secrets"], WRITES, "write Secrets"),
    (&[""], &["secrets"], &["get", "list", "watch"], "read Secrets"),
    (&[""], &["pods"], &["create"], "create pods"),
    (
        &["apps", "batch", ""],
        &[
            "deployments",
            "statefulsets",
            "daemonsets",
            "replicasets",
            "replicationcontrollers",
            "jobs",
            "cronjobs",
        ],
        MAKES,
        "create pods by workloads",
    ),
    (&[""], &["pods/exec", "pods/attach"], &["create", "get"], "run commands in pods"),
    (&[""], &["pods/ephemeralcontainers"], &["update", "patch"], "put containers into pods"),
    (&[""], &["serviceaccounts/token"], &["create"], "make tokens of ServiceAccounts"),
    (
        &["rbac.authorization.k8s.io"],
        &["roles", "rolebindings", "clusterroles", "clusterrolebindings"],
        MAKES,
        "grant rights",
    ),
    (&["rbac.authorization.k8s.io"], &["roles", "clusterroles"], &["escalate"], "escalate rights"),
    (&["rbac.authorization.k8s.io"], &["roles", "clusterroles"], &["bind"], "bind any role"),
    (
        &["", "authentication.k8s.io"],
        &["users", "groups", "serviceaccounts", "userextras", "uids"],
        &["impersonate"],
        "impersonate others",
    ),
    (&["networking.k8s.io"], &["networkpolicies"], WRITES, "change NetworkPolicies"),
];

/// What `rules` allow of it, in words; empty: nothing.
pub(super) fn of(rules: &Value) -> Vec<String> {
    if list(rules).any(is_everything) {
        return vec!["do everything".to_owned()];
    }
    let mut powers = Vec::new();
    for (groups, resources, verbs, words) in POWERS {
        let allows = |rule: &&Value| {
            has(&rule["apiGroups"], groups)
                && has_resource(&rule["resources"], resources)
                && has(&rule["verbs"], verbs)
        };
        let mut rules = list(rules).filter(allows).peekable();
        if rules.peek().is_none() {
            continue;
        }
        // Of some by their names alone: a right to one Secret is not one to all.
        let mut named = Vec::new();
        let all_named = rules.all(|rule| {
            let names: Vec<&str> = list(&rule["resourceNames"]).map(text).collect();
            named.extend(names.iter().copied());
            !names.is_empty()
        });
        powers.push(match all_named {
            true => format!("{words} ({})", some(&named)),
            false => words.to_owned(),
        });
    }
    powers
}

/// The first few of them.
fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(3);
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn is_everything(rule: &Value) -> bool {
    let any = |field: &str| list(&rule[field]).any(|item| item == "*");
    any("apiGroups") && any("resources") && any("verbs")
}

fn has(field: &Value, wanted: &[&str]) -> bool {
    list(field).any(|item| item == "*" || wanted.contains(&text(item)))
}

/// A star before a slash stands for the subresource of everything.
fn has_resource(field: &Value, wanted: &[&str]) -> bool {
    let of_any = |item: &str| {
        let sub = item.strip_prefix("*/");
        sub.is_some_and(|sub| wanted.iter().any(|w| w.split_once('/').is_some_and(|(_, own)| own == sub)))
    };
    has(field, wanted) || list(field).any(|item| of_any(text(item)))
}
