//! Credentials that a run replaces after a breach, and how far it is with each. No value stands here, ever.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::reference::NameRef;

/// One-of: values of a Secret that are replaced, and by what. Several keys that are generated are several entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.generate), has(self.from), has(self.job)].filter(set, set).size() == 1",
    "message": "set exactly one of generate, from, job"}]))]
pub struct CredentialRotation {
    /// Its name.
    #[schemars(length(min = 1, max = 48), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')", "message": "write lower-case letters, digits and dashes, as in chroma-token"}]))]
    pub name: String,
    /// The Secret that holds them, in the run's namespace.
    pub secret_ref: NameRef,
    /// A random value is put in the place of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// Values that somebody has prepared are put in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<CopyFrom>,
    /// A Job replaces them, where they count and in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<RotationJob>,
}

impl CredentialRotation {
    /// The keys whose values it replaces; of a Job nobody here knows.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        match (&self.generate, &self.from) {
            (Some(generate), _) => std::slice::from_ref(&generate.key),
            (None, Some(from)) => &from.keys,
            (None, None) => &[],
        }
    }
}

/// A random value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generate {
    /// Key of the Secret, which has it.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[-._a-zA-Z0-9]+$')", "message": "write a key that a Secret can have, as in CHROMA_TOKEN"}]))]
    pub key: String,
    /// Length of the value, in characters, each a letter or a digit.
    #[serde(default = "default_length")]
    #[schemars(range(min = 16, max = 128))]
    pub length: u16,
}

fn default_length() -> u16 {
    48
}

/// Values out of another Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyFrom {
    /// The Secret that somebody has prepared, in the run's namespace.
    pub secret_ref: NameRef,
    /// The keys that are copied; both Secrets have them.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [
        {"rule": "self.all(key, key.matches('^[-._a-zA-Z0-9]+$'))", "message": "write keys that a Secret can have, as in CHROMA_TOKEN"}]))]
    pub keys: Vec<String>,
}

/// A Job made of a CronJob's template, as for a check of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationJob {
    /// The CronJob of the namespace; it may be suspended for ever, so that it runs for rotations alone.
    pub cron_job_ref: NameRef,
    /// How long it may take.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "duration(self) >= duration('1s') && duration(self) <= duration('1h')", "message": "write 1s to 1h"}]))]
    pub timeout: Span,
}

fn default_timeout() -> Span {
    Span::from_mins(10)
}

/// Most credentials that a run replaces.
pub const MAX_ROTATIONS: usize = 16;

/// How far a run is with a credential. Written before the mover that replaces it may: the chart's admission policy reads it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Name of the rotation.
    #[schemars(length(max = 48))]
    pub name: String,
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub secret: String,
    /// How far it is.
    pub state: RotationState,
    /// Why it was not replaced, where it was not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

/// How far a run is with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationState {
    /// The mover may replace it; of a Job it may keep what is to be replaced.
    Rotating,
    /// Its Job may run.
    Kept,
    /// It is replaced.
    Rotated,
    /// It is as it was.
    Refused,
}
