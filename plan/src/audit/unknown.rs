//! What runs, or may be run as, and no policy knows of.

use std::collections::BTreeSet;

use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL};
use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use serde_json::Value;

use super::pods::{Running, Runs, spec};
use super::{Seen, finding, list, listed, metadata, name_of, text};

/// Every namespace has it.
const DEFAULT: &str = "default";

/// Workloads and pods.
pub(super) fn workloads(running: &Running<'_>, found: &mut Vec<AuditFinding>) {
    for Runs { object, new, .. } in running.all.iter().filter(|runs| !runs.known && !runs.strays) {
        let touch = metadata::since(object, running.since).map(|touch| format!("; {}", touch.said()));
        let maker = list(&object["metadata"]["ownerReferences"]).next();
        let maker = maker.map(|owner| format!(", made by {} {}", text(&owner["kind"]), text(&owner["name"])));
        let (maker, touch) = (maker.unwrap_or_default(), touch.unwrap_or_default());
        let severity = if *new { AuditSeverity::High } else { AuditSeverity::Medium };
        let message = format!("no policy knows of it{maker}{touch}");
        found.push(finding(severity, AuditKind::UnknownObject, &name_of(object), &message));
    }
}

/// ServiceAccounts that nothing runs as that a policy knows of. What they may do is told by who lets them.
pub(super) fn accounts(seen: &Seen, running: &Running<'_>, found: &mut Vec<AuditFinding>) {
    let used: BTreeSet<&str> = running
        .all
        .iter()
        .filter(|runs| runs.known)
        .map(|runs| text(&spec(runs.object)["serviceAccountName"]))
        .collect();
    let ours = |account: &Value| account["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGED_BY;
    for account in listed("ServiceAccounts", &seen.service_accounts, found) {
        let name = text(&account["metadata"]["name"]);
        if name == DEFAULT || used.contains(name) || ours(account) {
            continue;
        }
        let touch = metadata::since(account, seen.since).filter(|touch| touch.created);
        let (severity, since) = match touch {
            Some(touch) => (AuditSeverity::Medium, format!("; {}", touch.said())),
            None => (AuditSeverity::Low, String::new()),
        };
        let message = format!("nothing runs as it that a policy knows of{since}");
        found.push(finding(severity, AuditKind::UnknownObject, &name_of(account), &message));
    }
}
