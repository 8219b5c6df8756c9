//! The security audit of a breach, as far as it needs both what was captured and the last known good: which objects differ, which ConfigMaps and
//! Secrets nobody knows of, and the document in which all of it is kept. Pure; the Job reads, compares databases and stores. Of a Secret no value
//! leaves the comparison, only the names of its keys.

pub mod names;
pub mod objects;

use chroma::compare::CollectionChange;
use crds::job::Audited;
use crds::run::{AuditCounts, AuditFinding, AuditKind, AuditSeverity, DataChange};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kind of documents that audits are.
pub const DOCUMENTS: &str = "audits";
/// Most ids of each kind that are kept of a collection.
pub const MOST_IDS: usize = 10_000;
/// The version of the document.
const VERSION: u32 = 1;

/// An audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Version of this structure. Fields may be added within one version.
    pub version: u32,
    /// `NAMESPACE/RUN/UID`.
    pub run: String,
    /// When the namespace was looked at.
    pub time: Timestamp,
    /// Since when somebody may have been inside.
    pub since: Timestamp,
    /// What was found in the namespace, the worst first.
    pub namespace: Vec<AuditFinding>,
    /// How much more was found there.
    #[serde(default)]
    pub left_out: u32,
    /// What differs from the last known good, and what could not be looked at, the worst first.
    pub findings: Vec<AuditFinding>,
    /// The components.
    pub components: Vec<Component>,
}

/// A component, held against its last known good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Policy.
    pub policy: String,
    /// Id of the last known good.
    pub point: String,
    /// Id of the emergency capture that was held against it.
    pub captured: String,
    /// Collections that differ, with ids; absent where they were not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<CollectionChange>>,
}

impl Audit {
    /// One in which nothing was found yet.
    pub fn new(run: String, time: Timestamp, since: Timestamp) -> Self {
        Self {
            version: VERSION,
            run,
            time,
            since,
            namespace: Vec::new(),
            left_out: 0,
            findings: Vec::new(),
            components: Vec::new(),
        }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("an audit holds only strings, numbers and times");
        text.push(b'\n');
        text
    }

    /// As it was stored.
    ///
    /// # Errors
    /// A sentence, where it is none or one of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        let any: Any = serde_json::from_slice(bytes).map_err(|e| format!("it is no audit: {e}"))?;
        if any.version > VERSION {
            return Err(format!("it is of version {}, this program reads up to {VERSION}", any.version));
        }
        serde_json::from_slice(bytes).map_err(|e| format!("it is no audit: {e}"))
    }

    /// What the Job says of it. What was found in the namespace is known where it is heard.
    pub fn report(&self, digest: Option<String>) -> Audited {
        let mut data: Vec<DataChange> = self.components.iter().filter_map(data).collect();
        data.sort_by_key(|change| std::cmp::Reverse(change.added + change.removed + change.altered));
        Audited { digest, counts: AuditCounts::of(&self.findings), findings: self.findings.clone(), data }
    }

    /// Everything that was found, the worst first.
    pub fn all(&self) -> Vec<&AuditFinding> {
        let mut all: Vec<&AuditFinding> = self.namespace.iter().chain(&self.findings).collect();
        all.sort();
        all
    }
}

/// What changed in the database of a component, in numbers.
fn data(component: &Component) -> Option<DataChange> {
    let collections = component.collections.as_ref()?;
    let sum = |of: fn(&CollectionChange) -> u64| collections.iter().map(of).sum();
    Some(DataChange {
        policy: component.policy.clone(),
        added: sum(|change| change.added),
        removed: sum(|change| change.removed),
        altered: sum(|change| change.altered),
        collections: collections.len() as u64,
    })
}

