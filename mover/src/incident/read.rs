//! The run as it comes from `kubectl get hfrun NAME -o json`. It is held against what a report needs here, and nowhere after.

use crds::RecoveryRun;
use crds::job::FailureReason;
use crds::run::{RecoveryRunSpec, RecoveryRunStatus, RunPhase};
use jiff::Timestamp;
use serde_json::Value;

use crate::failure::{Failure, Result};

/// A run that a controller has looked at.
#[derive(Debug)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Its namespace, where the object says so.
    pub namespace: Option<String>,
    /// Its uid.
    pub uid: Option<String>,
    /// Which version of the object was read.
    pub resource_version: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// What was asked for.
    pub spec: RecoveryRunSpec,
    /// Where it stands, in a word.
    pub phase: RunPhase,
    /// Where it stands.
    pub status: RecoveryRunStatus,
}

impl Run {
    /// Reads a run from `text`, which came from `place`.
    pub fn read(text: &[u8], place: &str) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(|e| {
            let remedy = "print the run as JSON: kubectl get hfrun NAME -o json";
            refuse(match text.trim_ascii().is_empty() {
                true => format!("{place} is empty and should hold a RecoveryRun; {remedy}"),
                false => format!("{place} is no JSON ({e}); {remedy}"),
            })
        })?;
        if let Some(why) = no_run(&value, place) {
            return Err(refuse(why));
        }
        let run: RecoveryRun = serde_json::from_value(value).map_err(|e| {
            refuse(format!(
                "the RecoveryRun in {place} can't be read: {e}. Print it whole (kubectl get hfrun NAME -o json), with the holdfast of the controller's version"
            ))
        })?;
        Self::of(run, place)
    }

    fn of(run: RecoveryRun, place: &str) -> Result<Self> {
        let metadata = run.metadata;
        let Some(name) = metadata.name.filter(|name| is_name(name)) else {
            return Err(refuse(format!(
                "the RecoveryRun in {place} has no metadata.name that Kubernetes gives: print it from the cluster (kubectl get hfrun NAME -o json)"
            )));
        };
        if let Some(namespace) = metadata.namespace.as_deref().filter(|namespace| !is_name(namespace)) {
            return Err(refuse(format!(
                "RecoveryRun {name} in {place} is in a namespace {namespace:?}, which is no name that Kubernetes gives: print it from the cluster (kubectl get hfrun {name} -o json)"
            )));
        }
        let Some(created) = metadata.creation_timestamp else {
            return Err(refuse(format!(
                "RecoveryRun {name} in {place} has no metadata.creationTimestamp, so it was never created: print it from the cluster (kubectl get hfrun {name} -o json)"
            )));
        };
        let looked_at = run.status.and_then(|status| status.phase.map(|phase| (phase, status)));
        let Some((phase, status)) = looked_at else {
            let namespace =
                metadata.namespace.as_deref().map(|name| format!(" -n {name}")).unwrap_or_default();
            // Worth another try: the controller writes it within moments.
            return Err(Failure::new(
                FailureReason::MoverFailed,
                format!(
                    "RecoveryRun {name} has no status yet: no controller has looked at it. Try again in a moment; if it stays so, see whether the controller runs (kubectl describe hfrun {name}{namespace})"
                ),
            ));
        };
        Ok(Self {
            name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created: created.0,
            spec: run.spec,
            phase,
            status,
        })
    }

    /// ` -n NAMESPACE` for a command, or nothing where it isn't known.
    pub fn in_namespace(&self) -> String {
        self.namespace.as_deref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default()
    }
}

/// A refusal. What it repeats of the input may hold what a terminal would obey.
fn refuse(why: String) -> Failure {
    Failure::new(FailureReason::InvalidRequest, why.replace(char::is_control, " "))
}

/// Why `value` is no run, when it is none.
fn no_run(value: &Value, place: &str) -> Option<String> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    if let (true, Some(items)) = (kind.ends_with("List"), value.get("items").and_then(Value::as_array)) {
        return Some(list(kind, items, place));
    }
    let known = format!("{}/{}", crds::GROUP, crds::VERSION);
    if kind != "RecoveryRun" || !version.starts_with(&format!("{}/", crds::GROUP)) {
        let found = match (kind, version) {
            ("", _) => "no Kubernetes object".to_owned(),
            (kind, "") => format!("a {kind}"),
            (kind, version) => format!("a {kind} of {version}"),
        };
        return Some(format!(
            "{place} is {found} and should be a RecoveryRun of {known}: kubectl get hfrun NAME -o json"
        ));
    }
    (version != known).then(|| {
        format!(
            "{place} is a RecoveryRun of {version}, and this holdfast reads {known}: use the holdfast of the controller's version"
        )
    })
}

