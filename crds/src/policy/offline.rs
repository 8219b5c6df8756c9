//! What offline mode means for a component: what it needs from outside, and what is changed while that does not answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{NameRef, WorkloadRef};

/// What a RecoveryRun of scenario NetworkFailure does with a component while what it needs from outside does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.switch) || has(self.suspend)",
     "message": "set switch, suspend or both; without them offline mode changes nothing"},
    {"rule": "self.restart != 'Required' || has(self.switch)", "fieldPath": ".restart",
     "message": "Required restarts what reads the switch, and there is none; set switch or leave it out"}]))]
pub struct OfflineMode {
    /// What the component needs from outside. Offline mode is entered when one of them does not answer, and left when all do.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host", "port"]))]
    pub endpoints: Vec<Endpoint>,
    /// The value by which the component knows that it is offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// What needs the network: CronJobs are suspended, Deployments scaled to zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"],
        "x-kubernetes-validations" = [{"rule": "self.all(w, w.kind != 'StatefulSet')",
            "message": "a StatefulSet may lose its claims when it is scaled to zero; name CronJobs and Deployments"}]))]
    pub suspend: Vec<WorkloadRef>,
    /// Required: the component reads the switch only at its start, so its Deployments and StatefulSets are stopped and started.
    #[serde(default)]
    pub restart: Restart,
}

/// Something that is reached by TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// DNS name or IPv4 address.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$')",
         "message": "write a DNS name or an IPv4 address without scheme, port or path, as in export.arxiv.org"}]))]
    pub host: String,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A key of a ConfigMap and its two values. Any other value is taken for a mistake and left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.online != self.offline", "fieldPath": ".offline",
     "message": "the same as online, so nothing would be switched; write the value that means offline"}]))]
pub struct Switch {
    /// The ConfigMap. It carries the label holdfast.dev/offline-switch: "true".
    pub config_map_ref: NameRef,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Its value while the component works as usual.
    #[schemars(length(max = 256))]
    pub online: String,
    /// Its value in offline mode.
    #[schemars(length(max = 256))]
    pub offline: String,
}

/// Whether the component has to be started anew to see its switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Restart {
    /// It sees the change by itself.
    #[default]
    NotRequired,
    /// It reads it at its start.
    Required,
}
