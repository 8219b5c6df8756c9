//! Times, durations and counts as people read them.

use crds::Span;
use jiff::{SignedDuration, Timestamp};

/// A time with its date.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The date alone.
pub fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// The time of day alone.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// How long, in whole seconds. What took less than one took some of it.
pub fn duration(length: SignedDuration) -> String {
    if length > SignedDuration::ZERO && length.as_secs() == 0 {
        return "under 1s".to_owned();
    }
    Span::floor(length).to_string()
}

/// From one instant to another.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    duration(to.duration_since(from))
}

/// The same in minutes, rounded up to a tenth: a loss is never told smaller than it is.
pub fn minutes(seconds: u64) -> String {
    let tenths = seconds.saturating_mul(10).div_ceil(60);
    let text = format!("{}.{}", tenths / 10, tenths % 10);
    format!("{} minutes", text.strip_suffix(".0").unwrap_or(&text))
}

/// `n thing` or `n things`.
pub fn count(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// A duration that somebody else wrote; nothing when it is none.
pub fn seconds(text: &str) -> Option<u64> {
    if text == "0s" { Some(0) } else { text.parse::<Span>().ok().map(Span::as_secs) }
}

/// Lengths in milliseconds as whole seconds that add up to the whole seconds of their sum: each ends where the next begins, and only
/// the ends are rounded.
pub fn whole_seconds(millis: &[i64]) -> Vec<u64> {
    let mut at = 0u64;
    millis
        .iter()
        .map(|millis| {
            let before = at / 1000;
            at = at.saturating_add(u64::try_from(*millis).unwrap_or(0));
            at / 1000 - before
        })
        .collect()
}

/// Whether a letter is none: a terminal would obey it, or it turns the letters around it about.
pub fn is_deceiving(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_never_told_smaller_than_it_is() {
        for (seconds, told) in [(0, "0 minutes"), (1, "0.1 minutes"), (60, "1 minutes"), (1677, "28 minutes")]
        {
            assert_eq!(minutes(seconds), told);
        }
    }

    #[test]
    fn what_took_no_whole_second_is_not_nothing() {
        assert_eq!(duration(SignedDuration::from_millis(400)), "under 1s");
        assert_eq!(duration(SignedDuration::ZERO), "0s");
        assert_eq!(duration(SignedDuration::from_millis(61_900)), "1m1s");
    }
}
