//! Bytes and pauses as people read them in a column.

use jiff::SignedDuration;

/// `0`, `812`, `14Ki`, `2.4Gi`, `699Mi`: two significant digits below ten, whole numbers above.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if count < 1024 {
        return count.to_string();
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 and more would print as 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

/// `0.18s`, `5.0s`, `12s`.
#[must_use]
pub fn pause(duration: SignedDuration) -> String {
    let seconds = duration.as_secs_f64().max(0.0);
    if seconds < 0.995 {
        format!("{seconds:.2}s")
    } else if seconds < 9.95 {
        format!("{seconds:.1}s")
    } else {
        format!("{seconds:.0}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_a_listing() {
        for (count, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0Ki"),
            (14_336, "14Ki"),
            (734_003_200, "700Mi"),
            (2_576_980_378, "2.4Gi"),
            (1_048_575, "1.0Mi"),
            (u64::MAX, "16Ei"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn pauses_keep_what_matters() {
        for (millis, text) in [(0, "0.00s"), (180, "0.18s"), (999, "1.0s"), (5000, "5.0s"), (12_300, "12s")] {
            assert_eq!(pause(SignedDuration::from_millis(millis)), text);
        }
    }
}
