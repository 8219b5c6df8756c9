//! What a mover is asked that audits, and what it says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::message::cut;
use super::{MAX_AUDITED, MAX_AUDITED_DATA, MAX_WORD, RepositoryAccess};
use crate::run::{AuditCounts, AuditFinding, DataChange};

/// An audit that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRequest {
    /// The repository.
    pub repository: RepositoryAccess,
    /// What the document is called: `NAMESPACE/RUN/UID`.
    pub document: String,
    /// Since when somebody may have been inside.
    pub since: Timestamp,
    /// When the namespace was looked at.
    pub time: Timestamp,
    /// What was found there, the worst first: stored with the rest.
    pub namespace: Vec<AuditFinding>,
    /// How much more was found there than is handed over.
    pub left_out: u32,
    /// What is known already not to be looked at: told with the rest.
    pub findings: Vec<AuditFinding>,
    /// The components.
    pub components: Vec<AuditedComponent>,
    /// ConfigMaps and Secrets that policies know of, as `Secret env`.
    pub known: Vec<String>,
    /// The NetworkPolicies as they were before an isolation; absent where they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<Vec<serde_json::Value>>,
    /// Whether databases are compared record by record.
    pub data: bool,
}

/// A component that is held against its last known good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditedComponent {
    /// Policy.
    pub policy: String,
    /// Id of the last known good point.
    pub point: String,
    /// Id of the emergency capture.
    pub captured: String,
}

/// Result of [`Request::Audit`](super::Request::Audit): what the mover found itself. What was found in the namespace the controller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audited {
    /// SHA-256 of the document, as `sha256:HEX`; absent where nothing may be written to the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How much was found.
    pub counts: AuditCounts,
    /// The worst [`MAX_AUDITED`] of it.
    pub findings: Vec<AuditFinding>,
    /// What changed in databases, of the [`MAX_AUDITED_DATA`] that did the most.
    pub data: Vec<DataChange>,
}

impl Audited {
    pub(super) fn bound(&mut self) {
        self.findings.truncate(MAX_AUDITED);
        for finding in &mut self.findings {
            cut(&mut finding.object, MAX_WORD);
            cut(&mut finding.message, 200);
        }
        self.data.truncate(MAX_AUDITED_DATA);
        self.data.iter_mut().for_each(|data| cut(&mut data.policy, 64));
        if let Some(digest) = &mut self.digest {
            cut(digest, MAX_WORD);
        }
    }
}

/// One whose every text is `text`, and of which there is too much.
#[cfg(test)]
pub(super) fn largest(text: &str) -> Audited {
    use crate::run::{AuditKind, AuditSeverity};
    let (severity, kind) = (AuditSeverity::Unknown, AuditKind::UnknownObject);
    let finding = AuditFinding { severity, kind, object: text.to_owned(), message: text.to_owned() };
    let (added, removed, altered, collections) = (u64::MAX, u64::MAX, u64::MAX, u64::MAX);
    let data = DataChange { policy: text.to_owned(), added, removed, altered, collections };
    Audited {
        digest: Some(text.to_owned()),
        counts: AuditCounts { high: u32::MAX, medium: u32::MAX, unknown: u32::MAX, low: u32::MAX },
        findings: vec![finding; 100],
        data: vec![data; 100],
    }
}
