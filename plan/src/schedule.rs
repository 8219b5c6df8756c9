//! When captures start: a cron expression in a zone, every so often, or what follows from the RPO. Time is an argument.

use std::fmt;

use crds::Span;
use crds::cron::Schedule;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A schedule that was understood.
#[derive(Clone, Debug)]
pub struct Slots {
    rhythm: Rhythm,
    /// How much later than the cron says each slot is.
    offset: SignedDuration,
    /// How late a slot may still start.
    pub starting_deadline: Option<Span>,
}

#[derive(Clone, Debug)]
enum Rhythm {
    Cron(Box<Cron>, TimeZone),
    /// At the multiples of a time since 1970, so that everybody means the same slots.
    Every(SignedDuration),
}

/// Why a schedule was not understood: a sentence that names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASchedule(String);

impl fmt::Display for NotASchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotASchedule {}

/// An RPO below this is shorter than a cron can keep.
const SHORTEST_BY_CRON: u64 = 120;
/// Captures never follow each other sooner.
const SHORTEST_WAIT: u64 = 5;

/// How often captures have to be taken to keep an RPO that a cron can't; none where one can.
#[must_use]
pub fn continuous(rpo: Span) -> Option<Span> {
    let half = Span::from_secs((rpo.as_secs() / 2).max(SHORTEST_WAIT));
    (rpo.as_secs() < SHORTEST_BY_CRON).then_some(half)
}

/// The schedule that keeps an RPO: every half of it, rounded down to a divisor of the hour or the day, so that the slots
/// are evenly spaced.
#[must_use]
pub fn derived(rpo: Span) -> Schedule {
    const MINUTES: [u64; 9] = [30, 20, 15, 10, 5, 4, 3, 2, 1];
    const HOURS: [u64; 7] = [12, 8, 6, 4, 3, 2, 1];
    let half = rpo.as_secs() / 120;
    let largest = |steps: &[u64], limit: u64| steps.iter().copied().find(|&step| step <= limit);
    let cron = if half >= 24 * 60 {
        "0 0 * * *".to_owned()
    } else if half >= 60 {
        match largest(&HOURS, half / 60) {
            Some(1) | None => "0 * * * *".to_owned(),
            Some(hours) => format!("0 */{hours} * * *"),
        }
    } else {
        match largest(&MINUTES, half) {
            // Half a minute or less can't be kept by a cron; ScheduleMissesRPO says so.
            Some(1) | None => "* * * * *".to_owned(),
            Some(minutes) => format!("*/{minutes} * * * *"),
        }
    };
    Schedule { cron, time_zone: "UTC".to_owned(), starting_deadline: None, jitter: None }
}

impl Slots {
    /// Understands a schedule. `whose` is the uid of the object that it is of: by it the jitter is told, the same at each start.
    ///
    /// # Errors
    /// When the expression or the zone is not one.
    pub fn parse(schedule: &Schedule, whose: &str) -> Result<Self, NotASchedule> {
        let zone = TimeZone::get(&schedule.time_zone).map_err(|_| {
            NotASchedule(format!(
                "spec.schedule.timeZone: \"{}\" is no IANA time zone; write one as in \"Europe/Berlin\" or \"UTC\"",
                schedule.time_zone
            ))
        })?;
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&schedule.cron)
            .map_err(|error| {
                NotASchedule(format!(
                    "spec.schedule.cron: \"{}\" is no schedule ({error}); write minute, hour, day of month, month, day of week, as in \"*/15 * * * *\"",
                    schedule.cron
                ))
            })?;
        let offset = offset(schedule.jitter, whose);
        let rhythm = Rhythm::Cron(Box::new(cron), zone);
        let slots = Self { rhythm, offset, starting_deadline: schedule.starting_deadline };
        // February 30th parses and never comes.
        if slots.after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(NotASchedule(format!(
                "spec.schedule.cron: \"{}\" names a day that never comes; write one that does, as in \"0 4 * * 0\"",
                schedule.cron
            )));
        }
        Ok(slots)
    }

    /// One slot after the other. A late one still counts.
    #[must_use]
    pub fn every(wait: Span) -> Self {
        let wait = wait.to_duration().max(SignedDuration::from_secs(1));
        Self { rhythm: Rhythm::Every(wait), offset: SignedDuration::ZERO, starting_deadline: None }
    }

    /// The first slot after `time`.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let plain = time.checked_sub(self.offset).ok()?;
        let slot = match &self.rhythm {
            Rhythm::Cron(cron, zone) => {
                cron.find_next_occurrence(&plain.to_zoned(zone.clone()), false).ok()?.timestamp()
            }
            Rhythm::Every(wait) => multiple(plain, *wait)?.checked_add(*wait).ok()?,
        };
        slot.checked_add(self.offset).ok().filter(|slot| *slot > time)
    }

    /// The newest slot that is later than `after` and not later than `now`: of several missed slots only the newest counts.
    #[must_use]
    pub fn newest_due(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let plain = now.checked_sub(self.offset).ok()?;
        let slot = match &self.rhythm {
            Rhythm::Cron(cron, zone) => {
                cron.find_previous_occurrence(&plain.to_zoned(zone.clone()), true).ok()?.timestamp()
            }
            Rhythm::Every(wait) => multiple(plain, *wait)?,
        };
        let slot = slot.checked_add(self.offset).ok()?;
        (slot > after && slot <= now).then_some(slot)
    }

    /// The longest wait between two slots that follow `from`. Good enough to hold against an RPO: it looks at eight days or
    /// 64 slots, whichever is more, but at no more than 1,500 slots.
    #[must_use]
    pub fn longest_gap(&self, from: Timestamp) -> SignedDuration {
        let end = from + SignedDuration::from_hours(366 * 24);
        let mut longest = SignedDuration::ZERO;
        let mut slot = match self.after(from) {
            Some(slot) => slot,
            None => return SignedDuration::MAX,
        };
        for seen in 0..1500 {
            let Some(next) = self.after(slot) else { return SignedDuration::MAX };
            longest = longest.max(next.duration_since(slot));
            slot = next;
            if slot > end || (seen >= 64 && slot.duration_since(from) > SignedDuration::from_hours(24 * 8)) {
                break;
            }
        }
        longest
    }
}

