//! Holds on points, in the bucket: no rule removes what is on hold, whatever has become of the cluster.

use engine::{PointId, Repository};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::words::{Word, Words};

/// Why a point is held; nothing where it was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    reason: Option<String>,
}

impl Word for Hold {
    const KIND: &'static str = "hold";
    const CALLED: &'static str = "hold";
}

/// The last that was said of each point.
#[derive(Debug)]
pub struct Holds(Words<Hold>);

impl Holds {
    /// What the bucket says.
    pub async fn of(repository: &Repository) -> Result<Self> {
        Ok(Self(Words::of(repository).await?))
    }

    /// Why a point is held, where it is.
    pub fn reason(&self, point: &PointId) -> Option<&str> {
        self.0.last(&point.to_string())?.word.reason.as_deref()
    }

    /// Holds a point for a reason, or releases it. What is so already costs no mark.
    pub async fn set(
        &mut self,
        repository: &Repository,
        point: PointId,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let word = Hold { reason: reason.map(str::to_owned) };
        self.0.say(repository, &point.to_string(), &word, Some(&Hold { reason: None }), now).await
    }
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
        assert_eq!(repository.marks(Hold::KIND).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn two_who_say_something_at_once_both_come_through_in_some_order() {
        let dir = tempfile::tempdir().unwrap();
        let repository = repository(dir.path()).await;
        let point: PointId = "1".repeat(32).parse().unwrap();
        let (mut mine, mut theirs) =
            (Holds::of(&repository).await.unwrap(), Holds::of(&repository).await.unwrap());
        theirs.set(&repository, point, Some("theirs"), Timestamp::UNIX_EPOCH).await.unwrap();
        mine.set(&repository, point, Some("mine"), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(Holds::of(&repository).await.unwrap().reason(&point), Some("mine"));
        theirs.set(&repository, point, None, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(Holds::of(&repository).await.unwrap().reason(&point), None);
    }
}
