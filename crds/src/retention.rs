//! Which points of a policy are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Which points are kept. A point is removed when no rule keeps it: but never the newest, the newest good one, the newest
/// verified one, or one on hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.last + self.hourly + self.daily + self.weekly + self.monthly + self.yearly > 0 || has(self.maxAge)",
     "message": "set at least one of last, hourly, daily, weekly, monthly, yearly, maxAge; leave retention out for last: 24, daily: 7, weekly: 4, monthly: 3"}]))]
pub struct Retention {
    /// The newest points.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub last: u32,
    /// One for each of the newest hours that have a point, by the clock of the schedule's zone.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub hourly: u32,
    /// One for each of the newest days.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub daily: u32,
    /// One for each of the newest weeks, which begin on Monday.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub weekly: u32,
    /// One for each of the newest months.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub monthly: u32,
    /// One for each of the newest years.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub yearly: u32,
    /// Never fewer good points than this, whatever their age.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub minimum: u32,
    /// Never fewer verified points than this, whatever their age.
    #[serde(default = "one")]
    #[schemars(range(max = 100_000))]
    pub verified: u32,
    /// What is older goes, but for minimum and verified. Without another rule everything younger is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

fn one() -> u32 {
    1
}

impl Default for Retention {
    /// A day of half hours, a week of days, a month of weeks, a quarter of months.
    fn default() -> Self {
        Self {
            last: 24,
            hourly: 0,
            daily: 7,
            weekly: 4,
            monthly: 3,
            yearly: 0,
            minimum: 1,
            verified: 1,
            max_age: None,
        }
    }
}
