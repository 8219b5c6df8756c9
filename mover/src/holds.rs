//! Holds on points, in the bucket: no rule removes what is on hold, whatever has become of the cluster. A mark can't be changed, so
//! each hold and each release is one more, numbered by point; the last one counts.

use std::collections::BTreeMap;

use crds::job::FailureReason;
use engine::{PointId, PutMark, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

const KIND: &str = "hold";
/// Others may set the same hold at the same time, but not for ever.
const ATTEMPTS: u32 = 32;

/// What a mark says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    point: String,
    number: u32,
    /// Why it is held; nothing where it was released.
    reason: Option<String>,
    at: Timestamp,
}

/// The last that was said of each point.
#[derive(Debug, Default)]
pub struct Holds(BTreeMap<String, Said>);

impl Holds {
    /// What the bucket says.
    pub async fn of(repository: &Repository) -> Result<Self> {
        let mut holds = Self::default();
        for mark in repository.marks(KIND).await? {
            holds.take(said(&mark.value)?);
        }
        Ok(holds)
    }

    fn take(&mut self, said: Said) {
        let known = self.0.get(&said.point).map_or(0, |known| known.number);
        if said.number > known {
            self.0.insert(said.point.clone(), said);
        }
    }

    /// Why a point is held, where it is.
    pub fn reason(&self, point: &PointId) -> Option<&str> {
        self.0.get(&point.to_string())?.reason.as_deref()
    }

    /// Holds a point for a reason, or releases it. What is so already costs no mark.
    pub async fn set(
        &mut self,
        repository: &Repository,
        point: PointId,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if self.reason(&point) == reason {
                return Ok(());
            }
            let number = self.0.get(&point.to_string()).map_or(1, |known| known.number.saturating_add(1));
            let wanted =
                Said { point: point.to_string(), number, reason: reason.map(str::to_owned), at: now };
            let value = serde_json::to_value(&wanted).expect("a hold holds only strings, numbers and times");
            match repository.put_mark(KIND, &format!("{point}/{number}"), value).await? {
                PutMark::Created => self.take(wanted),
                // Somebody else was first; what they said is what there is to change now.
                PutMark::Exists(mark) => self.take(said(&mark.value)?),
            }
        }
        let why = format!("the hold of point {point} was changed by others again and again: try again");
        Err(Failure::new(FailureReason::MoverFailed, why))
    }
}

fn said(value: &serde_json::Value) -> Result<Said> {
    Said::deserialize(value).map_err(|e| {
        let why =
            format!("a hold in the repository can't be read ({e}): use the newer version that wrote it");
        Failure::new(FailureReason::FormatTooNew, why)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::store::DirStore;

    use super::*;

    async fn repository(dir: &std::path::Path) -> Repository {
        let password = engine::Password::new("correct horse battery staple").unwrap();
        let store = Arc::new(DirStore::new(dir.to_owned()));
        Repository::init(store, &password, Timestamp::UNIX_EPOCH).await.unwrap()
    }

    #[tokio::test]
    async fn the_last_word_counts_and_repeating_it_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let repository = repository(dir.path()).await;
        let (one, other): (PointId, PointId) =
            ("1".repeat(32).parse().unwrap(), "2".repeat(32).parse().unwrap());
        let now = Timestamp::UNIX_EPOCH;
        let mut holds = Holds::of(&repository).await.unwrap();
        for reason in [Some("INC-1"), Some("INC-1"), None, None, Some("INC-2")] {
            holds.set(&repository, one, reason, now).await.unwrap();
            let read = Holds::of(&repository).await.unwrap();
            assert_eq!((read.reason(&one), read.reason(&other)), (reason, None));
        }
        assert_eq!(repository.marks(KIND).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn two_who_say_something_at_once_both_come_through_in_some_order() {
        let dir = tempfile::tempdir().unwrap();
        let repository = repository(dir.path()).await;
        let point: PointId = "1".repeat(32).parse().unwrap();
        let (mut mine, mut theirs) = (Holds::default(), Holds::default());
        theirs.set(&repository, point, Some("theirs"), Timestamp::UNIX_EPOCH).await.unwrap();
        mine.set(&repository, point, Some("mine"), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(Holds::of(&repository).await.unwrap().reason(&point), Some("mine"));
        theirs.set(&repository, point, None, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(Holds::of(&repository).await.unwrap().reason(&point), None);
    }
}
