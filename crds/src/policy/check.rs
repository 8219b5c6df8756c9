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
    {"rule": "[has(self.http), has(self.chromaCount), has(self.chromaQuery), has(self.smtp), has(self.job), has(self.exec), has(self.status), has(self.manual)].filter(set, set).size() == 1",
     "message": "set exactly one of http, chromaCount, chromaQuery, smtp, job, exec, status, manual"},
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
    /// The indices of the ChromaDB find what is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroma_query: Option<ChromaQuery>,
    /// A mail server takes a mail, which says that it is a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpCheck>,
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
    /// Whether a drill makes it too: Skip what reaches people or systems outside the sandbox. A recovery always makes it.
    #[serde(default, skip_serializing_if = "InDrills::is_run")]
    pub in_drills: InDrills,
}

/// Whether a drill makes a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InDrills {
    /// It does.
    #[default]
    Run,
    /// It does not.
    Skip,
}

impl InDrills {
    fn is_run(&self) -> bool {
        *self == Self::Run
    }
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

/// Some records of each collection are asked for with their own vectors, and have to be found, with what is nearest to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChromaQuery {
    /// Records that are asked for, of each collection.
    #[serde(default = "default_samples")]
    #[schemars(range(min = 1, max = 100))]
    pub samples_per_collection: u8,
    /// How many of their nearest neighbours the index has to find, in percent, in every collection.
    #[serde(default = "default_recall")]
    #[schemars(range(min = 1, max = 100))]
    pub min_recall_percent: u8,
}

fn default_samples() -> u8 {
    20
}

fn default_recall() -> u8 {
    95
}

/// A mail that a Service takes, by SMTP without encryption or credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmtpCheck {
    /// The Service.
    pub service_ref: NameRef,
    /// Its port; omitted: its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// To whom the mail is sent.
    #[schemars(length(min = 3, max = 254), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[a-zA-Z0-9._%+=-]+@[a-zA-Z0-9.-]+$')", "message": "write one address, as in dr-test@yourorg.com"}]))]
    pub to: String,
    /// Whose mail it is; omitted: holdfast@ and the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[a-zA-Z0-9._%+=-]+@[a-zA-Z0-9.-]+$')", "message": "write one address, as in holdfast@yourorg.com"}]))]
    pub from: Option<String>,
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