/// What kubectl prints when no name was given. Which run is meant, only who asks knows.
fn list(kind: &str, items: &[Value], place: &str) -> String {
    let names: Vec<&str> = items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .filter(|name| is_name(name))
        .take(4)
        .collect();
    let first = names.first().unwrap_or(&"NAME");
    let remedy = format!("a report is of one run by its name: kubectl get hfrun {first} -o json");
    match items.len() {
        0 => format!(
            "{place} is an empty {kind}: there is no RecoveryRun where it was asked for; look with kubectl get hfrun -A"
        ),
        1 => format!("{place} is a {kind} of one object, and {remedy}"),
        n => {
            let more = if n > names.len() { ", ..." } else { "" };
            format!("{place} is a {kind} of {n} objects ({}{more}), and {remedy}", names.join(", "))
        }
    }
}

/// Whether Kubernetes would give this name. It is printed in commands that people copy.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    !name.is_empty() && name.len() <= 253 && name.bytes().all(fits) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_run_that_was_looked_at_is_refused_with_the_remedy() {
        let run =
            |more: &str| format!(r#"{{"apiVersion":"holdfast.dev/v1alpha1","kind":"RecoveryRun"{more}}}"#);
        let spec = r#""spec":{"scenario":"DatabaseCorruption","target":{"inPlace":{"confirm":"arxiv"}}}"#;
        let created = r#""creationTimestamp":"2026-11-23T09:31:12Z""#;
        for (text, reason, said) in [
            (String::new(), FailureReason::InvalidRequest, "is empty and should hold a RecoveryRun"),
            ("kind: RecoveryRun".to_owned(), FailureReason::InvalidRequest, "is no JSON"),
            ("[]".to_owned(), FailureReason::InvalidRequest, "is no Kubernetes object"),
            (r#"{"kind":"Pod","apiVersion":"v1"}"#.to_owned(), FailureReason::InvalidRequest, "is a Pod of v1 and should be a RecoveryRun"),
            (r#"{"kind":"RecoveryRun","apiVersion":"other.dev/v1"}"#.to_owned(), FailureReason::InvalidRequest, "is a RecoveryRun of other.dev/v1 and should"),
            (r#"{"kind":"RecoveryRun","apiVersion":"holdfast.dev/v2"}"#.to_owned(), FailureReason::InvalidRequest, "use the holdfast of the controller's version"),
            (r#"{"kind":"List","items":[]}"#.to_owned(), FailureReason::InvalidRequest, "is an empty List"),
            (r#"{"kind":"List","items":[{"metadata":{"name":"a"}}]}"#.to_owned(), FailureReason::InvalidRequest, "of one object, and a report is of one run by its name: kubectl get hfrun a -o json"),
            (r#"{"kind":"RecoveryRunList","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"$(b)"}}]}"#.to_owned(), FailureReason::InvalidRequest, "of 2 objects (a, ...)"),
            (run(""), FailureReason::InvalidRequest, "can't be read: missing field `metadata`"),
            (run(&format!(r#","metadata":{{}},{spec}"#)), FailureReason::InvalidRequest, "has no metadata.name"),
            (run(&format!(r#","metadata":{{"name":"a; rm -rf /"}},{spec}"#)), FailureReason::InvalidRequest, "has no metadata.name"),
            (run(&format!(r#","metadata":{{"name":"a","namespace":"$(x)"}},{spec}"#)), FailureReason::InvalidRequest, "is in a namespace"),
            (run(&format!(r#","metadata":{{"name":"a"}},{spec}"#)), FailureReason::InvalidRequest, "has no metadata.creationTimestamp"),
            (run(&format!(r#","metadata":{{"name":"a","namespace":"arxiv",{created}}},{spec}"#)), FailureReason::MoverFailed, "kubectl describe hfrun a -n arxiv"),
            (run(&format!(r#","metadata":{{"name":"a",{created}}},{spec},"status":{{"epoch":0,"conditions":[]}}"#)), FailureReason::MoverFailed, "has no status yet"),
            (run(&format!(r#","metadata":{{"name":"a",{created}}},"spec":{{"scenario":"Flood"}}"#)), FailureReason::InvalidRequest, "unknown variant `Flood`"),
        ] {
            let failure = Run::read(text.as_bytes(), "standard input").unwrap_err();
            assert_eq!(failure.reason, reason, "{text}");
            assert!(failure.message.contains(said), "{text}: {}", failure.message);
        }
        let refused = Run::read(br#"{"kind":"\u001b[31mPod"}"#, "standard input").unwrap_err();
        assert!(!refused.message.contains(char::is_control), "a terminal would obey it");
    }
}
