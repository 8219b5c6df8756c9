//! What a run found that somebody may have left or changed who broke in. The whole of it lies in the repository; here stands the worst.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most findings that the status of a run lists.
pub const MAX_AUDIT_FINDINGS: usize = 32;

/// The security audit of a breach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditStatus {
    /// When the namespace was looked at.
    #[schemars(with = "Time")]
    pub time: Timestamp,
    /// How many findings there are.
    pub counts: AuditCounts,
    /// The worst of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub findings: Vec<AuditFinding>,
    /// What was changed in the databases since the last known good, one entry a policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy"]))]
    pub data: Vec<DataChange>,
    /// Where the whole of it lies, one entry a repository: holdfast audit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["repository"]))]
    pub documents: Vec<AuditDocument>,
}

/// How many findings of a severity there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditCounts {
    /// Of High.
    pub high: u32,
    /// Of Medium.
    pub medium: u32,
    /// Of Unknown.
    pub unknown: u32,
    /// Of Low.
    pub low: u32,
}

impl AuditCounts {
    /// Those of `findings`.
    #[must_use]
    pub fn of(findings: &[AuditFinding]) -> Self {
        let of = |severity| {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Self {
            high: of(AuditSeverity::High),
            medium: of(AuditSeverity::Medium),
            unknown: of(AuditSeverity::Unknown),
            low: of(AuditSeverity::Low),
        }
    }

    /// Of all severities.
    #[must_use]
    pub fn all(self) -> u32 {
        self.high.saturating_add(self.medium).saturating_add(self.unknown).saturating_add(self.low)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            high: self.high.saturating_add(other.high),
            medium: self.medium.saturating_add(other.medium),
            unknown: self.unknown.saturating_add(other.unknown),
            low: self.low.saturating_add(other.low),
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditFinding {
    /// How bad it is.
    pub severity: AuditSeverity,
    /// What kind of thing it is.
    pub kind: AuditKind,
    /// What it is about, as `RoleBinding helper`.
    #[schemars(length(max = 320))]
    pub object: String,
    /// A sentence.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AuditSeverity {
    /// It can serve somebody who broke in, and came or was changed since: look at it before the isolation is lifted.
    High,
    /// It differs from the last known good, or can serve somebody and was there before.
    Medium,
    /// It could not be looked at, and why.
    Unknown,
    /// Worth knowing.
    Low,
}

impl AuditSeverity {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Unknown => "Unknown",
            Self::Low => "Low",
        }
    }
}

/// What kind of thing an audit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AuditKind {
    /// A right that somebody has in the namespace.
    Access,
    /// What a pod may do on its node.
    Privilege,
    /// An image that may be another one tomorrow.
    Image,
    /// An object that no policy and no point knows of.
    UnknownObject,
    /// An object that differs from the last known good, or is missing.
    ChangedObject,
    /// Records that differ from the last known good.
    ChangedData,
    /// Something that could not be looked at.
    NotSeen,
}

impl AuditKind {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "Access",
            Self::Privilege => "Privilege",
            Self::Image => "Image",
            Self::UnknownObject => "UnknownObject",
            Self::ChangedObject => "ChangedObject",
            Self::ChangedData => "ChangedData",
            Self::NotSeen => "NotSeen",
        }
    }
}

/// What was changed in a database since the last known good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataChange {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Records that the last known good has not.
    pub added: u64,
    /// Records that only it has.
    pub removed: u64,
    /// Records that are others by the same id.
    pub altered: u64,
    /// Collections that differ.
    pub collections: u64,
}

/// Where the whole of an audit lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditDocument {
    /// Repository.
    #[schemars(length(max = 253))]
    pub repository: String,
    /// Name of the document there.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its SHA-256, hex.
    #[schemars(length(max = 128))]
    pub digest: String,
}
