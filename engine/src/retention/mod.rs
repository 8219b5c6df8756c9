//! Which points of one component are kept, and why: a pure, total function of what is known of them. It deletes nothing
//! and reads no clock. It refuses to give up the newest point, the newest good one and the newest verified one, whatever
//! the rules say.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::point::PointId;

/// How many points are kept of each kind. A point is kept when any rule keeps it. Without any rule all are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// The newest points.
    pub last: u32,
    /// One for each of the newest hours that have a point, and so on. Hours, days, weeks (from Monday), months and years
    /// are those of the zone that is given to [`Retention::decide`].
    pub hourly: u32,
    /// See `hourly`.
    pub daily: u32,
    /// See `hourly`.
    pub weekly: u32,
    /// See `hourly`.
    pub monthly: u32,
    /// See `hourly`.
    pub yearly: u32,
    /// At least so many good points, the newest, whatever `max_age` says.
    pub minimum: u32,
    /// At least so many verified points, the newest, whatever `max_age` says.
    pub keep_verified: u32,
    /// What is older goes, unless `minimum` or `keep_verified` hold it. Alone it keeps everything that is younger.
    pub max_age: Option<SignedDuration>,
}

/// What retention has to know of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The point.
    pub id: PointId,
    /// The time it stands for: [`crate::Point::retention_time`].
    pub time: Timestamp,
    /// The time that its capture gave, which settles the order of points that the store's clock (of whole seconds, often) shows
    /// at one time.
    pub said: Timestamp,
    /// Its content was whole when it was captured.
    pub good: bool,
    /// It was verified since, and passed.
    pub verified: bool,
    /// Somebody asked that it be kept.
    pub held: bool,
}

/// Why a point is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// It is the newest.
    Newest,
    /// It is the newest good one.
    NewestGood,
    /// It is the newest that was verified.
    NewestVerified,
    /// Somebody asked for it.
    Held,
    /// By `last`.
    Last,
    /// By `hourly`.
    Hourly,
    /// By `daily`.
    Daily,
    /// By `weekly`.
    Weekly,
    /// By `monthly`.
    Monthly,
    /// By `yearly`.
    Yearly,
    /// By `minimum`.
    Minimum,
    /// By `keep_verified`.
    KeepVerified,
    /// No rule counts points, and it is young enough.
    NoRule,
    /// It was captured in an emergency and is judged by no rule: it stays until somebody removes it. [`Retention::decide`] is not asked
    /// about it.
    Emergency,
}

/// A number that names the period of its zone's calendar that an instant falls into.
type Period = fn(&Zoned) -> i64;

/// Seconds of the zone's own clock since its 1970-01-01.
fn second(at: &Zoned) -> i64 {
    at.timestamp().as_second() + i64::from(at.offset().seconds())
}

fn day(at: &Zoned) -> i64 {
    second(at).div_euclid(86_400)
}

/// The offset belongs to it: the hour that a clock change repeats counts twice.
fn hour(at: &Zoned) -> i64 {
    second(at).div_euclid(3600) * 100_000 + i64::from(at.offset().seconds()) / 60
}

/// 1970-01-01 was a Thursday; weeks begin on Monday.
fn week(at: &Zoned) -> i64 {
    (day(at) + 3).div_euclid(7)
}

fn month(at: &Zoned) -> i64 {
    i64::from(at.year()) * 12 + i64::from(at.month())
}

fn year(at: &Zoned) -> i64 {
    at.year().into()
}

impl Retention {
    /// Whether no rule says which points are kept. What is never gone below is no rule: alone it gives up nothing.
    fn counts_nothing(&self) -> bool {
        let Self { last, hourly, daily, weekly, monthly, yearly, minimum: _, keep_verified: _, max_age: _ } =
            self;
        [last, hourly, daily, weekly, monthly, yearly].iter().all(|n| **n == 0)
    }

    /// The reasons for which each point is kept, by its id; a point without reasons may go.
    ///
    /// Guarantees: the newest point, the newest good and the newest verified one are kept, held ones too; a larger number
    /// in a rule never keeps less, nor does a rule that is added to others, nor a larger `max_age`; the order of the
    /// points plays no part. Of a period the newest good point is taken, or the newest where none is good.
    pub fn decide(
        &self,
        points: &[Candidate],
        zone: &TimeZone,
        now: Timestamp,
    ) -> BTreeMap<PointId, BTreeSet<Reason>> {
        let mut kept: BTreeMap<PointId, BTreeSet<Reason>> =
            points.iter().map(|point| (point.id, BTreeSet::new())).collect();
        let mut newest_first: Vec<&Candidate> = points.iter().collect();
        newest_first.sort_by_key(|point| Reverse((point.time, point.said, point.id)));
        let mut keep = |reason: Reason, points: Vec<&Candidate>| {
            for point in points {
                kept.entry(point.id).or_default().insert(reason);
            }
        };
        let newest = |number: u32, of: fn(&Candidate) -> bool| -> Vec<&Candidate> {
            newest_first.iter().copied().filter(|p| of(p)).take(number as usize).collect()
        };
        keep(Reason::Newest, newest(1, |_| true));
        keep(Reason::NewestGood, newest(1, |p| p.good));
        keep(Reason::NewestVerified, newest(1, |p| p.verified));
        keep(Reason::Held, newest(u32::MAX, |p| p.held));
        keep(Reason::Minimum, newest(self.minimum, |p| p.good));
        keep(Reason::KeepVerified, newest(self.keep_verified, |p| p.verified));

        // The age is asked of what was chosen: asked before, another limit would choose another point of a period.
        let young = |points| young_enough(points, self.max_age, now);
        if self.counts_nothing() {
            keep(Reason::NoRule, young(newest(u32::MAX, |_| true)));
            return kept;
        }
        keep(Reason::Last, young(newest(self.last, |_| true)));
        let periods: [(Reason, u32, Period); 5] = [
            (Reason::Hourly, self.hourly, hour),
            (Reason::Daily, self.daily, day),
            (Reason::Weekly, self.weekly, week),
            (Reason::Monthly, self.monthly, month),
            (Reason::Yearly, self.yearly, year),
        ];
        for (reason, number, period) in periods {
            keep(reason, young(one_a_period(&newest_first, number, zone, period)));
        }
        kept
    }
}

fn young_enough(
    mut points: Vec<&Candidate>,
    max_age: Option<SignedDuration>,
    now: Timestamp,
) -> Vec<&Candidate> {
    points.retain(|point| max_age.is_none_or(|most| now.duration_since(point.time) <= most));
    points
}

/// The best point of each of the newest periods that have one.
fn one_a_period<'a>(
    newest_first: &[&'a Candidate],
    number: u32,
    zone: &TimeZone,
    period: Period,
) -> Vec<&'a Candidate> {
    let mut best: BTreeMap<Reverse<i64>, &Candidate> = BTreeMap::new();
    for point in newest_first {
        let of_period = best.entry(Reverse(period(&point.time.to_zoned(zone.clone())))).or_insert(point);
        if point.good && !of_period.good {
            *of_period = point;
        }
    }
    best.into_values().take(number as usize).collect()
}
