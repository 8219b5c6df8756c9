//! Marks: small immutable facts beside the points, such as a quarantine, a verification, or that a run took effect. The
//! first to write a mark wins and everybody else learns what it said. Names and contents are hidden from the store.

use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ahead::ahead;
use crate::envelope::Kind;
use crate::error::{Error, Result};
use crate::names::{self, MARKS};
use crate::repository::Repository;
use crate::store::Put;

const READS_AT_ONCE: usize = 8;

/// A mark as found.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The kind it was put under.
    pub kind: String,
    /// The name it was put under.
    pub name: String,
    /// What it says.
    pub value: serde_json::Value,
    /// When it was stored, by the store's clock.
    pub stored_at: Option<Timestamp>,
}

/// The result of putting a mark.
#[derive(Debug, Clone, PartialEq)]
pub enum PutMark {
    /// It is ours.
    Created,
    /// One of that kind and name was there; this is what it says.
    Exists(Mark),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    value: serde_json::Value,
}

impl Repository {
    /// Puts a mark unless one of this kind and name exists. The kind is visible in the bucket: 1 to 40 letters a-z,
    /// digits and `-`. The name is not. On a store without conditional writes two racers may both be told `Created`.
    pub fn put_mark<'a>(
        &'a self,
        kind: &'a str,
        name: &'a str,
        value: serde_json::Value,
    ) -> BoxFuture<'a, Result<PutMark>> {
        Box::pin(async move {
            let object = self.mark_object(kind, name)?;
            // Looked at first, because a store may ignore the condition of the write.
            if let Some(mark) = self.mark(kind, name).await? {
                return Ok(PutMark::Exists(mark));
            }
            let stored = Stored { name: name.to_owned(), value };
            let body = serde_json::to_vec(&stored)
                .map_err(|e| Error::Input(format!("the mark can't be written: {e}")))?;
            match self.write_object(Kind::Mark, &object, &body).await? {
                Put::Created => Ok(PutMark::Created),
                Put::Exists => self.read_mark(kind, &object).await.map(PutMark::Exists),
            }
        })
    }

    /// The mark of this kind and name, if there is one.
    pub fn mark<'a>(&'a self, kind: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Mark>>> {
        Box::pin(async move {
            match self.read_mark(kind, &self.mark_object(kind, name)?).await {
                Ok(mark) => Ok(Some(mark)),
                Err(Error::Store(e)) if e.is_not_found() => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    /// All marks of a kind, by name. A damaged one is an error: a quarantine must not vanish silently.
    pub fn marks<'a>(&'a self, kind: &'a str) -> BoxFuture<'a, Result<Vec<Mark>>> {
        Box::pin(async move {
            let listed = self.store().list(&names::of_kind(MARKS, kind)?).await?;
            let (repo, of) = (self.clone(), kind.to_owned());
            let read = ahead(listed, READS_AT_ONCE, move |object| {
                let (repo, kind) = (repo.clone(), of.clone());
                async move { repo.read_mark(&kind, &object.name).await }.boxed()
            });
            let mut marks: Vec<Mark> = read.try_collect().await?;
            marks.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(marks)
        })
    }

    fn mark_object(&self, kind: &str, name: &str) -> Result<String> {
        names::hidden(MARKS, kind, name, |text| {
            blake3::keyed_hash(&self.keys().names, &[b"mark\0", text].concat())
        })
    }

    async fn read_mark(&self, kind: &str, object: &str) -> Result<Mark> {
        let (_, body) = self.read_object(Kind::Mark, object).await?;
        let Stored { name, value } =
            serde_json::from_slice(&body).map_err(|_| self.damaged(object, "its content makes no sense"))?;
        if names::last_part(&self.mark_object(kind, &name)?) != names::last_part(object) {
            return Err(self.damaged(object, "it holds another mark than its name says"));
        }
        let stored_at = self.store().head(object).await?.modified;
        Ok(Mark { kind: kind.to_owned(), name, value, stored_at })
    }
}
