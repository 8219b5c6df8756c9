//! Counts how captures came out. A count is part of the write that forgets its capture, so each counts once whenever the controller dies.

use crds::policy::{Captures, CapturesOfMonth, MOST_MONTHS};
use jiff::Timestamp;

/// One more, which ended now.
pub(super) fn count(captures: &mut Captures, whole: bool, now: Timestamp) {
    let month = now.strftime("%Y-%m").to_string();
    if !captures.months.iter().any(|known| known.month == month) {
        captures.months.push(CapturesOfMonth { month: month.clone(), succeeded: 0, failed: 0 });
        // A clock that was set back may show a month that is not the newest.
        captures.months.sort_by(|a, b| b.month.cmp(&a.month));
        captures.months.truncate(MOST_MONTHS);
    }
    let of_month = captures.months.iter_mut().find(|known| known.month == month);
    let counts = of_month.map(|month| (&mut month.succeeded, &mut month.failed)).into_iter();
    for (succeeded, failed) in counts.chain([(&mut captures.succeeded, &mut captures.failed)]) {
        let counted = if whole { succeeded } else { failed };
        *counted = counted.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn each_counts_in_all_and_in_its_month_and_old_months_go() {
        let mut captures = Captures::default();
        for (time, whole) in [
            ("2026-10-31T23:59:59Z", true),
            ("2026-11-01T00:00:00Z", false),
            ("2026-11-23T09:00:00Z", true),
            ("2026-11-23T09:15:00Z", true),
        ] {
            count(&mut captures, whole, at(time));
        }
        assert_eq!((captures.succeeded, captures.failed), (3, 1));
        let shown = |captures: &Captures| -> Vec<(String, u64, u64)> {
            captures.months.iter().map(|m| (m.month.clone(), m.succeeded, m.failed)).collect()
        };
        assert_eq!(shown(&captures), [("2026-11".into(), 2, 1), ("2026-10".into(), 1, 0)]);
        for month in 0..40 {
            let time = at("2027-01-15T00:00:00Z").to_zoned(jiff::tz::TimeZone::UTC);
            count(&mut captures, true, (time + jiff::Span::new().months(month)).timestamp());
        }
        assert_eq!(captures.months.len(), MOST_MONTHS);
        assert_eq!(captures.months[0].month, "2030-04");
        assert_eq!(captures.months[25].month, "2028-03");
        assert_eq!(captures.succeeded, 43);
    }

    #[test]
    fn a_clock_that_was_set_back_counts_in_the_month_that_it_shows() {
        let mut captures = Captures::default();
        count(&mut captures, true, at("2026-11-01T00:00:00Z"));
        count(&mut captures, false, at("2026-09-30T00:00:00Z"));
        count(&mut captures, true, at("2026-11-01T00:01:00Z"));
        let months: Vec<_> =
            captures.months.iter().map(|m| (m.month.as_str(), m.succeeded, m.failed)).collect();
        assert_eq!(months, [("2026-11", 2, 0), ("2026-09", 0, 1)]);
    }

    #[test]
    fn a_month_before_all_that_are_remembered_counts_in_all_only() {
        let mut captures = Captures::default();
        let start = at("2027-01-15T00:00:00Z").to_zoned(jiff::tz::TimeZone::UTC);
        for month in 0..26 {
            count(&mut captures, true, (start.clone() + jiff::Span::new().months(month)).timestamp());
        }
        let before = captures.months.clone();
        count(&mut captures, true, at("2020-01-01T00:00:00Z"));
        assert_eq!((captures.succeeded, captures.months), (27, before));
    }
}
