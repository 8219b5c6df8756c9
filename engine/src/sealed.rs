//! The seal of a repository: while it is sealed nothing is deleted and no key is added, replaced or removed, by whoever opens it. It is set
//! and lifted by marks, numbered, the last of which counts: they survive every cluster that uses the repository.

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::marks::{Mark, PutMark};
use crate::repository::Repository;

const KIND: &str = "seal";
/// Others may seal or unseal at the same time, but not for ever.
const ATTEMPTS: u32 = 32;

/// What a mark says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Word {
    number: u32,
    sealed: bool,
    by: String,
    reason: String,
    at: Timestamp,
}

/// That a repository is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Who sealed it.
    pub by: String,
    /// Why, for people.
    pub reason: String,
    /// When, by the clock of whoever did.
    pub since: Timestamp,
}

impl Repository {
    /// Whether the repository is sealed. One listing where it never was.
    pub fn sealed(&self) -> BoxFuture<'_, Result<Option<Sealed>>> {
        Box::pin(async move {
            let last = self.last_word().await?.filter(|word| word.sealed);
            Ok(last.map(|Word { by, reason, at: since, .. }| Sealed { by, reason, since }))
        })
    }

    /// Seals the repository, or unseals it. What is so already costs no mark, and keeps its reason. Returns how it is then.
    pub fn set_seal<'a>(
        &'a self,
        sealed: bool,
        by: &'a str,
        reason: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Sealed>>> {
        Box::pin(async move {
            for _ in 0..ATTEMPTS {
                let last = self.last_word().await?;
                if last.as_ref().is_some_and(|word| word.sealed) == sealed {
                    return self.sealed().await;
                }
                let number = last.map_or(1, |word| word.number.saturating_add(1));
                let word = Word { number, sealed, by: by.to_owned(), reason: reason.to_owned(), at: now };
                let value = serde_json::to_value(word).expect("a word holds only strings, numbers and times");
                if self.put_mark(KIND, &number.to_string(), value).await? == PutMark::Created {
                    return self.sealed().await;
                }
                // Somebody else was first; what they said is what there is to change now.
            }
            Err(Error::Input(format!(
                "the seal of {} was changed by others again and again: try again",
                self.place()
            )))
        })
    }

    /// Refuses what a sealed repository doesn't take.
    pub(crate) async fn refuse_sealed(&self) -> Result<()> {
        match self.sealed().await? {
            None => Ok(()),
            Some(Sealed { by, reason, since }) => {
                Err(Error::Sealed { place: self.place(), by, reason, since })
            }
        }
    }

    async fn last_word(&self) -> Result<Option<Word>> {
        let word = |mark: Mark| {
            Word::deserialize(&mark.value)
                .map_err(|_| self.damaged("marks/seal", "what a mark of the seal says makes no sense"))
        };
        let words: Vec<Word> = self.marks(KIND).await?.into_iter().map(word).collect::<Result<_>>()?;
        Ok(words.into_iter().max_by_key(|word| word.number))
    }
}
