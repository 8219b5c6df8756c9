//! Which months a review is about. All in UTC, as captures are counted.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Length {
    /// Backup success and the results of tests.
    Month,
    /// That, and whether policies and procedures still fit what there is.
    Quarter,
    /// All of it, month by month.
    Year,
}

impl Length {
    fn months(self) -> i8 {
        match self {
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
        }
    }

    /// The word as users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// A month, quarter or year of the calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// How long.
    pub length: Length,
    /// Its first day.
    first: Date,
}

impl Period {
    /// The last one that is over at this time.
    pub fn last_complete(length: Length, at: Timestamp) -> Self {
        let today = at.to_zoned(TimeZone::UTC).date();
        Self { length, first: begin(length, today) }.previous()
    }

    /// The one of this name: 2026-11, 2026-Q4 or 2026.
    pub fn named(length: Length, name: &str) -> Option<Self> {
        let (year, rest) = name.split_once('-').unwrap_or((name, ""));
        let year = (year.len() == 4).then(|| year.parse().ok()).flatten()?;
        let month = match length {
            Length::Month => rest.parse().ok()?,
            Length::Quarter => {
                (rest.strip_prefix('Q')?.parse::<i8>().ok()?).checked_sub(1)?.checked_mul(3)? + 1
            }
            Length::Year => rest.is_empty().then_some(1)?,
        };
        Some(Self { length, first: Date::new(year, month, 1).ok()? })
    }

    /// The one before it.
    pub fn previous(&self) -> Self {
        let months = jiff::Span::new().months(i64::from(self.length.months()));
        Self { length: self.length, first: self.first.saturating_sub(months) }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        let (year, month) = (self.first.year(), self.first.month());
        match self.length {
            Length::Month => format!("{year:04}-{month:02}"),
            Length::Quarter => format!("{year:04}-Q{}", (month - 1) / 3 + 1),
            Length::Year => format!("{year:04}"),
        }
    }

    /// Its months, as captures are counted by.
    pub fn months(&self) -> Vec<String> {
        let of = |n: i8| self.first.saturating_add(jiff::Span::new().months(i64::from(n)));
        (0..self.length.months()).map(|n| of(n).strftime("%Y-%m").to_string()).collect()
    }

    /// Whether an instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        begin(self.length, at.to_zoned(TimeZone::UTC).date()) == self.first
    }

    /// Whether it is over at this time.
    pub fn is_over(&self, at: Timestamp) -> bool {
        begin(self.length, at.to_zoned(TimeZone::UTC).date()) > self.first
    }
}

fn begin(length: Length, day: Date) -> Date {
    let month = (day.month() - 1) / length.months() * length.months() + 1;
    Date::new(day.year(), month, 1).unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_complete_one_is_reviewed_unless_another_is_named() {
        for (length, last, before) in [
            (Length::Month, "2026-11", "2026-10"),
            (Length::Quarter, "2026-Q3", "2026-Q2"),
            (Length::Year, "2025", "2024"),
        ] {
            let period = Period::last_complete(length, at("2026-12-01T00:00:00Z"));
            assert_eq!((period.name(), period.previous().name()), (last.into(), before.into()));
            assert_eq!(Period::named(length, last), Some(period.clone()));
            assert!(period.is_over(at("2026-12-01T00:00:00Z")));
        }
        let january = Period::last_complete(Length::Month, at("2027-01-31T23:59:59Z"));
        assert_eq!((january.name(), january.previous().name()), ("2026-12".into(), "2026-11".into()));
        let running = Period::named(Length::Quarter, "2026-Q4").unwrap();
        assert!(!running.is_over(at("2026-12-31T23:59:59Z")) && running.is_over(at("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn a_period_has_its_months_and_ends_where_the_next_begins() {
        let quarter = Period::named(Length::Quarter, "2026-Q4").unwrap();
        assert_eq!(quarter.months(), ["2026-10", "2026-11", "2026-12"]);
        assert_eq!(Period::named(Length::Year, "2026").unwrap().months().len(), 12);
        let month = Period::named(Length::Month, "2028-02").unwrap();
        assert!(month.contains(at("2028-02-01T00:00:00Z")) && month.contains(at("2028-02-29T23:59:59Z")));
        assert!(!month.contains(at("2028-03-01T00:00:00Z")) && !month.contains(at("2028-01-31T23:59:59Z")));
    }

    #[test]
    fn what_is_no_name_of_one_is_none() {
        for (length, name) in [
            (Length::Month, "2026-13"),
            (Length::Month, "2026"),
            (Length::Month, "26-11"),
            (Length::Quarter, "2026-Q5"),
            (Length::Quarter, "2026-Q0"),
            (Length::Quarter, "2026-4"),
            (Length::Year, "2026-01"),
            (Length::Year, ""),
            (Length::Quarter, "2026-Q127"),
        ] {
            assert_eq!(Period::named(length, name), None, "{name}");
        }
    }
}
