//! Which points were restored, or read to the last byte, and found as captured: a mark in the bucket for each, written once. When it passed again is not
//! written down: a mark can't be changed, and retention asks for no more.

use std::collections::BTreeMap;

use crds::point::Verification;
use crds::run::Verdict;
use engine::{PointId, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Result;

/// The kind of these marks. Their name is the point's id.
const VERIFIED: &str = "verified";
/// Who wrote one that doesn't say: `holdfast verify --record`.
const BY_HAND: &str = "holdfast verify";

/// What such a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    level: String,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

/// Writes down that a point passed. What is so already stays as it is.
pub async fn record(repository: &Repository, point: &PointId, by: &str, at: Timestamp) -> Result<()> {
    let passed = Passed { level: "full".to_owned(), at, by: Some(by.to_owned()) };
    let value = serde_json::to_value(passed).expect("what is said holds only strings and a time");
    repository.put_mark(VERIFIED, &point.to_string(), value).await?;
    Ok(())
}

/// Those that passed, by id, as a point's object has it. One whose mark says something that is not understood passed all the same.
pub async fn all(repository: &Repository) -> Result<BTreeMap<String, Option<Verification>>> {
    let told = |value: &serde_json::Value| {
        let passed = Passed::deserialize(value).ok()?;
        let by = passed.by.unwrap_or_else(|| BY_HAND.to_owned());
        Some(Verification { verdict: Verdict::Passed, time: passed.at, by, recorded: true })
    };
    let marks = repository.marks(VERIFIED).await?;
    Ok(marks.into_iter().map(|mark| (mark.name, told(&mark.value))).collect())
}

/// The name of whoever types `holdfast verify --record`.
pub fn by_hand() -> &'static str {
    BY_HAND
}
