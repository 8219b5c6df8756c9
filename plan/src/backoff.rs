//! How long to wait before something that failed is tried again. A plan knows neither clock nor chance: what spreads the
//! waits of many objects, which a store that comes back would otherwise meet all at once, is a hash of the name.

use crds::names;
use jiff::SignedDuration;

/// The wait after the first failure.
const FIRST: i64 = 10;
/// The longest wait, in seconds.
const MOST: i64 = 300;

/// The wait after the `failures`-th failure in a row of what `name` names.
///
/// Guarantees: the same for the same arguments; between three quarters and the whole of 10 s doubled at every failure, of
/// 5 minutes at most.
#[must_use]
pub fn after(failures: u32, name: &str) -> SignedDuration {
    let whole = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MOST) * 1000;
    let hash = names::short_hash(&[name, &failures.to_string()]);
    let share = i64::from_str_radix(&hash, 16).unwrap_or_default();
    SignedDuration::from_millis(whole - whole / 4 * share / i64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_five_minutes_and_keeps_to_its_quarter() {
        let wholes = [10, 10, 20, 40, 80, 160, 300, 300, 300];
        for name in ["", "primary", "db-2026-11-23-restore-chromadb-1-0a1b2c3d", "ä"] {
            for (failures, whole) in (0..).zip(wholes).chain([(u32::MAX, 300)]) {
                let wait = after(failures, name);
                let whole = SignedDuration::from_secs(whole);
                assert!(wait <= whole && wait >= whole / 4 * 3, "{name} {failures}: {wait}");
                assert_eq!(wait, after(failures, name));
            }
        }
    }

    #[test]
    fn what_failed_at_once_is_not_tried_again_at_once() {
        let mut waits: Vec<_> = (0..100).map(|n| after(1, &format!("policy-{n}"))).collect();
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 90, "{} waits of 100", waits.len());
        assert!(waits[waits.len() - 1] - waits[0] > SignedDuration::from_secs(2));
    }
}
