//! How a component is captured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hooks::Hooks;
use crate::Span;
use crate::reference::NameRef;

/// One-of: how a volume is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.live), has(self.snapshot), has(self.offline)].filter(set, set).size() == 1",
    "message": "set one of live: {}, snapshot: {} and offline: {}"
}, {
    "rule": "!(has(self.hooks) && has(self.offline))",
    "message": "hooks run in pods, and an offline capture has none: its workloads are stopped"
}]))]
pub struct CaptureMethod {
    /// Beside the running server: writers wait for a moment, readers don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// From a CSI VolumeSnapshot that is cut while writers are held, and read from a clone: they wait for the storage and not for a
    /// comparison, however large the volume is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// With the workloads scaled to zero meanwhile: for volumes beside whose server nothing can run, or whose locks don't reach another
    /// pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// Commands to run in the pods before and after; the chart's `hooks.enabled` allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// A point with fewer records or bytes than the largest one before it, by more than this, is an anomaly: nothing of the
    /// policy is removed until somebody has looked. 100 turns this off.
    #[serde(default = "default_shrink")]
    #[schemars(range(max = 100))]
    pub max_shrink_percent: u8,
    /// The RecoveryPoint from which on a smaller size is right: points before it are no measure any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink_acknowledged: Option<NameRef>,
}

fn default_shrink() -> u8 {
    20
}

impl Default for CaptureMethod {
    fn default() -> Self {
        Self {
            live: Some(Live::default()),
            snapshot: None,
            offline: None,
            hooks: None,
            max_shrink_percent: default_shrink(),
            shrink_acknowledged: None,
        }
    }
}

/// The one of them that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Beside the running server.
    Live(Live),
    /// From a snapshot.
    Snapshot(Snapshot),
    /// With the workloads stopped.
    Offline(Offline),
}

impl CaptureMethod {
    /// How it is captured.
    #[must_use]
    pub fn method(&self) -> Method {
        match (&self.snapshot, self.offline) {
            (Some(snapshot), _) => Method::Snapshot(snapshot.clone()),
            (None, Some(offline)) => Method::Offline(offline),
            (None, None) => Method::Live(self.live.unwrap_or_default()),
        }
    }
}

/// Bounds of a live capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Live {
    /// Longest time that writers may be held. A capture that would exceed it lets them go and fails.
    pub max_writer_pause: Span,
}

impl Default for Live {
    fn default() -> Self {
        Self { max_writer_pause: Span::from_secs(5) }
    }
}

/// Bounds of a capture from a snapshot, and of what kind that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// The VolumeSnapshotClass; omitted: the default one of the volume's driver, or its only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,
    /// Longest time that writers of a ChromaDB may be held while the storage cuts the snapshot. A capture that would exceed it lets them
    /// go and is tried again.
    pub max_writer_pause: Span,
    /// Longest time from the cut until the snapshot can be read. A capture that would exceed it is tried again.
    pub ready_timeout: Span,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            volume_snapshot_class_name: None,
            max_writer_pause: Span::from_secs(10),
            ready_timeout: Span::from_mins(10),
        }
    }
}

/// Bounds of an offline capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Offline {
    /// Longest time that the workloads may be stopped. A capture that would exceed it is given up, and they are started again.
    pub max_downtime: Span,
}

impl Default for Offline {
    fn default() -> Self {
        Self { max_downtime: Span::from_mins(15) }
    }
}
