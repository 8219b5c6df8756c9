//! What people say of things in a repository, as marks in the bucket: each word is one more mark, numbered by what it is about, because a
//! mark can't be changed; the last one counts. The first to write a number has it, so the numbers are the order in which the store received
//! the words, whatever clocks say, and an old one that is stored again says nothing new.

use std::collections::BTreeMap;

use crds::job::FailureReason;
use engine::{PutMark, Repository};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// Others may say something at the same time, but not for ever.
const ATTEMPTS: u32 = 32;

/// A kind of thing to say.
pub trait Word: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The kind of its marks.
    const KIND: &'static str;
    /// What a mark of it is called in messages.
    const CALLED: &'static str;
}

/// What a mark says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Said<W> {
    /// What it is about, such as the id of a point.
    #[serde(rename = "point")]
    about: String,
    number: u32,
    #[serde(flatten)]
    pub word: W,
    /// When, by the clock of whoever said it.
    pub at: Timestamp,
}

/// The last that was said of each thing.
#[derive(Debug)]
pub struct Words<W>(BTreeMap<String, Said<W>>);

impl<W: Word> Words<W> {
    /// What the bucket says.
    pub async fn of(repository: &Repository) -> Result<Self> {
        let mut words = Self(BTreeMap::new());
        for mark in repository.marks(W::KIND).await? {
            words.take(said(&mark.value)?);
        }
        Ok(words)
    }

    fn take(&mut self, said: Said<W>) {
        let known = self.0.get(&said.about).map_or(0, |known| known.number);
        if said.number > known {
            self.0.insert(said.about.clone(), said);
        }
    }

    /// The last that was said about a thing.
    pub fn last(&self, about: &str) -> Option<&Said<W>> {
        self.0.get(about)
    }

    /// Says a word about a thing. `unsaid` is what counts where nothing was said. What is so already costs no mark.
    pub async fn say(
        &mut self,
        repository: &Repository,
        about: &str,
        word: &W,
        unsaid: Option<&W>,
        now: Timestamp,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let known = self.last(about);
            if known.map(|said| &said.word).or(unsaid) == Some(word) {
                return Ok(());
            }
            let number = known.map_or(1, |known| known.number.saturating_add(1));
            let wanted = Said { about: about.to_owned(), number, word: word.clone(), at: now };
            let value = serde_json::to_value(&wanted).expect("a word holds only strings, numbers and times");
            match repository.put_mark(W::KIND, &format!("{about}/{number}"), value).await? {
                PutMark::Created => self.take(wanted),
                // Somebody else was first; what they said is what there is to change now.
                PutMark::Exists(mark) => self.take(said(&mark.value)?),
            }
        }
        let why = format!("the {} of {about} was changed by others again and again: try again", W::CALLED);
        Err(Failure::new(FailureReason::MoverFailed, why))
    }
}

fn said<W: Word>(value: &serde_json::Value) -> Result<Said<W>> {
    Said::deserialize(value).map_err(|e| {
        let why = format!(
            "a {} in the repository can't be read ({e}): use the newer version that wrote it",
            W::CALLED
        );
        Failure::new(FailureReason::FormatTooNew, why)
    })
}
