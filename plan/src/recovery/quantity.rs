//! Kubernetes quantities of bytes: read, compared, and written for a claim that must hold a point.

/// The bytes of `quantity`, rounded up; nothing when it is no quantity of bytes.
#[must_use]
pub fn bytes(quantity: &str) -> Option<u64> {
    let end = quantity.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    let scale: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1000u64.pow(2),
        "G" => 1000u64.pow(3),
        "T" => 1000u64.pow(4),
        "P" => 1000u64.pow(5),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(scale),
        Some(_) => {
            let value: f64 = number.parse().ok()?;
            // Sizes of volumes stay far below 2^53, where this is exact to the byte.
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bytes = (value * scale as f64).ceil() as u64;
            Some(bytes)
        }
    }
}

/// The billionths of a core that `quantity` is, rounded down; nothing when it is none.
#[must_use]
pub fn nano_cores(quantity: &str) -> Option<u64> {
    let end = quantity.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(end);
    let digits: u32 = match unit {
        "" => 9,
        "m" => 6,
        "u" => 3,
        "n" => 0,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept = &part[..part.len().min(digits as usize)];
    let fraction: u64 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let fraction = fraction.checked_mul(10u64.pow(digits - u32::try_from(kept.len()).ok()?))?;
    (!number.is_empty()).then_some(())?;
    whole.checked_mul(10u64.pow(digits))?.checked_add(fraction)
}

/// `asked`, or more where a point of `needed` bytes would not fit: an eighth and 64 MiB are left for the filesystem.
#[must_use]
pub fn at_least(asked: &str, needed: u64) -> String {
    const MEBI: u64 = 1 << 20;
    let wanted = needed.saturating_add(needed / 8).saturating_add(64 * MEBI);
    match bytes(asked) {
        Some(have) if have >= wanted => asked.to_owned(),
        // What can't be read is the cluster's to judge, unless there is a point to compare with.
        None if needed == 0 => asked.to_owned(),
        _ => format!("{}Mi", wanted.div_ceil(MEBI)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("20Gi", Some(20 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("500M", Some(500_000_000)),
            ("7", Some(7)),
            ("x", None),
            ("", None),
            ("1m", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn cores_are_read_as_kubernetes_and_its_metrics_write_them() {
        for (text, expected) in [
            ("2", Some(2_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("250m", Some(250_000_000)),
            ("0.1m", Some(100_000)),
            ("7u", Some(7_000)),
            ("123456789n", Some(123_456_789)),
            ("1Ki", None),
            ("m", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(nano_cores(text), expected, "{text}");
        }
    }

    #[test]
    fn a_claim_is_never_smaller_than_asked_and_always_holds_the_point() {
        assert_eq!(at_least("20Gi", 1 << 30), "20Gi");
        assert_eq!(at_least("1Gi", 1 << 30), "1216Mi");
        assert_eq!(at_least("500Mi", 0), "500Mi");
    }
}
