//! Commands that run in the component's pods around a capture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Commands around a capture, in every pod that mounts what is captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.before) || has(self.after)",
    "message": "set before, after or both"
}]))]
pub struct Hooks {
    /// Runs before the volumes are read; where it fails nothing is captured. It must not mind being run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Hook>,
    /// Runs when the volumes were read, or cut by snapshot: always, whatever became of `before` and of the capture. It must not mind
    /// being run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The program and its arguments. No shell reads them: name one where it is needed.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024)))]
    pub command: Vec<String>,
    /// The container; omitted: the pod's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Longest time that it may take in one pod.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

fn default_timeout() -> Span {
    Span::from_mins(1)
}

/// Hooks whose `after` is owed: written before the first command runs, there until the last one did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hooked {
    /// The capture.
    #[schemars(length(max = 64))]
    pub slot: String,
    /// Its attempt: each has hooks of its own.
    pub attempt: u32,
    /// How far it is.
    pub stage: HookStage,
    /// Since when.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub since: jiff::Timestamp,
    /// Jobs that this stage took, the running one included.
    pub tries: u32,
    /// The pods.
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub pods: Vec<String>,
    /// The hooks as they were when it began: what ends it must fit what began it.
    pub hooks: Hooks,
}

impl Hooked {
    /// The command of this stage, if it has one.
    #[must_use]
    pub fn command(&self) -> Option<&Hook> {
        match self.stage {
            HookStage::Before => self.hooks.before.as_ref(),
            HookStage::Between => None,
            HookStage::After => self.hooks.after.as_ref(),
        }
    }
}

/// How far the hooks of a capture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookStage {
    /// The first command runs, or is about to.
    Before,
    /// The volumes are read or cut.
    Between,
    /// The last command runs, or is about to.
    After,
}

impl HookStage {
    /// The word as users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "Before",
            Self::Between => "Between",
            Self::After => "After",
        }
    }
}