/// The newest multiple of `wait` that is not later than `time`.
fn multiple(time: Timestamp, wait: SignedDuration) -> Option<Timestamp> {
    let wait = wait.as_nanos().max(1);
    let nanos = time.as_nanosecond();
    Timestamp::from_nanosecond(nanos - nanos.rem_euclid(wait)).ok()
}

/// Whole seconds, from nothing to the jitter: a function of the uid alone, so that the wait between two slots stays what it was.
fn offset(jitter: Option<Span>, whose: &str) -> SignedDuration {
    let hash = u64::from_str_radix(&crds::names::short_hash(&["jitter", whose]), 16).unwrap_or_default();
    let most = jitter.map_or(0, Span::as_secs);
    Span::from_secs(hash % (most + 1)).to_duration()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slots(cron: &str, zone: &str) -> Slots {
        Slots::parse(&schedule(cron, zone), "u-1").unwrap()
    }

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule { cron: cron.into(), time_zone: zone.into(), starting_deadline: None, jitter: None }
    }

    #[test]
    fn the_derived_schedule_is_half_the_rpo_rounded_down_to_a_divisor() {
        for (rpo, cron) in [
            ("30m", "*/15 * * * *"),
            ("1h", "*/30 * * * *"),
            ("15m", "*/5 * * * *"),
            ("5m", "*/2 * * * *"),
            ("2h", "0 * * * *"),
            ("3h", "0 * * * *"),
            ("4h", "0 */2 * * *"),
            ("24h", "0 */12 * * *"),
            ("48h", "0 0 * * *"),
            ("720h", "0 0 * * *"),
            ("2m", "* * * * *"),
            ("30s", "* * * * *"),
        ] {
            assert_eq!(derived(rpo.parse().unwrap()).cron, cron, "{rpo}");
        }
    }

    #[test]
    fn what_a_cron_can_not_keep_is_captured_every_half_of_the_rpo() {
        let every = |rpo: &str| continuous(rpo.parse().unwrap()).map(|wait| wait.to_string());
        assert_eq!(every("1m"), Some("30s".into()));
        assert_eq!(every("119s"), Some("59s".into()));
        assert_eq!(every("4s"), Some("5s".into()), "never without a pause");
        assert_eq!(every("2m"), None);
        let slots = Slots::every("30s".parse().unwrap());
        let time = at("2026-11-23T09:00:00Z");
        assert_eq!(slots.after(time), Some(at("2026-11-23T09:00:30Z")));
        assert_eq!(slots.after(at("2026-11-23T09:00:29.9Z")), Some(at("2026-11-23T09:00:30Z")));
        assert_eq!(slots.newest_due(time, at("2026-11-23T09:01:45Z")), Some(at("2026-11-23T09:01:30Z")));
        assert_eq!(slots.newest_due(time, time), None, "it was the last one");
        assert_eq!(slots.newest_due(at("2026-11-23T08:00:00Z"), time), Some(time));
        assert_eq!(slots.longest_gap(time), SignedDuration::from_secs(30));
    }

    #[test]
    fn every_derived_schedule_can_be_parsed_and_keeps_its_rpo() {
        for minutes in 2..=3000 {
            let rpo = Span::from_mins(minutes);
            let slots = Slots::parse(&derived(rpo), "u-1").unwrap();
            let gap = slots.longest_gap(at("2026-01-01T00:00:00Z"));
            assert!(gap <= rpo.to_duration(), "rpo {rpo}: every {gap:?}");
            if minutes > 200 {
                break;
            }
        }
    }

    #[test]
    fn slots_follow_the_zone_over_both_changes_of_the_clock() {
        let berlin = slots("30 2 * * *", "Europe/Berlin");
        // 2026-03-29: 02:30 does not exist; the capture still happens once that day.
        let spring = berlin.after(at("2026-03-28T12:00:00Z")).unwrap();
        assert!(spring > at("2026-03-29T00:00:00Z") && spring < at("2026-03-29T03:00:00Z"), "{spring}");
        let following = berlin.after(spring).unwrap();
        assert_eq!(following, at("2026-03-30T00:30:00Z"));
        // 2026-10-25: 02:30 comes twice; the slots still advance, and the day after is right.
        let mut slot = at("2026-10-24T12:00:00Z");
        for _ in 0..3 {
            let next = berlin.after(slot).unwrap();
            assert!(next > slot);
            slot = next;
            if slot > at("2026-10-26T00:00:00Z") {
                break;
            }
        }
        assert_eq!(slot, at("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn an_interval_schedule_keeps_its_interval_through_the_repeated_hour() {
        let quarter = slots("*/15 * * * *", "Europe/Berlin");
        let mut slot = at("2026-10-24T23:30:00Z");
        while slot < at("2026-10-25T03:00:00Z") {
            let next = quarter.after(slot).unwrap();
            assert_eq!(next.duration_since(slot), SignedDuration::from_mins(15), "after {slot}");
            slot = next;
        }
    }

    #[test]
    fn of_several_missed_slots_only_the_newest_is_due() {
        let quarter = slots("*/15 * * * *", "UTC");
        let due = quarter.newest_due(at("2026-11-23T06:00:00Z"), at("2026-11-23T09:07:00Z"));
        assert_eq!(due, Some(at("2026-11-23T09:00:00Z")));
        assert_eq!(quarter.newest_due(at("2026-11-23T09:00:00Z"), at("2026-11-23T09:07:00Z")), None);
        assert_eq!(
            quarter.newest_due(at("2026-11-23T09:00:00Z"), at("2026-11-23T09:15:00Z")),
            Some(at("2026-11-23T09:15:00Z")),
            "a slot is due at its very instant"
        );
    }

    #[test]
    fn jitter_spreads_objects_over_its_length_and_moves_none_of_them() {
        let jittered =
            Schedule { jitter: Some(Span::from_mins(5)), ..schedule("*/15 * * * *", "Europe/Berlin") };
        let cron = at("2026-11-23T09:00:00Z");
        let mut minutes = std::collections::BTreeSet::new();
        for uid in 0..200 {
            let slots = Slots::parse(&jittered, &format!("u-{uid}")).unwrap();
            let first = slots.after(cron - SignedDuration::from_nanos(1)).unwrap();
            let offset = first.duration_since(cron);
            assert!((SignedDuration::ZERO..=SignedDuration::from_mins(5)).contains(&offset), "{offset:?}");
            minutes.insert(offset.as_secs() / 60);
            let next = slots.after(first).unwrap();
            assert_eq!(next.duration_since(first), SignedDuration::from_mins(15), "an RPO is kept as before");
            assert_eq!(slots.newest_due(first, next), Some(next), "a slot is due at its very instant");
            let before = next - SignedDuration::from_secs(1);
            assert_eq!(slots.newest_due(first, before), None);
        }
        assert!(minutes.len() >= 5, "200 objects start within {minutes:?}");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_field_and_remedy() {
        let bad =
            |cron: &str, zone: &str| Slots::parse(&schedule(cron, zone), "u-1").unwrap_err().to_string();
        for cron in ["61 * * * *", "a b c d e", "* * * *", "0 0 4 * * 0", "*/0 * * * *", ""] {
            let message = bad(cron, "UTC");
            assert!(message.starts_with("spec.schedule.cron: "), "{cron}: {message}");
        }
        assert!(bad("0 0 30 2 *", "UTC").contains("never comes"));
        assert_eq!(
            bad("* * * * *", "Mars/Olympus"),
            "spec.schedule.timeZone: \"Mars/Olympus\" is no IANA time zone; write one as in \"Europe/Berlin\" or \"UTC\""
        );
    }

    #[test]
    fn the_longest_gap_sees_the_night() {
        let office = slots("*/30 8-17 * * 1-5", "UTC");
        assert_eq!(office.longest_gap(at("2026-11-23T00:00:00Z")), SignedDuration::from_mins(62 * 60 + 30));
    }
}
