//! Which points people trust, in the bucket: what is quarantined there is not restored, whoever asks, and not removed: it is evidence.

use crds::job::{FailureReason, PointTrust};
use crds::point::{TrustMark, TrustReason, TrustWord};
use engine::{PointId, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::words::{Word, Words};

/// What is said of a point, why and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    trust: TrustWord,
    why: TrustReason,
    by: String,
}

impl Word for Verdict {
    const KIND: &'static str = "trust";
    const CALLED: &'static str = "mark of trust";
}

/// The last that was said of each point.
#[derive(Debug)]
pub struct Trust(Words<Verdict>);

impl Trust {
    /// What the bucket says.
    pub async fn of(repository: &Repository) -> Result<Self> {
        Ok(Self(Words::of(repository).await?))
    }

    /// The last that was said of a point.
    pub fn mark(&self, point: &PointId) -> Option<TrustMark> {
        let said = self.0.last(&point.to_string())?;
        let Verdict { trust: word, why: reason, by } = said.word.clone();
        Some(TrustMark { word, reason, by, since: said.at })
    }

    /// The mark that quarantines a point, where one does.
    pub fn quarantine(&self, point: &PointId) -> Option<TrustMark> {
        self.mark(point).filter(|mark| mark.word == TrustWord::Quarantined)
    }

    /// Refuses a point that is quarantined.
    pub fn restorable(&self, point: &PointId) -> Result<()> {
        let Some(TrustMark { reason, by, since, .. }) = self.quarantine(point) else { return Ok(()) };
        let why = format!(
            "point {point} is Quarantined in the repository ({}, by {by}, {since:.0}) and is not restored: choose another one. To look at it, write it out \
             by `holdfast export`; once it was found good, say so: spec.trust: Trusted of its RecoveryPoint, or `holdfast trust --point {point}`",
            reason.as_str()
        );
        Err(Failure::new(FailureReason::PointQuarantined, why))
    }

    /// Says what is to be said of a point. What was said last by the same person for the same reason costs no mark.
    pub async fn set(
        &mut self,
        repository: &Repository,
        point: PointId,
        said: &PointTrust,
        now: Timestamp,
    ) -> Result<()> {
        let word = Verdict { trust: said.word, why: said.reason, by: said.by.clone() };
        self.0.say(repository, &point.to_string(), &word, None, now).await
    }
}
