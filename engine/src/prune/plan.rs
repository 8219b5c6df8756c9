//! What becomes of a pack: a pure function of what was seen of it.

use jiff::SignedDuration;

/// What was seen of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes of its object.
    pub(super) size: u64,
    /// Bytes of the blocks in it that a point needs, and that no better pack holds.
    pub(super) needed: u64,
    /// How long ago it was stored.
    pub(super) age: SignedDuration,
    /// How long it has been condemned, if it is.
    pub(super) condemned: Option<SignedDuration>,
    /// The store doesn't let it go yet.
    pub(super) locked: bool,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// No point needs it. It may belong to a capture that is under way, so it stays until it is old enough.
    Young,
    /// What is needed of it is copied, then it is condemned.
    Repack,
    /// No point needs it: it is condemned.
    Condemn,
    /// It is condemned, but not for long enough.
    Wait,
    /// It is deleted.
    Sweep,
    /// No point needs it, and it is locked: it stays until the lock has ended. Condemning it before would only keep captures
    /// from using it.
    Locked,
    /// It is condemned, and yet the only place of something that a point needs: it stays.
    Spare,
}

/// How long things wait, and how much waste is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) wait: SignedDuration,
    /// Percent of a pack.
    pub(super) waste: u8,
}

pub(super) fn fate(seen: Seen, rules: Rules) -> Fate {
    let Seen { size, needed, age, condemned, locked } = seen;
    let old = age >= rules.wait;
    let wasted =
        size.saturating_sub(needed).saturating_mul(100) > size.saturating_mul(u64::from(rules.waste));
    match (condemned, needed) {
        (Some(since), 0) if since >= rules.wait && locked => Fate::Locked,
        (Some(since), 0) if since >= rules.wait => Fate::Sweep,
        (Some(_), 0) => Fate::Wait,
        (Some(_), _) => Fate::Spare,
        (None, 0) if old && locked => Fate::Locked,
        (None, 0) if old => Fate::Condemn,
        (None, 0) => Fate::Young,
        (None, _) if wasted && old && !locked => Fate::Repack,
        (None, _) => Fate::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { wait: SignedDuration::from_hours(24), waste: 30 };
    const OLD: SignedDuration = SignedDuration::from_hours(24);
    const YOUNG: SignedDuration = SignedDuration::from_hours(23);

    #[test]
    fn every_pack_has_one_fate_and_nothing_needed_is_ever_swept() {
        for age in [YOUNG, OLD] {
            for condemned in [None, Some(SignedDuration::ZERO), Some(YOUNG), Some(OLD)] {
                for (needed, locked) in [0, 1, 69, 70, 100].into_iter().flat_map(|n| [(n, false), (n, true)])
                {
                    let fate = fate(Seen { size: 100, needed, age, condemned, locked }, RULES);
                    let expected = match (condemned, needed, age == OLD, locked) {
                        (Some(OLD), 0, _, false) => Fate::Sweep,
                        (Some(OLD), 0, _, true) => Fate::Locked,
                        (Some(_), 0, _, _) => Fate::Wait,
                        (Some(_), _, _, _) => Fate::Spare,
                        (None, 0, true, false) => Fate::Condemn,
                        (None, 0, true, true) => Fate::Locked,
                        (None, 0, false, _) => Fate::Young,
                        (None, 1 | 69, true, false) => Fate::Repack,
                        (None, _, _, _) => Fate::Keep,
                    };
                    assert_eq!(fate, expected, "{needed} {age} {condemned:?} {locked}");
                }
            }
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_old() {
        let back = SignedDuration::from_hours(-5);
        let seen = Seen { size: 100, needed: 0, age: back, condemned: None, locked: false };
        assert_eq!(fate(seen, RULES), Fate::Young);
        assert_eq!(fate(Seen { condemned: Some(back), ..seen }, RULES), Fate::Wait);
    }
}
