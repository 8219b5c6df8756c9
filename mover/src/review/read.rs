//! What a review is made from: the objects, as kubectl prints them.

use crds::job::FailureReason;
use crds::{BackupPolicy, DrDrill, RecoveryRepository, RecoveryRun};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// How to print what a review wants.
const REMEDY: &str = "print the objects as JSON: kubectl get hfrepo,hfpolicy,hfrun,hfdrill -o json";

/// The objects of one namespace or several.
#[derive(Debug, Default)]
pub struct Objects {
    /// Policies.
    pub policies: Vec<BackupPolicy>,
    /// Repositories.
    pub repositories: Vec<RecoveryRepository>,
    /// Runs, those of drills among them.
    pub runs: Vec<RecoveryRun>,
    /// Drills.
    pub drills: Vec<DrDrill>,
}

impl Objects {
    /// Reads them from `text`, which came from `place`.
    pub fn read(text: &[u8], place: &str) -> Result<Self> {
        let list: Value =
            serde_json::from_slice(text).map_err(|error| match text.trim_ascii().is_empty() {
                true => refuse(format!("{place} is empty; {REMEDY}")),
                false => refuse(format!("{place} is no JSON ({error}); {REMEDY}")),
            })?;
        let items = list.get("items").and_then(Value::as_array).filter(|_| list["kind"] == "List");
        let items = items.ok_or_else(|| refuse(format!("{place} is no List of objects; {REMEDY}")))?;
        let mut found = Self::default();
        for item in items {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let kind = item["kind"].as_str().unwrap_or_default();
            let read = match kind {
                "BackupPolicy" => parse(item).map(|policy| found.policies.push(policy)),
                "RecoveryRepository" => parse(item).map(|repository| found.repositories.push(repository)),
                "RecoveryRun" => parse(item).map(|run| found.runs.push(run)),
                "DrDrill" => parse(item).map(|drill| found.drills.push(drill)),
                // Whoever prints all kinds of Holdfast gives points as well.
                "RecoveryPoint" => Ok(()),
                other => Err(format!("a review reads no {other}")),
            };
            read.map_err(|why| refuse(format!("{kind} {name} in {place} can't be read: {why}; {REMEDY}")))?;
        }
        if found.policies.is_empty() {
            return Err(refuse(format!(
                "{place} has no BackupPolicy, so there is nothing to review; {REMEDY}"
            )));
        }
        found.policies.sort_by_key(|policy| {
            (
                policy.spec.priority,
                policy.metadata.namespace.clone(),
                policy.metadata.name.clone().unwrap_or_default(),
            )
        });
        found.runs.sort_by_key(|run| {
            (run.declared_at(), run.metadata.namespace.clone(), run.metadata.name.clone().unwrap_or_default())
        });
        found.drills.sort_by_key(|drill| {
            (drill.metadata.namespace.clone(), drill.metadata.name.clone().unwrap_or_default())
        });
        Ok(found)
    }

    /// The namespaces that have a policy, in their order.
    pub fn namespaces(&self) -> Vec<String> {
        let mut found: Vec<String> =
            self.policies.iter().filter_map(|policy| policy.metadata.namespace.clone()).collect();
        found.sort();
        found.dedup();
        found
    }
}

fn parse<T: serde::de::DeserializeOwned>(item: &Value) -> std::result::Result<T, String> {
    serde_json::from_value(item.clone()).map_err(|error| error.to_string())
}

/// A refusal. What it repeats of the input may hold what a terminal would obey.
fn refuse(why: String) -> Failure {
    Failure::new(FailureReason::InvalidRequest, why.replace(char::is_control, " "))
}
