//! Checks of a policy's own, which a recovery makes besides those that it makes of every component.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ExecCheck, StatusCheck};
use crate::Span;
use crate::reference::NameRef;
use crate::run::CheckGroup;

/// One-of: a line that the policy adds to the validation checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.http), has(self.chromaCount), has(self.job), has(self.exec), has(self.status), has(self.manual)].filter(set, set).size() == 1",
     "message": "set exactly one of http, chromaCount, job, exec, status, manual"},
    {"rule": "!(self.name in ['cpu', 'memory', 'disk', 'network', 'chromadb-responds', 'workloads-ready', 'containers-healthy', 'cronjobs-scheduled', 'collections-accessible', 'counts', 'corruption', 'queries', 'files', 'backup-functional', 'credential-wanted', 'old-credential-refused', 'access-controls', 'credentials-rotated', 'audit-logs-reviewed', 'security-monitoring'])",
     "fieldPath": ".name", "message": "is the name of a check that every recovery makes; choose another"}]))]
pub struct PolicyCheck {
    /// Its name; the line of the checklist is called after policy and check.
    #[schemars(length(min = 1, max = 48), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')", "message": "write lower-case letters, digits and dashes, as in papers-floor"}]))]
    pub name: String,
    /// Section of the checklist.
    #[serde(default = "default_group")]
    pub group: CheckGroup,
    /// A Service answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A collection of the ChromaDB has its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroma_count: Option<ChromaCount>,
    /// A Job made of a CronJob's template completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobCheck>,
    /// A command in a pod of the component ends with 0. Only where the chart allows commands in pods (hooks.enabled).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// An object's status is as an expression says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusCheck>,
    /// Something that only a person can know. Inconclusive until somebody attests it in the run's `spec.attestations`, which ends no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<ManualCheck>,
    /// How long what is asked for may take to come true after the start.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "duration(self) >= duration('1s') && duration(self) <= duration('10m')", "message": "write 1s to 10m"}]))]
    pub timeout: Span,
}

fn default_group() -> CheckGroup {
    CheckGroup::ApplicationFunctions
}

fn default_timeout() -> Span {
    Span::from_mins(1)
}

/// A GET that a Service answers with a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// The Service.
    pub service_ref: NameRef,
    /// Its port; omitted: its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Path and query.
    #[serde(default = "default_path")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = [
        {"rule": "self.startsWith('/') && self.matches('^[!-~]+$')", "message": "write a path, as in /healthz"}]))]
    pub path: String,
    /// The status that is wanted. Redirects are not followed.
    #[serde(default = "default_status")]
    #[schemars(range(min = 100, max = 599))]
    pub status: u16,
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_status() -> u16 {
    200
}

/// A collection with at least so many records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChromaCount {
    /// Its name, in any database.
    #[schemars(length(min = 1, max = 512))]
    pub collection: String,
    /// Records.
    pub at_least: u64,
}

/// A Job that is made for the check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobCheck {
    /// The CronJob of the namespace whose template it is made of; it may be suspended for ever, so that it runs for checks alone.
    pub cron_job_ref: NameRef,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManualCheck {
    /// What has to be so, as in `the audit log shows no access from outside`.
    #[schemars(length(min = 1, max = 256))]
    pub expected: String,
}