/// What is found in a collection that differs.
pub fn changed(policy: &str, point: &str, change: &CollectionChange) -> AuditFinding {
    use chroma::compare::Existence;
    let CollectionChange { added, removed, altered, normalised_here, .. } = change;
    let records = format!("{added} records added, {removed} removed, {altered} altered since point {point}");
    let message = match change.existence {
        Existence::Added => format!("point {point} has no such collection; {added} records"),
        Existence::Removed => format!("it is gone; point {point} has it, with {removed} records"),
        Existence::Both if *normalised_here > 0 && *altered > 0 => format!(
            "{records}; {normalised_here} vectors lay in a log in one of both, and may be altered in their last bit alone"
        ),
        Existence::Both => records,
    };
    let object = format!("collection {} of {policy}", change.full_name());
    finding(AuditSeverity::Medium, AuditKind::ChangedData, object, message)
}

/// A finding.
pub fn finding(
    severity: AuditSeverity,
    kind: AuditKind,
    object: impl Into<String>,
    message: impl Into<String>,
) -> AuditFinding {
    AuditFinding { severity, kind, object: object.into(), message: message.into() }
}

/// What could not be looked at.
pub fn unseen(object: impl Into<String>, why: impl Into<String>) -> AuditFinding {
    finding(AuditSeverity::Unknown, AuditKind::NotSeen, object, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chroma::compare::Existence;

    fn change(existence: Existence, added: u64, removed: u64, altered: u64) -> CollectionChange {
        let (tenant, database, collection) = ("t".into(), "d".into(), "papers".into());
        CollectionChange {
            tenant,
            database,
            collection,
            existence,
            added,
            removed,
            altered,
            ..Default::default()
        }
    }

    #[test]
    fn an_audit_is_read_as_it_was_stored_and_one_of_a_newer_version_is_refused() {
        let time = "2026-11-23T09:31:00Z".parse().unwrap();
        let mut audit = Audit::new("arxiv/breach/uid-1".into(), time, time);
        audit.findings.push(unseen("the data", "no room"));
        let component = |policy: &str, collections| Component {
            policy: policy.into(),
            point: "p".into(),
            captured: "c".into(),
            collections,
        };
        audit.components = vec![
            component("small", Some(vec![change(Existence::Both, 1, 0, 0)])),
            component(
                "large",
                Some(vec![change(Existence::Both, 5, 1, 2), change(Existence::Added, 3, 0, 0)]),
            ),
            component("files", None),
        ];
        assert_eq!(Audit::from_bytes(&audit.to_bytes()).unwrap(), audit);
        let newer = String::from_utf8(audit.to_bytes()).unwrap().replace("\"version\": 1", "\"version\": 2");
        assert!(Audit::from_bytes(newer.as_bytes()).unwrap_err().contains("version 2"));
        assert!(Audit::from_bytes(b"{}").is_err());
        let report = audit.report(Some("sha256:00".into()));
        let told: Vec<_> =
            report.data.iter().map(|d| (d.policy.as_str(), d.added, d.removed, d.altered)).collect();
        assert_eq!(told, [("large", 8, 1, 2), ("small", 1, 0, 0)]);
        assert_eq!(report.counts.unknown, 1);
    }

    #[test]
    fn a_collection_that_differs_is_told_with_numbers() {
        let told = |change: &CollectionChange| changed("chromadb", "p2", change);
        let both = told(&change(Existence::Both, 20, 1, 2));
        assert_eq!(both.object, "collection t/d/papers of chromadb");
        assert_eq!(both.message, "20 records added, 1 removed, 2 altered since point p2");
        assert_eq!(
            told(&change(Existence::Added, 20, 0, 0)).message,
            "point p2 has no such collection; 20 records"
        );
        let gone = told(&change(Existence::Removed, 0, 9, 0)).message;
        assert_eq!(gone, "it is gone; point p2 has it, with 9 records");
        let mut logged = change(Existence::Both, 0, 0, 2);
        logged.normalised_here = 2;
        assert!(told(&logged).message.ends_with("may be altered in their last bit alone"));
    }
}
