//! Who may do what in the namespace. A right that was there before is worth knowing; one that was given, or made larger, since somebody may have been
//! inside is how they come back.

use std::collections::BTreeMap;

use crds::names;
use crds::reference::{AUDIT_ROLE, HOOK_ROLE, ISOLATE_ROLE, ROTATE_ROLE};
use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use serde_json::Value;

use super::metadata::{self, Touch};
use super::{Seen, finding, list, listed, name_of, power, text};

/// What Kubernetes makes itself at its start.
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
/// Who writes that.
const API_SERVER: &str = "kube-apiserver";
/// Groups and a user that everybody is.
const EVERYBODY: [&str; 4] =
    ["system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:anonymous"];

pub(super) fn look(seen: &Seen, found: &mut Vec<AuditFinding>) {
    let cluster_roles = by_name(listed("ClusterRoles", &seen.cluster_roles, found));
    let roles = by_name(listed("Roles", &seen.roles, found));
    let wide = listed("ClusterRoleBindings", &seen.cluster_role_bindings, found);
    let own = listed("RoleBindings", &seen.role_bindings, found);
    for binding in wide.iter().chain(own) {
        let name = text(&binding["roleRef"]["name"]);
        let role = match text(&binding["roleRef"]["kind"]) {
            "Role" => roles.get(name),
            _ => cluster_roles.get(name),
        };
        // One that does not exist allows nothing.
        let Some(role) = role else { continue };
        let powers = power::of(&role["rules"]);
        if !powers.is_empty() && !is_ours(seen, binding) {
            found.extend(told(seen, binding, role, &powers));
        }
    }
}

fn by_name(objects: &[Value]) -> BTreeMap<&str, &Value> {
    objects.iter().map(|object| (text(&object["metadata"]["name"]), object)).collect()
}

/// What was granted for this very run: to the controller, to isolate, and to the movers that list names, replace credentials and run commands of checks.
fn is_ours(seen: &Seen, binding: &Value) -> bool {
    let (role, name) = (text(&binding["roleRef"]["name"]), text(&binding["metadata"]["name"]));
    let account = names::auditor(&seen.run);
    let only = |wanted: &str| {
        let mut subjects = list(&binding["subjects"]);
        subjects.all(|subject| subject["kind"] == "ServiceAccount" && subject["name"] == wanted)
    };
    let same = |of: &str, wanted: String| role == of && name == wanted && only(&wanted);
    binding["kind"] == "RoleBinding"
        && (same(ROTATE_ROLE, names::rotator(&seen.run))
            || same(HOOK_ROLE, names::checker(&seen.run))
            || (role == ISOLATE_ROLE && name == names::isolator(&seen.run) && only("holdfast-controller"))
            || (role == AUDIT_ROLE && name.starts_with(names::AUDITOR) && only(&account)))
}

fn told(seen: &Seen, binding: &Value, role: &Value, powers: &[String]) -> Option<AuditFinding> {
    let subjects: Vec<String> = list(&binding["subjects"]).map(|s| subject(seen, s)).collect();
    if subjects.is_empty() {
        return None;
    }
    let touched = [binding, role].map(|object| (object, metadata::since(object, seen.since)));
    let touched: Vec<(&Value, Touch)> =
        touched.into_iter().filter_map(|(object, touch)| Some((object, touch?))).collect();
    let everybody = list(&binding["subjects"]).any(|subject| EVERYBODY.contains(&text(&subject["name"])));
    let bootstrapped = !binding["metadata"]["labels"][BOOTSTRAPPING].is_null();
    let severity = match (touched.as_slice(), everybody, bootstrapped) {
        // Every cluster has these.
        ([], _, true) => return None,
        ([], true, false) => AuditSeverity::High,
        ([], false, false) => AuditSeverity::Low,
        // A server of another version brings its own, under a name that anybody can give.
        (touched, _, true) if touched.iter().all(|(_, touch)| touch.manager == API_SERVER) => {
            AuditSeverity::Medium
        }
        _ => AuditSeverity::High,
    };
    let said: Vec<String> = touched
        .iter()
        .map(|(object, touch)| match std::ptr::eq(*object, binding) {
            true => touch.said(),
            false => format!("{} was {}", name_of(object), touch.said()),
        })
        .collect();
    let since = if said.is_empty() { String::new() } else { format!("; {}", said.join("; ")) };
    let message = format!("lets {} {}, by {}{since}", some(&subjects), powers.join(", "), name_of(role));
    Some(finding(severity, AuditKind::Access, &name_of(binding), &message))
}

fn some(subjects: &[String]) -> String {
    let more = subjects.len().saturating_sub(3);
    let shown = subjects.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// `ServiceAccount helper`, with its namespace where that is another one.
fn subject(seen: &Seen, subject: &Value) -> String {
    let (kind, name, namespace) =
        (text(&subject["kind"]), text(&subject["name"]), text(&subject["namespace"]));
    match namespace {
        "" => format!("{kind} {name}"),
        own if own == seen.namespace => format!("{kind} {name}"),
        other => format!("{kind} {other}/{name}"),
    }
}
