//! Object Lock, in the words of the engine: whether a store has it, how long objects are kept by it, and how the dates are
//! chosen, so that what is kept long enough need not be asked for again with every capture.

use jiff::{SignedDuration, Timestamp};

/// Whether a store can keep objects from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectLock {
    /// It can, and would if asked.
    Enabled,
    /// It can't, or it is switched off for this bucket.
    Absent,
    /// The credentials may not ask.
    Unknown,
}

/// Who may shorten a retention. The greater is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// Whoever has a special right.
    Governance,
    /// Nobody, the owner of the account included.
    Compliance,
}

/// How an object is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may shorten it.
    pub mode: LockMode,
    /// Until when it is kept, by the store's clock.
    pub until: Timestamp,
}

impl Retention {
    /// Whether this is as strict and as long as that.
    pub fn suffices(self, wanted: Self) -> bool {
        self.mode >= wanted.mode && self.until >= wanted.until
    }
}

/// The longest time that is accepted: a lock of Compliance can't be taken back by anybody.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 366 * 24);

/// A lock that was asked for: what every point that is captured through a store needs is kept at least so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    mode: LockMode,
    retain_for: SignedDuration,
    opened: Timestamp,
}

impl Lock {
    /// A lock for what is captured from `now` on. The error is a sentence about `retain_for`.
    pub fn new(mode: LockMode, retain_for: SignedDuration, now: Timestamp) -> Result<Self, String> {
        if retain_for < SignedDuration::from_secs(1) || retain_for > LONGEST {
            return Err(format!(
                "objects can be locked for a second to a hundred years, not for {retain_for:#}; write 720h for 30 days"
            ));
        }
        Ok(Self { mode, retain_for, opened: now })
    }

    /// Who may shorten it.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// How long everything a point needs is kept, from the time of its capture.
    pub fn retain_for(&self) -> SignedDuration {
        self.retain_for
    }

    /// How much longer than asked for an object may be kept: a quarter. The price of not asking each time.
    fn slack(&self) -> SignedDuration {
        self.retain_for / 4
    }

    fn keep(&self, until: Result<Timestamp, jiff::Error>) -> Retention {
        Retention { mode: self.mode, until: until.unwrap_or(Timestamp::MAX) }
    }

    /// What an object gets when it is written.
    pub fn written(&self) -> Retention {
        self.keep(self.opened.checked_add(self.retain_for + self.slack()))
    }

    /// What an object must have that a point of this time needs.
    pub fn demanded(&self, captured: Timestamp) -> Retention {
        self.keep(captured.checked_add(self.retain_for))
    }

    /// What an object gets that has less than is demanded: half of the slack to all of it, by `share`, so that objects
    /// that were written together don't have to be extended together for ever.
    pub fn extended(&self, captured: Timestamp, share: u8) -> Retention {
        let half = self.slack() / 2;
        let more = half + half / 255 * i32::from(share);
        self.keep(captured.checked_add(self.retain_for + more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn what_is_written_or_extended_suffices_for_captures_of_an_eighth_of_the_time_to_come() {
        let lock = Lock::new(LockMode::Governance, SignedDuration::from_hours(720), at(0)).unwrap();
        assert_eq!(lock.written().until, at(900));
        for share in 0..=u8::MAX {
            let extended = lock.extended(at(0), share);
            assert!(extended.suffices(lock.demanded(at(90))), "{share}");
            assert!(extended.until <= at(900), "{share}: nothing is kept longer than a quarter more");
        }
        assert_ne!(lock.extended(at(0), 0), lock.extended(at(0), 255));
    }

    #[test]
    fn a_laxer_or_a_shorter_retention_does_not_suffice() {
        let kept = |mode, hours| Retention { mode, until: at(hours) };
        let wanted = kept(LockMode::Compliance, 5);
        assert!(kept(LockMode::Compliance, 5).suffices(wanted));
        assert!(!kept(LockMode::Governance, 9).suffices(wanted));
        assert!(!kept(LockMode::Compliance, 4).suffices(wanted));
        assert!(kept(LockMode::Compliance, 5).suffices(kept(LockMode::Governance, 5)));
    }

    #[test]
    fn no_time_and_all_time_are_refused_with_an_example() {
        for hours in [0, -1, 1_000_000] {
            let refused =
                Lock::new(LockMode::Compliance, SignedDuration::from_hours(hours), at(0)).unwrap_err();
            assert!(refused.contains("720h"), "{refused}");
        }
    }
}
