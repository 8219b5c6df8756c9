//! When something happens: a five-field cron expression and a zone.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Span;

/// A schedule: five-field cron in an IANA zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[schemars(schema_with = "cron_schema")]
    pub cron: String,
    /// IANA time zone in which the fields are read, e.g. America/New_York.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// How late a missed slot may still start; later it is skipped and the next one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Span>,
    /// Each object starts its slots later by a time of its own, this at most and always the same, so that not everything starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn cron_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 9,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "!self.matches('^[^ ]+( +[^ ]+){5}$')",
            "messageExpression": "'six fields; leave out the seconds: \"' + self.substring(self.indexOf(' ') + 1) + '\"'",
        }, {
            "rule": "self.matches('^[^ ]+( +[^ ]+){4,5}$')",
            "message": "write five fields: minute, hour, day of month, month, day of week, as in \"*/15 * * * *\"",
        }]
    })
}
