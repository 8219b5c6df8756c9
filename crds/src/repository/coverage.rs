//! What of a namespace no policy covers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most objects that are named; all are counted.
pub const MOST_NAMED: usize = 64;

/// What of the namespace no policy covers. Empty where everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// How many there are of each kind that was looked at, none included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind"]))]
    pub counts: Vec<UncoveredCount>,
    /// Which, the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub uncovered: Vec<Uncovered>,
}

/// A number of objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UncoveredCount {
    /// The kind.
    pub kind: CoveredKind,
    /// How many no policy covers.
    pub count: u32,
}

/// An object that no policy covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uncovered {
    /// Its kind.
    pub kind: CoveredKind,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// Kinds that are looked at: what a policy can cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CoveredKind {
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 Deployment.
    Deployment,
    /// batch/v1 CronJob.
    CronJob,
    /// v1 PersistentVolumeClaim: whether what lies on it is captured.
    PersistentVolumeClaim,
    /// v1 Secret that a workload refers to which no policy covers. Others are not seen: the controller has no right to list Secrets.
    Secret,
}

impl CoveredKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::StatefulSet, Self::Deployment, Self::CronJob, Self::PersistentVolumeClaim, Self::Secret];

    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatefulSet => "StatefulSet",
            Self::Deployment => "Deployment",
            Self::CronJob => "CronJob",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Secret => "Secret",
        }
    }
}
