//! Who made or changed an object, as it says itself: its creation, and the managers of its fields. A manager's name is whatever its client gave.

use jiff::Timestamp;
use serde_json::Value;

use super::{list, text};

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    /// It is as old as that; otherwise it was there before.
    pub(super) created: bool,
    /// Who wrote to it last.
    pub(super) manager: String,
    at: Timestamp,
}

impl Touch {
    /// `created at 2026-11-23T09:10:00Z by kubectl-create`.
    pub(super) fn said(&self) -> String {
        let what = if self.created { "created" } else { "changed" };
        let by = if self.manager.is_empty() { String::new() } else { format!(" by {}", self.manager) };
        format!("{what} at {:.0}{by}", self.at)
    }
}

/// What tells of itself how an object is, and who wrote that is of no interest.
const PASSING: [&str; 2] = ["status", "scale"];

/// What happened to `object` since a time; absent: nothing.
pub(super) fn since(object: &Value, since: Timestamp) -> Option<Touch> {
    let metadata = &object["metadata"];
    // Whole seconds is what these times are told in.
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let written = list(&metadata["managedFields"])
        .filter(|entry| !PASSING.contains(&text(&entry["subresource"])))
        .filter_map(|entry| Some((text(&entry["time"]).parse::<Timestamp>().ok()?, text(&entry["manager"]))));
    let last = written.max_by_key(|(time, _)| *time);
    let created = text(&metadata["creationTimestamp"]).parse::<Timestamp>().ok();
    if let Some(at) = created.filter(|created| *created >= since) {
        let manager = last.map(|(_, manager)| manager).unwrap_or_default().to_owned();
        return Some(Touch { created: true, manager, at });
    }
    let (at, manager) = last.filter(|(time, _)| *time >= since)?;
    Some(Touch { created: false, manager: manager.to_owned(), at })
}

/// Whether an object was created since a time.
pub(super) fn is_new(object: &Value, time: Timestamp) -> bool {
    since(object, time).is_some_and(|touch| touch.created)
}
