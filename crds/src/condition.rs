//! Conditions: the types and reasons that users and their alerts rely on, and the one rule for changing them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets condition `kind` in `conditions`: `lastTransitionTime` moves only when the status flips, so that an unchanged
/// world produces an unchanged status and the controller does not wake itself.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: Status,
    reason: &str,
    message: impl Into<String>,
    generation: i64,
    now: Timestamp,
) {
    let mut message: String = message.into();
    if message.len() > 2048 {
        let end = (0..=2045).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    let next = Condition {
        type_: kind.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(old) => {
            let since = if old.status == next.status { old.last_transition_time.clone() } else { Time(now) };
            *old = Condition { last_transition_time: since, ..next };
        }
        None => conditions.push(next),
    }
}

/// Removes condition `kind`: `Reconciling` and `Stalled` are present only while true.
pub fn clear(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// Condition `kind`, when present.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether condition `kind` is present and True.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|c| c.status == "True")
}

/// Value of a condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody could tell.
    Unknown,
}

impl Status {
    /// The word as Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let mut conditions = Vec::new();
        let t = |s: i64| Timestamp::from_second(s).unwrap();
        set(&mut conditions, "Ready", Status::True, "Armed", "a", 1, t(1));
        set(&mut conditions, "Ready", Status::True, "Armed", "b", 2, t(2));
        assert_eq!(conditions[0].last_transition_time.0, t(1));
        assert_eq!(conditions[0].message, "b");
        set(&mut conditions, "Ready", Status::False, "Suspended", "c", 2, t(3));
        assert_eq!(conditions[0].last_transition_time.0, t(3));
        assert_eq!(conditions.len(), 1);
    }
}
