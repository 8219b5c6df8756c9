//! Durations as users write them: hours, minutes and seconds in Go's form (`2h30m`), never days.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration of whole seconds, written `2h30m`, `30m`, `5s`; at least one second, at most 100,000 hours.
///
/// The schema refuses anything else with a sentence; [`FromStr`] refuses it again for values that no API server saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// A span of whole minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self(minutes * 60)
    }

    /// A span of whole hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours * 3600)
    }

    /// Length in seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The span as a signed duration.
    #[must_use]
    pub fn to_duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    /// The longest span of whole seconds not longer than `duration`; negative durations become zero.
    #[must_use]
    pub fn floor(duration: SignedDuration) -> Self {
        Self(u64::try_from(duration.as_secs()).unwrap_or(0))
    }
}

impl fmt::Display for Span {
    /// `2h30m`, `1h`, `38s`, `0s`: the form that users write and read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (h, m, s) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if h > 0 {
            write!(f, "{h}h")?;
        }
        if m > 0 {
            write!(f, "{m}m")?;
        }
        if s > 0 || self.0 == 0 {
            write!(f, "{s}s")?;
        }
        Ok(())
    }
}

/// Six digits, as the schema has it.
const MOST_HOURS: u64 = 999_999;

/// Why a text is no [`Span`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotADuration(String);

impl fmt::Display for NotADuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no duration; write hours, minutes, seconds: 720h, 1h30m", self.0)
    }
}

impl std::error::Error for NotADuration {}

impl FromStr for Span {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let refuse = || NotADuration(text.to_owned());
        let mut rest = text;
        let mut total = 0u64;
        for (unit, seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
            if let Some((digits, after)) = rest.split_once(unit) {
                if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(refuse());
                }
                let count: u64 = digits.parse().map_err(|_| refuse())?;
                total += count * seconds;
                rest = after;
            }
        }
        // Minutes and seconds may add up to hours: more than can be written is refused, so that each can be read again.
        if !rest.is_empty() || total == 0 || total / 3600 > MOST_HOURS {
            Err(refuse())
        } else {
            Ok(Self(total))
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A promise that may be to lose nothing at all: `0s` is read back, which is no duration elsewhere.
pub(crate) mod or_none_at_all {
    use super::Span;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(span),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None => Ok(None),
            Some("0s") => Ok(Some(Span::from_secs(0))),
            Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 24,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && self.matches('[1-9]')",
                "messageExpression": "'\"' + self + '\" is no duration; write hours, minutes, seconds: 720h, 1h30m'",
            }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_users_write_them_and_print_in_the_shortest_form() {
        for (text, seconds, printed) in
            [("2h30m", 9000, "2h30m"), ("90m", 5400, "1h30m"), ("5s", 5, "5s"), ("720h", 2_592_000, "720h")]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_secs(), seconds);
            assert_eq!(span.to_string(), printed);
        }
        assert_eq!(Span::from_secs(0).to_string(), "0s");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_remedy() {
        for text in
            ["", "30d", "30min", "m30", "1m1h", "0s", "-5m", "5", "1.5h", "9999999h", "999999h99m", "5 m"]
        {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("write hours, minutes, seconds"), "{text}: {error}");
        }
    }
}
