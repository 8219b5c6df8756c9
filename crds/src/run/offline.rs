//! What a run knows of a component's offline mode. What is to be given back stands here before it is taken.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StoppedWorkload;

/// Offline mode of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfflineStatus {
    /// Policy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// Where it is.
    pub state: OfflineState,
    /// When the component was seen to work in offline mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub entered: Option<Timestamp>,
    /// When everything was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub left: Option<Timestamp>,
    /// What the component needs from outside, as it was last seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub endpoints: Vec<EndpointStatus>,
    /// The look at which all of them answered, while that has to be seen once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u32>,
    /// The switch that is set, and what it was; absent where nothing had to be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<SwitchMemory>,
    /// What is suspended, and how many replicas it had; of a CronJob 1 while it was not suspended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub suspended: Vec<StoppedWorkload>,
    /// What has to be started anew when the switch changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub readers: Vec<StoppedWorkload>,
    /// How far their restart is, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartStatus>,
}

/// Where a component is between the network and offline mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OfflineState {
    /// All that it needs answers.
    NotNeeded,
    /// Something that it needs does not answer; nothing was changed yet.
    Needed,
    /// What is to be given back is remembered, and offline mode is being entered.
    Entering,
    /// It is in offline mode.
    Offline,
    /// What was taken is being given back.
    Leaving,
    /// All is given back.
    Online,
}

/// A restart under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// How far it is.
    pub stage: RestartStage,
    /// Since when.
    #[schemars(with = "Time")]
    pub since: Timestamp,
}

/// A restart, which is a stop and a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartStage {
    /// Being stopped.
    Stop,
    /// Being started.
    Start,
}

/// A switch before it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchMemory {
    /// ConfigMap.
    #[schemars(length(max = 253))]
    pub config_map: String,
    /// Key.
    #[schemars(length(max = 253))]
    pub key: String,
    /// Its value before.
    #[schemars(length(max = 256))]
    pub before: String,
    /// Its value in offline mode.
    #[schemars(length(max = 256))]
    pub offline: String,
}

/// An endpoint as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Host and port.
    #[schemars(length(max = 260))]
    pub endpoint: String,
    /// Whether it was seen to answer.
    pub state: EndpointState,
    /// How, or why not.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Whether an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndpointState {
    /// A connection was made.
    Answers,
    /// None was.
    Silent,
}
